//! What each recorded client is offered, to the octet where firmware looks.

use super::*;

/// The answer to one recorded DISCOVER, by the fields that decide a boot.
struct Expected {
    capture: &'static str,
    destination: Destination,
    file: &'static str,
    sname: &'static str,
    /// option 60
    class: Option<&'static [u8]>,
    /// option 66
    tftp: Option<&'static [u8]>,
    /// option 175
    ipxe: Option<&'static [u8]>,
}

const FRAME: Destination = Destination::Frame { mac: MACHINE, address: Ipv4Addr::new(10, 77, 0, 100) };
const SCRIPT: &str = "http://10.77.0.1/boot.ipxe";

const TABLE: &[Expected] = &[
    Expected {
        capture: "ipxe-bios-discover",
        destination: FRAME,
        file: SCRIPT,
        sname: "",
        class: None,
        tftp: None,
        ipxe: Some(&[176, 1, 1]),
    },
    Expected {
        capture: "ipxe-efi-discover",
        destination: FRAME,
        file: SCRIPT,
        sname: "",
        class: None,
        tftp: None,
        ipxe: Some(&[176, 1, 1]),
    },
    Expected {
        capture: "ovmf-pxe-discover",
        destination: Destination::Broadcast,
        file: "snponly.efi",
        sname: "10.77.0.1",
        class: None,
        tftp: Some(b"10.77.0.1"),
        ipxe: None,
    },
    Expected {
        capture: "ovmf-http-discover",
        destination: Destination::Broadcast,
        file: "http://10.77.0.1/ipxe/snponly.efi",
        sname: "",
        class: Some(b"HTTPClient"),
        tftp: None,
        ipxe: None,
    },
];

#[test]
fn every_firmware_gets_its_file() {
    for expected in TABLE {
        let request = captures::packet(expected.capture);
        let mut stand = Stand::unknown();
        let answer = stand.send(&request);
        let name = expected.capture;
        assert_eq!(label(&answer), "booting", "{name}");
        let reply = answer.reply.unwrap();
        assert_eq!(reply.destination, expected.destination, "{name}");
        // what the client will read, not what we meant
        let packet = Packet::parse(&reply.packet.to_bytes()).unwrap();
        assert_eq!((packet.op, packet.xid, packet.flags), (2, request.xid, request.flags), "{name}");
        assert_eq!((packet.chaddr, packet.secs, packet.hops), (request.chaddr, 0, 0), "{name}");
        assert_eq!(packet.message_type(), Some(MessageType::Offer), "{name}");
        assert_eq!(
            (packet.yiaddr, packet.siaddr, packet.ciaddr),
            (host(100), SERVER, Ipv4Addr::UNSPECIFIED),
            "{name}"
        );
        assert_eq!(packet.options.address(OptionCode::ServerIdentifier), Some(SERVER), "{name}");
        assert_eq!(String::from_utf8_lossy(&packet.file), expected.file, "{name}");
        assert_eq!(raw(&packet, 67), Some(expected.file.as_bytes()), "{name}");
        assert_eq!(String::from_utf8_lossy(&packet.sname), expected.sname, "{name}");
        assert_eq!(raw(&packet, 66), expected.tftp, "{name}");
        assert_eq!(raw(&packet, 60), expected.class, "{name}");
        assert_eq!(raw(&packet, 175), expected.ipxe, "{name}");
        assert_eq!(raw(&packet, 43), None, "{name}");
        for echoed in [61, 97] {
            assert_eq!(raw(&packet, echoed), raw(&request, echoed), "{name}: option {echoed}");
        }
        assert!(stand.stored.is_empty(), "{name}: an offer is not a lease");
    }
}

#[test]
fn the_recorded_boot_of_one_machine_keeps_one_address() {
    let mut stand = Stand::unknown();
    for (discover, request) in [
        ("ovmf-pxe-discover", "ovmf-pxe-request"),
        ("ipxe-efi-discover", "ipxe-efi-request"),
        ("udhcpc-discover", "udhcpc-request"),
    ] {
        let offer = stand.send(&captures::packet(discover));
        assert_eq!(offer.reply.unwrap().packet.yiaddr, host(100), "{discover}");
        // iPXE repeats itself while the offer is on its way
        assert_eq!(stand.send(&captures::packet(discover)).reply.unwrap().packet.yiaddr, host(100));
        let request = with_address(captures::packet(request), host(100));
        let ack = stand.send(&request);
        assert_eq!(kind(&ack), Some(MessageType::Ack));
        assert_eq!(ack.bound, Some((MACHINE, host(100))));
        assert_eq!(stand.stored.len(), 1);
        stand.now += 30 * SECOND;
    }
}

#[test]
fn an_ordinary_lease_has_no_boot_options() {
    let mut stand = Stand::unknown();
    stand.known.silent.insert(MACHINE);
    for capture in ["ipxe-bios-discover", "ovmf-pxe-discover", "ovmf-http-discover"] {
        let answer = stand.send(&captures::packet(capture));
        assert_eq!(label(&answer), "local-disk", "{capture}");
        let packet = answer.reply.unwrap().packet;
        assert_eq!((packet.yiaddr, packet.siaddr), (host(100), Ipv4Addr::UNSPECIFIED), "{capture}");
        assert!(packet.file.is_empty() && packet.sname.is_empty(), "{capture}");
        for code in [43, 60, 66, 67, 175] {
            assert_eq!(raw(&packet, code), None, "{capture}: option {code}");
        }
    }
}

#[test]
fn a_firmware_that_nothing_boots_gets_an_address_and_a_warning() {
    let mut stand = Stand::unknown();
    let mut packet = firmware(MACHINE);
    packet.options.set_raw(93.into(), vec![0, 0x1b]);
    let answer = stand.send(&packet);
    assert_eq!(label(&answer), "unknown-firmware");
    assert!(answer.note.unwrap().is_alarming());
    assert!(answer.reply.unwrap().packet.file.is_empty());
}

#[test]
fn rows_of_option_93_and_their_files() {
    for (number, http, file) in [
        (0x00, false, "undionly.kpxe"),
        (0x07, false, "snponly.efi"),
        (0x09, false, "snponly.efi"),
        (0x0b, false, "ipxe-arm64.efi"),
        (0x10, true, "http://10.77.0.1:8080/ipxe/snponly.efi"),
        (0x13, true, "http://10.77.0.1:8080/ipxe/ipxe-arm64.efi"),
    ] {
        let mut stand = Stand::new(Config { http_port: 8080, ..config() }, Known::default());
        let mut packet = plain(MACHINE);
        let class: &[u8] = if http { b"HTTPClient" } else { b"PXEClient" };
        packet.options.set_raw(60.into(), class);
        packet.options.set_raw(93.into(), vec![0, number]);
        let reply = stand.send(&packet).reply.unwrap().packet;
        assert_eq!(String::from_utf8_lossy(&reply.file), file, "{number:#04x}");
    }
}

#[test]
fn who_starts_only_signed_files_gets_its_own_and_no_ipxe() {
    for (number, file) in [(0x10, "amd64"), (0x13, "arm64")] {
        let mut stand = Stand::new(Config { signed: true, ..config() }, Known::default());
        let mut packet = plain(MACHINE);
        packet.options.set_raw(60.into(), b"HTTPClient");
        packet.options.set_raw(93.into(), vec![0, number]);
        let reply = stand.send(&packet).reply.unwrap().packet;
        let expected = format!("http://10.77.0.1/uki/52-54-00-77-00-01/{file}.efi");
        assert_eq!(String::from_utf8_lossy(&reply.file), expected);
    }
}

/// Firmware that trusts the site's authority gets HTTPS; iPXE only where the site says that it trusts it and the build can.
#[test]
fn https_goes_to_who_can_have_it() {
    let firmware = {
        let mut packet = plain(MACHINE);
        packet.options.set_raw(60.into(), b"HTTPClient");
        packet.options.set_raw(93.into(), [0, 0x10]);
        packet
    };
    let ipxe = |features: &[u8]| {
        let mut packet = plain(MACHINE);
        packet.options.set_raw(77.into(), b"iPXE");
        packet.options.set_raw(175.into(), features);
        packet
    };
    let (plain_build, tls_build) = (ipxe(&[0x13, 1, 1]), ipxe(&[0x13, 1, 1, 0x14, 1, 1]));
    let file = |https, packet: &Packet| {
        let mut stand = Stand::new(Config { https, ..config() }, Known::default());
        String::from_utf8(stand.send(packet).reply.unwrap().packet.file).unwrap()
    };
    for (https, of_firmware, of_tls_build) in [
        (None, "http://10.77.0.1/ipxe/snponly.efi", "http://10.77.0.1/boot.ipxe"),
        (
            Some(Https { port: 443, ipxe: false }),
            "https://10.77.0.1/ipxe/snponly.efi",
            "http://10.77.0.1/boot.ipxe",
        ),
        (
            Some(Https { port: 8443, ipxe: true }),
            "https://10.77.0.1:8443/ipxe/snponly.efi",
            "https://10.77.0.1:8443/boot.ipxe",
        ),
    ] {
        assert_eq!(file(https, &firmware), of_firmware);
        assert_eq!(file(https, &tls_build), of_tls_build);
        assert_eq!(file(https, &plain_build), "http://10.77.0.1/boot.ipxe");
    }
}

#[test]
fn the_network_is_described() {
    let ntp = vec![host(123)];
    let domain = Some("example.org".to_owned());
    let mut stand = Stand::new(Config { ntp, domain, ..config() }, Known::default());
    let packet = stand.send(&firmware(MACHINE)).reply.unwrap().packet;
    for (code, value) in [
        (1, vec![255, 255, 255, 0]),
        (3, vec![10, 77, 0, 254]),
        (6, vec![10, 77, 0, 53, 10, 77, 0, 54]),
        (15, b"example.org".to_vec()),
        (28, vec![10, 77, 0, 255]),
        (42, vec![10, 77, 0, 123]),
        (51, 3600u32.to_be_bytes().to_vec()),
        (58, 1800u32.to_be_bytes().to_vec()),
        (59, 3150u32.to_be_bytes().to_vec()),
    ] {
        assert_eq!(raw(&packet, code), Some(value.as_slice()), "option {code}");
    }
    assert_eq!(packet.to_bytes()[240..243], [53, 1, 2]);
    let bare = Config { gateway: None, dns: Vec::new(), ..config() };
    let packet = Stand::new(bare, Known::default()).send(&firmware(MACHINE)).reply.unwrap().packet;
    for code in [3, 6, 15, 42] {
        assert_eq!(raw(&packet, code), None, "option {code}");
    }
}

#[test]
fn replies_go_where_the_client_can_hear_them() {
    let ciaddr = host(100);
    let relay = host(250);
    let frame = Destination::Frame { mac: MACHINE, address: ciaddr };
    for (giaddr, ciaddr, flags, destination) in [
        (relay, Ipv4Addr::UNSPECIFIED, 0, Destination::Relay(relay)),
        (relay, ciaddr, 0x8000, Destination::Relay(relay)),
        (Ipv4Addr::UNSPECIFIED, ciaddr, 0x8000, Destination::Client(ciaddr)),
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, 0x8000, Destination::Broadcast),
        (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, 0, frame),
    ] {
        let mut stand = Stand::unknown();
        assert_eq!(stand.boot(MACHINE), host(100));
        let packet = Packet { giaddr, ciaddr, flags, ..selecting(MACHINE, host(100)) };
        let reply = stand.send(&packet).reply.unwrap();
        assert_eq!(reply.destination, destination);
        assert_eq!((reply.packet.giaddr, reply.packet.ciaddr), (giaddr, ciaddr));
        // a NAK is for everybody who may use the wrong address
        let reply = stand.send(&Packet { giaddr, flags, ..rebooted(MACHINE, host(9)) }).reply.unwrap();
        let relayed = !giaddr.is_unspecified();
        assert_eq!(
            reply.destination,
            if relayed { Destination::Relay(relay) } else { Destination::Broadcast }
        );
        assert_eq!(reply.packet.wants_broadcast(), relayed || flags != 0);
        assert_eq!(reply.packet.yiaddr, Ipv4Addr::UNSPECIFIED);
    }
}

#[test]
fn what_a_relay_added_comes_back_last_as_it_was() {
    let mut stand = Stand::unknown();
    let mut packet = Packet { giaddr: host(250), ..firmware(MACHINE) };
    packet.options.set_raw(82.into(), vec![2, 1, 9, 1, 1, 7, 1, 1, 8]);
    let bytes = stand.send(&packet).reply.unwrap().packet.to_bytes();
    let end = bytes.iter().rposition(|&byte| byte == 255).unwrap();
    assert_eq!(bytes[end - 11..end], [82, 9, 2, 1, 9, 1, 1, 7, 1, 1, 8]);
    let foreign = Packet { giaddr: Ipv4Addr::new(192, 0, 2, 1), ..firmware(MACHINE) };
    let answer = stand.send(&foreign);
    assert_eq!((label(&answer), kind(&answer)), ("foreign-relay", None));
}
