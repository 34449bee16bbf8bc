//! Ready: arrived. It is looked at now and then; its netboots go to its own disk.

use super::{Facts, State};

pub(super) const FACTS: Facts = Facts {
    name: "ready",
    means: "its boot is finished, its services are well",
    limit: None,
    next: &[
        (State::Leaving, "it is taken out, to come back"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};
