//! Nothing on the wire makes the parser panic, and what is built reads back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use hardware::{ChassisId, MacAddr, PortId};
use lldp::{Announcement, Capabilities, Frame, ManagementAddress, NEAREST_BRIDGE, Organization};
use proptest::{collection::vec, option, prelude::*};

prop_compose! {
    fn management()(
        family in 1u8..=2,
        address in vec(any::<u8>(), 1..=31),
        interface_kind: u8,
        interface: u32,
        object in vec(any::<u8>(), 0..=128),
    ) -> ManagementAddress {
        ManagementAddress { family, address, interface_kind, interface, object }
    }
}

prop_compose! {
    fn organization()(oui: [u8; 3], subtype: u8, value in vec(any::<u8>(), 0..=507)) -> Organization {
        Organization { oui, subtype, value }
    }
}

prop_compose! {
    fn announcement()(
        chassis in (any::<u8>(), vec(any::<u8>(), 1..=255)),
        port in (any::<u8>(), vec(any::<u8>(), 1..=255)),
        ttl: u16,
        texts in [option::of("[ -~äßж]{0,60}"), option::of("[ -~äßж]{0,60}"), option::of("[ -~\n]{0,255}")],
        capabilities in option::of(any::<(u16, u16)>()),
        management in vec(management(), 0..3),
        organizations in vec(organization(), 0..3),
        other in vec((9u8..127, vec(any::<u8>(), 0..=511)), 0..3),
    ) -> Announcement {
        let [port_description, system_name, system_description] = texts;
        Announcement {
            chassis: ChassisId { subtype: chassis.0, id: chassis.1 },
            port: PortId { subtype: port.0, id: port.1 },
            ttl,
            port_description,
            system_name,
            system_description,
            capabilities: capabilities.map(|(supported, enabled)| Capabilities { supported, enabled }),
            management,
            organizations,
            other,
        }
    }
}

prop_compose! {
    fn frame()(
        source: [u8; 6],
        vlan in option::of(0u16..4096),
        announcement in announcement(),
    ) -> Frame {
        let [first, rest @ ..] = source;
        let [a, b, c, d, e] = rest;
        // one interface's address
        let source = MacAddr([first & 0xfe | 0x02, a, b, c, d, e]);
        Frame { destination: NEAREST_BRIDGE, source, vlan, announcement }
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..600)) {
        Frame::parse(&bytes).ok();
    }

    /// Random bytes seldom get past the header; these do.
    #[test]
    fn any_data_unit(unit in vec(any::<u8>(), 0..600)) {
        let mut bytes = [&NEAREST_BRIDGE.0[..], &[2, 0, 0, 0, 0, 1, 0x88, 0xcc]].concat();
        bytes.extend(unit);
        Frame::parse(&bytes).ok();
    }

    #[test]
    fn a_damaged_frame(
        frame in frame(),
        cut in any::<prop::sample::Index>(),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = frame.build();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(read) = Frame::parse(&bytes) {
            // what is taken in stays within what can be shown and written
            prop_assert!(read.announcement.port.id.len() <= 255);
            Frame::parse(&read.build()).unwrap();
        }
    }

    #[test]
    fn what_is_built_reads_back(frame in frame()) {
        let bytes = frame.build();
        prop_assert!(bytes.len() >= 60);
        prop_assert_eq!(Frame::parse(&bytes), Ok(frame));
    }
}
