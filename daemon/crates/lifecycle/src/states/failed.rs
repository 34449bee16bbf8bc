//! Failed: it cannot go on as it is; it is tried again, each time after a longer pause.

use std::time::Duration;

use super::{Facts, State};
use crate::{Claim, Core, Guards, NodeName, NodeState, Permit, Time};

pub(super) const FACTS: Facts = Facts {
    name: "failed",
    means: "tried again after a pause, longer each time",
    limit: None,
    next: &[
        (State::Applying, "the pause is over"),
        (State::Maintenance, "the pause is over, and the gate holds the next push back"),
        (State::Firmware, "it boots again"),
        (State::Configured, "it answers with our CA: it has its config"),
        (State::Fenced, "its evidence contradicts the claim"),
        (State::Leaving, "it answers with our CA, and should have forgotten that"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

/// No pause is longer: whoever mends the cause should not wait for long.
const LONGEST: Duration = Duration::from_secs(300);

impl<G: Guards> Core<G> {
    pub(crate) fn fail(&mut self, name: &NodeName, claim: Claim, permit: Permit, reason: String, now: Time) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.failures = slot.failures.saturating_add(1);
        let attempts = slot.failures;
        let doubled = self.plan.timing.retry.saturating_mul(1 << (attempts - 1).min(10));
        let until = now + doubled.min(LONGEST);
        let evidence = vec![reason.clone()];
        let state = NodeState::Failed { claim, permit, since: now, until, attempts, reason: reason.clone() };
        self.move_node(name, state, evidence);
        self.wait(name, reason);
    }

    /// Whether a pause that ends then still lasts; one that is longer than any pause is a clock that
    /// went back.
    pub(crate) fn pauses_until(&self, until: Time, now: Time) -> bool {
        now < until && until.since(now) <= LONGEST
    }
}
