//! Where machines are that say nothing to us: ARP, by hardware address.
//!
//! A node with an address of its own asks no DHCP server and fetches nothing. One task a network hears all ARP on its
//! interface, reads the kernel's neighbour table now and then, and asks for addresses while a machine that holds a slot
//! was not heard (`places` decides whom). What it finds are hints; whoever wants to call a machine finds out whether it
//! is there. Machines behind routers are not found. The task ends when told to.

mod places;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use ::boot::BootView;
use hardware::MacAddr;
use net::{
    arp::Arp,
    frame::FrameError,
    neighbour::{self, Neighbour},
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use places::Ground;

use crate::{
    clock,
    trace::Trace,
    whereabouts::{Whereabouts, tell},
};
use places::Places;

const LOOK: Duration = Duration::from_secs(1);
/// How often the kernel's table is read, in looks.
const TABLE: u64 = 10;

/// The ear of one network, which is open and does not listen yet.
#[derive(Debug)]
pub struct Neighbours {
    interface: String,
    /// `None` on an interface without Ethernet addresses, where nobody is found
    arp: Option<Arp>,
    places: Places,
    ground: watch::Receiver<Ground>,
    view: watch::Receiver<Arc<BootView>>,
    whereabouts: mpsc::Sender<Whereabouts>,
    trace: Arc<Trace>,
}

impl Neighbours {
    /// Opens the socket. The view says which machines hold slots; what is found goes to `whereabouts`, and what others
    /// found is in the trace.
    ///
    /// # Errors
    /// When the interface does not exist, `CAP_NET_RAW` is missing, or the kernel refuses.
    pub fn open(
        interface: &str,
        mut ground: watch::Receiver<Ground>,
        view: watch::Receiver<Arc<BootView>>,
        whereabouts: mpsc::Sender<Whereabouts>,
        trace: Arc<Trace>,
    ) -> Result<Self, FrameError> {
        let (arp, interface) = (Arp::open(interface)?, interface.to_owned());
        let places = Places::new(ground.borrow_and_update().clone());
        Ok(Self { interface, arp, places, ground, view, whereabouts, trace })
    }

    /// Listens and asks until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let Some(arp) = self.arp.take() else { return };
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0_u64;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                heard = arp.hear() => match heard {
                    Ok(heard) if !heard.probes => self.heard(heard.mac, heard.address),
                    // it only looks whether the address is free
                    Ok(_) => {}
                    Err(error) => tracing::debug!(interface = %self.interface, %error, "ARP cannot be heard"),
                },
                _ = looks.tick() => {
                    if count.is_multiple_of(TABLE) {
                        self.read_table(&arp).await;
                    }
                    count += 1;
                    self.look(&arp).await;
                }
            }
        }
    }

    async fn look(&mut self, arp: &Arp) {
        if self.ground.has_changed().unwrap_or(false) {
            let ground = self.ground.borrow_and_update().clone();
            self.places.follow(ground);
        }
        let view = Arc::clone(&self.view.borrow());
        let next = self.places.look(|mac| believed(&self.trace, mac), &view, clock::now());
        for (mac, address) in next.moved {
            self.found(mac, address);
        }
        for address in next.ask {
            self.ask(arp, address).await;
        }
    }

    async fn ask(&self, arp: &Arp, address: Ipv4Addr) {
        if let Err(error) = arp.ask(address).await {
            tracing::debug!(interface = %self.interface, %address, %error, "cannot be asked for");
        }
    }

    /// What the kernel is sure of was heard; for the rest it is asked.
    async fn read_table(&mut self, arp: &Arp) {
        let table = match neighbour::on(&self.interface).await {
            Ok(table) => table,
            Err(error) => {
                tracing::debug!(interface = %self.interface, %error, "the neighbour table cannot be read");
                return;
            }
        };
        let view = Arc::clone(&self.view.borrow());
        for Neighbour { mac, address, confirmed } in table {
            if confirmed {
                self.heard(mac, address);
            } else if view.known.contains_key(&mac) && believed(&self.trace, mac).is_none() {
                self.ask(arp, address).await;
            }
        }
    }

    fn heard(&mut self, mac: MacAddr, address: Ipv4Addr) {
        let view = Arc::clone(&self.view.borrow());
        let believed = believed(&self.trace, mac);
        if self.places.heard(mac, address, believed, &view, clock::now()) {
            self.found(mac, address);
        }
    }

    fn found(&self, mac: MacAddr, address: Ipv4Addr) {
        tracing::debug!(interface = %self.interface, %mac, %address, "heard by ARP");
        let at = clock::now();
        self.trace.place(mac, address.into());
        tell(&self.whereabouts, Whereabouts { mac, address: address.into(), at }, "whereabouts");
    }
}

/// Where the machine was last, as DHCP, HTTP and we know.
fn believed(trace: &Trace, mac: MacAddr) -> Option<Ipv4Addr> {
    match trace.address_of(mac)? {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
