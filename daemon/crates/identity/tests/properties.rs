//! Whatever is seen: no slot gets two machines, no machine two slots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use hardware::{MacAddr, SystemUuid};
use identity::{
    Attestor, Decision, Forwarded, Ignored, Marks, Port, Relay, Sighting, Sightings, Slot, Slots, Source,
    SwitchNames, decide,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const NOW: u64 = 1_800_000_000_000;
const MACHINES: usize = 4;
const PORTS: [&str; 5] = ["sw1/Eth1/1", "sw1/Eth1/11", "sw1/Eth1/2", "sw2/Eth1/1", "sw2/Eth1/2"];

fn mac(machine: usize, interface: usize) -> MacAddr {
    MacAddr([0x64, 0x4b, 0xf0, 0, u8::try_from(machine).unwrap(), u8::try_from(interface).unwrap()])
}

/// The machine as it really is: two interfaces and a UUID of its own.
fn real(machine: usize) -> Marks {
    let mut uuid = [0x22; 16];
    uuid[15] = u8::try_from(machine).unwrap();
    Marks {
        macs: (0..2).map(|interface| mac(machine, interface)).collect(),
        uuid: Some(SystemUuid(uuid)),
        serial: None,
    }
}

/// What a source that sees only part of a machine calls it.
fn seen(machine: usize, interface: usize, with_uuid: bool) -> Marks {
    Marks { uuid: real(machine).uuid.filter(|_| with_uuid), ..Marks::of_mac(mac(machine, interface)) }
}

prop_compose! {
    fn sighting()(
        machine in 0..MACHINES,
        interface in 0..2usize,
        with_uuid: bool,
        source in select(vec![Source::Ipxe, Source::ForwardingTable, Source::Lldp, Source::Dhcp, Source::Maintenance, Source::Discovery, Source::Installed]),
        switch_vouches: bool,
        port in option::weighted(0.9, select(PORTS.to_vec())),
        ago in 0u64..1_200_000,
    ) -> Sighting {
        let machine = seen(machine, interface, with_uuid && source != Source::ForwardingTable);
        let nic = machine.macs.first().copied();
        let mut sighting = Sighting::new(source, machine, NOW - ago);
        if let Some((switch, name)) = port.and_then(|port| port.split_once('/')) {
            sighting = sighting.on(nic, Port::local(switch, name));
        }
        if source == Source::Dhcp && switch_vouches {
            sighting.attestor = Attestor::Switch;
        }
        sighting
    }
}

prop_compose! {
    fn slot(name: usize)(
        ports in vec(select(PORTS.to_vec()), 0..=2),
        macs in vec((0..MACHINES, 0..2usize), 0..=2),
        uuid in option::weighted(0.2, 0..MACHINES),
    ) -> Slot {
        Slot {
            name: format!("mini{name:02}"),
            ports: ports.into_iter().map(|port| port.parse().unwrap()).collect(),
            macs: macs.into_iter().map(|(machine, interface)| mac(machine, interface)).collect(),
            uuid: uuid.and_then(|machine| real(machine).uuid),
            serial: None,
        }
    }
}

fn slots() -> impl Strategy<Value = Vec<Slot>> {
    (slot(1), slot(2), slot(3)).prop_map(|(a, b, c)| vec![a, b, c])
}

/// What the ports of [`PORTS`] are called on the wire: each by its own name, and by those of [`site`].
const SPELLINGS: [&[&str]; 5] = [
    &["sw1/Eth1/1", "tor-a/Ethernet1/1", "sw1/513"],
    &["sw1/Eth1/11", "tor-a.example.com/et1/11"],
    &["sw1/Eth1/2", "sw1/00:1c:73:00:00:09", "tor-a/514"],
    &["sw2/Eth1/1", "10.0.0.2/513"],
    &["sw2/Eth1/2", "10.0.0.2/Eth1/02"],
];
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The address of a machine's management controller.
fn controller(machine: usize) -> MacAddr {
    mac(machine, 0xbc)
}

/// An address that every machine may have: a hypervisor's bridge, a controller's virtual interface.
const SHARED: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);

/// Slots with other names for the switches and ports, addresses that are no machine's, and a relay of sw1.
fn site(slots: Vec<Slot>) -> Slots {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let sw1 = SwitchNames {
        name: "sw1".to_owned(),
        also: names(&["tor-a"]),
        ports: [
            ("Eth1/1".to_owned(), names(&["513"])),
            ("Eth1/2".to_owned(), names(&["00:1c:73:00:00:09", "514"])),
        ]
        .into(),
    };
    let sw2 = SwitchNames {
        name: "sw2".to_owned(),
        also: names(&["10.0.0.2"]),
        ports: [("Eth1/1".to_owned(), names(&["513"]))].into(),
    };
    let ignored =
        Ignored { macs: (0..MACHINES).map(controller).collect(), prefixes: vec![vec![0x52, 0x54, 0]] };
    let relay = Relay {
        address: RELAY,
        circuit: "{port}".parse().unwrap(),
        remote: None,
        from: Vec::new(),
        switch: Some("tor-a".to_owned()),
        port: "Eth1/{port}".parse().unwrap(),
    };
    Slots::new(slots, vec![sw1, sw2], ignored).with_relays(vec![relay])
}

/// A port under a name that the wire has for it.
fn on_the_wire() -> impl Strategy<Value = Port> {
    select(SPELLINGS.concat()).prop_map(|spelling| {
        let (switch, name) = spelling.split_once('/').unwrap();
        Port::local(switch, name)
    })
}

prop_compose! {
    fn aliased()(sighting in sighting(), port in on_the_wire()) -> Sighting {
        let port = sighting.port.is_some().then_some(port);
        Sighting { port, ..sighting }
    }
}

prop_compose! {
    /// DHCP through a relay, or of somebody who only says so.
    fn relayed()(
        machine in 0..MACHINES,
        interface in 0..2usize,
        true_relay: bool,
        circuit in select(vec!["1", "2", "11", "x"]),
        ago in 0u64..1_200_000,
    ) -> Sighting {
        let from = if true_relay { RELAY } else { Ipv4Addr::new(10, 0, 0, 66) };
        let circuit = Some(circuit.as_bytes().to_vec());
        let forwarded = Some(Forwarded { relay: RELAY, from, circuit, remote: None });
        Sighting { forwarded, ..Sighting::new(Source::Dhcp, seen(machine, interface, false), NOW - ago) }
    }
}

prop_compose! {
    /// An address that is no machine's, alone or as the machine tells it.
    fn ignorable()(
        machine in 0..MACHINES,
        told in option::of(0..2usize),
        shared: bool,
        source in select(vec![Source::Ipxe, Source::ForwardingTable, Source::Lldp]),
        port in on_the_wire(),
    ) -> Sighting {
        let address = if shared { SHARED } else { controller(machine) };
        let mut marks = Marks::of_mac(address);
        marks.macs.extend(told.map(|interface| mac(machine, interface)));
        Sighting::new(source, marks, NOW).on(Some(address), port)
    }
}

fn table(sightings: Vec<Sighting>) -> Sightings {
    let mut table = Sightings::default();
    for sighting in sightings {
        table.record(sighting);
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_slot_gets_two_machines_and_no_machine_two_slots(slots in slots(), seen_by in vec(sighting(), 0..12)) {
        let slots = Slots::plain(slots);
        let mut table = table(seen_by);
        // every machine has asked for itself before anything is decided
        for machine in 0..MACHINES {
            table.record(Sighting::new(Source::Ipxe, real(machine), NOW));
        }
        let mut holders: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for machine in 0..MACHINES {
            // however the question is put
            let mut given = BTreeSet::new();
            let questions = [real(machine), seen(machine, 0, false), seen(machine, 1, false), seen(machine, 0, true)];
            for question in questions {
                if let Decision::Identified { slot, .. } = decide(&slots, &table, &question, NOW) {
                    holders.entry(slot.clone()).or_default().insert(machine);
                    given.insert(slot);
                }
            }
            prop_assert!(given.len() <= 1, "machine {machine} is {given:?}");
        }
        for (slot, machines) in holders {
            prop_assert!(machines.len() == 1, "{slot} is given to {machines:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// The same when switches and ports have several names, relays tell the port, and addresses that are no machine's
    /// are seen and told.
    #[test]
    fn other_names_relays_and_ignored_addresses_give_no_second_slot_or_machine(
        slots in slots(),
        seen_by in vec(prop_oneof![3 => aliased(), 1 => relayed(), 1 => ignorable()], 0..12),
    ) {
        let slots = site(slots);
        let mut table = table(seen_by.into_iter().map(|sighting| slots.read_relay(sighting)).collect());
        let whole = |machine| {
            let mut marks = real(machine);
            marks.macs.extend([controller(machine), SHARED]);
            marks
        };
        for machine in 0..MACHINES {
            table.record(Sighting::new(Source::Ipxe, whole(machine), NOW));
        }
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for machine in 0..MACHINES {
            let mut given = BTreeSet::new();
            for question in [whole(machine), real(machine), seen(machine, 0, false), seen(machine, 1, true)] {
                if let Decision::Identified { slot, .. } = decide(&slots, &table, &question, NOW) {
                    given.insert(slot);
                }
            }
            prop_assert!(given.len() <= 1, "machine {machine} is {given:?}");
            for slot in given {
                if let Some(other) = holders.insert(slot.clone(), machine) {
                    prop_assert!(false, "{slot} is given to {other} and {machine}");
                }
            }
        }
    }

    /// Nobody becomes another slot, or none, by an address that is no machine's, wherever it is seen and whoever
    /// tells it.
    #[test]
    fn an_ignored_address_changes_no_decision(
        slots in slots(),
        seen_by in vec(aliased(), 0..8),
        ignorable in vec(ignorable(), 0..6),
    ) {
        let slots = site(slots);
        let without = table(seen_by.clone());
        let with = table(seen_by.into_iter().chain(ignorable).collect());
        let verdict = |table: &Sightings, question: &Marks| match decide(&slots, table, question, NOW) {
            Decision::Identified { slot, attested, .. } => format!("{slot}, attested: {attested}"),
            Decision::Unknown { .. } => "unknown".to_owned(),
            Decision::Refused { .. } => "refused".to_owned(),
        };
        for machine in 0..MACHINES {
            let mut told = real(machine);
            told.macs.extend([controller(machine), SHARED]);
            prop_assert_eq!(verdict(&with, &told), verdict(&without, &real(machine)), "machine {}", machine);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// With lies: a machine claims interfaces of others. What the daemon saw is still true, and it asks about the
    /// interface it saw.
    #[test]
    fn no_lie_attests_a_second_machine(
        slots in vec(select(PORTS.to_vec()), 3),
        cabling in vec(select(PORTS.to_vec()), MACHINES),
        lies in vec((0..MACHINES, vec((0..MACHINES, 0..2usize), 1..4), any::<bool>()), 0..6),
    ) {
        let slots = slots.into_iter().enumerate()
            .map(|(name, port)| Slot {
                name: format!("mini{name:02}"),
                ports: vec![port.parse().unwrap()],
                ..Slot::default()
            });
        let slots = Slots::plain(slots.collect());
        let cables = cabling.iter().enumerate().map(|(machine, port)| {
            let (switch, name) = port.split_once('/').unwrap();
            let marks = seen(machine, 0, false);
            Sighting::new(Source::ForwardingTable, marks, NOW).on(Some(mac(machine, 0)), Port::local(switch, name))
        });
        let claims = lies.into_iter().map(|(liar, claimed, with_uuid)| {
            let mut marks = seen(liar, 0, with_uuid);
            marks.macs.extend(claimed.into_iter().map(|(machine, interface)| mac(machine, interface)));
            Sighting::new(Source::Ipxe, marks, NOW)
        });
        let table = table(cables.chain(claims).collect());
        for (machine, port) in cabling.iter().enumerate() {
            let decision = decide(&slots, &table, &seen(machine, 0, false), NOW);
            if let Decision::Identified { slot, attested: true, .. } = decision {
                let slot = slots.slot(&slot).unwrap();
                prop_assert_eq!(slot.ports[0].to_string(), *port, "machine {} is on another port", machine);
                let sharing = cabling.iter().filter(|other| *other == port).count();
                prop_assert_eq!(sharing, 1, "{} machines are on {}", sharing, port);
            }
        }
    }
}
