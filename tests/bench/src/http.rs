//! HTTP boot against nginx with sendfile: how many MiB/s, and how much work a GiB is for the server.
//!
//! Both run side by side and are asked by turns. Clients keep their connections and fetch one file of 100 MiB again and
//! again; the file is in memory, as a kernel is that a whole rack boots. Of each the best of several rounds counts for
//! the speed, and all rounds together for the processor's work.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddrV4, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, ensure};
use boot::{BootView, Catalogue, LocalBootRules};
use serve::{
    BootAuthority, BootQuestion, BootReply,
    counters::Counters,
    http::{BootServer, Limits},
    local_boot::LocalBoots,
    trace::Trace,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    cable::{self, Cable},
    child,
    measure::{Limit, Measure},
    packages,
    server::Server,
};

pub(crate) const NAME: &str = "http";
pub(crate) const ABOUT: &str = "HTTP boot beside nginx with sendfile: 100 MiB for 1, 8 and 64 clients";

const SIZE: usize = 100 << 20;
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(3);
/// Taken out of the kernel at once.
const PIECE: usize = 256 << 10;
const PATH: &str = "/ipxe/f100m";
/// No slower than nginx, and never more than half as much work again.
const SPEED: Limit = Limit::Above(1.0);
const WORK: Limit = Limit::Below(1.5);

const CLIENTS: [(usize, &str, &str); 3] = [
    (1, "1 client: speed", "1 client: work"),
    (8, "8 clients: speed", "8 clients: work"),
    (64, "64 clients: speed", "64 clients: work"),
];

/// What was found about one server.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    /// MiB/s in the best round
    speed: f64,
    octets: u64,
    processor: f64,
}

impl Found {
    fn work(&self) -> f64 {
        self.processor / (self.octets as f64 / f64::from(1 << 30))
    }
}

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("ipxe"))?;
    let content: Arc<[u8]> = crate::noise::noise(SIZE).into();
    fs::write(folder.path().join("ipxe/f100m"), &content)?;
    let cable = Cable::lay()?;
    let mut servers = Vec::new();
    for (name, port, command) in commands(folder.path())? {
        let server = Server::start(&cable, command)?;
        let address = SocketAddrV4::new(cable::SERVER, port);
        let whole = Arc::clone(&content);
        cable.load(move || verify(address, &whole)).with_context(|| format!("{name} is not right"))?;
        servers.push((name, address, server));
    }
    let mut measures = Vec::new();
    for (clients, speed, work) in CLIENTS {
        let mut found = vec![Found::default(); servers.len()];
        for _ in 0..ROUNDS {
            for ((_, address, server), found) in servers.iter().zip(&mut found) {
                let (before, address) = (server.processor(), *address);
                let (octets, seconds) = cable.load(move || fetch(address, clients))?;
                found.processor += server.processor() - before;
                found.octets += octets;
                found.speed = found.speed.max(octets as f64 / f64::from(1 << 20) / seconds);
            }
        }
        println!(
            "{:<24}{:>10}{:>8}{:>12}{:>8}",
            format!("100 MiB x {clients}"),
            "MiB/s",
            "ratio",
            "CPU s/GiB",
            "ratio"
        );
        let [ours, nginx] = found[..] else { return Err(anyhow!("two servers are measured")) };
        for ((name, ..), one) in servers.iter().zip(&found) {
            let (speed, work) = (one.speed / nginx.speed, one.work() / nginx.work());
            println!("  {name:<22}{:>10.0}{speed:>8.2}{:>12.3}{work:>8.2}", one.speed, one.work());
        }
        measures.push(Measure { what: speed, value: ours.speed / nginx.speed, unit: "x", limit: SPEED });
        measures.push(Measure { what: work, value: ours.work() / nginx.work(), unit: "x", limit: WORK });
    }
    Ok(measures)
}

fn commands(folder: &Path) -> anyhow::Result<[(&'static str, u16, Command); 2]> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let mut ours = Command::new(own);
    ours.args([child::STAND, NAME, &SocketAddrV4::new(cable::SERVER, 8080).to_string()]).arg(folder);
    let mut nginx = packages::Unpacked::of(&["nginx", "libpcre2-8-0"])?.program("usr/sbin/nginx")?;
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        kinds.iter().map(|kind| format!("  {kind}_temp_path {}/{kind};\n", folder.display())).collect();
    let text = format!(
        "user root root;\nworker_processes auto;\ndaemon off;\npid {folder}/pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n{temporary}  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  keepalive_requests 1000000;\n\
         \x20 server {{ listen {}:8081; root {folder}; }}\n}}\n",
        cable::SERVER,
        folder = folder.display(),
    );
    fs::write(folder.join("nginx.conf"), text)?;
    nginx.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    Ok([("ichord", 8080, ours), ("nginx", 8081, nginx)])
}

/// Ours, as the daemon runs it, until the process is ended.
pub(crate) fn stand(address: &str, folder: &Path) -> anyhow::Result<()> {
    let address: SocketAddrV4 = address.parse().context("not an address with a port")?;
    let (_catalogues, catalogue) = watch::channel(Arc::new(Catalogue::load(folder)?));
    let (_rules, rules) = watch::channel(Arc::new(LocalBootRules::default()));
    let (_view, view) = watch::channel(Arc::new(BootView::default()));
    let (whereabouts, _nobody) = mpsc::channel(1);
    let server = BootServer {
        authority: Arc::new(Nobody),
        catalogue,
        whereabouts,
        local_boots: LocalBoots::new(rules, view),
        discoveries: Arc::default(),
        counters: Arc::new(Counters::default()),
        trace: Arc::new(Trace::default()),
        limits: Limits::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        server.serve(listener, CancellationToken::new()).await;
        Ok(())
    })
}

/// Only files are fetched here.
struct Nobody;

impl BootAuthority for Nobody {
    async fn ask(&self, _: BootQuestion) -> BootReply {
        BootReply::Refused { reason: "nobody boots here".to_owned() }
    }

    async fn report(&self, _: hardware::MacAddr, _: IpAddr, _: boot::discovery::Report) -> BootReply {
        BootReply::Refused { reason: "nobody boots here".to_owned() }
    }
}

/// The whole file once, octet by octet, as soon as the server is there.
fn verify(address: SocketAddrV4, content: &[u8]) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if began.elapsed() > Duration::from_secs(20) => return Err(error.into()),
            Err(_) => thread::park_timeout(Duration::from_millis(50)),
        }
    };
    let mut got = Vec::with_capacity(SIZE);
    let mut piece = vec![0; PIECE];
    request(&mut stream, &mut piece, &mut |octets| {
        got.extend_from_slice(octets);
        true
    })?;
    ensure!(got == content, "the file is another one");
    Ok(())
}

/// As much as comes in a round: octets, and the seconds it took.
fn fetch(address: SocketAddrV4, clients: usize) -> anyhow::Result<(u64, f64)> {
    let (octets, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let fault: Arc<Mutex<Option<anyhow::Error>>> = Arc::default();
    let began = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (octets, stop, fault) = (Arc::clone(&octets), Arc::clone(&stop), Arc::clone(&fault));
            thread::spawn(move || {
                let mut count = |piece: &[u8]| {
                    octets.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    !stop.load(Ordering::Relaxed)
                };
                let mut fetch_on = || -> anyhow::Result<()> {
                    let mut stream = TcpStream::connect(address)?;
                    let mut piece = vec![0; PIECE];
                    while request(&mut stream, &mut piece, &mut count)? {}
                    Ok(())
                };
                if let (Err(error), Ok(mut fault)) = (fetch_on(), fault.lock()) {
                    *fault = Some(error);
                }
            })
        })
        .collect();
    while began.elapsed() < ROUND {
        thread::park_timeout(ROUND.saturating_sub(began.elapsed()));
    }
    stop.store(true, Ordering::Relaxed);
    let (octets, seconds) = (octets.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a client panicked"))?;
    }
    match fault.lock().map(|mut fault| fault.take()) {
        Ok(Some(error)) => Err(error),
        _ => Ok((octets, seconds)),
    }
}

/// One request on a kept connection; `false` when `take` wants no more.
fn request(
    stream: &mut TcpStream,
    piece: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> anyhow::Result<bool> {
    stream.write_all(format!("GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n").as_bytes())?;
    let mut have = 0;
    let body = loop {
        let count = stream.read(&mut piece[have..])?;
        ensure!(count > 0, "the server closes the connection");
        have += count;
        if let Some(end) = piece[..have].windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&piece[..body]).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200 "), "the server says {:?}", head.lines().next());
    ensure!(head.contains(&format!("content-length: {SIZE}\r\n")), "the length is not said: {head}");
    let mut left = SIZE - (have - body);
    if !take(&piece[body..have]) {
        return Ok(false);
    }
    while left > 0 {
        let most = left.min(piece.len());
        let count = stream.read(&mut piece[..most])?;
        ensure!(count > 0, "the server closes the connection in the middle of a file");
        left -= count;
        if !take(&piece[..count]) {
            return Ok(false);
        }
    }
    Ok(true)
}
