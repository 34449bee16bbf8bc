//! What a DHCP packet tells about a machine: that it is there, and through which switch or relay it asks.

use std::net::Ipv4Addr;

use ::dhcp::{Client, Relayed};
use identity::{Forwarded, Marks, Sighting, Source};

/// Agent Circuit ID (RFC 3046 §3.1).
const CIRCUIT_ID: u8 = 1;
/// Agent Remote ID (RFC 3046 §3.2).
const REMOTE_ID: u8 = 2;

/// The machine has been seen, whatever it is told. Option 82 goes along as it came; who knows the switch reads the
/// port from it.
pub(super) fn sighting(client: &Client, relayed: Option<&Relayed>, from: Ipv4Addr, now: u64) -> Sighting {
    let machine = Marks { macs: [client.mac].into(), uuid: client.uuid, serial: None };
    let mut sighting = Sighting::new(Source::Dhcp, machine, now);
    if let Some(relayed) = relayed {
        sighting.raw = format!("option 82 by relay {relayed}");
        let id = |code| relayed.sub_option(code).map(<[u8]>::to_vec);
        let (circuit, remote) = (id(CIRCUIT_ID), id(REMOTE_ID));
        sighting.forwarded = Some(Forwarded { relay: relayed.giaddr, from, circuit, remote });
    }
    sighting
}
