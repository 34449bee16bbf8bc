//! Does anybody use this address (ARP probes, RFC 5227 §2.1.1), who has it now (a question of this host's), and whatever
//! else is heard of ARP.
//!
//! [`probe`] is asked before bootstrap for the cluster's virtual address: an answer means that a cluster is already
//! there or somebody took the address. [`ask`] is for a machine that does not answer where the kernel still sends to
//! the one that had the address before. [`Arp`] is for many probes at once, on one socket. Needs `CAP_NET_RAW`.

use std::{io, net::Ipv4Addr, time::Duration};

use hardware::MacAddr;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::frame::{FrameError, FrameSocket};

const ETHERTYPE_ARP: u16 = 0x0806;

/// How many questions are asked (`PROBE_NUM`).
pub const QUESTIONS: u32 = 3;

/// The question could not be asked; nothing is known about the address.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// no packet socket
    #[error(transparent)]
    Open(#[from] FrameError),
    /// the interface has no Ethernet address to ask from
    #[error("cannot ask for {address} on {interface}: the interface has no Ethernet address")]
    NotEthernet {
        /// where
        interface: String,
        /// the address in question
        address: Ipv4Addr,
    },
    /// nothing can be heard on an interface without a carrier, so silence would mean nothing
    #[error("cannot ask for {address} on {interface}: the interface is down or has no carrier")]
    Down {
        /// where
        interface: String,
        /// the address in question
        address: Ipv4Addr,
    },
    /// sending or receiving failed
    #[error("cannot ask for {address} on {interface}")]
    Socket {
        /// where
        interface: String,
        /// the address in question
        address: Ipv4Addr,
        /// what the kernel said
        #[source]
        source: io::Error,
    },
}

/// Asks three times within `timeout` who has `address` on `interface`, and returns the first machine that
/// uses it or probes for it itself; `None` when nobody spoke up until the timeout. The host's own address
/// counts as used.
///
/// # Errors
/// When the question could not be asked.
pub async fn probe(
    interface: &str,
    address: Ipv4Addr,
    timeout: Duration,
) -> Result<Option<MacAddr>, ProbeError> {
    let socket = FrameSocket::open(interface, ETHERTYPE_ARP, &[])?;
    let own = socket.interface();
    let interface = own.name.clone();
    let Some(mac) = own.mac else { return Err(ProbeError::NotEthernet { interface, address }) };
    if !own.running {
        return Err(ProbeError::Down { interface, address });
    }
    if own.addresses.iter().any(|net| net.addr() == address) {
        return Ok(Some(mac));
    }
    let asked = async {
        let start = Instant::now();
        let question = question(mac, address);
        for round in 0..QUESTIONS {
            sleep_until(start + timeout * round / QUESTIONS).await;
            socket.send(&question).await?;
            let until = start + timeout * (round + 1) / QUESTIONS;
            while let Ok(frame) = timeout_at(until, socket.recv()).await {
                if let Some(user) = user_of(&frame?, address).filter(|user| *user != mac) {
                    return Ok(Some(user));
                }
            }
        }
        Ok(None)
    };
    asked.await.map_err(|source| ProbeError::Socket { interface, address, source })
}

/// Asks everybody on the interface once who has `address`, as this host itself would if it knew nobody: whoever has
/// it answers the host, and the kernel takes the answer in place of what it held true before. Says whether there was
/// anything to ask: the address must be on a network that the interface has an address of.
///
/// A kernel believes that an address is where it last was for up to 45 s after the last word from there, and asks only
/// the old owner at first. A machine in a dead one's place gets the dead one's address long before that. Nor does the
/// kernel change an entry twice within a second (`locktime`), so ask again if nothing came of it.
///
/// # Errors
/// When the question could not be asked.
pub async fn ask(interface: &str, address: Ipv4Addr) -> Result<bool, ProbeError> {
    let socket = FrameSocket::sender(interface)?;
    let own = socket.interface();
    let interface = own.name.clone();
    let Some(mac) = own.mac else { return Err(ProbeError::NotEthernet { interface, address }) };
    let ours = own.addresses.iter().find(|net| net.contains(&address) && net.addr() != address);
    let Some(ours) = ours.map(ipnet::Ipv4Net::addr) else { return Ok(false) };
    let asked = socket.send(&request(mac, ours, address)).await;
    asked.map(|()| true).map_err(|source| ProbeError::Socket { interface, address, source })
}

/// All the ARP of one interface: questions out, and every frame that is heard in. Both are cancel-safe.
#[derive(Debug)]
pub struct Arp {
    socket: FrameSocket,
    mac: MacAddr,
}

/// What one frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// who sent it
    pub mac: MacAddr,
    /// the address it uses, or looks at before it uses it
    pub address: Ipv4Addr,
    /// whether it only looks at it so far
    pub probes: bool,
}

impl Arp {
    /// On one interface; `None` when that has no Ethernet address, and so no ARP.
    ///
    /// # Errors
    /// When the interface does not exist, `CAP_NET_RAW` is missing, or the kernel refuses.
    pub fn open(interface: &str) -> Result<Option<Self>, FrameError> {
        let socket = FrameSocket::open(interface, ETHERTYPE_ARP, &[])?;
        let mac = socket.interface().mac;
        Ok(mac.map(|mac| Self { socket, mac }))
    }

    /// Our own address, if this is one of the interface: nobody else answers for it.
    pub fn own(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.socket.interface().addresses.iter().any(|net| net.addr() == address).then_some(self.mac)
    }

    /// Asks once who uses an address. Nobody's cache is changed by it.
    ///
    /// # Errors
    /// What the kernel says: the interface is down or gone.
    pub async fn ask(&self, address: Ipv4Addr) -> io::Result<()> {
        self.socket.send(&question(self.mac, address)).await
    }

    /// The next machine that says something about an address.
    ///
    /// # Errors
    /// As [`FrameSocket::recv`].
    pub async fn hear(&self) -> io::Result<Heard> {
        loop {
            let frame = self.socket.recv().await?;
            if let Some(heard) = heard(&frame).filter(|heard| heard.mac != self.mac) {
                return Ok(heard);
            }
        }
    }
}

/// A broadcast ARP request with an all-zero sender protocol address, so that nobody's cache is changed.
fn question(mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    request(mac, Ipv4Addr::UNSPECIFIED, address)
}

/// A broadcast ARP request.
fn request(mac: MacAddr, from: Ipv4Addr, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend([0xff; 6]);
    frame.extend(mac.0);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    // RFC 826: hardware type 1, protocol type, their lengths, operation 1 (request)
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// Who uses the address by this frame: its sender, or the machine that probes for the same address now
/// (RFC 5227 §2.1.1 counts both as a conflict).
fn user_of(frame: &[u8], address: Ipv4Addr) -> Option<MacAddr> {
    heard(frame).filter(|heard| heard.address == address).map(|heard| heard.mac)
}

/// What a frame says about its sender.
fn heard(frame: &[u8]) -> Option<Heard> {
    let (header, packet) = frame.split_at_checked(14)?;
    if !header.ends_with(&ETHERTYPE_ARP.to_be_bytes()) {
        return None;
    }
    let (head, rest) = packet.split_first_chunk::<8>()?;
    let [0, 1, 0x08, 0, 6, 4, 0, operation @ (1 | 2)] = *head else { return None };
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let (target, _) = rest.split_first_chunk::<4>()?;
    let mac = MacAddr(*mac);
    match (*sender, operation) {
        ([0, 0, 0, 0], 1) => Some(Heard { mac, address: Ipv4Addr::from(*target), probes: true }),
        ([0, 0, 0, 0], _) => None,
        (sender, _) => Some(Heard { mac, address: Ipv4Addr::from(sender), probes: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 29, 51, 9);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// An answer (operation 2) by `OTHER`.
    fn answer(sender: Ipv4Addr) -> Vec<u8> {
        let mut frame = question(OTHER, ADDRESS);
        frame[21] = 2;
        frame[28..32].copy_from_slice(&sender.octets());
        frame
    }

    #[test]
    fn whoever_sends_from_the_address_or_probes_for_it_uses_it() {
        assert_eq!(user_of(&answer(ADDRESS), ADDRESS), Some(OTHER));
        assert_eq!(user_of(&question(OTHER, ADDRESS), ADDRESS), Some(OTHER));
        assert_eq!(user_of(&answer(Ipv4Addr::new(172, 29, 51, 10)), ADDRESS), None);
        assert_eq!(user_of(&question(OTHER, Ipv4Addr::new(172, 29, 51, 10)), ADDRESS), None);
    }

    #[test]
    fn somebody_else_who_asks_for_the_address_does_not_use_it() {
        let mut frame = question(OTHER, ADDRESS);
        frame[28..32].copy_from_slice(&[172, 29, 51, 10]);
        assert_eq!(user_of(&frame, ADDRESS), None);
    }

    #[test]
    fn short_and_foreign_frames_say_nothing() {
        let whole = answer(ADDRESS);
        for length in 0..whole.len() {
            assert_eq!(user_of(&whole[..length], ADDRESS), None, "{length}");
        }
        let mut other = whole;
        other[12] = 0x86;
        assert_eq!(user_of(&other, ADDRESS), None);
    }
}
