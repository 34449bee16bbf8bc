//! What the operator says of switches: who is none, who counts more, other names, addresses that are no machine's, relays.

use std::net::Ipv4Addr;

use identity::{Forwarded, Ignored, Relay, SwitchNames};

use super::*;

/// What the machine heard on its interface, from a sender that says whether it forwards frames.
fn heard(on: &str, forwards: Option<bool>, ago: u64) -> Sighting {
    Sighting::new(Source::Ipxe, machine(&[1], None), NOW - ago)
        .on(Some(mac(1)), Port { forwards, ..port(on) })
}

#[test]
fn who_forwards_nothing_is_no_switch() {
    let one = || machine(&[1], None);
    let (switch, station) = (Some(true), Some(false));
    let core =
        SwitchNames { name: "core".to_owned(), also: vec!["spine9".to_owned()], ..SwitchNames::default() };
    let site = |slots| Slots::new(slots, vec![core.clone()], Ignored::default());
    run_in(
        site,
        vec![
            case(
                "only a phone was heard",
                rack(),
                vec![heard("phone/Port 1", station, SECOND)],
                one(),
                Unknown("no source has told the switch port"),
            ),
            case(
                "a management controller beside the switch",
                rack(),
                vec![heard("sw1/Eth1/1", switch, SECOND), heard("bmc/nic1", station, SECOND)],
                one(),
                Is("mini01", false),
            ),
            case(
                "a server that calls its port as a slot's is called",
                rack(),
                vec![heard("server/Eth1/1", station, SECOND)],
                one(),
                Unknown("no source has told the switch port"),
            ),
            case(
                "a sender that does not say what it is",
                rack(),
                vec![heard("sw9/Eth1/1", None, SECOND)],
                one(),
                Unknown("sw9/Eth1/1"),
            ),
            case(
                "a switch of the site file that says it forwards nothing",
                rack(),
                vec![heard("sw1/Eth1/1", station, SECOND)],
                one(),
                Is("mini01", false),
            ),
            case(
                "a switch without slots that the site file speaks of by another name",
                rack(),
                vec![heard("spine9/Eth1/1", station, SECOND)],
                one(),
                Unknown("spine9/Eth1/1"),
            ),
        ],
    );
}

#[test]
fn a_switch_of_the_site_file_counts_more_than_a_stranger_on_the_same_interface() {
    let one = || machine(&[1], None);
    let switch = Some(true);
    let also =
        SwitchNames { name: "sw1".to_owned(), also: vec!["tor-a".to_owned()], ..SwitchNames::default() };
    let site = |slots| Slots::new(slots, vec![also.clone()], Ignored::default());
    let office = || heard("office/3", switch, SECOND);
    let on_two_switches = || vec![slot("mini01", &["sw1/Eth1/1"]), slot("mini02", &["sw2/Eth1/1"])];
    run_in(
        site,
        vec![
            case(
                "the office's switch is let through",
                rack(),
                vec![heard("sw1/Eth1/1", switch, SECOND), office()],
                one(),
                Is("mini01", false),
            ),
            case(
                "in the other order",
                rack(),
                vec![office(), heard("sw1/Eth1/1", switch, SECOND)],
                one(),
                Is("mini01", false),
            ),
            case(
                "the switch is known by another name",
                rack(),
                vec![heard("tor-a/Eth1/2", switch, SECOND), office()],
                one(),
                Is("mini02", false),
            ),
            case(
                "two switches of the site file are heard",
                on_two_switches(),
                vec![heard("sw1/Eth1/1", switch, SECOND), heard("sw2/Eth1/1", switch, SECOND)],
                one(),
                Refused("one interface hears several"),
            ),
            case(
                "two strangers are heard",
                rack(),
                vec![heard("workshop/4", switch, SECOND), office()],
                one(),
                Refused("one interface hears several"),
            ),
            case(
                "the switch was heard too long ago",
                rack(),
                vec![heard("sw1/Eth1/1", switch, 20 * MINUTE), office()],
                one(),
                Unknown("office/3"),
            ),
            case(
                "another interface hears the stranger",
                rack(),
                vec![
                    ipxe(1, Some(uuid(1)), "sw1/Eth1/1", SECOND),
                    ipxe(2, Some(uuid(1)), "office/3", SECOND),
                ],
                one(),
                Is("mini01", false),
            ),
            case(
                "another source names the stranger",
                rack(),
                vec![heard("sw1/Eth1/1", switch, SECOND), relayed(1, "office/3", SECOND)],
                one(),
                Is("mini01", false),
            ),
        ],
    );
}

#[test]
fn a_switch_and_its_ports_have_other_names_on_the_wire() {
    let one = || machine(&[1], None);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let sw1 = SwitchNames {
        name: "sw1".to_owned(),
        also: names(&["36:8a:70:68:02:2f", "10.0.0.2", "sw1-new"]),
        ports: [
            ("Eth1/1".to_owned(), names(&["513"])),
            ("Eth1/2".to_owned(), names(&["00:1c:73:00:00:09", "7"])),
            ("Eth1/3".to_owned(), names(&["7"])),
        ]
        .into(),
    };
    let site = |slots| Slots::new(slots, vec![sw1.clone()], Ignored::default());
    let announced = |at: Port| Sighting::new(Source::Ipxe, machine(&[1], None), NOW).on(Some(mac(1)), at);
    let unnamed = || Port { switch: None, ..port("-/Eth1/3") };
    let chassis = ChassisId { subtype: 4, id: vec![0x36, 0x8a, 0x70, 0x68, 0x02, 0x2f] };
    run_in(
        site,
        vec![
            case("an ifIndex", rack(), vec![relayed(1, "sw1/513", SECOND)], one(), Is("mini01", true)),
            case(
                "an address for the port, in another spelling",
                rack(),
                vec![relayed(1, "sw1/001c.7300.0009", SECOND)],
                one(),
                Is("mini02", true),
            ),
            case(
                "the switch by its chassis",
                rack(),
                vec![announced(Port { chassis: Some(chassis), ..unnamed() })],
                one(),
                Is("mini03", false),
            ),
            case(
                "the switch by its management address",
                rack(),
                vec![announced(Port { management: vec![Ipv4Addr::new(10, 0, 0, 2).into()], ..unnamed() })],
                one(),
                Is("mini03", false),
            ),
            case(
                "another management address",
                rack(),
                vec![announced(Port { management: vec![Ipv4Addr::new(10, 0, 0, 22).into()], ..unnamed() })],
                one(),
                Unknown("an unnamed switch/Eth1/3"),
            ),
            case(
                "the switch was renamed",
                rack(),
                vec![relayed(1, "sw1-new/Eth1/1", SECOND)],
                one(),
                Is("mini01", true),
            ),
            case(
                "the number on another switch",
                rack(),
                vec![relayed(1, "sw2/513", SECOND)],
                one(),
                Unknown("sw2/513"),
            ),
            case(
                "two sources, each with a name of its own for the same port",
                rack(),
                vec![ipxe(1, None, "sw1-new/513", SECOND), relayed(1, "10.0.0.2/Eth1/1", SECOND)],
                one(),
                Is("mini01", true),
            ),
            case(
                "two sources, by their names two ports",
                rack(),
                vec![ipxe(1, None, "sw1/513", SECOND), relayed(1, "10.0.0.2/Eth1/2", SECOND)],
                one(),
                Refused("do not agree"),
            ),
            case(
                "two machines on one port that is called two names",
                rack(),
                vec![ipxe(1, None, "sw1/513", SECOND), relayed(2, "sw1-new/Eth1/1", SECOND)],
                one(),
                Refused("or another one"),
            ),
            case(
                "one number written for two ports",
                rack(),
                vec![relayed(1, "sw1/7", SECOND)],
                one(),
                Refused("belongs to both mini02 and mini03"),
            ),
        ],
    );
}

#[test]
fn an_address_that_is_no_machine_s_does_not_count() {
    let one = || machine(&[1], None);
    let site = |slots| {
        let prefixes = vec![vec![0x64, 0x4b, 0xf0, 0, 0, 9]];
        Slots::new(slots, Vec::new(), Ignored { macs: [mac(8)].into(), prefixes })
    };
    run_in(
        site,
        vec![
            case(
                "a management controller and a virtual machine behind the port",
                rack(),
                vec![
                    bridge(1, "sw1/Eth1/1", SECOND),
                    bridge(8, "sw1/Eth1/1", SECOND),
                    bridge(9, "sw1/Eth1/1", SECOND),
                ],
                one(),
                Is("mini01", true),
            ),
            case(
                "the machine tells its controller's address",
                rack(),
                vec![
                    maintenance(&[1, 8], None, None),
                    bridge(1, "sw1/Eth1/1", SECOND),
                    bridge(8, "sw1/Eth1/1", SECOND),
                ],
                one(),
                Is("mini01", true),
            ),
            case(
                "the controller itself is asked about",
                rack(),
                vec![bridge(8, "sw1/Eth1/1", SECOND)],
                machine(&[8, 9], None),
                Unknown("no machine of its own"),
            ),
            case(
                "the controller is in another slot's port",
                rack(),
                vec![
                    maintenance(&[1, 8], None, None),
                    bridge(1, "sw1/Eth1/1", SECOND),
                    bridge(8, "sw1/Eth1/2", SECOND),
                ],
                machine(&[1, 8], None),
                Is("mini01", true),
            ),
            case(
                "only the controller is in a slot's port",
                rack(),
                vec![maintenance(&[1, 8], None, None), bridge(8, "sw1/Eth1/2", SECOND)],
                machine(&[1, 8], None),
                Unknown("no source has told the switch port"),
            ),
            case(
                "another machine's controller is in the slot's port",
                rack(),
                vec![
                    bridge(1, "sw1/Eth1/1", SECOND),
                    Sighting { machine: machine(&[2, 8], None), ..lldp(8, "sw1/Eth1/1", SECOND) },
                ],
                one(),
                Is("mini01", true),
            ),
            case(
                "two machines tell the same address of no machine: the one",
                rack(),
                vec![
                    maintenance(&[1, 8], Some(uuid(1)), None),
                    maintenance(&[2, 8], Some(uuid(2)), None),
                    bridge(1, "sw1/Eth1/1", SECOND),
                    bridge(2, "sw1/Eth1/2", SECOND),
                ],
                machine(&[1, 8], Some(uuid(1))),
                Is("mini01", true),
            ),
            case(
                "two machines tell the same address of no machine: the other, whose port nobody told",
                rack(),
                vec![
                    silent(&[1, 8], None, SECOND),
                    silent(&[2, 8], None, SECOND),
                    bridge(1, "sw1/Eth1/1", SECOND),
                ],
                machine(&[2, 8], None),
                Unknown("no source has told the switch port"),
            ),
        ],
    );
}

#[test]
fn a_relay_is_believed_only_where_the_site_file_describes_it() {
    let one = || machine(&[1], None);
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let relay = Relay {
        address,
        circuit: "{port}".parse().unwrap(),
        remote: None,
        from: Vec::new(),
        switch: Some("sw1".to_owned()),
        port: "Eth1/{port}".parse().unwrap(),
    };
    let site = |slots| Slots::plain(slots).with_relays(vec![relay.clone()]);
    let asked = |number: u8, from: Ipv4Addr, circuit: &[u8]| Sighting {
        forwarded: Some(Forwarded { relay: address, from, circuit: Some(circuit.to_vec()), remote: None }),
        ..Sighting::new(Source::Dhcp, machine(&[number], None), NOW - SECOND)
    };
    run_in(
        site,
        vec![
            case("its own packet", rack(), vec![asked(1, address, b"2")], one(), Is("mini02", true)),
            case(
                "a machine that writes the relay's address",
                rack(),
                vec![asked(1, Ipv4Addr::new(10, 0, 0, 66), b"2")],
                one(),
                Unknown("no source has told the switch port"),
            ),
            case(
                "an id that does not look as described",
                rack(),
                vec![asked(1, address, b"\x002")],
                one(),
                Unknown("no source has told the switch port"),
            ),
            case(
                "a port that is nobody's",
                rack(),
                vec![asked(1, address, b"48")],
                one(),
                Unknown("sw1/Eth1/48"),
            ),
            case(
                "the machine says another port than its relay",
                rack(),
                vec![ipxe(1, None, "sw1/Eth1/1", SECOND), asked(1, address, b"2")],
                one(),
                Refused("do not agree"),
            ),
            case(
                "another machine asks through the same port",
                rack(),
                vec![bridge(1, "sw1/Eth1/2", SECOND), asked(2, address, b"2")],
                one(),
                Refused("or another one"),
            ),
        ],
    );
}
