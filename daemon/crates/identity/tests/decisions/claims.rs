//! One slot has one machine and one machine one slot, as the operator wrote it.

use super::*;

#[test]
fn one_slot_one_machine() {
    let two_machines =
        || vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND), ipxe(2, Some(uuid(2)), "sw1/Eth1/1", SECOND)];
    let trunk = || (1..=9).map(|number| bridge(number, "sw1/Eth1/1", SECOND)).collect::<Vec<_>>();
    let listed = || vec![with_macs(&[1, 2], slot("mini01", &[]))];
    run(vec![
        case(
            "two on a port, the one",
            rack(),
            two_machines(),
            machine(&[1], None),
            Refused("or another one"),
        ),
        case(
            "two on a port, the other",
            rack(),
            two_machines(),
            machine(&[2], None),
            Refused("or another one"),
        ),
        case(
            "a third elsewhere is not affected",
            rack(),
            [two_machines(), vec![bridge(3, "sw1/Eth1/2", SECOND)]].concat(),
            machine(&[3], None),
            Is("mini02", true),
        ),
        case("a trunk", rack(), trunk(), machine(&[4], None), Refused("or another one")),
        case(
            "one on each port of a slot with two",
            vec![slot("mini01", &["sw1/Eth1/1", "sw2/Eth1/1"])],
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND), ipxe(2, Some(uuid(2)), "sw2/Eth1/1", SECOND)],
            machine(&[1], None),
            Refused("or another one"),
        ),
        case(
            "one in the port, another with the MAC address",
            vec![with_macs(&[2], slot("mini01", &["sw1/Eth1/1"]))],
            vec![silent(&[2], Some(uuid(2)), SECOND), bridge(1, "sw1/Eth1/1", SECOND)],
            machine(&[2], None),
            Refused("or another one"),
        ),
        case(
            "two machines with addresses of one list",
            listed(),
            vec![silent(&[1], Some(uuid(1)), SECOND), silent(&[2], Some(uuid(2)), SECOND)],
            machine(&[1], None),
            Refused("or another one"),
        ),
        case(
            "two interfaces of one list, nothing shows two machines",
            listed(),
            vec![silent(&[1], Some(uuid(1)), SECOND), silent(&[2], None, SECOND)],
            machine(&[1], None),
            Is("mini01", true),
        ),
        case(
            "two machines with one serial number",
            vec![with_serial("Default string", slot("mini01", &[]))],
            vec![
                maintenance(&[1], Some(uuid(1)), Some("Default string")),
                maintenance(&[2], Some(uuid(2)), Some("Default string")),
            ],
            machine(&[1], None),
            Refused("or another one"),
        ),
    ]);
}

#[test]
fn one_machine_one_slot() {
    let both = || machine(&[1, 2], Some(uuid(1)));
    run(vec![
        case(
            "two interfaces on two ports of one slot",
            vec![slot("mini01", &["sw1/Eth1/1", "sw2/Eth1/1"])],
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND), ipxe(2, Some(uuid(1)), "sw2/Eth1/1", SECOND)],
            machine(&[1], None),
            Is("mini01", false),
        ),
        case(
            "two interfaces in the ports of two slots",
            rack(),
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND), ipxe(2, Some(uuid(1)), "sw1/Eth1/2", SECOND)],
            machine(&[1], None),
            Refused("mini01 by one piece of evidence and mini02"),
        ),
        case(
            "the second interface is in nobody's port",
            rack(),
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND), ipxe(2, Some(uuid(1)), "sw1/Eth1/48", SECOND)],
            machine(&[2], None),
            Is("mini01", false),
        ),
        case(
            "its inventory joins two interfaces",
            rack(),
            vec![maintenance(&[1, 2], None, None), bridge(2, "sw1/Eth1/3", SECOND)],
            both(),
            Is("mini03", true),
        ),
        case(
            "a UUID that many boards share joins nothing",
            rack(),
            vec![ipxe(1, Some(junk()), "sw1/Eth1/1", SECOND), ipxe(2, Some(junk()), "sw1/Eth1/2", SECOND)],
            machine(&[1], Some(junk())),
            Is("mini01", false),
        ),
        case(
            "a UUID that two boards share by mistake",
            rack(),
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND), ipxe(2, Some(uuid(1)), "sw1/Eth1/2", SECOND)],
            both(),
            Refused("by one piece of evidence"),
        ),
        case(
            "a MAC address with two UUIDs",
            rack(),
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/1", MINUTE), maintenance(&[1], Some(uuid(2)), None)],
            machine(&[1], None),
            Refused("two machines share a MAC address"),
        ),
        case(
            "the port says one slot, the MAC address another",
            vec![slot("mini01", &["sw1/Eth1/1"]), with_macs(&[1], slot("mini03", &[]))],
            vec![bridge(1, "sw1/Eth1/1", SECOND)],
            machine(&[1], None),
            Refused("mini01 by one piece of evidence and mini03"),
        ),
        case(
            "two slots name the same MAC address",
            vec![with_macs(&[1], slot("mini01", &[])), with_macs(&[1], slot("mini02", &[]))],
            vec![],
            machine(&[1], None),
            Refused("by one piece of evidence"),
        ),
    ]);
}

#[test]
fn what_the_operator_wrote_must_hold() {
    let written = || with_uuid(1, with_macs(&[1], slot("mini01", &["sw1/Eth1/1"])));
    let static_only = || with_uuid(1, with_macs(&[1], slot("mini01", &[])));
    run(vec![
        case(
            "a MAC address",
            vec![with_macs(&[1], slot("mini01", &[]))],
            vec![],
            machine(&[1], None),
            Is("mini01", true),
        ),
        case(
            "a UUID",
            vec![with_uuid(1, slot("mini01", &[]))],
            vec![],
            machine(&[], Some(uuid(1))),
            Is("mini01", true),
        ),
        case(
            "a serial number, which nobody vouches for",
            vec![with_serial("S1", slot("mini01", &[]))],
            vec![maintenance(&[1], None, Some("S1"))],
            machine(&[1], None),
            Is("mini01", false),
        ),
        case("MAC and UUID", vec![static_only()], vec![], machine(&[1], Some(uuid(1))), Is("mini01", true)),
        case(
            "MAC, and no UUID yet",
            vec![static_only()],
            vec![],
            machine(&[1], None),
            Unknown("UUID is not known yet"),
        ),
        case(
            "MAC, and a UUID that names nobody",
            vec![static_only()],
            vec![],
            machine(&[1], Some(junk())),
            Unknown("UUID is not known yet"),
        ),
        case(
            "MAC, but another UUID",
            vec![static_only()],
            vec![],
            machine(&[1], Some(uuid(2))),
            Refused("only in part"),
        ),
        case(
            "the UUID, but another MAC",
            vec![static_only()],
            vec![],
            machine(&[2], Some(uuid(1))),
            Refused("only in part"),
        ),
        case(
            "neither",
            vec![static_only()],
            vec![],
            machine(&[2], Some(uuid(2))),
            Unknown("nothing has been seen"),
        ),
        case(
            "port, MAC and UUID",
            vec![written()],
            vec![bridge(1, "sw1/Eth1/1", SECOND)],
            machine(&[1], Some(uuid(1))),
            Is("mini01", true),
        ),
        case(
            "MAC and UUID, the port was not told",
            vec![written()],
            vec![silent(&[1], Some(uuid(1)), SECOND)],
            machine(&[1], Some(uuid(1))),
            Is("mini01", true),
        ),
        case(
            "another machine in the port",
            vec![written()],
            vec![bridge(2, "sw1/Eth1/1", SECOND)],
            machine(&[2], Some(uuid(2))),
            Refused("is not the machine that the site file names there"),
        ),
        case(
            "the machine in nobody's port",
            vec![with_macs(&[1], slot("mini01", &[]))],
            vec![bridge(1, "sw1/Eth1/48", SECOND)],
            machine(&[1], None),
            Is("mini01", true),
        ),
    ]);
}
