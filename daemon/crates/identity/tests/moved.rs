//! Machines that are seen where nobody belongs: what is a cable, and what is a switch.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::collections::BTreeSet;

use hardware::{MacAddr, SwitchPort};
use identity::{
    Change, Decision, Displaced, Ignored, Marks, Port, Sighting, Sightings, Slot, Slots, Source, SwitchNames,
    Whereabouts, changes, decide, whereabouts,
};
use proptest::{collection::vec, prelude::*, sample::select};

const NOW: u64 = 1_800_000_000_000;
const SECOND: u64 = 1000;

fn mac(number: u8) -> MacAddr {
    MacAddr([0x64, 0x4b, 0xf0, 0, 0, number])
}

fn slot(number: u8, ports: &[&str]) -> Slot {
    let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    Slot { name: name(number), ports, ..Slot::default() }
}

fn name(number: u8) -> String {
    format!("mini{number:02}")
}

/// mini01 to mini03 on the first three ports of sw1, mini04 on another switch.
fn rack() -> Vec<Slot> {
    vec![
        slot(1, &["sw1/Eth1/1"]),
        slot(2, &["sw1/Eth1/2"]),
        slot(3, &["sw1/Eth1/3"]),
        slot(4, &["sw2/Eth1/4"]),
    ]
}

fn port(on: &str) -> Port {
    let (switch, name) = on.split_once('/').unwrap();
    Port::local(switch, name)
}

/// A machine said when it booted what its card hears.
fn booted(number: u8, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::Ipxe, Marks::of_mac(mac(number)), NOW - ago).on(Some(mac(number)), port(on))
}

/// A switch that is asked has the machine in its table.
fn listed(number: u8, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::SwitchTable, Marks::of_mac(mac(number)), NOW - ago).on(Some(mac(number)), port(on))
}

fn table(seen: Vec<Sighting>) -> Sightings {
    let mut table = Sightings::default();
    for sighting in seen {
        table.record(sighting);
    }
    table
}

/// Who of the holders (the machine of slot N has the number N) is elsewhere.
fn displaced(slots: &Slots, table: &Sightings) -> Vec<Displaced> {
    let of = |number: u8| match whereabouts(slots, table, &name(number), &Marks::of_mac(mac(number)), NOW) {
        Whereabouts::Elsewhere(displaced) => Some(displaced),
        Whereabouts::Here | Whereabouts::Untold => None,
    };
    (1..=9).filter_map(of).collect()
}

fn told(slots: &Slots, seen: Vec<Sighting>) -> Vec<String> {
    let table = table(seen);
    let short = |change: Change| match change {
        Change::Cable(Displaced { slot, from, to }) => format!("{slot}: {from} → {to}"),
        Change::Switch { old, new, machines, same_ports, others } => {
            let machines: Vec<&str> = machines.iter().map(|one| one.slot.as_str()).collect();
            let ports = if same_ports { "same" } else { "other" };
            format!("{old} → {new}: {}; {ports} ports; not {}", machines.join(" "), others.join(" "))
        }
    };
    changes(slots, &table, &displaced(slots, &table), NOW).into_iter().map(short).collect()
}

struct Case {
    what: &'static str,
    slots: Vec<Slot>,
    seen: Vec<Sighting>,
    expected: &'static [&'static str],
}

#[test]
fn cables_and_switches() {
    let sec = SECOND;
    let two_ports = || vec![slot(1, &["sw1/Eth1/1", "sw2/Eth1/1"]), slot(2, &["sw1/Eth1/2", "sw2/Eth1/2"])];
    let cases = [
        Case {
            what: "everybody is in place",
            slots: rack(),
            seen: vec![booted(1, "sw1/Eth1/1", sec)],
            expected: &[],
        },
        Case { what: "nothing was seen", slots: rack(), seen: vec![], expected: &[] },
        Case {
            what: "a cable in a free port of the same switch",
            slots: rack(),
            seen: vec![booted(1, "sw1/Eth1/7", sec), booted(2, "sw1/Eth1/2", sec)],
            expected: &["mini01: sw1/Eth1/1 → sw1/Eth1/7"],
        },
        Case {
            what: "two cables in free ports of the same switch",
            slots: rack(),
            seen: vec![booted(1, "sw1/Eth1/7", sec), booted(2, "sw1/Eth1/8", sec)],
            expected: &["mini01: sw1/Eth1/1 → sw1/Eth1/7", "mini02: sw1/Eth1/2 → sw1/Eth1/8"],
        },
        Case {
            what: "two cables in free ports of another switch that is known",
            slots: rack(),
            seen: vec![booted(1, "sw2/Eth1/1", sec), booted(2, "sw2/Eth1/2", sec)],
            expected: &["mini01: sw1/Eth1/1 → sw2/Eth1/1", "mini02: sw1/Eth1/2 → sw2/Eth1/2"],
        },
        Case {
            what: "in the port of somebody else: a wrong cable, which is told as that",
            slots: rack(),
            seen: vec![booted(1, "sw1/Eth1/2", sec)],
            expected: &[],
        },
        Case {
            what: "one machine alone says little",
            slots: rack(),
            seen: vec![booted(1, "leaf1/Eth1/1", sec)],
            expected: &["mini01: sw1/Eth1/1 → leaf1/Eth1/1"],
        },
        Case {
            what: "all of a switch, in ports of the same names",
            slots: rack(),
            seen: vec![
                booted(1, "leaf1/Eth1/1", sec),
                booted(2, "leaf1/Ethernet1/2", 2 * sec),
                booted(3, "leaf1/Eth1/3", 3 * sec),
                booted(4, "sw2/Eth1/4", sec),
            ],
            expected: &["sw1 → leaf1: mini01 mini02 mini03; same ports; not "],
        },
        Case {
            what: "several of a switch, and of the others nothing was heard",
            slots: rack(),
            seen: vec![booted(1, "leaf1/Eth1/1", sec), booted(3, "leaf1/Eth1/3", 3 * sec)],
            expected: &["sw1 → leaf1: mini01 mini03; same ports; not mini02"],
        },
        Case {
            what: "somebody is still on the old one",
            slots: rack(),
            seen: vec![
                booted(1, "leaf1/Eth1/1", sec),
                booted(2, "sw1/Eth1/2", 2 * sec),
                booted(3, "leaf1/Eth1/3", sec),
            ],
            expected: &["mini01: sw1/Eth1/1 → leaf1/Eth1/1", "mini03: sw1/Eth1/3 → leaf1/Eth1/3"],
        },
        Case {
            what: "somebody that holds no slot is still on the old one",
            slots: rack(),
            seen: vec![
                booted(1, "leaf1/Eth1/1", sec),
                booted(3, "leaf1/Eth1/3", sec),
                booted(77, "sw1/Eth1/40", sec),
            ],
            expected: &["mini01: sw1/Eth1/1 → leaf1/Eth1/1", "mini03: sw1/Eth1/3 → leaf1/Eth1/3"],
        },
        Case {
            what: "another make of switch",
            slots: rack(),
            seen: vec![booted(1, "new/Port 11", sec), booted(2, "new/Port 12", sec)],
            expected: &["sw1 → new: mini01 mini02; other ports; not mini03"],
        },
        Case {
            what: "two switches, each replaced by one",
            slots: vec![
                slot(1, &["sw1/Eth1/1"]),
                slot(2, &["sw1/Eth1/2"]),
                slot(3, &["sw2/Eth1/1"]),
                slot(4, &["sw2/Eth1/2"]),
            ],
            seen: vec![
                booted(1, "a/Eth1/1", sec),
                booted(2, "a/Eth1/2", sec),
                booted(3, "b/Eth1/1", sec),
                booted(4, "b/Eth1/2", sec),
            ],
            expected: &[
                "sw1 → a: mini01 mini02; same ports; not ",
                "sw2 → b: mini03 mini04; same ports; not ",
            ],
        },
        Case {
            what: "one of the two switches of every machine",
            slots: two_ports(),
            seen: vec![
                booted(1, "leaf/Eth1/1", sec),
                listed(1, "sw2/Eth1/1", sec),
                booted(2, "leaf/Eth1/2", sec),
                listed(2, "sw2/Eth1/2", sec),
            ],
            expected: &["sw1 → leaf: mini01 mini02; same ports; not "],
        },
        Case {
            what: "a card more, beside all ports of the slot",
            slots: vec![slot(1, &["sw1/Eth1/1"]), slot(2, &["sw1/Eth1/2"])],
            seen: vec![
                listed(1, "sw1/Eth1/1", sec),
                booted(1, "mgmt/1", sec),
                listed(2, "sw1/Eth1/2", sec),
                booted(2, "mgmt/2", sec),
            ],
            expected: &[],
        },
        Case {
            what: "the way there, behind which all of them are",
            slots: rack(),
            seen: vec![listed(1, "core/Eth9", sec), listed(2, "core/Eth9", sec), listed(3, "core/Eth9", sec)],
            expected: &[],
        },
        Case {
            what: "what was seen long ago does not count",
            slots: rack(),
            seen: vec![booted(1, "leaf1/Eth1/1", 3600 * sec), booted(2, "leaf1/Eth1/2", 3600 * sec)],
            expected: &[],
        },
        Case {
            what: "a slot that is known by an address alone has no port to lose",
            slots: vec![Slot { macs: BTreeSet::from([mac(1)]), ..slot(1, &[]) }],
            seen: vec![booted(1, "leaf1/Eth1/1", sec)],
            expected: &[],
        },
        Case {
            what: "a slot that is known by both",
            slots: vec![Slot { macs: BTreeSet::from([mac(1)]), ..slot(1, &["sw1/Eth1/1"]) }],
            seen: vec![booted(1, "sw1/Eth1/9", sec)],
            expected: &["mini01: sw1/Eth1/1 → sw1/Eth1/9"],
        },
    ];
    for Case { what, slots, seen, expected } in cases {
        assert_eq!(told(&Slots::plain(slots), seen), expected, "{what}");
    }
}

#[test]
fn names_and_addresses_of_the_site_file_count() {
    let sw1 = SwitchNames {
        name: "sw1".to_owned(),
        also: vec!["leaf1".to_owned()],
        ports: [("Eth1/1".to_owned(), vec!["513".to_owned()])].into(),
    };
    let slots = Slots::new(rack(), vec![sw1], Ignored { macs: [mac(99)].into(), prefixes: Vec::new() });
    // a name that the site file knows is no other switch
    let seen = vec![booted(1, "leaf1/513", SECOND), booted(2, "leaf1/Eth1/2", SECOND)];
    assert_eq!(told(&slots, seen), [""; 0]);
    let seen = vec![booted(1, "leaf1/514", SECOND), booted(2, "leaf1/Eth1/2", SECOND)];
    assert_eq!(told(&slots, seen), ["mini01: sw1/Eth1/1 → sw1/514"]);
    // a management controller that the old switch still has is nobody
    let seen = vec![
        booted(1, "new/Eth1/1", SECOND),
        booted(2, "new/Eth1/2", SECOND),
        listed(99, "sw1/Eth1/3", SECOND),
    ];
    assert_eq!(told(&slots, seen), ["sw1 → new: mini01 mini02; same ports; not mini03"]);
}

#[test]
fn a_person_is_told_what_it_is_and_the_commands_that_accept_it() {
    let slots = Slots::plain(rack());
    let words = |seen: Vec<Sighting>, slot: &str| {
        let table = table(seen);
        let all = changes(&slots, &table, &displaced(&slots, &table), NOW);
        let [change] = all.as_slice() else { panic!("{all:?}") };
        assert!(change.slots().any(|name| name == slot));
        (change.in_words("/etc/site"), change.of_slot(slot, "/etc/site").unwrap())
    };
    let (cable, same) = words(vec![booted(1, "sw1/Eth1/7", SECOND)], "mini01");
    assert_eq!(cable, same);
    assert_eq!(
        cable,
        "the machine of mini01 is seen on sw1/Eth1/7, which the site gives to nobody, and not on sw1/Eth1/1: plug it back, or \
         `ichord ports --write /etc/site` and `ichord reload` accept that"
    );
    let renamed = vec![booted(1, "leaf1/Eth1/1", SECOND), booted(2, "leaf1/Eth1/2", SECOND)];
    let (switch, of_mini02) = words(renamed, "mini02");
    let brief = "sw1 is called leaf1 now, or was replaced by it: `ichord ports --rename-switch sw1=leaf1 /etc/site` and \
                 `ichord reload` accept that";
    assert_eq!(switch, format!("{brief}. Seen there: mini01, mini02; and nobody on sw1"));
    assert_eq!(
        of_mini02,
        format!(
            "the machine of mini02 is seen on leaf1/Eth1/2, which the site gives to nobody, and not on sw1/Eth1/2: {brief}"
        )
    );
    let (other, _) = words(vec![booted(1, "new/Port 1", SECOND), booted(2, "new/Port 2", SECOND)], "mini01");
    assert_eq!(
        other,
        "sw1 was replaced by new, whose ports have other names: `ichord ports --write /etc/site` and `ichord reload` accept \
         that. Seen there: mini01 (Eth1/1 → Port 1), mini02 (Eth1/2 → Port 2); and nobody on sw1. Not seen since: mini03, \
         whose ports stay as they are until then"
    );
}

/// Where a machine was seen last: on the old switch, on the new one in the port of the same name, elsewhere, or nowhere.
const PLACES: [&str; 6] = ["sw1/", "sw1/", "leaf1/", "leaf1/", "sw1/Free", "leaf1/Free"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A switch that gets another name is recognised as that, and once it is accepted everybody is in place again.
    #[test]
    fn a_renamed_switch_is_recognised_and_accepting_it_brings_everybody_back(
        there in vec(any::<bool>(), 2..9),
        new in select(vec!["leaf1", "sw10", "SW-1", "10.0.0.5", "36:8a:70:68:02:2f"]),
        ago in 1..800_u64,
    ) {
        prop_assume!(there.iter().filter(|seen| **seen).count() >= 2);
        let count = u8::try_from(there.len()).unwrap();
        let numbers = || (1..=count).zip(&there).filter(|(_, seen)| **seen).map(|(number, _)| number);
        let site = |switch: &str| {
            let port = |number| SwitchPort { switch: switch.to_owned(), port: format!("Eth1/{number}") };
            let slot = |number| Slot { name: name(number), ports: vec![port(number)], ..Slot::default() };
            Slots::plain((1..=count).map(slot).collect())
        };
        let seen = numbers().map(|number| booted(number, &format!("{new}/Ethernet1/{number}"), ago * SECOND));
        let table = table(seen.collect());
        let (before, after) = (site("sw1"), site(new));
        let found = changes(&before, &table, &displaced(&before, &table), NOW);
        let is_it = matches!(found.as_slice(), [Change::Switch { old, new: to, machines, same_ports: true, .. }]
            if old == "sw1" && to == new && machines.len() == numbers().count());
        prop_assert!(is_it, "{:?}", found);
        prop_assert_eq!(changes(&after, &table, &displaced(&after, &table), NOW), vec![]);
        for number in numbers() {
            let decision = decide(&after, &table, &Marks::of_mac(mac(number)), NOW);
            let is_it = matches!(&decision, Decision::Identified { slot, .. } if *slot == name(number));
            prop_assert!(is_it, "{}: {:?}", number, decision);
            let now = whereabouts(&after, &table, &name(number), &Marks::of_mac(mac(number)), NOW);
            prop_assert_eq!(now, Whereabouts::Here);
        }
    }

    /// Whatever is seen: nobody is told to be in a port that somebody has, nobody twice, and no switch is given up on that
    /// somebody is still seen on, or for one that the site file knows.
    #[test]
    fn what_is_told_is_so(seen in vec((select(PLACES.to_vec()), 1..9_u64, 0..2000_u64, any::<bool>()), 0..9)) {
        let slots = Slots::plain((1..=6).map(|number| slot(number, &[&format!("sw1/Eth1/{number}")])).collect());
        let sightings = (1..).zip(seen).map(|(number, (place, free, ago, asked))| {
            let on = match place {
                "sw1/" | "leaf1/" => format!("{place}Eth1/{number}"),
                place => format!("{place}{free}"),
            };
            let seen = if asked { listed } else { booted };
            seen(number, &on, ago * SECOND)
        });
        let table = table(sightings.collect());
        let displaced = displaced(&slots, &table);
        let found = changes(&slots, &table, &displaced, NOW);
        let told: Vec<String> = found.iter().flat_map(Change::slots).map(str::to_owned).collect();
        let names: Vec<String> = displaced.iter().map(|one| one.slot.clone()).collect();
        prop_assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "somebody is told twice");
        prop_assert_eq!(told.iter().collect::<BTreeSet<_>>(), names.iter().collect());
        for one in &displaced {
            prop_assert!(slots.of_port(&port(&one.to.to_string())).is_none(), "{:?}", one);
            let decision = decide(&slots, &table, &Marks::of_mac(mac(one.slot[4..].parse().unwrap())), NOW);
            prop_assert!(matches!(decision, Decision::Unknown { .. }), "{:?} of {:?}", decision, one);
        }
        for change in found {
            let Change::Switch { old, new, machines, .. } = change else { continue };
            prop_assert_eq!((old.as_str(), new.as_str()), ("sw1", "leaf1"));
            prop_assert!(machines.len() >= 2);
            for number in 1..=40 {
                let free: SwitchPort = format!("sw1/Free{number}").parse().unwrap();
                let own: SwitchPort = format!("sw1/Eth1/{number}").parse().unwrap();
                prop_assert!(table.on_port(&slots, &free, NOW).is_empty());
                prop_assert!(table.on_port(&slots, &own, NOW).is_empty());
            }
        }
    }
}
