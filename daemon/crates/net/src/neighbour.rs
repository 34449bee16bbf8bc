//! Which Ethernet address an IP address on the local network has, as the kernel knows it.
//!
//! A machine that talks to us has answered ARP, so that what it claims to be can be compared with what is on the
//! wire: a frame with another machine's source address would move that address to the liar's port. Needs no
//! capability.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use hardware::MacAddr;
use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use crate::{interface::Interface, netlink::Connection};

/// The Ethernet address behind an IP address; `None` when it is not on a local network or has not been heard.
/// Behind a router every machine has the router's address, which is not found here under the machine's.
///
/// # Errors
/// When the kernel does not answer.
pub async fn mac_of(address: IpAddr) -> io::Result<Option<MacAddr>> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let (connection, _) = Connection::open(&[])?;
    let entries = connection.neighbours(family).await?;
    Ok(entries.iter().find_map(|entry| mac(entry, address)))
}

/// One entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// the machine
    pub mac: MacAddr,
    /// its address
    pub address: Ipv4Addr,
    /// whether it was heard there just now; else it may be gone, or elsewhere
    pub confirmed: bool,
}

/// Every IPv4 neighbour on one interface.
///
/// # Errors
/// When the interface does not exist or the kernel does not answer.
pub async fn on(interface: &str) -> io::Result<Vec<Neighbour>> {
    let index = Interface::named(interface).map_err(io::Error::other)?.index;
    let (connection, _) = Connection::open(&[])?;
    let entries = connection.neighbours(AddressFamily::Inet).await?;
    let neighbour = |entry: &NeighbourMessage| {
        let address = entry.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
            _ => None,
        })?;
        let mac = mac(entry, address.into())?;
        Some(Neighbour { mac, address, confirmed: entry.header.state == NeighbourState::Reachable })
    };
    Ok(entries.iter().filter(|entry| entry.header.ifindex == index).filter_map(neighbour).collect())
}

/// The entry's Ethernet address, if it is about this address and was confirmed at some time.
fn mac(entry: &NeighbourMessage, address: IpAddr) -> Option<MacAddr> {
    if matches!(
        entry.header.state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::Noarp
    ) {
        return None;
    }
    let is_it = entry.attributes.iter().any(|attribute| match (attribute, address) {
        (NeighbourAttribute::Destination(NeighbourAddress::Inet(is)), IpAddr::V4(wanted)) => *is == wanted,
        (NeighbourAttribute::Destination(NeighbourAddress::Inet6(is)), IpAddr::V6(wanted)) => *is == wanted,
        _ => false,
    });
    entry.attributes.iter().filter(|_| is_it).find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => {
            <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr)
        }
        _ => None,
    })
}
