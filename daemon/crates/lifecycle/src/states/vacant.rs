//! Vacant: no machine holds the slot, and who will is unknown.

use std::collections::BTreeSet;

use super::{Facts, State};
use crate::{
    BootAnswer, Claim, Core, DeployPolicy, Guard, Guards, NodeName, NodeState, Permit, Progress,
    ReplacePolicy, Time, boot::retry, slots::Key,
};

pub(super) const FACTS: Facts = Facts {
    name: "vacant",
    means: "which machine it will be is unknown",
    limit: None,
    next: &[
        (State::Identified, "a machine proves to be in this slot"),
        (State::Firmware, "and a permit allows installing it"),
        (State::Configured, "taken over: it runs already"),
    ],
};

impl<G: Guards> Core<G> {
    /// A machine that holds nothing was identified: it gets the slot if the slot is free and permitted.
    pub(crate) fn boot_unclaimed(
        &mut self,
        name: &NodeName,
        claim: Claim,
        attempt: u32,
        now: Time,
    ) -> BootAnswer {
        let planned = self.plan.nodes.contains_key(name) && !self.left.contains(name);
        let Some(slot) = self.slots.get(name).filter(|_| planned) else {
            return BootAnswer::Refused { reason: format!("{name} is not in the site") };
        };
        let held_permit = match &slot.state {
            NodeState::Vacant { permit } => permit.clone(),
            _ if self.guards.on(Guard::SlotTaken) => {
                return match self.contend(name, claim, now) {
                    Ok(answer) => answer,
                    // who waits for a dead machine's end must still be there then; a store that is old keeps nobody from its
                    // own disk: it may be the node by now
                    Err(reason) if self.plan.replace != ReplacePolicy::Ask && !self.ledger.unsure => {
                        retry(0, reason)
                    }
                    Err(reason) => retry(attempt, reason),
                };
            }
            state => state.permit().cloned(),
        };
        let permit =
            held_permit.filter(|permit| !self.guards.on(Guard::PermitEnds) || permit.refusal(now).is_none());
        let permit = match (permit, self.plan.deploy) {
            (Some(permit), _) => permit,
            // the site's own permission is for slots that were never filled
            (None, DeployPolicy::Auto) if !self.was_filled(name) && self.site_permits(now).is_ok() => {
                self.new_permit("site", now)
            }
            (None, DeployPolicy::Auto) if self.ledger.unlooked => {
                let reason = self.site_permits(now).err().unwrap_or_default().to_owned();
                self.stays_at_the_door(name, &claim.machine, reason.clone(), now);
                return BootAnswer::Retry { seconds: 1, reason };
            }
            (None, _) if self.guards.on(Guard::Permit) => {
                let reason = format!("{} is {name}, and waits for `ichord deploy {name}`", claim.machine);
                self.stays_at_the_door(name, &claim.machine, reason.clone(), now);
                return retry(attempt, reason);
            }
            (None, _) => self.new_permit("nobody", now),
        };
        self.fill(name, claim, permit, now)
    }

    pub(crate) fn fill(
        &mut self,
        name: &NodeName,
        claim: Claim,
        mut permit: Permit,
        now: Time,
    ) -> BootAnswer {
        if let Err(reason) = self.spend(&mut permit, now) {
            return BootAnswer::LocalDisk { reason: reason.to_owned() };
        }
        self.succeeds_lost(name, &claim.machine, now);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.address = claim.netboot_address;
            slot.next_look = now;
            slot.candidate = None;
            slot.approved = None;
            slot.rival = None;
        }
        let mut evidence = claim.evidence.clone();
        evidence.push(format!("permit {} of {}", permit.id, permit.by));
        self.note(&name.0, format!("claimed by {}", claim.machine), evidence.clone());
        let progress = Progress::Firmware { since: now };
        self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
        BootAnswer::Deploy { node: name.clone() }
    }

    /// A permit pays for a boot.
    pub(crate) fn spend(&self, permit: &mut Permit, now: Time) -> Result<(), &'static str> {
        if self.guards.on(Guard::PermitEnds)
            && let Some(reason) = permit.refusal(now)
        {
            return Err(reason);
        }
        match permit.pay() {
            Err(reason) if self.guards.on(Guard::PermitBoots) => Err(reason),
            _ => Ok(()),
        }
    }

    /// Somebody allows installing.
    pub(crate) fn permit_granted(&mut self, node: Option<NodeName>, by: &str, now: Time) {
        let chosen: BTreeSet<NodeName> = match node {
            Some(name) => BTreeSet::from([name]),
            None => self.slots.all_that_are(Key::Vacant).cloned().collect(),
        };
        for name in chosen.into_iter().filter(|name| !self.left.contains(name)).collect::<Vec<_>>() {
            let fresh = self.new_permit(by, now);
            let words = vec![format!("by {by}, permit {}", fresh.id)];
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            slot.power.anew();
            let mut state = slot.state.clone();
            if let NodeState::Vacant { permit } = &mut state {
                *permit = Some(fresh);
            } else if let Some(permit) = state.permit_mut() {
                *permit = fresh;
            } else {
                self.note(&name.0, "no permit granted: a machine is installed in this slot", words);
                continue;
            }
            self.note(&name.0, "install permit granted", words);
            self.move_node(&name, state, Vec::new());
        }
    }
}
