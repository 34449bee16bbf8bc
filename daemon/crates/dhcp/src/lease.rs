//! Leases of the pool, and changes to them that become durable together.
//!
//! Only pool addresses have leases. A reservation is not one: it follows from the site and the claim,
//! which are stored elsewhere, so a lost lease table never costs a node its address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use hardware::MacAddr;

use crate::relay::Relayed;

/// What became of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseState {
    /// a machine has it until it expires
    Bound,
    /// given back; kept so that the same machine gets it again
    Released,
    /// a machine found somebody else on it; nobody gets it until it expires
    Declined,
}

impl LeaseState {
    /// As stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Released => "released",
            Self::Declined => "declined",
        }
    }

    /// The inverse of [`LeaseState::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Bound, Self::Released, Self::Declined].into_iter().find(|state| state.name() == name)
    }
}

/// One address of the pool and who has, or had, it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// unique among leases
    pub address: Ipv4Addr,
    /// unique among leases; `None` while nobody may have the address
    pub mac: Option<MacAddr>,
    /// what the machine calls itself (option 12)
    pub hostname: Option<String>,
    /// which relay or switch it was asked through; a renewal goes past them
    pub relayed: Option<Relayed>,
    /// what became of it
    pub state: LeaseState,
    /// milliseconds since the Unix epoch
    pub granted: u64,
    /// the first millisecond at which it no longer holds
    pub expires: u64,
}

impl Lease {
    /// Whether the address may not go to another machine.
    pub fn holds(&self, now: u64) -> bool {
        self.state != LeaseState::Released && now < self.expires
    }
}

/// What an address had before and has after; `None` is no lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// for undoing
    pub before: Option<Lease>,
    /// for storing
    pub after: Option<Lease>,
}

/// Changes by address. Several answers' changes fold into one, so that they can be stored at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
// boxed: most have one change, and the map makes room for eleven
pub struct Changes(BTreeMap<Ipv4Addr, Box<Change>>);

impl Changes {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every touched address. To store: free them all, then write every `after`.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, &Change)> {
        self.0.iter().map(|(address, change)| (*address, &**change))
    }

    /// Adds changes that were made after these.
    pub fn fold(&mut self, later: Self) {
        for (address, change) in later.0 {
            self.record(address, change);
        }
    }

    /// Those of some addresses.
    #[must_use]
    pub(crate) fn only(&self, of: impl Fn(Ipv4Addr) -> bool) -> Self {
        let some = self.0.iter().filter(|(address, _)| of(**address));
        Self(some.map(|(address, change)| (*address, change.clone())).collect())
    }

    fn record(&mut self, address: Ipv4Addr, change: Box<Change>) {
        match self.0.get_mut(&address) {
            Some(earlier) => earlier.after = change.after,
            None => {
                self.0.insert(address, change);
            }
        }
    }
}

/// The table in memory, with its two unique keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    by_address: BTreeMap<Ipv4Addr, Lease>,
    by_mac: BTreeMap<MacAddr, Ipv4Addr>,
    /// from the one that ended first
    by_end: BTreeSet<(u64, Ipv4Addr)>,
}

impl Table {
    pub(crate) fn at(&self, address: Ipv4Addr) -> Option<&Lease> {
        self.by_address.get(&address)
    }

    pub(crate) fn of(&self, mac: MacAddr) -> Option<&Lease> {
        self.by_address.get(self.by_mac.get(&mac)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }

    /// Addresses whose lease has ended, the one that ended first before the others.
    pub(crate) fn ended(&self, now: u64) -> impl Iterator<Item = Ipv4Addr> {
        self.by_end.iter().take_while(move |(end, _)| *end <= now).map(|(_, address)| *address)
    }

    /// When the next lease ends.
    pub(crate) fn next_end(&self, now: u64) -> Option<u64> {
        self.by_end.range((now.saturating_add(1), Ipv4Addr::UNSPECIFIED)..).next().map(|(end, _)| *end)
    }

    /// Writes a lease; whatever its address or its machine had before goes.
    pub(crate) fn put(&mut self, lease: Lease, changes: &mut Changes) {
        if let Some(old) = lease.mac.and_then(|mac| self.by_mac.get(&mac).copied())
            && old != lease.address
        {
            self.set(old, None, changes);
        }
        self.set(lease.address, Some(lease), changes);
    }

    /// Takes changes back that could not be stored. The newest must be undone first.
    pub(crate) fn undo(&mut self, changes: &Changes) {
        let mut ignored = Changes::default();
        for (address, _) in changes.iter() {
            self.set(address, None, &mut ignored);
        }
        for (address, change) in changes.iter() {
            self.set(address, change.before.clone(), &mut ignored);
        }
    }

    fn set(&mut self, address: Ipv4Addr, after: Option<Lease>, changes: &mut Changes) {
        let before = self.by_address.remove(&address);
        if let Some(lease) = &before {
            self.by_end.remove(&(lease.expires, address));
            if let Some(mac) = lease.mac {
                self.by_mac.remove(&mac);
            }
        }
        if let Some(lease) = &after {
            self.by_end.insert((lease.expires, address));
            if let Some(mac) = lease.mac {
                self.by_mac.insert(mac, address);
            }
            self.by_address.insert(address, lease.clone());
        }
        changes.record(address, Box::new(Change { before, after }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(host: u8, mac: Option<u8>, expires: u64) -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 0, host),
            mac: mac.map(|octet| MacAddr([2, 0, 0, 0, 0, octet])),
            hostname: None,
            relayed: None,
            state: if mac.is_some() { LeaseState::Bound } else { LeaseState::Declined },
            granted: 0,
            expires,
        }
    }

    fn rows(table: &Table) -> Vec<Lease> {
        table.iter().cloned().collect()
    }

    #[test]
    fn a_machine_that_moves_leaves_its_old_address() {
        let mut table = Table::default();
        let mut changes = Changes::default();
        table.put(lease(1, Some(7), 10), &mut changes);
        table.put(lease(2, Some(7), 20), &mut changes);
        assert_eq!(rows(&table), [lease(2, Some(7), 20)]);
        let after: Vec<_> = changes.iter().map(|(_, change)| change.after.clone()).collect();
        assert_eq!(after, [None, Some(lease(2, Some(7), 20))]);
    }

    #[test]
    fn states_are_stored_by_name() {
        for state in [LeaseState::Bound, LeaseState::Released, LeaseState::Declined] {
            assert_eq!(LeaseState::from_name(state.name()), Some(state));
        }
        assert_eq!(LeaseState::from_name("offered"), None);
    }

    fn any_lease() -> impl Strategy<Value = Lease> {
        (1u8..5, proptest::option::of(1u8..5), 0u64..100)
            .prop_map(|(host, mac, expires)| lease(host, mac, expires))
    }

    proptest! {
        /// Undoing gives the table back, storing the fold gives the table itself, both keys stay unique.
        #[test]
        fn changes_can_be_stored_and_undone(
            first in proptest::collection::vec(any_lease(), 0..6),
            second in proptest::collection::vec(any_lease(), 0..6),
        ) {
            let mut table = Table::default();
            for lease in first {
                table.put(lease, &mut Changes::default());
            }
            let before = rows(&table);
            let mut stored: BTreeMap<Ipv4Addr, Lease> =
                before.iter().map(|lease| (lease.address, lease.clone())).collect();
            let mut folded = Changes::default();
            for lease in second {
                let mut changes = Changes::default();
                table.put(lease, &mut changes);
                folded.fold(changes);
            }
            for (address, change) in folded.iter() {
                stored.remove(&address);
                if let Some(lease) = &change.after {
                    stored.insert(address, lease.clone());
                }
            }
            prop_assert_eq!(stored.into_values().collect::<Vec<_>>(), rows(&table));
            let mut macs: Vec<_> = table.iter().filter_map(|lease| lease.mac).collect();
            let count = macs.len();
            macs.sort();
            macs.dedup();
            prop_assert_eq!(macs.len(), count);
            let mut ends: Vec<_> = table.iter().map(|lease| (lease.expires, lease.address)).collect();
            ends.sort();
            prop_assert_eq!(table.by_end.iter().copied().collect::<Vec<_>>(), ends);
            prop_assert!(table.iter().all(|lease| lease.mac.is_none_or(|mac| table.of(mac) == Some(lease))));
            table.undo(&folded);
            prop_assert_eq!(rows(&table), before);
        }
    }
}
