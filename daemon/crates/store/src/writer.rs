//! The one thread that owns the database: group commit, and answers only after the data is on the disk.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use rusqlite::{CachedStatement, Connection, ErrorCode, params};
use tokio::sync::{mpsc, oneshot, watch as latest};

use crate::{
    error::{CommitError, LeaseError, StoreError, WatchError},
    lease::{LeaseBatch, LeaseRow},
    model::{Change, Entry, KeepLog, LogEntry, Revision, Snapshot, Transaction},
    query::{Query, signed},
    schema::{Database, State},
};

/// How many requests share one SQL transaction: enough for one `fsync` to serve a burst, few enough that the
/// first caller does not wait long for the last.
const BATCH: usize = 256;

const INSERT: &str = "INSERT INTO leases (address, mac, hostname, state, granted, expires, relayed) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const INSERT_OVER: &str = "INSERT OR REPLACE INTO leases (address, mac, hostname, state, granted, expires, relayed) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

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
pub(crate) fn run(database: Database, mut queue: mpsc::Receiver<Request>, publish: latest::Sender<State>) {
    let mut writer = Writer { database };
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
}

struct Writer {
    database: Database,
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
            Read::Leases { reply } => reply.send(query.leases()).ok(),
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
}

/// One SQL transaction that serves many requests.
struct Batch<'a> {
    connection: &'a Connection,
    path: &'a Path,
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
        let before = self.state;
        let result = match self.command("SAVEPOINT one") {
            Ok(()) => work(self),
            Err(error) => Err(Fault::Sql(error)),
        };
        let (end, result) = match result {
            Ok(value) => (["RELEASE one"].as_slice(), Ok(value)),
            Err(fault) => {
                self.state = before;
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
            None => self.command("COMMIT").map_err(|error| StoreError::new(self.path, error)),
        };
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
        let put: BTreeSet<IpAddr> = batch.put.iter().map(|row| row.address).collect();
        let freed: BTreeSet<IpAddr> = batch.remove.iter().copied().collect();
        for address in freed.difference(&put) {
            self.prepared("DELETE FROM leases WHERE address = ?1")?.execute([address.to_string()])?;
        }
        // A row whose address is freed goes over whatever is there, in one statement instead of three.
        let (over, beside): (Vec<_>, Vec<_>) = batch.put.iter().partition(|row| freed.contains(&row.address));
        let mut macs = BTreeSet::new();
        if let Some(twice) = over.iter().find(|row| row.mac.is_some_and(|mac| !macs.insert(mac))) {
            return Err(Fault::Own(LeaseError::Taken { address: twice.address }));
        }
        // All others make place first, so that two machines can trade their addresses in one batch.
        for row in &beside {
            self.prepared("DELETE FROM leases WHERE mac = ?2 OR (address = ?1 AND mac IS NULL)")?
                .execute(params![row.address.to_string(), row.mac.map(|mac| mac.to_string())])?;
        }
        for (rows, insert) in [(over, INSERT_OVER), (beside, INSERT)] {
            let mut statement = self.prepared(insert)?;
            for row in rows {
                let inserted = statement.execute(params![
                    row.address.to_string(),
                    row.mac.map(|mac| mac.to_string()),
                    row.hostname,
                    row.state,
                    signed(row.granted),
                    signed(row.expires),
                    row.relayed
                ]);
                match inserted {
                    Ok(_) => {}
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                        return Err(Fault::Own(LeaseError::Taken { address: row.address }));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
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
