//! Applying: the config is being pushed, or was; what became of it shows in the answer or in a look.

use super::{Facts, Limit, State};
use crate::{ApplyOutcome, Core, Guards, NodeName, NodeState, Progress, Ticket, Time};

pub(super) const FACTS: Facts = Facts {
    name: "applying",
    means: "the config is being pushed",
    limit: Some(Limit {
        seconds: 60,
        hint: "whether the config arrived is still unknown: is the machine still on, and is its address \
               still the one it was asked at?",
    }),
    next: &[
        (State::Installing, "Talos took the config"),
        (State::Maintenance, "it did not arrive, and the gate holds the next push back"),
        (State::Failed, "Talos refused the config"),
        (State::Firmware, "it boots again"),
        (State::Configured, "it answers with our CA from another boot"),
        (State::Fenced, "its evidence contradicts the claim"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

impl<G: Guards> Core<G> {
    pub(crate) fn applied(&mut self, name: &NodeName, ticket: Ticket, outcome: ApplyOutcome, now: Time) {
        if !self.takes_reply(name, ticket) {
            return;
        }
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.next_look = now + self.plan.timing.observe;
        let NodeState::Deploying { claim, permit, progress: Progress::Applying { boot_id, .. } } =
            slot.state.clone()
        else {
            return;
        };
        match outcome {
            ApplyOutcome::Accepted => {
                slot.failures = 0;
                let progress = Progress::Installing { since: now, boot_id };
                self.move_node(
                    name,
                    NodeState::Deploying { claim, permit, progress },
                    vec!["Talos took the config".to_owned()],
                );
            }
            ApplyOutcome::Refused { reason } => {
                self.fail(name, claim, permit, format!("Talos refused the config: {reason}"), now);
            }
            ApplyOutcome::Unknown { reason } => {
                self.wait(name, format!("the connection broke while the config was pushed ({reason})"));
            }
        }
    }
}
