//! The UDP socket DHCP needs: it knows on which interface a datagram came and says from where one goes.
//!
//! Broadcasts from clients without an address arrive here like any other; `serve` runs one such socket per
//! port and network. A port below 1024 needs `CAP_NET_BIND_SERVICE`. Both directions are cancel-safe.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
    sync::Arc,
};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    interface::{Interface, InterfaceError},
    room::send_when_there_is_room,
    segments::Segments,
};

/// The largest UDP payload over IPv4.
const LONGEST: usize = 65_507;

/// Octets that may wait on the socket: 1,000 machines and more.
const QUEUE: usize = 4 * 1024 * 1024;

/// What the runtime watches the socket for.
const INTEREST: Interest = Interest::READABLE.add(Interest::ERROR);

/// A UDP socket on 0.0.0.0 with per-packet interface information (ip(7), `IP_PKTINFO`).
#[derive(Debug)]
pub struct DhcpSocket {
    socket: Arc<Socket>,
    /// the runtime's eye on it, while somebody waits
    watch: Option<AsyncFd<Arc<Socket>>>,
    local: SocketAddrV4,
}

/// Takes the largest datagram there can be; made once, because making it costs more than receiving.
#[derive(Debug, Clone)]
pub struct ReceiveBuffer(Vec<u8>);

impl Default for ReceiveBuffer {
    fn default() -> Self {
        Self(vec![0; LONGEST])
    }
}

/// One datagram as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// the UDP payload
    pub payload: Vec<u8>,
    /// who sent it; 0.0.0.0:68 from a client without an address
    pub source: SocketAddrV4,
    /// the number of the interface it came in on
    pub interface: u32,
    /// the address it was sent to: one of ours or a broadcast address
    pub destination: Ipv4Addr,
    /// our address on that interface; unspecified when it has none
    pub local: Ipv4Addr,
}

/// From where a datagram goes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Via {
    /// the number of the interface; 0 lets the routes decide
    pub interface: u32,
    /// our source address; `None` lets the kernel choose
    pub source: Option<Ipv4Addr>,
}

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// no such interface
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// ports below 1024 are the administrator's
    #[error(
        "cannot listen on UDP port {port}: the capability CAP_NET_BIND_SERVICE is missing; \
         start the service by its systemd unit, or run: setcap cap_net_raw,cap_net_bind_service+ep PROGRAM"
    )]
    NotPermitted {
        /// the port
        port: u16,
    },
    /// somebody else listens there
    #[error(
        "cannot listen on UDP port {port}: another program does already; `ss -ulnp sport = {port}` shows which"
    )]
    InUse {
        /// the port
        port: u16,
    },
    /// anything else
    #[error("cannot listen on UDP port {port}")]
    Socket {
        /// the port
        port: u16,
        /// what the kernel said
        #[source]
        source: io::Error,
    },
}

impl DhcpSocket {
    /// Listens on a port of every address, on one interface or on all. Port 0 takes any free one.
    ///
    /// # Errors
    /// When the interface does not exist, the port needs a capability or is taken, or the kernel refuses.
    pub fn bind(port: u16, interface: Option<&str>) -> Result<Self, BindError> {
        if let Some(name) = interface {
            Interface::named(name)?;
        }
        Self::try_bind(port, interface).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => BindError::NotPermitted { port },
            io::ErrorKind::AddrInUse => BindError::InUse { port },
            _ => BindError::Socket { port, source },
        })
    }

    fn try_bind(port: u16, interface: Option<&str>) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        // without SO_REUSEADDR: sockets of different interfaces may share the port, another DHCP server on
        // ours must not
        socket.set_broadcast(true)?;
        // a rack that is switched on asks all at once; what the kernel allows is less on most systems
        socket.set_recv_buffer_size(QUEUE)?;
        if let Some(name) = interface {
            socket.bind_device(Some(name.as_bytes()))?;
        }
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        let local = socket.local_addr()?.as_socket_ipv4();
        let local = local.ok_or_else(|| io::Error::other("the socket has no IPv4 address"))?;
        Ok(Self { socket: Arc::new(socket), watch: None, local })
    }

    /// 0.0.0.0 and the port.
    pub fn local_address(&self) -> SocketAddrV4 {
        self.local
    }

    /// The next datagram.
    ///
    /// # Errors
    /// What the kernel says; an error belongs to one packet, the socket goes on.
    pub async fn recv(&mut self) -> io::Result<Datagram> {
        let received = self.recv_waiting(&mut ReceiveBuffer::default(), 1).await?;
        received.into_iter().next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    /// The datagrams that wait, at most `most`, in order; waits for the first of them. An error belongs to
    /// one packet (such as an ICMP answer), the socket goes on. `buffer` is only a place to read into. Cancel-safe.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub async fn recv_waiting(
        &mut self,
        buffer: &mut ReceiveBuffer,
        most: usize,
    ) -> io::Result<Vec<io::Result<Datagram>>> {
        loop {
            let received = self.received(buffer, most);
            if !received.is_empty() {
                return Ok(received);
            }
            // an error alone (an ICMP answer) does not count as readable
            self.watch()?.ready(INTEREST).await?.clear_ready();
        }
    }

    /// Nobody waits for the next datagram: whoever calls this comes back after a moment. A socket that is watched wakes
    /// the runtime for each datagram, also while there is nobody to take it.
    pub fn rest(&mut self) {
        self.watch = None;
    }

    fn watch(&mut self) -> io::Result<&AsyncFd<Arc<Socket>>> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            #[allow(unsafe_code, reason = "tokio wants to be told that the descriptor stays open")]
            // SAFETY: a Socket keeps its one descriptor open until it is dropped, and the Arc keeps the Socket.
            None => unsafe { AsyncFd::register_with_interest(Arc::clone(&self.socket), INTEREST) }?,
        };
        Ok(self.watch.insert(watch))
    }

    fn received(&self, buffer: &mut ReceiveBuffer, most: usize) -> Vec<io::Result<Datagram>> {
        let mut received = Vec::new();
        while received.len() < most {
            match receive(&self.socket, &mut buffer.0) {
                Ok(Some(datagram)) => received.push(Ok(datagram)),
                // without interface information there is nobody to answer
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => received.push(Err(error)),
            }
        }
        received
    }

    /// Sends one datagram out of the given interface and address.
    ///
    /// # Errors
    /// What the kernel says: no route, the interface is down, the source address is not ours.
    pub async fn send_to(&self, payload: &[u8], destination: SocketAddrV4, via: Via) -> io::Result<()> {
        self.send_with(payload, &[], destination, via).await
    }

    /// Sends many to one destination in one call.
    ///
    /// # Errors
    /// The same; [`is_impossible`](crate::segments::is_impossible) tells whether they must be sent one by one.
    pub async fn send_segments(
        &self,
        segments: &Segments,
        destination: SocketAddrV4,
        via: Via,
    ) -> io::Result<()> {
        let size = segments.size()?;
        let apart = [ControlMessage::UdpGsoSegments(&size)];
        self.send_with(segments.octets(), &apart, destination, via).await
    }

    async fn send_with(
        &self,
        octets: &[u8],
        more: &[ControlMessage<'_>],
        destination: SocketAddrV4,
        via: Via,
    ) -> io::Result<()> {
        let info = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(via.interface).map_err(io::Error::other)?,
            ipi_spec_dst: libc::in_addr { s_addr: via.source.map_or(0, |source| u32::from(source).to_be()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let to = SockaddrIn::from(destination);
        let parts = [IoSlice::new(octets)];
        let control: Vec<_> = more.iter().copied().chain([ControlMessage::Ipv4PacketInfo(&info)]).collect();
        let socket = &*self.socket;
        send_when_there_is_room(socket, || {
            sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&to))
                .map_err(io::Error::from)
        })
        .await
        .map(drop)
    }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let info = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let (source, length) = (message.address, message.bytes);
    let (Some(info), Some(source)) = (info, source) else { return Ok(None) };
    Ok(Some(Datagram {
        // what is kept is as long as it came
        payload: buffer.get(..length).unwrap_or_default().to_vec(),
        source: SocketAddrV4::new(source.ip(), source.port()),
        interface: u32::try_from(info.ipi_ifindex).unwrap_or_default(),
        destination: Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)),
        local: Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)),
    }))
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// Something is broken when it takes longer.
    const BROKEN: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_comes_during_a_rest_is_there_after_it() {
        let mut socket = DhcpSocket::bind(0, None).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(("127.0.0.1", socket.local_address().port())).unwrap();
        let mut buffer = ReceiveBuffer::default();
        let payloads = |received: Vec<io::Result<Datagram>>| {
            received.into_iter().map(|datagram| datagram.unwrap().payload).collect::<Vec<_>>()
        };
        // somebody waited already, so it is watched
        assert!(timeout(Duration::ZERO, socket.recv()).await.is_err());
        assert!(socket.watch.is_some());
        for round in 0..3 {
            socket.rest();
            assert!(socket.watch.is_none());
            for number in 0..3 {
                sender.send(&[round, number]).unwrap();
            }
            let received = timeout(BROKEN, socket.recv_waiting(&mut buffer, 8)).await.unwrap().unwrap();
            assert_eq!(payloads(received), [[round, 0], [round, 1], [round, 2]]);
            // and it is watched again by who waits
            let (received, _) = tokio::join!(biased; timeout(BROKEN, socket.recv_waiting(&mut buffer, 8)), async {
                sender.send(b"later").unwrap();
            });
            assert_eq!(payloads(received.unwrap().unwrap()), [b"later"]);
        }
    }
}
