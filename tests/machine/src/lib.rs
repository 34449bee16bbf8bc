//! The simulated Talos machine: a pure model, and wire front ends that make it a peer on a network.
//!
//! [`model`] is the machine; the deterministic simulation drives it in memory. [`wire`] puts the same model
//! behind a real interface; the program `machine` is one such machine, and the lab starts many.

pub mod model;
pub mod wire;
