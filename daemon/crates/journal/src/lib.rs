//! Every decision and action with its evidence, append-only.
//!
//! The reconciler turns each [`Entry`] into a log line of the transaction that carries the decision itself,
//! so a decision without its entry, or an entry without its decision, cannot exist. People read it back
//! through `ichord events` ([`tail`], [`follow`]).

use std::{error, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{FollowLog, LogEntry, LogLine, Store, StoreError};

/// The version of the line's form that this program writes.
const VERSION: u64 = 1;

/// What an entry about the whole cluster names as its subject.
pub const CLUSTER: &str = "cluster";

/// One thing that was decided or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The node it is about, or [`CLUSTER`].
    pub subject: String,
    /// What was decided or done: one sentence.
    pub what: String,
    /// What it was decided on, one finding per line; never a secret.
    pub evidence: Vec<String>,
}

/// An entry with its place in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Rising, without gaps between entries committed together; never used twice.
    pub sequence: u64,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.what)?;
        if !self.evidence.is_empty() {
            write!(f, " ({})", self.evidence.join("; "))?;
        }
        Ok(())
    }
}

impl From<&Entry> for LogLine {
    fn from(entry: &Entry) -> Self {
        let mut json = Map::new();
        json.insert("version".to_owned(), json!(VERSION));
        json.insert("subject".to_owned(), json!(entry.subject));
        json.insert("what".to_owned(), json!(entry.what));
        json.insert("evidence".to_owned(), json!(entry.evidence));
        LogLine { at: entry.at, json: Value::Object(json) }
    }
}

impl TryFrom<LogEntry> for Record {
    type Error = JournalError;

    fn try_from(line: LogEntry) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Line {
            version: u64,
            subject: String,
            what: String,
            evidence: Vec<String>,
        }
        let sequence = line.sequence;
        let unreadable = |source| JournalError::Unreadable { sequence, source };
        let Line { version, subject, what, evidence } =
            serde_json::from_value(line.json).map_err(|error| unreadable(error.into()))?;
        if version != VERSION {
            return Err(unreadable(format!("its form has version {version}, not {VERSION}").into()));
        }
        Ok(Record { sequence, entry: Entry { at: line.at, subject, what, evidence } })
    }
}

/// The journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A line is not an entry: a newer ichord or a person wrote it.
    #[error("journal line {sequence} cannot be read")]
    Unreadable {
        /// Which line.
        sequence: u64,
        /// Why.
        #[source]
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The last `count` entries, oldest first.
pub async fn tail(store: &Store, count: usize) -> Result<Vec<Record>, JournalError> {
    store.log_tail(count).await?.into_iter().map(Record::try_from).collect()
}

/// Entries as they are written, from `sequence` (inclusive) onwards.
/// After [`tail`] that is the last record's sequence plus one.
pub fn follow(store: &Store, sequence: u64) -> Follow {
    Follow { lines: store.follow_log(sequence) }
}

/// See [`follow`].
#[derive(Debug)]
pub struct Follow {
    lines: FollowLog,
}

impl Follow {
    /// Waits for the next entry. Cancel safe. After an unreadable line the call after it goes on behind it.
    pub async fn next(&mut self) -> Result<Record, JournalError> {
        self.lines.next().await?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use store::Transaction;

    use super::*;

    fn entry(at: u64, what: &str) -> Entry {
        let evidence = vec!["sw1/Eth1/1: attested by the daemon".to_owned()];
        Entry { at, subject: "mini01".to_owned(), what: what.to_owned(), evidence }
    }

    async fn append(store: &Store, append: Vec<LogLine>) {
        store.commit(Transaction { append, ..Transaction::default() }).await.unwrap();
    }

    #[tokio::test]
    async fn entries_come_back_as_they_went_in_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state.db")).unwrap();
        let entries: Vec<_> = (1..=3).map(|at| entry(at, "config pushed")).collect();
        append(&store, entries.iter().map(LogLine::from).collect()).await;

        let records = tail(&store, 2).await.unwrap();
        assert_eq!(
            records.iter().map(|record| &record.entry).collect::<Vec<_>>(),
            [&entries[1], &entries[2]]
        );
        assert_eq!(records.iter().map(|record| record.sequence).collect::<Vec<_>>(), [2, 3]);

        let mut follow = follow(&store, records[1].sequence + 1);
        let next = tokio::spawn(async move { follow.next().await.unwrap().entry });
        append(&store, vec![LogLine::from(&entry(9, "installing"))]).await;
        assert_eq!(next.await.unwrap(), entry(9, "installing"));
    }

    #[tokio::test]
    async fn a_line_that_is_no_entry_is_named_and_passed() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("state.db")).unwrap();
        let mut newer = LogLine::from(&entry(1, "bootstrapped"));
        newer.json["version"] = json!(2);
        let foreign = LogLine { at: 2, json: json!("hello") };
        append(&store, vec![newer, foreign, LogLine::from(&entry(3, "installed"))]).await;

        let mut follow = follow(&store, 0);
        for expected in [1, 2] {
            let error = follow.next().await.unwrap_err();
            assert!(matches!(error, JournalError::Unreadable { sequence, .. } if sequence == expected));
        }
        assert_eq!(follow.next().await.unwrap().entry, entry(3, "installed"));
    }

    #[test]
    fn a_line_for_people_has_the_evidence_in_it() {
        let shown = entry(1, "identified").to_string();
        assert_eq!(shown, "mini01: identified (sw1/Eth1/1: attested by the daemon)");
    }
}
