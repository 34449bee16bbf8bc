//! Frames of real switches: one capture, and others written out from how the vendors fill their TLVs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use hardware::MacAddr;
use lldp::{Capabilities, Frame, NEAREST_BRIDGE, ParseError};

/// lldpd on a tap of the lab six frames with TTL 8.
const TAP1: &[u8] = include_bytes!("captures/lldp-tap1.pcap");

/// The frames of a little-endian pcap file.
fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(&rest[16..16 + length]);
        rest = &rest[16 + length..];
    }
    frames
}

#[test]
fn a_capture_of_lldpd() {
    let frames = frames(TAP1);
    assert_eq!(frames.len(), 6);
    let first = Frame::parse(frames[0]).unwrap();
    assert_eq!((first.destination, first.vlan), (NEAREST_BRIDGE, None));
    assert_eq!(first.source, "36:8a:70:68:02:2f".parse().unwrap());
    let said = &first.announcement;
    assert_eq!((said.chassis.subtype, said.chassis.to_string().as_str()), (4, "36:8a:70:68:02:2f"));
    assert_eq!((said.port.subtype, said.port.to_string().as_str()), (5, "tap1"));
    assert_eq!(said.ttl, 8);
    assert_eq!(said.system_name.as_deref(), Some("sw1"));
    assert_eq!(said.system_description.as_deref(), Some("Lab Switch"));
    assert_eq!(said.port_description.as_deref(), Some("tap1"));
    assert_eq!(said.capabilities, Some(Capabilities { supported: 0x9c, enabled: Capabilities::BRIDGE }));
    let addresses: Vec<String> =
        said.management.iter().map(|address| address.ip().unwrap().to_string()).collect();
    assert_eq!(addresses, ["10.77.0.1", "fd77::348a:70ff:fe68:22f"]);
    assert_eq!((said.management[0].interface_kind, said.management[0].interface), (2, 2));
    let organizations: Vec<_> =
        said.organizations.iter().map(|one| (one.oui, one.subtype, one.value.len())).collect();
    assert_eq!(organizations, [([0, 0x12, 0x0f], 3, 5), ([0, 0x12, 0x0f], 1, 5)]);
    assert!(said.other.is_empty());
    assert!(frames.iter().all(|frame| Frame::parse(frame).unwrap() == first));
}

/// A TLV: type, then the value.
fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let head = u16::from(kind) << 9 | u16::try_from(value.len()).unwrap();
    [&head.to_be_bytes(), value].concat()
}

const SWITCH: MacAddr = MacAddr([0x00, 0x1c, 0x73, 0x00, 0x00, 0x01]);

/// A frame of these TLVs with its end marker, padded to the shortest Ethernet allows.
fn frame(tlvs: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = [&NEAREST_BRIDGE.0[..], &SWITCH.0, &[0x88, 0xcc], &tlvs.concat(), &[0, 0]].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn with_subtype(subtype: u8, value: &[u8]) -> Vec<u8> {
    [&[subtype], value].concat()
}

/// What a vendor's switch says: chassis (a MAC), port subtype and id, description, system name.
struct Vendor {
    name: &'static str,
    port: (u8, &'static [u8]),
    description: Option<&'static str>,
    system: &'static str,
    shown: &'static str,
}

#[test]
fn switches_of_many_vendors() {
    let vendors = [
        Vendor {
            name: "Cisco IOS",
            port: (5, b"Gi1/0/11"),
            description: Some("GigabitEthernet1/0/11"),
            system: "core.example.com",
            shown: "Gi1/0/11",
        },
        Vendor {
            name: "Cisco NX-OS",
            port: (5, b"Ethernet1/1"),
            description: Some("Ethernet1/1"),
            system: "n9k",
            shown: "Ethernet1/1",
        },
        Vendor {
            name: "Arista EOS",
            port: (5, b"Ethernet1"),
            description: None,
            system: "leaf1",
            shown: "Ethernet1",
        },
        Vendor {
            name: "Juniper Junos",
            port: (7, b"513"),
            description: Some("ge-1/0/43.0"),
            system: "qfx",
            shown: "513",
        },
        Vendor {
            name: "SONiC",
            port: (7, b"Ethernet0"),
            description: Some("Eth1/1(Port1)"),
            system: "tor",
            shown: "Ethernet0",
        },
        Vendor {
            name: "SONiC with MAC ids",
            port: (3, &[0x00, 0x1c, 0x73, 0, 0, 9]),
            description: Some("Ethernet8"),
            system: "tor",
            shown: "00:1c:73:00:00:09",
        },
        Vendor {
            name: "Cumulus",
            port: (5, b"swp1s0"),
            description: Some("swp1s0"),
            system: "cl",
            shown: "swp1s0",
        },
        Vendor {
            name: "Dell OS10",
            port: (5, b"ethernet1/1/1:1"),
            description: Some("Eth 1/1/1:1"),
            system: "os10",
            shown: "ethernet1/1/1:1",
        },
        Vendor {
            name: "Mellanox Onyx",
            port: (5, b"Eth1/1"),
            description: Some(""),
            system: "sn",
            shown: "Eth1/1",
        },
        Vendor {
            name: "Brocade FCX",
            port: (3, &[0x74, 0x8e, 0xf8, 0, 0, 1]),
            description: Some("GigabitEthernet1/1/1"),
            system: "fcx",
            shown: "74:8e:f8:00:00:01",
        },
        Vendor { name: "BNT", port: (7, b"18"), description: Some("18"), system: "bnt", shown: "18" },
        Vendor {
            name: "UniFi",
            port: (7, b"Port 7"),
            description: Some("Port 7"),
            system: "USW-24",
            shown: "Port 7",
        },
        Vendor {
            name: "RouterOS",
            port: (5, b"bridge/ether2"),
            description: None,
            system: "crs",
            shown: "bridge/ether2",
        },
    ];
    for vendor in vendors {
        let mut tlvs = vec![
            tlv(1, &with_subtype(4, &SWITCH.0)),
            tlv(2, &with_subtype(vendor.port.0, vendor.port.1)),
            tlv(3, &[0, 120]),
        ];
        tlvs.extend(vendor.description.map(|text| tlv(4, text.as_bytes())));
        tlvs.push(tlv(5, vendor.system.as_bytes()));
        let said = Frame::parse(&frame(&tlvs))
            .unwrap_or_else(|error| panic!("{}: {error}", vendor.name))
            .announcement;
        assert_eq!(said.port.to_string(), vendor.shown, "{}", vendor.name);
        assert_eq!((said.port.subtype, said.port.id.as_slice()), vendor.port, "{}", vendor.name);
        assert_eq!(said.port_description.as_deref(), vendor.description, "{}", vendor.name);
        assert_eq!(said.system_name.as_deref(), Some(vendor.system), "{}", vendor.name);
        assert_eq!(said.ttl, 120, "{}", vendor.name);
    }
}

fn mandatory() -> Vec<Vec<u8>> {
    vec![tlv(1, &with_subtype(4, &SWITCH.0)), tlv(2, &with_subtype(5, b"Eth1/1")), tlv(3, &[0, 120])]
}

#[test]
fn a_tagged_frame_says_the_same() {
    let plain = frame(&mandatory());
    let expected = Frame::parse(&plain).unwrap();
    let tagged = |tags: &[&[u8]]| [&plain[..12], &tags.concat(), &plain[12..]].concat();
    let one = Frame::parse(&tagged(&[&[0x81, 0x00, 0xe0, 0x64]])).unwrap();
    assert_eq!((one.vlan, &one.announcement), (Some(100), &expected.announcement));
    let two = Frame::parse(&tagged(&[&[0x88, 0xa8, 0, 7], &[0x81, 0x00, 0, 100]])).unwrap();
    assert_eq!((two.vlan, &two.announcement), (Some(100), &expected.announcement));
    let three = Frame::parse(&tagged(&[&[0x81, 0, 0, 7], &[0x81, 0, 0, 8], &[0x81, 0, 0, 9]]));
    assert_eq!(three, Err(ParseError::NotLldp { ethertype: 0x8100 }));
}

#[test]
fn what_the_standard_says_to_drop_is_dropped() {
    let [chassis, port, ttl] = <[Vec<u8>; 3]>::try_from(mandatory()).unwrap();
    let parse = |tlvs: &[&Vec<u8>]| {
        Frame::parse(&frame(&tlvs.iter().copied().cloned().collect::<Vec<_>>())).unwrap_err()
    };
    assert_eq!(parse(&[]), ParseError::Order { kind: 1 });
    assert_eq!(parse(&[&port, &chassis, &ttl]), ParseError::Order { kind: 1 });
    assert_eq!(parse(&[&chassis, &ttl, &port]), ParseError::Order { kind: 2 });
    assert_eq!(parse(&[&chassis, &port]), ParseError::Order { kind: 3 });
    assert_eq!(parse(&[&chassis, &port, &ttl, &ttl]), ParseError::Order { kind: 3 });
    assert_eq!(parse(&[&chassis, &port, &ttl, &port]), ParseError::Order { kind: 2 });
    assert_eq!(parse(&[&tlv(1, &[4]), &port, &ttl]), ParseError::ChassisId);
    assert_eq!(parse(&[&tlv(1, &[7; 257]), &port, &ttl]), ParseError::ChassisId);
    assert_eq!(parse(&[&chassis, &tlv(2, &[]), &ttl]), ParseError::PortId);
    assert_eq!(parse(&[&chassis, &port, &tlv(3, &[120])]), ParseError::TimeToLive);

    let mut cut = frame(&mandatory());
    cut.truncate(14 + 5);
    assert_eq!(Frame::parse(&cut), Err(ParseError::Length { kind: 1 }));
    assert_eq!(Frame::parse(&cut[..13]), Err(ParseError::Short));
    let mut other = frame(&mandatory());
    other[12..14].copy_from_slice(&[0x08, 0x00]);
    assert_eq!(Frame::parse(&other), Err(ParseError::NotLldp { ethertype: 0x0800 }));
    let mut group = frame(&mandatory());
    group[6..12].copy_from_slice(&NEAREST_BRIDGE.0);
    assert_eq!(Frame::parse(&group), Err(ParseError::Source { address: NEAREST_BRIDGE }));
}

#[test]
fn what_stations_do_wrong_beyond_that_is_kept() {
    let mut tlvs = mandatory();
    tlvs.extend([
        tlv(5, b"sw1\0\0"),
        tlv(5, b"another name"),
        tlv(4, b"\xff\x1b[2Jport"),
        tlv(6, b"Cisco IOS Software\r\nCompiled Mon"),
        // too short for their type
        tlv(7, &[0, 4]),
        tlv(8, &[5, 1, 10, 0]),
        tlv(127, &[0, 0x12]),
        // reserved
        tlv(99, b"future"),
        tlv(127, &[0x00, 0x80, 0xc2, 1, 0, 100]),
    ]);
    let said = Frame::parse(&frame(&tlvs)).unwrap().announcement;
    assert_eq!(said.system_name.as_deref(), Some("sw1"));
    assert_eq!(said.port_description.as_deref(), Some("\u{fffd}\u{fffd}[2Jport"));
    assert_eq!(said.system_description.as_deref(), Some("Cisco IOS Software\r\nCompiled Mon"));
    assert_eq!((said.capabilities, said.management.len()), (None, 0));
    let kinds: Vec<u8> = said.other.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [7, 8, 127, 99]);
    assert_eq!(said.organizations.len(), 1);
    assert_eq!(said.organizations[0].value, [0, 100]);
}

#[test]
fn a_station_may_leave_the_end_marker_out() {
    let mut bytes = [&NEAREST_BRIDGE.0[..], &SWITCH.0, &[0x88, 0xcc]].concat();
    bytes.extend(mandatory().concat());
    assert!(Frame::parse(&bytes).is_ok());
    bytes.push(0x0a);
    assert_eq!(Frame::parse(&bytes), Err(ParseError::Length { kind: 0 }));
}
