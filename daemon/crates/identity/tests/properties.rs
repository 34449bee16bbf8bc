//! Whatever is seen: no slot gets two machines, no machine two slots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::collections::{BTreeMap, BTreeSet};

use hardware::{MacAddr, SystemUuid};
use identity::{Attestor, Decision, Marks, Port, Sighting, Sightings, Slot, Slots, Source, decide};
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
        source in select(vec![Source::Ipxe, Source::ForwardingTable, Source::Lldp, Source::Dhcp, Source::Maintenance]),
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
