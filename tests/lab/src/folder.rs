//! The lab's scratch folder: locked while its lab lives, removed with it, and swept by the next lab if it crashed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

const PREFIX: &str = "ichord-lab-";
const LOCK: &str = "lock";

/// A scratch folder that belongs to this process.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: Option<TempDir>,
    path: PathBuf,
    _lock: Flock<File>,
}

impl Folder {
    /// Sweeps what crashed labs left behind under `parent` and makes a new folder there.
    pub(crate) fn make(parent: &Path) -> Result<Self> {
        sweep(parent);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let path = directory.path().to_owned();
        // under its own name only once it is locked, or another lab could sweep us between the two
        let unnamed = path.join("lock.new");
        let file = File::create(&unnamed).context("cannot make the lab's lock")?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| anyhow!("cannot lock {}: {error}", path.display()))?;
        fs::rename(&unnamed, path.join(LOCK)).context("cannot name the lab's lock")?;
        Ok(Self { directory: Some(directory), path, _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it to the person who wants to look inside.
    pub(crate) fn keep(&mut self) {
        if let Some(directory) = self.directory.take() {
            // an unlocked folder would be swept by the next lab; one without a lock is left alone
            fs::remove_file(directory.path().join(LOCK)).ok();
            let _: PathBuf = directory.keep();
        }
    }
}

/// Removes folders whose lab is gone. Best effort: somebody else's folder is not ours to remove.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        // no lock file: kept on purpose, or just being made
        let Ok(file) = File::open(path.join(LOCK)) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            fs::remove_dir_all(&path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_lab_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let living = Folder::make(parent.path()).unwrap();
        let mut kept = Folder::make(parent.path()).unwrap();
        kept.keep();
        let kept_path = kept.path().to_owned();
        drop(kept);
        let dead = parent.path().join("ichord-lab-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let foreign = parent.path().join("something-else");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(LOCK), "").unwrap();

        let next = Folder::make(parent.path()).unwrap();
        assert!(!dead.exists());
        assert!(living.path().exists() && kept_path.exists() && foreign.exists());

        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
