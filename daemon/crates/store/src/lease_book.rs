//! Leases on their way into their table: who has what, and what is still only in the journal.
//!
//! A row of the table touches three pages of the file, so a rack that is switched on would write the same few pages again
//! and again, and wait for the disk each time. What many machines are promised at once is therefore appended to
//! `lease_journal`, one row of it for each SQL transaction, and put into the table when it is quiet, when much has been
//! gathered, and when the store is opened or closed. A few machines' leases go straight into the table. The rule that one
//! address has one machine and one machine one address is kept here, in memory; the table's own keys hold it, too.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use hardware::MacAddr;
use rusqlite::{Connection, params};

use crate::{
    lease::{LeaseBatch, LeaseRow},
    query::signed,
};

/// So few changes go straight into the table.
const FEW: usize = 8;
/// So many are taken out of the journal whatever goes on, because memory holds them as well.
const MANY: usize = 32_768;
/// After so long without a change it is quiet.
const QUIET: Duration = Duration::from_secs(1);

/// The address is held by another machine.
#[derive(Debug)]
pub(crate) struct Taken(pub(crate) IpAddr);

/// What one change replaced.
#[derive(Debug)]
struct Before {
    address: IpAddr,
    /// who had it: nobody, somebody unnamed, or a machine
    owner: Option<Option<MacAddr>>,
    /// what had been waiting for the table
    waiting: Option<Option<LeaseRow>>,
}

/// All leases by their keys, and those that the table does not show yet.
#[derive(Debug, Default)]
pub(crate) struct LeaseBook {
    owners: HashMap<IpAddr, Option<MacAddr>>,
    addresses: HashMap<MacAddr, IpAddr>,
    /// `None`: no lease any more
    waiting: BTreeMap<IpAddr, Option<LeaseRow>>,
    /// how much of `waiting` the journal has, too
    is_journalled: bool,
    /// what the SQL transaction that is under way has changed, oldest first
    undo: Vec<Before>,
    /// what it has put into the table
    folded: Option<(BTreeMap<IpAddr, Option<LeaseRow>>, bool)>,
    last: Option<Instant>,
}

impl LeaseBook {
    /// Reads the table and the journal.
    pub(crate) fn open(connection: &Connection, rows: Vec<LeaseRow>) -> rusqlite::Result<Self> {
        let mut book = Self::default();
        for row in rows {
            book.own(row.address, Some(row.mac));
        }
        let mut journal = connection.prepare("SELECT changes FROM lease_journal ORDER BY sequence")?;
        let mut lines = journal.query([])?;
        while let Some(line) = lines.next()? {
            let text = line.get_ref(0)?.as_str()?;
            let changes: Vec<(IpAddr, Option<LeaseRow>)> = serde_json::from_str(text).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
            })?;
            book.is_journalled = true;
            for (address, row) in changes {
                book.own(address, row.as_ref().map(|row| row.mac));
                book.waiting.insert(address, row);
            }
        }
        Ok(book)
    }

    /// What the table does not show yet, by address.
    pub(crate) fn waiting(&self) -> &BTreeMap<IpAddr, Option<LeaseRow>> {
        &self.waiting
    }

    /// How far the SQL transaction has come, for [`back_to`](Self::back_to).
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Makes changes together. A row replaces the one of the same machine, or of the same address when that one has no
    /// machine; whatever is freed makes place first. When it fails, [`back_to`](Self::back_to) takes back what was done.
    pub(crate) fn apply(&mut self, batch: LeaseBatch) -> Result<(), Taken> {
        let freed: BTreeSet<IpAddr> = batch.remove.into_iter().collect();
        let put: BTreeSet<IpAddr> = batch.put.iter().map(|row| row.address).collect();
        for address in freed.difference(&put) {
            self.set(*address, None);
        }
        let (over, beside): (Vec<_>, Vec<_>) =
            batch.put.into_iter().partition(|row| freed.contains(&row.address));
        // all make place first, so that two machines can trade their addresses in one batch
        for row in over.iter().chain(&beside) {
            if let Some(at) = row.mac.and_then(|mac| self.addresses.get(&mac)).copied() {
                self.set(at, None);
            }
            if freed.contains(&row.address) || self.owners.get(&row.address) == Some(&None) {
                self.set(row.address, None);
            }
        }
        for row in over.into_iter().chain(beside) {
            let machine_has_another = row.mac.is_some_and(|mac| self.addresses.contains_key(&mac));
            if self.owners.contains_key(&row.address) || machine_has_another {
                return Err(Taken(row.address));
            }
            self.set(row.address, Some(row));
        }
        Ok(())
    }

    fn set(&mut self, address: IpAddr, row: Option<LeaseRow>) {
        let (owner, known) = (row.as_ref().map(|row| row.mac), self.owners.get(&address).copied());
        if owner.is_none() && known.is_none() {
            return;
        }
        self.own(address, owner);
        let waiting = self.waiting.insert(address, row);
        self.undo.push(Before { address, owner: known, waiting });
    }

    fn own(&mut self, address: IpAddr, owner: Option<Option<MacAddr>>) {
        let before = match owner {
            Some(owner) => self.owners.insert(address, owner),
            None => self.owners.remove(&address),
        };
        if let Some(mac) = before.flatten()
            && self.addresses.get(&mac) == Some(&address)
        {
            self.addresses.remove(&mac);
        }
        if let Some(mac) = owner.flatten() {
            self.addresses.insert(mac, address);
        }
    }

    /// Takes back what was done since the mark, because SQLite does as well.
    pub(crate) fn back_to(&mut self, mark: usize) {
        while self.undo.len() > mark
            && let Some(Before { address, owner, waiting }) = self.undo.pop()
        {
            self.own(address, owner);
            match waiting {
                Some(row) => self.waiting.insert(address, row),
                None => self.waiting.remove(&address),
            };
        }
    }

    /// Writes what the SQL transaction has changed, before its end.
    pub(crate) fn write(&mut self, connection: &Connection, now: Instant) -> rusqlite::Result<()> {
        if self.undo.is_empty() {
            return Ok(());
        }
        let is_quiet = self.last.is_none_or(|last| now.saturating_duration_since(last) >= QUIET);
        self.last = Some(now);
        if self.waiting.len() <= FEW || self.waiting.len() >= MANY || is_quiet && self.undo.len() <= FEW {
            return self.fold(connection);
        }
        let touched: BTreeSet<IpAddr> = self.undo.iter().map(|before| before.address).collect();
        let changes: Vec<_> =
            touched.iter().filter_map(|address| self.waiting.get_key_value(address)).collect();
        let text = serde_json::to_string(&changes)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        connection.prepare_cached("INSERT INTO lease_journal (changes) VALUES (?1)")?.execute([text])?;
        self.is_journalled = true;
        Ok(())
    }

    /// Puts everything that waits into the table, and empties the journal.
    pub(crate) fn fold(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let was_journalled = std::mem::take(&mut self.is_journalled);
        let (_, _) = self.folded.insert((waiting, was_journalled));
        let Some((waiting, _)) = &self.folded else { return Ok(()) };
        let mut delete = connection.prepare_cached("DELETE FROM leases WHERE address = ?1")?;
        // a machine that has moved is not there twice meanwhile
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO leases (address, mac, hostname, state, granted, expires, relayed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (address, row) in waiting {
            match row {
                None => delete.execute([address.to_string()])?,
                Some(row) => insert.execute(params![
                    row.address.to_string(),
                    row.mac.map(|mac| mac.to_string()),
                    row.hostname,
                    row.state,
                    signed(row.granted),
                    signed(row.expires),
                    row.relayed
                ])?,
            };
        }
        if was_journalled {
            connection.prepare_cached("DELETE FROM lease_journal")?.execute([])?;
        }
        Ok(())
    }

    /// The SQL transaction ended: it is on the disk, or nothing of it is.
    pub(crate) fn end(&mut self, stored: bool) {
        let folded = self.folded.take();
        if stored {
            self.undo.clear();
            return;
        }
        if let Some((waiting, was_journalled)) = folded {
            (self.waiting, self.is_journalled) = (waiting, was_journalled);
        }
        self.back_to(0);
    }
}
