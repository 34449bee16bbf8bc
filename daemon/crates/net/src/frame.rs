//! Whole Ethernet frames of one type on one interface, without promiscuous mode (packet(7)).
//!
//! LLDP capture listens with it, ARP probes ask with it, and DHCP answers clients that have no address yet
//! with it. Needs `CAP_NET_RAW`. The receive is cancel-safe: a frame is either returned or still queued.

use std::{
    io,
    mem::{ManuallyDrop, size_of, zeroed},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Mutex, PoisonError},
};

use hardware::MacAddr;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, recvfrom, send, setsockopt, socket, sockopt,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
};

use crate::{
    interface::{Interface, InterfaceError},
    room::send_when_there_is_room,
};

/// The groups LLDP may be sent to (802.1AB-2016 §7.1): nearest bridge, nearest non-TPMR bridge, nearest
/// customer bridge.
pub const LLDP_GROUPS: [MacAddr; 3] = [
    MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]),
    MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x03]),
    MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x00]),
];

/// The largest frame that is read whole: a jumbo frame with a VLAN tag. What is longer is cut, and the
/// parser behind refuses it.
const LONGEST: usize = 9_234;

/// linux/pkt_sched.h
const TC_PRIO_CONTROL: i32 = 7;

/// Room for frames that come while the processor does something else, in bytes. The kernel counts a short frame as some
/// 800, so this is for about ten thousand. Without `CAP_NET_ADMIN` it is what `net.core.rmem_max` allows, some five
/// hundred frames by default; memory is taken only while frames wait.
const QUEUE: usize = 4 << 20;

/// What the runtime watches the socket for.
const INTEREST: Interest = Interest::READABLE.add(Interest::ERROR);

/// A packet socket on one interface.
#[derive(Debug)]
pub struct FrameSocket {
    socket: AsyncFd<Descriptor>,
    interface: Interface,
    /// what frames are read into; made once, because making it costs more than receiving
    buffer: Mutex<Vec<u8>>,
}

/// The kernel's end. To close a packet socket takes until no processor can be looking at it any more (`synchronize_rcu`),
/// some tens of milliseconds, so it is not done where others wait for their turn.
#[derive(Debug)]
struct Descriptor(ManuallyDrop<OwnedFd>);

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        #[allow(unsafe_code, reason = "a thread is to close what is being dropped here")]
        // SAFETY: it is taken once, here, and not used after.
        let descriptor = unsafe { ManuallyDrop::take(&mut self.0) };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(descriptor));
        }
    }
}

/// A packet socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// no such interface
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// the process may not open packet sockets
    #[error(
        "cannot listen for Ethernet frames on {interface}: the capability CAP_NET_RAW is missing; \
         start the service by its systemd unit, or run: setcap cap_net_raw,cap_net_bind_service+ep PROGRAM"
    )]
    NotPermitted {
        /// where
        interface: String,
    },
    /// anything else
    #[error("cannot listen for Ethernet frames on {interface}")]
    Socket {
        /// where
        interface: String,
        /// what the kernel said
        #[source]
        source: io::Error,
    },
}

impl FrameSocket {
    /// Receives frames of one type on an interface, those sent to the given groups among them.
    ///
    /// # Errors
    /// When the interface does not exist, `CAP_NET_RAW` is missing, or the kernel refuses.
    pub fn open(interface: &str, ethertype: u16, groups: &[MacAddr]) -> Result<Self, FrameError> {
        let interface = Interface::named(interface)?;
        let failed = |error: Errno| match error {
            Errno::EPERM | Errno::EACCES => FrameError::NotPermitted { interface: interface.name.clone() },
            other => FrameError::Socket { interface: interface.name.clone(), source: other.into() },
        };
        // protocol 0 receives nothing, so no frame of another interface slips in before bind
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None).map_err(failed)?;
        bind(&socket, interface.index, ethertype).map_err(failed)?;
        if ethertype != 0 {
            make_room(&socket).map_err(failed)?;
        }
        for group in groups {
            join(&socket, interface.index, *group).map_err(failed)?;
        }
        #[allow(unsafe_code, reason = "tokio wants to be told that the descriptor stays open")]
        // SAFETY: a Descriptor keeps its one descriptor open until it is dropped.
        let socket =
            unsafe { AsyncFd::register_with_interest(Descriptor(ManuallyDrop::new(socket)), INTEREST) }
                .map_err(|error| FrameError::Socket {
                    interface: interface.name.clone(),
                    source: error.into(),
                })?;
        Ok(Self { socket, interface, buffer: Mutex::default() })
    }

    /// Lets only UDP datagrams to one port through, and of fragments the first; for a socket that hears IPv4. The
    /// kernel looks, so that nobody is woken for anything else.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn only_udp_to(&self, port: u16) -> io::Result<()> {
        let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let load = libc::BPF_LD | libc::BPF_ABS;
        let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        // the protocol is UDP, this is no later fragment, and the port behind the header of whatever length is this one
        let mut rules = [
            rule(load | libc::BPF_B, 0, 0, 14 + 9),
            rule(jump, 0, 6, 17),
            rule(load | libc::BPF_H, 0, 0, 14 + 6),
            rule(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 4, 0, 0x1fff),
            rule(libc::BPF_LDX | libc::BPF_MSH | libc::BPF_B, 0, 0, 14),
            rule(libc::BPF_LD | libc::BPF_IND | libc::BPF_H, 0, 0, 14 + 2),
            rule(jump, 0, 1, u32::from(port)),
            rule(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            rule(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
        #[allow(unsafe_code, reason = "nix has no SO_ATTACH_FILTER")]
        // SAFETY: the program points to rules that live until after the call; the kernel copies them.
        let result = unsafe {
            libc::setsockopt(
                self.socket.get_ref().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of::<libc::sock_fprog>() as u32,
            )
        };
        Ok(Errno::result(result).map(drop)?)
    }

    /// Only sends frames on an interface, of whatever type their header says.
    ///
    /// # Errors
    /// As [`FrameSocket::open`].
    pub fn sender(interface: &str) -> Result<Self, FrameError> {
        Self::open(interface, 0, &[])
    }

    /// Sends with the priority of control traffic (`TC_PRIO_CONTROL`): some cards keep LLDP that has none from the
    /// wire, because their firmware speaks it. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// What the kernel says: the capability is missing.
    pub fn set_control_priority(&self) -> io::Result<()> {
        Ok(setsockopt(self.socket.get_ref(), sockopt::Priority, &TC_PRIO_CONTROL)?)
    }

    /// The interface as it was when the socket was opened.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The next frame from its destination address on; the host's own outgoing frames are left out.
    ///
    /// # Errors
    /// `NetworkDown` (once) when the interface went down: the socket goes on when it comes back, but must
    /// be opened anew when the interface was deleted.
    pub async fn recv(&self) -> io::Result<Vec<u8>> {
        loop {
            // an error alone (the interface went down) does not count as readable
            let mut ready = self.socket.ready(INTEREST).await?;
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            buffer.resize(LONGEST, 0);
            let received = ready.try_io(|socket| {
                recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer).map_err(io::Error::from)
            });
            match received {
                Ok(Ok((_, Some(from)))) if from.pkttype() == libc::PACKET_OUTGOING => {}
                Ok(Ok((length, _))) => return Ok(buffer.get(..length).unwrap_or_default().to_vec()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// How many frames the kernel has dropped since the last question, because the queue was full.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lost(&self) -> io::Result<u32> {
        // what the kernel counts: all frames of the type, and those of them that it dropped
        let mut counted = [0_u32; 2];
        let mut length = size_of::<[u32; 2]>() as libc::socklen_t;
        #[allow(unsafe_code, reason = "nix has no PACKET_STATISTICS")]
        // SAFETY: the pointers are to a live value of the length that is said, and to that length; the kernel writes no
        // more than it.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counted.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(result)?;
        Ok(counted[1])
    }

    /// Sends one frame, from its destination address on; the kernel adds the check sequence only.
    ///
    /// # Errors
    /// What the kernel says: the interface is down, or the frame is longer than its MTU allows.
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        let socket = self.socket.get_ref();
        send_when_there_is_room(socket, || {
            send(socket.as_raw_fd(), frame, MsgFlags::empty()).map_err(io::Error::from)
        })
        .await
        .map(drop)
    }
}

/// A longer queue: by force where that is allowed, else as long as everybody may have it.
fn make_room(socket: &OwnedFd) -> Result<(), Errno> {
    setsockopt(socket, sockopt::RcvBufForce, &QUEUE).or_else(|_| setsockopt(socket, sockopt::RcvBuf, &QUEUE))
}

/// Binds to one interface and frame type.
fn bind(socket: &OwnedFd, index: u32, ethertype: u16) -> Result<(), Errno> {
    #[allow(unsafe_code, reason = "libc has no constructor of sockaddr_ll")]
    // SAFETY: sockaddr_ll is plain numbers and an array of them; all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = i32::try_from(index).map_err(|_| Errno::ENODEV)?;
    #[allow(unsafe_code, reason = "nix makes no packet address to bind to")]
    // SAFETY: the pointer is to a live sockaddr_ll and the length is that type's; the kernel copies it.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    Errno::result(result).map(drop)
}

/// Asks the interface to let a group address in.
fn join(socket: &OwnedFd, index: u32, group: MacAddr) -> Result<(), Errno> {
    let MacAddr([a, b, c, d, e, f]) = group;
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).map_err(|_| Errno::ENODEV)?,
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: [a, b, c, d, e, f, 0, 0],
    };
    #[allow(unsafe_code, reason = "nix has no PACKET_ADD_MEMBERSHIP")]
    // SAFETY: the pointer is to a live packet_mreq and the length is that type's; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as u32,
        )
    };
    Errno::result(result).map(drop)
}
