//! Kernel: the boot files were fetched; next, the machine API opens.

use std::net::IpAddr;

use super::{Facts, Limit, State};
use crate::{Core, Guards, NodeState, Progress, Time};

pub(super) const FACTS: Facts = Facts {
    name: "kernel",
    means: "the boot files were fetched",
    limit: Some(Limit {
        seconds: 180,
        hint: "the machine API does not answer since the boot files were fetched: does the console show \
               Talos, has it an address, and does this host reach its port 50000? A machine that boots \
               another cluster's config from its disk never opens it to us: `ichord approve NODE --erase DISK` \
               lets its next netboot wipe that disk once",
    }),
    next: &[
        (State::Firmware, "it boots again"),
        (State::Maintenance, "its machine API offers to take a config"),
        (State::Configured, "it answers with our CA: it had its config already"),
        (State::Fenced, "its evidence contradicts the claim"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

impl<G: Guards> Core<G> {
    /// A boot file went to this address.
    pub(crate) fn fetched(&mut self, from: IpAddr, now: Time) {
        let fetching = self.slots.iter().find(|(_, slot)| {
            slot.address == Some(from)
                && matches!(slot.state, NodeState::Deploying { progress: Progress::Firmware { .. }, .. })
        });
        let Some((name, NodeState::Deploying { claim, permit, .. })) =
            fetching.map(|(name, slot)| (name.clone(), slot.state.clone()))
        else {
            return;
        };
        let progress = Progress::Kernel { since: now };
        let evidence = vec![format!("{from} fetches boot files")];
        self.move_node(&name, NodeState::Deploying { claim, permit, progress }, evidence);
    }
}
