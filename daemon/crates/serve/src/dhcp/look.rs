//! Looking whether addresses are in use, many at once, while everybody else is answered.
//!
//! One task an address, which ends within [`WAIT`]; all are dropped with the loop that owns them. The packets that
//! asked for the address wait here meanwhile.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::Ipv4Addr,
    time::Duration,
};

use hardware::MacAddr;
use net::arp;
use tokio::task::JoinSet;

use super::Arrival;

/// Long enough for a machine that is there to answer one of three ARP questions, short enough for a boot ROM, which
/// asks again after one second at the earliest.
const WAIT: Duration = Duration::from_millis(240);
/// Packets that wait for one address; more are repetitions.
const MOST_WAITING: usize = 8;
/// Addresses looked at in one moment; who comes on top asks again.
const MOST_LOOKS: usize = 1024;

/// An address, and who uses it.
pub(super) type Looked = (Ipv4Addr, Option<MacAddr>);

/// The looks under way.
#[derive(Default)]
pub(super) struct Looks {
    tasks: JoinSet<Looked>,
    waiting: BTreeMap<Ipv4Addr, Vec<Arrival>>,
}

impl Looks {
    /// Looks at an address, unless that is being done already; the packet waits for it.
    pub(super) fn ask(&mut self, interface: &str, address: Ipv4Addr, arrival: Arrival) {
        let full = self.waiting.len() >= MOST_LOOKS;
        let waiting = match self.waiting.entry(address) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => return,
            Entry::Vacant(entry) => {
                let interface = interface.to_owned();
                self.tasks.spawn(async move {
                    let user = arp::probe(&interface, address, WAIT).await.unwrap_or_else(|error| {
                        // nothing can be heard, so nothing speaks against it
                        tracing::debug!(%address, %error, "taken for free");
                        None
                    });
                    (address, user)
                });
                entry.insert(Vec::new())
            }
        };
        if waiting.len() < MOST_WAITING {
            waiting.push(arrival);
        }
    }

    /// The next look that ends; `None` when none is under way.
    pub(super) async fn next(&mut self) -> Option<Looked> {
        loop {
            match self.tasks.join_next().await? {
                Ok(looked) => return Some(looked),
                Err(error) => tracing::error!(%error, "a look at an address ended unexpectedly"),
            }
        }
    }

    /// Who waited for the address.
    pub(super) fn waited_for(&mut self, address: Ipv4Addr) -> Vec<Arrival> {
        self.waiting.remove(&address).unwrap_or_default()
    }
}
