//! The file: its tables, and everything that is checked before a byte of it is believed.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{error::OpenError, lease_book::LeaseBook, model::Revision, query::Query};

/// "iCHo": tells our file from any other SQLite database (the pragma `application_id`).
const APPLICATION: i64 = 0x6943_486f;

/// The schema this program writes; a file of a newer one is refused.
const VERSION: i64 = 3;

/// How many pages of 4 KiB the write-ahead log grows before they go into the file. A rack that is switched on writes the same
/// few pages of leases again and again; with SQLite's own 1,000 they would go there several times a second.
const CHECKPOINT: i64 = 4_000;

/// Times are milliseconds since the Unix epoch; the generated columns show them to people.
/// `WITHOUT ROWID` keeps the table in the order of its key.
const TABLES: &str = "
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO state VALUES ('revision', 0), ('compacted', 0);
CREATE TABLE entries (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    create_revision INTEGER NOT NULL,
    mod_revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
    revision INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT,              -- NULL: the key was deleted
    create_revision INTEGER, -- NULL: the key was deleted
    PRIMARY KEY (revision, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (
    address TEXT PRIMARY KEY,
    mac TEXT UNIQUE,
    hostname TEXT,
    state TEXT NOT NULL,
    granted INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    relayed TEXT,            -- the relay and its option 82
    expires_at TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%SZ', expires / 1000, 'unixepoch')) VIRTUAL
) STRICT, WITHOUT ROWID;
CREATE TABLE lease_journal ( -- changes to leases that the table does not have yet; see lease_book.rs
    sequence INTEGER PRIMARY KEY,
    changes TEXT NOT NULL
) STRICT;
CREATE TABLE log (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    json TEXT NOT NULL,
    happened TEXT GENERATED ALWAYS AS (strftime('%Y-%m-%dT%H:%M:%SZ', at / 1000, 'unixepoch')) VIRTUAL
) STRICT;
";

/// What brings a file of a version to the next one.
const CHANGES: [(i64, &str); 2] = [
    (1, "ALTER TABLE leases ADD COLUMN relayed TEXT"),
    (2, "CREATE TABLE lease_journal (sequence INTEGER PRIMARY KEY, changes TEXT NOT NULL) STRICT"),
];

/// The open file, ready for the writer thread.
pub(crate) struct Database {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) state: State,
    /// Held as long as the connection; the kernel gives it back when the process ends, however it ends.
    _lock: File,
}

impl Database {
    /// All leases, and which of them the table does not show yet.
    pub(crate) fn lease_book(&self) -> Result<LeaseBook, OpenError> {
        let query = Query { path: &self.path, connection: &self.connection, state: self.state };
        let rows = query.lease_table().map_err(|unreadable| OpenError::Damaged {
            path: self.path.clone(),
            detail: unreadable.to_string(),
        })?;
        LeaseBook::open(&self.connection, rows).map_err(|source| error(&self.path, source))
    }
}

/// How far the store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    /// The last log line's.
    pub(crate) sequence: u64,
}

pub(crate) fn open(path: &Path) -> Result<Database, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let lock = lock(path)?;
    // SQLite would create it with the process's umask; its journal files take the mode of this one.
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
    drop(file);

    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|source| error(path, source))?;
    check_and_prepare(path, &connection)?;
    let state = state(&connection).map_err(|source| error(path, source))?;
    Ok(Database { path: path.to_owned(), connection, state, _lock: lock })
}

/// Takes the lock that keeps a second daemon out. It is a file of its own, because SQLite's own locks are
/// lost when any other descriptor of the database file is closed.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let io = |source| OpenError::Io { path: name.clone(), source };
    let mut file = (OpenOptions::new().read(true).write(true).create(true).truncate(false))
        .mode(0o600)
        .open(&name)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(io)?;
            write!(file, "{}", std::process::id()).map_err(io)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Best effort: the number only helps the reader of the message.
            if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
                holder = "unknown".to_owned();
            }
            Err(OpenError::Locked { path: path.to_owned(), holder })
        }
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn check_and_prepare(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let sql = |source| error(path, source);
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(sql);

    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let fresh = application == 0 && tables == 0;
    if !fresh && application != APPLICATION {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found = number("PRAGMA user_version")?;
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    // FULL: a commit that was answered survives a power cut. Foreign processes that only read do not block us
    // in WAL mode; the timeout covers the moment in which one of them recovers the log.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
        .map_err(sql)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(sql)?;
    let detail: String = connection
        .query_row(
            "SELECT group_concat(found, '; ') FROM (SELECT integrity_check AS found FROM pragma_integrity_check LIMIT 3)",
            [],
            |row| row.get(0),
        )
        .map_err(sql)?;
    if detail != "ok" {
        return Err(OpenError::Damaged { path: path.to_owned(), detail });
    }
    if !fresh {
        for (from, change) in CHANGES.into_iter().filter(|(from, _)| found <= *from) {
            let batch = format!("BEGIN IMMEDIATE; {change}; PRAGMA user_version = {}; COMMIT;", from + 1);
            connection.execute_batch(&batch).map_err(sql)?;
        }
    }
    if fresh {
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {TABLES} COMMIT;"
            ))
            .map_err(sql)?;
    }
    Ok(())
}

/// The revision of a store's file that nobody has open; checked like one that is opened.
pub(crate) fn revision(path: &Path) -> Result<Revision, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|source| error(path, source))?;
    check_and_prepare(path, &connection)?;
    let found = state(&connection).map_err(|source| error(path, source))?.revision;
    // one file: what was set for writing would leave a log beside it
    connection.execute_batch("PRAGMA journal_mode = DELETE").map_err(|source| error(path, source))?;
    Ok(found)
}

fn state(connection: &Connection) -> rusqlite::Result<State> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs));
    Ok(State {
        revision: number("SELECT value FROM state WHERE name = 'revision'")?,
        compacted: number("SELECT value FROM state WHERE name = 'compacted'")?,
        // Not max(sequence): the newest lines may have been pruned, and their numbers are not used again.
        sequence: number("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'log'")?,
    })
}

fn error(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path, detail: source.to_string() }
        }
        _ => OpenError::Database { path, source },
    }
}
