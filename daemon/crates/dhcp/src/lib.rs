//! DHCPv4 as a netboot server speaks it: bytes in, decisions and bytes out, time passed in.
//!
//! The first stop of the road. [`wire`] is the only place that touches bytes from the network,
//! [`client`] says who asks, [`relay`] from where, [`networks`] finds the subnet and [`server`]
//! decides for it. `serve` has the sockets.
//!
//! Times are milliseconds since the Unix epoch and come from the caller.

#[cfg(test)]
mod captures;
pub mod client;
pub mod lease;
pub mod networks;
pub mod relay;
pub mod server;
pub mod wire;

pub use client::{Client, Kind};
pub use lease::{Change, Changes, Lease, LeaseState};
pub use networks::Networks;
pub use relay::{Relayed, RelayedError};
pub use server::{
    Answer, Boots, Config, Destination, Https, Machines, Mode, NO_FILE, Note, PoolFor, Received, Reply,
    Server, Timing,
};
pub use wire::{Options, Packet, ParseError};

/// DHCP servers listen here.
pub const SERVER_PORT: u16 = 67;
/// DHCP clients listen here.
pub const CLIENT_PORT: u16 = 68;
/// PXE boot servers listen here too (PXE 2.1 §2.2.3).
pub const PXE_PORT: u16 = 4011;
