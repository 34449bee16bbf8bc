//! What lies in a UDP socket's queue, in one call (`recvmmsg`, Linux 2.6.33): whoever got less than there was room for
//! knows that the queue is empty and need not ask once more.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd},
    ptr,
};

/// Taken at once.
const MOST: usize = 4;
/// Of each; what is longer is cut off.
const LONGEST: usize = 520;

/// Short datagrams of one socket.
#[derive(Debug)]
pub struct Inbox {
    buffers: [[u8; LONGEST]; MOST],
    lengths: [usize; MOST],
    count: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { buffers: [[0; LONGEST]; MOST], lengths: [0; MOST], count: 0 }
    }
}

impl Inbox {
    /// Replaces what is here by what the socket has, without waiting; whether that was all.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when there is nothing.
    pub fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        self.count = 0;
        let mut parts = self
            .buffers
            .each_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
        #[allow(unsafe_code, reason = "libc has no constructor of mmsghdr")]
        // SAFETY: mmsghdr is pointers and numbers; all zeros is a valid value of them.
        let mut headers: [libc::mmsghdr; MOST] = unsafe { mem::zeroed() };
        for (header, part) in headers.iter_mut().zip(&mut parts) {
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let (socket, most) = (socket.as_fd().as_raw_fd(), MOST as u32);
        #[allow(unsafe_code, reason = "nix's recvmmsg wants headers on the heap")]
        // SAFETY: each header points to one iovec, each iovec to a buffer of its length; all of them live longer than
        // the call. A null pointer for the timeout means that there is none.
        let count = unsafe {
            libc::recvmmsg(socket, headers.as_mut_ptr(), most, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (length, header) in self.lengths.iter_mut().zip(&headers) {
            *length = header.msg_len as usize;
        }
        Ok(self.count < MOST)
    }

    /// Replaces what is here by one datagram that came another way.
    pub fn put(&mut self, datagram: &[u8]) {
        let [buffer, ..] = &mut self.buffers;
        let [length, ..] = &mut self.lengths;
        *length = datagram.len().min(LONGEST);
        buffer.iter_mut().zip(datagram).for_each(|(to, from)| *to = *from);
        self.count = 1;
    }

    /// One by one, as they came.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.buffers.iter().zip(&self.lengths).take(self.count);
        all.map(|(buffer, length)| buffer.get(..*length).unwrap_or(buffer))
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn all_come_in_order_and_the_last_call_says_so() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut inbox = Inbox::default();
        assert_eq!(inbox.fill(&receiver).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        for number in 0..6_u8 {
            sender.send(&vec![number; usize::from(number) * 200]).unwrap();
        }
        let mut seen = Vec::new();
        assert!(!inbox.fill(&receiver).unwrap(), "there are more");
        seen.extend(inbox.iter().map(<[u8]>::to_vec));
        assert!(inbox.fill(&receiver).unwrap());
        seen.extend(inbox.iter().map(<[u8]>::to_vec));
        let expected: Vec<Vec<u8>> =
            (0..6_u8).map(|number| vec![number; (usize::from(number) * 200).min(LONGEST)]).collect();
        assert_eq!(seen, expected);
        assert!(inbox.fill(&receiver).is_err());
        assert_eq!(inbox.iter().count(), 0, "nothing old is left");
    }

    #[test]
    fn a_closed_port_shows() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(gone.local_addr().unwrap()).unwrap();
        drop(gone);
        socket.send(b"anybody?").unwrap();
        assert_eq!(Inbox::default().fill(&socket).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn what_came_another_way_replaces_it() {
        let mut inbox = Inbox::default();
        inbox.put(&[7; 600]);
        inbox.put(b"ack");
        assert!(inbox.iter().eq([b"ack"]));
    }
}
