//! The TFTP socket loop of one address: bootloaders for firmware that has no HTTP.
//!
//! One task listens on port 69 and starts a task for each transfer, on a socket of its own from the
//! address that was asked, since boot ROMs drop what comes from another one ([`Ports`]: or on the listening
//! one). Transfers have threads of their own ([`lanes`]).
//! Anybody may knock here: nothing but bootloaders of the catalogue has a name, and there are only so
//! many transfers at once. All tasks end when told to, wherever they are; a client that was cut off asks
//! again.

mod bootloaders;
mod carry;
mod lanes;
mod line;
mod lockstep;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ::boot::{AssetName, is_raspberry_pi};
use ::tftp::{
    Mode, Packet, Request,
    packet::code::{ACCESS, NOT_FOUND, UNDEFINED},
};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::{self, JoinSet},
};
use tokio_util::sync::CancellationToken;

pub use ::tftp::SERVER_PORT;
pub use bootloaders::Bootloaders;
use carry::Job;
use lanes::{Desks, Lanes};
pub use line::Ports;

use crate::{
    clock,
    counters::Counters,
    trace::{Layer, Trace, Who},
};

/// A request fits into 512 octets (RFC 2347 §2); padding may follow.
const LONGEST_REQUEST: usize = 1500;
/// The same request again within this time was doubled by the network: no client loses patience so
/// fast, and a new transfer would take away the one that it has begun to listen to.
const DOUBLED_WITHIN: Duration = Duration::from_millis(200);

/// What clients may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// transfers at once; each has a socket. Above, requests stay unanswered and come again
    pub transfers: usize,
    /// of them to one IP address, which may be several machines behind a router
    pub per_client: usize,
    /// of each transfer
    pub transfer: ::tftp::Limits,
    /// whether each transfer has a socket of its own
    pub ports: Ports,
}

impl Default for Limits {
    fn default() -> Self {
        Self { transfers: 512, per_client: 8, transfer: ::tftp::Limits::default(), ports: Ports::Own }
    }
}

/// A TFTP server whose socket is open and which does not answer yet; [`Tftp::bind`] makes it.
pub struct Tftp {
    socket: std::net::UdpSocket,
    address: SocketAddr,
    files: Arc<Bootloaders>,
    counters: Arc<Counters>,
    trace: Arc<Trace>,
    limits: Limits,
}

/// The loop of one server.
struct Answering {
    socket: Arc<UdpSocket>,
    server: Tftp,
    lanes: Lanes,
    desks: Desks,
    transfers: JoinSet<()>,
    /// by the client's address and port; a transfer that was replaced is no more in here
    running: BTreeMap<SocketAddr, Running>,
}

struct Running {
    task: task::Id,
    lane: usize,
    stop: CancellationToken,
    request: Vec<u8>,
    since: Instant,
    /// what came from the client, where it comes to the listening socket
    inbox: Option<mpsc::Sender<Vec<u8>>>,
}

impl fmt::Debug for Tftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tftp").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Tftp {
    /// Opens the socket on one of our own addresses; every answer comes from that address.
    ///
    /// # Errors
    /// When the address is not ours, the port is taken, or it needs a capability.
    pub fn bind(
        address: SocketAddr,
        files: Arc<Bootloaders>,
        counters: Arc<Counters>,
        trace: Arc<Trace>,
        limits: Limits,
    ) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, files, counters, trace, limits })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop; transfers that are under way end then too.
    pub async fn run(self, shutdown: CancellationToken) {
        let address = self.address;
        match Answering::new(self) {
            Ok(answering) => answering.run(shutdown).await,
            Err(error) => tracing::error!(%address, %error, "TFTP cannot be answered"),
        }
    }
}

impl Answering {
    fn new(server: Tftp) -> io::Result<Self> {
        let socket = Arc::new(UdpSocket::from_std(server.socket.try_clone()?)?);
        let (transfers, running) = (JoinSet::new(), BTreeMap::new());
        Ok(Self { socket, server, lanes: Lanes::open()?, desks: Desks::default(), transfers, running })
    }

    async fn run(mut self, shutdown: CancellationToken) {
        tracing::info!(address = %self.server.address, "answering TFTP");
        let mut buffer = [0; LONGEST_REQUEST];
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = self.transfers.join_next_with_id() => {
                    let task = match ended {
                        Ok((task, ())) => task,
                        Err(error) => error.id(),
                    };
                    self.running.retain(|_, running| running.task != task);
                }
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, client)) => {
                        self.on_datagram(buffer.get(..length).unwrap_or_default(), client, &shutdown).await;
                    }
                    // an error belongs to one datagram; the socket goes on
                    Err(error) => {
                        self.server.counters.add("tftp", "socket-error");
                        tracing::warn!(address = %self.server.address, %error, "cannot receive TFTP");
                    }
                },
            }
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        while self.transfers.join_next().await.is_some() {}
    }

    async fn on_datagram(&mut self, bytes: &[u8], client: SocketAddr, shutdown: &CancellationToken) {
        match Packet::parse(bytes) {
            Ok(Packet::Read(request)) => match self.wanted(&request) {
                Ok(file) => self.start(file, &request, bytes, client, shutdown),
                Err(refusal) => self.refuse(&request, refusal, client).await,
            },
            Ok(Packet::Write(request)) => self.refuse(&request, Refusal::Write, client).await,
            Ok(_) => match self.running.get(&client).and_then(|running| running.inbox.as_ref()) {
                // a full one loses it, as a full queue of the kernel would
                Some(inbox) => drop(inbox.try_send(bytes.to_vec())),
                None => self.server.counters.add("tftp", "stray"),
            },
            Err(error) => {
                self.server.counters.add("tftp", "malformed");
                tracing::debug!(%client, %error, "dropped");
            }
        }
    }

    fn wanted(&self, request: &Request<'_>) -> Result<AssetName, Refusal> {
        if request.mode != Mode::Octet {
            return Err(Refusal::Mode);
        }
        let Some(file) = request.file() else { return Err(Refusal::Name) };
        let names = [AssetName::ipxe(file), AssetName::raspberry_pi(file)].into_iter().flatten();
        let found = names.into_iter().find(|name| self.server.files.has(name));
        found.ok_or_else(|| match file.split_once('/') {
            Some((folder, _)) if is_raspberry_pi(folder) => Refusal::NoneOfThePis,
            _ => Refusal::Name,
        })
    }

    fn start(
        &mut self,
        file: AssetName,
        request: &Request<'_>,
        bytes: &[u8],
        client: SocketAddr,
        shutdown: &CancellationToken,
    ) {
        if let Some(running) = self.running.get(&client) {
            if running.request == bytes && running.since.elapsed() < DOUBLED_WITHIN {
                self.server.counters.add("tftp", "doubled");
                return;
            }
            // the client has begun anew and listens no more to what was sent for the old request
            running.stop.cancel();
            self.running.remove(&client);
            self.server.counters.add("tftp", "replaced");
        }
        let same = self.running.keys().filter(|other| other.ip() == client.ip()).count();
        if self.transfers.len() >= self.server.limits.transfers || same >= self.server.limits.per_client {
            self.server.counters.add("tftp", "busy");
            tracing::warn!(%client, %file, "too many TFTP transfers at once, not answered");
            return;
        }
        let busy = self.running.values().map(|running| running.lane);
        let Some((lane, runtime)) = self.lanes.quietest(busy) else { return };
        let (inbox, shared) = match self.server.limits.ports {
            Ports::Own => (None, None),
            Ports::Single => {
                let (inbox, waiting) = mpsc::channel(line::WAITING);
                (Some(inbox), Some((Arc::clone(&self.socket), waiting)))
            }
        };
        let job = Job {
            file,
            options: request.options,
            client,
            server: self.server.address.ip(),
            shared,
            files: Arc::clone(&self.server.files),
            counters: Arc::clone(&self.server.counters),
            trace: Arc::clone(&self.server.trace),
            limits: self.server.limits.transfer,
            desks: self.desks.clone(),
        };
        let stop = shutdown.child_token();
        let task = self.transfers.spawn_on(job.run(stop.clone()), runtime).id();
        let running = Running { task, stop, request: bytes.to_vec(), since: Instant::now(), inbox, lane };
        self.running.insert(client, running);
    }

    async fn refuse(&self, request: &Request<'_>, refusal: Refusal, client: SocketAddr) {
        self.server.counters.add("tftp", refusal.label());
        let file = String::from_utf8_lossy(request.name.get(..100).unwrap_or(request.name));
        tracing::info!(%client, ?file, %refusal, "TFTP request refused");
        let (who, now) = (Who::Address(client.ip()), clock::now());
        self.server.trace.note(who, Layer::Tftp, now, format!("{file}: refused, {refusal}"));
        self.server.trace.fetched(who);
        // the one that is named to be missed
        if refusal == Refusal::Name && file != ::dhcp::NO_FILE {
            let what =
                format!("{} asks by TFTP for {file:?}, which is not in the images folder", client.ip());
            self.server.trace.trouble("missing-file", what, now);
        }
        let first = AssetName::raspberry_pi("config.txt").is_ok_and(|name| !self.server.files.has(&name));
        if refusal == Refusal::NoneOfThePis && first {
            let what = format!(
                "{} is a Raspberry Pi and asks for its firmware by TFTP: the images folder has no rpi/ with it, its \
                 config.txt and its boot program",
                client.ip()
            );
            self.server.trace.trouble("no-raspberry-pi-files", what, now);
        }
        let error = Packet::Error { code: refusal.code(), text: refusal.to_string() };
        if let Err(error) = self.socket.send_to(&error.to_bytes(), client).await {
            tracing::debug!(%client, %error, "cannot send TFTP");
        }
    }
}

/// Why a request is refused, in the words that the client's screen may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("no such boot file")]
    Name,
    /// it asks for a dozen files that a model or a setup may have, in its order, and goes on without
    #[error("no such boot file")]
    NoneOfThePis,
    #[error("nothing can be written here")]
    Write,
    #[error("only octet (binary) mode is served")]
    Mode,
}

impl Refusal {
    fn code(self) -> u16 {
        match self {
            Self::Name | Self::NoneOfThePis => NOT_FOUND,
            Self::Write => ACCESS,
            Self::Mode => UNDEFINED,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Name => "refused-name",
            Self::NoneOfThePis => "raspberry-pi-without",
            Self::Write => "refused-write",
            Self::Mode => "refused-mode",
        }
    }
}

#[cfg(test)]
mod tests;
