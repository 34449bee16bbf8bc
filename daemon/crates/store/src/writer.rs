//! The one thread that owns the database: group commit, and answers only after the data is on the disk.

use std::{collections::BTreeSet, path::Path, time::Instant};

use rusqlite::{CachedStatement, Connection, params};
use tokio::sync::{mpsc, oneshot, watch as latest};

use crate::{
    error::{CommitError, LeaseError, StoreError, WatchError},
    lease::{LeaseBatch, LeaseRow},
    lease_book::{LeaseBook, Taken},
    model::{Change, Entry, KeepLog, LogEntry, Revision, Snapshot, Transaction},
    query::{Query, signed},
    schema::{Database, State},
};

/// How many requests share one SQL transaction: enough for one `fsync` to serve a burst, few enough that the
/// first caller does not wait long for the last.
const BATCH: usize = 256;

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

/// What the handle asks for.
pub(crate) enum Request {
    Commit { transaction: Transaction, reply: Reply<Revision, CommitError> },
    Leases { batch: LeaseBatch, reply: Reply<(), LeaseError> },
    Compact { keep: u64, reply: Reply<Revision, StoreError> },
    PruneLog { keep: KeepLog, reply: Reply<u64, StoreError> },
    Read(Read),
}

/// A question that changes nothing.
pub(crate) enum Read {
    Get { key: String, reply: Reply<Option<Entry>, StoreError> },
    List { prefix: String, reply: Reply<Snapshot, StoreError> },
    Changes { prefix: String, from: Revision, reply: Reply<(Vec<Change>, Revision), WatchError> },
    Leases { reply: Reply<Vec<LeaseRow>, StoreError> },
    LogTail { count: usize, reply: Reply<Vec<LogEntry>, StoreError> },
    LogFrom { sequence: u64, limit: usize, reply: Reply<Vec<LogEntry>, StoreError> },
}

/// An answer that waits for the SQL transaction to be durable: told whether it was, it goes out.
type Pending = Box<dyn FnOnce(Result<(), StoreError>)>;

/// Runs until every handle is gone.
pub(crate) fn run(
    database: Database,
    book: LeaseBook,
    mut queue: mpsc::Receiver<Request>,
    publish: latest::Sender<State>,
) {
    let mut writer = Writer { database, book };
    // what a daemon that was killed had not put into the table
    writer.fold();
    while let Some(first) = queue.blocking_recv() {
        let mut writes = Vec::new();
        let mut reads = Vec::new();
        let mut sort = |request| match request {
            Request::Read(read) => reads.push(read),
            write => writes.push(write),
        };
        sort(first);
        for _ in 1..BATCH {
            let Ok(next) = queue.try_recv() else { break };
            sort(next);
        }
        if !writes.is_empty() {
            writer.write(writes, &publish);
        }
        for read in reads {
            writer.read(read);
        }
    }
    // whoever looks into the file of a daemon that has ended finds every lease in its table
    writer.fold();
}

struct Writer {
    database: Database,
    book: LeaseBook,
}

impl Writer {
    fn query(&self) -> Query<'_> {
        Query { path: &self.database.path, connection: &self.database.connection, state: self.database.state }
    }

    fn read(&self, read: Read) {
        let query = self.query();
        // Nobody waits for the answer any more: that is their choice, hence `ok`.
        match read {
            Read::Get { key, reply } => reply.send(query.get(&key)).ok(),
            Read::List { prefix, reply } => reply.send(query.list(&prefix)).ok(),
            Read::Changes { prefix, from, reply } => reply.send(query.changes(&prefix, from)).ok(),
            Read::Leases { reply } => reply.send(query.leases(self.book.waiting())).ok(),
            Read::LogTail { count, reply } => reply.send(query.log_tail(count)).ok(),
            Read::LogFrom { sequence, limit, reply } => reply.send(query.log_from(sequence, limit)).ok(),
        };
    }

    /// Runs all of `writes` in one SQL transaction, each in a savepoint of its own, and answers them.
    fn write(&mut self, writes: Vec<Request>, publish: &latest::Sender<State>) {
        let before = self.database.state;
        let mut batch = Batch {
            connection: &self.database.connection,
            path: &self.database.path,
            book: &mut self.book,
            state: before,
            pending: Vec::with_capacity(writes.len()),
            lost: None,
        };
        batch.begin();
        for write in writes {
            batch.one(write);
        }
        let (state, pending, outcome) = batch.finish();
        if outcome.is_ok() {
            self.database.state = state;
            if state != before {
                publish.send_replace(state);
            }
        }
        for answer in pending {
            answer(outcome.clone());
        }
    }

    fn fold(&mut self) {
        if self.book.waiting().is_empty() {
            return;
        }
        let connection = &self.database.connection;
        let outcome = connection.unchecked_transaction().and_then(|transaction| {
            self.book.fold(&transaction)?;
            transaction.commit()
        });
        self.book.end(outcome.is_ok());
        if let Err(error) = outcome {
            tracing::warn!(%error, "leases stay in the store's journal until it is opened again");
        }
    }
}

/// One SQL transaction that serves many requests.
struct Batch<'a> {
    connection: &'a Connection,
    path: &'a Path,
    book: &'a mut LeaseBook,
    state: State,
    pending: Vec<Pending>,
    /// Set when SQLite gave the whole transaction up; what is still to come fails with it.
    lost: Option<StoreError>,
}

/// Why one request failed: by its own fault, or because the database did.
enum Fault<E> {
    Own(E),
    Sql(rusqlite::Error),
}

impl<E> From<rusqlite::Error> for Fault<E> {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl Batch<'_> {
    fn begin(&mut self) {
        if let Err(error) = self.command("BEGIN IMMEDIATE") {
            self.lost = Some(StoreError::new(self.path, error));
        }
    }

    fn one(&mut self, write: Request) {
        match write {
            Request::Commit { transaction, reply } => self.run(reply, |batch| batch.commit(transaction)),
            Request::Leases { batch: leases, reply } => self.run(reply, |batch| batch.leases(leases)),
            Request::Compact { keep, reply } => self.run(reply, |batch| batch.compact(keep)),
            Request::PruneLog { keep, reply } => self.run(reply, |batch| batch.prune_log(keep)),
            // `run` sorts reads out.
            Request::Read(_) => {}
        }
    }

    /// A statement that is parsed once and kept.
    fn prepared(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(sql)
    }

    fn command(&self, sql: &str) -> rusqlite::Result<()> {
        self.prepared(sql)?.execute([]).map(drop)
    }

    /// Does one request in a savepoint. Its answer waits for the whole batch, a refusal as well: what it
    /// was refused for may itself be part of the batch.
    fn run<T, E>(&mut self, reply: Reply<T, E>, work: impl FnOnce(&mut Self) -> Result<T, Fault<E>>)
    where
        T: 'static,
        E: From<StoreError> + 'static,
    {
        let result = if self.lost.is_some() {
            None // the outcome of the batch is the answer
        } else {
            self.in_savepoint(work)
        };
        self.pending.push(Box::new(move |outcome: Result<(), StoreError>| {
            let answer = match (outcome, result) {
                (Err(error), _) => Err(error.into()),
                (Ok(()), Some(result)) => result,
                // Cannot be: a batch with a lost request does not end well.
                (Ok(()), None) => Err(StoreError::Closed.into()),
            };
            // Nobody waits for the answer any more: the data is stored all the same.
            reply.send(answer).ok();
        }));
    }

    fn in_savepoint<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Fault<E>>,
    ) -> Option<Result<T, E>> {
        let (before, mark) = (self.state, self.book.mark());
        let result = match self.command("SAVEPOINT one") {
            Ok(()) => work(self),
            Err(error) => Err(Fault::Sql(error)),
        };
        let (end, result) = match result {
            Ok(value) => (["RELEASE one"].as_slice(), Ok(value)),
            Err(fault) => {
                self.state = before;
                self.book.back_to(mark);
                let error = match fault {
                    Fault::Own(error) => error,
                    Fault::Sql(error) => {
                        let error = StoreError::new(self.path, error);
                        // A full disk or a failing one makes SQLite roll everything back on its own.
                        if self.connection.is_autocommit() {
                            self.lost = Some(error);
                            return None;
                        }
                        error.into()
                    }
                };
                (["ROLLBACK TO one", "RELEASE one"].as_slice(), Err(error))
            }
        };
        if let Err(error) = end.iter().try_for_each(|sql| self.command(sql)) {
            self.lost = Some(StoreError::new(self.path, error));
            return None;
        }
        Some(result)
    }

    fn finish(self) -> (State, Vec<Pending>, Result<(), StoreError>) {
        let outcome = match self.lost {
            Some(error) => Err(error),
            None => (self.book.write(self.connection, Instant::now()))
                .and_then(|()| self.command("COMMIT"))
                .map_err(|error| StoreError::new(self.path, error)),
        };
        self.book.end(outcome.is_ok());
        if outcome.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the store could not roll back");
        }
        (self.state, self.pending, outcome)
    }

    fn commit(&mut self, transaction: Transaction) -> Result<Revision, Fault<CommitError>> {
        let query = Query { path: self.path, connection: self.connection, state: self.state };
        let mut seen = BTreeSet::new();
        let written = transaction.put.iter().map(|(key, _)| key).chain(&transaction.delete);
        for key in written {
            if !seen.insert(key) {
                return Err(Fault::Own(CommitError::Twice { key: key.clone() }));
            }
        }
        for compare in &transaction.compare {
            let found = query.revisions(&compare.key)?.map_or(0, |(modified, _)| modified);
            if found != compare.mod_revision {
                let (key, expected) = (compare.key.clone(), compare.mod_revision);
                return Err(Fault::Own(CommitError::Conflict { key, expected, found }));
            }
        }

        let revision = self.state.revision + 1;
        let mut changed = false;
        for (key, value) in &transaction.put {
            let created = query.revisions(key)?.map_or(revision, |(_, created)| created);
            let value = value.to_string();
            self.connection.execute(
                "INSERT INTO entries VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value, mod_revision = excluded.mod_revision",
                params![key, value, signed(created), signed(revision)],
            )?;
            self.change(revision, key, Some((&value, created)))?;
            changed = true;
        }
        for key in &transaction.delete {
            if self.connection.execute("DELETE FROM entries WHERE key = ?1", params![key])? > 0 {
                self.change(revision, key, None)?;
                changed = true;
            }
        }
        for line in &transaction.append {
            self.connection.execute(
                "INSERT INTO log (at, json) VALUES (?1, ?2)",
                params![signed(line.at), line.json.to_string()],
            )?;
            self.state.sequence = self.connection.last_insert_rowid().unsigned_abs();
        }
        if changed {
            self.set("revision", revision)?;
            self.state.revision = revision;
        }
        Ok(self.state.revision)
    }

    fn change(&self, revision: Revision, key: &str, put: Option<(&str, Revision)>) -> rusqlite::Result<()> {
        let (value, created) =
            put.map_or((None, None), |(value, created)| (Some(value), Some(signed(created))));
        self.connection.execute(
            "INSERT INTO changes VALUES (?1, ?2, ?3, ?4)",
            params![signed(revision), key, value, created],
        )?;
        Ok(())
    }

    fn set(&self, name: &str, value: u64) -> rusqlite::Result<()> {
        self.connection
            .execute("UPDATE state SET value = ?2 WHERE name = ?1", params![name, signed(value)])?;
        Ok(())
    }

    fn leases(&mut self, batch: LeaseBatch) -> Result<(), Fault<LeaseError>> {
        self.book.apply(batch).map_err(|Taken(address)| Fault::Own(LeaseError::Taken { address }))
    }

    fn compact(&mut self, keep: u64) -> Result<Revision, Fault<StoreError>> {
        let upto = self.state.revision.saturating_sub(keep).max(self.state.compacted);
        self.connection.execute("DELETE FROM changes WHERE revision <= ?1", params![signed(upto)])?;
        self.set("compacted", upto)?;
        self.state.compacted = upto;
        Ok(upto)
    }

    fn prune_log(&mut self, keep: KeepLog) -> Result<u64, Fault<StoreError>> {
        let mut removed = 0;
        if let Some(since) = keep.since {
            removed += self.connection.execute("DELETE FROM log WHERE at < ?1", params![signed(since)])?;
        }
        if let Some(newest) = keep.newest {
            removed += self.connection.execute(
                "DELETE FROM log WHERE sequence <= (SELECT sequence FROM log ORDER BY sequence DESC LIMIT 1 OFFSET ?1)",
                params![signed(newest)],
            )?;
        }
        Ok(removed as u64)
    }
}
