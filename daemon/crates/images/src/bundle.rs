//! Everything a site boots, in one file, for a machine without a way to the internet.
//!
//! A tar archive. `bundle.json` comes first and has the digest of every file that follows; `oci-images.txt` lists the
//! container images that are pulled later and are not in here. Nothing of a bundle gets a name before all of it was
//! found to be what it says, and what was pinned before stays what it was.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write as _},
    path::Path,
};

use boot::AssetName;
use serde::{Deserialize, Serialize};

use crate::{
    folder::{Content, Digest, Folder, FolderError, digest_of, disk},
    oci::PullList,
};

const INDEX: &str = "bundle.json";
const PULLS: &str = "oci-images.txt";
/// Changes when an older program could not read it any more.
const FORMAT: u32 = 1;
/// No index is longer.
const LONGEST_INDEX: u64 = 16 << 20;

/// What a bundle says it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    format: u32,
    /// every file
    pub files: Vec<BundledFile>,
    /// container images that install and bootstrap pull
    pub pulls: Vec<String>,
    /// container images that the hand-over's manifests name
    pub handover_pulls: Vec<String>,
}

/// One of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundledFile {
    /// the name it is served under
    pub name: AssetName,
    /// of the whole file
    pub sha256: Digest,
    /// octets
    pub size: u64,
}

/// A bundle cannot be written or is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// the images folder
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// the archive
    #[error("the bundle cannot be read: {0}")]
    Read(io::Error),
    /// the archive
    #[error("the bundle cannot be written: {0}")]
    Write(io::Error),
    /// some other archive
    #[error("this is not a bundle of `ichord images bundle`: {0}")]
    Form(String),
    /// made by a newer program
    #[error(
        "the bundle has format {0}, this program reads {FORMAT}: use the ichord that made it, or a newer one"
    )]
    Newer(u32),
    /// the wrong bundle
    #[error("the bundle has sha256 {found}, expected {expected}: nothing of it was imported")]
    WrongBundle {
        /// what it must be
        expected: Digest,
        /// what it is
        found: Digest,
    },
    /// a listed file that is not in it
    #[error("the bundle ends without {0}: it is a part of one; nothing of it was imported")]
    Incomplete(String),
    /// a file to be bundled that is not there or not right
    #[error(
        "{0} is not in the images folder, or is not what its list of digests says: run `ichord images pull` first"
    )]
    NotHere(AssetName),
    /// a file that was another one before
    #[error(
        "{name} in the bundle has sha256 {found}, but it was {pinned} when it was fetched first: nothing of the bundle was imported"
    )]
    Replaced {
        /// the file
        name: AssetName,
        /// then
        pinned: Digest,
        /// in the bundle
        found: Digest,
    },
}

/// Writes a bundle of these files; returns what is in it and the digest of the whole.
pub fn write_bundle(
    folder: &Folder,
    names: &[AssetName],
    pulls: &PullList,
    to: &Path,
) -> Result<(Bundle, Content), BundleError> {
    let mut files = Vec::new();
    for name in names {
        let content = folder.content(name)?.ok_or_else(|| BundleError::NotHere(name.clone()))?;
        files.push(BundledFile { name: name.clone(), sha256: content.digest, size: content.size });
    }
    let bundle = Bundle {
        format: FORMAT,
        files,
        pulls: pulls.talos.iter().cloned().collect(),
        handover_pulls: pulls.handover.iter().cloned().collect(),
    };
    let parent =
        to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let file = tempfile::NamedTempFile::new_in(parent).map_err(BundleError::Write)?;
    write_archive(folder, &bundle, file.as_file()).map_err(BundleError::Write)?;
    file.as_file().sync_all().map_err(BundleError::Write)?;
    file.persist(to).map_err(|error| BundleError::Write(error.error))?;
    let whole = digest_of(to)?;
    Ok((bundle, whole))
}

fn write_archive(folder: &Folder, bundle: &Bundle, file: &File) -> io::Result<()> {
    let mut archive = tar::Builder::new(BufWriter::new(file));
    let index = serde_json::to_vec_pretty(bundle).map_err(io::Error::other)?;
    append(&mut archive, INDEX, index.len() as u64, index.as_slice())?;
    let list = bundle.list_of_pulls();
    append(&mut archive, PULLS, list.len() as u64, list.as_bytes())?;
    for entry in &bundle.files {
        let file = File::open(folder.served(&entry.name))?;
        append(&mut archive, &entry.name.to_string(), entry.size, file)?;
    }
    archive.into_inner()?.flush()
}

/// Without owner and dates, so that the same files make the same bundle.
fn append(
    archive: &mut tar::Builder<BufWriter<&File>>,
    path: &str,
    size: u64,
    data: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, data)
}

impl Bundle {
    /// Takes a bundle in: every file is checked while it is unpacked, and names are given when all are there.
    pub fn import(folder: &Folder, from: &Path, expected: Option<Digest>) -> Result<Self, BundleError> {
        if let Some(expected) = expected {
            let found = digest_of(from)?.digest;
            if found != expected {
                return Err(BundleError::WrongBundle { expected, found });
            }
        }
        let file = File::open(from).map_err(BundleError::Read)?;
        let mut archive = tar::Archive::new(BufReader::new(file));
        let mut entries = archive.entries().map_err(BundleError::Read)?;
        let bundle = read_index(entries.next())?;
        let mut missing: BTreeMap<String, &BundledFile> =
            bundle.files.iter().map(|file| (file.name.to_string(), file)).collect();
        for file in &bundle.files {
            if let Some(pinned) = folder.pin(&file.name)?.filter(|pinned| *pinned != file.sha256) {
                return Err(BundleError::Replaced { name: file.name.clone(), pinned, found: file.sha256 });
            }
        }
        let mut taken: BTreeMap<AssetName, Content> = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(BundleError::Read)?;
            let path = entry.path().map_err(BundleError::Read)?.to_string_lossy().into_owned();
            let Some(file) = missing.remove(&path) else { continue };
            // one octet more than it says is enough to see that it is wrong
            let content = unpack(folder, file, entry.take(file.size.saturating_add(1)))?;
            taken.insert(file.name.clone(), content);
        }
        if let Some(name) = missing.into_keys().next() {
            return Err(BundleError::Incomplete(name));
        }
        for (name, content) in &taken {
            folder.set_pin(name, content.digest)?;
        }
        for files in by_folder(taken).values() {
            folder.publish(files)?;
        }
        let list = folder.root().join(PULLS);
        fs::write(&list, bundle.list_of_pulls()).map_err(disk("write", &list))?;
        Ok(bundle)
    }

    /// One image a line; those of the hand-over behind a heading.
    pub fn list_of_pulls(&self) -> String {
        let mut text = String::from("# pulled by Talos while it installs and bootstraps\n");
        for image in &self.pulls {
            text += &format!("{image}\n");
        }
        if !self.handover_pulls.is_empty() {
            text += "# named in the manifests of the hand-over\n";
        }
        for image in &self.handover_pulls {
            text += &format!("{image}\n");
        }
        text
    }
}

fn read_index(first: Option<io::Result<tar::Entry<'_, impl Read>>>) -> Result<Bundle, BundleError> {
    let form = |why: &str| BundleError::Form(why.to_owned());
    let entry = first.ok_or_else(|| form("it is empty"))?.map_err(|error| form(&error.to_string()))?;
    if entry.path().map_err(BundleError::Read)?.to_str() != Some(INDEX) {
        return Err(form("it does not begin with its list of files"));
    }
    let mut text = String::new();
    entry.take(LONGEST_INDEX).read_to_string(&mut text).map_err(BundleError::Read)?;
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let bad = |error: serde_json::Error| BundleError::Form(format!("its list of files: {error}"));
    let Format { format } = serde_json::from_str(&text).map_err(bad)?;
    if format != FORMAT {
        return Err(BundleError::Newer(format));
    }
    serde_json::from_str(&text).map_err(bad)
}

fn unpack(folder: &Folder, file: &BundledFile, mut data: impl Read) -> Result<Content, BundleError> {
    let partial = folder.partial(&format!("bundle:{}", file.name));
    let mut to = File::create(&partial).map_err(disk("write", &partial))?;
    io::copy(&mut data, &mut to).map_err(BundleError::Read)?;
    drop(to);
    Ok(folder.take(&file.name, &partial, Some(file.sha256))?)
}

fn by_folder(files: BTreeMap<AssetName, Content>) -> BTreeMap<String, BTreeMap<AssetName, Content>> {
    let mut folders: BTreeMap<String, BTreeMap<AssetName, Content>> = BTreeMap::new();
    for (name, content) in files {
        let text = name.to_string();
        let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        folders.entry(folder).or_default().insert(name, content);
    }
    folders
}
