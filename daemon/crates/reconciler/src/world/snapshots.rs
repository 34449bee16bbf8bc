//! etcd's data as files: sealed with the cluster's own secrets, whole or not there at all, the oldest forgotten.

use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use lifecycle::Role;
use store::archive::{ArchiveError, Kind, Opener, Sealer, is_sealed};
use talos_api::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{
    look::LOOK,
    talos::{Cluster, machine_api, unix_seconds},
};

/// How the names of sealed snapshots end.
const ENDING: &str = ".db.sealed";

/// What stands before the name of the node for which one was taken.
const BEFORE: &str = "-before-";

/// Of those that were taken before a node was taken out so many are kept.
const BEFORE_KEPT: usize = 10;

/// On its way from the machine to the file.
const PIPE: usize = 64 << 10;

/// A snapshot that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// the sealed file
    pub path: PathBuf,
    /// of etcd's data in it
    pub size: u64,
    /// whose they are
    pub from: IpAddr,
}

impl Cluster {
    /// Keeps a snapshot of etcd as a control plane that is well has it.
    pub async fn snapshot(&self) -> Result<Kept, String> {
        let plan = self.site.plan();
        let mut silence = Vec::new();
        for (name, node) in plan.nodes.iter().filter(|(_, node)| node.role == Role::ControlPlane) {
            let well = async {
                let client = Client::configured_once(machine_api(node.address), &self.credentials()).await;
                let client = client.map_err(|error| error.to_string())?.with_deadline(LOOK);
                let status = client.etcd_status().await.map_err(|error| error.to_string())?;
                match status.leader {
                    0 => Err(format!("etcd on {name} has no quorum")),
                    _ if status.learner => Err(format!("etcd on {name} has no vote yet")),
                    _ => Ok(()),
                }
            };
            match well.await {
                Ok(()) => match self.keep_snapshot(node.address, "", self.site.snapshots().keep).await {
                    Ok(kept) => return Ok(kept),
                    Err(reason) => silence.push(reason),
                },
                Err(reason) => silence.push(reason),
            }
        }
        Err(format!("no control plane gives a snapshot of etcd: {}", silence.join("; ")))
    }

    /// The same of one control plane, before a node is taken out.
    pub(super) async fn snapshot_before(&self, node: &str, address: IpAddr) -> Result<Kept, String> {
        self.keep_snapshot(address, &format!("{BEFORE}{node}"), BEFORE_KEPT).await
    }

    async fn keep_snapshot(&self, address: IpAddr, ending: &str, most: usize) -> Result<Kept, String> {
        let folder = self.snapshots.as_ref().ok_or("there is no folder for snapshots")?;
        let at =
            |path: &Path, error: std::io::Error| format!("{} cannot be written: {error}", path.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| at(folder, error))?;
        let path = folder.join(format!("etcd-{:012}{ending}{ENDING}", unix_seconds()));
        let part = path.with_extension("part");
        let client = Client::configured_once(machine_api(address), &self.credentials()).await;
        let client = client.map_err(|error| error.to_string())?;
        let (mut into, from) = tokio::io::duplex(PIPE);
        let fetching = async {
            let size = client.etcd_snapshot(&mut into).await.map_err(|error| error.to_string())?;
            into.shutdown().await.map_err(|error| error.to_string())?;
            Ok::<u64, String>(size)
        };
        let secret = self.secrets.cluster_secret.expose().as_bytes();
        let (size, written) = tokio::join!(fetching, seal(from, secret, &part));
        let done = match (size, written) {
            (Ok(size), Ok(())) => fs::rename(&part, &path).map(|()| size).map_err(|error| at(&path, error)),
            // what ended the fetching says more than what the file makes of it
            (Err(error), _) => Err(error),
            (Ok(_), Err(error)) => Err(format!("{}: {error}", part.display())),
        };
        let size = done.inspect_err(|_| {
            fs::remove_file(&part).ok();
        })?;
        forget_oldest(folder, ending.is_empty(), most);
        Ok(Kept { path, size, from: address })
    }

    /// The newest sealed snapshot, whatever it was taken for.
    pub fn newest_snapshot(&self) -> Option<PathBuf> {
        let mut all = names(self.snapshots.as_ref()?);
        all.sort();
        all.pop()
    }

    /// Whether a file is a snapshot, whole and of this cluster, as far as that shows before etcd reads it.
    pub async fn snapshot_opens(&self, path: &Path) -> Result<(), String> {
        checked(path, self.secrets.cluster_secret.expose().as_bytes()).await.map(drop)
    }

    /// When the newest one was taken that was not taken for a node; seconds since the Unix epoch.
    pub fn last_snapshot(&self) -> Option<u64> {
        let names = names(self.snapshots.as_ref()?);
        names.iter().filter(|path| !is_before(path)).filter_map(|path| taken_at(path)).max()
    }
}

/// Seals what comes until it ends.
async fn seal(mut from: DuplexStream, secret: &[u8], part: &Path) -> Result<(), ArchiveError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    let mut sealer = Sealer::new(Kind::Etcd, secret, file)?;
    let mut buffer = zeroize::Zeroizing::new(vec![0; PIPE]);
    loop {
        match from.read(&mut buffer).await? {
            0 => break,
            length => sealer.push(&buffer[..length])?,
        }
    }
    Ok(sealer.finish()?.sync_all()?)
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.to_string_lossy().ends_with(ENDING)).collect()
}

fn is_before(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(BEFORE))
}

fn taken_at(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("etcd-")?.get(..12)?.parse().ok()
}

/// Names begin with the time, so that they sort by age. Each kind has its own number of places.
fn forget_oldest(folder: &Path, scheduled: bool, most: usize) {
    let mut kept = names(folder);
    kept.retain(|path| is_before(path) != scheduled);
    kept.sort();
    for path in kept.iter().rev().skip(most) {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "an old snapshot cannot be removed");
        }
    }
}

/// Reads it to its end; whether it is sealed.
async fn checked(path: &Path, secret: &[u8]) -> Result<bool, String> {
    let words =
        |error: &dyn std::fmt::Display| format!("the snapshot {} cannot be used: {error}", path.display());
    let mut beginning = Vec::new();
    let file = fs::File::open(path).map_err(|error| words(&error))?;
    file.take(64).read_to_end(&mut beginning).map_err(|error| words(&error))?;
    let sealed = is_sealed(&beginning);
    if !sealed && beginning.is_empty() {
        return Err(words(&"it is empty"));
    }
    if sealed {
        let (whole, key) = (path.to_owned(), zeroize::Zeroizing::new(secret.to_vec()));
        let checked = tokio::task::spawn_blocking(move || {
            Opener::new(Kind::Etcd, &key, fs::File::open(whole)?)?.copy_to(&mut std::io::sink())
        });
        checked.await.map_err(|error| words(&error))?.map_err(|error| words(&error))?;
    }
    Ok(sealed)
}

/// A snapshot on its way to a machine: read twice, because what does not open to its end must not even begin to leave.
pub(super) async fn opened(path: &Path, secret: &[u8]) -> Result<DuplexStream, String> {
    let sealed = checked(path, secret).await?;
    let secret = zeroize::Zeroizing::new(secret.to_vec());
    let (mut into, out) = tokio::io::duplex(PIPE);
    let path = path.to_owned();
    tokio::spawn(async move {
        let sent = async {
            if sealed {
                let mut opener = Opener::new(Kind::Etcd, &secret, fs::File::open(&path)?)?;
                while let Some(piece) = opener.piece()? {
                    into.write_all(&piece).await?;
                }
            } else {
                tokio::io::copy(&mut tokio::fs::File::open(&path).await?, &mut into).await?;
            }
            into.shutdown().await?;
            Ok::<(), ArchiveError>(())
        };
        if let Err(error) = sent.await {
            // whoever reads sees a file without its checksum, which etcd does not take
            tracing::warn!(path = %path.display(), %error, "the snapshot did not get to the machine");
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_kind_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(dir.path().join(name), "").unwrap();
        for at in 1..=5 {
            touch(&format!("etcd-{at:012}{ENDING}"));
            touch(&format!("etcd-{at:012}{BEFORE}cp-1{ENDING}"));
        }
        touch("notes.txt");
        forget_oldest(dir.path(), true, 2);
        let mut left = names(dir.path());
        left.sort();
        let scheduled: Vec<u64> =
            left.iter().filter(|path| !is_before(path)).filter_map(|path| taken_at(path)).collect();
        assert_eq!((scheduled, left.len()), (vec![4, 5], 7));
        forget_oldest(dir.path(), false, 1);
        assert_eq!(names(dir.path()).len(), 3);
        assert!(dir.path().join("notes.txt").exists());
    }

    #[tokio::test]
    async fn what_is_sealed_comes_out_as_it_went_in_and_nothing_of_what_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd.db.sealed");
        let data: Vec<u8> = (0..200_000_u32).map(|index| (index % 253) as u8).collect();
        let (mut into, from) = tokio::io::duplex(PIPE);
        let writing = async {
            into.write_all(&data).await.unwrap();
            into.shutdown().await.unwrap();
        };
        let (_, sealed) = tokio::join!(writing, seal(from, b"secret", &path));
        sealed.unwrap();
        let mut back = Vec::new();
        opened(&path, b"secret").await.unwrap().read_to_end(&mut back).await.unwrap();
        assert_eq!(back, data);
        assert!(opened(&path, b"other").await.unwrap_err().contains("another cluster"));
        let cut = fs::read(&path).unwrap();
        fs::write(&path, &cut[..cut.len() - 1]).unwrap();
        assert!(opened(&path, b"secret").await.is_err());
    }
}
