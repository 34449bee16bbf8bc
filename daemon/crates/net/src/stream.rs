//! A file on its way into a TCP connection without passing through this process (`sendfile`, Linux 2.6.33).

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use socket2::SockRef;

/// Sends octets of the file, as many as the connection takes now; 0 where the file has no more.
///
/// # Errors
/// What the kernel says; `WouldBlock` when the connection takes none now.
pub fn send_file(socket: impl AsFd, file: &File, offset: u64, most: u64) -> io::Result<u64> {
    let mut offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let (socket, file) = (socket.as_fd().as_raw_fd(), file.as_raw_fd());
    #[allow(unsafe_code, reason = "one call, for which nix needs a feature more")]
    // SAFETY: both descriptors are open as long as their owners are borrowed, and the offset lives longer than the call.
    let sent = unsafe { libc::sendfile(socket, file, &raw mut offset, most) };
    u64::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends what more follows on at once, so that both may share a packet.
///
/// # Errors
/// What the kernel says; `WouldBlock` when the connection takes none now.
pub fn send_before_more(socket: &impl AsFd, octets: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(octets, libc::MSG_MORE)
}

/// Whether the ends of a part of the file are in memory, so that sending it does not wait for a disk. A system that does
/// not know says yes.
pub fn is_cached(file: &File, offset: u64, length: u64) -> bool {
    let last = offset.saturating_add(length.saturating_sub(1));
    [offset, last].into_iter().all(|offset| {
        let Ok(offset) = libc::off_t::try_from(offset) else { return true };
        let mut octet = 0_u8;
        let part = libc::iovec { iov_base: (&raw mut octet).cast(), iov_len: 1 };
        #[allow(unsafe_code, reason = "nix has no RWF_NOWAIT")]
        // SAFETY: the one iovec points to one octet that lives longer than the call.
        let read =
            unsafe { libc::preadv2(file.as_raw_fd(), ptr::from_ref(&part), 1, offset, libc::RWF_NOWAIT) };
        read >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_part_of_a_file_comes_behind_its_head() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let path = std::env::temp_dir().join(format!("ichord-stream-{}", std::process::id()));
        File::create(&path).unwrap().write_all(b"0123456789").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(is_cached(&file, 0, 10), "it was just written");
        assert_eq!(send_before_more(&server, b"head ").unwrap(), 5);
        assert_eq!(send_file(&server, &file, 4, 3).unwrap(), 3);
        assert_eq!(send_file(&server, &file, 8, 100).unwrap(), 2);
        assert_eq!(send_file(&server, &file, 10, 100).unwrap(), 0);
        drop(server);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "head 45689");
    }
}
