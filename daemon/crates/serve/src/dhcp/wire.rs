//! The sockets of one interface: what comes in on which port, and how an answer finds its reader.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddrV4},
};

use ::dhcp::{CLIENT_PORT, Destination, PXE_PORT, Reply, SERVER_PORT};
use net::{
    frame::FrameSocket,
    interface::Interface,
    udp::{DhcpSocket, ReceiveBuffer, Via},
};

use super::{Arrival, frame};

/// So many packets are decided about before anything else is; more wait on the socket.
const LARGEST_BATCH: usize = 64;

/// The open sockets.
pub(super) struct Wire {
    pub(super) interface: Interface,
    pub(super) socket: DhcpSocket,
    /// port 4011, in proxy mode
    pub(super) pxe: Option<DhcpSocket>,
    pub(super) frames: FrameSocket,
    /// our address, which relays know, too
    pub(super) server: Ipv4Addr,
}

impl Wire {
    /// What waits on either port. Cancel-safe.
    pub(super) async fn waiting(
        &self,
        (buffer, other): &mut (ReceiveBuffer, ReceiveBuffer),
    ) -> Vec<io::Result<Arrival>> {
        let pxe = async {
            match &self.pxe {
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

    /// Sends an answer from the port its question came to, in at most so many octets.
    pub(super) async fn send(&self, port: u16, reply: &Reply, limit: Option<u16>) -> io::Result<()> {
        let bytes = reply.packet.to_bytes_within(limit);
        let to = |address, port| SocketAddrV4::new(address, port);
        match reply.destination {
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
