//! The far end of a switch port, held by a program instead of a cable (tun(4)), for tests and the lab.
//!
//! What the program writes the port receives, and the other way round. The kernel finishes the checksums of what it
//! sends there, because the far end promised nothing. The receive is cancel-safe. Needs `CAP_NET_ADMIN`.

use std::{
    fs::OpenOptions,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::{errno::Errno, unistd};
use tokio::io::unix::AsyncFd;

/// The largest frame, as for packet sockets.
const LONGEST: usize = 9_234;

/// A program's end of a port.
#[derive(Debug)]
pub struct Tap {
    device: AsyncFd<OwnedFd>,
}

impl Tap {
    /// Takes the far end of the port with this name; one that does not exist is made, and lives as long as this.
    ///
    /// # Errors
    /// When the name is too long, another program holds the far end, or the process may not.
    pub fn open(port: &str) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")?;
        let device = OwnedFd::from(device);
        attach(&device, port)?;
        #[allow(unsafe_code, reason = "tokio wants to be told that the descriptor stays open")]
        // SAFETY: an OwnedFd keeps its one descriptor open until it is dropped.
        let device = unsafe { AsyncFd::register(device) }?;
        Ok(Self { device })
    }

    /// The next frame that the switch sends out of the port.
    ///
    /// # Errors
    /// When the port was deleted.
    pub async fn recv(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; LONGEST];
        loop {
            let mut ready = self.device.readable().await?;
            match ready.try_io(|device| unistd::read(device, &mut frame).map_err(io::Error::from)) {
                Ok(Ok(length)) => {
                    frame.truncate(length);
                    return Ok(frame);
                }
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Sends a frame into the port.
    ///
    /// # Errors
    /// When the port was deleted, or is down.
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.device.writable().await?;
            match ready.try_io(|device| unistd::write(device, frame).map_err(io::Error::from)) {
                Ok(sent) => return sent.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

/// Frames without a header before them, on the port with this name.
fn attach(device: &OwnedFd, port: &str) -> io::Result<()> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short,
        },
    };
    // the last octet stays zero
    if port.len() >= libc::IFNAMSIZ {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{port} is too long for a name")));
    }
    for (place, octet) in request.ifr_name.iter_mut().zip(port.bytes()) {
        *place = octet as libc::c_char;
    }
    #[allow(unsafe_code, reason = "nothing safe asks for TUNSETIFF")]
    // SAFETY: the pointer is to a live ifreq, which is what TUNSETIFF reads and writes.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}
