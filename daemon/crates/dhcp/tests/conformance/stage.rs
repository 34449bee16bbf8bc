//! One server, what it knows, and the steps of a row.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
};

use dhcp::{
    Answer, Boots, Change, Changes, Config, Lease, Machines, Mode, Networks, PXE_PORT, Packet, PoolFor,
    Received, SERVER_PORT, Timing,
};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use hardware::{LocalBoot, MacAddr};

use crate::words::{Said, address, mac, octets};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const START: u64 = 1_800_000_000_000;

/// What the rest of the daemon would know.
#[derive(Default)]
struct Known {
    slots: BTreeMap<MacAddr, Ipv4Addr>,
    boots: BTreeMap<MacAddr, Boots>,
    ways: BTreeMap<MacAddr, LocalBoot>,
}

impl Machines for Known {
    fn reservation(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.slots.get(&mac).copied()
    }

    fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.slots.values().any(|slot| *slot == address)
    }

    fn boots(&self, mac: MacAddr) -> Boots {
        self.boots.get(&mac).copied().unwrap_or(Boots::Identify)
    }

    fn local_boot(&self, mac: MacAddr) -> Option<LocalBoot> {
        self.ways.get(&mac).copied()
    }
}

/// Everything a row plays with.
pub(crate) struct Stage {
    configs: Vec<Config>,
    known: Known,
    networks: Networks,
    stored: BTreeMap<Ipv4Addr, Lease>,
    now: u64,
    /// the last question, and how it was answered
    pub(crate) request: Option<Packet>,
    pub(crate) answer: Answer,
}

impl Default for Stage {
    fn default() -> Self {
        let config = Config {
            mode: Mode::Authoritative,
            subnet: "10.77.0.0/24".parse().unwrap(),
            relayed: false,
            server: SERVER,
            http_port: 80,
            https: None,
            signed: false,
            pool: Some(Ipv4Addr::new(10, 77, 0, 100)..=Ipv4Addr::new(10, 77, 0, 103)),
            pool_for: PoolFor::NetbootClients,
            excluded: BTreeSet::new(),
            nodes: BTreeSet::new(),
            probe: false,
            gateway: Some(Ipv4Addr::new(10, 77, 0, 254)),
            dns: vec![Ipv4Addr::new(10, 77, 0, 53)],
            ntp: vec![Ipv4Addr::new(10, 77, 0, 123)],
            domain: None,
            timing: Timing::default(),
        };
        Self {
            networks: Networks::new(vec![config.clone()], &[]),
            configs: vec![config],
            known: Known::default(),
            stored: BTreeMap::new(),
            now: START,
            request: None,
            answer: Answer::default(),
        }
    }
}

impl Stage {
    /// Plays one step; the error is a mistake in the table.
    pub(crate) fn play(&mut self, step: &str) -> Said<()> {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words[..] {
            ["mode", mode] => {
                let mode = match mode {
                    "authoritative" => Mode::Authoritative,
                    "proxy" => Mode::Proxy,
                    "off" => Mode::Off,
                    _ => return Err(format!("no mode {mode}")),
                };
                self.configure(|config| config.mode = mode);
            }
            ["pool", "any"] => self.configure(|config| config.pool_for = PoolFor::Any),
            ["pool", "none"] => self.configure(|config| config.pool = None),
            ["pool", first, last] => {
                let pool = address(first)?..=address(last)?;
                self.configure(|config| config.pool = Some(pool.clone()));
            }
            ["relayed", subnet, first, last] => {
                let config = Config {
                    subnet: subnet.parse().map_err(|_| format!("{subnet} is no network"))?,
                    relayed: true,
                    pool: Some(address(first)?..=address(last)?),
                    gateway: None,
                    ..self.configs[0].clone()
                };
                self.configs.push(config);
                self.configure(|_| {});
            }
            ["node", node] => {
                let node = address(node)?;
                self.configure(|config| {
                    config.nodes.insert(node);
                    config.excluded.insert(node);
                });
            }
            ["probing"] => self.configure(|config| config.probe = true),
            ["slot", who, at] => {
                self.known.slots.insert(mac(who)?, address(at)?);
            }
            ["deploy", who] => {
                self.known.boots.insert(mac(who)?, Boots::Deploy);
            }
            ["nothing", who] => {
                self.known.boots.insert(mac(who)?, Boots::Nothing);
            }
            ["way", who, way] => {
                self.known.ways.insert(mac(who)?, way.parse().map_err(|_| format!("no way {way}"))?);
            }
            ["wait", seconds] => {
                let seconds: u64 = seconds.trim_end_matches('s').parse().map_err(|_| "no seconds")?;
                self.now += seconds * 1000;
            }
            // as after a crash: only what was stored is left
            ["restart"] => {
                let leases: Vec<Lease> = self.stored.values().cloned().collect();
                self.networks = Networks::new(self.configs.clone(), &leases);
            }
            ["rival", "none"] => self.networks.set_rival(None),
            ["rival", server] => self.networks.set_rival(Some(address(server)?)),
            ["probed", at, user] => {
                let user = if user == "free" { None } else { Some(mac(user)?) };
                self.answer = self.networks.probed(address(at)?, user, &self.known, self.now);
                self.store();
            }
            ["20", "times", who, kind] => {
                for _ in 0..20 {
                    self.now += 60_000;
                    self.play(&format!("DISCOVER {who} {kind}"))?;
                    let offered = self.answer.reply.as_ref().ok_or("no offer")?.packet.yiaddr;
                    self.play(&format!("REQUEST {who} {kind} sid=.1 req={offered}"))?;
                }
            }
            [kind, who, ref attributes @ ..] => self.send(kind, who, attributes)?,
            _ => return Err("no such step".to_owned()),
        }
        Ok(())
    }

    /// What must hold after every step.
    pub(crate) fn always(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let held: BTreeMap<Ipv4Addr, Lease> =
            self.networks.leases().map(|lease| (lease.address, lease.clone())).collect();
        if held != self.stored {
            faults.push(format!("memory has {held:?}, the store {:?}", self.stored));
        }
        if let (Some(reply), Some(request)) = (&self.answer.reply, &self.request) {
            let reply = &reply.packet;
            let echoed = |code| request.options.raw(code) == reply.options.raw(code);
            if reply.xid != request.xid || reply.chaddr != request.chaddr || reply.op != 2 {
                faults.push("the reply is not to this question".to_owned());
            }
            if !echoed(OptionCode::ClientIdentifier) || !echoed(OptionCode::RelayAgentInformation) {
                faults.push("options 61 and 82 are not given back".to_owned());
            }
            if reply.options.raw(OptionCode::ServerIdentifier).is_none() {
                faults.push("no server identifier".to_owned());
            }
        }
        faults
    }

    pub(crate) fn stored(&self) -> impl Iterator<Item = &Lease> {
        self.stored.values()
    }

    /// The reply as it goes out.
    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let limit = self.request.as_ref()?.options.raw(OptionCode::MaxMessageSize).unwrap_or_default();
        let limit = limit.try_into().ok().map(u16::from_be_bytes);
        Some(self.answer.reply.as_ref()?.packet.to_bytes_within(limit))
    }

    fn configure(&mut self, change: impl Fn(&mut Config)) {
        self.configs.iter_mut().for_each(change);
        self.networks.reconfigure(self.configs.clone());
    }

    fn store(&mut self) {
        for (address, Change { after, .. }) in Changes::iter(&self.answer.changes) {
            self.stored.remove(&address);
            self.stored.extend(after.clone().map(|lease| (address, lease)));
        }
    }

    fn send(&mut self, kind: &str, who: &str, attributes: &[&str]) -> Said<()> {
        let mut packet = Packet::request(mac(who)?, 0x1234_5678);
        let kind = match kind {
            "DISCOVER" => Some(MessageType::Discover),
            "REQUEST" => Some(MessageType::Request),
            "DECLINE" => Some(MessageType::Decline),
            "RELEASE" => Some(MessageType::Release),
            "INFORM" => Some(MessageType::Inform),
            "OFFER" => Some(MessageType::Offer),
            "ACK" => Some(MessageType::Ack),
            "LEASEQUERY" => Some(MessageType::LeaseQuery),
            "BOOTP" => None,
            _ => return Err(format!("no message {kind}")),
        };
        if let Some(kind) = kind {
            packet.options.set(&DhcpOption::MessageType(kind));
        }
        let mut port = SERVER_PORT;
        let mut source = None;
        for attribute in attributes {
            match attribute.split_once('=') {
                None if *attribute == "at4011" => port = PXE_PORT,
                None => flag(&mut packet, attribute)?,
                Some(("req", value)) => packet.options.set(&DhcpOption::RequestedIpAddress(address(value)?)),
                Some(("sid", value)) => packet.options.set(&DhcpOption::ServerIdentifier(address(value)?)),
                Some(("ci", value)) => packet.ciaddr = address(value)?,
                Some(("gi", value)) => packet.giaddr = address(value)?,
                Some(("from", value)) => {
                    let (at, port) = value.split_once(':').ok_or("from=ADDRESS:PORT")?;
                    source = Some(SocketAddrV4::new(address(at)?, port.parse().map_err(|_| "no port")?));
                }
                Some(("xid", value)) => packet.xid = value.parse().map_err(|_| "no xid")?,
                Some(("hops", value)) => packet.hops = value.parse().map_err(|_| "no hops")?,
                Some(("hlen", value)) => packet.hlen = value.parse().map_err(|_| "no hlen")?,
                Some(("htype", value)) => packet.htype = value.parse().map_err(|_| "no htype")?,
                Some(("op", value)) => packet.op = value.parse().map_err(|_| "no op")?,
                Some((code, value)) => {
                    let code: u8 = code.parse().map_err(|_| format!("no attribute {code}"))?;
                    packet.options.set_raw(code.into(), octets(value)?);
                }
            }
        }
        // over the wire and back, as in life
        let packet = Packet::parse(&packet.to_bytes()).map_err(|error| error.to_string())?;
        let source = source.unwrap_or_else(|| SocketAddrV4::new(packet.ciaddr, 68));
        let received = Received { source, port };
        self.answer = self.networks.handle(&packet, &received, &self.known, self.now);
        self.request = Some(packet);
        self.store();
        Ok(())
    }
}

fn flag(packet: &mut Packet, word: &str) -> Said<()> {
    let mut class = |text: &str, architecture: u16| {
        packet.options.set_raw(OptionCode::ClassIdentifier, text.as_bytes());
        let architecture = architecture.to_be_bytes().to_vec();
        packet.options.set_raw(OptionCode::ClientSystemArchitecture, architecture);
    };
    match word {
        "broadcast" => packet.set_broadcast(),
        "pxe" => class("PXEClient:Arch:00007:UNDI:003000", 7),
        "pxe9" => class("PXEClient:Arch:00009:UNDI:003000", 9),
        "bios" => class("PXEClient:Arch:00000:UNDI:002001", 0),
        "ia32" => class("PXEClient:Arch:00006:UNDI:003000", 6),
        "arm64" => class("PXEClient:Arch:00011:UNDI:003000", 11),
        "uboot" => class("PXEClient:Arch:00022:UNDI:003000", 22),
        "rpi" => class("PXEClient:Arch:00041:UNDI:003000", 41),
        "http" => class("HTTPClient:Arch:00016:UNDI:003000", 16),
        "arm64-http" => class("HTTPClient:Arch:00019:UNDI:003000", 19),
        "ipxe" | "ipxe-efi" => {
            class("PXEClient:Arch:00000:UNDI:002001", if word == "ipxe" { 0 } else { 7 });
            packet.options.set_raw(OptionCode::UserClass, b"iPXE");
            packet.options.set_raw(175.into(), vec![0x13, 1, 1]);
        }
        _ => return Err(format!("no attribute {word}")),
    }
    Ok(())
}
