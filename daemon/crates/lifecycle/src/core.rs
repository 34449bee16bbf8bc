//! The world as one value, and the step that moves it.
//!
//! Durable parts (`Cluster`, `NodeState`) are written out whole whenever they change; everything else
//! here is forgotten in a crash and observed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Cluster, ClusterPlan, Effect, EtcdObservation, Event, Guard, Guards, Intent, Machine, NodeName,
    NodeState, Note, Output, Permit, Stage, State, Strict, Ticket, Time, View, Write,
    ids::Ids,
    states::{identified::Candidate, retired::Retirement},
};

/// The version of the records' shape.
const VERSION: u32 = 1;

/// The records of the store, as they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// under the key `cluster`
    pub cluster: Option<Value>,
    /// under the keys `node/NAME`
    pub nodes: BTreeMap<NodeName, Value>,
    /// under the key `retired`
    pub retired: Option<Value>,
    /// the store is older than what was done since: a backup that was brought back
    pub is_older: bool,
}

/// The store cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// the state belongs to somebody else's machines
    #[error(
        "the stored state belongs to the cluster {stored}, the site's secrets are of the cluster {wanted}: \
         give each cluster its own state directory, or bring the right secrets back"
    )]
    OtherCluster {
        /// `cluster.id` in the store
        stored: String,
        /// `cluster.id` of the secrets bundle
        wanted: String,
    },
    /// written by a newer program
    #[error("the record {key} has version {found}, this program reads up to {VERSION}: use the newer ichord")]
    Version {
        /// which record
        key: String,
        /// its version
        found: u32,
    },
    /// not what this program writes
    #[error("the record {key} cannot be read: {source}")]
    Malformed {
        /// which record
        key: String,
        /// why
        source: serde_json::Error,
    },
}

/// The core. See the crate's head.
#[derive(Debug, Clone)]
pub struct Core<G = Strict> {
    pub(crate) guards: G,
    pub(crate) plan: ClusterPlan,
    pub(crate) cluster: Cluster,
    pub(crate) slots: BTreeMap<NodeName, Slot>,
    pub(crate) work: ClusterWork,
    pub(crate) retired: Vec<Retirement>,
    /// the store was a backup once: which slots were filled before is unknown
    pub(crate) is_unsure: bool,
    ids: Ids,
    pub(crate) revision: u64,
    published: Option<View>,
    pub(crate) pending: Pending,
    /// the time of the last step
    last: Time,
}

/// A slot: what is durable, and what is only known now.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) state: NodeState,
    /// the effect that is under way
    pub(crate) in_flight: Option<Ticket>,
    /// no look before then
    pub(crate) next_look: Time,
    /// where the machine was last seen
    pub(crate) address: Option<IpAddr>,
    /// where another machine answered: that address is tried last
    pub(crate) stranger: Option<IpAddr>,
    /// the last look at the configured machine
    pub(crate) look: Option<Look>,
    /// for people: what is being waited for
    pub(crate) waiting: Option<String>,
    /// a machine that was identified for the slot and does not hold it
    pub(crate) candidate: Option<Candidate>,
    /// failures in a row
    pub(crate) failures: u32,
    /// the limit of its state has passed and was spoken of
    pub(crate) late: bool,
}

/// What the last look at a configured machine showed.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) at: Time,
    pub(crate) address: IpAddr,
    pub(crate) boot_id: String,
    pub(crate) stage: Stage,
    pub(crate) etcd: EtcdObservation,
    pub(crate) holds_virtual_address: bool,
    pub(crate) unwell: Vec<String>,
}

/// What is under way for the cluster as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterWork {
    pub(crate) in_flight: Option<Ticket>,
    pub(crate) not_before: Time,
    /// the last `Bootstrap` call certainly did nothing
    pub(crate) refused: bool,
    pub(crate) waiting: Option<String>,
}

/// What the running step has decided so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending {
    cluster: bool,
    retired: bool,
    nodes: BTreeSet<NodeName>,
    pub(crate) notes: Vec<Note>,
    effects: Vec<Effect>,
}

#[derive(Serialize, Deserialize)]
struct ClusterRecord {
    version: u32,
    cluster_id: String,
    #[serde(flatten)]
    cluster: Cluster,
}

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    version: u32,
    #[serde(flatten)]
    state: NodeState,
}

#[derive(Serialize, Deserialize)]
struct RetiredRecord {
    version: u32,
    machines: Vec<Retirement>,
    #[serde(default)]
    unsure: bool,
}

impl Slot {
    fn new(state: NodeState) -> Self {
        Self {
            state,
            in_flight: None,
            next_look: Time::default(),
            address: None,
            stranger: None,
            look: None,
            waiting: None,
            candidate: None,
            failures: 0,
            late: false,
        }
    }

    /// The state that people see.
    pub(crate) fn shown(&self) -> State {
        match self.state.state() {
            State::Vacant if self.candidate.is_some() => State::Identified,
            state => state,
        }
    }

    /// Another machine is to come: what was under way says nothing about it.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.state.clone());
    }
}

impl Core {
    /// Builds the core from what the store holds; an empty store is a site that was never started.
    pub fn restore(plan: ClusterPlan, records: &Records, seed: u64) -> Result<Self, RestoreError> {
        Self::restore_with(Strict, plan, records, seed)
    }
}

impl<G: Guards> Core<G> {
    /// The same, with guards of the caller's choice: the simulation leaves one out.
    pub fn restore_with(
        guards: G,
        plan: ClusterPlan,
        records: &Records,
        seed: u64,
    ) -> Result<Self, RestoreError> {
        let mut pending = Pending::default();
        let cluster = match &records.cluster {
            Some(value) => {
                let record: ClusterRecord = read("cluster", value)?;
                if record.cluster_id != plan.cluster_id {
                    return Err(RestoreError::OtherCluster {
                        stored: record.cluster_id,
                        wanted: plan.cluster_id,
                    });
                }
                record.cluster
            }
            None => {
                pending.cluster = true;
                Cluster::new()
            }
        };
        let mut slots = BTreeMap::new();
        for (name, value) in &records.nodes {
            let record: NodeRecord = read(&format!("node/{name}"), value)?;
            slots.insert(name.clone(), Slot::new(record.state));
        }
        let (retired, is_unsure) = match &records.retired {
            Some(value) => {
                let record: RetiredRecord = read("retired", value)?;
                (record.machines, record.unsure)
            }
            None => (Vec::new(), false),
        };
        let mut core = Self {
            guards,
            plan,
            cluster,
            slots,
            work: ClusterWork::default(),
            retired,
            is_unsure,
            ids: Ids::new(seed),
            revision: 0,
            published: None,
            pending,
            last: Time::default(),
        };
        core.open_slots();
        if records.is_older && core.guards.on(Guard::Newness) {
            core.distrust();
        }
        Ok(core)
    }

    /// The store is a backup: what happened after it is unknown. It revives no permit, and does not
    /// prove that the cluster is new.
    fn distrust(&mut self) {
        let doubt = "the store was brought back from a backup, so that it does not know what was done since";
        self.is_unsure = true;
        self.pending.retired = true;
        let names: Vec<NodeName> = self.slots.keys().cloned().collect();
        for name in names {
            let Some(mut state) = self.slots.get(&name).map(|slot| slot.state.clone()) else { continue };
            match &mut state {
                NodeState::Vacant { permit } if permit.is_some() => *permit = None,
                state => match state.permit_mut() {
                    Some(permit) => permit.revoke(),
                    None => continue,
                },
            }
            self.note(&name.0, "its install permit is void", vec![doubt.to_owned()]);
            self.move_node(&name, state, Vec::new());
        }
        match self.cluster.clone() {
            Cluster::Assembling { .. } => {
                let state = Cluster::Assembling { doubt: Some(doubt.to_owned()), word: None };
                self.move_cluster(state, Vec::new());
            }
            Cluster::Bootstrapping(intent) => {
                let intent = Intent { doubt: Some(doubt.to_owned()), ..intent };
                self.move_cluster(Cluster::Bootstrapping(intent), Vec::new());
            }
            Cluster::Joining(_) | Cluster::HandingOver { .. } | Cluster::HandedOver { .. } => {}
        }
        self.note("cluster", "the store is not trusted", vec![doubt.to_owned()]);
    }

    /// Takes in one event and says what follows from it. Outputs are in the order in which they must
    /// be acted on: what is to be durable first, then the new picture, then effects.
    pub fn step(&mut self, event: Event, now: Time) -> Vec<Output> {
        if now < self.last && self.guards.on(Guard::ClockWentBack) {
            self.clock_went_back(now);
        }
        self.last = now;
        match event {
            Event::PlanChanged(plan) => self.plan_changed(*plan),
            Event::PermitGranted { node, by } => self.permit_granted(node, &by, now),
            Event::BootAsked { request, machine, from, attempt, identity } => {
                let answer = self.boot_asked(machine, from, attempt, identity, now);
                self.start(Effect::AnswerBoot { request, answer });
            }
            Event::Released { node, by } => self.released(&node, &by, now),
            Event::EraseApproved { node, disk, by } => self.erase_approved(&node, disk, by),
            Event::NewnessConfirmed { by } => self.newness_confirmed(by, now),
            Event::Fetched { from } => self.fetched(from, now),
            Event::Identified { machine, identity } => self.identified(&machine, identity, now),
            Event::Located { mac, address } => self.located(mac, address, now),
            Event::Observed { node, ticket, observation } => self.observed(&node, ticket, observation, now),
            Event::Applied { node, ticket, outcome } => self.applied(&node, ticket, outcome, now),
            Event::VirtualAddressProbed { ticket, owner } => self.virtual_address_probed(ticket, owner, now),
            Event::BootstrapAnswered { ticket, outcome } => self.bootstrap_answered(ticket, outcome, now),
            Event::StepEnded { ticket, step, outcome } => self.step_ended(ticket, step, outcome, now),
            Event::Tick => {}
        }
        self.advance_cluster(now);
        self.look_where_due(now);
        self.forget_candidates(now);
        self.speak_of_limits(now);
        self.outputs(now)
    }

    /// When the next [`Event::Tick`] is due; `None` while nothing is waited for.
    pub fn next_deadline(&self) -> Option<Time> {
        let planned = self.slots.iter().filter(|(name, _)| self.plan.nodes.contains_key(*name));
        let looks = planned
            .filter(|(_, slot)| slot.in_flight.is_none() && slot.state.claim().is_some())
            .map(|(_, slot)| slot.next_look)
            .min();
        [looks, self.next_limit()].into_iter().flatten().min()
    }

    /// The durable state of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The durable state of a slot.
    pub fn node(&self, name: &NodeName) -> Option<&NodeState> {
        self.slots.get(name).map(|slot| &slot.state)
    }

    // --- what the other files of this crate use ---

    /// Whether a planned slot has no machine yet.
    pub(crate) fn has_vacancy(&self) -> bool {
        self.plan
            .nodes
            .keys()
            .filter_map(|name| self.slots.get(name))
            .any(|slot| matches!(slot.state, NodeState::Vacant { .. }))
    }

    /// The slot that this machine holds.
    pub(crate) fn held_by(&self, machine: &Machine) -> Option<NodeName> {
        self.slots
            .iter()
            .find(|(_, slot)| slot.state.claim().is_some_and(|claim| claim.machine.is_same_as(machine)))
            .map(|(name, _)| name.clone())
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.ids.ticket()
    }

    pub(crate) fn new_permit(&mut self, by: &str, now: Time) -> Permit {
        let id = self.ids.ticket().to_string();
        Permit::new(id, by.to_owned(), now, self.plan.timing.permit)
    }

    pub(crate) fn start(&mut self, effect: Effect) {
        self.pending.effects.push(effect);
    }

    pub(crate) fn note(&mut self, subject: &str, what: impl Into<String>, evidence: Vec<String>) {
        self.pending.notes.push(Note { subject: subject.to_owned(), what: what.into(), evidence });
    }

    /// Moves a slot; the new state is written out with this step.
    pub(crate) fn move_node(&mut self, name: &NodeName, state: NodeState, evidence: Vec<String>) {
        if let Some(slot) = self.slots.get_mut(name) {
            if slot.state.name() != state.name() {
                let before = slot.shown().name();
                slot.candidate = None;
                let what = format!("{before} → {}", state.name());
                self.pending.notes.push(Note { subject: name.0.clone(), what, evidence });
            }
            slot.late &= slot.state.state() == state.state();
            slot.state = state;
            slot.waiting = None;
            self.pending.nodes.insert(name.clone());
        }
    }

    /// Moves the cluster; the new state is written out with this step.
    pub(crate) fn move_cluster(&mut self, cluster: Cluster, evidence: Vec<String>) {
        if self.cluster.name() != cluster.name() {
            let what = format!("{} → {}", self.cluster.name(), cluster.name());
            self.note("cluster", what, evidence);
        }
        self.cluster = cluster;
        self.work.waiting = None;
        self.pending.cluster = true;
    }

    /// Remembers what a slot waits for; a new reason goes into the journal once.
    pub(crate) fn wait(&mut self, name: &NodeName, reason: String) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.waiting.as_ref() != Some(&reason) {
            slot.waiting = Some(reason.clone());
            self.note(&name.0, "waiting", vec![reason]);
        }
    }

    /// Remembers what the cluster waits for.
    pub(crate) fn wait_cluster(&mut self, reason: String) {
        if self.work.waiting.as_ref() != Some(&reason) {
            self.work.waiting = Some(reason.clone());
            self.note("cluster", "waiting", vec![reason]);
        }
    }

    /// Remembers a machine that was taken out.
    pub(crate) fn retire(&mut self, retirement: Retirement) {
        self.retired.retain(|retired| !retired.machine.is_same_as(&retirement.machine));
        self.retired.push(retirement);
        self.pending.retired = true;
    }

    /// A machine is let in again.
    pub(crate) fn let_in(&mut self, node: &NodeName) {
        let before = self.retired.len();
        self.retired.retain(|retired| retired.node != *node);
        self.pending.retired |= self.retired.len() != before;
    }

    // --- this file's own ---

    /// Times that were set by the clock as it was before mean nothing now: everything is due, and
    /// nothing that was seen counts as recent.
    fn clock_went_back(&mut self, now: Time) {
        for slot in self.slots.values_mut() {
            slot.next_look = now;
            slot.look = None;
            if let Some(candidate) = &mut slot.candidate {
                candidate.asked = now;
            }
        }
        self.work.not_before = now;
        self.note("cluster", "the clock went back", Vec::new());
    }

    fn plan_changed(&mut self, plan: ClusterPlan) {
        self.plan = plan;
        self.open_slots();
        self.note("cluster", "site accepted", Vec::new());
    }

    /// Every planned node has a slot. Slots that left the plan keep their records: a machine that
    /// was once claimed is not forgotten because a line was deleted.
    fn open_slots(&mut self) {
        for name in self.plan.nodes.keys() {
            self.slots.entry(name.clone()).or_insert_with(|| Slot::new(NodeState::Vacant { permit: None }));
        }
    }

    fn outputs(&mut self, now: Time) -> Vec<Output> {
        let pending = std::mem::take(&mut self.pending);
        let mut outputs = Vec::new();
        let mut writes = Vec::new();
        if pending.cluster {
            let record = ClusterRecord {
                version: VERSION,
                cluster_id: self.plan.cluster_id.clone(),
                cluster: self.cluster.clone(),
            };
            writes.extend(write("cluster".to_owned(), &record));
        }
        if pending.retired {
            let record =
                RetiredRecord { version: VERSION, machines: self.retired.clone(), unsure: self.is_unsure };
            writes.extend(write("retired".to_owned(), &record));
        }
        for name in &pending.nodes {
            if let Some(slot) = self.slots.get(name) {
                let record = NodeRecord { version: VERSION, state: slot.state.clone() };
                writes.extend(write(format!("node/{name}"), &record));
            }
        }
        if !writes.is_empty() || !pending.notes.is_empty() {
            outputs.push(Output::Persist { writes, notes: pending.notes });
        }
        let mut view = self.view(now);
        if self.published.as_ref() != Some(&view) {
            self.revision += 1;
            view.revision = self.revision;
            self.published = Some(view.clone());
            outputs.push(Output::Publish(Box::new(view)));
        }
        let effects = pending.effects.into_iter().map(Output::Start);
        if self.guards.on(Guard::StoredFirst) {
            outputs.extend(effects);
        } else {
            outputs.splice(0..0, effects);
        }
        outputs
    }
}

fn read<T: serde::de::DeserializeOwned>(key: &str, value: &Value) -> Result<T, RestoreError> {
    #[derive(Deserialize)]
    struct Envelope {
        version: u32,
    }
    let malformed = |source| RestoreError::Malformed { key: key.to_owned(), source };
    let envelope = Envelope::deserialize(value).map_err(malformed)?;
    if envelope.version > VERSION {
        return Err(RestoreError::Version { key: key.to_owned(), found: envelope.version });
    }
    T::deserialize(value).map_err(malformed)
}

/// These records are trees of text and numbers; turning them into JSON cannot fail, and if it ever
/// did the record would stay as it was.
fn write<T: Serialize>(key: String, record: &T) -> Option<Write> {
    serde_json::to_value(record).ok().map(|value| Write { key, value })
}
