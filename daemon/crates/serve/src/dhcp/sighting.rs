//! What a DHCP packet tells about a machine: that it is there, and through which switch or relay it asks.

use ::dhcp::{Client, Relayed};
use identity::{Marks, Sighting, Source};

/// The machine has been seen, whatever it is told. Option 82 goes along as it came; who knows the switch reads the
/// port from it.
pub(super) fn sighting(client: &Client, relayed: Option<&Relayed>, now: u64) -> Sighting {
    let machine = Marks { macs: [client.mac].into(), uuid: client.uuid, serial: None };
    let mut sighting = Sighting::new(Source::Dhcp, machine, now);
    if let Some(relayed) = relayed {
        sighting.raw = format!("option 82 by relay {relayed}");
    }
    sighting
}
