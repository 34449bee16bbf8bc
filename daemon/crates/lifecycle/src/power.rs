//! Machines that have to boot are switched: when, how often, and who is told to press a button instead.
//!
//! A permit pays for each time, before it happens, so there is no loop whatever the machine does. By itself the core never
//! takes the power from a machine that may run anything: one without a slot is only switched on, and one that holds a slot
//! starts anew only while it is being installed or was told to forget what it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Core, Effect, Guards, NodeName, NodeState, Progress, Role, State, Ticket, Time, departure::NextBoot,
    loss::Loss, slot::Slot, slots::Key,
};

/// A machine on its way from its firmware that has not been heard of for so long stands still.
const STANDS_STILL: Duration = Duration::from_secs(5 * 60);

/// What the site can do about a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// on, off, and which way it boots next, also while it runs: a service processor
    Processor,
    /// on, off, and which way it boots then
    Full,
    /// on
    OnlyOn,
}

/// What is done to a machine's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerAction {
    /// on, if it is off
    On,
    /// off, at once
    Off,
    /// off and on
    Cycle,
    /// its next boot is from the network; its power stays as it is
    NetworkBoot,
    /// only looked at
    Status,
}

impl PowerAction {
    fn name(self) -> &'static str {
        match self {
            Self::On => "switched on",
            Self::Off => "switched off",
            Self::Cycle => "switched off and on",
            Self::NetworkBoot => "told to boot from the network next",
            Self::Status => "looked at",
        }
    }
}

/// How that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PowerOutcome {
    /// in words
    Done {
        /// what it did
        summary: String,
    },
    /// nobody knows what the machine does
    Failed {
        /// why
        reason: String,
    },
}

/// What is only known now of a machine's power.
#[derive(Debug, Clone, Default)]
pub(crate) struct PowerWork {
    pub(crate) in_flight: Option<Ticket>,
    /// of the site: how its machine is switched
    pub(crate) switch: Option<Switch>,
    /// by itself not before then
    from: Time,
    /// the machine of the vacant slot was switched on for the permit that is open
    started: bool,
    /// how the last one ended
    pub(crate) ended: Option<PowerOutcome>,
}

impl PowerWork {
    /// A new permit, or a clock that went back.
    pub(crate) fn anew(&mut self) {
        (self.from, self.started) = (Time::default(), false);
    }
}

impl Slot {
    /// When its machine is to be switched by the daemon itself.
    pub(crate) fn power_due(&self) -> Option<Time> {
        let switch = self.power.switch?;
        let permit = self.state.permit()?;
        if permit.switches_left == 0 || permit.boots_left == 0 || self.power.in_flight.is_some() {
            return None;
        }
        let due = match &self.state {
            // who asked has power
            NodeState::Vacant { .. } if self.power.started || self.candidate.is_some() => return None,
            NodeState::Vacant { .. } => Time::default(),
            _ if switch == Switch::OnlyOn => return None,
            NodeState::Deploying {
                progress: Progress::Firmware { since } | Progress::Kernel { since },
                ..
            } => *since + STANDS_STILL,
            // nobody was there to be told
            NodeState::Leaving { claim, since, .. }
                if !claim.kept && self.silent.is_some_and(|it| it <= *since) =>
            {
                *since
            }
            NodeState::Leaving { claim, since, .. } if !claim.kept => {
                *since + State::Leaving.facts().limit.as_ref()?.duration()
            }
            _ => return None,
        };
        Some(due.max(self.power.from))
    }
}

impl<G: Guards> Core<G> {
    /// Switches machines that have to boot, each as often as its permit pays for.
    pub(crate) fn switch_where_due(&mut self, now: Time) {
        for name in self.slots.due(Key::Power, now) {
            let Some(mut state) = self.node(&name).cloned() else { continue };
            let action = match state {
                NodeState::Vacant { .. } => PowerAction::On,
                _ => PowerAction::Cycle,
            };
            let Some(permit) = state.permit_mut() else { continue };
            if permit.refusal(now).is_some() {
                // it is void, and may stand for long
                permit.switches_left = 0;
                self.move_node(&name, state, Vec::new());
                continue;
            }
            permit.switches_left -= 1;
            let left = permit.switches_left;
            self.move_node(&name, state, Vec::new());
            let evidence =
                vec![format!("its permit pays, {left} left"), "it has to boot from the network".to_owned()];
            self.switch(&name, action, true, evidence);
        }
    }

    /// What a person's order would do, or why it cannot be done.
    pub(crate) fn may_switch(
        &self,
        name: &NodeName,
        action: PowerAction,
        network_boot: bool,
        forced: bool,
    ) -> Result<String, String> {
        let slot = self.planned(name)?;
        let place = self.place(name);
        let Some(switch) = slot.power.switch else {
            return Err(format!(
                "nothing in the site says how {name} is switched (`power:` of its machine in ichord.yaml): do it by hand, it \
                 is in {place}"
            ));
        };
        if slot.power.in_flight.is_some() {
            return Err(format!("{name} is being switched already"));
        }
        if action == PowerAction::NetworkBoot && switch != Switch::Processor {
            return Err(format!(
                "only a service processor (`redfish` under `power:`) can say what {name} boots next while it runs: choose it in \
                 its firmware, it is in {place}"
            ));
        }
        if switch == Switch::OnlyOn && action != PowerAction::On {
            return Err(format!("Wake-on-LAN can only switch {name} on: do it by hand, it is in {place}"));
        }
        let takes_away = matches!(action, PowerAction::Off | PowerAction::Cycle);
        if takes_away && !forced && slot.silent.is_none() && slot.state.is_configured() {
            self.can_spare(name)?;
        }
        let told = network_boot && action != PowerAction::NetworkBoot;
        let boots = if told { ", and boots from the network once" } else { "" };
        Ok(format!("{name} ({place}) is {}{boots}", action.name()))
    }

    /// A control plane whose power goes is missing in etcd.
    fn can_spare(&self, name: &NodeName) -> Result<(), String> {
        if self.plan.nodes.get(name).is_none_or(|plan| plan.role == Role::Worker) {
            return Ok(());
        }
        match self.loss(name, |_| true) {
            Ok(Loss::Nothing | Loss::Member { .. }) => Ok(()),
            Err(reason) => Err(format!("{reason}. `--force` takes its power all the same")),
        }
    }

    /// Starts it. The note is in the store before anything happens.
    pub(crate) fn switch(
        &mut self,
        name: &NodeName,
        action: PowerAction,
        network_boot: bool,
        evidence: Vec<String>,
    ) {
        let ticket = self.ticket();
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.power.in_flight = Some(ticket);
        let machine = slot.state.claim().map(|claim| &claim.machine);
        let machine = machine.or_else(|| slot.candidate.as_ref().map(|candidate| &candidate.machine));
        let macs = machine.map(|machine| machine.macs.iter().copied().collect()).unwrap_or_default();
        if action != PowerAction::Status {
            self.note(&name.0, format!("is {}", action.name()), evidence);
        }
        self.start(Effect::Power { node: name.clone(), ticket, action, network_boot, macs });
    }

    pub(crate) fn powered(&mut self, name: &NodeName, ticket: Ticket, outcome: PowerOutcome, now: Time) {
        let (retry, place) = (self.plan.timing.retry, self.place(name));
        let Some(slot) = self.slots.get_mut(name).filter(|slot| slot.power.in_flight == Some(ticket)) else {
            return;
        };
        slot.power.in_flight = None;
        if self.departing.next_boot == NextBoot::Asked(ticket) {
            slot.power.ended = Some(outcome.clone());
            return self.next_boot_is_settled(name, outcome);
        }
        let is_done = matches!(outcome, PowerOutcome::Done { .. });
        slot.power.started |= is_done;
        slot.power.from = if is_done { now + STANDS_STILL } else { now + retry };
        let again = slot.power_due().is_some();
        slot.power.ended = Some(outcome.clone());
        match outcome {
            PowerOutcome::Done { summary } => self.note(&name.0, "power", vec![summary]),
            PowerOutcome::Failed { reason } => {
                let then = match again {
                    true => "it is tried once more".to_owned(),
                    false => format!("switch it off and on by hand: it is in {place}"),
                };
                self.note(&name.0, "its power does not obey", vec![reason, then]);
            }
        }
    }

    /// Whether a machine that is about to wipe itself and boot has been told, as far as that can be told, that this boot is
    /// from the network: what is left on its disk, and its own order of boots, have no say in it then.
    pub(crate) fn boots_from_the_network_next(&mut self, name: &NodeName) -> bool {
        let Some(slot) = self.slots.get(name) else { return true };
        if slot.power.switch != Some(Switch::Processor) {
            return true;
        }
        match self.departing.next_boot {
            NextBoot::Settled => true,
            NextBoot::Asked(ticket) if slot.power.in_flight == Some(ticket) => false,
            // a person switches it just now
            _ if slot.power.in_flight.is_some() => false,
            _ => {
                self.switch(
                    name,
                    PowerAction::NetworkBoot,
                    true,
                    vec!["it is about to wipe itself".to_owned()],
                );
                let asked = self.slots.get(name).and_then(|slot| slot.power.in_flight);
                self.departing.next_boot = asked.map_or(NextBoot::Settled, NextBoot::Asked);
                false
            }
        }
    }

    /// A processor that does not obey keeps nobody from going on: the firmware's own order decides then.
    fn next_boot_is_settled(&mut self, name: &NodeName, outcome: PowerOutcome) {
        self.departing.next_boot = NextBoot::Settled;
        match outcome {
            PowerOutcome::Done { summary } => self.note(&name.0, "power", vec![summary]),
            PowerOutcome::Failed { reason } => {
                let place = self.place(name);
                let then =
                    format!("if it does not boot from the network by itself, choose that by hand: {place}");
                self.note(&name.0, "its power does not obey", vec![reason, then]);
            }
        }
    }

    /// Where a person finds the slot's machine.
    pub(crate) fn place(&self, name: &NodeName) -> String {
        let claim = self.node(name).and_then(NodeState::claim);
        let port = claim.and_then(|claim| claim.port.as_ref()).map(ToString::to_string);
        let planned =
            self.plan.nodes.get(name).map(|plan| plan.place.clone()).filter(|place| !place.is_empty());
        let machine = claim.map(|claim| claim.machine.to_string());
        let place = planned.or(port);
        match (place, machine) {
            (Some(place), Some(machine)) => format!("{place}, {machine}"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "an unknown place".to_owned(),
        }
    }

    /// Whom a person has to switch, where the machine has to boot and nothing else can switch it.
    pub(crate) fn by_hand(&self, name: &NodeName) -> Option<String> {
        let slot = self.slots.get(name)?;
        let failed =
            matches!(slot.power.ended, Some(PowerOutcome::Failed { .. })) && slot.power_due().is_none();
        let cannot = match (&slot.state, slot.power.switch) {
            (_, None) => true,
            (NodeState::Vacant { .. }, Some(_)) | (_, Some(Switch::Full | Switch::Processor)) => failed,
            (_, Some(Switch::OnlyOn)) => true,
        };
        let place = self.place(name);
        match &slot.state {
            _ if !cannot => None,
            NodeState::Vacant { permit: Some(permit) }
                if permit.boots_left > 0 && slot.candidate.is_none() =>
            {
                Some(format!("switch its machine on: {place}"))
            }
            NodeState::Leaving { claim, .. } if !claim.kept && slot.silent.is_some() => {
                Some(format!("if it does not boot from the network by itself, switch it off and on: {place}"))
            }
            _ => None,
        }
    }
}
