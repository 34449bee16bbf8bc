//! Who vouches for what, and what a person is told of it.

use super::*;

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
