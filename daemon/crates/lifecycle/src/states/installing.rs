//! Installing: Talos took the config, installs, and boots into it.

use super::{Facts, Limit, State};
use crate::{Core, Guards, NodeName, NodeState, Permit, Progress, Time};

pub(super) const FACTS: Facts = Facts {
    name: "installing",
    means: "Talos took the config",
    limit: Some(Limit {
        seconds: 600,
        hint: "no answer with our CA since the config was taken: does the machine reach the registry of its \
               installer image, does its firmware boot the disk, and is its static address right?",
    }),
    next: &[
        (State::Configured, "it answers with our CA from another boot"),
        (State::Firmware, "it boots again"),
        (State::Applying, "another boot waits for a config: the installation was lost"),
        (State::Maintenance, "the same, and the gate holds the next push back"),
        (State::Fenced, "its evidence contradicts the claim"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

impl<G: Guards> Core<G> {
    /// The machine API does not answer anywhere where the machine could be.
    pub(crate) fn saw_silence(&mut self, name: &NodeName, detail: &str, now: Time) {
        self.forget_look(name);
        let reason = match self.slots.get(name).map(|slot| &slot.state) {
            // rebooting into the disk: silence is how it goes
            Some(NodeState::Deploying { progress: Progress::Installing { .. }, .. }) => {
                "installing, then the boot from its own disk".to_owned()
            }
            Some(NodeState::Deploying { permit: Permit { boots_left: 0, .. }, .. }) => format!(
                "its install permit has paid for all its boots, and the machine API does not answer ({detail}): \
                 `ichord deploy {name}` grants a new one"
            ),
            Some(NodeState::Failed { reason, .. } | NodeState::Fenced { reason, .. }) => reason.clone(),
            Some(_) => match self.rival_waits(name, now) {
                Some(waits) => format!("the machine API does not answer ({detail}); {waits}"),
                None => format!("the machine API does not answer ({detail})"),
            },
            None => return,
        };
        self.wait(name, reason);
    }
}
