//! The machine's disk survives the process, as a disk survives the power: a file, or the end of a real one.
//!
//! ```text
//! a real disk: what the installer wrote … | slot A, 4 MiB | slot B, 4 MiB |
//! a slot: "ichordst" | sequence (8) | length (4) | SHA-256 of the contents (32) | contents
//! ```
//! Numbers are little endian. The older slot is overwritten, so a power cut leaves the newer one.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};

use crate::model::{Counters, Storage};

const MAGIC: [u8; 8] = *b"ichordst";
const HEADER: usize = 8 + 8 + 4 + 32;
/// Bytes of a slot.
const SLOT: u64 = 4 << 20;

/// What the machine keeps its disk's contents in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    /// a file; a missing one is a blank disk
    File(PathBuf),
    /// a block device
    Device(PathBuf),
}

impl Medium {
    /// What is on it, for whoever looks at the disk of a machine.
    pub fn storage(&self) -> anyhow::Result<Storage> {
        Ok(Disk::open(self)?.contents().0)
    }
}

#[derive(Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Contents {
    storage: Storage,
    counters: Counters,
}

/// The disk.
pub(super) struct Disk {
    medium: Medium,
    written: Contents,
    sequence: u64,
}

impl Disk {
    /// Opens the disk.
    pub(super) fn open(medium: &Medium) -> anyhow::Result<Self> {
        let (written, sequence) = match medium {
            Medium::File(path) => (read_file(path)?, 0),
            Medium::Device(path) => {
                read_device(path).with_context(|| format!("cannot read the disk {}", path.display()))?
            }
        };
        Ok(Self { medium: medium.clone(), written, sequence })
    }

    pub(super) fn contents(&self) -> (Storage, Counters) {
        (self.written.storage.clone(), self.written.counters)
    }

    /// Writes what changed, whole or not at all. It holds secrets, as a node's STATE does.
    pub(super) fn write(&mut self, storage: &Storage, counters: Counters) -> anyhow::Result<()> {
        if self.written.storage == *storage && self.written.counters == counters {
            return Ok(());
        }
        let contents = Contents { storage: storage.clone(), counters };
        let text = serde_json::to_vec(&contents)?;
        self.sequence += 1;
        let (path, written) = match &self.medium {
            Medium::File(path) => (path, write_file(path, &text)),
            Medium::Device(path) => (path, write_slot(path, self.sequence, &text)),
        };
        written.with_context(|| format!("cannot write the disk {}", path.display()))?;
        self.written = contents;
        Ok(())
    }
}

fn read_file(path: &Path) -> anyhow::Result<Contents> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not hold a simulated machine's disk", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read the disk {}", path.display())),
    }
}

fn write_file(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    Ok(fs::rename(&beside, path)?)
}

/// Where a slot begins; the sequence alternates between the two.
fn slot(disk: &mut fs::File, sequence: u64) -> anyhow::Result<u64> {
    let size = disk.seek(SeekFrom::End(0))?;
    ensure!(size > 4 * SLOT, "the disk has only {size} bytes");
    Ok(size - 2 * SLOT + sequence % 2 * SLOT)
}

fn write_slot(path: &Path, sequence: u64, text: &[u8]) -> anyhow::Result<()> {
    let length = u32::try_from(text.len())?;
    ensure!(u64::from(length) + HEADER as u64 <= SLOT, "the contents do not fit");
    let mut disk = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let at = slot(&mut disk, sequence)?;
    disk.seek(SeekFrom::Start(at))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(Sha256::digest(text));
    bytes.extend(text);
    disk.write_all(&bytes)?;
    Ok(disk.sync_all()?)
}

/// The newer of the two slots that are whole; a disk without any is blank.
fn read_device(path: &Path) -> anyhow::Result<(Contents, u64)> {
    let mut disk = fs::File::open(path)?;
    let mut newest = (Contents::default(), 0);
    for which in 0..2 {
        let at = slot(&mut disk, which)?;
        disk.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; usize::try_from(SLOT)?];
        disk.read_exact(&mut bytes)?;
        if let Some((contents, sequence)) = read_slot(&bytes)
            && sequence > newest.1
        {
            newest = (contents, sequence);
        }
    }
    Ok(newest)
}

fn read_slot(bytes: &[u8]) -> Option<(Contents, u64)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let text = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if *magic != MAGIC || Sha256::digest(text).as_slice() != digest {
        return None;
    }
    Some((serde_json::from_slice(text).ok()?, u64::from_le_bytes(*sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boots(number: u32) -> Counters {
        Counters { boots: number, ..Counters::default() }
    }

    fn kept(medium: &Medium) -> u32 {
        Disk::open(medium).unwrap().contents().1.boots
    }

    #[test]
    fn what_was_written_is_there_after_the_power_came_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let medium = Medium::File(path.clone());
        Disk::open(&medium).unwrap().write(&Storage::default(), boots(3)).unwrap();
        assert_eq!(kept(&medium), 3);
        fs::write(&path, "x").unwrap();
        assert!(Disk::open(&medium).is_err());
    }

    #[test]
    fn a_real_disk_keeps_the_last_whole_slot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let medium = Medium::Device(path.clone());
        fs::File::create(&path).unwrap().set_len(5 * SLOT).unwrap();
        assert_eq!(kept(&medium), 0, "blank");
        let mut disk = Disk::open(&medium).unwrap();
        for number in 1..=3 {
            disk.write(&Storage::default(), boots(number)).unwrap();
        }
        assert_eq!(kept(&medium), 3);
        // the third write was cut off
        let mut bytes = fs::read(&path).unwrap();
        let third = bytes.len() - usize::try_from(SLOT).unwrap();
        bytes[third + HEADER] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(kept(&medium), 2);
        let mut disk = Disk::open(&medium).unwrap();
        disk.write(&Storage::default(), boots(4)).unwrap();
        assert_eq!(kept(&medium), 4);
        fs::File::create(&path).unwrap().set_len(SLOT).unwrap();
        assert!(Disk::open(&medium).is_err(), "too small");
    }
}
