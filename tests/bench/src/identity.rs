//! Which slot is this machine, on a site of 10,000 ports with a machine on each.
//!
//! Switches of forty ports, so that every port's name is one of 250 switches'; each machine was seen by three sources.
//! The mean is of the processor's time, which a busy machine does not change; of a single decision there is only the
//! clock, so each machine's is the shortest of several, and the longest of those is held.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use ::identity::{
    Decision, Ignored, Marks, Port, Sighting, Sightings, Slot, Slots, Source, SwitchNames, decide,
};
use anyhow::{Context as _, ensure};
use hardware::{MacAddr, SwitchPort, SystemUuid};

use crate::{
    child,
    measure::{Limit, Measure},
};

pub(crate) const NAME: &str = "identity";
pub(crate) const ABOUT: &str = "decides which slot a machine is, among 10,000 ports and 10,000 machines";

const MACHINES: u32 = 10_000;
const PORTS_OF_A_SWITCH: u32 = 40;
const ROUNDS: u32 = 5;
const NOW: u64 = 1_800_000_000_000;

/// Of one decision, in microseconds.
const LIMIT: f64 = 1_000.0;

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let slots = slots();
    let mut table = Sightings::default();
    for number in 0..MACHINES {
        for sighting in sightings(number) {
            table.record(sighting);
        }
    }
    ensure!(table.len() == 3 * MACHINES as usize, "the table holds {} sightings", table.len());
    let mut shortest = vec![Duration::MAX; MACHINES as usize];
    let before = child::processor()?;
    for _ in 0..ROUNDS {
        for (number, shortest) in (0..MACHINES).zip(&mut shortest) {
            let asked = Marks::of_mac(mac(number));
            let began = Instant::now();
            let decision = decide(&slots, &table, &asked, NOW);
            *shortest = began.elapsed().min(*shortest);
            let right = matches!(&decision, Decision::Identified { slot, attested: true, .. } if *slot == name(number));
            ensure!(right, "machine {number}: {decision:?}");
        }
    }
    let seconds = child::processor()? - before;
    let slowest = shortest.into_iter().max().context("nothing was decided")?;
    let micro = |what, value, limit| Measure { what, value, unit: "µs", limit };
    Ok(vec![
        micro("mean, processor", seconds * 1e6 / f64::from(ROUNDS * MACHINES), Limit::Below(LIMIT)),
        micro("slowest, best of 5", slowest.as_secs_f64() * 1e6, Limit::Below(LIMIT)),
    ])
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x02, 0x10, a, b, c, d])
}

fn name(number: u32) -> String {
    format!("node{number}")
}

/// The switch and the port's number on it.
fn place(number: u32) -> (u32, u32) {
    (number / PORTS_OF_A_SWITCH, number % PORTS_OF_A_SWITCH + 1)
}

/// A slot a port; every switch announces itself under another name than the operator's, and addresses of virtual
/// machines are no machine's.
fn slots() -> Slots {
    let slots = (0..MACHINES).map(|number| {
        let (switch, port) = place(number);
        let port = SwitchPort { switch: format!("leaf{switch}"), port: format!("Ethernet1/{port}") };
        Slot { name: name(number), ports: vec![port], ..Slot::default() }
    });
    let switches = (0..MACHINES / PORTS_OF_A_SWITCH).map(|switch| SwitchNames {
        name: format!("leaf{switch}"),
        also: vec![format!("tor-{switch}")],
        ports: BTreeMap::new(),
    });
    let ignored = Ignored { prefixes: vec![vec![0x52, 0x54, 0x00]], ..Ignored::default() };
    Slots::new(slots.collect(), switches.collect(), ignored)
}

/// What iPXE asks with, what the forwarding table has, and what maintenance mode tells.
fn sightings(number: u32) -> [Sighting; 3] {
    let (switch, port) = place(number);
    let mut uuid = [0x33; 16];
    uuid[..4].copy_from_slice(&number.to_be_bytes());
    let marks = Marks { uuid: Some(SystemUuid(uuid)), ..Marks::of_mac(mac(number)) };
    let mut announced = Port::local(&format!("tor-{switch}.example.com"), &format!("Eth1/{port}"));
    announced.forwards = Some(true);
    let learned = Port::local(&format!("leaf{switch}"), &format!("Ethernet1/{port}"));
    [
        Sighting::new(Source::Ipxe, marks.clone(), NOW).on(Some(mac(number)), announced),
        Sighting::new(Source::ForwardingTable, Marks::of_mac(mac(number)), NOW)
            .on(Some(mac(number)), learned),
        Sighting::new(Source::Maintenance, marks, NOW),
    ]
}
