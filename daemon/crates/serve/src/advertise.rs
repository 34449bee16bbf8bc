//! Tells IPv6 hosts that there is nothing to wait for.
//!
//! iPXE asks for an IPv6 router after every DHCP and waits about 13 s for one. This answers the question with an
//! advertisement that offers nothing: no prefix, no DHCPv6, a router lifetime of zero (RFC 4861 §6.2.3: "not a default
//! router"), so that no host gets an address or a route from it. Silent unless the site asks for it, because a network
//! may have a router of its own. One task an interface, which ends when told to; it answers whoever asks and says nothing
//! by itself.

use std::net::Ipv6Addr;

use hardware::MacAddr;
use net::frame::{FrameError, FrameSocket};
use pnet_packet::{
    Packet as _,
    ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket},
    icmpv6::{self, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet},
    ip::IpNextHeaderProtocols,
    ipv6::{Ipv6Packet, MutableIpv6Packet},
};
use tokio_util::sync::CancellationToken;

const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERNET: usize = 14;
const IPV6: usize = 40;
/// The fixed part, and the option with our own link-layer address (RFC 4861 §4.2).
const ADVERTISEMENT: usize = 16 + 8;
/// All routers and all nodes of the link, and their Ethernet groups.
const ROUTERS: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 2]);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
/// RFC 4861 §6.1.1: what was forwarded has a smaller one.
const HOP_LIMIT: u8 = 255;

/// Answers router solicitations on one interface.
#[derive(Debug)]
pub struct Advertise {
    socket: FrameSocket,
    mac: MacAddr,
}

/// The interface cannot advertise.
#[derive(Debug, thiserror::Error)]
pub enum AdvertiseError {
    /// no packet socket
    #[error(transparent)]
    Open(#[from] FrameError),
    /// router advertisements are for Ethernet
    #[error(
        "cannot advertise on {0}: it has no Ethernet address; remove `router-advertisement` from its network"
    )]
    NotEthernet(String),
}

impl Advertise {
    /// Opens the socket.
    ///
    /// # Errors
    /// When the interface is missing, has no Ethernet address, or the capability is missing.
    pub fn open(interface: &str) -> Result<Self, AdvertiseError> {
        let socket = FrameSocket::open(interface, ETHERTYPE_IPV6, &[ROUTERS])?;
        let mac = socket.interface().mac.ok_or_else(|| AdvertiseError::NotEthernet(interface.to_owned()))?;
        Ok(Self { socket, mac })
    }

    /// Answers until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let interface = self.socket.interface().name.clone();
        tracing::info!(%interface, "answering router solicitations");
        while let Some(frame) = shutdown.run_until_cancelled(self.socket.recv()).await {
            let sent = match frame {
                Ok(frame) => match solicited(&frame).and_then(|to| advertisement(self.mac, to)) {
                    Some(frame) => self.socket.send(&frame).await,
                    None => Ok(()),
                },
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::debug!(%interface, %error, "a router solicitation was not answered");
            }
        }
    }
}

/// Who asks for a router: the addresses that the answer goes to.
fn solicited(frame: &[u8]) -> Option<(MacAddr, Ipv6Addr)> {
    let ethernet = EthernetPacket::new(frame).filter(|frame| frame.get_ethertype() == EtherTypes::Ipv6)?;
    let ip = Ipv6Packet::new(ethernet.payload())?;
    if ip.get_next_header() != IpNextHeaderProtocols::Icmpv6 || ip.get_hop_limit() != HOP_LIMIT {
        return None;
    }
    let message = Icmpv6Packet::new(ip.payload())?;
    if message.get_icmpv6_type() != Icmpv6Types::RouterSolicit {
        return None;
    }
    let source = ip.get_source();
    if source.is_unspecified() {
        return Some((ALL_NODES_MAC, ALL_NODES));
    }
    let mac = MacAddr(ethernet.get_source().octets());
    // only neighbours are answered
    (source.is_unicast_link_local() && !mac.is_multicast()).then_some((mac, source))
}

/// An advertisement that offers nothing.
fn advertisement(own: MacAddr, (mac, address): (MacAddr, Ipv6Addr)) -> Option<Vec<u8>> {
    let source = link_local(own);
    let mut frame = vec![0; ETHERNET + IPV6 + ADVERTISEMENT];
    let mut ethernet = MutableEthernetPacket::new(&mut frame)?;
    ethernet.set_destination(mac.0.into());
    ethernet.set_source(own.0.into());
    ethernet.set_ethertype(EtherTypes::Ipv6);
    let mut ip = MutableIpv6Packet::new(frame.get_mut(ETHERNET..)?)?;
    ip.set_version(6);
    ip.set_payload_length(u16::try_from(ADVERTISEMENT).ok()?);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(source);
    ip.set_destination(address);
    let mut message = MutableIcmpv6Packet::new(frame.get_mut(ETHERNET + IPV6..)?)?;
    message.set_icmpv6_type(Icmpv6Types::RouterAdvert);
    // hop limit, flags, lifetime and timers stay zero: unspecified; then option 1, one unit of eight octets
    let mut payload = vec![0; 12];
    payload.extend([1, 1]);
    payload.extend(own.0);
    message.set_payload(&payload);
    let checksum = icmpv6::checksum(&message.to_immutable(), &source, &address);
    message.set_checksum(checksum);
    Some(frame)
}

/// The address that the interface's own hardware address makes (RFC 4291 appendix A).
fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

#[cfg(test)]
mod tests {
    use net::namespace;
    use tokio::time::timeout;

    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
    const HOST: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);

    /// A solicitation as iPXE sends it.
    fn solicitation(source: Ipv6Addr, hop_limit: u8) -> Vec<u8> {
        let mut frame = advertisement(HOST, (ROUTERS, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2))).unwrap();
        let mut ip = MutableIpv6Packet::new(&mut frame[ETHERNET..]).unwrap();
        ip.set_source(source);
        ip.set_hop_limit(hop_limit);
        frame[ETHERNET + IPV6] = 133;
        frame
    }

    #[test]
    fn who_asks_is_answered_and_nobody_else() {
        let host = link_local(HOST);
        assert_eq!(host.to_string(), "fe80::5054:ff:fe77:1");
        assert_eq!(solicited(&solicitation(host, 255)), Some((HOST, host)));
        assert_eq!(solicited(&solicitation(Ipv6Addr::UNSPECIFIED, 255)), Some((ALL_NODES_MAC, ALL_NODES)));
        assert_eq!(solicited(&solicitation(host, 254)), None, "it was forwarded");
        assert_eq!(solicited(&solicitation("2001:db8::1".parse().unwrap(), 255)), None);
        assert_eq!(
            solicited(&advertisement(OWN, (HOST, host)).unwrap()),
            None,
            "an advertisement is no question"
        );
        let whole = solicitation(host, 255);
        for length in 0..ETHERNET + IPV6 {
            assert_eq!(solicited(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn the_advertisement_offers_nothing() {
        let frame = advertisement(OWN, (HOST, link_local(HOST))).unwrap();
        let ip = Ipv6Packet::new(&frame[ETHERNET..]).unwrap();
        assert_eq!((ip.get_source(), ip.get_hop_limit()), (link_local(OWN), 255));
        let message = Icmpv6Packet::new(ip.payload()).unwrap();
        assert_eq!(
            message.get_checksum(),
            icmpv6::checksum(&message, &ip.get_source(), &ip.get_destination())
        );
        let body = &frame[ETHERNET + IPV6..];
        assert_eq!(
            (body[0], &body[4..16]),
            (134, &[0; 12][..]),
            "no hop limit, no flags, no lifetime, no timers"
        );
        assert_eq!(body[16..], [1, 1, 2, 0, 0, 0, 0, 0xfe], "our card and no prefix");
    }

    #[test]
    fn it_answers_on_the_wire() {
        namespace::test(|| async {
            namespace::cable(["srv", "cli"], [Some(OWN), Some(HOST)]).await.unwrap();
            let shutdown = CancellationToken::new();
            let running = tokio::spawn(Advertise::open("srv").unwrap().run(shutdown.clone()));
            let host = FrameSocket::open("cli", ETHERTYPE_IPV6, &[]).unwrap();
            let is_ours =
                |frame: &[u8]| frame.get(6..12) == Some(&OWN.0) && frame.get(ETHERNET + IPV6) == Some(&134);
            let answered = async {
                loop {
                    // a cable just laid may lose the first
                    host.send(&solicitation(link_local(HOST), 255)).await.unwrap();
                    let heard = timeout(std::time::Duration::from_millis(200), host.recv()).await;
                    if let Ok(Ok(frame)) = heard
                        && is_ours(&frame)
                    {
                        return frame;
                    }
                }
            };
            let frame = timeout(std::time::Duration::from_secs(10), answered).await.expect("an answer");
            assert_eq!(frame[..6], HOST.0);
            shutdown.cancel();
            running.await.unwrap();
        })
        .unwrap();
    }
}
