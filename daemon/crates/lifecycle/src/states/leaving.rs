//! Leaving: it was told to forget what it is, and comes back as a machine that is installed anew, or given its config anew.

use super::{Facts, Limit, State};

pub(super) const FACTS: Facts = Facts {
    name: "leaving",
    means: "it was told to forget what it is",
    limit: Some(Limit {
        seconds: 600,
        hint: "it was told to wipe itself and has not come back: does it still answer, and does its firmware boot from the \
               network? Its next netboot wipes it if it has not done so",
    }),
    next: &[
        (State::Firmware, "it boots from the network"),
        (State::Maintenance, "its machine API offers to take a config"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};
