//! Which slot is this machine? Sightings, evidence and port names in normal form.
//!
//! Every source that can tell (iPXE's LLDP variables, the bridge's forwarding table, LLDP, option 82,
//! maintenance mode) ends in a [`Sighting`]; [`Sightings`] keeps them while they are fresh; [`decide()`]
//! weighs them against the operator's [`Slot`]s. Pure: time is passed in as milliseconds since the Unix epoch.

mod decide;
mod moved;
mod name;
mod overview;
mod port;
mod relay;
mod selector;
mod sighting;
mod slot;
mod table;

pub use decide::{Decision, decide};
pub use moved::{Change, Displaced, Whereabouts, changes, whereabouts};
pub use name::PortName;
pub use overview::{Occupant, PortRow, Word, overview, testimony, unseen};
pub use relay::{Pattern, PatternError, Relay, Template};
pub use sighting::{Attestor, Forwarded, Marks, Port, Sighting, Source};
pub use slot::{Ignored, Slot, Slots, SwitchNames};
pub use table::{Recorded, Sightings};
