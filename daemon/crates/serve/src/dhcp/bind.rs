//! Opening the sockets of one interface, and every way in which that fails.

use std::net::Ipv4Addr;

use ::dhcp::{Config, Lease, Mode, Networks, PXE_PORT, SERVER_PORT};
use net::{
    arp::Arp,
    frame::{FrameError, FrameSocket},
    interface::{Interface, InterfaceError},
    udp::{BindError, DhcpSocket},
};
use tokio::{sync::watch, time::Instant};

use super::{
    Dhcp, LeaseLog, Links, Rival, SearchError,
    commit::Commits,
    outbox::Outbox,
    rival::Pace,
    wire::{Parcel, Wire},
};

/// The DHCP server cannot start on an interface.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// no such interface
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// port 67 or 4011
    #[error("DHCP on {interface}: {source}")]
    Bind {
        /// where
        interface: String,
        /// why
        source: BindError,
    },
    /// packet socket
    #[error("DHCP on {interface}: {source}")]
    Frame {
        /// where
        interface: String,
        /// why
        source: FrameError,
    },
    /// not alone
    #[error(
        "another DHCP server ({}, {}) answers on {interface}, and two that give addresses break a network: stop it, \
         or write `dhcp: proxy`",
        .rival.server, .rival.mac
    )]
    Rival {
        /// where
        interface: String,
        /// who
        rival: Rival,
    },
    /// whether somebody else is there could not be found out
    #[error("DHCP on {interface}: {source}")]
    Search {
        /// where
        interface: String,
        /// why
        source: SearchError,
    },
    /// nothing to serve
    #[error("DHCP on {interface} has no network of its own")]
    NoNetwork {
        /// where
        interface: String,
    },
    /// the server address is not on the interface
    #[error("interface {interface} does not have the address {server}: it has {}", .addresses.join(", "))]
    NoAddress {
        /// where
        interface: String,
        /// option 54 of every answer
        server: Ipv4Addr,
        /// what it has instead
        addresses: Vec<String>,
    },
}

impl<L: LeaseLog> Dhcp<L> {
    /// Opens the sockets. `stored` are the leases from before, of all networks; `configs` holds the
    /// configurations of the interface's own network and of those that relays bring here, and any later
    /// ones. Later ones may not change a mode: that needs other sockets.
    ///
    /// # Errors
    /// When the interface, its address, a port or a capability is missing.
    pub fn bind(
        interface: &str,
        mut configs: watch::Receiver<Vec<Config>>,
        stored: Vec<Lease>,
        leases: L,
        links: Links,
    ) -> Result<Self, DhcpError> {
        let interface = Interface::named(interface)?;
        let all = configs.borrow_and_update().clone();
        let Some(config) = all.first().cloned() else {
            return Err(DhcpError::NoNetwork { interface: interface.name });
        };
        if !interface.addresses.iter().any(|net| net.addr() == config.server) {
            return Err(DhcpError::NoAddress {
                interface: interface.name,
                server: config.server,
                addresses: interface.addresses.iter().map(ToString::to_string).collect(),
            });
        }
        let name = interface.name.clone();
        let bind = |port| {
            DhcpSocket::bind(port, Some(&name))
                .map_err(|source| DhcpError::Bind { interface: name.clone(), source })
        };
        let socket = bind(SERVER_PORT)?;
        let pxe =
            if all.iter().any(|config| config.mode == Mode::Proxy) { Some(bind(PXE_PORT)?) } else { None };
        let frames = FrameSocket::sender(&name)
            .map_err(|source| DhcpError::Frame { interface: name.clone(), source })?;
        let (server, networks) = (config.server, Networks::new(all, &stored));
        let arp = Arp::open(&name).map_err(|source| DhcpError::Frame { interface: name, source })?;
        Ok(Self {
            wire: Wire { interface, socket, pxe, frames, server, parcel: Parcel::default() },
            networks,
            configs,
            commits: Commits::new(leases),
            outbox: Outbox::new(Instant::now()),
            links,
            arp,
            pace: Pace::default(),
            line: String::new(),
        })
    }
}
