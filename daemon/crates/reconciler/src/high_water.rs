//! How far the store has come, remembered outside of it: a store below this mark is a backup that was
//! brought back, and does not know what was done since.
//!
//! The mark is written after a commit, so that a crash leaves it below the store, which means nothing.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use store::Revision;

/// See the module's head.
#[derive(Debug)]
pub struct HighWater {
    path: Option<PathBuf>,
    mark: Revision,
}

impl HighWater {
    /// None is kept.
    pub fn none() -> Self {
        Self { path: None, mark: 0 }
    }

    /// The mark in this file. A file that is not there yet is a mark of 0, and so is an empty one: a power cut may
    /// leave that behind, and it must not keep the daemon from starting.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mark = match fs::read_to_string(path) {
            Ok(text) if text.is_empty() => 0,
            Ok(text) => text.trim().parse().map_err(|_| {
                let reason = format!("{} does not hold a number: remove it", path.display());
                io::Error::new(io::ErrorKind::InvalidData, reason)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self { path: Some(path.to_owned()), mark })
    }

    /// Leaves a mark above this revision: a store that was brought back is told apart from one that went on.
    pub fn leave_above(path: &Path, revision: Revision) -> io::Result<()> {
        let mark = Self::open(path).map_or(0, |found| found.mark);
        replace(path, mark.max(revision + 1))
    }

    /// Whether a store at this revision has lost something.
    pub(crate) fn is_above(&self, revision: Revision) -> bool {
        self.mark > revision
    }

    /// The store has come so far.
    pub(crate) fn rise_to(&mut self, revision: Revision) {
        let Some(path) = &self.path else { return };
        if self.mark == revision {
            return;
        }
        self.mark = revision;
        let written = replace(path, revision);
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "the store's high-water mark cannot be written");
        }
    }
}

/// A rename, so that no crash leaves half a number; flushed on both sides of it, so that no power cut leaves an empty
/// file or takes the name back. For nobody else to read, like all of the state.
fn replace(path: &Path, revision: Revision) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{revision}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_below_the_mark_was_brought_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("high-water");
        let mut mark = HighWater::open(&path).unwrap();
        assert!(!mark.is_above(0));
        mark.rise_to(7);
        let again = HighWater::open(&path).unwrap();
        assert!(again.is_above(6) && !again.is_above(7) && !again.is_above(8));
        HighWater::leave_above(&path, 3).unwrap();
        assert!(HighWater::open(&path).unwrap().is_above(6), "it never sinks");
        HighWater::leave_above(&path, 9).unwrap();
        assert!(HighWater::open(&path).unwrap().is_above(9));
        fs::write(&path, "").unwrap();
        assert!(!HighWater::open(&path).unwrap().is_above(0), "what a power cut leaves");
        fs::write(&path, "seven").unwrap();
        assert!(HighWater::open(&path).unwrap_err().to_string().contains("remove it"));
    }
}
