//! A bridge's forwarding table: which port each hardware address was last heard on, as it changes.
//!
//! It names the port of a machine that says nothing but DHCP. `serve` turns entries into sightings. Needs no
//! capability. Addresses of the bridge itself, static entries and those another control plane put in are left
//! out: none of them shows that a frame came in on the port.

use std::{collections::BTreeMap, io, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use hardware::MacAddr;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};
use rtnetlink::MulticastGroup;

use crate::{
    interface::{BridgePort, Interface, InterfaceError, ports_of},
    netlink::{self, Connection, Notice},
};

/// One learned address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// the address that was heard
    pub mac: MacAddr,
    /// the number of the port's interface
    pub port: u32,
    /// the VLAN, on a bridge that filters them
    pub vlan: Option<u16>,
    /// time since the last frame from that address
    pub idle: Duration,
}

/// What changed at the bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// an address is new, or moved to this port
    Learned(Entry),
    /// an address is gone: it was silent too long, or its port went down
    Forgotten(Entry),
    /// a port is new, or its carrier came or went
    Port(BridgePort),
    /// a port was taken off the bridge or deleted
    PortRemoved(BridgePort),
    /// the kernel told more than was read: some changes are unknown, take [`Watch::entries`] anew
    Lost,
}

/// A bridge being watched.
pub struct Watch {
    bridge: Interface,
    connection: Connection,
    notices: Pin<Box<dyn Stream<Item = Notice> + Send + Sync>>,
    ports: BTreeMap<u32, BridgePort>,
}

/// The bridge cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// no such bridge
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// the kernel did not answer
    #[error("cannot read the forwarding table of bridge {bridge}")]
    Kernel {
        /// which
        bridge: String,
        /// what the kernel said
        #[source]
        source: io::Error,
    },
}

impl Watch {
    /// Starts to watch a bridge. Changes are queued from here on, so that a following
    /// [`Watch::entries`] misses nothing.
    ///
    /// # Errors
    /// When the interface does not exist or the kernel does not answer.
    pub async fn open(bridge: &str) -> Result<Self, ForwardingError> {
        let interface = Interface::named(bridge)?;
        let failed = |source| ForwardingError::Kernel { bridge: bridge.to_owned(), source };
        let (connection, notices) =
            Connection::open(&[MulticastGroup::Neigh, MulticastGroup::Link]).map_err(failed)?;
        let ports = ports_of(&connection, interface.index).await.map_err(failed)?;
        let ports = ports.into_iter().map(|port| (port.index, port)).collect();
        Ok(Self { bridge: interface, connection, notices: Box::pin(notices), ports })
    }

    /// The ports as known by the events so far.
    pub fn ports(&self) -> impl Iterator<Item = &BridgePort> {
        self.ports.values()
    }

    /// The port's name, if it is (still) a port of this bridge.
    pub fn port_name(&self, index: u32) -> Option<&str> {
        self.ports.get(&index).map(|port| port.name.as_str())
    }

    /// Every learned address, with the time since it was last heard.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub async fn entries(&self) -> Result<Vec<Entry>, ForwardingError> {
        let all = self.connection.neighbours(AddressFamily::Bridge).await;
        let all = all.map_err(|source| self.failed(source))?;
        Ok(all.iter().filter_map(|message| learned(message, self.bridge.index)).collect())
    }

    /// The next change. Cancel-safe.
    ///
    /// # Errors
    /// When the connection to the kernel ended; open a new watch.
    pub async fn next(&mut self) -> Result<Event, ForwardingError> {
        loop {
            let Some(notice) = self.notices.next().await else {
                return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
            };
            let event = match notice {
                Notice::Lost => Some(Event::Lost),
                Notice::Message(RouteNetlinkMessage::NewNeighbour(message)) => {
                    learned(&message, self.bridge.index).map(Event::Learned)
                }
                Notice::Message(RouteNetlinkMessage::DelNeighbour(message)) => {
                    learned(&message, self.bridge.index).map(Event::Forgotten)
                }
                Notice::Message(RouteNetlinkMessage::NewLink(link)) => self.link_changed(&link),
                Notice::Message(RouteNetlinkMessage::DelLink(link)) => self.link_removed(&link),
                Notice::Message(_) => None,
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// The kernel repeats a link's whole state for any small change; only what matters here is an event.
    fn link_changed(&mut self, link: &LinkMessage) -> Option<Event> {
        let index = link.header.index;
        if netlink::controller(link) != Some(self.bridge.index) {
            // the bridge module speaks of its ports in its own family; without a controller that is no removal
            let removed = link.header.interface_family != AddressFamily::Bridge;
            return removed.then(|| self.ports.remove(&index)).flatten().map(Event::PortRemoved);
        }
        let port = BridgePort {
            index,
            name: netlink::name(link)?.to_owned(),
            running: link.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        };
        let changed = self.ports.get(&index) != Some(&port);
        changed.then(|| {
            self.ports.insert(index, port.clone());
            Event::Port(port)
        })
    }

    fn link_removed(&mut self, link: &LinkMessage) -> Option<Event> {
        self.ports.remove(&link.header.index).map(Event::PortRemoved)
    }

    fn failed(&self, source: io::Error) -> ForwardingError {
        ForwardingError::Kernel { bridge: self.bridge.name.clone(), source }
    }
}

/// The entry, when a frame that came in on a port of this bridge made it.
fn learned(message: &NeighbourMessage, bridge: u32) -> Option<Entry> {
    let header = &message.header;
    let elsewhere = NeighbourFlags::Own | NeighbourFlags::ExtLearned;
    if header.family != AddressFamily::Bridge
        || header.ifindex == bridge
        || header.flags.intersects(elsewhere)
        || matches!(header.state, NeighbourState::Permanent | NeighbourState::Noarp)
    {
        return None;
    }
    let (mut mac, mut controller, mut vlan, mut idle) = (None, None, None, Duration::ZERO);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            NeighbourAttribute::Controller(index) => controller = Some(*index),
            NeighbourAttribute::Vlan(id) => vlan = Some(*id),
            NeighbourAttribute::CacheInfo(info) => idle = ticks(info.updated),
            _ => {}
        }
    }
    let mac = mac.map(MacAddr).filter(|mac| !mac.is_multicast())?;
    (controller == Some(bridge)).then_some(Entry { mac, port: header.ifindex, vlan, idle })
}

/// Times in netlink are in 1/100 s (`USER_HZ`, the same on every Linux that Rust's std supports).
fn ticks(count: u32) -> Duration {
    Duration::from_millis(u64::from(count) * 10)
}
