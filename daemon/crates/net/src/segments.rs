//! Many datagrams to one peer in one call: the kernel cuts them apart (`UDP_SEGMENT`, Linux 4.18), and its way down
//! to the network card is gone once.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg},
};

/// The kernel takes no more in one call (`UDP_MAX_SEGMENTS`, and 64 KiB with headers).
pub const MOST_SEGMENTS: usize = 64;
/// See [`MOST_SEGMENTS`].
pub const MOST_OCTETS: usize = 65_000;

/// Datagrams that can be sent at once: all of one size, the last one may be shorter.
#[derive(Debug, Default)]
pub struct Segments {
    octets: Vec<u8>,
    size: usize,
}

impl Segments {
    /// Whether this one can go along.
    pub fn takes(&self, datagram: &[u8]) -> bool {
        self.octets.is_empty()
            || (self.octets.len().is_multiple_of(self.size)
                && datagram.len() <= self.size
                && !datagram.is_empty()
                && self.octets.len() / self.size < MOST_SEGMENTS
                && self.octets.len() + datagram.len() <= MOST_OCTETS)
    }

    /// Adds one, which it [takes](Self::takes).
    pub fn push(&mut self, datagram: &[u8]) {
        if self.octets.is_empty() {
            self.size = datagram.len().max(1);
        }
        self.octets.extend_from_slice(datagram);
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.octets.chunks(self.size.max(1))
    }

    /// Whether there is more than one.
    pub fn are_many(&self) -> bool {
        self.octets.len() > self.size
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// All of them, one behind the other.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Of each but the last.
    pub(crate) fn size(&self) -> io::Result<u16> {
        u16::try_from(self.size).map_err(|_| Errno::EMSGSIZE.into())
    }

    /// Keeps the memory.
    pub fn clear(&mut self) {
        self.octets.clear();
    }

    /// Sends them without waiting, to the peer that the socket is connected to or to the one that is named.
    ///
    /// # Errors
    /// What the kernel says; [`is_impossible`] tells whether they must be sent one by one.
    pub fn send(&self, socket: impl AsFd, to: Option<SocketAddr>) -> io::Result<()> {
        let size = self.size()?;
        let control = [ControlMessage::UdpGsoSegments(&size)];
        let control = if self.are_many() { &control[..] } else { &[] };
        let octets = [IoSlice::new(&self.octets)];
        let socket = socket.as_fd().as_raw_fd();
        let to = to.map(SockaddrStorage::from);
        sendmsg(socket, &octets, control, MsgFlags::MSG_DONTWAIT, to.as_ref())?;
        Ok(())
    }
}

/// Whether the path to this peer takes no segments: larger than its frames, or a card that cannot.
pub fn is_impossible(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EINVAL | Errno::EIO | Errno::EMSGSIZE | Errno::EOPNOTSUPP | Errno::ENOPROTOOPT)
    )
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn they_arrive_apart_and_in_order() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut segments = Segments::default();
        let datagrams: Vec<Vec<u8>> =
            (0..10_u8).map(|number| vec![number; 1472]).chain([vec![10; 7]]).collect();
        for datagram in &datagrams {
            assert!(segments.takes(datagram));
            segments.push(datagram);
        }
        assert!(!segments.takes(&[0; 7]), "nothing may follow a shorter one");
        segments.send(&sender, None).unwrap();
        let mut buffer = [0; 2000];
        for datagram in &datagrams {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], datagram[..]);
        }
        assert!(segments.iter().eq(datagrams.iter().map(Vec::as_slice)));
        let unconnected = UdpSocket::bind("127.0.0.1:0").unwrap();
        segments.send(&unconnected, Some(receiver.local_addr().unwrap())).unwrap();
        for datagram in &datagrams {
            assert_eq!(receiver.recv(&mut buffer).unwrap(), datagram.len());
        }
    }

    #[test]
    fn no_more_than_the_kernel_takes() {
        let mut segments = Segments::default();
        let mut count = 0;
        while segments.takes(&[0; 1472]) {
            segments.push(&[0; 1472]);
            count += 1;
        }
        assert_eq!(count, MOST_OCTETS / 1472);
        let (mut small, mut count) = (Segments::default(), 0);
        while small.takes(&[0; 12]) {
            small.push(&[0; 12]);
            count += 1;
        }
        assert_eq!(count, MOST_SEGMENTS);
        assert!(!small.takes(&[0; 13]), "all of one size");
    }

    #[test]
    fn a_closed_port_is_no_reason_to_send_one_by_one() {
        assert!(!is_impossible(&io::Error::from(Errno::ECONNREFUSED)));
        assert!(is_impossible(&io::Error::from(Errno::EINVAL)));
    }
}
