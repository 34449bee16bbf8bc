//! Identified: a machine proved to be in the vacant slot and waits for a permit. Not stored:
//! evidence ages, and the next question finds it again.

use super::{Facts, State};
use crate::{Core, Guards, Machine, NodeName, Note, Time, slots::Key};

pub(super) const FACTS: Facts = Facts {
    name: "identified",
    means: "the machine is known, and may not be installed yet",
    limit: None,
    next: &[
        (State::Firmware, "a permit allows installing it"),
        (State::Configured, "taken over: it runs already"),
        (State::Vacant, "it has not asked for a while"),
    ],
};

/// A machine that has not asked for so long has gone.
const GONE_AFTER: std::time::Duration = std::time::Duration::from_secs(600);

/// A machine at the door of a slot.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) machine: Machine,
    /// when it last asked
    pub(crate) asked: Time,
}

impl Candidate {
    /// When it has gone, unless it asks before.
    pub(crate) fn gone(&self) -> Time {
        self.asked + GONE_AFTER
    }
}

impl<G: Guards> Core<G> {
    /// A machine stays at the door of a vacant slot.
    pub(crate) fn stays_at_the_door(
        &mut self,
        name: &NodeName,
        machine: &Machine,
        reason: String,
        now: Time,
    ) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let before = slot.shown().name();
        slot.candidate = Some(Candidate { machine: machine.clone(), asked: now });
        let after = slot.shown().name();
        if before != after {
            self.note(&name.0, format!("{before} → {after}"), vec![machine.to_string()]);
        }
        self.wait(name, reason);
    }

    /// Machines at the door that no longer ask.
    pub(crate) fn forget_candidates(&mut self, now: Time) {
        for name in self.slots.due(Key::Gone, now) {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            let Some(candidate) = slot.candidate.take() else { continue };
            slot.wait_no_more();
            let what = format!("{} → {}", State::Identified.name(), State::Vacant.name());
            let evidence = vec![format!("{} has not asked for 10 min", candidate.machine)];
            self.pending.notes.push(Note { subject: name.0, what, evidence });
        }
    }
}
