//! Machines that are switched: what the site lets the daemon do about their power, what it may decide by itself, and what
//! comes of it. A machine that stands still waits for whoever switches it.

use lifecycle::{
    BootAnswer, Event, Guards, NodeName, NodeState, NodeView, Order, PowerAction, PowerOutcome, Progress,
    Switch, Time,
};
use machine::model::{BootOrder, Stage, Storage};

use crate::{
    invariants::Violation,
    run::{Due, Simulation},
    scenario::Mishap,
    world::World,
};

/// So often one permit pays.
const SWITCHES: u32 = 2;

impl<G: Guards> Simulation<G> {
    /// Machines whose firmware can be told what it boots next start from their own disks otherwise.
    pub(crate) fn prepare_power(&mut self) {
        for slot in 0..self.names.len() {
            if self.scenario.switch(slot) == Some(Switch::Processor) {
                let (label, number) = (self.label(slot), u8::try_from(slot + 1).unwrap_or(u8::MAX));
                self.world.rack_up(&label, number, Storage::default(), BootOrder::DiskFirst);
            }
        }
    }

    /// A machine is to be switched: the site says how, and a person or the state of its slot says that it may be.
    pub(crate) fn may_be_switched(&mut self, node: &NodeName, action: PowerAction) -> Result<(), Violation> {
        let possible = match self.plan.nodes.get(node).and_then(|plan| plan.power) {
            None => false,
            Some(Switch::OnlyOn) => action == PowerAction::On,
            Some(Switch::Full) => action != PowerAction::NetworkBoot,
            Some(Switch::Processor) => true,
        };
        if !possible {
            return Err(Violation::NoSwitch { node: node.clone() });
        }
        match action {
            PowerAction::NetworkBoot => self.outcome.next_boots += 1,
            _ => self.outcome.switches += 1,
        }
        let ordered = self.switching.iter().position(|(of, what)| of == node && *what == action);
        if let Some(ordered) = ordered {
            self.switching.remove(ordered);
            return Ok(());
        }
        let state = self.stored.get(node);
        let allowed = match (action, state) {
            (PowerAction::On, Some(NodeState::Vacant { permit: Some(_) })) => true,
            (
                PowerAction::Cycle,
                Some(
                    NodeState::Leaving { .. }
                    | NodeState::Deploying {
                        progress: Progress::Firmware { .. } | Progress::Kernel { .. },
                        ..
                    },
                ),
            ) => true,
            // it takes no power away, and whoever is to wipe itself was to be taken out
            (PowerAction::NetworkBoot, _) => {
                return match self.core.departure(node) {
                    Some(_) => Ok(()),
                    None => Err(Violation::PowerTaken { node: node.clone() }),
                };
            }
            _ => false,
        };
        if !allowed {
            return Err(Violation::PowerTaken { node: node.clone() });
        }
        if let Some(permit) = state.and_then(NodeState::permit) {
            let times = self.switched.entry(permit.id.clone()).or_default();
            *times += 1;
            if *times > SWITCHES {
                return Err(Violation::PermitOver { node: node.clone() });
            }
        }
        Ok(())
    }

    /// The boot script arrives, and the machine stands still.
    pub(crate) fn hangs(&mut self, label: &str, answer: &BootAnswer) -> bool {
        let BootAnswer::Deploy { node } = answer else { return false };
        let Some(slot) = self.names.iter().position(|name| name == node) else { return false };
        let hangs = self.scenario.has(|mishap| *mishap == Mishap::Hangs { slot }) && self.hung.insert(slot);
        if hangs {
            self.tell(|| format!("{label} stands still"));
        }
        hangs
    }

    /// Who stands still is switched off and on: by the command where the site says how, by hand otherwise.
    pub(crate) fn switch_who_stands_still(&mut self) -> Result<(), Violation> {
        if self.hung.is_empty() {
            return Ok(());
        }
        let view = self.core.view(Time(self.clock()));
        let stands =
            |node: &NodeView| node.hint.as_ref().is_some_and(|hint| hint.contains("no file request since"));
        let stand: Vec<NodeName> =
            view.nodes.iter().filter(|(_, node)| stands(node)).map(|(name, _)| name.clone()).collect();
        for node in stand {
            let order = Order::Power {
                node: node.clone(),
                action: PowerAction::Cycle,
                network_boot: true,
                forced: false,
            };
            if self.core.weigh(&order).is_ok() {
                self.switching.push((node, PowerAction::Cycle));
                self.hear(Event::Ordered { order, by: "a person".into() })?;
            } else if let Some(label) = self.world.boxed(&node)
                && self
                    .plan
                    .nodes
                    .get(&node)
                    .is_some_and(|plan| plan.power.is_none_or(|it| it == Switch::OnlyOn))
            {
                self.world.power_off(&label, self.now);
                self.later(1_000, Due::PowerOn { label });
            }
        }
        Ok(())
    }
}

impl World {
    /// What is in the slot's port hangs on the slot's switch.
    pub(crate) fn switch(
        &mut self,
        node: &NodeName,
        action: PowerAction,
        network_boot: bool,
        now: u64,
    ) -> Result<PowerOutcome, Violation> {
        let machine = self.boxed(node).and_then(|label| self.rack.machines.get_mut(&label));
        let Some(machine) = machine else {
            return Ok(PowerOutcome::Failed { reason: "its service processor has no power".into() });
        };
        if action == PowerAction::On && machine.stage() != Stage::Off {
            return Ok(PowerOutcome::Done { summary: "it is on already: nothing was changed".into() });
        }
        if let Some(other) = machine.hostname().filter(|name| *name != node.0) {
            return Err(Violation::OtherSlotTouched { node: node.clone(), other: other.to_owned() });
        }
        if network_boot {
            machine.boot_from_network_next();
        }
        if matches!(action, PowerAction::Off | PowerAction::Cycle) {
            machine.power_off(now);
            self.power_lost = Some(now);
        }
        if matches!(action, PowerAction::On | PowerAction::Cycle) {
            machine.power_on(now);
        }
        Ok(PowerOutcome::Done { summary: "so it is".into() })
    }
}
