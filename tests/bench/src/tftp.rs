//! TFTP against the servers that people use today: how fast, and how much work a GiB is for the server.
//!
//! All of them run side by side and are asked by turns, so that a busy machine hits them alike; of each the
//! middle one of several rounds counts for the time (the best one would favour whoever has more rounds than the others,
//! as the best of three servers has), and all rounds together for the processor's work. One client alone and its server
//! have a processor each.

mod client;
mod servers;

use std::{
    fs,
    net::SocketAddrV4,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use nix::unistd::Pid;

use crate::{
    cable::{self, Cable},
    measure::{Limit, Measure},
    noise::noise,
    server::{Server, keep_to},
};
use client::{Fetched, Wish};
pub(crate) use servers::stand;

pub(crate) const NAME: &str = "tftp";
pub(crate) const ABOUT: &str = "TFTP beside tftpd-hpa, atftpd and dnsmasq: 32 x 16 MiB and 1 x 64 MiB";

const BLOCK: u16 = 1468;
const MIB: usize = 1 << 20;

/// Whose processors these are when one client fetches alone: as on two machines. Where the scheduler chooses, it puts both
/// on one processor or not, and that is three times as fast or not.
const CLIENTS: usize = 0;
const SERVERS: usize = 1;

/// What is fetched at once.
struct Load {
    name: &'static str,
    file: &'static str,
    clients: usize,
    window: u16,
    /// where servers are close to each other, more of them
    rounds: usize,
    /// what the best of the others is held against
    time: (&'static str, Limit),
    work: Option<&'static str>,
}

const LOADS: [Load; 4] = [
    Load {
        name: "32 x 16 MiB, window 1",
        file: "f16m",
        clients: 32,
        window: 1,
        rounds: 5,
        time: ("32, window 1: speed", Limit::Above(1.0)),
        work: Some("32, window 1: work"),
    },
    Load {
        name: "1 x 64 MiB, window 1",
        file: "f64m",
        clients: 1,
        window: 1,
        rounds: 9,
        time: ("1, window 1: speed", Limit::Above(1.0)),
        work: Some("1, window 1: work"),
    },
    Load {
        name: "32 x 16 MiB, window 16",
        file: "f16m",
        clients: 32,
        window: 16,
        rounds: 5,
        time: ("32, window 16: speed", Limit::Above(1.3)),
        work: None,
    },
    Load {
        name: "1 x 64 MiB, window 16",
        file: "f64m",
        clients: 1,
        window: 16,
        rounds: 9,
        time: ("1, window 16: speed", Limit::Above(1.3)),
        work: None,
    },
];

/// What was found about one server under one load.
#[derive(Debug, Clone, Default)]
struct Found {
    /// of each round
    seconds: Vec<f64>,
    /// processor seconds for a GiB, of all rounds
    work: f64,
    window: u16,
    repeated: u32,
}

impl Found {
    /// Seconds of the round in the middle.
    fn time(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::MAX)
    }
}

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("ipxe"))?;
    let files: Vec<(&str, Arc<[u8]>)> =
        [("f16m", 16 * MIB), ("f64m", 64 * MIB)].map(|(name, size)| (name, noise(size).into())).into();
    for (name, content) in &files {
        fs::write(folder.path().join("ipxe").join(name), content)?;
    }
    fs::write(folder.path().join("ipxe/ready"), "ready")?;
    let cable = Cable::lay()?;
    let mut servers = Vec::new();
    for (name, port, command) in servers::all(folder.path())? {
        let server = Server::start(&cable, command)?;
        let address = SocketAddrV4::new(cable::SERVER, port);
        let wish = Wish { block_size: 512, window: 1 };
        cable.load(move || until_ready(address, wish)).with_context(|| format!("{name} is not ready"))?;
        servers.push((name, address, server));
    }
    let mut measures = Vec::new();
    for load in &LOADS {
        let content = &files.iter().find(|(name, _)| *name == load.file).context("no such file")?.1;
        let mut found = vec![Found::default(); servers.len()];
        for round in 0..load.rounds {
            let mut turns: Vec<_> = servers.iter().zip(&mut found).collect();
            // nobody is always the one that comes last
            turns.rotate_left(round % servers.len());
            for ((name, address, server), found) in turns {
                let apart = load.clients == 1 && thread::available_parallelism()?.get() > SERVERS;
                server.keep_to(apart.then_some(SERVERS))?;
                let before = server.processor();
                let (address, content) = (*address, Arc::clone(content));
                let (seconds, fetched) = cable
                    .load(move || fetch_all(address, load, &content, apart.then_some(CLIENTS)))
                    .with_context(|| format!("{name}, {}", load.name))?;
                let gibibytes = (content_len(load) * load.clients) as f64 / (1_u64 << 30) as f64;
                found.work += (server.processor() - before) / gibibytes / load.rounds as f64;
                found.seconds.push(seconds);
                found.window = fetched.window;
                found.repeated += fetched.repeated;
            }
        }
        print!("{}", table(load, &servers.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), &found));
        let (ours, others) = found.split_first().context("nobody was measured")?;
        let best = others.iter().map(Found::time).fold(f64::MAX, f64::min);
        let (what, limit) = load.time;
        measures.push(Measure { what, value: best / ours.time(), unit: "x", limit });
        if let Some(what) = load.work {
            let least = others.iter().map(|other| other.work).fold(f64::MAX, f64::min);
            measures.push(Measure { what, value: ours.work / least, unit: "x", limit: Limit::Below(1.0) });
        }
    }
    Ok(measures)
}

fn content_len(load: &Load) -> usize {
    if load.file == "f64m" { 64 * MIB } else { 16 * MIB }
}

fn until_ready(address: SocketAddrV4, wish: Wish) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match client::fetch(address, "ready", b"ready", wish) {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > Duration::from_secs(10) => return Err(error),
            // it has waited for an answer in vain, and asks again
            Err(_) => {}
        }
    }
}

/// All clients at once, until the last has its file.
fn fetch_all(
    address: SocketAddrV4,
    load: &Load,
    content: &Arc<[u8]>,
    processor: Option<usize>,
) -> anyhow::Result<(f64, Fetched)> {
    let wish = Wish { block_size: BLOCK, window: load.window };
    let began = Instant::now();
    let clients: Vec<_> = (0..load.clients)
        .map(|_| {
            let (file, content) = (load.file, Arc::clone(content));
            thread::spawn(move || {
                keep_to(Pid::from_raw(0), processor)?;
                client::fetch(address, file, &content, wish)
            })
        })
        .collect();
    let mut sum = Fetched::default();
    for client in clients {
        let fetched = client.join().map_err(|_| anyhow!("a client panicked"))??;
        ensure!(sum.window == 0 || sum.window == fetched.window, "windows differ");
        sum = Fetched { window: fetched.window, repeated: sum.repeated + fetched.repeated };
    }
    Ok((began.elapsed().as_secs_f64(), sum))
}

fn table(load: &Load, names: &[&str], found: &[Found]) -> String {
    let ours = found.first().cloned().unwrap_or_default();
    let mut text = format!(
        "{:<24}{:>9}{:>10}{:>8}{:>12}{:>8}{:>8}{:>9}\n",
        load.name, "s", "MiB/s", "ratio", "CPU s/GiB", "ratio", "window", "repeats"
    );
    for (name, one) in names.iter().zip(found) {
        let mib = (content_len(load) * load.clients / MIB) as f64;
        text += &format!(
            "  {name:<22}{:>9.3}{:>10.0}{:>8.2}{:>12.2}{:>8.2}{:>8}{:>9}\n",
            one.time(),
            mib / one.time(),
            one.time() / ours.time(),
            one.work,
            one.work / ours.work,
            one.window,
            one.repeated
        );
    }
    text
}
