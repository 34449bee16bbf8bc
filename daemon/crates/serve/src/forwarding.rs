//! The forwarding table of a bridge on the daemon's host, as sightings.
//!
//! Owned by the app. [`Forwarding::run`] is one task; it ends on the token or when nobody takes sightings any more,
//! and a cancelled wait loses nothing, since the next start reads the whole table. It names the port of a machine
//! that says nothing but DHCP.

use std::{collections::BTreeMap, time::Duration};

use identity::{Marks, Port, Sighting, Source};
use net::forwarding::{Entry, Event, ForwardingError, Watch};
use tokio::{
    sync::mpsc::{Sender, error::SendError},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{capture::LocalSwitch, clock::now};

/// How often the table is read whole: the kernel tells of new and moved addresses at once, but not that a known one
/// is still there.
const REFRESH: Duration = Duration::from_secs(10);

/// How long to wait before a bridge that is gone is looked for again.
const LOOK: Duration = Duration::from_secs(1);

/// A bridge whose table is being read.
pub struct Forwarding {
    switch: LocalSwitch,
    bridge: String,
    watch: Watch,
    /// the interfaces behind the numbers, also of ports that were just taken off
    names: BTreeMap<u32, String>,
}

impl Forwarding {
    /// Opens the bridge of a switch; `None` when the switch has none.
    ///
    /// # Errors
    /// When the bridge does not exist or the kernel does not answer.
    pub async fn open(switch: LocalSwitch) -> Result<Option<Self>, ForwardingError> {
        let Some(bridge) = switch.bridge.clone() else { return Ok(None) };
        let watch = Watch::open(&bridge).await?;
        Ok(Some(Self { switch, bridge, watch, names: BTreeMap::new() }))
    }

    /// Sends a sighting for every address that is learned, still there, moved or forgotten, and for every port
    /// that loses its link, until the token is cancelled.
    pub async fn run(mut self, sightings: Sender<Sighting>, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let error = match self.follow(&sightings).await {
                    Ok(()) => return,
                    Err(error) => error,
                };
                tracing::warn!(switch = self.switch.name, %error, "forwarding table lost, opening it anew");
                self.watch = loop {
                    sleep(LOOK).await;
                    if let Ok(watch) = Watch::open(&self.bridge).await {
                        break watch;
                    }
                };
            }
        })
        .await;
    }

    /// Follows one watch until it breaks, or (without an error) until nobody takes sightings any more.
    async fn follow(&mut self, sightings: &Sender<Sighting>) -> Result<(), ForwardingError> {
        self.names = self.watch.ports().map(|port| (port.index, port.name.clone())).collect();
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = true;
        loop {
            let sent = tokio::select! {
                _ = refresh.tick() => {
                    let newest = if std::mem::take(&mut first) { Source::ForwardingTable.lifetime() } else { 2 * REFRESH };
                    self.send_table(sightings, newest).await?
                }
                event = self.watch.next() => match event? {
                    Event::Lost => self.send_table(sightings, Source::ForwardingTable.lifetime()).await?,
                    event => self.send_event(sightings, event).await,
                },
            };
            if sent.is_err() {
                return Ok(());
            }
        }
    }

    /// Every entry that was heard within `newest`.
    async fn send_table(
        &self,
        sightings: &Sender<Sighting>,
        newest: Duration,
    ) -> Result<Result<(), SendError<Sighting>>, ForwardingError> {
        for entry in self.watch.entries().await? {
            let Some(sighting) = self.sighting(&entry).filter(|_| entry.idle < newest) else { continue };
            if let Err(error) = sightings.send(sighting).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn send_event(
        &mut self,
        sightings: &Sender<Sighting>,
        event: Event,
    ) -> Result<(), SendError<Sighting>> {
        let sighting = match event {
            Event::Learned(entry) => self.sighting(&entry),
            Event::Forgotten(entry) => self.sighting(&entry).map(|sighting| Sighting {
                at: now(),
                lifetime: Duration::ZERO,
                ..sighting
            }),
            Event::Port(port) => {
                self.names.insert(port.index, port.name.clone());
                if port.running { None } else { self.emptied(&port.name) }
            }
            Event::PortRemoved(port) => {
                let sighting = self.emptied(&port.name);
                self.names.remove(&port.index);
                sighting
            }
            Event::Lost => None,
        };
        match sighting {
            Some(sighting) => sightings.send(sighting).await,
            None => Ok(()),
        }
    }

    /// The sighting that an entry is; `None` when its port is none of the switch's.
    fn sighting(&self, entry: &Entry) -> Option<Sighting> {
        let interface = self.names.get(&entry.port)?;
        let port = self.port(interface)?;
        let heard = now().saturating_sub(u64::try_from(entry.idle.as_millis()).unwrap_or(u64::MAX));
        let vlan = entry.vlan.map_or_else(String::new, |vlan| format!(" in VLAN {vlan}"));
        Some(Sighting {
            raw: format!("{} on {interface} of {}{vlan}", entry.mac, self.bridge),
            ..Sighting::new(Source::ForwardingTable, Marks::of_mac(entry.mac), heard)
                .on(Some(entry.mac), port)
        })
    }

    fn emptied(&self, interface: &str) -> Option<Sighting> {
        self.port(interface).map(|port| {
            tracing::info!(%port, "the port lost its link");
            Sighting::port_emptied(port, now())
        })
    }

    fn port(&self, interface: &str) -> Option<Port> {
        self.switch.port_of(interface).map(|port| Port::local(&self.switch.name, port))
    }
}
