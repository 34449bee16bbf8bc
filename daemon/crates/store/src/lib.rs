//! Durable state, shaped like etcd: get, list, transactions with compare, watch. SQLite underneath.
//!
//! The reconciler commits every decision here before it acts on it; DHCP commits its leases here
//! before it says ACK. Whoever gets an answer from `commit` may rely on it after a power cut.
//!
//! One thread owns the database ([`writer`]). It takes everything that waits, runs it as one SQL
//! transaction, and answers all of it once that is on the disk, so a burst of commits costs one
//! `fsync`. Reads go the same way and therefore see every commit that was answered before them.
//! A person can look inside while the daemon runs: `sqlite3 -readonly state.db 'select * from entries'`.

pub mod archive;
pub mod backup;
mod error;
mod lease;
mod lease_book;
mod model;
mod query;
mod schema;
pub mod vault;
mod watch;
mod writer;

use std::{path::Path, sync::Arc, thread};

use tokio::sync::{mpsc, oneshot, watch as latest};

pub use error::{CommitError, LeaseError, OpenError, StoreError, WatchError};
pub use lease::{LeaseBatch, LeaseRow};
pub use model::{Change, Compare, Entry, KeepLog, LogEntry, LogLine, Revision, Snapshot, Transaction};
pub use watch::{FollowLog, Watch};

use schema::State;
use writer::{Read, Request};

/// How many requests may wait for the writer before callers have to wait for a place.
/// Every caller waits for its answer anyway, so this only bounds how many callers are in the queue.
const QUEUE: usize = 1024;

/// A handle on the open store; clones share it. The file is closed when the last handle is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only while dropping: closing the queue is what ends the thread.
    requests: Option<mpsc::Sender<Request>>,
    state: latest::Receiver<State>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Shared {
    /// Waits for the thread, so that the file is free for the next `open` when the last handle is gone.
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
    }
}

impl Store {
    /// Opens the store at `path`, or creates it with mode 0600.
    ///
    /// Blocks while SQLite recovers the write-ahead log and checks the file. Refuses a file that another
    /// process holds, that a newer ichord wrote, that is not a store, or that is damaged.
    pub fn open(path: &Path) -> Result<Store, OpenError> {
        Store::start(schema::open(path)?)
    }

    fn start(database: schema::Database) -> Result<Store, OpenError> {
        let path = database.path.clone();
        let book = database.lease_book()?;
        let (requests, queue) = mpsc::channel(QUEUE);
        let (publish, state) = latest::channel(database.state);
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer::run(database, book, queue, publish))
            .map_err(|source| OpenError::Io { path, source })?;
        Ok(Store { shared: Arc::new(Shared { requests: Some(requests), state, thread: Some(thread) }) })
    }

    /// The revision of the last commit that changed an entry; 0 in an empty store.
    pub fn revision(&self) -> Revision {
        self.shared.state.borrow().revision
    }

    /// The entry under exactly this key.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.read(|reply| Read::Get { key, reply }).await
    }

    /// Every entry whose key begins with `prefix`, in the order of the keys' bytes.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(self.snapshot(prefix).await?.entries)
    }

    /// [`list`](Self::list), and the revision it shows: `watch(prefix, revision + 1)` goes on from there.
    pub async fn snapshot(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let prefix = prefix.to_owned();
        self.read(|reply| Read::List { prefix, reply }).await
    }

    /// Makes all of `transaction` durable, or none of it. The answer comes after the data is on the disk.
    ///
    /// A caller that gives up waiting does not take the transaction back.
    pub async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Commit { transaction, reply }).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Changes to keys that begin with `prefix`, from `from_revision` (inclusive) onwards.
    pub fn watch(&self, prefix: &str, from_revision: Revision) -> Watch {
        Watch::new(self.clone(), self.shared.state.clone(), prefix.to_owned(), from_revision)
    }

    /// Forgets the history of changes but for the last `keep` revisions; entries themselves stay.
    /// Answers the newest revision that a [`Watch`] can no longer begin at (0: none).
    pub async fn compact(&self, keep: u64) -> Result<Revision, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Compact { keep, reply }).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Every lease, in the order of the addresses' text.
    pub async fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        self.read(|reply| Read::Leases { reply }).await
    }

    /// Writes leases, durable when answered. A row replaces the one of the same MAC, or of the same address
    /// when that one has no MAC; an address that another machine holds is refused unless `remove` frees it.
    pub async fn commit_leases(&self, batch: impl Into<LeaseBatch>) -> Result<(), LeaseError> {
        let batch = batch.into();
        let (reply, answer) = oneshot::channel();
        self.send(Request::Leases { batch, reply }).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The last `count` lines of the log, oldest first.
    pub async fn log_tail(&self, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.read(|reply| Read::LogTail { count, reply }).await
    }

    /// At most `limit` lines of the log from `sequence` (inclusive) onwards, oldest first.
    pub async fn log_from(&self, sequence: u64, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.read(|reply| Read::LogFrom { sequence, limit, reply }).await
    }

    /// Log lines as they are written, from `sequence` (inclusive) onwards.
    pub fn follow_log(&self, sequence: u64) -> FollowLog {
        FollowLog::new(self.clone(), self.shared.state.clone(), sequence)
    }

    /// The number of the last log line ever written; 0 before the first.
    pub fn log_sequence(&self) -> u64 {
        self.shared.state.borrow().sequence
    }

    /// Removes the log lines that `keep` does not ask for and answers how many. Nothing else ever removes one.
    pub async fn prune_log(&self, keep: KeepLog) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::PruneLog { keep, reply }).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn read<T>(
        &self,
        read: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Read,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Read(read(reply))).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        let Some(requests) = &self.shared.requests else { return Err(StoreError::Closed) };
        requests.send(request).await.map_err(|_| StoreError::Closed)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
