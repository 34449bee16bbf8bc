//! The simulated Talos machine: a pure model, and wire front ends that make it a peer on a network.
