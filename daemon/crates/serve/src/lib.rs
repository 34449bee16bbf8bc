//! The socket loops: DHCP, TFTP, HTTP boot, LLDP both ways; and where a machine is now.
//!
//! Here the road touches the wire. What to say is decided elsewhere: by `dhcp` for addresses, by
//! whoever implements [`BootAuthority`] for everything that cannot be taken back. What is heard goes
//! out as sightings and whereabouts.

pub mod advertise;
pub mod announce;
mod authority;
pub mod capture;
mod clock;
pub mod counters;
pub mod dhcp;
pub mod discoveries;
pub mod forwarding;
pub mod hearing;
pub mod http;
pub mod local_boot;
pub mod neighbours;
pub mod snmp;
pub mod tftp;
pub mod trace;
mod whereabouts;

pub use authority::{BootAuthority, BootQuestion, BootReply};
pub use whereabouts::Whereabouts;
