//! The reads, in SQL. Numbers are never negative and never near 2^63, so `u64` and SQLite's `i64` convert freely.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use crate::{
    error::{StoreError, WatchError},
    lease::LeaseRow,
    model::{Change, Entry, LogEntry, Revision, Snapshot},
    schema::State,
};

/// How many changes a watch takes in one read, to the end of the revision they belong to.
const CHANGES: usize = 256;

/// SQLite's integers are signed.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

fn json(what: &str, text: &str) -> Result<Value, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable { what: what.to_owned(), detail: error.to_string() })
}

/// A row of the table `changes`; without a value it is a deletion.
struct ChangeRow {
    revision: Revision,
    key: String,
    value: Option<String>,
    created: Option<i64>,
}

/// Reads with the context that every answer needs.
pub(crate) struct Query<'a> {
    pub(crate) path: &'a Path,
    pub(crate) connection: &'a Connection,
    pub(crate) state: State,
}

impl Query<'_> {
    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::new(self.path, source)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let read = || -> rusqlite::Result<Option<(String, u64, u64)>> {
            let mut statement = (self.connection)
                .prepare("SELECT value, create_revision, mod_revision FROM entries WHERE key = ?1")?;
            let mut rows = statement.query([key])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some((row.get(0)?, unsigned(row, 1)?, unsigned(row, 2)?)))
        };
        let Some((value, create_revision, mod_revision)) = read().map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        Ok(Some(Entry { key: key.to_owned(), value: json(key, &value)?, create_revision, mod_revision }))
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let read = || -> rusqlite::Result<Vec<(String, String, u64, u64)>> {
            let mut statement = self.connection.prepare(
                "SELECT key, value, create_revision, mod_revision FROM entries WHERE key >= ?1 ORDER BY key",
            )?;
            let mut rows = statement.query([prefix])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                if !key.starts_with(prefix) {
                    break;
                }
                found.push((key, row.get(1)?, unsigned(row, 2)?, unsigned(row, 3)?));
            }
            Ok(found)
        };
        let entries = read()
            .map_err(|error| self.failed(error))?
            .into_iter()
            .map(|(key, value, create_revision, mod_revision)| {
                Ok(Entry { value: json(&key, &value)?, key, create_revision, mod_revision })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(Snapshot { revision: self.state.revision, entries })
    }

    /// Changes from revision `from` on, and the revision to ask for next.
    pub(crate) fn changes(
        &self,
        prefix: &str,
        from: Revision,
    ) -> Result<(Vec<Change>, Revision), WatchError> {
        if from <= self.state.compacted {
            return Err(WatchError::Compacted { compacted: self.state.compacted });
        }
        let (rows, next) = self.change_rows(prefix, from).map_err(|error| self.failed(error))?;
        let changes = rows
            .into_iter()
            .map(|ChangeRow { revision, key, value, created }| match (value, created) {
                (Some(value), Some(created)) => Ok(Change::Put(Entry {
                    value: json(&key, &value)?,
                    key,
                    create_revision: created.unsigned_abs(),
                    mod_revision: revision,
                })),
                _ => Ok(Change::Deleted { key, revision }),
            })
            .collect::<Result<_, StoreError>>()?;
        Ok((changes, next))
    }

    fn change_rows(&self, prefix: &str, from: Revision) -> rusqlite::Result<(Vec<ChangeRow>, Revision)> {
        let mut statement = self.connection.prepare(
            "SELECT revision, key, value, create_revision FROM changes WHERE revision >= ?1 ORDER BY revision, key",
        )?;
        let mut rows = statement.query([signed(from)])?;
        let mut found: Vec<ChangeRow> = Vec::new();
        while let Some(row) = rows.next()? {
            let revision = unsigned(row, 0)?;
            if found.len() >= CHANGES && found.last().is_some_and(|last| last.revision != revision) {
                return Ok((found, revision));
            }
            let key: String = row.get(1)?;
            if key.starts_with(prefix) {
                found.push(ChangeRow { revision, key, value: row.get(2)?, created: row.get(3)? });
            }
        }
        Ok((found, self.state.revision.max(from.saturating_sub(1)) + 1))
    }

    /// The table with what waits to get there, in the order of the addresses' text.
    pub(crate) fn leases(
        &self,
        waiting: &BTreeMap<IpAddr, Option<LeaseRow>>,
    ) -> Result<Vec<LeaseRow>, StoreError> {
        let mut rows = self.lease_table()?;
        if !waiting.is_empty() {
            rows.retain(|row| !waiting.contains_key(&row.address));
            rows.extend(waiting.values().flatten().cloned());
            rows.sort_by_cached_key(|row| row.address.to_string());
        }
        Ok(rows)
    }

    /// The table alone.
    pub(crate) fn lease_table(&self) -> Result<Vec<LeaseRow>, StoreError> {
        struct Raw {
            address: String,
            mac: Option<String>,
            hostname: Option<String>,
            state: String,
            granted: u64,
            expires: u64,
            relayed: Option<String>,
        }
        let read = || -> rusqlite::Result<Vec<Raw>> {
            self.connection
                .prepare(
                    "SELECT address, mac, hostname, state, granted, expires, relayed FROM leases ORDER BY address",
                )?
                .query_map([], |row| {
                    Ok(Raw {
                        address: row.get(0)?,
                        mac: row.get(1)?,
                        hostname: row.get(2)?,
                        state: row.get(3)?,
                        granted: unsigned(row, 4)?,
                        expires: unsigned(row, 5)?,
                        relayed: row.get(6)?,
                    })
                })?
                .collect()
        };
        read()
            .map_err(|error| self.failed(error))?
            .into_iter()
            .map(|raw| {
                let unreadable = |detail: String| StoreError::Unreadable {
                    what: format!("the lease of {}", raw.address),
                    detail,
                };
                let address = raw.address.parse();
                let mac = raw.mac.as_deref().map(str::parse).transpose();
                Ok(LeaseRow {
                    address: address
                        .map_err(|error: std::net::AddrParseError| unreadable(error.to_string()))?,
                    mac: mac.map_err(|error: hardware::MacAddrError| unreadable(error.to_string()))?,
                    hostname: raw.hostname.clone(),
                    state: raw.state.clone().into(),
                    granted: raw.granted,
                    expires: raw.expires,
                    relayed: raw.relayed.clone(),
                })
            })
            .collect()
    }

    pub(crate) fn log_tail(&self, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        let mut entries = self.log(
            "SELECT sequence, at, json FROM log ORDER BY sequence DESC LIMIT ?1",
            &[signed(count as u64)],
        )?;
        entries.reverse();
        Ok(entries)
    }

    pub(crate) fn log_from(&self, sequence: u64, limit: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.log(
            "SELECT sequence, at, json FROM log WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2",
            &[signed(sequence), signed(limit as u64)],
        )
    }

    fn log(&self, sql: &str, numbers: &[i64]) -> Result<Vec<LogEntry>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(u64, u64, String)>> {
            self.connection
                .prepare(sql)?
                .query_map(rusqlite::params_from_iter(numbers), |row| {
                    Ok((unsigned(row, 0)?, unsigned(row, 1)?, row.get(2)?))
                })?
                .collect()
        };
        read()
            .map_err(|error| self.failed(error))?
            .into_iter()
            .map(|(sequence, at, text)| {
                Ok(LogEntry { sequence, at, json: json(&format!("log line {sequence}"), &text)? })
            })
            .collect()
    }

    /// `mod_revision` and `create_revision` of a key; `None` when it does not exist.
    pub(crate) fn revisions(&self, key: &str) -> rusqlite::Result<Option<(Revision, Revision)>> {
        let mut statement =
            self.connection.prepare("SELECT mod_revision, create_revision FROM entries WHERE key = ?1")?;
        let mut rows = statement.query(params![key])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some((unsigned(row, 0)?, unsigned(row, 1)?)))
    }
}
