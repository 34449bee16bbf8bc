//! The way to one client and back: a socket of its own, or the listening one, which all clients share.
//!
//! A socket of its own is what RFC 1350 §4 wants, each transfer with a port. Where a firewall or a NAT between lets
//! only answers of the asked port through, all of them go over that one, and the loop hands each transfer what its
//! client sent.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use net::{
    inbox::Inbox,
    segments::{self, Segments},
};
use tokio::{io::Interest, net::UdpSocket, sync::mpsc};

/// What a client can have said before its transfer looks; what is more is lost, as on the wire.
pub(super) const WAITING: usize = 64;

/// Whether transfers have sockets of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ports {
    /// each has one
    #[default]
    Own,
    /// all go over the port that was asked
    Single,
}

/// Where datagrams go and come from.
pub(super) enum Line {
    Own(UdpSocket),
    Shared { socket: Arc<UdpSocket>, client: SocketAddr, inbox: mpsc::Receiver<Vec<u8>> },
}

impl Line {
    /// A socket of its own at the address that was asked, which hears nobody but the client.
    pub(super) async fn own(server: IpAddr, client: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((server, 0)).await?;
        socket.connect(client).await?;
        Ok(Self::Own(socket))
    }

    /// Waits for something from the client. Cancel-safe.
    pub(super) async fn receive(&mut self, into: &mut Inbox) -> io::Result<()> {
        match self {
            Self::Own(socket) => loop {
                socket.readable().await?;
                let mut received = Err(io::ErrorKind::WouldBlock.into());
                // an emptied queue is said to block, so that the next wait is not for nothing
                let wait = socket.try_io(Interest::READABLE, || {
                    received = into.fill(&*socket);
                    match &received {
                        Ok(true) => Err(io::ErrorKind::WouldBlock.into()),
                        Err(error) => Err(error.kind().into()),
                        Ok(false) => Ok(()),
                    }
                });
                drop(wait);
                match received {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => return received.map(drop),
                }
            },
            Self::Shared { inbox, .. } => match inbox.recv().await {
                Some(datagram) => {
                    into.put(&datagram);
                    Ok(())
                }
                // the loop has let go of this transfer, which is stopped in a moment
                None => std::future::pending().await,
            },
        }
    }

    /// Sends one datagram.
    pub(super) async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Own(socket) => socket.send(datagram).await.map(drop),
            Self::Shared { socket, client, .. } => socket.send_to(datagram, *client).await.map(drop),
        }
    }

    /// Sends many in one call. `Ok(false)`: the way to this client does not take them so.
    pub(super) async fn send_at_once(&self, segments: &Segments) -> io::Result<bool> {
        let (socket, to) = match self {
            Self::Own(socket) => (socket, None),
            Self::Shared { socket, client, .. } => (&**socket, Some(*client)),
        };
        match socket.async_io(Interest::WRITABLE, || segments.send(socket, to)).await {
            Err(error) if segments::is_impossible(&error) => Ok(false),
            sent => sent.map(|()| true),
        }
    }
}
