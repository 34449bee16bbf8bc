//! A copy of the store's file that is whole at one moment, taken beside a running daemon, and the way back.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    archive::{ArchiveError, Kind, Opener, Sealer},
    error::OpenError,
    model::Revision,
    schema,
};

/// A backup was not made, or not brought back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// of the store itself
    #[error(transparent)]
    Store(#[from] OpenError),
    /// of the file system
    #[error("{path}: {source}")]
    Io {
        /// which file
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// of the sealed file
    #[error("{path}: {source}")]
    Archive {
        /// which file
        path: PathBuf,
        /// why
        source: ArchiveError,
    },
    /// a store is there
    #[error(
        "{0} is there already: --replace puts it aside; what it knows and the backup does not is then unknown to the daemon"
    )]
    There(PathBuf),
}

/// Copies the store at `store` into a sealed file, which must not be there yet. Its revision.
pub fn back_up(store: &Path, secret: &[u8], into: &Path) -> Result<Revision, BackupError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    // opening it would make one
    fs::metadata(store).map_err(io(store))?;
    let copy = beside(into, "copy");
    let part = beside(into, "part");
    let done = (|| {
        forget(&copy).map_err(io(&copy))?;
        let revision = copied(store, &copy)?;
        let mut plain = File::open(&copy).map_err(io(&copy))?;
        let file = private(&part).map_err(io(&part))?;
        let sealed = (|| {
            let mut sealer = Sealer::new(Kind::Store, secret, file)?;
            let mut buffer = zeroize::Zeroizing::new(vec![0; 64 << 10]);
            loop {
                match io::Read::read(&mut plain, &mut buffer)? {
                    0 => break,
                    length => sealer.push(&buffer[..length])?,
                }
            }
            sealer.finish()?.sync_all()?;
            Ok(())
        })();
        sealed.map_err(|source| BackupError::Archive { path: part.clone(), source })?;
        // never over another backup
        fs::hard_link(&part, into).map_err(io(into))?;
        Ok(revision)
    })();
    // what is left of an attempt is of no use, and the copy is plain
    forget(&copy).ok();
    forget(&part).ok();
    done
}

/// Brings a backup back as the store at `store`. Its revision. With `replace` a store that is there is put aside first.
pub fn bring_back(
    backup: &Path,
    secret: &[u8],
    store: &Path,
    replace: bool,
) -> Result<Revision, BackupError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BackupError::Io { path, source }
    };
    let _lock = schema::lock(store)?;
    if store.exists() && !replace {
        return Err(BackupError::There(store.to_owned()));
    }
    let part = beside(store, "part");
    forget(&part).map_err(io(&part))?;
    let opened = (|| {
        let mut file = private(&part)?;
        Opener::new(Kind::Store, secret, File::open(backup)?)?.copy_to(&mut file)?;
        file.sync_all()?;
        Ok(())
    })();
    if let Err(source) = opened {
        forget(&part).ok();
        return Err(BackupError::Archive { path: backup.to_owned(), source });
    }
    let revision = schema::revision(&part).inspect_err(|_| {
        forget(&part).ok();
    })?;
    // the log of another database must not be taken for this one's
    for suffix in ["-wal", "-shm"] {
        let mut name = store.as_os_str().to_owned();
        name.push(suffix);
        let name = PathBuf::from(name);
        if store.exists() {
            let aside = beside(&name, "before-restore");
            if name.exists() {
                fs::rename(&name, &aside).map_err(io(&name))?;
            }
        } else {
            forget(&name).map_err(io(&name))?;
        }
    }
    if store.exists() {
        fs::rename(store, beside(store, "before-restore")).map_err(io(store))?;
    }
    fs::rename(&part, store).map_err(io(store))?;
    let folder =
        store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))?;
    Ok(revision)
}

fn copied(store: &Path, copy: &Path) -> Result<Revision, OpenError> {
    let sql = |source| OpenError::Database { path: store.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite makes the copy with the process's umask
    let file = private(copy).map_err(|source| OpenError::Io { path: copy.to_owned(), source })?;
    drop(file);
    let connection = Connection::open_with_flags(store, flags).map_err(sql)?;
    connection.execute_batch("PRAGMA busy_timeout = 5000").map_err(sql)?;
    connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]).map_err(sql)?;
    drop(connection);
    schema::revision(copy)
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Writes a whole file for nobody else to read, in place of the one that is there.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let part = beside(path, "part");
    forget(&part)?;
    let mut file = private(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, Transaction};

    fn put(key: &str) -> Transaction {
        Transaction { put: vec![(key.to_owned(), serde_json::json!(1))], ..Transaction::default() }
    }

    #[tokio::test]
    async fn a_backup_of_a_running_store_comes_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backup) = (dir.path().join("state.db"), dir.path().join("backup.sealed"));
        let store = Store::open(&path).unwrap();
        store.commit(put("one")).await.unwrap();
        store.commit(put("two")).await.unwrap();
        // the daemon goes on meanwhile
        assert_eq!(back_up(&path, b"secret", &backup).unwrap(), 2);
        store.commit(put("three")).await.unwrap();
        assert!(
            matches!(back_up(&path, b"secret", &backup), Err(BackupError::Io { .. })),
            "never over another"
        );
        assert!(
            matches!(
                bring_back(&backup, b"secret", &path, true),
                Err(BackupError::Store(OpenError::Locked { .. }))
            ),
            "not under a running daemon"
        );
        drop(store);
        assert!(matches!(bring_back(&backup, b"secret", &path, false), Err(BackupError::There(_))));
        assert!(matches!(bring_back(&backup, b"other", &path, true), Err(BackupError::Archive { .. })));
        assert_eq!(Store::open(&path).unwrap().revision(), 3, "what failed changed nothing");
        assert_eq!(bring_back(&backup, b"secret", &path, true).unwrap(), 2);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.revision(), 2);
        let keys: Vec<String> = store.list("").await.unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["one", "two"]);
        let left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".copy") || name.ends_with(".part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
