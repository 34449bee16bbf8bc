//! The whole core in a simulated world: seeds, crashes, and the invariants that must survive them.
//!
//! Time, network, store and machines are values; the machines are the model that the lab puts on the
//! wire. Each run draws its faults from one seed: the daemon dies between two outputs, replies are
//! lost, late or doubled, machines lose power. After a death the core is rebuilt from the store alone.

mod config;
mod faults;
mod invariants;
mod random;
mod run;
mod site;
mod world;

pub use faults::Faults;
pub use invariants::Violation;
pub use run::{Outcome, Simulation};
