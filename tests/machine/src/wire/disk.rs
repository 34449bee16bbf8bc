//! The machine's disk is a file: what it holds survives the process, as a disk survives the power.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::model::{Counters, Storage};

#[derive(Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Contents {
    storage: Storage,
    counters: Counters,
}

/// The file.
pub(super) struct Disk {
    path: PathBuf,
    written: Contents,
}

impl Disk {
    /// Opens the file; one that does not exist is a blank disk.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let written = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} does not hold a simulated machine's disk", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the disk {}", path.display()));
            }
        };
        Ok(Self { path: path.to_owned(), written })
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
        let beside = self.path.with_extension("new");
        let text = serde_json::to_vec(&contents)?;
        fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| fs::rename(&beside, &self.path))
            .with_context(|| format!("cannot write the disk {}", self.path.display()))?;
        self.written = contents;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_after_the_power_came_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let counters = Counters { boots: 3, ..Counters::default() };
        Disk::open(&path).unwrap().write(&Storage::default(), counters).unwrap();
        assert_eq!(Disk::open(&path).unwrap().contents(), (Storage::default(), counters));
        fs::write(&path, "x").unwrap();
        assert!(Disk::open(&path).is_err());
    }
}
