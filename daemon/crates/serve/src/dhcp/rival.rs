//! Whether another DHCP server answers on an interface.
//!
//! Two servers that both give addresses break a network in ways that take days to find, so the authoritative mode
//! asks first, and goes on asking. The question is a DISCOVER in a raw frame: our own socket does not hear it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use ::dhcp::{CLIENT_PORT, Packet, SERVER_PORT};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use hardware::MacAddr;
use net::{
    frame::{FrameError, FrameSocket},
    interface::Interface,
};
use pnet_packet::{Packet as _, ethernet::EthernetPacket, ipv4::Ipv4Packet, udp::UdpPacket};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

use super::frame;

const ETHERTYPE_IPV4: u16 = 0x0800;
const EVERYBODY: MacAddr = MacAddr([0xff; 6]);

/// Before the first answer; most servers offer at once. One that looks at an address before it offers it is found by
/// the first of the later looks.
pub(super) const AT_START: Duration = Duration::from_millis(300);

/// How the later looks go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// how long a look waits: for servers that take their time, 3 s for dnsmasq's ping
    pub(super) wait: Duration,
    /// between two looks while nobody else is there
    pub(super) pause: Duration,
    /// between two looks while somebody is
    pub(super) pause_with_rival: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(5),
            pause: Duration::from_secs(60),
            pause_with_rival: Duration::from_secs(10),
        }
    }
}

/// Another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rival {
    /// its identifier
    pub server: Ipv4Addr,
    /// its card, or a relay's
    pub mac: MacAddr,
}

/// The question could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// no packet socket
    #[error(transparent)]
    Open(#[from] FrameError),
    /// sending or receiving failed
    #[error("cannot look for another DHCP server: {0}")]
    Socket(#[from] io::Error),
}

/// Looks again and again, in a task that ends with this value.
pub(super) struct Watch {
    found: watch::Receiver<Option<Rival>>,
    again: Arc<Notify>,
    task: Option<JoinHandle<()>>,
}

impl Watch {
    /// On this interface; `None` never finds anybody.
    pub(super) fn start(interface: Option<String>, own: Ipv4Addr, pace: Pace) -> Self {
        let (send, found) = watch::channel(None);
        let again = Arc::new(Notify::new());
        let task =
            interface.map(|interface| tokio::spawn(look(interface, own, pace, send, Arc::clone(&again))));
        Self { found, again, task }
    }

    /// Waits until the answer is another one.
    pub(super) async fn changed(&mut self) -> Option<Rival> {
        match self.found.changed().await {
            Ok(()) => *self.found.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }

    /// There is a reason to look now.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn look(
    interface: String,
    own: Ipv4Addr,
    pace: Pace,
    found: watch::Sender<Option<Rival>>,
    again: Arc<Notify>,
) {
    loop {
        match search(&interface, own, pace.wait).await {
            Ok(rival) => {
                found.send_if_modified(|before| {
                    let is_other = before.map(|rival| rival.server) != rival.map(|rival| rival.server);
                    *before = rival;
                    is_other
                });
            }
            // the interface is down, say; then nobody hears us either
            Err(error) => tracing::debug!(%interface, %error, "could not look for another DHCP server"),
        }
        let pause = if found.borrow().is_some() { pace.pause_with_rival } else { pace.pause };
        // either is a reason to look again
        timeout(pause, again.notified()).await.ok();
    }
}

/// Asks for an address and waits for an offer that is not ours. An interface without a carrier or without an Ethernet
/// address hears nobody, so nobody is there.
pub(super) async fn search(
    interface: &str,
    own: Ipv4Addr,
    wait: Duration,
) -> Result<Option<Rival>, SearchError> {
    let socket = FrameSocket::open(interface, ETHERTYPE_IPV4, &[])?;
    socket.only_udp_to(CLIENT_PORT)?;
    let Interface { mac: Some(mac), running: true, .. } = *socket.interface() else { return Ok(None) };
    let question = question(mac);
    let from = (mac, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
    let to = (EVERYBODY, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT));
    let Some(frame) = frame::udp_frame(from, to, &question.to_bytes()) else { return Ok(None) };
    socket.send(&frame).await?;
    let hear = async {
        loop {
            let frame = socket.recv().await?;
            if let Some(rival) = rival(&frame, question.xid).filter(|rival| rival.server != own) {
                return Ok(rival);
            }
        }
    };
    match timeout(wait, hear).await {
        Ok(heard) => heard.map(Some),
        Err(_elapsed) => Ok(None),
    }
}

/// A DISCOVER of our own card. The transaction need not be secret, only unlike a client's.
fn question(mac: MacAddr) -> Packet {
    let [.., c, d, e, f] = mac.0;
    let time = crate::clock::now().to_be_bytes();
    let [.., low] = time;
    let mut packet = Packet::request(mac, u32::from_be_bytes([c ^ low, d, e, f ^ low]));
    packet.set_broadcast();
    packet.options.set(&DhcpOption::MessageType(MessageType::Discover));
    packet
}

/// The server of an offer with an address; a boot server beside us is no rival.
fn rival(frame: &[u8], xid: u32) -> Option<Rival> {
    let ethernet = EthernetPacket::new(frame)?;
    let ip = Ipv4Packet::new(ethernet.payload())?;
    let datagram = UdpPacket::new(ip.payload()).filter(|_| ip.get_next_level_protocol().0 == 17)?;
    if datagram.get_destination() != CLIENT_PORT || datagram.get_source() != SERVER_PORT {
        return None;
    }
    let packet =
        Packet::parse(datagram.payload()).ok().filter(|packet| packet.op == 2 && packet.xid == xid)?;
    let offers = packet.message_type() == Some(MessageType::Offer) && !packet.yiaddr.is_unspecified();
    let server = packet.options.address(OptionCode::ServerIdentifier).unwrap_or_else(|| ip.get_source());
    offers.then_some(Rival { server, mac: MacAddr(ethernet.get_source().octets()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

    fn offer(kind: MessageType, address: Ipv4Addr, xid: u32) -> Vec<u8> {
        let mut packet = Packet::reply_to(&Packet::request(MacAddr([2; 6]), xid));
        packet.yiaddr = address;
        packet.options.set(&DhcpOption::MessageType(kind));
        packet.options.set(&DhcpOption::ServerIdentifier(SERVER));
        let from = (MacAddr([4; 6]), SocketAddrV4::new(SERVER, SERVER_PORT));
        let to = (EVERYBODY, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT));
        frame::udp_frame(from, to, &packet.to_bytes()).unwrap()
    }

    #[test]
    fn only_an_offer_of_an_address_to_our_question_is_a_rivals() {
        let address = Ipv4Addr::new(10, 77, 0, 50);
        let found = Some(Rival { server: SERVER, mac: MacAddr([4; 6]) });
        assert_eq!(rival(&offer(MessageType::Offer, address, 7), 7), found);
        assert_eq!(rival(&offer(MessageType::Offer, address, 8), 7), None, "to somebody else");
        assert_eq!(rival(&offer(MessageType::Offer, Ipv4Addr::UNSPECIFIED, 7), 7), None, "a boot server");
        assert_eq!(rival(&offer(MessageType::Ack, address, 7), 7), None);
        let whole = offer(MessageType::Offer, address, 7);
        // without its options it is no DHCP message
        for length in 0..282 {
            assert_eq!(rival(&whole[..length], 7), None, "{length}");
        }
    }
}
