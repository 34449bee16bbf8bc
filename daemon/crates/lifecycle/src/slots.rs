//! All slots, and what finds one among many: who is due, who holds what, who is where.
//!
//! A slot is changed through [`Slots::get_mut`] alone, which marks it; what it is found by is filed anew with
//! [`Slots::file`]. So the work of an event is that of the slots that it touches, however large the site is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hardware::{MacAddr, SystemUuid};

use crate::{
    ClusterPlan, Machine, NodeName, NodePlan, NodeState, Permit, Role, Time, slot::Slot,
    states::identified::Candidate,
};

/// What a slot is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// its machine is to be looked at then
    Look(Time),
    /// its state lasts too long from then on
    Limit(Time),
    /// the machine at its door has gone if it does not ask before
    Gone(Time),
    /// its machine is to be switched then
    Power(Time),
    /// its permit ends then
    PermitEnds(Time),
    /// its machine has this card
    Mac(MacAddr),
    /// its machine has this UUID
    Uuid(SystemUuid),
    /// its machine was last seen there
    Address(IpAddr),
    /// a person gave it to a machine
    Approved,
    /// of the site: it has no machine
    Vacant,
    /// of the site: its machine does not answer
    Silent,
    /// of the site: its machine had a config that this store did not give it
    Adopted,
}

/// No name comes before it.
const FIRST: NodeName = NodeName(String::new());

/// The slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    all: BTreeMap<NodeName, Slot>,
    /// those of the site; others keep their records
    planned: BTreeSet<NodeName>,
    control_planes: Vec<NodeName>,
    file: BTreeSet<(Key, NodeName)>,
    filed: BTreeMap<NodeName, Vec<Key>>,
    /// may have changed since they were filed
    touched: BTreeSet<NodeName>,
    /// may have changed since the last picture
    unseen: BTreeSet<NodeName>,
}

impl Slots {
    pub(crate) fn get(&self, name: &NodeName) -> Option<&Slot> {
        self.all.get(name)
    }

    /// To change it.
    pub(crate) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Slot> {
        let slot = self.all.get_mut(name)?;
        if !self.touched.contains(name) {
            self.touched.insert(name.clone());
        }
        Some(slot)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeName, &Slot)> + Clone {
        self.all.iter()
    }

    /// All names, of slots that left the site as well.
    pub(crate) fn names(&self) -> Vec<NodeName> {
        self.all.keys().cloned().collect()
    }

    pub(crate) fn insert(&mut self, name: NodeName, slot: Slot) {
        self.touched.insert(name.clone());
        self.all.insert(name, slot);
    }

    /// Every node of the site has a slot. Slots that left the site keep their records: a machine that was once claimed is
    /// not forgotten because a line was deleted.
    pub(crate) fn open(&mut self, plan: &ClusterPlan) {
        for name in plan.nodes.keys() {
            self.all.entry(name.clone()).or_insert_with(|| Slot::new(NodeState::Vacant { permit: None }));
        }
        self.planned = plan.nodes.keys().cloned().collect();
        for (name, slot) in &mut self.all {
            slot.power.switch = plan.nodes.get(name).and_then(|node| node.power);
        }
        let is_control_plane = |(_, node): &(_, &NodePlan)| node.role == Role::ControlPlane;
        self.control_planes =
            plan.nodes.iter().filter(is_control_plane).map(|(name, _)| name.clone()).collect();
        self.touched = self.all.keys().cloned().collect();
    }

    pub(crate) fn is_planned(&self, name: &NodeName) -> bool {
        self.planned.contains(name)
    }

    /// The site's control planes, in order.
    pub(crate) fn control_planes(&self) -> impl Iterator<Item = &NodeName> {
        self.control_planes.iter()
    }

    /// Files anew what has changed.
    pub(crate) fn file(&mut self) {
        for name in std::mem::take(&mut self.touched) {
            let keys = self.all.get(&name).map(|slot| keys(slot, self.planned.contains(&name)));
            let keys = keys.unwrap_or_default();
            let before = self.filed.insert(name.clone(), keys.clone()).unwrap_or_default();
            for key in before.iter().filter(|key| !keys.contains(key)) {
                self.file.remove(&(*key, name.clone()));
            }
            for key in keys.into_iter().filter(|key| !before.contains(key)) {
                self.file.insert((key, name.clone()));
            }
            self.unseen.insert(name);
        }
    }

    /// Whose time has come, in order. `at` is the kind of time.
    pub(crate) fn due(&mut self, at: fn(Time) -> Key, now: Time) -> BTreeSet<NodeName> {
        self.file();
        let all = self.file.range((at(Time(0)), FIRST)..);
        all.take_while(|(key, _)| *key <= at(now)).map(|(_, name)| name.clone()).collect()
    }

    /// When the next time of this kind comes.
    pub(crate) fn next(&self, at: fn(Time) -> Key) -> Option<Time> {
        let (first, _) = self.file.range((at(Time(0)), FIRST)..).next()?;
        match *first {
            key @ (Key::Look(time)
            | Key::Limit(time)
            | Key::Gone(time)
            | Key::Power(time)
            | Key::PermitEnds(time)) => (key == at(time)).then_some(time),
            _ => None,
        }
    }

    /// Those of which this is so; who was touched since it was filed comes last.
    pub(crate) fn all_that_are(&self, key: Key) -> impl Iterator<Item = &NodeName> {
        let is_so = move |name: &&NodeName| {
            self.get(name).is_some_and(|slot| keys(slot, self.planned.contains(name)).contains(&key))
        };
        let filed = self.file.range((key, FIRST)..);
        let filed = filed.take_while(move |(found, _)| *found == key).map(|(_, name)| name);
        filed.filter(|name| !self.touched.contains(name)).chain(self.touched.iter().filter(is_so))
    }

    /// The slot that this machine holds.
    pub(crate) fn held_by(&self, machine: &Machine) -> Option<&NodeName> {
        let uuid = machine.uuid.filter(|uuid| uuid.is_distinctive()).map(Key::Uuid);
        let keys = machine.macs.iter().copied().map(Key::Mac).chain(uuid);
        keys.flat_map(|key| self.all_that_are(key)).min()
    }

    /// Those that may have changed since this was asked last, or whose permits ended between the two times.
    pub(crate) fn unseen(&mut self, before: Time, now: Time) -> BTreeSet<NodeName> {
        self.file();
        if now < before {
            self.unseen = self.all.keys().cloned().collect();
        }
        let ended = self.file.range((Key::PermitEnds(before), FIRST)..);
        let ended = ended.take_while(|(key, _)| *key <= Key::PermitEnds(now)).map(|(_, name)| name.clone());
        self.unseen.extend(ended);
        std::mem::take(&mut self.unseen)
    }

    /// Whether everything is filed as it is.
    pub(crate) fn is_filed(&self) -> bool {
        let all = self.all.iter().flat_map(|(name, slot)| {
            keys(slot, self.planned.contains(name)).into_iter().map(move |key| (key, name.clone()))
        });
        self.touched.is_empty() && all.collect::<BTreeSet<_>>() == self.file
    }
}

/// What a slot is found by.
fn keys(slot: &Slot, is_planned: bool) -> Vec<Key> {
    let claim = slot.state.claim();
    let (mut keys, machine) = (Vec::new(), claim.map(|claim| &claim.machine));
    keys.extend(machine.iter().flat_map(|machine| machine.macs.iter().copied()).map(Key::Mac));
    keys.extend(machine.and_then(|machine| machine.uuid).map(Key::Uuid));
    keys.extend(slot.address.map(Key::Address));
    keys.extend(slot.candidate.as_ref().map(Candidate::gone).map(Key::Gone));
    keys.extend(slot.state.permit().map(|Permit { expires, .. }| Key::PermitEnds(*expires)));
    keys.extend(slot.approved.is_some().then_some(Key::Approved));
    if is_planned {
        keys.extend((claim.is_some() && slot.in_flight.is_none()).then_some(Key::Look(slot.next_look)));
        keys.extend(slot.limit().filter(|_| !slot.late).map(|(passes, _)| Key::Limit(passes)));
        keys.extend(slot.power_due().map(Key::Power));
        keys.extend(claim.is_none().then_some(Key::Vacant));
        keys.extend(slot.silent.is_some().then_some(Key::Silent));
        keys.extend(slot.is_adopted().then_some(Key::Adopted));
    }
    keys
}
