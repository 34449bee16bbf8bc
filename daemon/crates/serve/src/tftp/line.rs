//! The way to one client and back: a socket of its own, or the listening one, which all clients share.
//!
//! A socket of its own is what RFC 1350 §4 wants, each transfer with a port. Where a firewall or a NAT between lets
//! only answers of the asked port through, all of them go over that one, and the loop hands each transfer what its
//! client sent.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use net::{
    inbox::Inbox,
    peer::PeerSocket,
    segments::{self, Segments},
};
use tokio::{io::Interest, net::UdpSocket, sync::mpsc, time::sleep};

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
    Own(PeerSocket),
    Shared { socket: Arc<UdpSocket>, client: SocketAddr, inbox: mpsc::Receiver<Vec<u8>> },
}

/// While the kernel's queue is full; it has room again when the card has sent some.
const FULL: Duration = Duration::from_millis(1);
/// So often; what then is not sent is lost, and comes again as what the network loses.
const TRIES: usize = 20;

impl Line {
    /// Waits for something from the client. Cancel-safe.
    pub(super) async fn receive(&mut self, into: &mut Inbox) -> io::Result<()> {
        match self {
            Self::Own(socket) => socket.receive(into).await,
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
            Self::Own(socket) => patiently(|| socket.send(datagram)).await,
            Self::Shared { socket, client, .. } => socket.send_to(datagram, *client).await.map(drop),
        }
    }

    /// Sends many in one call. `Ok(false)`: the way to this client does not take them so.
    pub(super) async fn send_at_once(&self, segments: &Segments) -> io::Result<bool> {
        let sent = match self {
            Self::Own(socket) => patiently(|| socket.send_at_once(segments)).await,
            Self::Shared { socket, client, .. } => {
                socket.async_io(Interest::WRITABLE, || segments.send(&**socket, Some(*client))).await
            }
        };
        match sent {
            Err(error) if segments::is_impossible(&error) => Ok(false),
            sent => sent.map(|()| true),
        }
    }
}

async fn patiently(send: impl Fn() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..TRIES {
        match send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL).await,
            sent => return sent,
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}
