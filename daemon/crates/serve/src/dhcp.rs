//! The DHCP socket loop of one interface.
//!
//! One task owns the lease table of its network and everything else here. It takes what waits on the
//! sockets, decides about each packet, and answers at once what promises nothing new; the other answers
//! leave when what they promise is stored (`commit`). Whether addresses are in use is looked at
//! meanwhile, and beforehand (`look`). It ends when told to, once the write that is under way is done; a
//! receive that is given up leaves its packets on the socket.

mod bind;
mod commit;
mod frame;
mod look;
mod outbox;
mod pause;
mod rival;
mod sighting;
mod wire;
mod wording;

use std::{fmt, future::Future, io, net::Ipv4Addr, sync::Arc, time::Duration};

use ::boot::{BootView, Offer};
use ::dhcp::{
    Answer, Boots, Changes, Client, Config, Destination, Machines, Mode, Networks, Note, Packet, Received,
};
use dhcproto::v4::OptionCode;
use hardware::{LocalBoot, MacAddr};
use identity::Sighting;
use net::{
    arp::Arp,
    udp::{Datagram, ReceiveBuffer},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use commit::{Commits, Written};
use look::{Looks, Seen};
use outbox::Outbox;
use pause::Pause;
use wire::Wire;

pub use bind::DhcpError;
pub use rival::{Rival, SearchError};

use crate::{
    clock,
    counters::Counters,
    local_boot::LocalBoots,
    trace::{Layer, Trace, Who},
    whereabouts::{Whereabouts, tell},
};

/// How often is looked whether the stock of addresses needs looks, when nothing else happens.
const STOCKTAKING: Duration = Duration::from_secs(1);

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
    wire: Wire,
    networks: Networks,
    configs: watch::Receiver<Vec<Config>>,
    commits: Commits<L>,
    /// answers whose promises are stored
    outbox: Outbox<Outgoing>,
    links: Links,
    /// to look whether addresses are in use, once the loop runs
    arp: Option<Arp>,
    pace: rival::Pace,
    /// what a packet and its answer were, in words; kept for its memory
    line: String,
}

impl<L> fmt::Debug for Dhcp<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dhcp").field("interface", &self.wire.interface.name).finish_non_exhaustive()
    }
}

/// A packet and our port it came to.
type Arrival = (u16, Datagram);

/// An answer as it leaves.
struct Outgoing {
    /// ours, that it goes from
    port: u16,
    /// who has which address from then on
    bound: Option<(MacAddr, Ipv4Addr)>,
    /// when it was decided, in milliseconds since the Unix epoch
    at: u64,
    /// where it goes, and its octets; there may be none although somebody has an address
    message: Option<(Destination, Vec<u8>)>,
}

impl Outgoing {
    /// Takes the reply out of an answer to a reader that takes datagrams of this size.
    fn new(answer: &mut Answer, port: u16, limit: Option<u16>, at: u64) -> Self {
        let message =
            answer.reply.take().map(|reply| (reply.destination, reply.packet.to_bytes_within(limit)));
        Self { port, bound: answer.bound, at, message }
    }
}

impl<L: LeaseLog> Dhcp<L> {
    /// Answers until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        for Config { subnet, mode, relayed, .. } in self.networks.configs() {
            tracing::info!(interface = %self.wire.interface.name, %subnet, ?mode, relayed, "answering DHCP");
        }
        let alone = self.networks.configs().any(|config| config.mode == Mode::Authoritative);
        let mut watch =
            rival::Watch::start(alone.then(|| self.wire.interface.name.clone()), self.wire.server, self.pace);
        let mut looks = Looks::start(self.arp.take());
        let mut stocktaking = interval(STOCKTAKING);
        stocktaking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffers = (ReceiveBuffer::default(), ReceiveBuffer::default());
        let mut pause = Pause::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                rival = watch.changed() => self.rival(rival),
                Some(written) = self.commits.written() => self.written(written),
                () = self.outbox.due() => self.send_due().await,
                Some(seen) = looks.next() => {
                    let batch = self.seen(seen, &mut looks);
                    self.answer(batch, &mut looks, &watch).await;
                }
                _ = stocktaking.tick() => self.take_stock(&mut looks),
                arrived = pause.then(self.wire.waiting(&mut buffers)), if !self.commits.is_full() => {
                    let batch = self.arrived(arrived);
                    if pause.after(batch.len(), Instant::now()) {
                        self.wire.rest();
                    }
                    self.answer(batch, &mut looks, &watch).await;
                }
            }
        }
        // what is stored and not said costs a machine its first seconds only, yet saying it costs nothing
        if let Some(written) = self.commits.written().await {
            self.written(written);
        }
        while !self.outbox.is_empty() {
            self.send_due().await;
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
        let interface = self.wire.interface.name.clone();
        match rival::search(&interface, self.wire.server, rival::AT_START).await {
            Ok(Some(rival)) => Err(DhcpError::Rival { interface, rival }),
            Ok(None) => Ok(()),
            Err(source) => Err(DhcpError::Search { interface, source }),
        }
    }

    fn rival(&mut self, rival: Option<Rival>) {
        let interface = &self.wire.interface.name;
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

    /// What follows from what was seen of an address; gives back who waits for it.
    fn seen(&mut self, seen: Seen, looks: &mut Looks) -> Vec<Arrival> {
        let (view, now) = (Arc::clone(&self.links.view.borrow()), clock::now());
        let machines = View { boot: &view, local: &self.links.local_boots };
        let (address, user) = match seen {
            Seen::Looked(address, user) => (address, user),
            Seen::Heard(address, user) => {
                self.networks.heard(address, user, &machines, now);
                return Vec::new();
            }
        };
        let answer = self.networks.probed(address, user, &machines, now);
        if let Some(note) = &answer.note {
            self.links.counters.add("dhcp", note.label());
            tracing::warn!(interface = %self.wire.interface.name, %note, "DHCP");
            self.links.trace.trouble(note.label(), note.to_string(), now);
        }
        self.commits.store(answer.changes);
        self.take_stock(looks);
        looks.waited_for(address)
    }

    /// Has addresses looked at that will be asked for.
    fn take_stock(&mut self, looks: &mut Looks) {
        let (view, now) = (Arc::clone(&self.links.view.borrow()), clock::now());
        let machines = View { boot: &view, local: &self.links.local_boots };
        for address in self.networks.beforehand(&machines, now, looks.room()) {
            looks.ask_beforehand(address);
        }
    }

    /// The packets among what came.
    fn arrived(&self, arrived: Vec<io::Result<Arrival>>) -> Vec<Arrival> {
        let packet = |arrival: io::Result<Arrival>| match arrival {
            Ok(arrival) => Some(arrival),
            // an error belongs to one packet; the socket goes on
            Err(error) => {
                self.links.counters.add("dhcp", "socket-error");
                tracing::warn!(interface = %self.wire.interface.name, %error, "cannot receive DHCP");
                None
            }
        };
        arrived.into_iter().filter_map(packet).collect()
    }

    async fn answer(&mut self, batch: Vec<Arrival>, looks: &mut Looks, watch: &rival::Watch) {
        if self.configs.has_changed().unwrap_or(false) {
            let configs = self.configs.borrow_and_update().clone();
            tracing::info!(interface = %self.wire.interface.name, "DHCP goes on with a new configuration");
            self.networks.reconfigure(configs);
        }
        let view = Arc::clone(&self.links.view.borrow());
        let now = clock::now();
        let mut ready = Vec::new();
        for (port, datagram) in batch {
            let Some((answer, outgoing)) = self.decide(port, &datagram, &view, now) else { continue };
            if let Some(address) = answer.probe {
                looks.ask(address, (port, datagram));
            }
            if matches!(answer.note, Some(Note::ChoseAnother { .. })) {
                watch.look_again();
            }
            if answer.changes.is_empty() {
                ready.push(outgoing);
            } else {
                self.commits.hold(answer.changes, outgoing);
            }
        }
        self.go(ready).await;
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Stored(answers) => self.outbox.put(answers),
            Written::Failed(error, undone) => {
                self.links.counters.add("dhcp", "not-stored");
                tracing::error!(interface = %self.wire.interface.name, %error, "the machines are not answered and ask again");
                self.links.trace.trouble(
                    "not-stored",
                    format!("{error}; machines get no address"),
                    clock::now(),
                );
                undone.iter().for_each(|changes| self.networks.undo(changes));
            }
        }
    }

    async fn send_due(&mut self) {
        let burst = self.outbox.take(Instant::now());
        self.go(burst).await;
    }

    /// Tells who is where now, and sends the answers.
    async fn go(&mut self, answers: Vec<Outgoing>) {
        for Outgoing { at, bound, .. } in &answers {
            if let Some((mac, address)) = *bound {
                self.links.trace.place(mac, address.into());
                tell(
                    &self.links.whereabouts,
                    Whereabouts { mac, address: address.into(), at: *at },
                    "whereabouts",
                );
            }
        }
        for (destination, error) in self.wire.send(&answers).await {
            let interface = &self.wire.interface.name;
            self.links.counters.add("dhcp", "not-sent");
            tracing::warn!(%interface, to = ?destination, %error, "cannot send DHCP");
            let what = format!("DHCP cannot be sent on {interface}: {error}");
            self.links.trace.trouble("not-sent", what, clock::now());
        }
    }

    /// What follows from a packet, and what leaves because of it.
    fn decide(
        &mut self,
        port: u16,
        datagram: &Datagram,
        view: &BootView,
        now: u64,
    ) -> Option<(Answer, Outgoing)> {
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
        let mut answer = self.networks.handle(&packet, &received, &machines, now);
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
        let outgoing = Outgoing::new(&mut answer, port, limit.map(u16::from_be_bytes), now);
        Some((answer, outgoing))
    }

    /// Counts, logs and remembers one answer or silence with its reason.
    fn report(&mut self, packet: &Packet, client: Option<&Client>, answer: &Answer, now: u64) {
        let trace = &self.links.trace;
        if let Some(client) = client {
            wording::line(&mut self.line, packet, client, answer);
            trace.note(Who::Mac(client.mac), Layer::Dhcp, now, &self.line);
        }
        let Some(note) = &answer.note else { return };
        self.links.counters.add("dhcp", note.label());
        let interface = &self.wire.interface.name;
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
