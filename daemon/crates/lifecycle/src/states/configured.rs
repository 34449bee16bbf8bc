//! Configured: it answered with our CA from a boot after the config was applied.

use hardware::Inventory;

use super::{Facts, Limit, State};
use crate::{
    Core, EtcdObservation, Guard, Guards, Machine, NodeName, NodeState, Progress, Role, Stage, Time,
    slot::Look,
};

pub(super) const FACTS: Facts = Facts {
    name: "configured",
    means: "it answers with our CA",
    limit: Some(Limit {
        seconds: 660,
        hint: "a control plane that was added to etcd more than 10 min ago, or booted since, and does not vote is \
               never given its vote by itself: it is taken out of etcd and joins anew, as soon as the other ones have \
               their quorum; where there is no cluster yet, the reason stands at the cluster below",
    }),
    next: &[
        (State::Member, "it votes in etcd"),
        (State::Ready, "a worker whose boot is finished"),
        (State::Leaving, "it is taken out, to come back"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

impl<G: Guards> Core<G> {
    pub(crate) fn saw_configured(&mut self, name: &NodeName, look: Look, inventory: &Inventory, now: Time) {
        let Some(slot) = self.slots.get(name) else { return };
        let state = slot.state.clone();
        let found = Machine::from(inventory);
        if self.guards.on(Guard::SameConfigured)
            && let Some(claim) = state.claim()
            && !found.is_same_as(&claim.machine)
        {
            let (at, expected) = (look.address, &claim.machine);
            let reason = match self.ledger.unsure {
                true => format!(
                    "{found} answers with our CA at {at} where {expected} was expected by a store that was brought back from a \
                     backup: `ichord takeover` takes over who runs there, if that is {name} now; otherwise switch it off"
                ),
                false => format!(
                    "{found} answers with our CA at {at} where {expected} was expected: switch off the one that does not belong \
                     there"
                ),
            };
            self.forget_look(name);
            self.found_another(name, &found, look.address, now);
            self.wait(name, reason);
            return;
        }
        if let Some(slot) = self.slots.get_mut(name) {
            slot.address = Some(look.address);
        }
        match state {
            NodeState::Vacant { .. } => {}
            NodeState::Deploying { claim, progress, .. } | NodeState::Fenced { claim, progress, .. } => {
                // a look at the boot that took the config may end after the machine has asked its firmware again
                let told = match &progress {
                    Progress::Applying { boot_id, .. } | Progress::Installing { boot_id, .. } => {
                        Some(boot_id)
                    }
                    _ => claim.told.as_ref(),
                };
                // who came back with its old config, and was to forget it
                if claim.told.is_none()
                    && self.ledger.departures.contains_key(name)
                    && !self.is_replaced(name)
                {
                    let boot_id = look.boot_id.clone();
                    self.remember(name, look);
                    self.remembers(name, claim, boot_id, now);
                    return;
                }
                let has_its_own = self.held_when_lost(name, &claim.machine);
                if claim.told.is_none() && self.has_an_old_disk(name) && !has_its_own {
                    self.fence_old_disk(name, claim, &look.address.to_string(), now);
                    return;
                }
                if told == Some(&look.boot_id) && !claim.kept {
                    self.wait(
                        name,
                        "has the config; the boot that proves the installation is still to come".to_owned(),
                    );
                    return;
                }
                self.is_configured(name, claim, look, now);
            }
            NodeState::Failed { claim, .. } => self.is_configured(name, claim, look, now),
            NodeState::Leaving { claim, boot_id, .. } => {
                let told = boot_id == look.boot_id;
                let boot_id = look.boot_id.clone();
                self.remember(name, look);
                if told {
                    self.wait(name, "it was told to forget what it is, and is about to".to_owned());
                    self.lingers(name, claim, boot_id, now);
                } else {
                    self.remembers(name, claim, boot_id, now);
                }
            }
            NodeState::Configured { .. } => {
                self.remember(name, look);
                self.arrive(name, now);
            }
            NodeState::Member { claim, boot_id, since } => {
                let rebooted = look.boot_id != boot_id;
                let boot_id = look.boot_id.clone();
                self.remember(name, look);
                if rebooted {
                    self.note(&name.0, "rebooted", vec![format!("boot {boot_id}")]);
                    self.move_node(name, NodeState::Member { claim, boot_id, since }, Vec::new());
                }
                self.arrive(name, now);
            }
            NodeState::Ready { claim, boot_id, since } => {
                let rebooted = look.boot_id != boot_id;
                let boot_id = look.boot_id.clone();
                let unwell = look.unwell.join("; ");
                self.remember(name, look);
                if rebooted {
                    self.note(&name.0, "rebooted", vec![format!("boot {boot_id}")]);
                    self.move_node(name, NodeState::Ready { claim, boot_id, since }, Vec::new());
                }
                if !unwell.is_empty() {
                    self.wait(name, format!("not well: {unwell}"));
                } else if let Some(slot) = self.slots.get_mut(name) {
                    slot.wait_no_more();
                }
            }
        }
    }

    fn is_configured(&mut self, name: &NodeName, claim: crate::Claim, look: Look, now: Time) {
        let pushed = claim.told.is_some();
        let evidence = vec![
            format!("answers with our CA at {} in boot {}", look.address, look.boot_id),
            if pushed { "we gave it its config" } else { "it had its config already" }.to_owned(),
        ];
        let boot_id = look.boot_id.clone();
        if !pushed {
            self.suspect_boot(name, &boot_id);
        }
        self.remember(name, look);
        self.move_node(name, NodeState::Configured { claim, boot_id, since: now, pushed }, evidence);
        self.arrive(name, now);
    }

    fn remember(&mut self, name: &NodeName, look: Look) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.look = Some(look);
        }
    }

    /// Configured → member → ready: a control plane votes in etcd; then, and for a worker at once, the
    /// boot is finished and what runs is well.
    fn arrive(&mut self, name: &NodeName, now: Time) {
        let (Some(plan), Some(slot)) = (self.plan.nodes.get(name), self.slots.get(name)) else { return };
        let Some(look) = slot.look.clone() else { return };
        let role = plan.role;
        if role == Role::ControlPlane
            && let NodeState::Configured { claim, boot_id, .. } = slot.state.clone()
        {
            let waiting = match &look.etcd {
                EtcdObservation::Members { members, .. } => {
                    match members.iter().find(|member| member.name == name.0) {
                        Some(member) if !member.learner => None,
                        Some(_) => Some("it learns from etcd and does not vote yet"),
                        None => Some("it is not a member of etcd yet"),
                    }
                }
                EtcdObservation::None | EtcdObservation::Waiting => {
                    Some("etcd waits for the cluster's bootstrap")
                }
                EtcdObservation::Unknown { reason } => Some(reason.as_str()),
            };
            if let Some(waiting) = waiting {
                self.wait(name, waiting.to_owned());
                return;
            }
            self.move_node(name, NodeState::Member { claim, boot_id, since: now }, Vec::new());
        }
        let (NodeState::Configured { claim, boot_id, .. } | NodeState::Member { claim, boot_id, .. }) =
            (match self.node(name) {
                Some(state) => state.clone(),
                None => return,
            })
        else {
            return;
        };
        if look.stage != Stage::Running {
            self.wait(name, "its boot is not finished".to_owned());
        } else if !look.unwell.is_empty() {
            self.wait(name, format!("not well: {}", look.unwell.join("; ")));
        } else {
            self.move_node(name, NodeState::Ready { claim, boot_id, since: now }, Vec::new());
        }
    }
}
