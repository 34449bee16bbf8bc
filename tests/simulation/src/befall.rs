//! Mishaps, as they come about.

use lifecycle::{Event, Guards, NodeName, Order, Records};
use machine::model::{BootOrder, Storage};

use crate::{
    config::{foreign_config, machine_config},
    invariants::Violation,
    run::{Due, Simulation},
    scenario::Mishap,
    site::VIRTUAL_ADDRESS,
    world::World,
};

/// An hour, in milliseconds.
const HOUR: u64 = 60 * 60_000;

/// How late a machine is that is late.
const LATE: u64 = 10 * 60_000;

/// How long the disk stays full.
const FULL: u64 = 20_000;

impl<G: Guards> Simulation<G> {
    /// What is so from the beginning, and what comes later.
    pub(crate) fn prepare(&mut self) {
        self.prepare_power();
        for mishap in self.scenario.mishaps.clone() {
            let at = self.random.between(500, 60_000);
            match mishap {
                Mishap::StrangerInPlace { slot } => {
                    let node = self.name(slot);
                    if let Some(config) = self.world.config_of(&node) {
                        let storage = World::installed(config, None);
                        self.world.rack_up("a-stranger", 90, storage, BootOrder::DiskFirst);
                        let at = self.random.between(0, 8_000);
                        self.later(at, Due::PowerOn { label: "a-stranger".into() });
                    }
                }
                Mishap::TakenVirtualAddress => {
                    let address = std::net::IpAddr::from([10, 77, 0, 80]);
                    let config = foreign_config(Some(address), VIRTUAL_ADDRESS);
                    let storage = World::installed(config, Some(("foreign", address)));
                    self.world.rack_up("a-foreigner", 91, storage, BootOrder::DiskFirst);
                    self.later(0, Due::PowerOn { label: "a-foreigner".into() });
                }
                Mishap::ForeignState { slot } => {
                    let config = foreign_config(None, std::net::IpAddr::from([10, 77, 0, 9]));
                    self.give_disk(slot, World::installed(config, None));
                }
                Mishap::OldConfig { slot } => {
                    let config = self.world.config_of(&self.name(slot)).unwrap_or_default();
                    self.give_disk(slot, World::installed(config, None));
                }
                Mishap::OldData { slot } => {
                    let node = self.name(slot);
                    let config = self.world.config_of(&node).unwrap_or_default();
                    let address = self.plan.nodes.get(&node).map(|node| node.address);
                    let member = address.map(|address| (node.0.as_str(), address));
                    self.give_disk(slot, World::installed(config, member));
                }
                Mishap::UsedDisk { slot } => {
                    let label = self.label(slot);
                    self.world.used.insert(label);
                }
                Mishap::TwoDisks { slot } => {
                    let label = self.label(slot);
                    self.world.two_disks.insert(label);
                }
                Mishap::MissingLink { slot } => {
                    let label = self.label(slot);
                    self.world.one_link.insert(label);
                }
                Mishap::NoWitness { slot } => {
                    let label = self.label(slot);
                    self.world.unwitnessed.insert(label);
                }
                Mishap::RogueMember => {
                    let address = std::net::IpAddr::from([10, 77, 0, 81]);
                    let config = machine_config(
                        "old-9",
                        lifecycle::Role::ControlPlane,
                        Some(address),
                        VIRTUAL_ADDRESS,
                    );
                    let storage = World::installed(config, None);
                    self.world.rack_up("z-rogue", 92, storage, BootOrder::DiskFirst);
                    let at = self.random.between(0, 4_000);
                    self.later(at, Due::PowerOn { label: "z-rogue".into() });
                }
                Mishap::NeverComes { .. } | Mishap::Late { .. } | Mishap::Hangs { .. } => {}
                Mishap::EndlessDrain => self.world.endless_drain = true,
                Mishap::Dies { .. }
                | Mishap::OldDisk { .. }
                | Mishap::Reprovision { .. }
                | Mishap::Reset { .. }
                | Mishap::Grows { .. }
                | Mishap::Shrinks { .. } => {
                    self.outstanding += 1;
                    self.later(at, Due::Befall(mishap));
                }
                Mishap::MovedCable { .. } => {
                    let at = self.random.between(1_000, 30_000);
                    self.later(at, Due::Befall(mishap));
                }
                Mishap::Forgets { .. } => {
                    self.outstanding += 1;
                    let earlier = self.random.between(500, 240_000);
                    self.later(earlier, Due::Backup);
                    let after = self.random.between(500, 240_000);
                    self.later(earlier + after, Due::Befall(mishap));
                }
                Mishap::OldStore => {
                    let earlier = self.random.between(500, 20_000);
                    self.later(earlier, Due::Backup);
                    self.later(earlier + at, Due::Befall(mishap));
                }
                Mishap::Intruder { .. }
                | Mishap::SilentHour { .. }
                | Mishap::EmptyStore
                | Mishap::ClockJump { .. }
                | Mishap::FullDisk
                | Mishap::Replaced { .. } => self.later(at, Due::Befall(mishap)),
            }
        }
        for index in 0..self.names.len() {
            let at = self.random.between(0, 1000);
            let late = self.scenario.has(|mishap| *mishap == Mishap::Late { slot: index });
            let absent = [Mishap::NeverComes { slot: index }, Mishap::Grows { slot: index }];
            if !self.scenario.has(|mishap| absent.contains(mishap)) {
                let label = self.label(index);
                self.later(if late { LATE + at } else { at }, Due::PowerOn { label });
            }
        }
    }

    fn give_disk(&mut self, slot: usize, storage: Storage) {
        let label = self.label(slot);
        let number = u8::try_from(slot + 1).unwrap_or(u8::MAX);
        self.world.rack_up(&label, number, storage, BootOrder::NetworkFirst);
    }

    pub(crate) fn befall(&mut self, mishap: Mishap) -> Result<(), Violation> {
        self.tell(|| format!("befalls {mishap:?}"));
        match mishap {
            Mishap::MovedCable { slot, to } => {
                let (label, node) = (self.label(slot), self.name(to));
                let claim = self.core.node(&self.name(slot)).and_then(lifecycle::NodeState::claim);
                if claim.is_some() {
                    self.recable(&label, node);
                } else if self.now < 60_000 {
                    self.later(500, Due::Befall(mishap));
                }
            }
            Mishap::Intruder { slot } => {
                self.world.rack_up("z-intruder", 93, Storage::default(), BootOrder::NetworkFirst);
                let node = self.name(slot);
                if let Some(label) = self.world.boxed(&node) {
                    // its cable was pulled for the intruder's, until somebody puts it back
                    self.world.power_off(&label, self.now);
                    self.world.cabling.remove(&label);
                }
                self.world.cabling.insert("z-intruder".into(), node);
                self.later(0, Due::PowerOn { label: "z-intruder".into() });
            }
            Mishap::SilentHour { slot } => {
                let label = self.label(slot);
                self.world.rack.unplugged.insert(label.clone());
                self.later(HOUR, Due::PlugIn { label });
            }
            Mishap::OldStore => {
                if let Some(backup) = self.backup.clone() {
                    self.lose_store(Records { is_older: true, ..backup });
                    return self.crash();
                }
            }
            Mishap::EmptyStore => {
                // what remembers more than the store may have been lost with it
                let is_older = self.random.one_in(2);
                self.lose_store(Records { is_older, ..Records::default() });
                return self.crash();
            }
            Mishap::ClockJump { by } => {
                // a timer that was set before goes off when it was to go off
                let (life, set) =
                    (self.life, self.core.next_deadline().map(|deadline| self.moment(deadline)));
                self.clock += by * 1000;
                if let Some(at) = set {
                    let delay = at.saturating_sub(self.now);
                    self.later(delay, Due::Hear { life, event: Box::new(Event::Tick) });
                }
            }
            Mishap::FullDisk => self.full_until = self.now + FULL,
            Mishap::Replaced { slot } => return self.replace(slot),
            Mishap::Forgets { old } => {
                self.outstanding -= 1;
                let backup = self.backup.clone().filter(|_| old);
                let is_older = backup.is_some() || self.random.one_in(2);
                self.lose_store(Records { is_older, ..backup.unwrap_or_default() });
                return self.crash();
            }
            mishap if mishap.is_of_day_two() => return self.second_day(mishap),
            _ => {}
        }
        Ok(())
    }

    fn lose_store(&mut self, records: Records) {
        self.ledger.granted.clear();
        // where nothing remembers that it is older, the site permits again
        if !records.is_older && self.scenario.policy == lifecycle::DeployPolicy::Auto {
            self.ledger.granted.extend(self.names.iter().cloned());
        }
        let names: Vec<NodeName> = self.plan.nodes.keys().cloned().collect();
        names.iter().for_each(|name| self.ledger.emptied(name));
        let told = self.world.rack.machines.values();
        let told = told.map(|m| (m.hardware().serial.clone(), m.counters().configs_applied));
        self.ledger.lost_store(records.is_older, told.collect());
        self.arrived.clear();
        self.set_records(records);
    }

    /// A cable goes into another slot's port, and the switch tells.
    pub(crate) fn recable(&mut self, label: &str, node: NodeName) {
        self.world.cabling.insert(label.to_owned(), node);
        self.proves(label);
        if let Some(event) = self.world.sighted(label) {
            let life = self.life;
            self.later(10, Due::Hear { life, event: Box::new(event) });
        }
        // somebody who moves cables switches machines off and on
        self.world.power_off(label, self.now);
        self.later(2_000, Due::PowerOn { label: label.to_owned() });
    }

    /// A machine breaks after it got its config, and another takes its place before there is a cluster.
    fn replace(&mut self, slot: usize) -> Result<(), Violation> {
        let node = self.name(slot);
        let is_configured = self.core.node(&node).is_some_and(lifecycle::NodeState::is_configured);
        let assembling = matches!(self.core.cluster(), lifecycle::Cluster::Assembling { .. });
        let is_broken = self.broken.contains(&slot);
        let Some(old) = self.world.boxed(&node).filter(|_| is_broken || is_configured && assembling) else {
            if assembling && self.now < 9 * 60_000 {
                self.later(1_000, Due::Befall(Mishap::Replaced { slot }));
            }
            return Ok(());
        };
        self.broken.insert(slot);
        // broken is broken: it is taken out when it was seen not to answer
        self.world.power_off(&old, self.now);
        let order = Order::Release { node: node.clone() };
        if self.core.weigh(&order).is_err() {
            // the cluster was to be founded there meanwhile, or counts on it: no other can take its place, so it is mended
            let founder = |cluster: &lifecycle::Cluster| matches!(cluster, lifecycle::Cluster::Bootstrapping(intent) if intent.node == node);
            if founder(self.core.cluster()) || self.now > 10 * 60_000 {
                self.later(1_000, Due::PowerOn { label: old });
            } else {
                self.later(1_000, Due::Befall(Mishap::Replaced { slot }));
            }
            return Ok(());
        }
        self.ledger.emptied(&node);
        self.hear(Event::Ordered { order, by: "a person".into() })?;
        if !matches!(self.core.node(&node), Some(lifecycle::NodeState::Vacant { .. })) {
            // the daemon died over it, or its disk is full: a person says it again
            self.later(1_000, Due::Befall(Mishap::Replaced { slot }));
            return Ok(());
        }
        self.world.cabling.remove(&old);
        self.world.rack_up("box-new", 94, Storage::default(), BootOrder::NetworkFirst);
        self.world.cabling.insert("box-new".into(), node.clone());
        self.ledger.granted.remove(&node);
        self.arrived.remove(&old);
        self.later(1_000, Due::PowerOn { label: "box-new".into() });
        Ok(())
    }
}
