//! Fenced: the machine holds the slot and is plugged in where another one belongs. It gets nothing
//! until the cable is right again or a person releases it.

use hardware::SwitchPort;

use super::{Facts, State};
use crate::{Core, Guard, Guards, Identity, Machine, NodeName, NodeState, Progress, Time};

pub(super) const FACTS: Facts = Facts {
    name: "fenced",
    means: "its evidence contradicts its claim: it gets nothing",
    limit: None,
    next: &[
        (State::Firmware, "the evidence agrees again"),
        (State::Kernel, "the same, where it was before"),
        (State::Maintenance, "the same, and the gate is asked anew"),
        (State::Installing, "the same, and Talos had taken the config"),
        (State::Configured, "it answers with our CA: it had its config"),
        (State::Leaving, "it answers with our CA, and should have forgotten that"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

impl<G: Guards> Core<G> {
    /// Whether a machine that has a config and was given none by us can only have it from a disk of before: the slot had
    /// another machine once.
    pub(crate) fn has_an_old_disk(&self, name: &NodeName) -> bool {
        self.guards.on(Guard::BlankDisk) && self.ledger.retired.iter().any(|retired| retired.node == *name)
    }

    /// A machine took the place of another one and has that one's disk in it, or another node's.
    pub(crate) fn fence_old_disk(
        &mut self,
        name: &NodeName,
        mut claim: crate::Claim,
        address: &str,
        now: Time,
    ) {
        let reason = format!(
            "{} answers with our CA at {address} and was never given a config: the disk of a node that was taken out is in it. \
             `ichord approve {name} --erase DISK` lets its next netboot wipe that, once",
            claim.machine
        );
        claim.old_disk = true;
        let Some(permit) = self.node(name).and_then(NodeState::permit).cloned() else { return };
        if !matches!(self.node(name), Some(NodeState::Fenced { .. })) {
            let progress = Progress::Maintenance { since: now };
            let state = NodeState::Fenced { claim, permit, progress, since: now, reason: reason.clone() };
            self.move_node(name, state, vec![reason.clone()]);
        }
        self.wait(name, reason);
    }

    /// A machine holds one slot and shows up in another's place: the reason for which it gets nothing there.
    pub(crate) fn misplaced(
        &mut self,
        held: &NodeName,
        machine: &Machine,
        there: &NodeName,
        evidence: Vec<String>,
        now: Time,
    ) -> String {
        let reason = format!("wrong cable: {held} ({machine}) is plugged into the port of {there}");
        self.warn(held, Some(reason.clone()), evidence.clone());
        match self.node(held).cloned() {
            Some(NodeState::Deploying { claim, permit, progress }) => {
                let state = NodeState::Fenced { claim, permit, progress, since: now, reason: reason.clone() };
                self.move_node(held, state, [vec![reason.clone()], evidence].concat());
            }
            Some(NodeState::Failed { claim, permit, .. }) => {
                let progress = Progress::Maintenance { since: now };
                let state = NodeState::Fenced { claim, permit, progress, since: now, reason: reason.clone() };
                self.move_node(held, state, [vec![reason.clone()], evidence].concat());
            }
            // a machine that has its config keeps it: a cable does not change what it is
            _ => return reason,
        }
        self.wait(held, reason.clone());
        reason
    }

    /// The evidence names the slot that the machine holds.
    pub(crate) fn back_in_place(&mut self, held: &NodeName, evidence: Vec<String>, now: Time) {
        self.warn(held, None, evidence.clone());
        // who was plugged in there meanwhile is not any more
        if let Some(slot) = self.slots.get_mut(held) {
            slot.rival = None;
        }
        let Some(NodeState::Fenced { claim, permit, progress, .. }) =
            self.slots.get(held).map(|slot| slot.state.clone())
        else {
            return;
        };
        // its place was never in doubt
        if claim.old_disk {
            return;
        }
        // it goes on where it was: no boot is paid for here, so none begins here
        let progress = match progress {
            Progress::Applying { .. } => Progress::Maintenance { since: now },
            before => before,
        };
        self.move_node(held, NodeState::Deploying { claim, permit, progress }, evidence);
    }

    /// The site calls the port of a slot otherwise than when its machine got it.
    fn port_is_called(
        &mut self,
        held: &NodeName,
        mut state: NodeState,
        port: Option<SwitchPort>,
        evidence: Vec<String>,
    ) {
        let (Some(claim), Some(port)) = (state.claim_mut(), port) else { return };
        let named = self.plan.nodes.get(held).map(|plan| plan.ports.as_slice()).unwrap_or_default();
        let is_old = |was: &SwitchPort| named.contains(&port) && !named.contains(was);
        if let Some(was) = claim.port.clone().filter(is_old) {
            claim.port = Some(port.clone());
            self.note(&held.0, format!("its port was {was} and is {port} now"), evidence);
            self.move_node(held, state, Vec::new());
        }
    }

    /// A slot's machine is seen where the site names nobody. Only said: a cable does not change what a machine is.
    pub(crate) fn displaced(&mut self, name: &NodeName, told: Option<String>) {
        let Some(slot) = self.slots.get_mut(name).filter(|slot| slot.displaced != told) else { return };
        slot.displaced.clone_from(&told);
        self.note(
            &name.0,
            told.unwrap_or_else(|| "its machine is where the site says".to_owned()),
            Vec::new(),
        );
    }

    /// Evidence about a machine changed. A witness that comes later completes a claim; it never moves one.
    pub(crate) fn identified(&mut self, machine: &Machine, identity: Identity, now: Time) {
        let Some(held) = self.held_by(machine) else { return };
        match identity {
            Identity::Slot { node, attested, port, evidence } if node == held => {
                self.back_in_place(&held, evidence.clone(), now);
                let Some(mut state) = self.slots.get(&held).map(|slot| slot.state.clone()) else { return };
                let Some(claim) = state.claim_mut() else { return };
                // who was taken over holds its slot by a person's word, and nobody had told its port
                if attested && (!claim.attested || claim.port.is_none() && port.is_some()) {
                    claim.attested = true;
                    claim.port = claim.port.take().or(port);
                    self.note(&held.0, "its place is attested", evidence);
                    self.move_node(&held, state, Vec::new());
                } else if attested || !claim.attested {
                    self.port_is_called(&held, state, port, evidence);
                }
            }
            Identity::Slot { node, evidence, .. } if self.guards.on(Guard::MachineTaken) => {
                self.misplaced(&held, machine, &node, evidence, now);
            }
            Identity::Refused { reason } => {
                let warning = format!("where {machine}, which holds {held}, is plugged in cannot be said");
                self.warn(&held, Some(warning), vec![reason]);
            }
            Identity::Slot { .. } | Identity::Unknown { .. } => {}
        }
    }
}
