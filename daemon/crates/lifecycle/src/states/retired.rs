//! Retired: a machine that was a node once, and whose slot another one has. It keeps the node's keys, so it is fenced
//! off until a person lets it in again: `claims` keeps it in the ledger, and no slot is in this state.

use super::{Facts, State};

pub(super) const FACTS: Facts = Facts {
    name: "retired",
    means: "it was a node once and is fenced off",
    limit: None,
    next: &[(State::Identified, "a person lets it in again")],
};
