//! Beside another DHCP server: the recorded clients, and what they need to boot.

use super::*;
use crate::PXE_PORT;

fn proxy() -> Stand {
    Stand::new(Config { mode: Mode::Proxy, ..config() }, Known::default())
}

fn at_4011(stand: &mut Stand, packet: &Packet, source: SocketAddrV4) -> Answer {
    stand.server.handle(packet, &Received { source, port: PXE_PORT }, &stand.known, NOW)
}

#[test]
fn offers_are_boot_files_without_addresses() {
    let boot_at_once: &[u8] = &[6, 1, 8, 10, 4, 0, b'P', b'X', b'E', 255];
    let pxe: &[u8] = b"PXEClient";
    for (capture, file, class, vendor) in [
        ("ovmf-pxe-uuid-discover", "snponly.efi", pxe, Some(boot_at_once)),
        ("ipxe-bios-uuid-discover", "http://10.77.0.1/boot.ipxe", pxe, None),
        ("ovmf-http-discover", "http://10.77.0.1/ipxe/snponly.efi", b"HTTPClient", None),
    ] {
        let request = captures::packet(capture);
        let answer = proxy().send(&request);
        assert_eq!((label(&answer), kind(&answer)), ("proxied", Some(MessageType::Offer)), "{capture}");
        assert!(answer.changes.is_empty() && answer.bound.is_none(), "{capture}");
        let reply = answer.reply.unwrap();
        assert_eq!(reply.destination, Destination::Broadcast, "{capture}");
        let packet = Packet::parse(&reply.packet.to_bytes()).unwrap();
        assert_eq!((packet.yiaddr, packet.siaddr), (Ipv4Addr::UNSPECIFIED, SERVER), "{capture}");
        assert_eq!(packet.options.address(OptionCode::ServerIdentifier), Some(SERVER), "{capture}");
        assert_eq!(String::from_utf8_lossy(&packet.file), file, "{capture}");
        assert_eq!((raw(&packet, 60), raw(&packet, 43)), (Some(class), vendor), "{capture}");
        assert_eq!(raw(&packet, 97), raw(&request, 97), "{capture}");
        for code in [1, 3, 6, 51, 58, 59] {
            assert_eq!(raw(&packet, code), None, "{capture}: option {code} is the other server's");
        }
    }
}

#[test]
fn the_second_round_is_answered_to_where_it_came_from() {
    for (capture, port, file) in [
        ("ovmf-pxe-proxy-request", 4011, "snponly.efi"),
        ("ipxe-bios-proxy-request", 68, "http://10.77.0.1/boot.ipxe"),
    ] {
        let request = captures::packet(capture);
        let source = SocketAddrV4::new(request.ciaddr, port);
        let answer = at_4011(&mut proxy(), &request, source);
        assert_eq!(kind(&answer), Some(MessageType::Ack), "{capture}");
        let reply = answer.reply.unwrap();
        assert_eq!(reply.destination, Destination::Asker(source), "{capture}");
        assert_eq!(
            (reply.packet.ciaddr, reply.packet.yiaddr),
            (request.ciaddr, Ipv4Addr::UNSPECIFIED),
            "{capture}"
        );
        assert_eq!(String::from_utf8_lossy(&reply.packet.file), file, "{capture}");
    }
}

#[test]
fn everything_else_is_the_other_servers() {
    let mut stand = proxy();
    for packet in [
        captures::packet("udhcpc-discover"),
        captures::packet("ovmf-pxe-request"),
        rebooted(MACHINE, Ipv4Addr::new(192, 0, 2, 1)),
        renewing(MACHINE, host(100)),
        message(MACHINE, MessageType::Decline),
        Packet { ciaddr: host(9), ..message(MACHINE, MessageType::Inform) },
    ] {
        let answer = stand.send(&packet);
        assert_eq!((label(&answer), kind(&answer)), ("left-to-others", None));
    }
    stand.known.silent.insert(MACHINE);
    assert_eq!(label(&stand.send(&firmware(MACHINE))), "left-to-others");
    let source = SocketAddrV4::new(host(100), 4011);
    let answer = at_4011(&mut stand, &firmware(OTHER), source);
    assert_eq!(label(&answer), "left-to-others", "a DISCOVER at 4011 is none");
}
