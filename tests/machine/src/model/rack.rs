//! Several machines on one wire, in memory: what one asks of another is delivered at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    exchange::{PeerCall, PeerRefusal},
    machine::{Happening, Machine},
};

/// Machines by a name of the caller's choice.
#[derive(Debug, Clone, Default)]
pub struct Rack {
    /// the machines
    pub machines: BTreeMap<String, Machine>,
    /// machines whose cable is pulled: nobody reaches them, they reach nobody
    pub unplugged: BTreeSet<String>,
}

impl Rack {
    /// The machine that answers at this address.
    pub fn at(&mut self, address: IpAddr) -> Option<&mut Machine> {
        let plugged = self.machines.iter_mut().filter(|(name, _)| !self.unplugged.contains(*name));
        plugged.map(|(_, machine)| machine).find(|machine| machine.has_address(address))
    }

    /// The name of the machine that answers at this address.
    pub fn name_at(&self, address: IpAddr) -> Option<String> {
        let plugged = self.machines.iter().filter(|(name, _)| !self.unplugged.contains(*name));
        plugged.filter(|(_, machine)| machine.has_address(address)).map(|(name, _)| name.clone()).next()
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.machines.values().filter_map(Machine::next_deadline).min()
    }

    /// Does what is due everywhere and delivers what machines ask each other, until nothing is left to
    /// do at this time. What happened comes back in order, without the peers' talk.
    pub fn advance(&mut self, now: u64) -> Vec<(String, Happening)> {
        let mut happened = Vec::new();
        while self.next_deadline().is_some_and(|at| at <= now) {
            let mut calls = Vec::new();
            for (name, machine) in &mut self.machines {
                for happening in machine.advance(now) {
                    match happening {
                        Happening::Peer { ticket, to, call } => calls.push((name.clone(), ticket, to, call)),
                        other => happened.push((name.clone(), other)),
                    }
                }
            }
            for (name, ticket, to, call) in calls {
                self.deliver(&name, ticket, to, call, now);
            }
        }
        happened
    }

    fn deliver(&mut self, name: &str, ticket: u64, to: IpAddr, call: PeerCall, now: u64) {
        let authority = |machine: &Machine| machine.config().map(|config| config.os_ca.fingerprint.clone());
        let ours = self.machines.get(name).and_then(authority);
        let reached = if self.unplugged.contains(name) { None } else { self.at(to) };
        // machines of two clusters do not accept each other's certificates
        let reached = reached.filter(|machine| {
            machine.config().map(|config| config.os_ca.fingerprint.as_str()) == ours.as_deref()
        });
        let result = reached.map_or(Err(PeerRefusal::Unreachable), |machine| machine.peer(call, now));
        if let Some(machine) = self.machines.get_mut(name) {
            machine.peer_answer(ticket, result, now);
        }
    }
}
