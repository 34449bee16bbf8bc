//! Network interfaces of this host, as they are now.
//!
//! The site file names interfaces; everything that opens a socket asks here first, so that a wrong name
//! ends in a sentence with the right ones.

use std::{collections::BTreeMap, io};

use hardware::MacAddr;
use ipnet::Ipv4Net;
use netlink_packet_route::link::LinkFlags;
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

use crate::netlink;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `eno1`
    pub name: String,
    /// the kernel's number, never 0
    pub index: u32,
    /// `None` for interfaces without Ethernet addresses
    pub mac: Option<MacAddr>,
    /// IPv4 addresses with their prefix length, in the kernel's order
    pub addresses: Vec<Ipv4Net>,
    /// set up by the administrator
    pub up: bool,
    /// up, and a carrier is there
    pub running: bool,
}

/// A port of a Linux bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgePort {
    /// the kernel's number
    pub index: u32,
    /// the interface's name
    pub name: String,
    /// up, and a carrier is there
    pub running: bool,
}

/// An interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// no such name here
    #[error("there is no network interface {name:?} on this host; there are: {}", .existing.join(", "))]
    Missing {
        /// what was asked for
        name: String,
        /// all that exist
        existing: Vec<String>,
    },
    /// the interface is not a bridge or has no ports
    #[error(
        "interface {name:?} is not a Linux bridge with ports; attach the ports first (ip link set PORT master {name})"
    )]
    NotABridge {
        /// what was asked for
        name: String,
    },
    /// the kernel did not answer
    #[error("cannot read the network interfaces of this host")]
    Kernel(#[source] io::Error),
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// When it does not exist (with those that do), or the kernel does not answer.
    pub fn named(name: &str) -> Result<Self, InterfaceError> {
        let mut all = Self::all()?;
        match all.iter().position(|interface| interface.name == name) {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(InterfaceError::Missing {
                name: name.to_owned(),
                existing: all.into_iter().map(|interface| interface.name).collect(),
            }),
        }
    }

    /// Every interface in this network namespace, in the order of their numbers.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn all() -> Result<Vec<Self>, InterfaceError> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        let entries = getifaddrs().map_err(|error| InterfaceError::Kernel(error.into()))?;
        for entry in entries {
            // an address may carry a label such as eno1:1; the interface is what stands before it
            let name = entry.interface_name.split(':').next().unwrap_or_default().to_owned();
            let interface = found.entry(name.clone()).or_insert_with(|| Self {
                name,
                index: 0,
                mac: None,
                addresses: Vec::new(),
                up: entry.flags.contains(InterfaceFlags::IFF_UP),
                running: entry.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING),
            });
            let Some(address) = entry.address else { continue };
            if let Some(link) = address.as_link_addr() {
                interface.index = u32::try_from(link.ifindex()).unwrap_or_default();
                let has_mac = link.halen() == 6 && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
                interface.mac = link.addr().filter(|_| has_mac).map(MacAddr);
            } else if let Some(ip) = address.as_sockaddr_in() {
                let mask =
                    entry.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in()).map(|mask| mask.ip());
                let net = match mask {
                    Some(mask) => Ipv4Net::with_netmask(ip.ip(), mask).ok(),
                    None => Ipv4Net::new(ip.ip(), 32).ok(),
                };
                interface.addresses.extend(net);
            }
        }
        let mut all: Vec<Self> = found.into_values().filter(|interface| interface.index != 0).collect();
        all.sort_by_key(|interface| interface.index);
        Ok(all)
    }
}

/// The ports of a bridge, in the order of their numbers.
///
/// # Errors
/// When the bridge does not exist or has no ports, or the kernel does not answer.
pub async fn bridge_ports(bridge: &str) -> Result<Vec<BridgePort>, InterfaceError> {
    let index = Interface::named(bridge)?.index;
    let (connection, _) = netlink::Connection::open(&[]).map_err(InterfaceError::Kernel)?;
    let ports = ports_of(&connection, index).await.map_err(InterfaceError::Kernel)?;
    if ports.is_empty() {
        return Err(InterfaceError::NotABridge { name: bridge.to_owned() });
    }
    Ok(ports)
}

/// The ports of the bridge with this number; none when it has none or is no bridge.
pub(crate) async fn ports_of(connection: &netlink::Connection, bridge: u32) -> io::Result<Vec<BridgePort>> {
    let mut ports: Vec<BridgePort> = connection
        .links()
        .await?
        .into_iter()
        .filter(|link| netlink::controller(link) == Some(bridge))
        .map(|link| BridgePort {
            index: link.header.index,
            name: netlink::name(&link).unwrap_or_default().to_owned(),
            running: link.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
        })
        .collect();
    ports.sort_by_key(|port| port.index);
    Ok(ports)
}
