//! Every port for people: who is there, whose it is, and what nobody filled or claimed.

use std::collections::{BTreeMap, BTreeSet};

use hardware::SwitchPort;
use serde::{Deserialize, Serialize};

use crate::{Attestor, Marks, PortName, Sighting, Sightings, Slots, Source, decide::line};

/// One port of one switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// as the operator writes it, or would
    pub port: SwitchPort,
    /// whose it is by the site file; `None` for a port that nobody claimed
    pub slot: Option<String>,
    /// the machines that are seen there now; none where nobody is
    pub machines: Vec<Occupant>,
}

/// One machine on a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// all it is known by
    pub machine: Marks,
    /// who says that it is there, the newest word first
    pub words: Vec<Word>,
}

/// One source's word for a machine's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// whose
    pub source: Source,
    /// who vouches
    pub attestor: Attestor,
    /// when, in milliseconds since the Unix epoch
    pub at: u64,
}

/// Every port of the site and every other one where a machine is seen, in the order of switch and port.
pub fn overview(slots: &Slots, sightings: &Sightings, now: u64) -> Vec<PortRow> {
    let mut rows: BTreeMap<(String, PortOrder), PortRow> = BTreeMap::new();
    for slot in slots.all() {
        for port in &slot.ports {
            let row = PortRow { port: port.clone(), slot: Some(slot.name.clone()), machines: Vec::new() };
            rows.entry(key(port)).or_insert(row);
        }
    }
    let mut here: BTreeMap<(String, PortOrder), Vec<&Sighting>> = BTreeMap::new();
    for sighting in sightings.held(now) {
        let Some(port) = &sighting.port else { continue };
        if sighting.machine.macs.iter().all(|mac| slots.ignored().has(*mac)) {
            continue;
        }
        if port.forwards == Some(false) && !slots.knows_switch_of(port) {
            continue;
        }
        let Some(written) = slots.written(port) else { continue };
        let key = key(&written);
        let slot = slots.of_port(port).map(|(slot, _)| slot.name.clone());
        rows.entry(key.clone()).or_insert(PortRow { port: written, slot, machines: Vec::new() });
        here.entry(key).or_default().push(sighting);
    }
    for (key, mut there) in here {
        there.sort_by_key(|sighting| std::cmp::Reverse(sighting.at));
        let Some(row) = rows.get_mut(&key) else { continue };
        for sighting in there {
            let word = Word { source: sighting.source, attestor: sighting.attestor, at: sighting.at };
            let known = row.machines.iter_mut().find(|it| it.machine.is_same_machine(&sighting.machine));
            match known {
                Some(occupant) => {
                    occupant.machine.absorb(&sighting.machine);
                    if occupant.words.iter().all(|said| said.source != word.source) {
                        occupant.words.push(word);
                    }
                }
                None => {
                    let machine = sightings.cluster(&sighting.machine, Some(now), slots.ignored()).marks;
                    row.machines.push(Occupant { machine, words: vec![word] });
                }
            }
        }
    }
    rows.into_values().collect()
}

/// Everything that was seen of a machine and still counts, as lines for people, the newest first.
pub fn testimony(sightings: &Sightings, machine: &Marks, now: u64) -> Vec<String> {
    sightings.about(machine).into_iter().map(|sighting| line(sighting, now)).collect()
}

/// Ports in the order of their numbers: 1/2 comes before 1/10.
type PortOrder = Vec<(String, u64)>;

fn key(port: &SwitchPort) -> (String, PortOrder) {
    let name = PortName::normal(&port.port).to_string();
    let mut parts = Vec::new();
    let mut rest = name.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, from) = rest.split_at(digits);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        parts.push((text.to_owned(), number.parse().unwrap_or(0)));
        rest = after;
    }
    (port.switch.to_lowercase(), parts)
}

/// Slots by which no machine is seen, in the operator's order.
pub fn unseen<'a>(slots: &'a Slots, rows: &[PortRow]) -> Vec<&'a str> {
    let seen: BTreeSet<&str> =
        rows.iter().filter(|row| !row.machines.is_empty()).filter_map(|row| row.slot.as_deref()).collect();
    slots.all().iter().map(|slot| slot.name.as_str()).filter(|name| !seen.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use hardware::MacAddr;

    use super::*;
    use crate::{Ignored, Port, Slot, SwitchNames};

    fn mac(number: u8) -> MacAddr {
        MacAddr([0x64, 0x4b, 0xf0, 0, 0, number])
    }

    fn seen(source: Source, number: u8, port: &str, at: u64) -> Sighting {
        let (switch, name) = port.split_once('/').unwrap();
        Sighting::new(source, Marks::of_mac(mac(number)), at).on(Some(mac(number)), Port::local(switch, name))
    }

    #[test]
    fn every_port_with_who_is_there_and_whose_it_is() {
        let slot = |name: &str, port: &str| Slot {
            name: name.to_owned(),
            ports: vec![port.parse().unwrap()],
            ..Slot::default()
        };
        let slots = Slots::new(
            vec![slot("mini01", "sw1/Eth1/1"), slot("mini02", "sw1/Eth1/2"), slot("mini10", "sw1/Eth1/10")],
            vec![SwitchNames {
                name: "sw1".to_owned(),
                also: vec!["00:1c:73:00:00:01".to_owned()],
                ports: [("Eth1/9".to_owned(), vec!["909".to_owned()])].into(),
            }],
            Ignored { macs: [mac(66)].into(), prefixes: Vec::new() },
        );
        let mut table = Sightings::default();
        for sighting in [
            seen(Source::ForwardingTable, 1, "sw1/Eth1/1", 10),
            seen(Source::Ipxe, 1, "sw1.example.com/Ethernet1/1", 20),
            seen(Source::Ipxe, 2, "00:1c:73:00:00:01/909", 20),
            seen(Source::Ipxe, 4, "sw7/Port 4", 20),
            seen(Source::ForwardingTable, 66, "sw1/Eth1/2", 20),
        ] {
            table.record(sighting);
        }
        let rows = overview(&slots, &table, 30);
        let short: Vec<_> = rows
            .iter()
            .map(|row| {
                let macs: Vec<_> = row.machines.iter().map(|it| it.machine.to_string()).collect();
                format!("{} {} {}", row.port, row.slot.as_deref().unwrap_or("-"), macs.join(" "))
            })
            .collect();
        assert_eq!(
            short,
            [
                "sw1/Eth1/1 mini01 64:4b:f0:00:00:01",
                "sw1/Eth1/2 mini02 ",
                "sw1/Eth1/9 - 64:4b:f0:00:00:02",
                "sw1/Eth1/10 mini10 ",
                "sw7/Port 4 - 64:4b:f0:00:00:04",
            ]
        );
        let words: Vec<_> = rows[0].machines[0].words.iter().map(|word| (word.source, word.at)).collect();
        assert_eq!(words, [(Source::Ipxe, 20), (Source::ForwardingTable, 10)]);
        assert_eq!(unseen(&slots, &rows), ["mini02", "mini10"]);
        let told = testimony(&table, &Marks::of_mac(mac(1)), 30);
        assert!(told[0].starts_with("iPXE: 64:4b:f0:00:00:01 on sw1.example.com/Ethernet1/1"), "{told:?}");
    }
}
