//! The decision: which slot a machine is, on what evidence, or why that cannot be said.
//!
//! Called by the reconciler with the operator's slots after it has recorded the machine's own sighting. It
//! refuses whenever two readings are possible: two machines for one slot, two slots for one machine, sources that
//! contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use hardware::SwitchPort;

use crate::{
    Attestor, Marks, Port, Sighting, Sightings, Slot, Slots,
    selector::{Fit, explain, fit},
    table::Cluster,
};

/// How many other machines in a port are named; behind a trunk are thousands.
const RIVALS: usize = 4;

/// Which slot a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// exactly this one
    Identified {
        /// the slot's name
        slot: String,
        /// the port that said so, as the operator wrote it; `None` when only MAC, UUID or serial did
        port: Option<SwitchPort>,
        /// whether somebody else than the machine vouches for it
        attested: bool,
        /// what it rests on, for people
        evidence: Vec<String>,
    },
    /// nothing says so yet
    Unknown {
        /// why, and what a person can do
        reason: String,
    },
    /// the evidence contradicts itself; nothing may be given to this machine
    Refused {
        /// why, and what a person can do
        reason: String,
        /// both sides
        evidence: Vec<String>,
    },
}

/// One reason to take the machine for a slot.
struct Vote {
    port: Option<SwitchPort>,
    attested: bool,
    evidence: String,
}

/// Decides which slot `machine` is. Sightings whose time is over at `now` (milliseconds since the Unix epoch)
/// do not count.
///
/// Record what the machine said before asking: two machines that want one slot are told apart only when both
/// were seen.
///
/// A machine can claim the addresses and UUID of another one, and is then joined with it. So `attested` counts
/// only evidence about what `machine` itself names: for it to mean anything, pass what the daemon has seen for
/// itself (the MAC address of the lease, what the pinned maintenance session says), not what a URL claimed.
pub fn decide(slots: &Slots, sightings: &Sightings, machine: &Marks, now: u64) -> Decision {
    if !machine.macs.is_empty() && machine.macs.iter().all(|mac| slots.ignored().has(*mac)) {
        let reason = format!("the site file says that {machine} is no machine of its own");
        return Decision::Unknown { reason };
    }
    let cluster = sightings.cluster(machine, Some(now), slots.ignored());
    let all = sightings.sightings(&cluster.ids);
    let seen = considered(slots, &all);
    if let Some(refused) = contradictions(slots, &cluster, &seen, now) {
        return refused;
    }
    let votes = match votes(slots, machine, &cluster.marks, &seen, now) {
        Ok(votes) => votes,
        Err(refused) => return refused,
    };
    let mut by_slot = votes.into_iter().filter_map(|(index, votes)| Some((slots.all().get(index)?, votes)));
    let Some((slot, votes)) = by_slot.next() else {
        return Decision::Unknown { reason: unknown(slots, sightings, &cluster.marks, &seen, now) };
    };
    if let Some((other, more)) = by_slot.next() {
        return Decision::Refused {
            reason: format!(
                "the machine is {} by one piece of evidence and {} by another; correct the cabling or the site file",
                slot.name, other.name
            ),
            evidence: votes.into_iter().chain(more).map(|vote| vote.evidence).collect(),
        };
    }
    let rivals = rivals(slots, slot, sightings, &cluster, now);
    if !rivals.is_empty() {
        return Decision::Refused {
            reason: format!(
                "{} could be this machine or another one; unplug the one that does not belong there (evidence of a \
                 machine that is gone ends by itself)",
                slot.name
            ),
            evidence: votes.into_iter().map(|vote| vote.evidence).chain(rivals).collect(),
        };
    }
    Decision::Identified {
        slot: slot.name.clone(),
        port: votes.iter().find_map(|vote| vote.port.clone()),
        attested: votes.iter().any(|vote| vote.attested),
        evidence: votes.into_iter().map(|vote| vote.evidence).collect(),
    }
}

/// A sighting with the port that counts.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) sighting: &'a Sighting,
    pub(crate) port: Option<&'a Port>,
}

/// Without ports that are none: what servers, phones and management controllers announce, what an unmanaged
/// switch in between lets through of switches that the operator does not speak of, and where an address is that
/// the site file says to be no machine's.
pub(crate) fn considered<'a>(slots: &Slots, all: &[&'a Sighting]) -> Vec<Seen<'a>> {
    let is_known = |port: &Port| slots.knows_switch_of(port);
    let is_switch = |port: &&Port| port.forwards != Some(false) || is_known(port);
    let ports: Vec<Option<&Port>> =
        all.iter().map(|sighting| place(slots, sighting).filter(is_switch)).collect();
    let counts = |index: usize| {
        let (sighting, port) = (all.get(index)?, ports.get(index).copied().flatten()?);
        let hears = |other: &Sighting| {
            (other.source, other.nic, other.attestor) == (sighting.source, sighting.nic, sighting.attestor)
        };
        let mut beside = all
            .iter()
            .zip(&ports)
            .enumerate()
            .filter_map(|(place, (other, port))| port.filter(|_| place != index && hears(other)));
        let crowded = sighting.attestor == Attestor::Machine && beside.clone().next().is_some();
        let drowned = crowded && !is_known(port) && beside.any(is_known);
        (!drowned).then_some(port)
    };
    all.iter().enumerate().map(|(index, sighting)| Seen { sighting, port: counts(index) }).collect()
}

/// The port that a sighting names for a machine: an address that is no machine's names none.
fn place<'a>(slots: &Slots, sighting: &'a Sighting) -> Option<&'a Port> {
    sighting.port.as_ref().filter(|_| sighting.nic.is_none_or(|nic| !slots.ignored().has(nic)))
}

/// What is wrong with the evidence by itself, whatever the slots are.
fn contradictions(slots: &Slots, cluster: &Cluster, seen: &[Seen<'_>], now: u64) -> Option<Decision> {
    if cluster.uuids.len() > 1 {
        let uuids: Vec<String> = cluster.uuids.iter().map(ToString::to_string).collect();
        return Some(Decision::Refused {
            reason: format!(
                "two machines share a MAC address: it was seen with the UUIDs {}; unplug one of them",
                uuids.join(" and ")
            ),
            evidence: seen.iter().map(|seen| line(seen.sighting, now)).collect(),
        });
    }
    let placed: Vec<(&Sighting, &Port)> =
        seen.iter().filter_map(|seen| seen.port.map(|port| (seen.sighting, port))).collect();
    let pairs = placed
        .iter()
        .enumerate()
        .flat_map(|(index, one)| placed.iter().skip(index + 1).map(move |other| (one, other)));
    for ((one, here), (other, there)) in pairs {
        let (Some(nic), Some(other_nic)) = (one.nic, other.nic) else { continue };
        let vouched = one.attestor != Attestor::Machine && other.attestor != Attestor::Machine;
        let one_ear = one.source == other.source && one.attestor == Attestor::Machine;
        let reason = if nic == other_nic && slots.is_same_port(here, there) {
            continue;
        } else if nic == other_nic && one_ear {
            "one interface hears several switch ports: there is an unmanaged switch in between, which hides the \
             machine's own port; plug the machine into the managed switch"
        } else if nic == other_nic && slots.is_same_switch(here, there) {
            "the sources do not agree on the machine's port; if its cable was moved, restart the machine so that it \
             is seen anew"
        } else if nic != other_nic && vouched && slots.is_same_port(here, there) {
            // the machine says that both are its own, but a cable has one interface at its end
            "two interfaces are behind one port: a shared management controller, a virtual machine, or another \
             machine that claims to be this one; give it a port of its own, or write its address under `ignore`"
        } else {
            continue;
        };
        return Some(Decision::Refused {
            reason: reason.to_owned(),
            evidence: vec![line(one, now), line(other, now)],
        });
    }
    None
}

/// The reasons for each slot (by its place in the list), or the contradiction among them.
fn votes(
    slots: &Slots,
    asked: &Marks,
    marks: &Marks,
    seen: &[Seen<'_>],
    now: u64,
) -> Result<BTreeMap<usize, Vec<Vote>>, Decision> {
    let mut votes: BTreeMap<usize, Vec<Vote>> = BTreeMap::new();
    for index in slots.marked(marks) {
        let Some(slot) = slots.all().get(index) else { continue };
        match fit(slot, marks) {
            Fit::Whole => {
                let evidence = explain(slot, marks);
                let attested = !slot.macs.is_disjoint(&asked.macs)
                    || slot.uuid.is_some() && slot.uuid == asked.distinctive_uuid();
                votes.entry(index).or_default().push(Vote { port: None, attested, evidence });
            }
            Fit::Contradicts => {
                return Err(Decision::Refused {
                    reason: format!("the machine is only in part what the site file says of {}", slot.name),
                    evidence: vec![explain(slot, marks)],
                });
            }
            Fit::Part | Fit::Not | Fit::Silent => {}
        }
    }
    for Seen { sighting, port } in seen {
        let Some(port) = port else { continue };
        let found = slots.at(port);
        let mut found =
            found.iter().filter_map(|(index, written)| Some((*index, slots.all().get(*index)?, *written)));
        let Some((index, slot, written)) = found.next() else { continue };
        if let Some((_, other, _)) = found.next() {
            return Err(Decision::Refused {
                reason: format!(
                    "the port belongs to both {} and {}; write each port of the switch once",
                    slot.name, other.name
                ),
                evidence: vec![line(sighting, now)],
            });
        }
        if fit(slot, marks) == Fit::Not {
            return Err(Decision::Refused {
                reason: format!(
                    "the machine is in the port of {} but is not the machine that the site file names there",
                    slot.name
                ),
                evidence: vec![line(sighting, now), explain(slot, marks)],
            });
        }
        votes.entry(index).or_default().push(Vote {
            port: Some(written.clone()),
            attested: sighting.attestor != Attestor::Machine && is_about(sighting, asked),
            evidence: line(sighting, now),
        });
    }
    Ok(votes)
}

/// Whether the interface on the port is one of those asked about.
fn is_about(sighting: &Sighting, asked: &Marks) -> bool {
    match sighting.nic {
        Some(nic) => asked.macs.contains(&nic),
        None => !asked.macs.is_disjoint(&sighting.machine.macs),
    }
}

/// The other machines that the slot could be, each with its evidence.
fn rivals(slots: &Slots, slot: &Slot, sightings: &Sightings, ours: &Cluster, now: u64) -> Vec<String> {
    let mut ids = sightings.ids_of(&slot.macs, slot.uuid, slot.serial.as_deref(), now);
    for port in &slot.ports {
        let there = sightings.ids_on_port(slots, port, now).into_iter();
        ids.extend(there.filter(|id| sightings.get(*id).is_some_and(|seen| place(slots, seen).is_some())));
    }
    let mut known: BTreeSet<u64> = ours.ids.clone();
    let mut rivals = Vec::new();
    for id in ids {
        let Some(sighting) = sightings.get(id).filter(|_| known.insert(id)) else { continue };
        let other = sightings.cluster(&sighting.machine, Some(now), slots.ignored());
        let macs = &other.marks.macs;
        let no_machine = !macs.is_empty() && macs.iter().all(|mac| slots.ignored().has(*mac));
        if no_machine || is_one_by_the_operator(slot, ours, &other) {
            continue;
        }
        known.extend(&other.ids);
        if rivals.len() == RIVALS {
            rivals.push("and more: there is a switch behind that port".to_owned());
            break;
        }
        rivals.push(format!("another machine, {}: {}", other.marks, line(sighting, now)));
    }
    rivals
}

/// The operator listed addresses of both under one slot, and nothing shows that they are two machines.
fn is_one_by_the_operator(slot: &Slot, ours: &Cluster, other: &Cluster) -> bool {
    let is_listed = |marks: &Marks| !marks.macs.is_disjoint(&slot.macs);
    let differ = ours.uuids.union(&other.uuids).count() > 1;
    is_listed(&ours.marks) && is_listed(&other.marks) && !differ
}

/// Why nothing is known, and what a person can do.
fn unknown(slots: &Slots, sightings: &Sightings, marks: &Marks, seen: &[Seen<'_>], now: u64) -> String {
    for slot in slots.marked(marks).into_iter().filter_map(|index| slots.all().get(index)) {
        if fit(slot, marks) == Fit::Part {
            return format!(
                "not all that the site file says of {} can be compared: {}; a machine tells it when it boots from \
                 the network",
                slot.name,
                explain(slot, marks)
            );
        }
    }
    let ports: BTreeSet<String> = seen.iter().filter_map(|seen| seen.port).map(Port::to_string).collect();
    if !ports.is_empty() {
        let ports: Vec<String> = ports.into_iter().collect();
        return format!(
            "the machine is on {}, which the site file gives to no node; add it under machines, as \
             NAME: {{ port: SWITCH/PORT }}",
            ports.join(" and ")
        );
    }
    let old = sightings.about(marks).into_iter().find_map(|sighting| {
        sighting.port.as_ref().filter(|_| !sighting.holds(now)).map(|port| (sighting, port))
    });
    if let Some((sighting, port)) = old {
        return format!(
            "the machine was last seen on {port} {} ago, which is too old to count; restart it so that it is seen anew",
            age(sighting.at, now)
        );
    }
    if seen.is_empty() {
        return format!(
            "nothing has been seen of {marks} and the site file does not name it; check that it boots from the network"
        );
    }
    format!(
        "no source has told the switch port of {marks}, and the site file does not name its MAC address, UUID or \
         serial number; turn LLDP on at the switch, or add it under machines, as NAME: {{ mac: MAC }}"
    )
}

/// One sighting as a line for people.
pub(crate) fn line(sighting: &Sighting, now: u64) -> String {
    let place = sighting.port.as_ref().map_or_else(|| "no port told".to_owned(), |port| format!("on {port}"));
    let who = sighting.nic.map_or_else(|| sighting.machine.to_string(), |nic| nic.to_string());
    let mut text =
        format!("{}: {who} {place}, {} ago ({})", sighting.source, age(sighting.at, now), sighting.attestor);
    if !sighting.raw.is_empty() {
        text.push_str(&format!(", heard {}", sighting.raw));
    }
    text
}

fn age(at: u64, now: u64) -> String {
    let seconds = now.saturating_sub(at) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
