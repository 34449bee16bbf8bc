//! The rules of RFC 2131 §4.3 and of real firmware, as tables.

mod boot;
mod pool;
mod proxy;
mod states;
mod stock;

use std::collections::BTreeSet;

use dhcproto::v4::{DhcpOption, OptionCode};

use super::*;
use crate::captures;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SLOT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);
const NOW: u64 = 1_800_000_000_000;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
/// the machine of the recordings
const MACHINE: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);
const OTHER: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 2]);

fn host(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn config() -> Config {
    Config {
        mode: Mode::Authoritative,
        subnet: "10.77.0.0/24".parse().unwrap(),
        relayed: false,
        server: SERVER,
        http_port: 80,
        https: None,
        signed: false,
        pool: Some(host(100)..=host(103)),
        pool_for: PoolFor::NetbootClients,
        excluded: BTreeSet::new(),
        nodes: BTreeSet::new(),
        probe: false,
        gateway: Some(host(254)),
        dns: vec![host(53), host(54)],
        ntp: Vec::new(),
        domain: None,
        timing: Timing::default(),
    }
}

/// What the rest of the daemon would know.
#[derive(Default)]
struct Known {
    slots: BTreeMap<MacAddr, Ipv4Addr>,
    /// machines that may not netboot
    silent: BTreeSet<MacAddr>,
}

impl Known {
    fn slot(mac: MacAddr) -> Self {
        Self { slots: [(mac, SLOT)].into(), ..Self::default() }
    }
}

impl Machines for Known {
    fn reservation(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.slots.get(&mac).copied()
    }

    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.slots.values().any(|slot| *slot == address)
    }

    fn boots(&self, mac: MacAddr) -> Boots {
        if self.silent.contains(&mac) { Boots::Nothing } else { Boots::Identify }
    }

    fn local_boot(&self, _: MacAddr) -> Option<LocalBoot> {
        Some(LocalBoot::Silent)
    }
}

/// A server, what it knows, and the time.
struct Stand {
    server: Server,
    known: Known,
    now: u64,
    /// what the store would have
    stored: BTreeMap<Ipv4Addr, Lease>,
}

impl Stand {
    fn new(config: Config, known: Known) -> Self {
        Self { server: Server::new(config, []), known, now: NOW, stored: BTreeMap::new() }
    }

    fn unknown() -> Self {
        Self::new(config(), Known::default())
    }

    fn send(&mut self, packet: &Packet) -> Answer {
        let received = Received { source: SocketAddrV4::new(packet.ciaddr, 68), port: 67 };
        let answer = self.server.handle(packet, &received, &self.known, self.now);
        for (address, change) in answer.changes.iter() {
            self.stored.remove(&address);
            self.stored.extend(change.after.clone().map(|lease| (address, lease)));
        }
        let leases: BTreeMap<_, _> =
            self.server.leases().map(|lease| (lease.address, lease.clone())).collect();
        assert_eq!(leases, self.stored, "what is stored is what is in memory");
        answer
    }

    /// As after a crash: only what was stored is left.
    fn restart(&mut self) {
        let config = self.server.config().clone();
        self.server = Server::new(config, self.stored.values().cloned());
    }

    /// DISCOVER as firmware, then REQUEST of what was offered.
    fn boot(&mut self, mac: MacAddr) -> Ipv4Addr {
        let offered = self.send(&firmware(mac)).reply.unwrap().packet.yiaddr;
        let answer = self.send(&selecting(mac, offered));
        assert_eq!(kind(&answer), Some(MessageType::Ack));
        offered
    }
}

fn kind(answer: &Answer) -> Option<MessageType> {
    answer.reply.as_ref()?.packet.message_type()
}

fn label(answer: &Answer) -> &'static str {
    answer.note.as_ref().unwrap().label()
}

fn message(mac: MacAddr, kind: MessageType) -> Packet {
    let mut packet = Packet::request(mac, 0x1234_5678);
    packet.options.set(&DhcpOption::MessageType(kind));
    packet
}

/// A DISCOVER of UEFI firmware.
fn firmware(mac: MacAddr) -> Packet {
    let mut packet = message(mac, MessageType::Discover);
    packet.options.set(&DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003000".to_vec()));
    packet
}

/// A DISCOVER of an operating system.
fn plain(mac: MacAddr) -> Packet {
    message(mac, MessageType::Discover)
}

fn with_address(mut packet: Packet, requested: Ipv4Addr) -> Packet {
    packet.options.set(&DhcpOption::RequestedIpAddress(requested));
    packet
}

fn with_server(mut packet: Packet, server: Ipv4Addr) -> Packet {
    packet.options.set(&DhcpOption::ServerIdentifier(server));
    packet
}

fn selecting(mac: MacAddr, address: Ipv4Addr) -> Packet {
    with_server(rebooted(mac, address), SERVER)
}

fn rebooted(mac: MacAddr, address: Ipv4Addr) -> Packet {
    with_address(message(mac, MessageType::Request), address)
}

fn renewing(mac: MacAddr, address: Ipv4Addr) -> Packet {
    Packet { ciaddr: address, ..message(mac, MessageType::Request) }
}

fn raw(packet: &Packet, code: u8) -> Option<&[u8]> {
    packet.options.raw(OptionCode::from(code))
}
