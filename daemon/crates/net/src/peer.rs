//! A UDP socket with one peer, for a conversation by turns.
//!
//! It is watched only for what comes in. A socket that is watched for room to send as well wakes its task a second time
//! for each datagram, when the other side has taken it, and that is as much work as the answer.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::{inbox::Inbox, segments::Segments};

/// What the runtime watches the socket for; an ICMP answer is an error.
const INTEREST: Interest = Interest::READABLE.add(Interest::ERROR);

/// See the [module](self).
#[derive(Debug)]
pub struct PeerSocket(AsyncFd<UdpSocket>);

impl PeerSocket {
    /// Opens it on one of our addresses, with any free port; it hears nobody but the peer.
    ///
    /// # Errors
    /// When the address is not ours, there is no way to the peer, or no descriptor left.
    pub fn connect(local: IpAddr, peer: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(peer)?;
        #[allow(unsafe_code, reason = "tokio wants to be told that the descriptor stays open")]
        // SAFETY: a UdpSocket keeps its one descriptor open until it is dropped.
        Ok(Self(unsafe { AsyncFd::register_with_interest(socket, INTEREST) }?))
    }

    /// Waits until something has come, and takes it. Cancel-safe.
    ///
    /// # Errors
    /// What the kernel says: `ConnectionRefused` when nobody listens at the peer's port.
    pub async fn receive(&self, into: &mut Inbox) -> io::Result<()> {
        loop {
            let mut ready = self.0.ready(INTEREST).await?;
            let mut emptied = false;
            let received = ready.try_io(|socket| {
                emptied = into.fill(socket.get_ref())?;
                Ok(())
            });
            if emptied {
                // so that the next wait is not for nothing
                ready.clear_ready();
            }
            match received {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }

    /// The same conversation on a thread that has nothing else to do: `recv` waits for the peer, and says `WouldBlock`
    /// when nothing has come for so long.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn into_blocking(self, patience: Duration) -> io::Result<UdpSocket> {
        let socket = self.0.into_inner();
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(patience))?;
        Ok(socket)
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when its queue is full.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.0.get_ref().send(datagram).map(drop)
    }

    /// Sends many in one call.
    ///
    /// # Errors
    /// As of [`Segments::send`]; `WouldBlock` when the kernel's queue is full.
    pub fn send_at_once(&self, segments: &Segments) -> io::Result<()> {
        segments.send(self.0.get_ref(), None)
    }
}
