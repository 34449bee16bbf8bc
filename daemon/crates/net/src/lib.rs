//! The only room with unsafe code: packet sockets, per-packet interface information, netlink, capabilities, kexec.
//!
//! `serve` opens its sockets here, the reconciler probes addresses, `daemon` keeps only the capabilities it
//! needs. Everything is safe to call; each unsafe line stands alone with its reason.
#![deny(clippy::allow_attributes_without_reason)] // why it is needed, and in SAFETY why it is sound

pub mod arp;
pub mod capabilities;
pub mod ethtool;
pub mod forwarding;
pub mod frame;
pub mod inbox;
pub mod interface;
pub mod kexec;
pub mod namespace;
pub mod neighbour;
mod netlink;
pub mod peer;
mod room;
pub mod segments;
pub mod stream;
pub mod tap;
pub mod udp;
