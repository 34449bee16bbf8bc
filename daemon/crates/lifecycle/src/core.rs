//! The world as one value, and the step that moves it.
//!
//! Durable parts (`Cluster`, `NodeState`) are written out whole whenever they change; everything else
//! here is forgotten in a crash and observed again.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Cluster, ClusterPlan, Effect, Event, Guard, Guards, Ledger, Machine, NodeName, NodeState, Note, Output,
    Permit, Strict, Ticket, Time, View,
    departure::DepartureWork,
    ids::Ids,
    recovery::RecoveryWork,
    restore,
    slots::{Key, Slots},
};

/// So many reasons for waiting are remembered as said.
const REASONS: usize = 16;

/// The core. See the crate's head.
#[derive(Debug, Clone)]
pub struct Core<G = Strict> {
    pub(crate) guards: G,
    pub(crate) plan: ClusterPlan,
    pub(crate) cluster: Cluster,
    pub(crate) slots: Slots,
    /// nodes of the cluster that the site no longer names; the plan goes on with them
    pub(crate) left: BTreeSet<NodeName>,
    pub(crate) work: ClusterWork,
    /// the node that is being taken out
    pub(crate) departing: DepartureWork,
    /// etcd that begins anew from a snapshot
    pub(crate) recovering: RecoveryWork,
    /// a member of etcd that has not started, and since when it is seen
    pub(crate) unstarted: Option<(String, Time)>,
    /// claims that have ended
    pub(crate) ledger: Ledger,
    /// fenced machines that were seen in this life
    pub(crate) came_back: BTreeSet<String>,
    /// machines that wait in maintenance mode and hold no slot, and why
    pub(crate) outside: BTreeMap<String, String>,
    pub(crate) ids: Ids,
    pub(crate) revision: u64,
    pub(crate) published: Option<View>,
    pub(crate) published_at: Time,
    pub(crate) pending: Pending,
    /// the time of the last step
    pub(crate) last: Time,
}

/// What is under way for the cluster as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterWork {
    pub(crate) in_flight: Option<Ticket>,
    pub(crate) not_before: Time,
    /// the last `Bootstrap` call certainly did nothing
    pub(crate) refused: bool,
    pub(crate) waiting: Option<String>,
    /// whether the cluster runs already is being found out
    pub(crate) around: Option<Ticket>,
    pub(crate) around_not_before: Time,
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
            Event::Displaced { node, told } => self.displaced(&node, told),
            Event::FoundWaiting { machine, address, identity } => {
                self.found_waiting(machine, address, identity, now);
            }
            Event::Located { mac, address } => self.located(mac, address, now),
            Event::Observed { node, ticket, observation } => self.observed(&node, ticket, observation, now),
            Event::Watched { node, watch } => self.watched(&node, watch, now),
            Event::Applied { node, ticket, outcome } => self.applied(&node, ticket, outcome, now),
            Event::ClusterSought { ticket, owner, nodes } => self.cluster_sought(ticket, owner, &nodes, now),
            Event::LookedAround { ticket, nodes } => self.looked_around(ticket, nodes, now),
            Event::BootstrapAnswered { ticket, outcome } => self.bootstrap_answered(ticket, outcome, now),
            Event::Recovered { ticket, outcome } => self.recovered(ticket, outcome),
            Event::StepEnded { ticket, step, outcome } => self.step_ended(ticket, step, outcome, now),
            Event::Departed { node, ticket, outcome } => self.departed(&node, ticket, outcome, now),
            Event::Powered { node, ticket, outcome } => self.powered(&node, ticket, outcome, now),
            Event::Tick => {}
        }
        // those of which something is so are named in one order
        self.slots.file();
        self.advance_cluster(now);
        self.advance_departures(now);
        self.switch_where_due(now);
        self.forget_left();
        self.advance_recovery(now);
        self.look_where_due(now);
        self.forget_candidates(now);
        self.speak_of_limits(now);
        self.outputs()
    }

    /// When the next [`Event::Tick`] is due; `None` while nothing is waited for.
    pub fn next_deadline(&self) -> Option<Time> {
        let times = [self.slots.next(Key::Look), self.slots.next(Key::Limit), self.slots.next(Key::Power)];
        times.into_iter().flatten().min()
    }

    /// Whether what slots are found by, and the last picture, are what going through all of them would say: for tests,
    /// between a step and the next one.
    pub fn is_filed(&self, now: Time) -> bool {
        self.slots.is_filed() && self.published.as_ref() == Some(&self.view(now))
    }

    /// The durable state of the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The durable state of a slot.
    pub fn node(&self, name: &NodeName) -> Option<&NodeState> {
        self.slots.get(name).map(|slot| &slot.state)
    }

    /// What is under way where a node is taken out, or not back yet.
    pub fn departure(&self, name: &NodeName) -> Option<&crate::Departure> {
        self.ledger.departures.get(name)
    }

    /// The slot that a machine holds.
    pub fn holder_of(&self, machine: &Machine) -> Option<NodeName> {
        self.held_by(machine)
    }

    // --- what the other files of this crate use ---

    /// Whether a planned slot has no machine, or one that does not answer and may be replaced.
    pub fn looks_for_machines(&self) -> bool {
        [Key::Vacant, Key::Silent].into_iter().any(|key| self.slots.all_that_are(key).next().is_some())
    }

    /// The slot that this machine holds.
    pub(crate) fn held_by(&self, machine: &Machine) -> Option<NodeName> {
        self.slots.held_by(machine).cloned()
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
        for name in self.slots.names() {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            slot.next_look = slot.next_look.min(now);
            slot.silent = slot.silent.map(|since| since.min(now));
            slot.look = None;
            slot.power.anew();
            if let Some(candidate) = &mut slot.candidate {
                candidate.asked = now;
            }
        }
        self.work.not_before = self.work.not_before.min(now);
        self.work.around_not_before = self.work.around_not_before.min(now);
        self.departing.clock_went_back(now);
        self.note("cluster", "the clock went back", Vec::new());
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.slots.file();
        let pending = std::mem::take(&mut self.pending);
        let mut outputs = Vec::new();
        let mut writes = Vec::new();
        if pending.cluster {
            writes.extend(restore::cluster_record(&self.plan.cluster_id, &self.ledger, &self.cluster));
        }
        for name in &pending.nodes {
            if let Some(slot) = self.slots.get(name) {
                writes.extend(restore::node_record(name, slot));
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
