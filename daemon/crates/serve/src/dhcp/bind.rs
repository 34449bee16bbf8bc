//! Opening the sockets of one interface, and every way in which that fails.

use std::net::Ipv4Addr;

use ::dhcp::{Config, Lease, Mode, PXE_PORT, SERVER_PORT, Server};
use net::{
    frame::{FrameError, FrameSocket},
    interface::{Interface, InterfaceError},
    udp::{BindError, DhcpSocket},
};
use tokio::sync::watch;

use super::{Dhcp, LeaseLog, Links};

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
    /// network's configuration and any later one. A later one may not change the mode: that needs
    /// other sockets.
    ///
    /// # Errors
    /// When the interface, its address, a port or a capability is missing.
    pub fn bind(
        interface: &str,
        mut configs: watch::Receiver<Config>,
        stored: Vec<Lease>,
        leases: L,
        links: Links,
    ) -> Result<Self, DhcpError> {
        let interface = Interface::named(interface)?;
        let config = configs.borrow_and_update().clone();
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
        let pxe = if config.mode == Mode::Proxy { Some(bind(PXE_PORT)?) } else { None };
        let frames = FrameSocket::sender(&name)
            .map_err(|source| DhcpError::Frame { interface: name.clone(), source })?;
        let stored = stored.into_iter().filter(|lease| config.subnet.contains(&lease.address));
        let server = Server::new(config.clone(), stored);
        Ok(Self { interface, socket, pxe, frames, server, configs, leases, links })
    }
}
