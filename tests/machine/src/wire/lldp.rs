//! LLDP both ways: what the switch says to the firmware, and what lldpd says once it runs.

use std::{sync::Arc, time::Duration};

use hardware::MacAddr;
use net::frame::{FrameSocket, LLDP_GROUPS};
use tokio::sync::watch;

use super::{ipxe::Neighbour, link::Link, server::Server, world::World};
use crate::model;

const ETHERTYPE: u16 = 0x88cc;
/// The chassis id of every machine here is the interface's own MAC, as lldpd takes it.
const TIME_TO_LIVE: u16 = 120;

/// Listens on an interface; the value is the last neighbour heard. Ends when nobody holds the receiver.
pub(super) fn listen(link: &Link) -> anyhow::Result<watch::Receiver<Option<Neighbour>>> {
    let socket = FrameSocket::open(&link.name, ETHERTYPE, &LLDP_GROUPS)?;
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                frame = socket.recv() => frame,
                () = sender.closed() => return,
            };
            match frame {
                Ok(frame) => {
                    if let Some(neighbour) = frame.get(14..).and_then(Neighbour::read) {
                        sender.send_replace(Some(neighbour));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NetworkDown => {}
                Err(_) => return,
            }
        }
    });
    Ok(receiver)
}

/// Lets the system hear what comes in, until dropped (talos.md §8.1).
pub(super) fn hear(link: &Link, world: Arc<World>) -> anyhow::Result<Server> {
    let socket = FrameSocket::open(&link.name, ETHERTYPE, &LLDP_GROUPS)?;
    let name = link.name.clone();
    Ok(Server::of(async move {
        loop {
            match socket.recv().await {
                Ok(frame) => {
                    if let Some((neighbor, holds)) = frame.get(14..).and_then(neighbor) {
                        world.turn(|machine, now| machine.heard_lldp(&name, neighbor, holds, now));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NetworkDown => {}
                Err(_) => return,
            }
        }
    }))
}

/// A neighbour and for how many milliseconds it holds, from what follows the Ethernet header (802.1AB-2016 §8).
fn neighbor(mut unit: &[u8]) -> Option<(model::Neighbor, u64)> {
    let (mut neighbor, mut holds) = (model::Neighbor::default(), None);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    loop {
        let (head, rest) = unit.split_first_chunk::<2>()?;
        let head = u16::from_be_bytes(*head);
        let (value, rest) = rest.split_at_checked(usize::from(head & 0x1ff))?;
        unit = rest;
        match (head >> 9, value) {
            (0, _) => break,
            (1, [4, mac @ ..]) | (2, [3, mac @ ..]) => {
                let mac = MacAddr(mac.try_into().ok()?).to_string();
                if head >> 9 == 1 { neighbor.chassis_id = mac } else { neighbor.port_id = mac }
            }
            (1, [_, id @ ..]) => neighbor.chassis_id = text(id),
            (2, [_, id @ ..]) => neighbor.port_id = text(id),
            (3, [high, low, ..]) => holds = Some(u64::from(u16::from_be_bytes([*high, *low])) * 1000),
            (4, value) => neighbor.port_description = text(value),
            (5, value) => neighbor.system_name = text(value),
            (6, value) => neighbor.system_description = text(value),
            (8, [5, 1, a, b, c, d, ..]) => {
                neighbor.management.push(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string());
            }
            _ => {}
        }
    }
    Some((neighbor, holds?))
}

/// Sends LLDP every `every` until dropped.
pub(super) fn send(link: &Link, hostname: &str, every: Duration) -> anyhow::Result<Server> {
    let socket = FrameSocket::sender(&link.name)?;
    let frame = frame(link.mac, &link.name, hostname);
    Ok(Server::of(async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            // a link that is down comes back or is gone with the machine
            socket.send(&frame).await.ok();
        }
    }))
}

/// What lldpd sends under the reference site's configuration (talos.md §8.1): the port id is the interface's
/// name, no management address, no capabilities.
fn frame(mac: MacAddr, port: &str, hostname: &str) -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e];
    frame.extend(mac.0);
    frame.extend(ETHERTYPE.to_be_bytes());
    let mut tlv = |kind: u16, parts: &[&[u8]]| {
        let value = parts.concat();
        let length = u16::try_from(value.len()).unwrap_or(0x1ff).min(0x1ff);
        frame.extend((kind << 9 | length).to_be_bytes());
        frame.extend(value.iter().take(usize::from(length)));
    };
    tlv(1, &[&[4], &mac.0]);
    tlv(2, &[&[5], port.as_bytes()]);
    tlv(3, &[&TIME_TO_LIVE.to_be_bytes()]);
    tlv(5, &[hostname.as_bytes()]);
    tlv(6, &[b"Talos Node"]);
    tlv(0, &[]);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_reads_back() {
        let frame = frame(MacAddr([2, 0, 0, 0, 0, 1]), "eth0", "mini01");
        assert!(Neighbour::read(&frame[14..]).is_some());
        let text = String::from_utf8_lossy(&frame);
        assert!(text.contains("\u{5}eth0") && text.contains("mini01") && text.contains("Talos Node"));
    }
}
