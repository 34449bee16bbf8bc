//! Whether somebody already uses an address, asked on the wire before a new machine is offered it.
//!
//! The asking itself takes time and is done elsewhere. [`Answer::probe`] names the address that a
//! machine waits for, [`Server::beforehand`] those that somebody should look at beforehand, and
//! [`Server::probed`] takes either result. What was found free beforehand is the *stock*: an offer
//! from it leaves at once. It keeps its addresses for [`Timing::probed`](super::Timing::probed), and
//! meanwhile whoever is heard using one takes it out ([`Server::heard`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use hardware::MacAddr;

use super::{Answer, Machines, Mode, Note, Request, Server, millis};
use crate::lease::{Changes, Lease, LeaseState};

/// How long, in milliseconds, a slot address that somebody else uses is not looked at again.
const IN_USE: u64 = 30_000;
/// Addresses of the pool that are looked at beforehand: a large rack that is switched on at once.
const STOCK: usize = 1_024;
/// Within this time, in milliseconds, the looker must have told what it saw; else it is asked again.
const LOOK: u64 = 10_000;

/// What was seen, by address.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked {
    seen: BTreeMap<Ipv4Addr, Seen>,
    /// when what was seen says nothing any more
    ends: BTreeSet<(u64, Ipv4Addr)>,
    /// addresses of the pool that were found free and went to nobody since, the oldest look first
    stock: BTreeSet<(u64, Ipv4Addr)>,
    /// who is being looked at, and since when
    asked: BTreeMap<Ipv4Addr, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    user: Option<MacAddr>,
    until: u64,
}

impl Looked {
    /// Drops what says nothing any more; whether an address of the stock was among it.
    pub(super) fn forget(&mut self, now: u64) -> bool {
        let before = self.stock.len();
        while let Some((_, address)) = self.ends.first().copied().filter(|(until, _)| *until <= now) {
            self.remove(address);
        }
        before != self.stock.len()
    }

    /// Whether an address is found without searching for it.
    pub(super) fn is_stocked_or_asked(&self, address: Ipv4Addr) -> bool {
        let until = self.seen.get(&address).map(|seen| seen.until);
        self.asked.contains_key(&address) || until.is_some_and(|until| self.stock.contains(&(until, address)))
    }

    fn insert(&mut self, address: Ipv4Addr, seen: Seen) {
        self.remove(address);
        self.seen.insert(address, seen);
        self.ends.insert((seen.until, address));
    }

    fn remove(&mut self, address: Ipv4Addr) {
        if let Some(Seen { until, .. }) = self.seen.remove(&address) {
            self.ends.remove(&(until, address));
            self.stock.remove(&(until, address));
        }
    }

    /// An address that was found free goes to somebody.
    pub(super) fn take(&mut self, address: Ipv4Addr) {
        if let Some(Seen { until, .. }) = self.seen.get(&address) {
            self.stock.remove(&(*until, address));
        }
    }
}

impl Server {
    /// What keeps the address from being offered now; `None` when nothing does.
    pub(super) fn doubt<M: Machines>(
        &mut self,
        request: &Request<'_, M>,
        address: Ipv4Addr,
    ) -> Option<Answer> {
        let mac = request.client.mac;
        let had_it = self.holders.get(&address) == Some(&mac)
            || self.leases.of(mac).is_some_and(|lease| lease.address == address);
        if !self.looks() || had_it {
            return None;
        }
        self.looked.take(address);
        match self.looked.seen.get(&address) {
            Some(Seen { user: None, .. }) => None,
            Some(Seen { user: Some(user), .. }) => Some(Note::InUse { address, user: *user }.into()),
            None => Some(Answer { probe: Some(address), ..Note::Looking { address }.into() }),
        }
    }

    /// ARP does not reach through relays.
    fn looks(&self) -> bool {
        self.config.probe && !self.config.relayed
    }

    /// The oldest of the stock that is still free.
    pub(super) fn next_stocked<M: Machines>(&mut self, request: &Request<'_, M>) -> Option<Ipv4Addr> {
        while let Some((_, address)) = self.looked.stock.pop_first() {
            if self.is_free_for(request, address) {
                return Some(address);
            }
        }
        None
    }

    /// One that is being looked at right now: when all the others are given away.
    pub(super) fn next_asked<M: Machines>(&self, request: &Request<'_, M>) -> Option<Ipv4Addr> {
        self.looked.asked.keys().copied().find(|address| self.is_free_for(request, *address))
    }

    /// Addresses to look at before anybody asks for them, at most `room` of them: the nodes' own,
    /// those of the stock whose look is soon too old, and more for the stock.
    pub fn beforehand(&mut self, machines: &impl Machines, now: u64, room: usize) -> Vec<Ipv4Addr> {
        if self.config.mode != Mode::Authoritative || self.rival.is_some() || !self.looks() {
            return Vec::new();
        }
        self.forget(now);
        let before = self.looked.asked.len();
        self.looked.asked.retain(|_, since| now < since.saturating_add(LOOK));
        if before != self.looked.asked.len() {
            self.search.anew();
        }
        let mut found = Vec::new();
        let unseen = |address: &&Ipv4Addr| {
            !self.looked.seen.contains_key(address)
                && !self.looked.asked.contains_key(address)
                && !self.holders.contains_key(address)
                && self.config.subnet.contains(*address)
        };
        found.extend(self.config.nodes.iter().filter(unseen).take(room).copied());
        let old = now.saturating_add(millis(self.config.timing.probed) / 4);
        let aged = self.looked.stock.iter().take_while(|(until, _)| *until < old);
        let aged = aged.map(|(_, address)| *address).filter(|it| !self.looked.asked.contains_key(it));
        found.extend(aged.take(room.saturating_sub(found.len())));
        self.looked.asked.extend(found.iter().map(|address| (*address, now)));
        while found.len() < room && self.looked.stock.len() + self.looked.asked.len() < STOCK {
            let Some(address) = self.next_free(machines, now) else { break };
            // one that was offered and not taken is still known to be free
            match self.looked.seen.get(&address).copied() {
                Some(Seen { user: None, until }) => {
                    self.looked.stock.insert((until, address));
                }
                _ => {
                    self.looked.asked.insert(address, now);
                    found.push(address);
                }
            }
        }
        found
    }

    /// Takes the result of looking for the user of an address. An address of the pool that is in use
    /// is given to nobody for a while; a slot address stays the slot's, and nobody is offered it.
    /// A machine that is to have the address may well use it already.
    pub fn probed(
        &mut self,
        address: Ipv4Addr,
        user: Option<MacAddr>,
        machines: &impl Machines,
        now: u64,
    ) -> Answer {
        if self.looked.asked.remove(&address).is_some() {
            self.search.anew();
        }
        let user = user.filter(|user| !self.is_rightful(machines, *user, address, now));
        let reserved = machines.is_reserved(address) || self.config.nodes.contains(&address);
        match user {
            None => {
                let until = now.saturating_add(millis(self.config.timing.probed));
                self.looked.insert(address, Seen { user: None, until });
                if self.is_free(machines, None, address, now) {
                    self.looked.stock.insert((until, address));
                }
                Answer::default()
            }
            Some(user) if reserved => {
                let until = now.saturating_add(IN_USE);
                self.looked.insert(address, Seen { user: Some(user), until });
                Answer::default()
            }
            // its machine will find that out by itself, and decline
            Some(user) if self.leases.at(address).is_some_and(|lease| lease.holds(now)) => {
                Note::InUse { address, user }.into()
            }
            Some(user) => {
                self.looked.remove(address);
                self.search.anew();
                self.offers.withdraw(address);
                let mut changes = Changes::default();
                self.quarantine(address, now, &mut changes);
                Answer { changes, ..Note::InUse { address, user }.into() }
            }
        }
    }

    /// Somebody was heard using an address: that nobody does is not true any more. It costs whoever
    /// may have the address nothing, and anybody else one more look.
    pub fn heard(&mut self, address: Ipv4Addr, user: MacAddr, machines: &impl Machines, now: u64) {
        if !self.is_rightful(machines, user, address, now)
            && self.looked.seen.get(&address).is_some_and(|seen| seen.user.is_none())
        {
            self.looked.remove(address);
            self.search.anew();
        }
    }

    /// Whether the machine has the address from us, or is about to.
    fn is_rightful(&self, machines: &impl Machines, mac: MacAddr, address: Ipv4Addr, now: u64) -> bool {
        let leased = |lease: &Lease| lease.address == address && lease.holds(now);
        self.offers.of(mac) == Some(address)
            || self.leases.of(mac).is_some_and(leased)
            || machines.reservation(mac) == Some(address)
            || self.holders.get(&address) == Some(&mac)
    }

    /// Gives an address to nobody for a while.
    pub(super) fn quarantine(&mut self, address: Ipv4Addr, now: u64, changes: &mut Changes) {
        let lease = Lease {
            address,
            mac: None,
            hostname: None,
            relayed: None,
            state: LeaseState::Declined,
            granted: now,
            expires: now.saturating_add(millis(self.config.timing.quarantine)),
        };
        self.leases.put(lease, changes);
    }
}
