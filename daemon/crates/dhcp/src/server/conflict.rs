//! Whether somebody already uses an address, asked on the wire before a new machine is offered it.
//!
//! The asking itself takes time and is done elsewhere: [`Answer::probe`] names the address,
//! [`Server::probed`] takes the result.

use std::{collections::BTreeMap, net::Ipv4Addr};

use hardware::MacAddr;

use super::{Answer, Machines, Note, Request, Server, millis};
use crate::lease::{Changes, Lease, LeaseState};

/// How long, in milliseconds, a slot address that somebody else uses is not looked at again.
const IN_USE: u64 = 30_000;

/// What was seen, by address.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked(BTreeMap<Ipv4Addr, Seen>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    user: Option<MacAddr>,
    until: u64,
}

impl Looked {
    pub(super) fn forget(&mut self, now: u64) {
        self.0.retain(|_, seen| now < seen.until);
    }
}

impl Server {
    /// What keeps the address from being offered now; `None` when nothing does.
    pub(super) fn doubt<M: Machines>(&self, request: &Request<'_, M>, address: Ipv4Addr) -> Option<Answer> {
        let mac = request.client.mac;
        let had_it = self.holders.get(&address) == Some(&mac)
            || self.leases.of(mac).is_some_and(|lease| lease.address == address);
        // ARP does not reach through relays
        if !self.config.probe || self.config.relayed || had_it {
            return None;
        }
        match self.looked.0.get(&address) {
            Some(Seen { user: None, .. }) => None,
            Some(Seen { user: Some(user), .. }) => Some(Note::InUse { address, user: *user }.into()),
            None => Some(Answer { probe: Some(address), ..Note::Looking { address }.into() }),
        }
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
        let offered = |user: &MacAddr| self.offers.get(user).is_some_and(|offer| offer.address == address);
        let user = user.filter(|user| !offered(user) && machines.reservation(*user) != Some(address));
        let reserved = machines.is_reserved(address);
        match user {
            None => {
                let until = now.saturating_add(millis(self.config.timing.probed));
                self.looked.0.insert(address, Seen { user: None, until });
                Answer::default()
            }
            Some(user) if reserved => {
                self.looked.0.insert(address, Seen { user: Some(user), until: now.saturating_add(IN_USE) });
                Answer::default()
            }
            Some(user) => {
                self.offers.retain(|_, offer| offer.address != address);
                let mut changes = Changes::default();
                self.quarantine(address, now, &mut changes);
                Answer { changes, ..Note::InUse { address, user }.into() }
            }
        }
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
