//! What a firmware is told. Which machine holds which slot decides who answers: its state.

use std::net::IpAddr;

use crate::{BootAnswer, Claim, Core, Erase, Guard, Guards, Identity, Machine, NodeName, NodeState, Time};

/// How often an unidentified machine is asked to ask again before it boots its own disk.
const ATTEMPTS: u32 = 60;

/// Seconds between two questions of one machine.
const PAUSE: u32 = 5;

impl<G: Guards> Core<G> {
    /// Decides what a machine boots. The only way to [`BootAnswer::Deploy`] leads through a permit.
    pub(crate) fn boot_asked(
        &mut self,
        machine: Machine,
        from: IpAddr,
        attempt: u32,
        identity: Identity,
        now: Time,
    ) -> BootAnswer {
        if let Some(answer) = self.fenced(&machine) {
            return answer;
        }
        let held = self.held_by(&machine);
        let identity = match held {
            Some(_) => identity,
            None => self.with_approval(&machine, identity),
        };
        match (held, identity) {
            (Some(held), Identity::Slot { node, evidence, .. })
                if held != node && self.guards.on(Guard::MachineTaken) =>
            {
                let reason = self.misplaced(&held, &machine, &node, evidence, now);
                BootAnswer::Refused { reason }
            }
            (Some(held), identity) if !self.is_elsewhere(&held, &identity) => {
                if let Identity::Slot { evidence, .. } = identity {
                    self.back_in_place(&held, evidence, now);
                }
                self.boot_claimed(&held, &machine, from, now)
            }
            (_, Identity::Slot { node, port, attested, evidence }) => {
                let claim = Claim {
                    machine,
                    port,
                    attested,
                    vouched: None,
                    evidence,
                    netboot_address: Some(from),
                    since: now,
                    told: None,
                    erase: None,
                    kept: false,
                    old_disk: false,
                };
                self.boot_unclaimed(&node, claim, attempt, now)
            }
            (_, Identity::Unknown { .. }) if !self.looks_for_machines() => {
                BootAnswer::LocalDisk { reason: "every slot has its machine".to_owned() }
            }
            (_, Identity::Unknown { reason }) if attempt < ATTEMPTS => {
                BootAnswer::Identify { seconds: PAUSE, reason }
            }
            (_, Identity::Unknown { reason }) => BootAnswer::LocalDisk { reason },
            (_, Identity::Refused { reason }) => {
                self.note("cluster", format!("refused to boot {machine}"), vec![reason.clone()]);
                BootAnswer::Refused { reason }
            }
        }
    }

    fn is_elsewhere(&self, held: &NodeName, identity: &Identity) -> bool {
        matches!(identity, Identity::Slot { node, .. } if node != held)
    }

    /// A person who gave a machine a slot is a witness for it.
    pub(crate) fn with_approval(&self, machine: &Machine, identity: Identity) -> Identity {
        let Some((name, approval)) = self.approved_for(machine) else { return identity };
        let word = format!("{} gave {name} to {}", approval.by, approval.machine);
        match identity {
            Identity::Slot { node, port, evidence, .. } if node == *name => {
                Identity::Slot { node, port, attested: true, evidence: [evidence, vec![word]].concat() }
            }
            _ => Identity::Slot { node: name.clone(), port: None, attested: true, evidence: vec![word] },
        }
    }

    /// A machine that holds a slot boots again: with a permit the deployment starts over, without one
    /// the machine boots its own disk.
    fn boot_claimed(&mut self, name: &NodeName, machine: &Machine, from: IpAddr, now: Time) -> BootAnswer {
        if let Some(slot) = self.slots.get_mut(name) {
            (slot.heard, slot.silent) = (true, None);
        }
        match self.node(name) {
            // a person said that what fences it may be wiped
            Some(NodeState::Fenced { claim, .. })
                if claim.old_disk && claim.erase.as_ref().is_some_and(|erase| !erase.wiped) =>
            {
                self.deploying_asks(name, machine, from, now)
            }
            Some(NodeState::Fenced { reason, .. }) => BootAnswer::Refused { reason: reason.clone() },
            Some(state) if state.is_configured() && self.guards.on(Guard::InstalledStays) => {
                BootAnswer::LocalDisk { reason: format!("{name} is installed") }
            }
            Some(state) if state.is_configured() => BootAnswer::Deploy { node: name.clone() },
            Some(_) if self.keeps_talos(name) => {
                BootAnswer::LocalDisk { reason: format!("{name} is reset, and keeps the Talos on its disk") }
            }
            Some(_) => self.deploying_asks(name, machine, from, now),
            None => BootAnswer::LocalDisk { reason: format!("{name} is vacant") },
        }
    }

    /// What a person's word that a disk may be overwritten would do, or why it cannot be taken.
    pub(crate) fn may_erase(&self, name: &NodeName, disk: &str) -> Result<String, String> {
        let slot = self.planned(name)?;
        if slot.state.is_configured() {
            return Err(format!("{name} is installed: nothing of it is erased by a word"));
        }
        let claim = slot.state.claim().ok_or_else(|| {
            format!("{name} has no machine yet: `ichord deploy {name}` lets one be installed, and then this says more")
        })?;
        if !disk.starts_with("/dev/") {
            return Err(format!("{disk} is not the path of a disk, as /dev/sda is"));
        }
        if self.plan.nodes.get(name).is_some_and(|plan| plan.signed) {
            return Ok(format!(
                "{disk} of {} may be overwritten; if Talos is on it, it must be wiped by hand, because what this machine \
                 boots is signed: `ichord status` says how once it waits for its config",
                claim.machine
            ));
        }
        Ok(format!(
            "{disk} of {} may be overwritten; if Talos is on it, the machine's next netboot wipes it once",
            claim.machine
        ))
    }

    pub(crate) fn erase_approved(&mut self, name: &NodeName, disk: String, by: &str, words: Vec<String>) {
        let Some(mut state) = self.node(name).cloned() else { return };
        let Some(claim) = state.claim_mut() else { return };
        claim.erase = Some(Erase { disk, by: by.to_owned(), wiped: false });
        self.note(&name.0, "a disk may be overwritten", words);
        self.move_node(name, state, Vec::new());
    }
}

/// Ask again, but not for ever: a machine that nobody claims goes on to its own disk.
pub(crate) fn retry(attempt: u32, reason: String) -> BootAnswer {
    if attempt < ATTEMPTS {
        BootAnswer::Retry { seconds: PAUSE, reason }
    } else {
        BootAnswer::LocalDisk { reason }
    }
}
