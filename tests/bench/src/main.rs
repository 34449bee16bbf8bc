//! The benchmarks: `cargo run --release -p bench -- [NAME…]`, without a name all of them.
//!
//! One file a benchmark; it makes its own input, measures, and gives [`Measure`]s with their limits. The table is printed
//! here, and the exit code is 1 when something is over its limit. What is measured in memory runs in a process of its own
//! (`child`), so that nothing of the preparation counts.

mod cable;
mod child;
mod dhcp;
mod handover;
mod http;
mod ichord;
mod identity;
mod kernel;
mod lldp;
mod lldp_wire;
mod measure;
mod memory;
mod noise;
mod packages;
mod process;
mod rack;
mod render;
mod server;
mod site;
mod tftp;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;

use crate::measure::{Measure, table};

/// A benchmark, as it is listed.
struct Benchmark {
    name: &'static str,
    about: &'static str,
    run: fn() -> anyhow::Result<Vec<Measure>>,
}

const BENCHMARKS: [Benchmark; 10] = [
    Benchmark { name: dhcp::NAME, about: dhcp::ABOUT, run: dhcp::run },
    Benchmark { name: handover::NAME, about: handover::ABOUT, run: handover::run },
    Benchmark { name: http::NAME, about: http::ABOUT, run: http::run },
    Benchmark { name: identity::NAME, about: identity::ABOUT, run: identity::run },
    Benchmark { name: lldp::NAME, about: lldp::ABOUT, run: lldp::run },
    Benchmark { name: lldp_wire::NAME, about: lldp_wire::ABOUT, run: lldp_wire::run },
    Benchmark { name: rack::NAME, about: rack::ABOUT, run: rack::run },
    Benchmark { name: render::NAME, about: render::ABOUT, run: render::run },
    Benchmark { name: site::NAME, about: site::ABOUT, run: site::run },
    Benchmark { name: tftp::NAME, about: tftp::ABOUT, run: tftp::run },
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(work) = child::asked(&words) {
        return match work.name.as_str() {
            render::NAME => child::answer(|| render::work(&work.folder)),
            site::NAME => child::answer(|| site::work(&work.folder)),
            name => anyhow::bail!("{name} does not run in a process of its own"),
        };
    }
    if let [word, name, address, folder] = words.as_slice()
        && word == child::STAND
    {
        match name.as_str() {
            http::NAME => http::stand(address, Path::new(folder))?,
            tftp::NAME => tftp::stand(address, Path::new(folder))?,
            name => anyhow::bail!("{name} is no server"),
        }
        return Ok(true);
    }
    if words.iter().any(|word| word == "-h" || word == "--help") {
        println!("bench [NAME…]: runs the named benchmarks, without a name all of them\n");
        BENCHMARKS.iter().for_each(|one| println!("  {:<12}{}", one.name, one.about));
        return Ok(true);
    }
    let unknown = words.iter().find(|word| !BENCHMARKS.iter().any(|one| one.name == *word));
    if let Some(word) = unknown {
        let names: Vec<&str> = BENCHMARKS.iter().map(|one| one.name).collect();
        anyhow::bail!("there is no benchmark {word}; there are {}", names.join(", "));
    }
    if cfg!(debug_assertions) {
        eprintln!("bench: built without --release; the limits are not meant for this");
    }
    let mut measures = Vec::new();
    for one in BENCHMARKS.iter().filter(|one| words.is_empty() || words.iter().any(|word| word == one.name)) {
        let found = (one.run)().with_context(|| format!("the benchmark {} failed", one.name))?;
        measures.extend(found.into_iter().map(|measure| (one.name, measure)));
    }
    print!("{}", table(&measures));
    Ok(measures.iter().all(|(_, measure)| measure.holds()))
}
