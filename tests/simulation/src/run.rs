//! One run: events in the order of their time, until the cluster is handed over or nothing moves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lifecycle::{
    BootAnswer, Cluster, ClusterPlan, Core, DeployPolicy, Effect, Event, Guards, NodeName, NodeState, Output,
    PowerAction, Records, RequestId, Strict, Time,
};
use machine::model::{Happening, Machine, Stage};
use seeded::Numbers;

use crate::{
    faults::Faults,
    invariants::{self, Violation},
    ledger::{Ledger, Stored},
    person::never_votes,
    scenario::{Mishap, Scenario},
    site::plan,
    world::World,
};

/// What the daemon's clock shows at the beginning.
const EPOCH: u64 = 1_700_000_000_000;

/// After everything that befalls a site, so long until it must have come to rest, in milliseconds.
const REST: u64 = 150_000;

/// After so long a learner should have its vote, and the status says why it has none; then it joins anew.
const LEARNS: u64 = 14 * 60_000;

/// A reason that stood in the status so recently stands there still.
const RECENT: u64 = 60_000;

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// simulated milliseconds
    pub took: u64,
    /// whether every node is ready and the cluster handed over; otherwise the status named why not
    pub is_ready: bool,
    /// how often the daemon died
    pub crashes: u32,
    /// how often machines lost power
    pub power_losses: u32,
    /// `Bootstrap` calls that machines accepted
    pub bootstraps_accepted: u32,
    /// etcd clusters that were founded
    pub clusters: u32,
    /// machines that were switched
    pub switches: u32,
    /// machines that run and were told to boot from the network next
    pub next_boots: u32,
    /// which ways slots took
    pub arrows: BTreeSet<(String, String)>,
}

/// What is due at a time.
pub(crate) enum Due {
    /// the daemon of this life hears an event
    Hear { life: u32, event: Box<Event> },
    /// the same, as the first reply to an effect
    Reply { life: u32, effect: Box<Effect>, event: Box<Event> },
    /// an effect meets the world; its reply goes to this life
    Meet { life: u32, effect: Box<Effect> },
    /// a firmware's question reaches the daemon
    Ask { label: String, attempt: u32 },
    /// a machine gets power
    PowerOn { label: String },
    /// a machine's cable is put back in
    PlugIn { label: String },
    /// somebody copies the store
    Backup,
    /// a mishap strikes
    Befall(Mishap),
}

/// A run in progress.
pub struct Simulation<G = Strict> {
    pub(crate) now: u64,
    /// how far the daemon's clock is off
    pub(crate) clock: i64,
    pub(crate) random: Numbers,
    pub(crate) scenario: Scenario,
    pub(crate) faults: Faults,
    pub(crate) guards: G,
    pub(crate) plan: ClusterPlan,
    pub(crate) names: Vec<NodeName>,
    /// the site no longer names them
    pub(crate) gone: BTreeSet<NodeName>,
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    /// the store: what is left when the daemon dies
    pub(crate) records: Records,
    pub(crate) stored: BTreeMap<NodeName, NodeState>,
    pub(crate) stored_cluster: Option<Cluster>,
    pub(crate) backup: Option<Records>,
    /// until then the store takes nothing
    pub(crate) full_until: u64,
    pub(crate) core: Core<G>,
    /// when the core is next to be asked
    pub(crate) deadline: Option<Time>,
    pub(crate) life: u32,
    pub(crate) due: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    /// which machine waits for the answer to which request
    pub(crate) questions: BTreeMap<RequestId, String>,
    requests: u64,
    pub(crate) next_round: u64,
    /// the core has decided something since the last check
    pub(crate) moved: bool,
    pub(crate) arrived: BTreeMap<String, u32>,
    /// slots whose machine has stood still
    pub(crate) hung: BTreeSet<usize>,
    /// what people ordered to be done to machines' power
    pub(crate) switching: Vec<(NodeName, PowerAction)>,
    /// how often each permit has paid for a switch
    pub(crate) switched: BTreeMap<String, u32>,
    /// slots whose machine broke and is to be replaced
    pub(crate) broken: BTreeSet<usize>,
    /// when each mishap was last spoken of
    pub(crate) named: BTreeMap<usize, u64>,
    pub(crate) outcome: Outcome,
    /// what is still to befall a site that was handed over
    pub(crate) outstanding: u32,
    /// what happens is written down
    story: Option<Vec<String>>,
}

impl Simulation {
    /// A rack of machines and what befalls it, drawn from the seed.
    pub fn of(seed: u64) -> Self {
        Self::new(Scenario::of(seed), Strict, seed)
    }

    /// The same on a second day on which the daemon loses its memory.
    pub fn of_lost_memory(seed: u64) -> Self {
        Self::new(Scenario::of_lost_memory(seed), Strict, seed)
    }

    /// The same, and the second day of its cluster.
    pub fn of_day_two(seed: u64) -> Self {
        Self::new(Scenario::of_day_two(seed), Strict, seed)
    }
}

impl Simulation {
    /// The same of a site that says how its machines are switched.
    pub fn of_powered(seed: u64) -> Self {
        Self::new(Scenario::of_powered(seed), Strict, seed)
    }

    /// The same of a site that grows and shrinks.
    pub fn of_changing(seed: u64) -> Self {
        Self::new(Scenario::of_changing(seed), Strict, seed)
    }
}

impl<G: Guards> Simulation<G> {
    /// A rack of machines in these circumstances.
    pub fn new(scenario: Scenario, guards: G, seed: u64) -> Self {
        let whole = plan(&scenario);
        let mut random = Numbers::new(seed);
        let world = World::new(whole.clone(), random.draw());
        // who comes later is not named at first
        let names: Vec<&NodeName> = whole.nodes.keys().collect();
        let later = |name: &NodeName| {
            let slot = names.iter().position(|other| *other == name);
            scenario.has(|mishap| matches!(mishap, Mishap::Grows { slot: later } if Some(*later) == slot))
        };
        let mut plan = whole.clone();
        plan.nodes.retain(|name, _| !later(name));
        let records = Records::default();
        let core = match Core::restore_with(guards.clone(), plan.clone(), &records, random.draw()) {
            Ok(core) => core,
            Err(error) => unreachable!("an empty store restores: {error}"),
        };
        let next_round = random.between(0, 10_000);
        let mut simulation = Self {
            now: 0,
            clock: 0,
            random,
            faults: scenario.faults,
            scenario,
            guards,
            names: whole.nodes.keys().cloned().collect(),
            gone: BTreeSet::new(),
            plan,
            world,
            ledger: Ledger::default(),
            records,
            stored: BTreeMap::new(),
            stored_cluster: None,
            backup: None,
            full_until: 0,
            deadline: core.next_deadline(),
            core,
            life: 0,
            due: BTreeMap::new(),
            sequence: 0,
            questions: BTreeMap::new(),
            requests: 0,
            next_round,
            moved: false,
            arrived: BTreeMap::new(),
            hung: BTreeSet::new(),
            switching: Vec::new(),
            switched: BTreeMap::new(),
            broken: BTreeSet::new(),
            named: BTreeMap::new(),
            outcome: Outcome::default(),
            outstanding: 0,
            story: None,
        };
        if simulation.scenario.policy == DeployPolicy::Auto {
            simulation.ledger.granted = simulation.names.iter().cloned().collect();
        }
        simulation.prepare();
        simulation
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Outcome, Violation> {
        self.go()
    }

    /// The same, with what happened on the way.
    pub fn told(mut self) -> (Vec<String>, Result<Outcome, Violation>) {
        self.story = Some(Vec::new());
        let outcome = self.go();
        (self.story.unwrap_or_default(), outcome)
    }

    /// Writes down what happens, where somebody wants to know.
    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        let at = self.now;
        if let Some(story) = &mut self.story {
            story.push(format!("{:>9.3} {}", at as f64 / 1000.0, line()));
        }
    }

    fn go(&mut self) -> Result<Outcome, Violation> {
        self.hear(Event::Tick)?;
        let (earliest, mut latest) = self.window();
        loop {
            if self.now >= latest {
                // a learner that lost the run that added it is spoken of when it should have its vote
                if self.learns() && latest == self.window().1 {
                    latest += LEARNS;
                    continue;
                }
                break;
            }
            if self.now >= earliest && self.finished() {
                self.outcome.is_ready = true;
                break;
            }
            self.advance()?;
            self.check()?;
        }
        if !self.outcome.is_ready && !self.is_explained() {
            let view = self.core.view(Time(self.clock()));
            let waiting = format!("{:?}: {:?} {:?}", self.scenario, view.cluster, view.nodes);
            return Err(Violation::Stuck { waiting });
        }
        self.outcome.took = self.now;
        for counters in self.world.rack.machines.values().map(Machine::counters) {
            self.outcome.bootstraps_accepted += counters.bootstraps_accepted;
            self.outcome.clusters += counters.bootstraps;
        }
        Ok(self.outcome.clone())
    }

    /// From when on the run may end, and when it must have come to rest.
    fn window(&self) -> (u64, u64) {
        let lasts = |mishap: &Mishap| match mishap {
            // and as long again as Talos takes to give its boot up and start over
            mishap if mishap.is_of_day_two() => 14 * 60_000,
            // until it is said to stand still, and as long again
            Mishap::Hangs { .. } => 14 * 60_000,
            Mishap::SilentHour { .. } => 80 * 60_000,
            Mishap::Late { .. } | Mishap::Replaced { .. } => 12 * 60_000,
            // what was identified by mistake is forgotten after a while
            Mishap::NeverComes { .. } | Mishap::OldStore | Mishap::EmptyStore => 3 * 60_000,
            _ => 90_000,
        };
        let befallen = self.scenario.mishaps.iter().map(lasts).max().unwrap_or(0);
        let latest = befallen.max(self.faults.until) + REST;
        (if befallen == 0 { 0 } else { 70_000 }, latest)
    }

    /// Handed over, every node at its end.
    fn finished(&self) -> bool {
        let ready = |name| matches!(self.core.node(name), Some(NodeState::Ready { .. }));
        let vacant = |name| self.core.node(name).is_none_or(|state| state.claim().is_none());
        let leaves = |name: &NodeName| self.core.departure(name).is_some();
        matches!(self.core.cluster(), Cluster::HandedOver { .. })
            && self.names.iter().all(|name| if self.gone.contains(name) { vacant(name) } else { ready(name) })
            && self.outstanding == 0
            && !self.names.iter().any(leaves)
    }

    /// A control plane learns from etcd and has no vote.
    fn learns(&self) -> bool {
        let view = self.core.view(Time(self.clock()));
        view.nodes
            .values()
            .filter_map(|node| node.waiting.as_ref())
            .any(|why| why.contains("does not vote yet"))
    }

    /// The status names something that befell the site and that nobody has mended.
    fn is_explained(&self) -> bool {
        // power was lost, or a cable pulled, between a learner's first start and its vote
        let view = self.core.view(Time(self.clock()));
        if !self.scenario.mended && view.nodes.values().any(never_votes) {
            return true;
        }
        let open = |mishap: Mishap| !self.scenario.mended || mishap.lasts();
        self.scenario.mishaps.iter().enumerate().any(|(index, &mishap)| {
            let recently = self.named.get(&index).is_some_and(|at| at + RECENT >= self.now);
            open(mishap) && (recently || self.is_named(mishap))
        })
    }

    /// What the daemon's clock shows.
    pub(crate) fn clock(&self) -> u64 {
        EPOCH.saturating_add(self.now).saturating_add_signed(self.clock)
    }

    /// When the daemon's clock shows this.
    pub(crate) fn moment(&self, clock: Time) -> u64 {
        clock.0.saturating_add_signed(-self.clock).saturating_sub(EPOCH)
    }

    /// Goes to the next moment at which anything is due, and does all of it.
    fn advance(&mut self) -> Result<(), Violation> {
        let queued = self.due.keys().next().map(|&(at, _)| at);
        let rack = self.world.rack.next_deadline();
        let core = self.deadline.map(|deadline| self.moment(deadline));
        let next = [queued, rack, core, Some(self.next_round)].into_iter().flatten().min();
        self.now = self.now.max(next.unwrap_or(self.next_round));
        for (label, happening) in self.world.rack.advance(self.now) {
            self.happened(label, &happening);
        }
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let due = entry.remove();
            self.comes_due(due)?;
        }
        if self.deadline.is_some_and(|deadline| self.moment(deadline) <= self.now) {
            self.hear(Event::Tick)?;
        }
        self.operate()
    }

    fn comes_due(&mut self, due: Due) -> Result<(), Violation> {
        match due {
            Due::Hear { life, event } if life == self.life => self.hear(*event)?,
            Due::Reply { life, effect, event } if life == self.life => {
                self.ledger.ended(&effect);
                self.overhear(&event);
                self.hear(*event)?;
            }
            Due::Hear { .. } | Due::Reply { .. } => {}
            Due::Meet { life, effect } if life == self.life => self.meet(&effect)?,
            // what is on its way when its sender dies can still arrive, long after
            Due::Meet { effect, .. } => {
                self.tell(|| format!("arrives after its sender's death: {effect:?}"));
                self.world.carry_out(&effect, &self.ledger, self.now)?;
            }
            Due::Ask { label, attempt } => self.ask(label, attempt)?,
            Due::PowerOn { label } => self.power_on(&label),
            Due::PlugIn { label } => {
                self.world.rack.unplugged.remove(&label);
            }
            Due::Backup => self.backup = Some(self.records.clone()),
            Due::Befall(mishap) => self.befall(mishap)?,
        }
        Ok(())
    }

    pub(crate) fn label(&self, slot: usize) -> String {
        format!("box-{}", slot + 1)
    }

    pub(crate) fn name(&self, slot: usize) -> NodeName {
        self.names[slot.min(self.names.len() - 1)].clone()
    }

    fn power_on(&mut self, label: &str) {
        // whoever was about to switch it on finds it taken out
        if label.starts_with("box-") && !self.world.cabling.contains_key(label) {
            return;
        }
        if label.starts_with("box-") && self.strikes(self.faults.swapped_address) {
            let other = self.random.below(self.names.len());
            let other = self.label(other);
            self.world.swap_addresses(label, &other);
        }
        if let Some(machine) = self.world.rack.machines.get_mut(label) {
            machine.power_on(self.now);
        }
    }

    pub(crate) fn happened(&mut self, label: String, happening: &Happening) {
        self.tell(|| format!("{label}: {happening:?}"));
        match happening {
            Happening::AsksTheNetwork { attempt } => {
                let delay = self.random.between(1, 50);
                self.later(delay, Due::Ask { label: label.clone(), attempt: *attempt });
            }
            // the operating system asks for an address, and the daemon is its DHCP server
            Happening::Booted { .. } => {
                if let Some(event) = self.world.located(&label) {
                    let (life, delay) = (self.life, self.random.between(1, 50));
                    self.later(delay, Due::Hear { life, event: Box::new(event) });
                }
            }
            Happening::ApiServer(answers) => self.world.api_server_changed(&label, *answers),
            _ => {}
        }
        let strikes = match happening {
            Happening::Stage(stage) if *stage != Stage::Off => self.strikes(self.faults.power_loss),
            Happening::ConfigApplied | Happening::Installed | Happening::BootstrapAccepted => {
                self.strikes(self.faults.worst_moment)
            }
            _ => false,
        };
        if strikes && label.starts_with("box-") {
            self.world.power_off(&label, self.now);
            self.outcome.power_losses += 1;
            let delay = self.random.between(100, 5000);
            self.later(delay, Due::PowerOn { label });
        }
    }

    /// The switch tells where a machine is plugged in.
    pub(crate) fn proves(&mut self, label: &str) {
        let Some(node) = self.world.cabling.get(label).cloned() else { return };
        if !self.world.unwitnessed.contains(label) {
            self.ledger.vouched.insert((label.to_owned(), node.clone()));
        }
        self.ledger.proved.insert((label.to_owned(), node));
    }

    fn ask(&mut self, label: String, attempt: u32) -> Result<(), Violation> {
        let Some((machine, from, identity)) = self.world.question(&label) else {
            // not in any port: nobody answers it
            self.world.answer_boot(&label, &BootAnswer::LocalDisk { reason: String::new() }, self.now);
            return Ok(());
        };
        self.proves(&label);
        self.requests += 1;
        let request = RequestId(self.requests);
        self.questions.insert(request, label);
        let attempt = attempt.saturating_sub(1);
        self.hear(Event::BootAsked { request, machine, from, attempt, identity })
    }

    /// The daemon hears an event: step, then act on the outputs one by one; between any two it may die.
    pub(crate) fn hear(&mut self, event: Event) -> Result<(), Violation> {
        if let Event::PermitGranted { .. } | Event::Ordered { .. } = &event {
            self.tell(|| format!("a person: {event:?}"));
        }
        let clock = self.clock();
        let refused = match &event {
            Event::Ordered { order, .. } => self.core.weigh(order).is_err(),
            _ => false,
        };
        // what would have come without the order
        let without = refused.then(|| self.core.clone().step(Event::Tick, Time(clock)));
        let outputs = self.core.step(event, Time(clock));
        if without.is_some_and(|without| invariants::differ(&outputs, &without)) {
            return Err(Violation::RefusedAndDone);
        }
        self.deadline = self.core.next_deadline();
        if !self.core.is_filed(Time(clock)) {
            return Err(Violation::Misfiled);
        }
        if let Some(violation) = invariants::order(&outputs) {
            return Err(violation);
        }
        let decides = outputs.iter().any(|output| matches!(output, Output::Persist { .. }));
        if decides && self.now < self.full_until {
            return self.abandon();
        }
        let mut outputs = VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            if self.strikes(self.faults.crash) {
                return self.crash();
            }
            match output {
                Output::Persist { writes, notes } => self.persist(writes, &notes)?,
                Output::Publish(_) => {}
                Output::Start(effect) => self.start(effect)?,
            }
        }
        if self.strikes(self.faults.crash) { self.crash() } else { Ok(()) }
    }

    /// Whatever leaves must follow from the store alone.
    fn start(&mut self, effect: Effect) -> Result<(), Violation> {
        if !matches!(effect, Effect::Observe { .. }) {
            self.tell(|| format!("starts {effect:?}"));
        }
        let clock = self.clock();
        let stored = Stored { nodes: &self.stored, cluster: self.stored_cluster.as_ref() };
        self.ledger.starts(&effect, &stored, &self.world, &self.plan, clock)?;
        if let Effect::Power { node, action, .. } = &effect {
            self.may_be_switched(node, *action)?;
        }
        if let Effect::AnswerBoot { request, answer } = &effect {
            if let Some(label) = self.questions.remove(request) {
                if self.hangs(&label, answer) {
                    return Ok(());
                }
                // an answer that is lost makes the firmware give up on the network
                let lost = self.strikes(self.faults.lost_reply);
                let heard = BootAnswer::LocalDisk { reason: "no answer".into() };
                self.world.answer_boot(&label, if lost { &heard } else { answer }, self.now);
                if let (false, BootAnswer::Deploy { .. }) = (lost, answer)
                    && let Some((_, from, _)) = self.world.question(&label)
                {
                    let (life, delay) = (self.life, self.random.between(1, 30));
                    self.later(delay, Due::Hear { life, event: Box::new(Event::Fetched { from }) });
                }
            }
            return Ok(());
        }
        let life = self.life;
        // whatever is lost of this is asked again; it takes no part in what is drawn, so that a seed stays what it was
        if matches!(effect, Effect::LookAround { .. }) {
            self.later(5, Due::Meet { life, effect: Box::new(effect) });
            return Ok(());
        }
        let delay = self.random.between(1, 30);
        self.later(delay, Due::Meet { life, effect: Box::new(effect) });
        Ok(())
    }

    fn meet(&mut self, effect: &Effect) -> Result<(), Violation> {
        let life = self.life;
        let kept = || Box::new(effect.clone());
        if matches!(effect, Effect::LookAround { .. }) {
            let event = Box::new(self.world.carry_out(effect, &self.ledger, self.now)?);
            self.later(5, Due::Reply { life, effect: kept(), event });
            return Ok(());
        }
        if self.strikes(self.faults.lost_request) {
            let delay = self.random.between(500, 2000);
            let event = Box::new(effect.broken("connection reset"));
            self.later(delay, Due::Reply { life, effect: kept(), event });
            return Ok(());
        }
        let event = self.world.carry_out(effect, &self.ledger, self.now)?;
        if !matches!(effect, Effect::Observe { .. }) {
            self.tell(|| format!("it came to {event:?}"));
        }
        let event =
            if self.strikes(self.faults.lost_reply) { effect.broken("connection reset") } else { event };
        let delay = if self.strikes(self.faults.slow_reply) {
            self.random.between(500, 4_000)
        } else {
            self.random.between(1, 30)
        };
        if self.strikes(self.faults.doubled_reply) {
            let again = delay + self.random.between(1, 6_000);
            self.later(again, Due::Hear { life, event: Box::new(event.clone()) });
        }
        self.later(delay, Due::Reply { life, effect: kept(), event: Box::new(event) });
        Ok(())
    }

    pub(crate) fn later(&mut self, delay: u64, due: Due) {
        self.sequence += 1;
        self.due.insert((self.now + delay, self.sequence), due);
    }

    pub(crate) fn strikes(&mut self, one_in: u64) -> bool {
        self.now < self.faults.until && self.random.one_in(one_in)
    }
}
