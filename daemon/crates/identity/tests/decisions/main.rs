//! The decision, case by case: what was seen, and which slot that makes the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod switches;

use std::{collections::BTreeSet, time::Duration};

use hardware::{ChassisId, MacAddr, PortId, SystemUuid};
use identity::{Attestor, Decision, Marks, Port, Sighting, Sightings, Slot, Slots, Source, decide};

/// The moment of the decision.
const NOW: u64 = 1_800_000_000_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;

fn mac(number: u8) -> MacAddr {
    MacAddr([0x64, 0x4b, 0xf0, 0, 0, number])
}

fn uuid(number: u8) -> SystemUuid {
    let mut bytes = [0x11; 16];
    bytes[15] = number;
    SystemUuid(bytes)
}

/// What American Megatrends ships when the vendor sets nothing.
fn junk() -> SystemUuid {
    SystemUuid([0x03, 0, 0x02, 0, 0x04, 0, 0x05, 0, 0, 0x06, 0, 0x07, 0, 0x08, 0, 0x09])
}

fn machine(macs: &[u8], uuid: Option<SystemUuid>) -> Marks {
    Marks { macs: macs.iter().copied().map(mac).collect(), uuid, serial: None }
}

fn port(written: &str) -> Port {
    let (switch, name) = written.split_once('/').unwrap();
    Port::local(switch, name)
}

/// The daemon's bridge heard a frame of the machine.
fn bridge(number: u8, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::ForwardingTable, machine(&[number], None), NOW - ago)
        .on(Some(mac(number)), port(on))
}

/// The daemon heard the machine's LLDP.
fn lldp(number: u8, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::Lldp, machine(&[number], None), NOW - ago).on(Some(mac(number)), port(on))
}

/// The machine asked for its boot script and said what it heard on its interface.
fn ipxe(number: u8, uuid: Option<SystemUuid>, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::Ipxe, machine(&[number], uuid), NOW - ago).on(Some(mac(number)), port(on))
}

/// The machine asked for its boot script, but its firmware has no LLDP.
fn silent(macs: &[u8], uuid: Option<SystemUuid>, ago: u64) -> Sighting {
    Sighting::new(Source::Ipxe, machine(macs, uuid), NOW - ago)
}

/// A trusted switch put option 82 into the machine's DHCP.
fn relayed(number: u8, on: &str, ago: u64) -> Sighting {
    let sighting =
        Sighting::new(Source::Dhcp, machine(&[number], None), NOW - ago).on(Some(mac(number)), port(on));
    Sighting { attestor: Attestor::Switch, ..sighting }
}

/// What a machine in maintenance mode says of itself.
fn maintenance(macs: &[u8], uuid: Option<SystemUuid>, serial: Option<&str>) -> Sighting {
    let marks = Marks { serial: serial.map(str::to_owned), ..machine(macs, uuid) };
    Sighting::new(Source::Maintenance, marks, NOW - SECOND)
}

fn slot(name: &str, ports: &[&str]) -> Slot {
    let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    Slot { name: name.to_owned(), ports, ..Slot::default() }
}

fn with_macs(macs: &[u8], slot: Slot) -> Slot {
    Slot { macs: macs.iter().copied().map(mac).collect(), ..slot }
}

fn with_uuid(number: u8, slot: Slot) -> Slot {
    Slot { uuid: Some(uuid(number)), ..slot }
}

fn with_serial(serial: &str, slot: Slot) -> Slot {
    Slot { serial: Some(serial.to_owned()), ..slot }
}

/// mini01 to mini03 on the first three ports of sw1.
fn rack() -> Vec<Slot> {
    vec![slot("mini01", &["sw1/Eth1/1"]), slot("mini02", &["sw1/Eth1/2"]), slot("mini03", &["sw1/Eth1/3"])]
}

enum Expected {
    /// slot, attested
    Is(&'static str, bool),
    /// words of the reason
    Unknown(&'static str),
    /// words of the reason
    Refused(&'static str),
}
use Expected::{Is, Refused, Unknown};

struct Case {
    what: &'static str,
    slots: Vec<Slot>,
    seen: Vec<Sighting>,
    ask: Marks,
    expected: Expected,
}

fn case(what: &'static str, slots: Vec<Slot>, seen: Vec<Sighting>, ask: Marks, expected: Expected) -> Case {
    Case { what, slots, seen, ask, expected }
}

fn run(cases: Vec<Case>) {
    run_in(Slots::plain, cases);
}

/// With more in the site file than slots.
fn run_in(site: impl Fn(Vec<Slot>) -> Slots, cases: Vec<Case>) {
    for Case { what, slots, seen, ask, expected } in cases {
        let mut table = Sightings::default();
        let site = site(slots);
        for sighting in seen {
            table.record(site.read_relay(sighting));
        }
        let decision = decide(&site, &table, &ask, NOW);
        let as_expected = match (&decision, &expected) {
            (Decision::Identified { slot, attested, evidence, .. }, Is(name, vouched)) => {
                slot == name && attested == vouched && !evidence.is_empty()
            }
            (Decision::Unknown { reason }, Unknown(words)) => reason.contains(words),
            (Decision::Refused { reason, evidence }, Refused(words)) => {
                reason.contains(words) && !evidence.is_empty()
            }
            _ => false,
        };
        assert!(as_expected, "{what}: {decision:#?}");
    }
}

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

/// Whoever claims another machine's marks is joined with it, but nobody vouches for that.
#[test]
fn a_lie_is_never_attested() {
    let victim = || bridge(1, "sw1/Eth1/1", SECOND);
    let lie = || silent(&[1, 9], Some(uuid(9)), SECOND);
    run(vec![
        case("the liar", rack(), vec![victim(), lie()], machine(&[9], None), Is("mini01", false)),
        case(
            "the liar by a MAC address of the site file",
            vec![with_macs(&[1], slot("mini01", &[]))],
            vec![lie()],
            machine(&[9], None),
            Is("mini01", false),
        ),
        case(
            "the liar by a UUID of the site file",
            vec![with_uuid(1, slot("mini01", &[]))],
            vec![silent(&[9], Some(uuid(1)), SECOND)],
            machine(&[9], None),
            Is("mini01", false),
        ),
        case(
            "the liar, while the victim's UUID is known",
            rack(),
            vec![victim(), silent(&[1], Some(uuid(1)), MINUTE), maintenance(&[1, 9], Some(uuid(9)), None)],
            machine(&[9], None),
            Refused("two machines share a MAC address"),
        ),
        case(
            "the liar behind the victim's own port",
            rack(),
            vec![victim(), bridge(9, "sw1/Eth1/1", SECOND), lie()],
            machine(&[9], None),
            Refused("two interfaces are behind one port"),
        ),
        case(
            "the liar in another slot's port",
            rack(),
            vec![victim(), bridge(9, "sw1/Eth1/2", SECOND), lie()],
            machine(&[9], None),
            Refused("by one piece of evidence"),
        ),
        case(
            "addresses that are no interface's join nothing",
            rack(),
            vec![
                Sighting::new(
                    Source::Ipxe,
                    Marks { macs: BTreeSet::from([mac(1), MacAddr([0; 6])]), ..Marks::default() },
                    NOW,
                )
                .on(Some(mac(1)), port("sw1/Eth1/1")),
                Sighting::new(
                    Source::Ipxe,
                    Marks {
                        macs: BTreeSet::from([mac(2), MacAddr([0; 6]), MacAddr([0xff; 6])]),
                        ..Marks::default()
                    },
                    NOW,
                )
                .on(Some(mac(2)), port("sw1/Eth1/2")),
            ],
            machine(&[2], None),
            Is("mini02", false),
        ),
        case(
            "asked by a claimed UUID alone",
            rack(),
            vec![victim(), silent(&[1], Some(uuid(1)), SECOND)],
            machine(&[], Some(uuid(1))),
            Is("mini01", false),
        ),
    ]);
}

#[test]
fn a_person_can_act_on_what_is_unknown() {
    run(vec![
        case(
            "nothing was seen",
            rack(),
            vec![],
            machine(&[1], None),
            Unknown("check that it boots from the network"),
        ),
        case("nobody is asked about", rack(), vec![], Marks::default(), Unknown("an unknown machine")),
        case(
            "no slots",
            vec![],
            vec![bridge(1, "sw1/Eth1/1", SECOND)],
            machine(&[1], None),
            Unknown("NAME: { port:"),
        ),
        case(
            "seen, but nowhere",
            rack(),
            vec![silent(&[1], Some(uuid(1)), SECOND)],
            machine(&[1], None),
            Unknown("turn LLDP on at the switch"),
        ),
        case(
            "in two ports that are nobody's",
            rack(),
            vec![ipxe(1, Some(uuid(1)), "sw1/Eth1/7", SECOND), ipxe(2, Some(uuid(1)), "sw2/Eth1/7", SECOND)],
            machine(&[1], None),
            Unknown("sw1/Eth1/7 and sw2/Eth1/7"),
        ),
    ]);
}

#[test]
fn the_evidence_says_who_saw_what_when_and_who_vouches() {
    let mut table = Sightings::default();
    let heard =
        Sighting { raw: "64:4b:f0:00:00:01 on p1 of br0".to_owned(), ..bridge(1, "sw1/Eth1/1", 12 * SECOND) };
    table.record(heard);
    let decision = decide(&Slots::plain(rack()), &table, &machine(&[1], None), NOW);
    let Decision::Identified { port, evidence, .. } = decision else { panic!("{decision:?}") };
    assert_eq!(port, Some("sw1/Eth1/1".parse().unwrap()));
    assert_eq!(
        evidence,
        [
            "forwarding table: 64:4b:f0:00:00:01 on sw1/Eth1/1, 12 s ago (the daemon saw it), heard 64:4b:f0:00:00:01 on p1 of br0"
        ]
    );
}
