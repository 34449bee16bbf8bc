//! A DHCP client on a packet socket: DISCOVER to ACK, for firmware and system alike.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::bail;
use ipnet::{IpNet, Ipv4Net};
use net::frame::FrameSocket;
use tokio::time::{Instant, timeout_at};

use super::{
    dhcp::{Asker, Chosen, Reply, Speaker, broadcast_frame, payload_to_client},
    link::Link,
};

const ETHERTYPE_IPV4: u16 = 0x0800;
/// How often a DISCOVER is sent, and how long each waits: firmware gives up after about a minute.
const WAITS: [u64; 5] = [1, 2, 4, 8, 16];

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: IpNet,
    pub(super) gateway: Option<Ipv4Addr>,
    /// what to boot
    pub(super) file: Option<String>,
}

/// Asks for an address. `boots` is whether an offer must name something to boot: one that does not is taken
/// only when nothing better came within a second.
pub(super) async fn lease(link: &Link, asker: Asker, boots: bool) -> anyhow::Result<Lease> {
    let socket = FrameSocket::open(&link.name, ETHERTYPE_IPV4, &[])?;
    let client = Client { socket, asker };
    let mut secs = asker.secs;
    for wait in WAITS {
        let asker = Asker { secs, ..client.asker };
        client.send(&asker.discover()).await?;
        let until = Instant::now() + Duration::from_secs(wait);
        if let Some(lease) = client.offered(asker, boots, until).await? {
            return Ok(lease);
        }
        secs = secs.saturating_add(u16::try_from(wait).unwrap_or(0));
    }
    bail!("no DHCP server answered")
}

struct Client {
    socket: FrameSocket,
    asker: Asker,
}

impl Client {
    async fn send(&self, message: &[u8]) -> anyhow::Result<()> {
        let identification = u16::try_from(self.asker.xid & 0xffff).unwrap_or(0);
        Ok(self.socket.send(&broadcast_frame(self.asker.mac, identification, message)).await?)
    }

    async fn next(&self, until: Instant) -> anyhow::Result<Option<Reply>> {
        while let Ok(frame) = timeout_at(until, self.socket.recv()).await {
            let frame = frame?;
            let reply = payload_to_client(&frame)
                .and_then(|bytes| Reply::read(bytes, self.asker.xid, self.asker.mac));
            if reply.is_some() {
                return Ok(reply);
            }
        }
        Ok(None)
    }

    /// Waits for offers, requests one, waits for its acknowledgement.
    async fn offered(&self, asker: Asker, boots: bool, until: Instant) -> anyhow::Result<Option<Lease>> {
        let mut plain: Option<Reply> = None;
        let mut proxy: Option<Reply> = None;
        while let Some(reply) = self.next(until).await? {
            if reply.kind != 2 || !acceptable(&reply, asker.speaker) {
                continue;
            }
            match reply {
                reply if reply.address.is_unspecified() => proxy = Some(reply),
                reply => plain = plain.filter(|earlier| earlier.file.is_some()).or(Some(reply)),
            }
            let enough =
                plain.as_ref().is_some_and(|offer| !boots || offer.file.is_some() || proxy.is_some());
            if enough {
                break;
            }
        }
        let Some(offer) = plain else { return Ok(None) };
        let Some(server) = offer.server else { return Ok(None) };
        let from_proxy = proxy.and_then(|proxy| proxy.file);
        self.send(&asker.request(Chosen { server, address: offer.address })).await?;
        let until = Instant::now() + Duration::from_secs(3);
        while let Some(reply) = self.next(until).await? {
            match reply.kind {
                5 if reply.server == Some(server) => {
                    let address = IpNet::V4(Ipv4Net::new(reply.address, reply.prefix)?);
                    let file = reply.file.or(offer.file).or(from_proxy);
                    return Ok(Some(Lease { address, gateway: reply.gateway, file }));
                }
                6 => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// UEFI HTTP Boot takes an answer only when it says that it is one (netboot.md §6.5, 30).
fn acceptable(reply: &Reply, speaker: Speaker) -> bool {
    speaker != Speaker::UefiHttp || reply.file.is_none() || reply.class == b"HTTPClient"
}
