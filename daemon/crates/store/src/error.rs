//! What can go wrong, one enum per operation.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::ErrorCode;

use crate::model::Revision;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system said no.
    #[error("cannot open the store {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error(
        "the store {path} is in use by another ichord (process {holder}): stop that one, or give this one a state directory of its own"
    )]
    Locked {
        /// The file.
        path: PathBuf,
        /// What the lock file says about the holder.
        holder: String,
    },
    /// A newer ichord wrote it.
    #[error(
        "the store {path} has schema version {found}, this ichord knows only up to {known}: run the newer ichord, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Our version.
        known: i64,
    },
    /// It is a database, but not ours.
    #[error("{path} is a SQLite database of another program: choose another state directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The integrity check failed.
    #[error("the store {path} is damaged ({detail}): restore it from a backup; the file is left as it is")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first findings of SQLite.
        detail: String,
    },
    /// SQLite could not work with the file.
    #[error("cannot open the store {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// A read or a write failed; nothing was changed, unless the message says that this is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No space left.
    #[error("the disk with the store {path} is full: free some space; nothing was written")]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// What is stored cannot be read back.
    #[error("the store holds something unreadable under {what}: {detail}")]
    Unreadable {
        /// The key, the address or the line.
        what: String,
        /// Why.
        detail: String,
    },
    /// The disk or SQLite failed. After a failed write the outcome is known only after the store was opened again.
    #[error("the store {path} failed")]
    Database {
        /// The store's file.
        path: PathBuf,
        /// Why; shared by all transactions that were to be written together.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// The writer thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn new(path: &Path, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { path: path.to_owned() },
            _ => StoreError::Database { path: path.to_owned(), source: Arc::new(source) },
        }
    }
}

/// A transaction did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A comparison failed: somebody else changed the key.
    #[error("{key} is at revision {found}, not {expected} as expected: read it again and decide anew")]
    Conflict {
        /// The first key that differed.
        key: String,
        /// The revision the caller expected; 0 means absent.
        expected: Revision,
        /// The revision it has; 0 means absent.
        found: Revision,
    },
    /// The transaction contradicts itself.
    #[error("the transaction writes {key} twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A batch of leases did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeaseError {
    /// The address belongs to somebody else.
    #[error(
        "{address} is held by another machine: free that lease in the same batch, or choose another address"
    )]
    Taken {
        /// The address.
        address: IpAddr,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A watch cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WatchError {
    /// Changes that were asked for are forgotten.
    #[error("the changes up to revision {compacted} are forgotten: list again and watch from there")]
    Compacted {
        /// The newest forgotten revision.
        compacted: Revision,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
