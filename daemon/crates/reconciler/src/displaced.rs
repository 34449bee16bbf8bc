//! Holders of slots that are seen where the site file names nobody, as they are remembered: what a machine says when it boots ends
//! after a while, and a person may come later.
//!
//! Owned by [`crate::sightings::Evidence`]; in memory only.

use std::collections::{BTreeMap, BTreeSet};

use hardware::SwitchPort;
use identity::{Change, Displaced, Marks, Sightings, Slots, Whereabouts, changes, whereabouts};
use lifecycle::{Core, Event, NodeName, NodeState, Time};

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Displacements {
    /// by slot, with the holder that it was seen of and the moment when it was seen first
    seen: BTreeMap<String, (Displaced, Marks, Time)>,
    /// what was said of each slot last
    said: BTreeMap<String, String>,
}

/// Something of which people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// what it is, and the commands that accept it
    pub what: String,
    /// a switch, not a cable
    pub switch: bool,
    /// in milliseconds since the Unix epoch
    pub since: u64,
}

impl Displacements {
    /// The evidence about the holder of a slot may be another one now.
    pub(crate) fn look(
        &mut self,
        slots: &Slots,
        sightings: &Sightings,
        held: &NodeName,
        marks: &Marks,
        now: Time,
    ) {
        match whereabouts(slots, sightings, &held.0, marks, now.0) {
            Whereabouts::Elsewhere(displaced) => {
                let known = self.seen.get(&held.0).filter(|(known, ..)| *known == displaced);
                let since = known.map_or(now, |(.., since)| *since);
                self.seen.insert(held.0.clone(), (displaced, marks.clone(), since));
            }
            Whereabouts::Here => drop(self.seen.remove(&held.0)),
            // a wrong cable is told as that; and evidence ends without being wrong
            Whereabouts::Untold => {}
        }
    }

    /// The site calls its ports otherwise: what it speaks of now is no news.
    pub(crate) fn follow(&mut self, slots: &Slots, sightings: &Sightings, now: Time) {
        let seen = std::mem::take(&mut self.seen);
        for (name, (displaced, marks, since)) in seen {
            let Some(slot) = slots.slot(&name) else { continue };
            if slot.ports.contains(&displaced.from) && !slot.ports.contains(&displaced.to) {
                self.seen.insert(name.clone(), (displaced, marks.clone(), since));
            }
            self.look(slots, sightings, &NodeName(name), &marks, now);
        }
    }

    /// What there is to be said of slots, and was not yet.
    pub(crate) fn news(
        &mut self,
        slots: &Slots,
        sightings: &Sightings,
        core: &Core,
        site: &str,
        now: Time,
    ) -> Vec<Event> {
        if self.seen.is_empty() && self.said.is_empty() {
            return Vec::new();
        }
        let holds = |name: &str, marks: &Marks| {
            let claim = core.node(&NodeName(name.to_owned())).and_then(NodeState::claim);
            claim.is_some_and(|claim| !claim.machine.macs.is_disjoint(&marks.macs))
        };
        self.seen.retain(|name, (_, marks, _)| holds(name, marks));
        let mut words = BTreeMap::new();
        for change in self.changes(slots, sightings, now) {
            for slot in change.slots() {
                words.extend(change.of_slot(slot, site).map(|told| (slot.to_owned(), told)));
            }
        }
        let about: BTreeSet<&String> = words.keys().chain(self.said.keys()).collect();
        let is_news = |name: &&&String| words.get(**name) != self.said.get(**name);
        let event =
            |name: &String| Event::Displaced { node: NodeName(name.clone()), told: words.get(name).cloned() };
        let news = about.iter().filter(is_news).map(|name| event(name)).collect();
        self.said = words;
        news
    }

    /// For people, each thing once.
    pub(crate) fn told(&self, slots: &Slots, sightings: &Sightings, site: &str, now: Time) -> Vec<Told> {
        let since = |change: &Change| {
            let seen = change.slots().filter_map(|slot| self.seen.get(slot));
            seen.map(|(.., since)| since.0).min().unwrap_or(now.0)
        };
        let told = |change: Change| Told {
            what: change.in_words(site),
            switch: matches!(change, Change::Switch { .. }),
            since: since(&change),
        };
        self.changes(slots, sightings, now).into_iter().map(told).collect()
    }

    /// Where each was seen that is in none of its slot's ports.
    pub(crate) fn places(&self) -> BTreeMap<String, SwitchPort> {
        self.seen.iter().map(|(name, (displaced, ..))| (name.clone(), displaced.to.clone())).collect()
    }

    /// Nothing is published that was said before, as after a start.
    pub(crate) fn say_again(&mut self) {
        self.said.clear();
    }

    fn changes(&self, slots: &Slots, sightings: &Sightings, now: Time) -> Vec<Change> {
        let displaced: Vec<Displaced> = self.seen.values().map(|(displaced, ..)| displaced.clone()).collect();
        changes(slots, sightings, &displaced, now.0)
    }
}
