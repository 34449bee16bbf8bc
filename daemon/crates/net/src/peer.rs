//! A UDP socket with one peer, for a conversation by turns.
//!
//! It is watched only for what comes in. A socket that is watched for room to send as well wakes its task a second time
//! for each datagram, when the other side has taken it, and that is as much work as the answer.

use std::{
    io,
    net::{IpAddr, Shutdown, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
};

use socket2::SockRef;
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

    /// The same conversation for a thread that has nothing else to do.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn into_blocking(self) -> io::Result<BlockingPeer> {
        let socket = self.0.into_inner();
        socket.set_nonblocking(false)?;
        Ok(BlockingPeer { socket, hung_up: AtomicBool::new(false) })
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

/// A [`PeerSocket`] on which one thread waits without a timer, while others may send, or hang up.
///
/// A timer for each wait is work for the kernel with every datagram, and is hardly ever needed.
#[derive(Debug)]
pub struct BlockingPeer {
    socket: UdpSocket,
    hung_up: AtomicBool,
}

impl BlockingPeer {
    /// Waits for the peer, however long that takes; the length of what came, or `None` once somebody has hung up.
    ///
    /// # Errors
    /// As of [`PeerSocket::receive`]; `Interrupted`, too.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.recv(into)? {
            // either nothing, or a datagram with nothing in it
            0 if self.hung_up.load(Ordering::Acquire) => Ok(None),
            length => Ok(Some(length)),
        }
    }

    /// As [`PeerSocket::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).map(drop)
    }

    /// Ends the wait of whoever waits, and each one after it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn hang_up(&self) -> io::Result<()> {
        self.hung_up.store(true, Ordering::Release);
        SockRef::from(&self.socket).shutdown(Shutdown::Read)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn nothing_is_something_until_somebody_hangs_up() {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = "127.0.0.1".parse().unwrap();
        let peer = PeerSocket::connect(local, client.local_addr().unwrap()).unwrap().into_blocking().unwrap();
        peer.send(b"block").unwrap();
        let (_, server) = client.recv_from(&mut [0; 8]).unwrap();
        client.send_to(b"", server).unwrap();
        client.send_to(b"ack", server).unwrap();
        let mut answer = [0; 8];
        assert_eq!(peer.receive(&mut answer).unwrap(), Some(0));
        assert_eq!(peer.receive(&mut answer).unwrap(), Some(3));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| peer.receive(&mut [0; 8]).unwrap());
            peer.hang_up().unwrap();
            assert_eq!(waiting.join().unwrap(), None);
        });
        assert_eq!(peer.receive(&mut answer).unwrap(), None);
    }
}
