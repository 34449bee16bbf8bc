//! One run: events in the order of their time, until the cluster is handed over or nothing moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lifecycle::{
    BootAnswer, Cluster, ClusterPlan, Core, Effect, Event, NodeName, NodeState, Output, Records, RequestId,
    Time, Write,
};
use machine::model::{Happening, Machine, Stage};
use serde_json::Value;

use crate::{
    faults::Faults,
    invariants::{self, Violation},
    random::Random,
    site::plan,
    world::World,
};

/// No run needs longer, in simulated milliseconds.
const LIMIT: u64 = 30 * 60_000;

/// Between two looks of a person at the status, in simulated milliseconds.
const ROUND: u64 = 60_000;

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// simulated milliseconds
    pub took: u64,
    /// how often the daemon died
    pub crashes: u32,
    /// how often machines lost power
    pub power_losses: u32,
    /// `Bootstrap` calls that machines accepted
    pub bootstraps_accepted: u32,
    /// etcd clusters that were founded
    pub clusters: u32,
}

/// What is due at a time.
enum Due {
    /// the daemon of this life hears an event
    Hear { life: u32, event: Box<Event> },
    /// an effect meets the world; its reply goes to this life
    Meet { life: u32, effect: Box<Effect> },
    /// a firmware's question reaches the daemon
    Ask { label: String, attempt: u32 },
    /// a machine gets power
    PowerOn { label: String },
}

/// A run in progress.
pub struct Simulation {
    now: u64,
    random: Random,
    faults: Faults,
    plan: ClusterPlan,
    world: World,
    /// the store: what is left when the daemon dies
    records: Records,
    core: Core,
    life: u32,
    due: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    /// which machine waits for the answer to which request
    questions: BTreeMap<RequestId, String>,
    requests: u64,
    next_round: u64,
    bootstrapped: BTreeSet<NodeName>,
    arrived: BTreeMap<String, u32>,
    outcome: Outcome,
}

impl Simulation {
    /// A rack of blank machines, all powered on within the first second.
    pub fn new(control_planes: u8, workers: u8, faults: Faults, seed: u64) -> Self {
        let plan = plan(control_planes, workers);
        let mut random = Random::new(seed);
        let world = World::new(plan.clone(), random.next());
        let core = match Core::restore(plan.clone(), &Records::default(), random.next()) {
            Ok(core) => core,
            Err(error) => unreachable!("an empty store restores: {error}"),
        };
        let mut simulation = Self {
            now: 0,
            random,
            faults,
            plan,
            world,
            records: Records::default(),
            core,
            life: 0,
            due: BTreeMap::new(),
            sequence: 0,
            questions: BTreeMap::new(),
            requests: 0,
            next_round: ROUND,
            bootstrapped: BTreeSet::new(),
            arrived: BTreeMap::new(),
            outcome: Outcome::default(),
        };
        for label in simulation.labels() {
            let at = simulation.random.between(0, 1000);
            simulation.later(at, Due::PowerOn { label });
        }
        simulation
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Outcome, Violation> {
        self.hear(Event::Tick)?;
        while self.now < LIMIT {
            if self.finished() {
                self.outcome.took = self.now;
                for counters in self.world.rack.machines.values().map(Machine::counters) {
                    self.outcome.bootstraps_accepted += counters.bootstraps_accepted;
                    self.outcome.clusters += counters.bootstraps;
                }
                return Ok(self.outcome);
            }
            self.advance()?;
            self.check()?;
        }
        let view = self.core.view(Time(self.now));
        Err(Violation::Stuck { waiting: format!("{:?} {:?}", view.cluster, view.nodes) })
    }

    /// Handed over, every node at its end.
    fn finished(&self) -> bool {
        let ready = |name| matches!(self.core.node(name), Some(NodeState::Ready { .. }));
        matches!(self.core.cluster(), Cluster::HandedOver { .. }) && self.plan.nodes.keys().all(ready)
    }

    /// Goes to the next moment at which anything is due, and does all of it.
    fn advance(&mut self) -> Result<(), Violation> {
        let queued = self.due.keys().next().map(|&(at, _)| at);
        let rack = self.world.rack.next_deadline();
        let core = self.core.next_deadline().map(|deadline| deadline.0);
        let Some(next) = [queued, rack, core].into_iter().flatten().min() else {
            self.now = LIMIT;
            return Ok(());
        };
        self.now = self.now.max(next);
        for (label, happening) in self.world.rack.advance(self.now) {
            self.happened(label, &happening);
        }
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Due::Hear { life, event } if life == self.life => self.hear(*event)?,
                Due::Meet { life, effect } if life == self.life => self.meet(&effect)?,
                // what is on its way when its sender dies can still arrive, long after
                Due::Meet { effect, .. } => {
                    self.world.carry_out(&effect, self.now)?;
                }
                Due::Hear { .. } => {}
                Due::Ask { label, attempt } => self.ask(label, attempt)?,
                Due::PowerOn { label } => self.power_on(&label),
            }
        }
        if self.core.next_deadline().is_some_and(|deadline| deadline.0 <= self.now) {
            self.hear(Event::Tick)?;
        }
        self.operate()
    }

    /// A person looks at the status now and then, and grants a new permit where five boots were lost.
    fn operate(&mut self) -> Result<(), Violation> {
        if self.now < self.next_round {
            return Ok(());
        }
        self.next_round = self.now + ROUND;
        let view = self.core.view(Time(self.now));
        let spent = view.nodes.iter().filter(|(name, node)| {
            matches!(self.core.node(name), Some(NodeState::Deploying { .. })) && !node.netboot
        });
        let spent: Vec<NodeName> = spent.map(|(name, _)| name.clone()).collect();
        for node in spent {
            self.hear(Event::PermitGranted { node: Some(node), by: "a person".into() })?;
        }
        Ok(())
    }

    fn labels(&self) -> Vec<String> {
        self.world.rack.machines.keys().cloned().collect()
    }

    fn power_on(&mut self, label: &str) {
        if self.strikes(self.faults.swapped_address) {
            let labels = self.labels();
            let other = self.random.next() as usize % labels.len();
            self.world.swap_addresses(label, &labels[other]);
        }
        if let Some(machine) = self.world.rack.machines.get_mut(label) {
            machine.power_on(self.now);
        }
    }

    fn happened(&mut self, label: String, happening: &Happening) {
        match happening {
            Happening::AsksTheNetwork { attempt } => {
                let delay = self.random.between(1, 50);
                self.later(delay, Due::Ask { label, attempt: *attempt });
            }
            // the operating system asks for an address, and the daemon is its DHCP server
            Happening::Booted { .. } => {
                if let Some(event) = self.world.located(&label) {
                    let (life, delay) = (self.life, self.random.between(1, 50));
                    self.later(delay, Due::Hear { life, event: Box::new(event) });
                }
            }
            Happening::ApiServer(answers) => self.world.api_server_changed(*answers),
            Happening::Stage(stage) if *stage != Stage::Off && self.strikes(self.faults.power_loss) => {
                if let Some(machine) = self.world.rack.machines.get_mut(&label) {
                    machine.power_off(self.now);
                }
                self.outcome.power_losses += 1;
                let delay = self.random.between(100, 5000);
                self.later(delay, Due::PowerOn { label });
            }
            _ => {}
        }
    }

    fn ask(&mut self, label: String, attempt: u32) -> Result<(), Violation> {
        let Some((machine, from, identity)) = self.world.question(&label) else { return Ok(()) };
        self.requests += 1;
        let request = RequestId(self.requests);
        self.questions.insert(request, label);
        let attempt = attempt.saturating_sub(1);
        self.hear(Event::BootAsked { request, machine, from, attempt, identity })
    }

    /// The daemon hears an event: step, then act on the outputs one by one; between any two it may die.
    fn hear(&mut self, event: Event) -> Result<(), Violation> {
        let outputs = self.core.step(event, Time(self.now));
        if let Some(violation) = invariants::order(&outputs) {
            return Err(violation);
        }
        let mut outputs = VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            if self.strikes(self.faults.crash) {
                return self.crash();
            }
            match output {
                Output::Persist { writes, .. } => writes.into_iter().for_each(|write| self.store(write)),
                Output::Publish(_) => {}
                Output::Start(effect) => self.start(effect)?,
            }
        }
        if self.strikes(self.faults.crash) { self.crash() } else { Ok(()) }
    }

    fn store(&mut self, write: Write) {
        match write.key.strip_prefix("node/") {
            Some(name) => {
                self.records.nodes.insert(NodeName(name.to_owned()), write.value);
            }
            None => self.records.cluster = Some(write.value),
        }
    }

    /// Whatever leaves must follow from the store alone.
    fn start(&mut self, effect: Effect) -> Result<(), Violation> {
        let stored: BTreeMap<NodeName, NodeState> = (self.records.nodes.iter())
            .filter_map(|(name, record)| Some((name.clone(), serde_json::from_value(record.clone()).ok()?)))
            .collect();
        if let Some(violation) = invariants::permitted(&stored, &effect) {
            return Err(violation);
        }
        if let Effect::Bootstrap { node, .. } = &effect {
            self.bootstrapped.insert(node.clone());
            let intended =
                self.records.cluster.as_ref().and_then(|record| record.get("node")).and_then(Value::as_str);
            if intended != Some(node.0.as_str()) {
                return Err(Violation::EffectBeforeCommit { effect: format!("{effect:?}") });
            }
            if self.bootstrapped.len() > 1 {
                return Err(Violation::TwoNodesBootstrapped { nodes: self.bootstrapped.clone() });
            }
        }
        if let Effect::AnswerBoot { request, answer } = &effect {
            if let Some(label) = self.questions.remove(request) {
                // an answer that is lost makes the firmware give up on the network
                let lost = self.strikes(self.faults.lost_reply);
                let heard = BootAnswer::LocalDisk { reason: "no answer".into() };
                self.world.answer_boot(&label, if lost { &heard } else { answer }, self.now);
            }
            return Ok(());
        }
        let delay = self.random.between(1, 30);
        let life = self.life;
        self.later(delay, Due::Meet { life, effect: Box::new(effect) });
        Ok(())
    }

    fn meet(&mut self, effect: &Effect) -> Result<(), Violation> {
        let life = self.life;
        if self.strikes(self.faults.lost_request) {
            let delay = self.random.between(500, 2000);
            self.later(delay, Due::Hear { life, event: Box::new(effect.broken("connection reset")) });
            return Ok(());
        }
        let event = self.world.carry_out(effect, self.now)?;
        let event =
            if self.strikes(self.faults.lost_reply) { effect.broken("connection reset") } else { event };
        if self.strikes(self.faults.doubled_reply) {
            let delay = self.random.between(1, 1000);
            self.later(delay, Due::Hear { life, event: Box::new(event.clone()) });
        }
        let delay = self.random.between(1, 30);
        self.later(delay, Due::Hear { life, event: Box::new(event) });
        Ok(())
    }

    /// The process is gone; what is left is the store.
    fn crash(&mut self) -> Result<(), Violation> {
        self.outcome.crashes += 1;
        self.end_connections()?;
        self.life += 1;
        self.now += self.random.between(10, 1000);
        for label in std::mem::take(&mut self.questions).into_values() {
            let gone = BootAnswer::LocalDisk { reason: "connection reset".into() };
            self.world.answer_boot(&label, &gone, self.now);
        }
        let seed = self.random.next();
        self.core = Core::restore(self.plan.clone(), &self.records, seed)
            .map_err(|error| Violation::Stuck { waiting: error.to_string() })?;
        // the lease table is durable: the daemon tells its core what it says
        for label in self.labels() {
            if let Some(event) = self.world.located(&label) {
                let life = self.life;
                self.later(0, Due::Hear { life, event: Box::new(event) });
            }
        }
        self.hear(Event::Tick)
    }

    /// The connections die with the daemon that opened them. A request on its way arrives at once or never, or,
    /// where the network delays, when somebody else lives already.
    fn end_connections(&mut self) -> Result<(), Violation> {
        let life = self.life;
        let (ended, kept) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|(_, due)| matches!(due, Due::Meet { life: opened, .. } if *opened == life));
        self.due = kept;
        let ended: BTreeMap<(u64, u64), Due> = ended;
        for (at, due) in ended {
            let Due::Meet { effect, .. } = &due else { continue };
            if self.strikes(self.faults.late_request) {
                self.due.insert(at, due);
            } else if self.random.one_in(2) {
                self.world.carry_out(effect, self.now)?;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Violation> {
        let names: Vec<NodeName> = self.plan.nodes.keys().cloned().collect();
        for (label, node) in &self.world.cabling {
            if matches!(self.core.node(node), Some(NodeState::Ready { .. })) {
                let installs = self.world.rack.machines.get(label).map_or(0, |m| m.counters().installs);
                self.arrived.entry(label.clone()).or_insert(installs);
            }
        }
        let found = [
            invariants::one_slot_each(&self.core, &names),
            invariants::one_cluster(&self.world.rack),
            invariants::installed_once(&self.world.rack, &self.arrived),
        ];
        found.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    fn later(&mut self, delay: u64, due: Due) {
        self.sequence += 1;
        self.due.insert((self.now + delay, self.sequence), due);
    }

    fn strikes(&mut self, one_in: u64) -> bool {
        self.now < self.faults.until && self.random.one_in(one_in)
    }
}
