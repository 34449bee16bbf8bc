//! How far a rollout is, on this host's disk, and the right to be the only one who goes on with it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use rollout::order::Record;

use super::credentials::create;

/// The record on the disk, and the right to be the only one who has it.
pub(crate) struct Book {
    path: PathBuf,
    _alone: File,
}

impl Book {
    pub(crate) fn open(path: PathBuf) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let lock = path.with_extension("lock");
        let alone = File::create(&lock).with_context(|| format!("{} cannot be written", lock.display()))?;
        match alone.try_lock() {
            Ok(()) => Ok(Self { path, _alone: alone }),
            Err(fs::TryLockError::WouldBlock) => Err(anyhow!("another `ichord` is at this already")),
            Err(fs::TryLockError::Error(error)) => {
                Err(anyhow!(error).context(format!("{} cannot be locked", lock.display())))
            }
        }
    }

    pub(crate) fn read(&self) -> anyhow::Result<Option<Record>> {
        match fs::read(&self.path) {
            Ok(text) => {
                let record = serde_json::from_slice(&text);
                Ok(Some(record.with_context(|| format!("{} is no record of it", self.path.display()))?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow!(error).context(format!("{} cannot be read", self.path.display()))),
        }
    }

    /// The old one or the new one is there at every moment, and the new one before anything is done that it tells of.
    pub(crate) fn write(&self, record: &Record) -> anyhow::Result<()> {
        let failed = || format!("{} cannot be written", self.path.display());
        let new = self.path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(anyhow!(error).context(failed()));
            }
            _ => {}
        }
        create(&new, &serde_json::to_string(record)?).with_context(failed)?;
        fs::rename(&new, &self.path).with_context(failed)?;
        let folder =
            self.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)
    }

    /// A file that belongs to it and outlives it.
    pub(crate) fn beside(&self, what: &str) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}-{what}"))
    }

    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(anyhow!(error).context(format!("{} cannot be removed", self.path.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Where the record is when nobody says otherwise.
pub(crate) fn place(what: &str) -> anyhow::Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state"));
    let folder = state.or_else(home).context("neither HOME nor XDG_STATE_HOME is set: say --record")?;
    Ok(folder.join("ichord").join(format!("{what}.json")))
}

#[cfg(test)]
mod tests {
    use rollout::order::Task;

    use super::*;

    #[test]
    fn a_record_outlives_its_command_and_has_one_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deeper/apply.json");
        let book = Book::open(path.clone()).expect("opens");
        assert_eq!(book.read().expect("reads"), None);
        let mut record = Record::new(Task::Apply, 7);
        book.write(&record).expect("writes");
        record.since = 8;
        book.write(&record).expect("writes over it");
        assert_eq!(book.beside("etcd-7.db"), folder.path().join("deeper/apply-etcd-7.db"));
        let second = Book::open(path.clone()).err().expect("one owner").to_string();
        assert!(second.contains("another `ichord`"), "{second}");
        drop(book);
        let book = Book::open(path.clone()).expect("opens again");
        assert_eq!(book.read().expect("reads"), Some(record));
        fs::write(&path, "{").expect("breaks");
        assert!(book.read().expect_err("broken").to_string().contains("is no record of it"));
        book.forget().expect("forgets");
        book.forget().expect("twice");
        assert_eq!(book.read().expect("reads"), None);
    }
}
