//! The whole core in a simulated world: seeds, crashes, and the invariants that must survive them.
//!
//! Time, network, store and machines are values; the machines are the model that the lab puts on the
//! wire. Each run draws from one seed what goes wrong by chance (the daemon dies between two outputs, replies are
//! lost, late or doubled, machines lose power), and what befalls the site (`scenario`). A person mends what
//! the status names, or does not. After a death the core is rebuilt from the store alone.

mod befall;
mod config;
mod death;
mod departure;
mod faults;
mod invariants;
mod ledger;
mod many;
mod mutant;
mod person;
mod power;
mod run;
mod scenario;
mod second_day;
mod site;
mod watch;
mod world;

pub use faults::Faults;
pub use invariants::Violation;
pub use many::{many, seeds};
pub use mutant::Without;
pub use run::{Outcome, Simulation};
pub use scenario::{Mishap, Scenario};
