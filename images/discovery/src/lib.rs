//! The agent of the discovery image: what a machine is made of and which switch ports its cards hear, reported once.
//!
//! `ichord-discovery` is the first process of a small Linux; the simulated machine of the tests runs the same parts
//! where its firmware would have booted that Linux. [`listening`] and [`modules`] decide, everything else does.

pub mod hardware;
pub mod http;
pub mod listen;
pub mod listening;
pub mod modules;
