//! The load: a TFTP client that is as cheap as it can be made, the same one for every server.
//!
//! One thread a transfer, blocking. A window is taken out of the kernel in one call and answered with one packet. Every
//! octet is compared with the file, so that nobody is fast by being wrong.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use tftp::{Mode, Options, Packet, Request};

/// Nothing is lost on this cable unless a queue is full.
const PATIENCE: Duration = Duration::from_secs(1);
const TRIES: u32 = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) block_size: u16,
    pub(crate) window: u16,
}

/// What a transfer was like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fetched {
    /// the window that was granted; 1 where the server knows none
    pub(crate) window: u16,
    /// how often nothing came and the last acknowledgement was said again
    pub(crate) repeated: u32,
}

/// Fetches a file and holds it against what it must be.
pub(crate) fn fetch(
    server: SocketAddrV4,
    name: &str,
    expected: &[u8],
    wish: Wish,
) -> anyhow::Result<Fetched> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let options = Options {
        block_size: Some(wish.block_size.into()),
        window: (wish.window > 1).then_some(wish.window.into()),
        ..Options::default()
    };
    let request = Packet::Read(Request { name: name.as_bytes(), mode: Mode::Octet, options }).to_bytes();
    let (granted, peer) = granted(&socket, server, &request)?;
    socket.connect(peer)?;
    ensure!(granted.block_size == Some(wish.block_size.into()), "the block size is {:?}", granted.block_size);
    let mut fetched = Fetched { window: granted.window.unwrap_or(1).try_into()?, repeated: 0 };
    let mut file = File { expected, block_size: wish.block_size.into(), has: 0, whole: false };
    socket.send(&Packet::Ack(0).to_bytes())?;
    let length = 4 + usize::from(wish.block_size);
    let mut buffers = vec![vec![0; length]; fetched.window.into()];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(buffers.len(), None);
    let (mut since, mut silent) = (0, 0);
    while !file.whole {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let received = if fetched.window == 1 {
            socket.recv(&mut slices[0][0]).map(|length| vec![length])
        } else {
            recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)
                .map(|received| received.map(|one| one.bytes).collect())
                .map_err(io::Error::from)
        };
        let lengths = match received {
            Ok(lengths) => lengths,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                silent += 1;
                ensure!(silent < TRIES, "the server is silent after block {}", file.has);
                fetched.repeated += 1;
                socket.send(&Packet::Ack(file.on_the_wire()).to_bytes())?;
                since = 0;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        silent = 0;
        for (buffer, length) in buffers.iter().zip(lengths) {
            if file.take(&buffer[..length])? {
                since += 1;
            }
            if since == fetched.window || file.whole {
                socket.send(&Packet::Ack(file.on_the_wire()).to_bytes())?;
                since = 0;
            }
        }
    }
    Ok(fetched)
}

fn granted(
    socket: &UdpSocket,
    server: SocketAddrV4,
    request: &[u8],
) -> anyhow::Result<(Options, SocketAddr)> {
    let mut buffer = [0; 2048];
    for _ in 0..TRIES {
        socket.send_to(request, server)?;
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
        return match Packet::parse(&buffer[..length])? {
            Packet::OptionAck(options) => Ok((options, peer)),
            Packet::Error { code, text } => bail!("the server refuses: {code} {text}"),
            other => bail!("no options are granted: {other:?}"),
        };
    }
    bail!("{server} does not answer")
}

/// The file as far as it has come.
struct File<'a> {
    expected: &'a [u8],
    block_size: usize,
    /// blocks
    has: usize,
    whole: bool,
}

impl File<'_> {
    /// A datagram; whether it was the block that was waited for.
    fn take(&mut self, datagram: &[u8]) -> anyhow::Result<bool> {
        let [0, 3, high, low, data @ ..] = datagram else {
            bail!("no data: {:?}", Packet::parse(datagram).context("not even TFTP")?)
        };
        if u16::from_be_bytes([*high, *low]) != self.on_the_wire().wrapping_add(1) {
            return Ok(false);
        }
        let begin = self.has * self.block_size;
        let right = self.expected.get(begin..).unwrap_or_default();
        let right = right.get(..self.block_size).unwrap_or(right);
        ensure!(data == right, "block {} is wrong", self.has + 1);
        self.has += 1;
        self.whole = data.len() < self.block_size;
        Ok(true)
    }

    /// Block numbers roll over to 0.
    fn on_the_wire(&self) -> u16 {
        (self.has & 0xffff) as u16
    }
}
