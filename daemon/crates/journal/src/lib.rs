//! Every decision and action with its evidence, append-only.
