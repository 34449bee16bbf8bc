//! IEEE 802.1AB frames: parse, build, and a table of neighbours that ages.
//!
//! `serve` feeds it what its packet sockets hear and turns neighbours into sightings; the lab's switch announces
//! its ports with it. Pure: bytes and time come in, values go out; nothing that is on the wire makes it panic.

mod frame;
mod neighbours;
mod tlv;

pub use frame::{ETHERTYPE, Frame, NEAREST_BRIDGE, ParseError};
pub use neighbours::{Change, Neighbour, Neighbours};
pub use tlv::{Announcement, Capabilities, ManagementAddress, Organization};
