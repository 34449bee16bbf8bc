//! The DHCP socket loop of one interface.
//!
//! One task owns the lease table of its network and everything else here. It takes what waits on the
//! sockets, decides about each packet, stores all changes at once, and only then answers. It ends
//! when told to, between two batches: a receive that is given up leaves its packet on the socket.

mod bind;
mod frame;
mod look;
mod rival;
mod sighting;
mod wording;

use std::{
    fmt,
    future::{Future, pending},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

use ::boot::{BootView, Offer};
use ::dhcp::{
    Answer, Boots, CLIENT_PORT, Changes, Client, Config, Destination, Machines, Mode, Networks, Note,
    PXE_PORT, Packet, Received, Reply, SERVER_PORT,
};
use dhcproto::v4::OptionCode;
use futures_util::FutureExt;
use hardware::{LocalBoot, MacAddr};
use identity::Sighting;
use net::{
    frame::FrameSocket,
    interface::Interface,
    udp::{Datagram, DhcpSocket, Via},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use bind::DhcpError;
pub use rival::{Rival, SearchError};

use crate::{
    clock,
    counters::Counters,
    local_boot::LocalBoots,
    trace::{Layer, Trace, Who},
    whereabouts::{Whereabouts, tell},
};

/// So many packets are answered with one write to the store; more wait on the socket.
const LARGEST_BATCH: usize = 64;

/// Where leases become durable.
pub trait LeaseLog: Send + Sync + 'static {
    /// Frees every touched address and writes what comes after, all of it or nothing.
    fn commit(&self, changes: &Changes) -> impl Future<Output = Result<(), LeaseLogError>> + Send;
}

/// The leases could not be stored; the machines are not answered and ask again.
#[derive(Debug, thiserror::Error)]
#[error("cannot store leases: {0}")]
pub struct LeaseLogError(pub String);

/// Where the loop reads and what it tells.
#[derive(Debug, Clone)]
pub struct Links {
    /// what machines may boot, published by the reconciler
    pub view: watch::Receiver<Arc<BootView>>,
    /// how machines are sent to their own disks
    pub local_boots: LocalBoots,
    /// which machines ask
    pub sightings: mpsc::Sender<Sighting>,
    /// which addresses they have
    pub whereabouts: mpsc::Sender<Whereabouts>,
    /// what happened
    pub counters: Arc<Counters>,
    /// what happened to whom
    pub trace: Arc<Trace>,
}

/// A DHCP server whose sockets are open and which does not answer yet; [`Dhcp::bind`] makes it.
pub struct Dhcp<L> {
    interface: Interface,
    socket: DhcpSocket,
    /// port 4011, in proxy mode
    pxe: Option<DhcpSocket>,
    frames: FrameSocket,
    /// our address, which relays know, too
    server: Ipv4Addr,
    networks: Networks,
    configs: watch::Receiver<Vec<Config>>,
    leases: L,
    links: Links,
    looks: look::Looks,
    pace: rival::Pace,
}

impl<L> fmt::Debug for Dhcp<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dhcp").field("interface", &self.interface.name).finish_non_exhaustive()
    }
}

/// A packet and our port it came to.
type Arrival = (u16, Datagram);

/// An answer, the port it goes from, and the size of datagram that its reader takes.
struct Outgoing {
    port: u16,
    limit: Option<u16>,
    answer: Answer,
}

impl<L: LeaseLog> Dhcp<L> {
    /// Answers until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        for Config { subnet, mode, relayed, .. } in self.networks.configs() {
            tracing::info!(interface = %self.interface.name, %subnet, ?mode, relayed, "answering DHCP");
        }
        let alone = self.networks.configs().any(|config| config.mode == Mode::Authoritative);
        let mut watch =
            rival::Watch::start(alone.then(|| self.interface.name.clone()), self.server, self.pace);
        loop {
            let first = tokio::select! {
                () = shutdown.cancelled() => return,
                rival = watch.changed() => {
                    self.rival(rival);
                    continue;
                }
                Some(looked) = self.looks.next() => {
                    let batch = self.looked(looked).await;
                    self.answer(batch, &watch).await;
                    continue;
                }
                first = next(&self.socket, self.pxe.as_ref()) => first,
            };
            match first {
                Ok(first) => {
                    let batch = self.with_what_waits(first);
                    self.answer(batch, &watch).await;
                }
                Err(error) => self.socket_fault(&error),
            }
        }
    }

    /// Looks for another server once, before anything is answered.
    ///
    /// # Errors
    /// When one answers and we are to give addresses, too.
    pub async fn alone(&self) -> Result<(), DhcpError> {
        if !self.networks.configs().any(|config| config.mode == Mode::Authoritative) {
            return Ok(());
        }
        let interface = self.interface.name.clone();
        match rival::search(&interface, self.server, rival::AT_START).await {
            Ok(Some(rival)) => Err(DhcpError::Rival { interface, rival }),
            Ok(None) => Ok(()),
            Err(source) => Err(DhcpError::Search { interface, source }),
        }
    }

    fn rival(&mut self, rival: Option<Rival>) {
        let interface = &self.interface.name;
        match rival {
            Some(Rival { server, mac }) => {
                self.links.counters.add("dhcp", "rival");
                let what = format!(
                    "another DHCP server ({server}, {mac}) answers on {interface}, so ours is silent: stop it, or \
                     write `dhcp: proxy`"
                );
                tracing::error!("{what}");
                self.links.trace.trouble("rival", what, clock::now());
            }
            None => {
                tracing::info!(%interface, "the other DHCP server is gone, answering again");
                self.links.trace.recovered("rival");
            }
        }
        self.networks.set_rival(rival.map(|rival| rival.server));
    }

    /// Somebody looked whether an address is in use: stores what follows, and gives back who waits for it.
    async fn looked(&mut self, (address, user): look::Looked) -> Vec<Arrival> {
        let (view, now) = (Arc::clone(&self.links.view.borrow()), clock::now());
        let machines = View { boot: &view, local: &self.links.local_boots };
        let answer = self.networks.probed(address, user, &machines, now);
        if let Some(note) = &answer.note {
            self.links.counters.add("dhcp", note.label());
            tracing::warn!(interface = %self.interface.name, %note, "DHCP");
            self.links.trace.trouble(note.label(), note.to_string(), now);
        }
        if !answer.changes.is_empty()
            && let Err(error) = self.leases.commit(&answer.changes).await
        {
            self.not_stored(&error, &answer.changes);
        }
        self.looks.waited_for(address)
    }

    fn not_stored(&mut self, error: &LeaseLogError, changes: &Changes) {
        self.links.counters.add("dhcp", "not-stored");
        tracing::error!(interface = %self.interface.name, %error, "the machines are not answered and ask again");
        self.links.trace.trouble("not-stored", format!("{error}; machines get no address"), clock::now());
        self.networks.undo(changes);
    }

    /// The packets that are there already, up to a batch.
    fn with_what_waits(&self, first: Arrival) -> Vec<Arrival> {
        let mut batch = vec![first];
        while batch.len() < LARGEST_BATCH {
            match next(&self.socket, self.pxe.as_ref()).now_or_never() {
                Some(Ok(arrival)) => batch.push(arrival),
                Some(Err(error)) => self.socket_fault(&error),
                None => break,
            }
        }
        batch
    }

    /// An error belongs to one packet; the socket goes on.
    fn socket_fault(&self, error: &io::Error) {
        self.links.counters.add("dhcp", "socket-error");
        tracing::warn!(interface = %self.interface.name, %error, "cannot receive DHCP");
    }

    async fn answer(&mut self, batch: Vec<Arrival>, watch: &rival::Watch) {
        if self.configs.has_changed().unwrap_or(false) {
            let configs = self.configs.borrow_and_update().clone();
            tracing::info!(interface = %self.interface.name, "DHCP goes on with a new configuration");
            self.networks.reconfigure(configs);
        }
        let view = Arc::clone(&self.links.view.borrow());
        let now = clock::now();
        let mut changes = Changes::default();
        let mut going = Vec::new();
        for (port, datagram) in batch {
            let Some(outgoing) = self.decide(port, &datagram, &view, now) else { continue };
            if let Some(address) = outgoing.answer.probe {
                self.looks.ask(&self.interface.name, address, (port, datagram));
            }
            if matches!(outgoing.answer.note, Some(Note::ChoseAnother { .. })) {
                watch.look_again();
            }
            changes.fold(outgoing.answer.changes.clone());
            going.push(outgoing);
        }
        if !changes.is_empty()
            && let Err(error) = self.leases.commit(&changes).await
        {
            self.not_stored(&error, &changes);
            // what promised nothing new may still go out
            going.retain(|outgoing| outgoing.answer.changes.is_empty());
        }
        for Outgoing { port, limit, answer } in going {
            if let Some((mac, address)) = answer.bound {
                let seen = Whereabouts { mac, address: address.into(), at: now };
                self.links.trace.place(mac, address.into());
                tell(&self.links.whereabouts, seen, "whereabouts");
            }
            if let Some(reply) = answer.reply {
                self.send(port, &reply, limit).await;
            }
        }
    }

    fn decide(&mut self, port: u16, datagram: &Datagram, view: &BootView, now: u64) -> Option<Outgoing> {
        let packet = match Packet::parse(&datagram.payload) {
            Ok(packet) => packet,
            Err(error) => {
                self.links.counters.add("dhcp-malformed", error.label());
                tracing::debug!(from = %datagram.source, %error, "not a DHCP message, dropped");
                return None;
            }
        };
        if packet.options.faults() > 0 {
            self.links.counters.add("dhcp-malformed", "option");
            tracing::debug!(from = %datagram.source, "an option runs over its field's end, left out");
        }
        let received = Received { source: datagram.source, port };
        let machines = View { boot: view, local: &self.links.local_boots };
        let answer = self.networks.handle(&packet, &received, &machines, now);
        let client = Client::of(&packet).filter(|_| packet.op == 1);
        self.report(&packet, client.as_ref(), &answer, now);
        // a machine that netboots has been seen, whatever it is told
        if let Some(client) = client.filter(Client::netboots) {
            // a renewal past the relay repeats what the relay had said, but the machine itself sends it
            let relayed = answer.relayed.as_ref().filter(|it| it.giaddr == packet.giaddr);
            let sighting = sighting::sighting(&client, relayed, *datagram.source.ip(), now);
            tell(&self.links.sightings, sighting, "sighting");
        }
        let limit = packet.options.raw(OptionCode::MaxMessageSize).and_then(|octets| octets.try_into().ok());
        Some(Outgoing { port, limit: limit.map(u16::from_be_bytes), answer })
    }

    /// Counts, logs and remembers one answer or silence with its reason.
    fn report(&self, packet: &Packet, client: Option<&Client>, answer: &Answer, now: u64) {
        let trace = &self.links.trace;
        if let Some(client) = client {
            trace.note(Who::Mac(client.mac), Layer::Dhcp, now, wording::line(packet, client, answer));
        }
        let Some(note) = &answer.note else { return };
        self.links.counters.add("dhcp", note.label());
        let interface = &self.interface.name;
        let mac = packet.mac().map(tracing::field::display);
        if note.is_alarming() {
            tracing::warn!(interface, mac, %note, "DHCP");
            let who = packet.mac().map_or_else(|| "a machine".to_owned(), |mac| mac.to_string());
            // about the network, whoever it was that noticed
            let whole =
                matches!(note, Note::ForeignRelay { .. } | Note::PoolExhausted | Note::Silenced { .. });
            let what = if whole { note.to_string() } else { format!("{who}: {note}") };
            trace.trouble(note.label(), what, now);
        } else {
            tracing::debug!(interface, mac, %note, "DHCP");
        }
        if let (Some(client), Note::Booting { .. } | Note::Proxied { .. }) = (client, note)
            && packet.message_type() == Some(dhcproto::v4::MessageType::Discover)
        {
            trace.offered(client.mac, now);
        }
    }

    async fn send(&self, port: u16, reply: &Reply, limit: Option<u16>) {
        let bytes = reply.packet.to_bytes_within(limit);
        let to = |address, port| SocketAddrV4::new(address, port);
        let sent = match reply.destination {
            Destination::Relay(relay) => self.send_udp(port, &bytes, to(relay, SERVER_PORT)).await,
            Destination::Client(address) => self.send_udp(port, &bytes, to(address, CLIENT_PORT)).await,
            Destination::Asker(asker) => self.send_udp(port, &bytes, asker).await,
            Destination::Broadcast => self.broadcast(port, &bytes).await,
            Destination::Frame { mac, address } => {
                let server = to(self.server, SERVER_PORT);
                let from = self.interface.mac.map(|own| (own, server));
                let frame =
                    from.and_then(|from| frame::udp_frame(from, (mac, to(address, CLIENT_PORT)), &bytes));
                match frame {
                    Some(frame) => self.frames.send(&frame).await,
                    None => self.broadcast(port, &bytes).await,
                }
            }
        };
        if let Err(error) = sent {
            self.links.counters.add("dhcp", "not-sent");
            tracing::warn!(interface = %self.interface.name, to = ?reply.destination, %error, "cannot send DHCP");
            let what = format!("DHCP cannot be sent on {}: {error}", self.interface.name);
            self.links.trace.trouble("not-sent", what, clock::now());
        }
    }

    async fn broadcast(&self, port: u16, bytes: &[u8]) -> io::Result<()> {
        self.send_udp(port, bytes, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)).await
    }

    /// From the port the request came to, so that the answer fits the question.
    async fn send_udp(&self, port: u16, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        let via = Via { interface: self.interface.index, source: Some(self.server) };
        let socket = self.pxe.as_ref().filter(|_| port == PXE_PORT).unwrap_or(&self.socket);
        socket.send_to(bytes, to, via).await
    }
}

/// The next packet on either port.
async fn next(socket: &DhcpSocket, pxe: Option<&DhcpSocket>) -> io::Result<Arrival> {
    let pxe = async {
        match pxe {
            Some(pxe) => pxe.recv().await,
            None => pending().await,
        }
    };
    tokio::select! {
        datagram = socket.recv() => Ok((SERVER_PORT, datagram?)),
        datagram = pxe => Ok((PXE_PORT, datagram?)),
    }
}

/// The published view in the words of the DHCP server.
struct View<'a> {
    boot: &'a BootView,
    local: &'a LocalBoots,
}

impl Machines for View<'_> {
    fn reservation(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.boot.address(mac)
    }

    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.boot.is_reserved(address)
    }

    fn boots(&self, mac: MacAddr) -> Boots {
        match self.boot.offer(mac) {
            Offer::Nothing => Boots::Nothing,
            Offer::Identify => Boots::Identify,
            Offer::Deploy => Boots::Deploy,
        }
    }

    fn local_boot(&self, mac: MacAddr) -> Option<LocalBoot> {
        self.local.way(mac)
    }
}

#[cfg(test)]
mod tests;
