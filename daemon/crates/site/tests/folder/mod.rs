//! A site's folder in memory, for the tests of this crate.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use site::Files;

/// Files in memory.
pub(crate) struct Folder(pub(crate) BTreeMap<PathBuf, String>);

impl Files for Folder {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
}
