//! What goes in and out: entries, transactions, changes and log lines.
//!
//! Values are JSON objects; writers put a version field into them, so that a newer daemon can read
//! what an older one wrote, and a person can read both.

use serde_json::Value;

/// Counts the commits that changed an entry, from 1. All entries of one commit carry the same revision.
pub type Revision = u64;

/// One key and what is stored under it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, a path such as `nodes/mini01`.
    pub key: String,
    /// The value as it was put.
    pub value: Value,
    /// The revision that created the key (anew, if it had been deleted).
    pub create_revision: Revision,
    /// The revision of the last put: what [`Compare`] compares.
    pub mod_revision: Revision,
}

/// Entries together with the revision at which they were read.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The store's revision at the time of reading.
    pub revision: Revision,
    /// The entries, in the order of their keys.
    pub entries: Vec<Entry>,
}

/// A condition on one key that must hold for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// The `mod_revision` it must have; 0 means that the key must not exist.
    pub mod_revision: Revision,
}

/// What one commit does: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    /// Conditions, checked before anything is written.
    pub compare: Vec<Compare>,
    /// Keys and their new values. A key may occur once among `put` and `delete` together.
    pub put: Vec<(String, Value)>,
    /// Keys to remove; one that does not exist is no error.
    pub delete: Vec<String>,
    /// Lines for the append-only log.
    pub append: Vec<LogLine>,
}

/// A line to append to the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// When it happened, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What happened; `journal` gives it its shape.
    pub json: Value,
}

/// A line of the log as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Its place: rising, never used again, even after pruning.
    pub sequence: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What happened.
    pub json: Value,
}

/// Which log lines pruning leaves; a line stays only if both conditions want it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepLog {
    /// Lines that happened at this time or later, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    /// The newest lines, this many.
    pub newest: Option<u64>,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The key was created or got a new value.
    Put(Entry),
    /// The key was removed.
    Deleted {
        /// The key.
        key: String,
        /// The revision that removed it.
        revision: Revision,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Deleted { key, .. } => key,
        }
    }

    /// The revision of the change.
    pub fn revision(&self) -> Revision {
        match self {
            Change::Put(entry) => entry.mod_revision,
            Change::Deleted { revision, .. } => *revision,
        }
    }
}
