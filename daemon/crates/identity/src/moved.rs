//! Machines that hold a slot and are seen where the site file names nobody: a cable that was moved, or a switch that has another
//! name now or was replaced.
//!
//! The reconciler asks about machines that hold slots. Nothing but words follows from it: a cable does not change what a machine
//! is, and what its port is called in the site file a person changes.

use std::collections::{BTreeMap, BTreeSet};

use hardware::SwitchPort;

use crate::{Decision, Marks, Port, PortName, Sighting, Sightings, Slots, decide, decide::considered};

/// Fewer machines in the ports of another switch are cables that were moved.
const SEVERAL: usize = 2;

/// How many ports are listed; a switch may have hundreds.
const LISTED: usize = 4;

/// Where the machine of a slot is, as the evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// in a port of its slot
    Here,
    /// not in that one, and in one that is nobody's
    Elsewhere(Displaced),
    /// nothing tells, or it is in another slot's port, which is a wrong cable
    Untold,
}

/// A machine that is seen where the site file names nobody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Displaced {
    /// the slot it holds
    pub slot: String,
    /// the slot's port where it is not seen
    pub from: SwitchPort,
    /// where it is seen, as the operator would write it
    pub to: SwitchPort,
}

/// What follows from machines that are seen elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// one machine, in another port
    Cable(Displaced),
    /// all that is seen of a switch, on one that the site file does not know
    Switch {
        /// as the site file calls it
        old: String,
        /// as it calls itself
        new: String,
        /// who was seen there, in the order of the slots' names
        machines: Vec<Displaced>,
        /// each in a port of the same name
        same_ports: bool,
        /// slots with a port on it whose machine was not seen since
        others: Vec<String>,
    },
}

/// Where the machine of a slot is now: `machine` is what the holder is known by.
pub fn whereabouts(
    slots: &Slots,
    sightings: &Sightings,
    slot: &str,
    machine: &Marks,
    now: u64,
) -> Whereabouts {
    let Some(slot) = slots.slot(slot) else { return Whereabouts::Untold };
    match decide(slots, sightings, machine, now) {
        Decision::Refused { .. } => return Whereabouts::Untold,
        Decision::Identified { slot: other, .. } if other != slot.name => return Whereabouts::Untold,
        Decision::Identified { .. } | Decision::Unknown { .. } => {}
    }
    let cluster = sightings.cluster(machine, Some(now), slots.ignored());
    let all = sightings.sightings(&cluster.ids);
    let mut here = BTreeSet::new();
    let mut strange: Vec<(&Sighting, SwitchPort)> = Vec::new();
    for seen in considered(slots, &all) {
        let Some(port) = seen.port else { continue };
        let found = slots.at(port);
        let own = found.iter().find(|(index, _)| slots.all().get(*index).is_some_and(|it| it == slot));
        match (own, found.is_empty(), slots.written(port)) {
            (Some((_, written)), ..) => drop(here.insert((*written).clone())),
            (None, true, Some(written)) => strange.push((seen.sighting, written)),
            (None, true, None) => {}
            (None, false, _) => return Whereabouts::Untold,
        }
    }
    let is_alone = |port: &SwitchPort| {
        let there = sightings.ids_on_port(slots, port, now);
        there
            .difference(&cluster.ids)
            .all(|id| sightings.get(*id).is_none_or(|other| is_nobody(slots, other)))
    };
    // behind a port with several machines is another switch: the way there, and not the place
    strange.retain(|(_, port)| is_alone(port));
    strange.sort_by_key(|(sighting, _)| std::cmp::Reverse(sighting.at));
    let missing: Vec<&SwitchPort> = slot.ports.iter().filter(|port| !here.contains(*port)).collect();
    let of_one_name = missing.iter().find_map(|from| {
        let to = strange.iter().find(|(_, to)| is_same_name(from, to));
        to.map(|(_, to)| (*from, to))
    });
    let of_one_port = match (missing.as_slice(), strange.first()) {
        ([from], Some((_, to))) => Some((*from, to)),
        _ => None,
    };
    match of_one_name.or(of_one_port) {
        Some((from, to)) => {
            Whereabouts::Elsewhere(Displaced { slot: slot.name.clone(), from: from.clone(), to: to.clone() })
        }
        None if here.is_empty() => Whereabouts::Untold,
        None => Whereabouts::Here,
    }
}

/// What happened, by all machines that are seen elsewhere.
///
/// A switch has another name, or was replaced, where several machines went from it to one that the site file does not know, each
/// to a port of its own, and nobody at all is seen on the old one any more. Everything else is a cable.
pub fn changes(slots: &Slots, sightings: &Sightings, displaced: &[Displaced], now: u64) -> Vec<Change> {
    let mut groups: BTreeMap<(&str, &str), BTreeSet<&Displaced>> = BTreeMap::new();
    for one in displaced {
        groups.entry((&one.from.switch, &one.to.switch)).or_default().insert(one);
    }
    let mut changes = Vec::new();
    for ((old, new), group) in groups {
        let froms: BTreeSet<&SwitchPort> = group.iter().map(|one| &one.from).collect();
        let tos: BTreeSet<&SwitchPort> = group.iter().map(|one| &one.to).collect();
        let one_to_one = froms.len() == group.len() && tos.len() == group.len();
        let is_switch = group.len() >= SEVERAL
            && one_to_one
            && !slots.knows_switch(new)
            && !sightings.held(now).any(|seen| is_on(slots, seen, old));
        let machines: Vec<Displaced> = group.into_iter().cloned().collect();
        if !is_switch {
            changes.extend(machines.into_iter().map(Change::Cable));
            continue;
        }
        let is_among = |name: &str| machines.iter().any(|one| one.slot == name);
        let others = slots.all().iter().filter(|slot| slot.ports.iter().any(|port| port.switch == old));
        let others = others.map(|slot| slot.name.clone()).filter(|name| !is_among(name)).collect();
        let same_ports = machines.iter().all(|one| is_same_name(&one.from, &one.to));
        let (old, new) = (old.to_owned(), new.to_owned());
        changes.push(Change::Switch { old, new, machines, same_ports, others });
    }
    changes
}

impl Change {
    /// The slots whose machines it is about.
    pub fn slots(&self) -> impl Iterator<Item = &str> {
        let machines = match self {
            Self::Cable(one) => std::slice::from_ref(one),
            Self::Switch { machines, .. } => machines,
        };
        machines.iter().map(|one| one.slot.as_str())
    }

    /// For people: what it is, and the commands that accept it for the site in this folder.
    pub fn in_words(&self, site: &str) -> String {
        let Self::Switch { old, machines, same_ports, others, .. } = self else { return self.briefly(site) };
        let seen = match same_ports {
            true => listed(machines.iter().map(|one| one.slot.clone())),
            false => listed(
                machines.iter().map(|one| format!("{} ({} → {})", one.slot, one.from.port, one.to.port)),
            ),
        };
        let missing = match others.as_slice() {
            [] => String::new(),
            _ if *same_ports => String::new(),
            others => format!(
                ". Not seen since: {}, whose ports stay as they are until then",
                listed(others.iter().cloned())
            ),
        };
        format!("{}. Seen there: {seen}; and nobody on {old}{missing}", self.briefly(site))
    }

    /// The same for one of its machines.
    pub fn of_slot(&self, slot: &str, site: &str) -> Option<String> {
        match self {
            Self::Cable(one) => (one.slot == slot).then(|| self.briefly(site)),
            Self::Switch { machines, .. } => {
                let one = machines.iter().find(|one| one.slot == slot)?;
                Some(format!("{}: {}", one.in_words(), self.briefly(site)))
            }
        }
    }

    fn briefly(&self, site: &str) -> String {
        match self {
            Self::Cable(one) => format!(
                "{}: plug it back, or `ichord ports --write {site}` and `ichord reload` accept that",
                one.in_words()
            ),
            Self::Switch { old, new, same_ports: true, .. } => format!(
                "{old} is called {new} now, or was replaced by it: `ichord ports --rename-switch {old}={new} {site}` and \
                 `ichord reload` accept that"
            ),
            Self::Switch { old, new, .. } => format!(
                "{old} was replaced by {new}, whose ports have other names: `ichord ports --write {site}` and `ichord reload` \
                 accept that"
            ),
        }
    }
}

impl Displaced {
    fn in_words(&self) -> String {
        let Self { slot, from, to } = self;
        format!("the machine of {slot} is seen on {to}, which the site gives to nobody, and not on {from}")
    }
}

fn is_same_name(one: &SwitchPort, other: &SwitchPort) -> bool {
    PortName::normal(&one.port) == PortName::normal(&other.port)
}

/// Whether somebody is seen on the switch that the site file calls so.
fn is_on(slots: &Slots, seen: &Sighting, switch: &str) -> bool {
    !is_nobody(slots, seen) && seen.port.as_ref().is_some_and(|port: &Port| slots.is_on(port, switch))
}

/// Addresses that are no machine's.
fn is_nobody(slots: &Slots, seen: &Sighting) -> bool {
    let macs = &seen.machine.macs;
    !macs.is_empty() && macs.iter().all(|mac| slots.ignored().has(*mac))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    let more = all.len().saturating_sub(LISTED);
    let shown = all.get(..LISTED.min(all.len())).unwrap_or_default().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
