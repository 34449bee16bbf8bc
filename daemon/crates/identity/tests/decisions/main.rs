//! The decision, case by case: what was seen, and which slot that makes the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod attested;
mod claims;
mod evidence;
mod switches;

use std::{collections::BTreeSet, time::Duration};

use hardware::{ChassisId, MacAddr, PortId, SystemUuid};
use identity::{Attestor, Decision, Marks, Port, Sighting, Sightings, Slot, Slots, Source, decide};

/// The moment of the decision.
const NOW: u64 = 1_800_000_000_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;

fn mac(number: u8) -> MacAddr {
    MacAddr([0x64, 0x4b, 0xf0, 0, 0, number])
}

fn uuid(number: u8) -> SystemUuid {
    let mut bytes = [0x11; 16];
    bytes[15] = number;
    SystemUuid(bytes)
}

/// What American Megatrends ships when the vendor sets nothing.
fn junk() -> SystemUuid {
    SystemUuid([0x03, 0, 0x02, 0, 0x04, 0, 0x05, 0, 0, 0x06, 0, 0x07, 0, 0x08, 0, 0x09])
}

fn machine(macs: &[u8], uuid: Option<SystemUuid>) -> Marks {
    Marks { macs: macs.iter().copied().map(mac).collect(), uuid, serial: None }
}

fn port(written: &str) -> Port {
    let (switch, name) = written.split_once('/').unwrap();
    Port::local(switch, name)
}

/// The daemon's bridge heard a frame of the machine.
fn bridge(number: u8, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::ForwardingTable, machine(&[number], None), NOW - ago)
        .on(Some(mac(number)), port(on))
}

/// The daemon heard the machine's LLDP.
fn lldp(number: u8, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::Lldp, machine(&[number], None), NOW - ago).on(Some(mac(number)), port(on))
}

/// The machine asked for its boot script and said what it heard on its interface.
fn ipxe(number: u8, uuid: Option<SystemUuid>, on: &str, ago: u64) -> Sighting {
    Sighting::new(Source::Ipxe, machine(&[number], uuid), NOW - ago).on(Some(mac(number)), port(on))
}

/// The machine asked for its boot script, but its firmware has no LLDP.
fn silent(macs: &[u8], uuid: Option<SystemUuid>, ago: u64) -> Sighting {
    Sighting::new(Source::Ipxe, machine(macs, uuid), NOW - ago)
}

/// A trusted switch put option 82 into the machine's DHCP.
fn relayed(number: u8, on: &str, ago: u64) -> Sighting {
    let sighting =
        Sighting::new(Source::Dhcp, machine(&[number], None), NOW - ago).on(Some(mac(number)), port(on));
    Sighting { attestor: Attestor::Switch, ..sighting }
}

/// What a machine in maintenance mode says of itself.
fn maintenance(macs: &[u8], uuid: Option<SystemUuid>, serial: Option<&str>) -> Sighting {
    let marks = Marks { serial: serial.map(str::to_owned), ..machine(macs, uuid) };
    Sighting::new(Source::Maintenance, marks, NOW - SECOND)
}

fn slot(name: &str, ports: &[&str]) -> Slot {
    let ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    Slot { name: name.to_owned(), ports, ..Slot::default() }
}

fn with_macs(macs: &[u8], slot: Slot) -> Slot {
    Slot { macs: macs.iter().copied().map(mac).collect(), ..slot }
}

fn with_uuid(number: u8, slot: Slot) -> Slot {
    Slot { uuid: Some(uuid(number)), ..slot }
}

fn with_serial(serial: &str, slot: Slot) -> Slot {
    Slot { serial: Some(serial.to_owned()), ..slot }
}

/// mini01 to mini03 on the first three ports of sw1.
fn rack() -> Vec<Slot> {
    vec![slot("mini01", &["sw1/Eth1/1"]), slot("mini02", &["sw1/Eth1/2"]), slot("mini03", &["sw1/Eth1/3"])]
}

enum Expected {
    /// slot, attested
    Is(&'static str, bool),
    /// words of the reason
    Unknown(&'static str),
    /// words of the reason
    Refused(&'static str),
}
use Expected::{Is, Refused, Unknown};

struct Case {
    what: &'static str,
    slots: Vec<Slot>,
    seen: Vec<Sighting>,
    ask: Marks,
    expected: Expected,
}

fn case(what: &'static str, slots: Vec<Slot>, seen: Vec<Sighting>, ask: Marks, expected: Expected) -> Case {
    Case { what, slots, seen, ask, expected }
}

fn run(cases: Vec<Case>) {
    run_in(Slots::plain, cases);
}

/// With more in the site file than slots.
fn run_in(site: impl Fn(Vec<Slot>) -> Slots, cases: Vec<Case>) {
    for Case { what, slots, seen, ask, expected } in cases {
        let mut table = Sightings::default();
        let site = site(slots);
        for sighting in seen {
            table.record(site.read_relay(sighting));
        }
        let decision = decide(&site, &table, &ask, NOW);
        let as_expected = match (&decision, &expected) {
            (Decision::Identified { slot, attested, evidence, .. }, Is(name, vouched)) => {
                slot == name && attested == vouched && !evidence.is_empty()
            }
            (Decision::Unknown { reason }, Unknown(words)) => reason.contains(words),
            (Decision::Refused { reason, evidence }, Refused(words)) => {
                reason.contains(words) && !evidence.is_empty()
            }
            _ => false,
        };
        assert!(as_expected, "{what}: {decision:#?}");
    }
}
