//! LLDP frames read, kept as neighbours and recorded as sightings, from 10,000 machines that each have a port.
//!
//! The pure part only: bytes as the packet socket would give them; `lldp_wire` has the sockets and the kernel's queues, with
//! fewer machines. The rate is of one processor's time, which a busy machine does not change.

use ::identity::{Marks, Port, Recorded, Sighting, Sightings, Source};
use ::lldp::{
    Announcement, Capabilities, Change, Frame, ManagementAddress, NEAREST_BRIDGE, Neighbours, Organization,
};
use anyhow::ensure;
use hardware::{ChassisId, MacAddr, PortId};

use crate::{
    child,
    measure::{Limit, Measure},
};

pub(crate) const NAME: &str = "lldp";
pub(crate) const ABOUT: &str = "reads and records LLDP frames of 10,000 machines, without the socket";

const MACHINES: u32 = 10_000;
/// The first is news, the others are repetitions, as they come every thirty seconds.
const ROUNDS: u32 = 10;
const INTERVAL: u64 = 30_000;
const NOW: u64 = 1_800_000_000_000;

/// Frames in a second of a processor.
const LIMIT: f64 = 10_000.0;

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let frames: Vec<Vec<u8>> = (0..MACHINES).map(|number| announcement(number).build()).collect();
    let ports: Vec<Port> = (0..MACHINES)
        .map(|number| Port::local(&format!("leaf{}", number / 40), &format!("Ethernet1/{}", number % 40 + 1)))
        .collect();
    // one a port, as the daemon keeps them
    let mut neighbours = vec![Neighbours::default(); frames.len()];
    let mut table = Sightings::default();
    let mut kept = 0_u32;
    let before = child::processor()?;
    for round in 0..ROUNDS {
        let now = NOW + u64::from(round) * INTERVAL;
        for ((bytes, port), neighbours) in frames.iter().zip(&ports).zip(&mut neighbours) {
            let frame = Frame::parse(bytes)?;
            neighbours.expire(now);
            let sighting = sighting(&frame, port, now);
            let change = neighbours.heard("port", frame, now);
            let recorded = table.record(sighting);
            let expected = match round {
                0 => (Change::New, Recorded::New),
                _ => (Change::Refreshed, Recorded::Refreshed),
            };
            kept += u32::from((change, recorded) == expected);
        }
    }
    let seconds = child::processor()? - before;
    ensure!(table.len() == frames.len(), "{} machines are in the table", table.len());
    let heard = ROUNDS * MACHINES;
    Ok(vec![
        Measure { what: "frames", value: f64::from(heard) / seconds, unit: "/s", limit: Limit::Above(LIMIT) },
        Measure { what: "lost", value: f64::from(heard - kept), unit: "", limit: Limit::Below(1.0) },
    ])
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x02, 0x10, a, b, c, d])
}

/// As lldpd on a server says it.
pub(crate) fn announcement(number: u32) -> Frame {
    let source = mac(number);
    let chassis = ChassisId { subtype: 4, id: source.0.to_vec() };
    let port = PortId { subtype: 3, id: source.0.to_vec() };
    let [a, b, c, d] = number.to_be_bytes();
    let announcement = Announcement {
        port_description: Some("eno1".to_owned()),
        system_name: Some(format!("node{number}.example.com")),
        system_description: Some("Debian GNU/Linux 13 (trixie) Linux 6.12 x86_64".to_owned()),
        capabilities: Some(Capabilities { supported: 0x009c, enabled: 0x0080 }),
        management: vec![ManagementAddress {
            family: 1,
            address: vec![10 | a, b, c, d],
            interface_kind: 2,
            interface: 2,
            object: Vec::new(),
        }],
        organizations: vec![
            Organization { oui: [0, 0x80, 0xc2], subtype: 1, value: vec![0, 1] },
            Organization { oui: [0, 0x12, 0x0f], subtype: 1, value: vec![3, 0x6c, 3, 0, 30] },
        ],
        ..Announcement::new(chassis, port, 120)
    };
    Frame { destination: NEAREST_BRIDGE, source, vlan: None, announcement }
}

/// What the daemon makes of a frame on one of its ports.
fn sighting(frame: &Frame, port: &Port, now: u64) -> Sighting {
    let said = &frame.announcement;
    let raw = format!("chassis {}, port {}, system {:?}", said.chassis, said.port, said.system_name);
    let sighting = Sighting::new(Source::Lldp, Marks::of_mac(frame.source), now);
    Sighting { raw, ..sighting }.on(Some(frame.source), port.clone())
}
