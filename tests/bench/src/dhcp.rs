//! DHCP beside Kea and dnsmasq, by perfdhcp: how many exchanges a second without loss, and how much work each is.
//!
//! All of them climb the same steps in turns, with an empty state at each step, so that a busy machine hits them alike; a
//! step that fails is tried once more. Ours writes every lease to the disk before it says ACK, the others do not wait for
//! the disk. The generator is a process of this machine, too, with one thread that reads: answers that it leaves in its own
//! queue until that is full are counted by the kernel, and are not the server's loss. Where the generator is what does not
//! go faster, the servers' work for one exchange is compared instead, at the highest step that both hold.

mod perfdhcp;
mod servers;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;

use crate::{
    cable::Cable,
    measure::{Limit, Measure},
};
use perfdhcp::{Load, Outcome};
use servers::{NAMES, RELAY, Servers};

pub(crate) const NAME: &str = "dhcp";
pub(crate) const ABOUT: &str = "DHCP beside Kea and dnsmasq: new leases, and a mix with renewals";

/// Exchanges a second.
const STEPS: [u32; 11] = [250, 500, 1_000, 2_000, 3_000, 4_000, 6_000, 8_000, 10_000, 12_000, 16_000];
const PERIOD: Duration = Duration::from_secs(3);
/// What is lost on a step that still counts.
const DROPS: f64 = 0.01;
/// A generator that brings about less than this of what it was asked is itself what does not go faster.
const ASKED: f64 = 0.95;

/// One server on one step.
#[derive(Debug, Clone, Copy)]
struct Found {
    outcome: Outcome,
    /// the server's processor seconds for one exchange
    work: f64,
    /// the server's private memory at the end, in millions of bytes
    megabytes: f64,
}

impl Found {
    /// Whether the step counts: asked and answered. What the generator then loses by itself may be as much again.
    fn holds(&self) -> bool {
        self.outcome.unanswered() < DROPS && self.outcome.overrun < DROPS && self.outcome.asked >= ASKED
    }
}

/// One server under one load.
#[derive(Debug, Default)]
struct Climb {
    held: BTreeMap<u32, Found>,
    fell: Option<Found>,
}

impl Climb {
    fn best(&self) -> Option<&Found> {
        self.held.values().next_back()
    }

    /// Whether the generator, not the server, was what did not go faster.
    fn by_generator(&self) -> bool {
        self.fell.is_none_or(|fell| fell.outcome.unanswered() < DROPS)
    }

    /// How much more work an exchange is for the other, on the highest step that both hold.
    fn work_of(&self, other: &Self) -> Option<f64> {
        let (step, own) = self.held.iter().rev().find(|(step, _)| other.held.contains_key(step))?;
        Some(other.held.get(step)?.work / own.work)
    }
}

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let folder = tempfile::tempdir()?;
    let cable = Cable::lay()?;
    servers::put_relay(&cable)?;
    let servers = Servers::prepare(folder.path())?;
    let mut measures = Vec::new();
    for (load, names) in [(Load::New, NEW), (Load::Mixed, MIXED)] {
        let climbs = climb(&servers, &cable, load)?;
        show(load, &climbs);
        let [ours, kea, dnsmasq] = &climbs;
        measures.extend(compare(names.kea, ours, kea, 2.0));
        measures.extend(compare(names.dnsmasq, ours, dnsmasq, 20.0));
    }
    Ok(measures)
}

/// What the comparisons of a load are called: the rate's, then the work's.
struct Names {
    kea: [&'static str; 2],
    dnsmasq: [&'static str; 2],
}

const NEW: Names = Names {
    kea: ["new: rate, of Kea's", "new: Kea's work, of ours"],
    dnsmasq: ["new: rate, of dnsmasq's", "new: dnsmasq's, of ours"],
};
const MIXED: Names = Names {
    kea: ["mixed: rate, of Kea's", "mixed: Kea's work"],
    dnsmasq: ["mixed: rate, of dnsmasq's", "mixed: dnsmasq's work"],
};

fn climb(servers: &Servers, cable: &Cable, load: Load) -> anyhow::Result<[Climb; 3]> {
    let mut climbs = [Climb::default(), Climb::default(), Climb::default()];
    for step in STEPS {
        for (name, climb) in NAMES.into_iter().zip(&mut climbs) {
            if climb.fell.is_some() {
                continue;
            }
            let mut found = once(servers, cable, name, load, step)?;
            if !found.holds() {
                found = once(servers, cable, name, load, step)?;
            }
            if found.holds() {
                climb.held.insert(step, found);
            } else {
                climb.fell = Some(found);
            }
        }
    }
    Ok(climbs)
}

fn once(servers: &Servers, cable: &Cable, name: &str, load: Load, rate: u32) -> anyhow::Result<Found> {
    let server = servers.start(cable, name)?;
    let before = server.processor()?;
    let outcome = cable
        .load(move || perfdhcp::run(load, rate, PERIOD, RELAY))
        .with_context(|| format!("{name}, {rate}/s"))?;
    let work = (server.processor()? - before) / outcome.exchanges.max(1.0);
    let found = Found { outcome, work, megabytes: server.private_memory()? };
    eprintln!(
        "{load:?}, {rate}/s, {name}: {:.0}/s, {:.2} % not answered, {:.2} % lost by the generator; {:.1} µs each, {:.1} the \
         generator's",
        outcome.rate,
        outcome.unanswered() * 100.0,
        outcome.overrun * 100.0,
        work * 1e6,
        outcome.work * 1e6
    );
    Ok(found)
}

fn compare(names: [&'static str; 2], ours: &Climb, other: &Climb, aim: f64) -> Vec<Measure> {
    let (rate, work) = (names[0], names[1]);
    let (Some(own), Some(best)) = (ours.best(), other.best()) else { return Vec::new() };
    let times = own.outcome.rate / best.outcome.rate;
    // where the generator does not go faster, and did not go fast enough to tell, the work tells
    let by_work = ours.by_generator() && times < aim;
    let held = if by_work { Limit::None } else { Limit::Above(aim) };
    let mut measures = vec![Measure { what: rate, value: times, unit: "x", limit: held }];
    let held = if by_work { Limit::Above(aim) } else { Limit::None };
    measures.extend(ours.work_of(other).map(|value| Measure { what: work, value, unit: "x", limit: held }));
    measures
}

fn show(load: Load, climbs: &[Climb; 3]) {
    let load = match load {
        Load::New => "new leases",
        Load::Mixed => "new and renewed",
    };
    println!(
        "\n{load:<16}{:>12}{:>9}{:>12}{:>9}{:>13}{:>11}  what does not go faster",
        "exchanges/s", "of Kea", "µs work", "of Kea", "generator's", "RssAnon MB"
    );
    let kea = climbs[1].best();
    for (name, climb) in NAMES.into_iter().zip(climbs) {
        let Some(best) = climb.best() else {
            println!("{name:<16}loses too much at {}/s", STEPS[0]);
            continue;
        };
        let of =
            |value: f64, kea: Option<f64>| kea.map_or_else(String::new, |kea| format!("{:.2}", value / kea));
        println!(
            "{name:<16}{:>12.0}{:>9}{:>12.1}{:>9}{:>13.1}{:>11.1}  {}",
            best.outcome.rate,
            of(best.outcome.rate, kea.map(|kea| kea.outcome.rate)),
            best.work * 1e6,
            of(best.work, kea.map(|kea| kea.work)),
            best.outcome.work * 1e6,
            best.megabytes,
            if climb.by_generator() { "the generator" } else { "the server" },
        );
    }
    println!();
}
