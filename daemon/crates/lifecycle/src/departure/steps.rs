//! A departure goes on: what its next step asks of etcd and tells the world, and what comes of that.

use std::time::Duration;

use super::{Cause, Departure, DepartureWork, Going, Task, TaskOutcome, Wiped};
use crate::{Claim, Core, Effect, Erase, Guards, NodeName, NodeState, Progress, Ticket, Time, loss::Loss};

/// A machine that has not answered for so many intervals between looks is gone.
const GONE: u32 = 15;

/// Whatever it is that keeps a node from being emptied, after so long a person decides.
const DRAIN_FAILS: Duration = Duration::from_secs(5 * 60);

impl<G: Guards> Core<G> {
    /// Goes on with the departure that is under way, and with those that came back.
    pub(crate) fn advance_departures(&mut self, now: Time) {
        self.repair_learners(now);
        // what is told of them may be another thing now
        for name in self.ledger.departures.keys() {
            self.slots.get_mut(name);
        }
        self.departing.not_before = self.departing.not_before.min(now + self.plan.timing.watch);
        let mut all = self.ledger.departures.iter();
        let under_way = all.find(|(_, departure)| departure.is_under_way());
        let came_back = |(name, _): &(&NodeName, &Departure)| {
            matches!(self.node(name), Some(NodeState::Ready { .. }))
                || self.node(name).is_some_and(|state| state.claim().is_none())
        };
        let clears = |(_, departure): &(&NodeName, &Departure)| departure.step == Going::Clear;
        let next = under_way
            .or_else(|| self.ledger.departures.iter().find(clears))
            .or_else(|| self.ledger.departures.iter().find(came_back));
        let Some((name, departure)) = next.map(|(name, departure)| (name.clone(), departure.clone())) else {
            return;
        };
        let is_silent = self.slots.get(&name).is_some_and(|slot| slot.silent.is_some());
        if matches!(departure.cause, Cause::Replaced { .. })
            && departure.step < Going::Clear
            && !is_silent
            && self.node(&name).is_some_and(NodeState::is_configured)
        {
            self.stay(&name, vec!["its machine is back before it was replaced".to_owned()]);
            return;
        }
        if self.departing.in_flight.is_some() || now < self.departing.not_before || self.departing.stuck {
            return;
        }
        match departure.step {
            Going::Snapshot | Going::Remove => self.change_etcd(&name, &departure, now),
            Going::Drain if departure.undrained || self.is_gone(&name, now) => self.go(&name, Going::Remove),
            Going::Drain => self.tell_world(&name, Task::Drain),
            Going::Reset => self.tell_to_forget(&name, &departure, now),
            Going::Clear => self.clear(&name, departure),
            Going::Return if matches!(departure.cause, Cause::Repair | Cause::Unstarted) => {
                self.end_departure(&name)
            }
            Going::Return => self.clear(&name, departure),
        }
    }

    /// Steps that need etcd's word: the snapshot, and taking the member of a machine that does not answer away.
    fn change_etcd(&mut self, name: &NodeName, departure: &Departure, now: Time) {
        let loss = match self.loss_now(name, now) {
            Ok(loss) => loss,
            Err(reason) => return self.departure_waits(name, reason),
        };
        let nobody = self.node(name).is_none_or(|state| state.claim().is_none());
        let is_gone = nobody || self.is_gone(name, now) || matches!(departure.cause, Cause::Replaced { .. });
        match (loss, departure.step, &departure.cause) {
            (Loss::Nothing, Going::Snapshot, Cause::Reprovision | Cause::Reset | Cause::Removed { .. }) => {
                self.go(name, Going::Drain)
            }
            (Loss::Nothing, _, Cause::Replaced { .. }) => {
                // the machine in its port asks again and takes the slot; a person sees it meanwhile
                self.departure_waits(
                    name,
                    "the machine in its port takes the slot when it asks again".to_owned(),
                );
            }
            (Loss::Nothing, _, Cause::Unstarted) => self.end_departure(name),
            (Loss::Nothing, ..) => self.go(name, Going::Reset),
            (Loss::Member { address, .. }, Going::Snapshot, _) => {
                self.tell_world(name, Task::Snapshot { address });
            }
            // who lives leaves by itself
            (Loss::Member { learner: false, .. }, _, _) if !is_gone => self.go(name, Going::Reset),
            (Loss::Member { id, address, .. }, ..) => {
                self.tell_world(name, Task::Remove { address, member: id });
            }
        }
    }

    /// One look that fails is no absence.
    fn is_gone(&self, name: &NodeName, now: Time) -> bool {
        let silent = self.slots.get(name).and_then(|slot| slot.silent);
        silent.is_some_and(|since| now.since(since) >= self.plan.timing.observe.saturating_mul(GONE))
    }

    /// As long as nothing can run there, any node of Kubernetes is stale, whatever boot it tells of: Talos before 1.14 does not
    /// tell its own in Kubernetes's words. Later only that of the boot that is gone is, and the boot that runs is never that one.
    fn clear(&mut self, name: &NodeName, departure: Departure) {
        let nothing_runs = match self.node(name) {
            Some(NodeState::Leaving { .. }) => departure.step == Going::Clear,
            Some(NodeState::Deploying { progress, .. }) => {
                let may_have_a_config =
                    matches!(progress, Progress::Applying { .. } | Progress::Installing { .. });
                departure.step == Going::Clear && !may_have_a_config
            }
            state => {
                matches!(departure.cause, Cause::Removed { .. })
                    && state.is_none_or(|state| state.claim().is_none())
            }
        };
        if nothing_runs {
            return self.tell_world(name, Task::Forget);
        }
        let runs = self.node(name).and_then(NodeState::boot_id);
        let boot_id = departure.boot_id.filter(|boot_id| Some(boot_id.as_str()) != runs);
        self.tell_world(name, Task::Clear { boot_id });
    }

    /// By looks that are newer than the step.
    fn loss_now(&self, name: &NodeName, now: Time) -> Result<Loss, String> {
        let oldest = now.since(self.departing.from);
        let patience = self.plan.timing.observe.saturating_mul(10);
        let counts = |at| now.since(at) <= patience && now.since(at) <= oldest;
        let departure = self.ledger.departures.get(name);
        if departure.is_some_and(|departure| departure.cause == Cause::Unstarted) {
            // a member that has not started has no name
            return self.loss_of(&NodeName(String::new()), counts);
        }
        self.loss(name, counts)
    }

    /// Its machine is told to forget what it is, if etcd can spare it now.
    fn tell_to_forget(&mut self, name: &NodeName, departure: &Departure, now: Time) {
        let leaves_etcd = match self.loss_now(name, now) {
            Ok(Loss::Member { .. }) => true,
            Ok(Loss::Nothing) => false,
            Err(reason) => return self.departure_waits(name, reason),
        };
        let Some(slot) = self.slots.get(name) else { return };
        if !slot.state.is_configured() && !matches!(slot.state, NodeState::Leaving { .. }) {
            // it came back meanwhile
            return self.go(name, Going::Clear);
        }
        let Some(look) = slot.look.clone().filter(|look| look.at >= self.departing.from.min(now)) else {
            let is_gone = self.is_gone(name, now);
            if is_gone && !leaves_etcd && matches!(departure.cause, Cause::Removed { .. }) {
                // its keys are on its disk still
                self.vacate(name, &departure.by, now);
                self.go(name, Going::Clear);
            } else if is_gone && !leaves_etcd && departure.cause == Cause::Reprovision {
                // nobody is there to be told: the next boot from the network wipes it
                let boot_id = departure.boot_id.clone().unwrap_or_default();
                self.leaves(name, boot_id, departure, now);
                self.go(name, Going::Clear);
            } else if is_gone && leaves_etcd {
                self.go(name, Going::Remove);
            } else {
                self.departure_waits(name, "its machine has not answered since".to_owned());
            }
            return;
        };
        let wiped = match departure.cause {
            Cause::Reset | Cause::Removed { wipe: false } => Wiped::State,
            Cause::Repair | Cause::Unstarted => Wiped::Data,
            Cause::Replaced { .. } | Cause::Reprovision | Cause::Removed { wipe: true } => Wiped::Disk,
        };
        let boot_id = look.boot_id.clone();
        let comes_back = !matches!(departure.cause, Cause::Removed { .. });
        if wiped == Wiped::Disk && comes_back && !self.boots_from_the_network_next(name) {
            return self.departure_waits(
                name,
                "its service processor is told that it boots from the network next".to_owned(),
            );
        }
        if wiped != Wiped::Data && comes_back {
            self.leaves(name, boot_id.clone(), departure, now);
        }
        let task = Task::Reset { address: look.address, boot_id, leaves_etcd, wiped };
        self.tell_world(name, task);
    }

    /// From now on its config counts for nothing: whatever it was, it is waited for as a machine that comes anew.
    fn leaves(&mut self, name: &NodeName, boot_id: String, departure: &Departure, now: Time) {
        if let Some(NodeState::Leaving { claim, permit, since, .. }) = self.node(name).cloned() {
            // it was told before, and may have heard
            self.move_node(name, NodeState::Leaving { claim, permit, boot_id, since }, Vec::new());
            return;
        }
        let Some(mut claim) = self.node(name).and_then(NodeState::claim).cloned() else { return };
        claim.told = None;
        claim.kept = departure.cause == Cause::Reset;
        // its own word wipes the disk; should that be lost, the next netboot does, once
        claim.erase = (departure.cause == Cause::Reprovision).then(|| Erase {
            disk: String::new(),
            by: departure.by.clone(),
            wiped: false,
        });
        let permit = self.new_permit(&departure.by, now);
        let told = format!("told in boot {boot_id}");
        self.move_node(name, NodeState::Leaving { claim, permit, boot_id, since: now }, vec![told]);
    }

    pub(crate) fn departed(&mut self, name: &NodeName, ticket: Ticket, outcome: TaskOutcome, now: Time) {
        let Some((_, told)) = self.departing.in_flight.filter(|(under_way, _)| *under_way == ticket) else {
            return;
        };
        self.departing.in_flight = None;
        let Some(departure) = self.ledger.departures.get(name).cloned() else { return };
        // a person decided something else meanwhile
        if departure.step != told {
            return;
        }
        self.departing.from = now;
        let pause = |core: &mut Self, reason: String| {
            core.departing.not_before = now + core.plan.timing.retry;
            core.departure_waits(name, reason);
        };
        let (is_done, words) = match outcome {
            TaskOutcome::Done { summary } => (true, summary),
            TaskOutcome::Skipped { reason } => (false, reason),
            TaskOutcome::Failed { reason } => {
                // who cannot be asked to let pods go has no say in it, and what is stale there is seen to later
                if departure.step == Going::Clear {
                    self.go(name, Going::Return);
                }
                let since = *self.departing.failing.get_or_insert(now);
                if departure.step == Going::Drain && now.since(since) >= DRAIN_FAILS {
                    return self.is_stuck(name, &departure, &reason);
                }
                return pause(self, reason);
            }
            TaskOutcome::Stuck { reason } => return self.is_stuck(name, &departure, &reason),
        };
        self.note(&name.0, departure.describe(&DepartureWork::default()), vec![words]);
        match (departure.step, &departure.cause) {
            (Going::Snapshot, Cause::Replaced { .. }) => self.go(name, Going::Remove),
            (Going::Snapshot, _) => self.go(name, Going::Drain),
            (Going::Drain, _) => self.go(name, Going::Remove),
            // whether it is gone is seen, not believed
            (Going::Remove, _) => {}
            (Going::Reset, Cause::Repair) if is_done => self.end_departure(name),
            // it has forgotten what it was: nobody needs to be kept from it
            (Going::Reset, Cause::Removed { .. }) if is_done => {
                self.move_node(name, NodeState::Vacant { permit: None }, Vec::new());
                self.forget(name);
                self.go(name, Going::Clear);
            }
            (Going::Reset, _) if is_done => {
                if let Some(NodeState::Leaving { mut claim, permit, boot_id, since }) =
                    self.node(name).cloned()
                {
                    if let Some(erase) = &mut claim.erase {
                        erase.wiped = true;
                    }
                    self.move_node(name, NodeState::Leaving { claim, permit, boot_id, since }, Vec::new());
                }
                self.go(name, Going::Clear);
            }
            (Going::Reset, _) => pause(self, "it was not told".to_owned()),
            (Going::Clear, _) => self.go(name, Going::Return),
            // it wiped itself, and could not leave etcd before that: nobody comes back who would see to it
            (Going::Return, Cause::Removed { .. })
                if self.node(name).is_none_or(|it| it.claim().is_none())
                    && self.is_no_member(name).is_err() =>
            {
                self.go(name, Going::Remove);
            }
            (Going::Return, _) => {
                if !matches!(departure.cause, Cause::Removed { .. })
                    || self.node(name).is_some_and(|it| it.claim().is_some())
                {
                    self.note(&name.0, "is back", Vec::new());
                }
                self.end_departure(name);
            }
        }
    }

    /// A person decides how it goes on.
    fn is_stuck(&mut self, name: &NodeName, departure: &Departure, reason: &str) {
        self.departing.stuck = true;
        let command = match departure.cause {
            Cause::Reset => "reset",
            Cause::Removed { .. } => "remove",
            _ => "reprovision",
        };
        let ways = format!("`ichord {command} {name} --without-drain`, or `--cancel`");
        self.departure_waits(name, format!("{reason}. It goes on when you say so: {ways}"));
    }

    /// Its machine still runs in the boot that was told, and should be about to end that.
    pub(crate) fn lingers(&mut self, name: &NodeName, claim: Claim, boot_id: String, now: Time) {
        let told = self.ledger.departures.get(name).is_some_and(|departure| departure.step > Going::Reset);
        let since = self.node(name).and_then(NodeState::since).unwrap_or(now);
        if told && now.since(since) >= self.plan.timing.bootstrap_grace {
            self.remembers(name, claim, boot_id, now);
        }
    }

    /// The machine of a node that was to forget has not: it is told again.
    pub(crate) fn remembers(&mut self, name: &NodeName, claim: Claim, boot_id: String, now: Time) {
        let Some(departure) = self.ledger.departures.get(name).cloned() else { return };
        if self.departing.in_flight.is_some() {
            return;
        }
        let permit = match self.node(name).and_then(NodeState::permit) {
            Some(permit) => permit.clone(),
            None => self.new_permit(&departure.by, now),
        };
        let words = vec![format!("it answers with our CA in boot {boot_id}, and should have forgotten that")];
        self.move_node(
            name,
            NodeState::Leaving { claim, permit, boot_id: boot_id.clone(), since: now },
            words,
        );
        if departure.step != Going::Reset {
            self.go(name, Going::Reset);
        }
    }

    /// Whose departure needs fresh looks at all control planes now.
    pub(crate) fn looked_at_for_departure(&self) -> Option<NodeName> {
        let mut all = self.ledger.departures.iter();
        all.find(|(_, departure)| departure.is_under_way()).map(|(name, _)| name.clone())
    }

    /// Whether another machine takes its place.
    pub(crate) fn is_replaced(&self, name: &NodeName) -> bool {
        let departure = self.ledger.departures.get(name);
        departure.is_some_and(|departure| matches!(departure.cause, Cause::Replaced { .. }))
    }

    /// Whether this machine is to come back from its own disk.
    pub(crate) fn keeps_talos(&self, name: &NodeName) -> bool {
        self.ledger.departures.get(name).is_some_and(|departure| departure.cause == Cause::Reset)
    }

    fn tell_world(&mut self, name: &NodeName, task: Task) {
        let ticket = self.ticket();
        let Some(step) = self.ledger.departures.get(name).map(|departure| departure.step) else { return };
        self.departing.in_flight = Some((ticket, step));
        self.departing.waiting = None;
        self.touch(name);
        // the decision is in the store before anybody hears of it
        self.write_cluster();
        self.start(Effect::Depart { node: name.clone(), ticket, task });
    }

    pub(crate) fn go(&mut self, name: &NodeName, step: Going) {
        if let Some(departure) = self.ledger.departures.get_mut(name) {
            departure.step = step;
            self.departing = DepartureWork {
                from: self.departing.from,
                in_flight: self.departing.in_flight.take(),
                not_before: self.last,
                ..DepartureWork::default()
            };
            self.write_cluster();
            self.touch(name);
        }
    }

    fn departure_waits(&mut self, name: &NodeName, reason: String) {
        if self.departing.waiting.as_ref() != Some(&reason) {
            self.note(&name.0, "its departure waits", vec![reason.clone()]);
            self.departing.waiting = Some(reason);
            self.touch(name);
        }
    }

    /// Its picture is drawn anew.
    fn touch(&mut self, name: &NodeName) {
        self.slots.get_mut(name);
    }
}
