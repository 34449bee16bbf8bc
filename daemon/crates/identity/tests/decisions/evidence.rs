//! What was seen, and by whom: sources that agree, contradict each other, or are old.

use super::*;

#[test]
fn one_source_names_the_port() {
    let one = || machine(&[1], None);
    run(vec![
        case("the bridge heard it", rack(), vec![bridge(1, "sw1/Eth1/1", SECOND)], one(), Is("mini01", true)),
        case(
            "LLDP on the daemon's port",
            rack(),
            vec![lldp(1, "sw1/Eth1/2", SECOND)],
            one(),
            Is("mini02", true),
        ),
        case(
            "option 82 of a trusted switch",
            rack(),
            vec![relayed(1, "sw1/Eth1/3", SECOND)],
            one(),
            Is("mini03", true),
        ),
        case(
            "only the machine says so",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", SECOND)],
            one(),
            Is("mini01", false),
        ),
        case(
            "other spellings of switch and port",
            rack(),
            vec![ipxe(1, None, "SW1.example.com/Ethernet1/2", SECOND)],
            one(),
            Is("mini02", false),
        ),
        case(
            "a BIOS machine asks without a port, the bridge heard it",
            rack(),
            vec![silent(&[1], Some(uuid(1)), SECOND), bridge(1, "sw1/Eth1/1", SECOND)],
            one(),
            Is("mini01", true),
        ),
        case(
            "the second port of a slot",
            vec![slot("mini01", &["sw1/Eth1/1", "sw2/Eth1/1"])],
            vec![bridge(1, "sw2/Eth1/1", SECOND)],
            one(),
            Is("mini01", true),
        ),
        case(
            "1/11 is not 1/1",
            rack(),
            vec![bridge(1, "sw1/Eth1/11", SECOND)],
            one(),
            Unknown("sw1/Eth1/11"),
        ),
        case(
            "another switch",
            rack(),
            vec![bridge(1, "sw2/Eth1/1", SECOND)],
            one(),
            Unknown("gives to no node"),
        ),
    ]);
}

#[test]
fn the_description_or_chassis_may_name_the_port() {
    let announced = |switch: Option<&str>, id: &str, description: Option<&str>| {
        let port = Port {
            switch: switch.map(str::to_owned),
            chassis: Some(ChassisId { subtype: 4, id: vec![0, 0x1c, 0x73, 0, 0, 1] }),
            description: description.map(str::to_owned),
            ..Port::of_id(PortId { subtype: 7, id: id.as_bytes().to_vec() })
        };
        Sighting::new(Source::Ipxe, machine(&[1], None), NOW).on(Some(mac(1)), port)
    };
    let by_chassis = vec![slot("mini01", &["00:1c:73:00:00:01/ge-0/0/4"])];
    run(vec![
        case(
            "an ifIndex, with the name in the description",
            vec![slot("mini01", &["qfx/ge-0/0/4"])],
            vec![announced(Some("qfx"), "513", Some("ge-0/0/4.0"))],
            machine(&[1], None),
            Is("mini01", false),
        ),
        case(
            "the switch by its chassis address",
            by_chassis,
            vec![announced(None, "513", Some("ge-0/0/4.0"))],
            machine(&[1], None),
            Is("mini01", false),
        ),
        case(
            "id and description name ports of two slots",
            vec![slot("mini01", &["tor/Ethernet0"]), slot("mini02", &["tor/Ethernet4"])],
            vec![announced(Some("tor"), "Ethernet0", Some("Ethernet4"))],
            machine(&[1], None),
            Refused("belongs to both mini01 and mini02"),
        ),
    ]);
}

#[test]
fn sources_agree_or_are_both_shown() {
    let one = || machine(&[1], None);
    run(vec![
        case(
            "two sources, one port",
            rack(),
            vec![ipxe(1, None, "sw1/Ethernet1/1", MINUTE), bridge(1, "sw1/Eth1/1", SECOND)],
            one(),
            Is("mini01", true),
        ),
        case(
            "two sources, two ports of one switch",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", MINUTE), bridge(1, "sw1/Eth1/2", SECOND)],
            one(),
            Refused("do not agree"),
        ),
        case(
            "two sources, one of the ports is nobody's",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", MINUTE), bridge(1, "sw1/Eth1/48", SECOND)],
            one(),
            Refused("do not agree"),
        ),
        case(
            "two sources, slots on two switches",
            vec![slot("mini01", &["sw1/Eth1/1"]), slot("mini02", &["sw2/Eth1/1"])],
            vec![ipxe(1, None, "sw1/Eth1/1", MINUTE), bridge(1, "sw2/Eth1/1", SECOND)],
            one(),
            Refused("mini01 by one piece of evidence and mini02 by another"),
        ),
        case(
            "the daemon's bridge hears it through its uplink",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", MINUTE), bridge(1, "br0/uplink", SECOND)],
            one(),
            Is("mini01", false),
        ),
        case(
            "an unmanaged switch floods two neighbours",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", SECOND), ipxe(1, None, "sw1/Eth1/2", SECOND)],
            one(),
            Refused("one interface hears several"),
        ),
        case(
            "the site file gives the port to two nodes",
            vec![slot("mini01", &["sw1/Eth1/1"]), slot("mini02", &["sw1/Ethernet1/1"])],
            vec![bridge(1, "sw1/Eth1/1", SECOND)],
            one(),
            Refused("belongs to both mini01 and mini02"),
        ),
    ]);
}

#[test]
fn evidence_ages() {
    let one = || machine(&[1], None);
    let lifetime = u64::try_from(Source::ForwardingTable.lifetime().as_millis()).unwrap();
    run(vec![
        case(
            "the last millisecond",
            rack(),
            vec![bridge(1, "sw1/Eth1/1", lifetime - 1)],
            one(),
            Is("mini01", true),
        ),
        case(
            "the first too late",
            rack(),
            vec![bridge(1, "sw1/Eth1/1", lifetime)],
            one(),
            Unknown("too old to count"),
        ),
        case(
            "what is too old does not contradict",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/2", 20 * MINUTE), bridge(1, "sw1/Eth1/1", SECOND)],
            one(),
            Is("mini01", true),
        ),
        case(
            "LLDP holds as long as it says",
            rack(),
            vec![Sighting { lifetime: Duration::from_secs(30), ..lldp(1, "sw1/Eth1/1", 31 * SECOND) }],
            one(),
            Unknown("too old to count"),
        ),
        case(
            "a machine that was there long ago does not count",
            rack(),
            vec![bridge(2, "sw1/Eth1/1", 10 * MINUTE), bridge(1, "sw1/Eth1/1", SECOND)],
            one(),
            Is("mini01", true),
        ),
        case(
            "a machine that was there a moment ago does",
            rack(),
            vec![ipxe(2, Some(uuid(2)), "sw1/Eth1/1", 10 * MINUTE), bridge(1, "sw1/Eth1/1", SECOND)],
            one(),
            Refused("this machine or another one"),
        ),
        case(
            "unless the port lost its link since",
            rack(),
            vec![
                ipxe(2, Some(uuid(2)), "sw1/Eth1/1", 10 * MINUTE),
                Sighting::port_emptied(port("sw1/Eth1/1"), NOW - MINUTE),
                bridge(1, "sw1/Eth1/1", SECOND),
            ],
            one(),
            Is("mini01", true),
        ),
        case(
            "a good-bye counts at once",
            rack(),
            vec![
                lldp(1, "sw1/Eth1/1", MINUTE),
                Sighting { lifetime: Duration::ZERO, ..lldp(1, "sw1/Eth1/1", SECOND) },
            ],
            one(),
            Unknown("nothing has been seen"),
        ),
        case(
            "the cable was moved, and the source saw it",
            rack(),
            vec![bridge(1, "sw1/Eth1/1", MINUTE), bridge(1, "sw1/Eth1/2", SECOND)],
            one(),
            Is("mini02", true),
        ),
        case(
            "the machine asks again from another port",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", 5 * MINUTE), ipxe(1, None, "sw1/Eth1/3", SECOND)],
            one(),
            Is("mini03", false),
        ),
        case(
            "the machine asks again and has not heard LLDP yet",
            rack(),
            vec![ipxe(1, None, "sw1/Eth1/1", 5 * MINUTE), silent(&[1], None, SECOND)],
            one(),
            Is("mini01", false),
        ),
    ]);
}
