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
        let held = self.held_by(&machine);
        match (held, identity) {
            (Some(held), Identity::Slot { node, evidence, .. })
                if held != node && self.guards.on(Guard::MachineTaken) =>
            {
                let reason = format!("{machine} holds {held}, but it is plugged in where {node} belongs");
                self.misplaced(&held, reason.clone(), evidence, now);
                BootAnswer::Refused { reason }
            }
            (Some(held), identity) if !self.is_elsewhere(&held, &identity) => {
                if let Identity::Slot { evidence, .. } = identity {
                    self.back_in_place(&held, evidence, now);
                }
                self.boot_claimed(&held, &machine, from, now)
            }
            (_, Identity::Slot { node, port, attested, evidence }) => {
                let netboot_address = Some(from);
                let claim = Claim {
                    machine,
                    port,
                    attested,
                    evidence,
                    netboot_address,
                    since: now,
                    told: false,
                    erase: None,
                };
                self.boot_unclaimed(&node, claim, attempt, now)
            }
            (_, Identity::Unknown { reason }) => {
                if self.has_vacancy() {
                    retry(attempt, reason)
                } else {
                    BootAnswer::LocalDisk { reason: "every slot has its machine".to_owned() }
                }
            }
            (_, Identity::Refused { reason }) => {
                self.note("cluster", format!("refused to boot {machine}"), vec![reason.clone()]);
                BootAnswer::Refused { reason }
            }
        }
    }

    fn is_elsewhere(&self, held: &NodeName, identity: &Identity) -> bool {
        matches!(identity, Identity::Slot { node, .. } if node != held)
    }

    /// A machine that holds a slot boots again: with a permit the deployment starts over, without one
    /// the machine boots its own disk.
    fn boot_claimed(&mut self, name: &NodeName, machine: &Machine, from: IpAddr, now: Time) -> BootAnswer {
        match self.node(name) {
            Some(NodeState::Fenced { reason, .. }) => BootAnswer::Refused { reason: reason.clone() },
            Some(state) if state.is_configured() && self.guards.on(Guard::InstalledStays) => {
                BootAnswer::LocalDisk { reason: format!("{name} is installed") }
            }
            Some(state) if state.is_configured() => BootAnswer::Deploy { node: name.clone() },
            Some(_) => self.deploying_asks(name, machine, from, now),
            None => BootAnswer::LocalDisk { reason: format!("{name} is vacant") },
        }
    }

    /// A person's word that a disk of a slot's machine may be overwritten.
    pub(crate) fn erase_approved(&mut self, name: &NodeName, disk: String, by: String) {
        let Some(mut state) = self.node(name).filter(|state| !state.is_configured()).cloned() else {
            let why = format!("{name} is installed: nothing of it is erased by a word");
            self.note(&name.0, "not approved", vec![why]);
            return;
        };
        let Some(claim) = state.claim_mut() else { return };
        let words = vec![format!("{disk} of {}", claim.machine), format!("by {by}")];
        claim.erase = Some(Erase { disk, by, wiped: false });
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
