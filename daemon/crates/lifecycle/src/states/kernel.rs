//! Kernel: the boot files were fetched; next, the machine API opens.

use std::net::IpAddr;

use super::{Facts, Limit, State};
use crate::{Core, Guards, NodeName, NodeState, Progress, Time, slots::Key};

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
        (State::Leaving, "it answers with our CA, and should have forgotten that"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

impl<G: Guards> Core<G> {
    /// A boot file went to this address.
    pub(crate) fn fetched(&mut self, from: IpAddr, now: Time) {
        let fetches = |name: &&NodeName| {
            let state = self.slots.get(name).map(|slot| &slot.state);
            matches!(state, Some(NodeState::Deploying { progress: Progress::Firmware { .. }, .. }))
        };
        let fetching = self.slots.all_that_are(Key::Address(from)).filter(fetches).min().cloned();
        let Some(name) = fetching else { return };
        let Some(NodeState::Deploying { claim, permit, .. }) = self.node(&name).cloned() else { return };
        let progress = Progress::Kernel { since: now };
        let evidence = vec![format!("{from} fetches boot files")];
        self.move_node(&name, NodeState::Deploying { claim, permit, progress }, evidence);
    }
}
