//! The loop. One turn: drain the queue, step the core, commit once, publish, start effects.

use std::{collections::HashMap, sync::Arc, time::Duration};

use hardware::MacAddr;
use lifecycle::{BootAnswer, Core, Effect, Event, Machine, NodeName, NodeState, RequestId, Time};
use site::Site;
use store::Store;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Checkpoints, Clock, DeployError, Handle, HighWater, Met, OrderError, Published, RestoreError, Tiding,
    World,
    handle::Input,
    restore::restore,
    sightings::Evidence,
    strangers::Strangers,
    turn::{Turn, effect_name},
};

/// Inputs waiting for a turn. Senders wait when it is full: a flood of sightings slows its source.
const QUEUE: usize = 4096;

/// How many inputs one transaction may answer for.
const BATCH: usize = 256;

/// After a failed commit, before the core is rebuilt from the store.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The reconciler cannot go on; the daemon ends and its supervisor starts it anew.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// the state cannot be read back after a failed commit
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// The owner of the world.
pub struct Reconciler<W> {
    store: Store,
    world: Arc<W>,
    clock: Clock,
    checkpoints: Checkpoints,
    high_water: HighWater,
    site: Arc<Site>,
    core: Core,
    evidence: Evidence,
    queue: mpsc::Receiver<Input>,
    published: watch::Sender<Published>,
    questions: HashMap<RequestId, oneshot::Sender<BootAnswer>>,
    last_question: u64,
    effects: JoinSet<(String, Event)>,
    strangers: Strangers,
    knocks: JoinSet<(MacAddr, Option<Met>)>,
    tidings: Option<mpsc::Receiver<Tiding>>,
}

/// Who asked for permits.
type Asker = oneshot::Sender<Result<Vec<NodeName>, DeployError>>;

/// Answers that must wait for the transaction.
#[derive(Default)]
struct Waiting {
    deployed: Vec<(Asker, Vec<NodeName>)>,
    ordered: Vec<(oneshot::Sender<Result<String, OrderError>>, String)>,
    reloaded: Vec<oneshot::Sender<()>>,
}

impl<W: World> Reconciler<W> {
    /// Restores the core from the store.
    pub async fn new(
        site: Arc<Site>,
        store: Store,
        world: Arc<W>,
        clock: Clock,
        checkpoints: Checkpoints,
        high_water: HighWater,
    ) -> Result<(Self, Handle), RestoreError> {
        let is_older = high_water.is_above(store.revision());
        if is_older {
            tracing::warn!("the store is older than what was done since: it was brought back from a backup");
        }
        let core = restore(&store, site.plan(), is_older).await?;
        let (inputs, queue) = mpsc::channel(QUEUE);
        let (published, reader) = watch::channel(Published::from(core.view(clock.now())));
        let reconciler = Self {
            evidence: Evidence::new(site.slots()),
            tidings: world.tidings(),
            store,
            world,
            clock,
            checkpoints,
            high_water,
            site,
            core,
            queue,
            published,
            questions: HashMap::new(),
            last_question: 0,
            effects: JoinSet::new(),
            strangers: Strangers::default(),
            knocks: JoinSet::new(),
        };
        Ok((reconciler, Handle { inputs, published: reader }))
    }

    /// Runs until cancelled.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), RunError> {
        self.turn(vec![Input::Tick]).await?;
        loop {
            let until = self.next_deadline().map(|deadline| deadline.since(self.clock.now()));
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                input = self.queue.recv() => match input {
                    Some(input) => input,
                    None => return Ok(()),
                },
                Some(ended) = self.effects.join_next() => match ended {
                    Ok((name, event)) => {
                        self.checkpoints.reach(|| format!("after effect: {name}"));
                        Input::Effect(event)
                    }
                    // effects catch their own panics; what is left is cancellation, and only we cancel
                    Err(error) => {
                        tracing::error!(%error, "an effect's task ended without a word");
                        Input::Tick
                    }
                },
                Some(ended) = self.knocks.join_next() => match ended {
                    Ok((mac, met)) => Input::Met { mac, met },
                    // a knock that is lost is repeated
                    Err(error) => {
                        tracing::error!(%error, "a knock at a machine ended without a word");
                        Input::Tick
                    }
                },
                Some(tiding) = told(&mut self.tidings) => Input::Tiding(tiding),
                () = sleep(until.unwrap_or_default()), if until.is_some() => Input::Tick,
            };
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = self.queue.try_recv()
            {
                batch.push(next);
            }
            self.turn(batch).await?;
        }
    }

    async fn turn(&mut self, batch: Vec<Input>) -> Result<(), RunError> {
        let now = self.clock.now();
        let decided = batch.iter().any(Input::may_let_somebody_in);
        let mut turn = Turn::default();
        let mut waiting = Waiting::default();
        for input in batch {
            let Some(event) = self.receive(input, now, &mut waiting) else { continue };
            let changed = matches!(event, Event::PlanChanged(_));
            let seen = seen_in(&event);
            turn.take(self.core.take(event, now));
            if let Some(machine) = seen {
                self.evidence.look_for(&machine, &self.core, now);
            }
            if changed {
                for event in self.evidence.replace_slots(self.site.slots(), &self.core, now) {
                    turn.take(self.core.take(event, now));
                }
            }
        }
        let folder = self.site.directory().display().to_string();
        for event in self.evidence.news(&self.core, &folder, now) {
            turn.take(self.core.take(event, now));
        }
        turn.view = self.core.publish(now).map(Box::new);
        if let Some(transaction) = turn.transaction(now) {
            self.checkpoints.reach(|| format!("before commit: {}", turn.name()));
            match self.store.commit(transaction).await {
                Ok(revision) => self.high_water.rise_to(revision),
                Err(error) => return self.abandon(&turn, waiting, &error).await,
            }
            self.checkpoints.reach(|| format!("after commit: {}", turn.name()));
            turn.log();
        }
        if let Some(view) = turn.view {
            self.published.send_replace(Published::from(*view));
        }
        for (answer, nodes) in waiting.deployed {
            answer.send(Ok(nodes)).ok();
        }
        for (answer, words) in waiting.ordered {
            answer.send(Ok(words)).ok();
        }
        for taken in waiting.reloaded {
            taken.send(()).ok();
        }
        for effect in turn.effects {
            self.start(effect);
        }
        if decided {
            self.strangers.hurry(now);
        }
        self.knock(now);
        Ok(())
    }

    fn next_deadline(&self) -> Option<Time> {
        let knock = self.strangers.next_deadline(self.knocks.len());
        let knock = knock.filter(|_| self.core.looks_for_machines());
        self.core.next_deadline().into_iter().chain(knock).min()
    }

    /// Looks whether strangers wait in maintenance mode, while there is a slot for one of them.
    fn knock(&mut self, now: Time) {
        if !self.core.looks_for_machines() {
            return;
        }
        for (mac, addresses) in self.strangers.due(self.knocks.len(), now) {
            if self.core.holder_of(&of_mac(mac)).is_some() {
                self.strangers.forget(mac);
                continue;
            }
            let meeting = Arc::clone(&self.world).meet(addresses);
            self.knocks.spawn(async move { (mac, meeting.await) });
        }
    }

    /// A knock ended. Who waits is told from the evidence like a machine that asks what to boot.
    fn met(&mut self, mac: MacAddr, met: Option<Met>, now: Time) -> Option<Event> {
        self.strangers.knocked(mac, met.is_some(), now);
        let met = met?;
        match self.evidence.of_meeting(mac, &met, now) {
            Ok((machine, identity)) => {
                tracing::debug!(%machine, address = %met.address, ?identity, "waits in maintenance mode");
                Some(Event::FoundWaiting { machine, address: met.address, identity })
            }
            Err(reason) => {
                tracing::warn!(reason, "a machine in maintenance mode is not believed");
                None
            }
        }
    }

    /// Turns an input into the core's event.
    fn receive(&mut self, input: Input, now: Time, waiting: &mut Waiting) -> Option<Event> {
        match input {
            Input::Tick => Some(Event::Tick),
            Input::Effect(event) => Some(event),
            Input::Boot { question, answer } => {
                let (machine, identity) = self.evidence.of_question(&question, now);
                tracing::info!(%machine, from = %question.from, attempt = question.attempt, ?identity, "boot question");
                self.last_question += 1;
                let request = RequestId(self.last_question);
                self.questions.insert(request, answer);
                let (from, attempt) = (question.from, question.attempt);
                Some(Event::BootAsked { request, machine, from, attempt, identity })
            }
            Input::Sighting(sighting) => {
                let (machine, identity) = self.evidence.of_sighting(sighting, now);
                Some(Event::Identified { machine, identity })
            }
            Input::Report { from, report } => {
                let (machine, identity) = self.evidence.of_report(from, &report, now);
                tracing::info!(%machine, %from, ?identity, "discovery report");
                Some(Event::Identified { machine, identity })
            }
            Input::Located { mac, address } => {
                if self.core.holder_of(&of_mac(mac)).is_none() {
                    self.strangers.arrived(mac, address, now);
                }
                Some(Event::Located { mac, address })
            }
            Input::Heard { mac, address } => {
                if self.core.holder_of(&of_mac(mac)).is_none() {
                    self.strangers.heard(mac, address, now);
                }
                None
            }
            Input::Met { mac, met } => self.met(mac, met, now),
            Input::Tiding(Tiding { address, node, watch }) => {
                self.strangers.told(address, watch, now);
                node.map(|node| Event::Watched { node, watch })
            }
            Input::Deploy { node, by, answer } => match self.deployable(node.as_ref(), now) {
                Ok(nodes) => {
                    waiting.deployed.push((answer, nodes));
                    Some(Event::PermitGranted { node, by })
                }
                Err(error) => {
                    answer.send(Err(error)).ok();
                    None
                }
            },
            Input::Order { order, by, answer } => match self.core.weigh(&order) {
                Ok(words) => {
                    waiting.ordered.push((answer, words));
                    Some(Event::Ordered { order, by })
                }
                Err(reason) => {
                    answer.send(Err(OrderError::Refused(reason))).ok();
                    None
                }
            },
            Input::Weigh { order, answer } => {
                // whoever asked may be gone
                answer.send(self.core.weigh(&order).map_err(OrderError::Refused)).ok();
                None
            }
            Input::Fetched { from } => Some(Event::Fetched { from }),
            Input::Ports { answer } => {
                // whoever asked may be gone
                let folder = self.site.directory().display().to_string();
                answer.send(self.evidence.ports(&folder, now)).ok();
                None
            }
            Input::Explain { machine, answer } => {
                answer.send(self.evidence.explain(&machine, &self.core, now)).ok();
                None
            }
            Input::Judge { plan, answer } => {
                // whoever asked may be gone
                answer.send(self.core.may_accept(&plan).map_err(OrderError::Refused)).ok();
                None
            }
            Input::Site { site, taken } => {
                self.site = site;
                waiting.reloaded.push(taken);
                Some(Event::PlanChanged(Box::new(self.site.plan())))
            }
        }
    }

    /// Which slots a permit would go to.
    fn deployable(&self, node: Option<&NodeName>, now: Time) -> Result<Vec<NodeName>, DeployError> {
        let view = self.core.view(now);
        let Some(name) = node else {
            let vacant = view
                .nodes
                .keys()
                .filter(|name| matches!(self.core.node(name), Some(NodeState::Vacant { .. })));
            let vacant: Vec<NodeName> = vacant.cloned().collect();
            return if vacant.is_empty() { Err(DeployError::NothingUnfilled) } else { Ok(vacant) };
        };
        match (view.nodes.get(name), self.core.node(name)) {
            (Some(_), Some(state)) if state.is_configured() => {
                let machine = state.claim().map(|claim| claim.machine.to_string()).unwrap_or_default();
                Err(DeployError::Installed { node: name.clone(), machine })
            }
            (Some(view), _) if view.left.is_some() => {
                Err(DeployError::Left(view.left.clone().unwrap_or_default()))
            }
            (Some(_), _) => Ok(vec![name.clone()]),
            (None, _) => {
                let known = view.nodes.keys().map(|name| name.0.as_str()).collect::<Vec<_>>().join(", ");
                Err(DeployError::UnknownNode { node: name.clone(), known })
            }
        }
    }

    fn start(&mut self, effect: Effect) {
        let name = effect_name(&effect);
        self.checkpoints.reach(|| format!("before effect: {name}"));
        if let Effect::AnswerBoot { request, answer } = effect {
            if let Some(question) = self.questions.remove(&request) {
                // whoever asked may be gone; the decision stands and is found again at the next boot
                question.send(answer).ok();
            }
            self.checkpoints.reach(|| format!("after effect: {name}"));
        } else {
            let world = Arc::clone(&self.world);
            self.effects.spawn(async move {
                let fallback = effect.clone();
                // a panic in one effect must not leave its node waiting for ever
                match tokio::spawn(world.carry_out(effect)).await {
                    Ok(event) => (name, event),
                    Err(error) => (name, fallback.broken(&format!("internal error: {error}"))),
                }
            });
        }
    }

    /// The store did not take the transaction: nothing of the turn has happened. The core is rebuilt
    /// from what the store does hold, and firmwares are asked to come back.
    async fn abandon(
        &mut self,
        turn: &Turn,
        waiting: Waiting,
        error: &store::CommitError,
    ) -> Result<(), RunError> {
        tracing::error!(%error, turn = turn.name(), "the state could not be stored; nothing of this was done. Is the disk full?");
        for (answer, _) in waiting.deployed {
            answer.send(Err(DeployError::NotStored)).ok();
        }
        for (answer, _) in waiting.ordered {
            answer.send(Err(OrderError::NotStored)).ok();
        }
        for (_, question) in self.questions.drain() {
            let reason = "the daemon could not store its decision".to_owned();
            question.send(BootAnswer::Retry { seconds: 5, reason }).ok();
        }
        sleep(AFTER_FAILURE).await;
        // a doubt that could not be stored is not forgotten
        let is_older = self.high_water.is_above(self.store.revision());
        self.core = restore(&self.store, self.site.plan(), is_older).await?;
        self.evidence.say_again();
        Ok(())
    }
}

/// About whom there is evidence.
fn seen_in(event: &Event) -> Option<Machine> {
    match event {
        Event::Identified { machine, .. } | Event::BootAsked { machine, .. } => Some(machine.clone()),
        _ => None,
    }
}

/// A machine of which one card is known.
fn of_mac(mac: MacAddr) -> Machine {
    Machine { macs: [mac].into(), ..Machine::default() }
}

/// The next thing that a machine tells by itself.
async fn told(tidings: &mut Option<mpsc::Receiver<Tiding>>) -> Option<Tiding> {
    match tidings {
        Some(tidings) => tidings.recv().await,
        None => None,
    }
}
