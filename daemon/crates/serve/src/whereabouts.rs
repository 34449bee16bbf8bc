//! Where a machine is on the network now.
//!
//! A machine changes its address as it goes from firmware to installed system; whoever wants to call
//! it needs the newest one. These are hints: DHCP believes the hardware address of a packet, HTTP the
//! one in the question.

use std::net::IpAddr;

use hardware::MacAddr;
use tokio::sync::mpsc;

/// One machine was seen at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whereabouts {
    /// the interface
    pub mac: MacAddr,
    /// its address
    pub address: IpAddr,
    /// milliseconds since the Unix epoch
    pub at: u64,
}

/// Passes something on without waiting: a full channel must not keep DHCP from answering, and what is
/// lost here is seen again at the machine's next packet.
pub(crate) fn tell<T>(channel: &mpsc::Sender<T>, value: T, what: &'static str) {
    if channel.try_send(value).is_err() {
        tracing::debug!(what, "nobody takes it, dropped");
    }
}
