//! Machines that nobody netbooted and that wait in maintenance mode.

use std::net::IpAddr;

use crate::{BootAnswer, Core, Guards, Identity, Machine, Time};

/// Machines outside of which it is remembered what was said.
const OUTSIDE: usize = 1024;

impl<G: Guards> Core<G> {
    /// A machine that waits in maintenance mode, started from an image that is not ours to give, gets a slot on the
    /// same grounds as one whose firmware asks, and goes on as if it had asked.
    pub(crate) fn found_waiting(&mut self, machine: Machine, address: IpAddr, identity: Identity, now: Time) {
        if self.held_by(&machine).is_some() {
            for mac in machine.macs {
                self.located(mac, address, now);
            }
            return;
        }
        let reason = match self.with_approval(&machine, identity.clone()) {
            Identity::Slot { .. } => match self.boot_asked(machine.clone(), address, 0, identity, now) {
                BootAnswer::Deploy { .. } | BootAnswer::Wipe { .. } => None,
                BootAnswer::Identify { reason, .. }
                | BootAnswer::Retry { reason, .. }
                | BootAnswer::LocalDisk { reason }
                | BootAnswer::Refused { reason } => Some(reason),
            },
            Identity::Unknown { reason } | Identity::Refused { reason } => Some(reason),
        };
        let who = machine.to_string();
        let Some(reason) = reason else {
            self.outside.remove(&who);
            return;
        };
        if self.outside.get(&who) == Some(&reason) {
            return;
        }
        // a table that a network of liars could fill; what is forgotten is said again
        if self.outside.len() >= OUTSIDE {
            self.outside.clear();
        }
        self.note("cluster", format!("{who} waits in maintenance mode at {address}"), vec![reason.clone()]);
        self.outside.insert(who, reason);
    }
}
