//! The `ichord` program as its users and the network meet it: started for real, in a network namespace of the
//! test's own. `site` writes what it is given, `daemon` starts it and watches it; the others are the tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod behaviour;
mod check;
mod commands;
mod daemon;
mod handover;
mod images;
mod keeping;
mod noise;
mod places;
mod power;
mod refusals;
mod sealed;
mod secrecy;
mod site;
mod sources;
