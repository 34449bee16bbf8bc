//! A UDP datagram as an Ethernet frame, for a client that does not answer ARP yet.
//!
//! The kernel would ask for the address it is about to be given; the hardware address from the
//! request (RFC 2131 §4.1) needs a frame of our own.

use std::net::SocketAddrV4;

use hardware::MacAddr;
use pnet_packet::{
    ethernet::{EtherTypes, MutableEthernetPacket},
    ip::IpNextHeaderProtocols,
    ipv4::{self, Ipv4Flags, MutableIpv4Packet},
    udp::{self, MutableUdpPacket},
};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// The frame from its destination address on. `None` for a payload that no IPv4 packet can carry.
pub(super) fn udp_frame(
    (source_mac, source): (MacAddr, SocketAddrV4),
    (destination_mac, destination): (MacAddr, SocketAddrV4),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP + payload.len()).ok()?;
    let ip_length = u16::try_from(IPV4 + UDP + payload.len()).ok()?;
    let mut frame = vec![0; ETHERNET + usize::from(ip_length)];

    let mut ethernet = MutableEthernetPacket::new(&mut frame)?;
    ethernet.set_destination(destination_mac.0.into());
    ethernet.set_source(source_mac.0.into());
    ethernet.set_ethertype(EtherTypes::Ipv4);

    let mut ip = MutableIpv4Packet::new(frame.get_mut(ETHERNET..)?)?;
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(ip_length);
    ip.set_flags(Ipv4Flags::DontFragment);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
    ip.set_source(*source.ip());
    ip.set_destination(*destination.ip());
    ip.set_checksum(ipv4::checksum(&ip.to_immutable()));

    let mut datagram = MutableUdpPacket::new(frame.get_mut(ETHERNET + IPV4..)?)?;
    datagram.set_source(source.port());
    datagram.set_destination(destination.port());
    datagram.set_length(udp_length);
    datagram.set_payload(payload);
    let checksum = udp::ipv4_checksum(&datagram.to_immutable(), source.ip(), destination.ip());
    // RFC 768: a sum of zero is sent as all ones, zero means none
    datagram.set_checksum(if checksum == 0 { u16::MAX } else { checksum });
    Some(frame)
}

#[cfg(test)]
mod tests {
    use pnet_packet::{Packet as _, ethernet::EthernetPacket, ipv4::Ipv4Packet, udp::UdpPacket};

    use super::*;

    #[test]
    fn the_frame_reads_back_with_good_checksums() {
        let from = (MacAddr([2, 0, 0, 0, 0, 1]), SocketAddrV4::new([10, 77, 0, 1].into(), 67));
        let to = (MacAddr([0x52, 0x54, 0, 0x77, 0, 1]), SocketAddrV4::new([10, 77, 0, 199].into(), 68));
        let frame = udp_frame(from, to, b"an offer").unwrap();
        let ethernet = EthernetPacket::new(&frame).unwrap();
        assert_eq!((ethernet.get_destination().octets(), ethernet.get_source().octets()), (to.0.0, from.0.0));
        let ip = Ipv4Packet::new(ethernet.payload()).unwrap();
        assert_eq!((ip.get_source(), ip.get_destination()), (*from.1.ip(), *to.1.ip()));
        assert_eq!(ipv4::checksum(&ip), ip.get_checksum());
        let datagram = UdpPacket::new(ip.payload()).unwrap();
        assert_eq!((datagram.get_source(), datagram.get_destination()), (67, 68));
        assert_eq!(datagram.payload(), b"an offer");
        assert_eq!(udp::ipv4_checksum(&datagram, from.1.ip(), to.1.ip()), datagram.get_checksum());
    }

    #[test]
    fn what_no_packet_can_carry_is_no_frame() {
        let end = (MacAddr([2; 6]), SocketAddrV4::new([10, 0, 0, 1].into(), 67));
        assert!(udp_frame(end, end, &vec![0; 65_507]).is_some());
        assert!(udp_frame(end, end, &vec![0; 65_508]).is_none());
    }
}
