//! The simulated Talos machine: a pure model, and wire front ends that make it a peer on a network.
//!
//! [`model`] is the machine; the deterministic simulation drives it in memory.

pub mod model;
