//! The world as one value, and the step that moves it.
//!
//! Durable parts (`Cluster`, `NodeState`) are written out whole whenever they change; everything else
//! here is forgotten in a crash and observed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    Approval, Cluster, ClusterPlan, Effect, EtcdObservation, Event, Guard, Guards, Ledger, Machine, NodeName,
    NodeState, Note, Output, Permit, Stage, State, Strict, Ticket, Time, View, ids::Ids, restore,
    states::identified::Candidate,
};

/// So many reasons for waiting are remembered as said.
const REASONS: usize = 16;

/// The core. See the crate's head.
#[derive(Debug, Clone)]
pub struct Core<G = Strict> {
    pub(crate) guards: G,
    pub(crate) plan: ClusterPlan,
    pub(crate) cluster: Cluster,
    pub(crate) slots: BTreeMap<NodeName, Slot>,
    pub(crate) work: ClusterWork,
    /// claims that have ended
    pub(crate) ledger: Ledger,
    /// fenced machines that were seen in this life
    pub(crate) came_back: BTreeSet<String>,
    /// machines that wait in maintenance mode and hold no slot, and why
    pub(crate) outside: BTreeMap<String, String>,
    pub(crate) ids: Ids,
    pub(crate) revision: u64,
    pub(crate) published: Option<View>,
    pub(crate) pending: Pending,
    /// the time of the last step
    pub(crate) last: Time,
}

/// A slot: what is durable, and what is only known now.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) state: NodeState,
    /// the effect that is under way
    pub(crate) in_flight: Option<Ticket>,
    /// no look before then
    pub(crate) next_look: Time,
    /// the machine tells by itself when something about it changes
    pub(crate) watched: bool,
    /// it told so during a look, which may have come too early to see it
    pub(crate) stirred: bool,
    /// where the machine was last seen
    pub(crate) address: Option<IpAddr>,
    /// where other machines answered, the last one last: those addresses are tried after all others, in this order
    pub(crate) strangers: Vec<IpAddr>,
    /// the last look at the configured machine
    pub(crate) look: Option<Look>,
    /// for people: what is being waited for
    pub(crate) waiting: Option<String>,
    /// a machine that was identified for the vacant slot and may not be installed yet
    pub(crate) candidate: Option<Candidate>,
    /// reasons that went into the journal since nothing was waited for
    pub(crate) said: Vec<String>,
    /// for people: what is wrong with the machine's place
    pub(crate) warning: Option<String>,
    /// the last look, or the machine's own question, showed the holder
    pub(crate) heard: bool,
    /// it has not answered since
    pub(crate) silent: Option<Time>,
    /// the key of the machine that waits in maintenance mode
    pub(crate) fingerprint: Option<String>,
    /// another machine that is plugged in there
    pub(crate) rival: Option<Machine>,
    /// a person gave the slot to this machine; durable
    pub(crate) approved: Option<Approval>,
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
    /// reasons that went into the journal since the last move
    said: Vec<String>,
}

/// What the running step has decided so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending {
    pub(crate) cluster: bool,
    nodes: BTreeSet<NodeName>,
    pub(crate) notes: Vec<Note>,
    effects: Vec<Effect>,
}

impl Slot {
    pub(crate) fn new(state: NodeState) -> Self {
        Self {
            state,
            in_flight: None,
            next_look: Time::default(),
            watched: false,
            stirred: false,
            address: None,
            strangers: Vec::new(),
            look: None,
            waiting: None,
            candidate: None,
            said: Vec::new(),
            warning: None,
            heard: false,
            silent: None,
            fingerprint: None,
            rival: None,
            approved: None,
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

    /// What is waited for from now on is news.
    pub(crate) fn wait_no_more(&mut self) {
        self.waiting = None;
        self.said.clear();
    }

    /// Another machine answered there.
    pub(crate) fn met_stranger(&mut self, address: IpAddr) {
        self.strangers.retain(|strange| *strange != address);
        self.strangers.push(address);
    }
}

impl<G: Guards> Core<G> {
    /// Takes in one event and says what follows from it. Outputs are in the order in which they must
    /// be acted on: what is to be durable first, then the new picture, then effects.
    pub fn step(&mut self, event: Event, now: Time) -> Vec<Output> {
        let mut outputs = self.take(event, now);
        if let Some(view) = self.publish(now) {
            let effects = outputs.iter().position(|output| matches!(output, Output::Start(_)));
            let at = effects.filter(|_| self.guards.on(Guard::StoredFirst)).unwrap_or(outputs.len());
            outputs.insert(at, Output::Publish(Box::new(view)));
        }
        outputs
    }

    /// The same without the new picture: who takes in many events at once asks [`Core::publish`] after the last one. A
    /// picture is of the whole site, so one for every event of a large site would be most of the work.
    pub fn take(&mut self, event: Event, now: Time) -> Vec<Output> {
        if now < self.last && self.guards.on(Guard::ClockWentBack) {
            self.clock_went_back(now);
        }
        self.last = now;
        match event {
            Event::PlanChanged(plan) => self.plan_changed(*plan),
            Event::PermitGranted { node, by } => self.permit_granted(node, &by, now),
            Event::Ordered { order, by } => self.ordered(order, &by, now),
            Event::BootAsked { request, machine, from, attempt, identity } => {
                let answer = self.boot_asked(machine, from, attempt, identity, now);
                self.start(Effect::AnswerBoot { request, answer });
            }
            Event::Fetched { from } => self.fetched(from, now),
            Event::Identified { machine, identity } => self.identified(&machine, identity, now),
            Event::FoundWaiting { machine, address, identity } => {
                self.found_waiting(machine, address, identity, now);
            }
            Event::Located { mac, address } => self.located(mac, address, now),
            Event::Observed { node, ticket, observation } => self.observed(&node, ticket, observation, now),
            Event::Watched { node, watch } => self.watched(&node, watch, now),
            Event::Applied { node, ticket, outcome } => self.applied(&node, ticket, outcome, now),
            Event::ClusterSought { ticket, owner, nodes } => self.cluster_sought(ticket, owner, &nodes, now),
            Event::BootstrapAnswered { ticket, outcome } => self.bootstrap_answered(ticket, outcome, now),
            Event::StepEnded { ticket, step, outcome } => self.step_ended(ticket, step, outcome, now),
            Event::Tick => {}
        }
        self.advance_cluster(now);
        self.look_where_due(now);
        self.forget_candidates(now);
        self.speak_of_limits(now);
        self.outputs()
    }

    /// The picture for readers, if it is another one than before.
    pub fn publish(&mut self, now: Time) -> Option<View> {
        let mut view = self.view(now);
        if self.published.as_ref() == Some(&view) {
            return None;
        }
        self.revision += 1;
        view.revision = self.revision;
        self.published = Some(view.clone());
        Some(view)
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

    /// The slot that a machine holds.
    pub fn holder_of(&self, machine: &Machine) -> Option<NodeName> {
        self.held_by(machine)
    }

    // --- what the other files of this crate use ---

    /// Whether a planned slot has no machine, or one that does not answer and may be replaced.
    pub fn looks_for_machines(&self) -> bool {
        self.plan
            .nodes
            .keys()
            .filter_map(|name| self.slots.get(name))
            .any(|slot| matches!(slot.state, NodeState::Vacant { .. }) || slot.silent.is_some())
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
            slot.wait_no_more();
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
        self.work.said.clear();
        self.pending.cluster = true;
    }

    /// The slot's record is written out with this step.
    pub(crate) fn write_node(&mut self, name: &NodeName) {
        self.pending.nodes.insert(name.clone());
    }

    /// The cluster's record is written out with this step.
    pub(crate) fn write_cluster(&mut self) {
        self.pending.cluster = true;
    }

    /// Remembers what a slot waits for; a new reason goes into the journal once.
    pub(crate) fn wait(&mut self, name: &NodeName, reason: String) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.waiting = Some(reason.clone());
        if is_news(&mut slot.said, &reason) {
            self.note(&name.0, "waiting", vec![reason]);
        }
    }

    /// Remembers what is wrong with a machine's place, or that nothing is; news goes into the journal once.
    pub(crate) fn warn(&mut self, name: &NodeName, warning: Option<String>, evidence: Vec<String>) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.warning == warning {
            return;
        }
        slot.warning.clone_from(&warning);
        match warning {
            Some(warning) => self.note(&name.0, warning, evidence),
            None => self.note(&name.0, "its machine is where it belongs", evidence),
        }
    }

    /// Remembers what the cluster waits for; a new reason goes into the journal once.
    pub(crate) fn wait_cluster(&mut self, reason: String) {
        self.work.waiting = Some(reason.clone());
        if is_news(&mut self.work.said, &reason) {
            self.note("cluster", "waiting", vec![reason]);
        }
    }

    // --- this file's own ---

    /// Times that were set by the clock as it was before mean nothing now: everything is due, and
    /// nothing that was seen counts as recent.
    fn clock_went_back(&mut self, now: Time) {
        for slot in self.slots.values_mut() {
            slot.next_look = slot.next_look.min(now);
            slot.silent = slot.silent.map(|since| since.min(now));
            slot.look = None;
            if let Some(candidate) = &mut slot.candidate {
                candidate.asked = now;
            }
        }
        self.work.not_before = self.work.not_before.min(now);
        self.note("cluster", "the clock went back", Vec::new());
    }

    fn plan_changed(&mut self, plan: ClusterPlan) {
        self.plan = plan;
        self.open_slots();
        self.note("cluster", "site accepted", Vec::new());
    }

    /// Every planned node has a slot. Slots that left the plan keep their records: a machine that
    /// was once claimed is not forgotten because a line was deleted.
    pub(crate) fn open_slots(&mut self) {
        for name in self.plan.nodes.keys() {
            self.slots.entry(name.clone()).or_insert_with(|| Slot::new(NodeState::Vacant { permit: None }));
        }
    }

    fn outputs(&mut self) -> Vec<Output> {
        let pending = std::mem::take(&mut self.pending);
        let mut outputs = Vec::new();
        let mut writes = Vec::new();
        if pending.cluster {
            writes.extend(restore::cluster_record(&self.plan.cluster_id, &self.ledger, &self.cluster));
        }
        for name in &pending.nodes {
            if let Some(slot) = self.slots.get(name) {
                writes.extend(restore::node_record(name, &slot.approved, &slot.state));
            }
        }
        if !writes.is_empty() || !pending.notes.is_empty() {
            outputs.push(Output::Persist { writes, notes: pending.notes });
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

/// Reasons may take turns with every look: each is news once, and again when it was forgotten.
fn is_news(said: &mut Vec<String>, reason: &str) -> bool {
    if said.iter().any(|before| before == reason) {
        return false;
    }
    if said.len() == REASONS {
        said.remove(0);
    }
    said.push(reason.to_owned());
    true
}
