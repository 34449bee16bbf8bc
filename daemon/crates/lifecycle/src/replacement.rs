//! Another machine in the port of one that is dead: on what grounds it takes the slot, and what must be so before.

use std::time::Duration;

use crate::{
    BootAnswer, Cause, Claim, Core, Departure, EtcdObservation, Going, Guards, Machine, NodeName, NodeState,
    ReplacePolicy, State, Time, claims::Replacement, loss::Loss,
};

/// A day, over which automatic replacements are counted.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What allows a machine to take a slot from its holder.
enum Ground {
    Person(String),
    Site,
    /// the holder's place was never more than its own word
    Witness,
}

impl<G: Guards> Core<G> {
    /// Another machine is plugged in where a slot is held: it takes the slot, or is told what it waits for.
    pub(crate) fn contend(&mut self, name: &NodeName, claim: Claim, now: Time) -> Result<BootAnswer, String> {
        let rival = claim.machine.clone();
        if let Some(slot) = self.slots.get_mut(name)
            && slot.rival.as_ref() != Some(&rival)
        {
            slot.rival = Some(rival);
            self.note(
                &name.0,
                format!("{} is plugged in where {name} is held", claim.machine),
                claim.evidence.clone(),
            );
        }
        let ground = self.may_replace(name, &claim, now)?;
        let is_witness = matches!(ground, Ground::Witness);
        let (by, automatic) = match ground {
            Ground::Person(by) => (by, false),
            Ground::Site => ("replace: same-port".to_owned(), true),
            Ground::Witness => ("a second witness".to_owned(), false),
        };
        if !is_witness {
            self.etcd_lets_go(name, &claim.machine, &by, automatic, now)?;
        }
        let holder = self.node(name).and_then(NodeState::claim).map(|held| held.machine.clone());
        let holder = holder.map(|machine| machine.to_string()).unwrap_or_default();
        self.note(
            &name.0,
            format!("{} takes the place of {holder}", claim.machine),
            vec![format!("by {by}")],
        );
        let departure = self.ledger.departures.get(name).cloned();
        if !is_witness && departure.is_none() && self.node(name).is_some_and(NodeState::is_configured) {
            let cause = Cause::Replaced { machine: claim.machine.clone() };
            self.begin(name, cause, Going::Clear, true, &by, now);
        } else if departure.is_some() {
            self.go(name, Going::Clear);
        }
        self.vacate(name, &by, now);
        if automatic && departure.is_none() {
            self.count_replacement(name, now);
        }
        let permit = self.new_permit(&by, now);
        Ok(self.fill(name, claim, permit, now))
    }

    fn count_replacement(&mut self, name: &NodeName, now: Time) {
        self.ledger.replacements.retain(|replacement| now.since(replacement.at) < DAY);
        self.ledger.replacements.push(Replacement { node: name.clone(), at: now });
        self.write_cluster();
    }

    /// A machine may take the place of another one when etcd does not count on that any more; where it does, the dead
    /// member is taken out first, if the others can do that and keep their quorum.
    fn etcd_lets_go(
        &mut self,
        name: &NodeName,
        rival: &Machine,
        by: &str,
        automatic: bool,
        now: Time,
    ) -> Result<(), String> {
        let Err(counted) = self.is_no_member(name) else { return Ok(()) };
        if let Some(departure) = self.ledger.departures.get(name).filter(|it| it.is_under_way()) {
            return Err(format!("{name} is taken out: {}", departure.describe(&self.departing)));
        }
        self.alone(name)?;
        match self.loss(name, |_| true) {
            Ok(Loss::Member { .. }) => {}
            Ok(Loss::Nothing) => return Err(counted),
            Err(reason) => return Err(reason),
        }
        let cause = Cause::Replaced { machine: rival.clone() };
        self.begin(name, cause, Going::Snapshot, true, by, now);
        if automatic {
            self.count_replacement(name, now);
        }
        Err(format!("{rival} becomes {name} when the dead one is out of etcd"))
    }

    fn may_replace(&self, name: &NodeName, claim: &Claim, now: Time) -> Result<Ground, String> {
        let slot = self.planned(name)?;
        let holder = slot.state.claim().ok_or_else(|| format!("nobody holds {name}"))?;
        let held = format!("{name} is held by {}", holder.machine);
        let tentative = slot.state.state() == State::Firmware || slot.state.state() == State::Kernel;
        if tentative
            && holder.told.is_none()
            && !holder.attested
            && holder.vouched.is_none()
            && claim.attested
        {
            return Ok(Ground::Witness);
        }
        self.is_silent(name, slot, holder)?;
        if let Some(approval) = slot.approved.as_ref().filter(|it| it.machine.is_same_as(&claim.machine)) {
            return Ok(Ground::Person(approval.by.clone()));
        }
        let ReplacePolicy::SamePort { after, per_day } = self.plan.replace else {
            return Err(format!(
                "{held}, which does not answer; `ichord slot approve {name}` gives it to {}",
                claim.machine
            ));
        };
        if claim.port.is_none() || !claim.attested {
            return Err(format!(
                "{held}, and nobody but {} says that it is in the same port: `ichord slot approve {name}`",
                claim.machine
            ));
        }
        if self.ledger.unsure {
            return Err(format!("{held}, {}", of_a_backup(name)));
        }
        let silent = slot.silent.map(|since| now.since(since)).unwrap_or_default();
        if silent < after {
            return Err(format!(
                "{held}, which has not answered for {} s; after {} s the machine in its port takes over",
                silent.as_secs(),
                after.as_secs()
            ));
        }
        let mut others =
            self.slots.iter().filter(|(other, slot)| *other != name && slot.state.is_configured());
        let nobody_answers = others.clone().next().is_some() && others.all(|(_, slot)| slot.silent.is_some());
        if nobody_answers {
            return Err(format!("{held}, and no other node answers either: that is the network, not {name}"));
        }
        let begun = self.ledger.departures.get(name).map(|departure| departure.since);
        let is_this = |it: &Replacement| it.node == *name && begun.is_some_and(|begun| begun <= it.at);
        let recent = || self.ledger.replacements.iter().filter(|it| now.since(it.at) < DAY && !is_this(it));
        let running = recent().find(|it| {
            self.node(&it.node).is_some_and(|state| !matches!(state, NodeState::Ready { .. }))
                && it.node != *name
                && !self.is_kept_out(&it.node, name)
        });
        if let Some(running) = running {
            return Err(format!("{held}, and {} is still being replaced: one at a time", running.node));
        }
        let back = |other: &NodeName| matches!(self.node(other), Some(NodeState::Ready { .. }));
        let waits = |other: &&NodeName| *other != name && !back(other) && !self.is_kept_out(other, name);
        if let Some(other) = self.ledger.departures.keys().find(waits) {
            return Err(format!("{held}, and {other} is taken out and not back yet: one at a time"));
        }
        if recent().count() >= usize::from(per_day) {
            return Err(format!("{held}, and {}", enough(name, per_day)));
        }
        Ok(Ground::Site)
    }

    /// etcd adds nobody while it does not hear one of its voters: who waits to join comes back only after that one is out.
    fn is_kept_out(&self, other: &NodeName, dead: &NodeName) -> bool {
        let waits = self.slots.get(other).is_some_and(|slot| {
            let etcd = slot.look.as_ref().map(|look| &look.etcd);
            matches!(slot.state, NodeState::Configured { .. }) && etcd == Some(&EtcdObservation::Waiting)
        });
        waits && self.is_no_member(dead).is_err()
    }

    /// The holder and the machine that would take its place.
    pub(crate) fn admissible(&self, node: &NodeName) -> Result<(Machine, Machine), String> {
        let slot = self.planned(node)?;
        let holder = slot.state.claim().ok_or_else(|| {
            format!("nobody holds {node}: `ichord deploy {node}` lets its machine be installed")
        })?;
        let rival = slot.rival.clone().ok_or_else(|| {
            format!("no other machine has asked for {node} yet: plug it into its port and switch it on")
        })?;
        self.is_silent(node, slot, holder)?;
        if self.is_no_member(node).is_err() {
            self.alone(node)?;
            self.loss(node, |_| true)?;
        }
        Ok((holder.machine.clone(), rival))
    }

    /// What a machine that is plugged in where a dead one was waits for, beyond that one's death.
    pub(crate) fn rival_waits(&self, name: &NodeName, now: Time) -> Option<String> {
        let slot = self.slots.get(name)?;
        let rival = slot.rival.as_ref()?;
        if self.ledger.departures.contains_key(name) {
            return None;
        }
        let waits = |reason: String| Some(format!("{rival} is plugged in there and waits: {reason}"));
        // what etcd cannot spare no word changes
        if self.is_no_member(name).is_err()
            && let Err(reason) = self.loss(name, |_| true)
        {
            return waits(reason);
        }
        let ReplacePolicy::SamePort { per_day, .. } = self.plan.replace else { return None };
        let holder = slot.state.claim().filter(|_| slot.approved.is_none())?;
        let held = format!("{name} is held by {}", holder.machine);
        if self.ledger.unsure {
            return waits(format!("{held}, {}", of_a_backup(name)));
        }
        let recent = self.ledger.replacements.iter().filter(|it| now.since(it.at) < DAY).count();
        if recent >= usize::from(per_day) {
            waits(format!("{held}, and {}", enough(name, per_day)))
        } else {
            None
        }
    }

    /// Nobody was replaced: the next one may be.
    pub(crate) fn uncount_replacement(&mut self, name: &NodeName, departure: &Departure) {
        let of_this = |it: &Replacement| it.node == *name && it.at >= departure.since;
        if self.ledger.replacements.iter().any(of_this) {
            self.ledger.replacements.retain(|it| !of_this(it));
            self.write_cluster();
        }
    }
}

/// Why a site's own permission to replace does not count any more today.
fn enough(name: &NodeName, per_day: u8) -> String {
    format!("{per_day} machines were replaced within a day: `ichord slot approve {name}`")
}

/// Why a site's own permission to replace does not count.
fn of_a_backup(name: &NodeName) -> String {
    format!(
        "as a store knows that was brought back from a backup: `ichord slot approve {name}` if that is still so"
    )
}
