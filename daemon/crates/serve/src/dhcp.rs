//! The DHCP socket loop of one interface.
//!
//! One task owns the lease table of its network and everything else here. It takes what waits on the
//! sockets, decides about each packet, stores all changes at once, and only then answers. It ends
//! when told to, between two batches: a receive that is given up leaves its packet on the socket.

mod bind;
mod frame;

use std::{
    fmt,
    future::{Future, pending},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

use ::boot::{BootView, Offer};
use ::dhcp::{
    Answer, CLIENT_PORT, Changes, Client, Config, Destination, Machines, PXE_PORT, Packet, Received, Reply,
    SERVER_PORT, Server,
};
use futures_util::FutureExt;
use hardware::MacAddr;
use identity::{Marks, Sighting, Source};
use net::{
    frame::FrameSocket,
    interface::Interface,
    udp::{Datagram, DhcpSocket, Via},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use bind::DhcpError;

use crate::{
    clock,
    counters::Counters,
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
    /// which machines ask
    pub sightings: mpsc::Sender<Sighting>,
    /// which addresses they have
    pub whereabouts: mpsc::Sender<Whereabouts>,
    /// what happened
    pub counters: Arc<Counters>,
}

/// A DHCP server whose sockets are open and which does not answer yet; [`Dhcp::bind`] makes it.
pub struct Dhcp<L> {
    interface: Interface,
    socket: DhcpSocket,
    /// port 4011, in proxy mode
    pxe: Option<DhcpSocket>,
    frames: FrameSocket,
    server: Server,
    configs: watch::Receiver<Config>,
    leases: L,
    links: Links,
}

impl<L> fmt::Debug for Dhcp<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dhcp").field("interface", &self.interface.name).finish_non_exhaustive()
    }
}

/// A packet and our port it came to.
type Arrival = (u16, Datagram);

impl<L: LeaseLog> Dhcp<L> {
    /// Answers until told to stop.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let Config { subnet, mode, .. } = self.server.config();
        tracing::info!(interface = %self.interface.name, %subnet, ?mode, "answering DHCP");
        loop {
            let first = tokio::select! {
                () = shutdown.cancelled() => return,
                first = self.next() => first,
            };
            match first {
                Ok(first) => {
                    let batch = self.with_what_waits(first);
                    self.answer(batch).await;
                }
                Err(error) => self.socket_fault(&error),
            }
        }
    }

    async fn next(&self) -> io::Result<Arrival> {
        let pxe = async {
            match &self.pxe {
                Some(pxe) => pxe.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            datagram = self.socket.recv() => Ok((SERVER_PORT, datagram?)),
            datagram = pxe => Ok((PXE_PORT, datagram?)),
        }
    }

    /// The packets that are there already, up to a batch.
    fn with_what_waits(&self, first: Arrival) -> Vec<Arrival> {
        let mut batch = vec![first];
        while batch.len() < LARGEST_BATCH {
            match self.next().now_or_never() {
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

    async fn answer(&mut self, batch: Vec<Arrival>) {
        if self.configs.has_changed().unwrap_or(false) {
            let config = self.configs.borrow_and_update().clone();
            tracing::info!(interface = %self.interface.name, "DHCP goes on with a new configuration");
            self.server.reconfigure(config);
        }
        let view = self.links.view.borrow().clone();
        let now = clock::now();
        let mut changes = Changes::default();
        let mut answers = Vec::new();
        for (port, datagram) in batch {
            if let Some(answer) = self.decide(port, &datagram, &view, now) {
                changes.fold(answer.changes.clone());
                answers.push((port, answer));
            }
        }
        if !changes.is_empty()
            && let Err(error) = self.leases.commit(&changes).await
        {
            self.links.counters.add("dhcp", "not-stored");
            tracing::error!(interface = %self.interface.name, %error, "the machines are not answered and ask again");
            self.server.undo(&changes);
            // what promised nothing new may still go out
            answers.retain(|(_, answer)| answer.changes.is_empty());
        }
        for (port, answer) in answers {
            if let Some((mac, address)) = answer.bound {
                let seen = Whereabouts { mac, address: address.into(), at: now };
                tell(&self.links.whereabouts, seen, "whereabouts");
            }
            if let Some(reply) = answer.reply {
                self.send(port, &reply).await;
            }
        }
    }

    fn decide(&mut self, port: u16, datagram: &Datagram, view: &BootView, now: u64) -> Option<Answer> {
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
        let answer = self.server.handle(&packet, &received, &View(view), now);
        if let Some(note) = &answer.note {
            self.links.counters.add("dhcp", note.label());
            let interface = &self.interface.name;
            let mac = packet.mac().map(tracing::field::display);
            if note.is_alarming() {
                tracing::warn!(interface, mac, %note, "DHCP");
            } else {
                tracing::debug!(interface, mac, %note, "DHCP");
            }
        }
        // a machine that netboots has been seen, whatever it is told
        if let Some(client) = Client::of(&packet).filter(|client| packet.op == 1 && client.netboots()) {
            let machine = Marks { macs: [client.mac].into(), uuid: client.uuid, serial: None };
            tell(&self.links.sightings, Sighting::new(Source::Dhcp, machine, now), "sighting");
        }
        Some(answer)
    }

    async fn send(&self, port: u16, reply: &Reply) {
        let bytes = reply.packet.to_bytes();
        let to = |address, port| SocketAddrV4::new(address, port);
        let sent = match reply.destination {
            Destination::Relay(relay) => self.send_udp(port, &bytes, to(relay, SERVER_PORT)).await,
            Destination::Client(address) => self.send_udp(port, &bytes, to(address, CLIENT_PORT)).await,
            Destination::Asker(asker) => self.send_udp(port, &bytes, asker).await,
            Destination::Broadcast => self.broadcast(port, &bytes).await,
            Destination::Frame { mac, address } => {
                let server = to(self.server.config().server, SERVER_PORT);
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
        }
    }

    async fn broadcast(&self, port: u16, bytes: &[u8]) -> io::Result<()> {
        self.send_udp(port, bytes, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)).await
    }

    /// From the port the request came to, so that the answer fits the question.
    async fn send_udp(&self, port: u16, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        let via = Via { interface: self.interface.index, source: Some(self.server.config().server) };
        let socket = self.pxe.as_ref().filter(|_| port == PXE_PORT).unwrap_or(&self.socket);
        socket.send_to(bytes, to, via).await
    }
}

/// The published view in the words of the DHCP server.
struct View<'a>(&'a BootView);

impl Machines for View<'_> {
    fn reservation(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.0.address(mac)
    }

    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.0.is_reserved(address)
    }

    fn may_netboot(&self, mac: MacAddr) -> bool {
        self.0.offer(mac) == Offer::Netboot
    }
}

#[cfg(test)]
mod tests;
