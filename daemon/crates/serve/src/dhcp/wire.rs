//! The sockets of one interface: what comes in on which port, and how an answer finds its reader.

use std::{
    future::pending,
    io, mem,
    net::{Ipv4Addr, SocketAddrV4},
};

use ::dhcp::{CLIENT_PORT, Destination, PXE_PORT, SERVER_PORT};
use net::{
    frame::FrameSocket,
    interface::Interface,
    segments::{Segments, is_impossible},
    udp::{DhcpSocket, ReceiveBuffer, Via},
};

use super::{Arrival, Outgoing, frame};

/// So many packets are decided about before anything else is; more wait on the socket.
const LARGEST_BATCH: usize = 256;

/// The open sockets.
pub(super) struct Wire {
    pub(super) interface: Interface,
    pub(super) socket: DhcpSocket,
    /// port 4011, in proxy mode
    pub(super) pxe: Option<DhcpSocket>,
    pub(super) frames: FrameSocket,
    /// our address, which relays know, too
    pub(super) server: Ipv4Addr,
    /// empty between two sends; kept for its memory
    pub(super) parcel: Parcel,
}

impl Wire {
    /// What waits on either port. Cancel-safe.
    pub(super) async fn waiting(
        &mut self,
        (buffer, other): &mut (ReceiveBuffer, ReceiveBuffer),
    ) -> Vec<io::Result<Arrival>> {
        let pxe = async {
            match &mut self.pxe {
                Some(pxe) => pxe.recv_waiting(other, LARGEST_BATCH).await,
                None => pending().await,
            }
        };
        let (port, received) = tokio::select! {
            received = self.socket.recv_waiting(buffer, LARGEST_BATCH) => (SERVER_PORT, received),
            received = pxe => (PXE_PORT, received),
        };
        match received {
            Ok(received) => received.into_iter().map(|datagram| Ok((port, datagram?))).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    /// Nobody is woken by what comes, until [`waiting`](Self::waiting) is asked again.
    pub(super) fn rest(&mut self) {
        self.socket.rest();
        self.pxe.iter_mut().for_each(DhcpSocket::rest);
    }

    /// Sends answers, each from the port its question came to. What a relay is told at once goes down to its card at once.
    /// Gives back what could not be sent, and why.
    pub(super) async fn send(&mut self, answers: &[Outgoing]) -> Vec<(Destination, io::Error)> {
        let mut failed = Vec::new();
        let mut parcel = mem::take(&mut self.parcel);
        for Outgoing { port, message, .. } in answers {
            let Some((destination, bytes)) = message else { continue };
            if let Destination::Relay(relay) = *destination {
                if !parcel.takes(*port, relay, bytes) {
                    failed.extend(self.dispatch(&mut parcel).await);
                }
                parcel.put(*port, relay, bytes);
                continue;
            }
            failed.extend(self.dispatch(&mut parcel).await);
            if let Err(error) = self.send_one(*port, *destination, bytes).await {
                failed.push((*destination, error));
            }
        }
        failed.extend(self.dispatch(&mut parcel).await);
        self.parcel = parcel;
        failed
    }

    async fn dispatch(&self, parcel: &mut Parcel) -> Vec<(Destination, io::Error)> {
        let Some((port, relay)) = parcel.to else { return Vec::new() };
        let to = SocketAddrV4::new(relay, SERVER_PORT);
        let mut outcome = Ok(());
        let together = parcel.segments.are_many()
            && match self.socket_of(port).send_segments(&parcel.segments, to, self.via()).await {
                Err(error) if is_impossible(&error) => false,
                sent => {
                    outcome = sent;
                    true
                }
            };
        if !together {
            for bytes in parcel.segments.iter() {
                let sent = self.send_udp(port, bytes, to).await;
                outcome = outcome.and(sent);
            }
        }
        parcel.segments.clear();
        parcel.to = None;
        outcome.err().map(|error| (Destination::Relay(relay), error)).into_iter().collect()
    }

    async fn send_one(&self, port: u16, destination: Destination, bytes: &[u8]) -> io::Result<()> {
        let to = |address, port| SocketAddrV4::new(address, port);
        match destination {
            Destination::Relay(relay) => self.send_udp(port, bytes, to(relay, SERVER_PORT)).await,
            Destination::Client(address) => self.send_udp(port, bytes, to(address, CLIENT_PORT)).await,
            Destination::Asker(asker) => self.send_udp(port, bytes, asker).await,
            Destination::Broadcast => self.broadcast(port, bytes).await,
            Destination::Frame { mac, address } => {
                let server = to(self.server, SERVER_PORT);
                let from = self.interface.mac.map(|own| (own, server));
                let frame =
                    from.and_then(|from| frame::udp_frame(from, (mac, to(address, CLIENT_PORT)), bytes));
                match frame {
                    Some(frame) => self.frames.send(&frame).await,
                    None => self.broadcast(port, bytes).await,
                }
            }
        }
    }

    async fn broadcast(&self, port: u16, bytes: &[u8]) -> io::Result<()> {
        self.send_udp(port, bytes, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT)).await
    }

    /// From the port the request came to, so that the answer fits the question.
    async fn send_udp(&self, port: u16, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        self.socket_of(port).send_to(bytes, to, self.via()).await
    }

    fn socket_of(&self, port: u16) -> &DhcpSocket {
        self.pxe.as_ref().filter(|_| port == PXE_PORT).unwrap_or(&self.socket)
    }

    fn via(&self) -> Via {
        Via { interface: self.interface.index, source: Some(self.server) }
    }
}

/// Answers of one size to one relay, from one port.
#[derive(Debug, Default)]
pub(super) struct Parcel {
    segments: Segments,
    to: Option<(u16, Ipv4Addr)>,
}

impl Parcel {
    fn takes(&self, port: u16, relay: Ipv4Addr, bytes: &[u8]) -> bool {
        self.to.is_none_or(|to| to == (port, relay)) && self.segments.takes(bytes)
    }

    fn put(&mut self, port: u16, relay: Ipv4Addr, bytes: &[u8]) {
        self.to = Some((port, relay));
        self.segments.push(bytes);
    }
}
