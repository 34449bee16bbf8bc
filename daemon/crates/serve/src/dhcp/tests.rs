//! The loop on a virtual cable: recorded frames in at one end, answers out at the same end.

mod addresses;
mod answers;
mod client;
mod relayed;
mod rivals;

use std::{
    collections::BTreeMap,
    fs::Permissions,
    net::SocketAddrV4,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::boot::{KnownMachine, LocalBootRules};
use ::dhcp::{CLIENT_PORT, Lease, Options, PXE_PORT, PoolFor, SERVER_PORT, Timing};
use dhcproto::v4::{DhcpOption, MessageType};
use identity::Source;
use net::{
    frame::FrameSocket,
    namespace::{self, Namespace},
    udp::{DhcpSocket, Via},
};
use pnet_packet::{Packet as _, ethernet::EthernetPacket, ipv4::Ipv4Packet, udp::UdpPacket};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
/// the machine of the recordings
const MACHINE: MacAddr = MacAddr([0x52, 0x54, 0, 0x77, 0, 1]);
const BROADCAST_MAC: MacAddr = MacAddr([0xff; 6]);
/// Nothing here takes long; only a broken loop does.
const BROKEN: Duration = Duration::from_secs(10);

fn capture(name: &str) -> Vec<u8> {
    let path = format!("{}/../../../tests/captures/dhcp/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn config(mode: Mode) -> Config {
    Config {
        mode,
        subnet: "10.77.0.0/24".parse().unwrap(),
        relayed: false,
        server: SERVER,
        http_port: 80,
        https: None,
        signed: false,
        pool: Some(Ipv4Addr::new(10, 77, 0, 100)..=Ipv4Addr::new(10, 77, 0, 110)),
        pool_for: PoolFor::NetbootClients,
        excluded: Default::default(),
        nodes: Default::default(),
        probe: false,
        gateway: None,
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        timing: Timing::default(),
    }
}

/// A store in memory that can be told to fail.
#[derive(Clone, Default)]
struct Log {
    rows: Arc<Mutex<BTreeMap<Ipv4Addr, Lease>>>,
    broken: Arc<AtomicBool>,
}

impl Log {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<Ipv4Addr, Lease>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseLog for Log {
    async fn commit(&self, changes: &Changes) -> Result<(), LeaseLogError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(LeaseLogError("the disk is full".to_owned()));
        }
        let mut rows = self.rows();
        for (address, change) in changes.iter() {
            rows.remove(&address);
            rows.extend(change.after.clone().map(|lease| (address, lease)));
        }
        Ok(())
    }
}

/// A running loop and what it is linked to.
struct Stand {
    view: watch::Sender<Arc<BootView>>,
    configs: watch::Sender<Vec<Config>>,
    sightings: mpsc::Receiver<Sighting>,
    whereabouts: mpsc::Receiver<Whereabouts>,
    counters: Arc<Counters>,
    trace: Arc<Trace>,
    log: Log,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Stand {
    /// Lays the cable and starts the loop at its end `srv`.
    async fn start(mode: Mode) -> Self {
        Self::start_with(vec![config(mode)]).await
    }

    async fn start_with(configs: Vec<Config>) -> Self {
        let (dhcp, stand) = Self::bound(configs).await;
        stand.running(dhcp)
    }

    /// Lays the cable and opens the sockets at its end `srv`.
    async fn bound(configs: Vec<Config>) -> (Dhcp<Log>, Self) {
        namespace::cable(["srv", "cli"], [Some(SERVER_MAC), Some(MACHINE)]).await.unwrap();
        namespace::address("srv", "10.77.0.1/24".parse().unwrap()).await.unwrap();
        Self::open("srv", configs)
    }

    /// Starts the loop on an interface.
    fn on(interface: &str, configs: Vec<Config>) -> Self {
        let (dhcp, stand) = Self::open(interface, configs);
        stand.running(dhcp)
    }

    fn open(interface: &str, first: Vec<Config>) -> (Dhcp<Log>, Self) {
        let (view, views) =
            watch::channel(Arc::new(BootView { unknown: Offer::Identify, ..BootView::default() }));
        let (configs, later) = watch::channel(first);
        let (sightings_to, sightings) = mpsc::channel(64);
        let (whereabouts_to, whereabouts) = mpsc::channel(64);
        let (counters, trace) = (Arc::new(Counters::default()), Arc::new(Trace::default()));
        let (_, rules) = watch::channel(Arc::new(LocalBootRules::default()));
        let links = Links {
            local_boots: LocalBoots::new(rules, views.clone()),
            view: views,
            sightings: sightings_to,
            whereabouts: whereabouts_to,
            counters: Arc::clone(&counters),
            trace: Arc::clone(&trace),
        };
        let log = Log::default();
        let dhcp = Dhcp::bind(interface, later, Vec::new(), log.clone(), links).unwrap();
        let (shutdown, task) = (CancellationToken::new(), tokio::spawn(async {}));
        (dhcp, Self { view, configs, sightings, whereabouts, counters, trace, log, shutdown, task })
    }

    fn running(mut self, dhcp: Dhcp<Log>) -> Self {
        self.task = tokio::spawn(dhcp.run(self.shutdown.clone()));
        self
    }

    /// Waits until something was counted.
    async fn counts(&self, label: &'static str) {
        let counted = async {
            while self.counters.get("dhcp", label) == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(BROKEN, counted).await.expect("it is counted");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// The other end of the cable, which speaks in frames as firmware does.
struct Firmware {
    out: FrameSocket,
    back: FrameSocket,
}

/// One answer, with the addresses of its frame.
struct Heard {
    to: MacAddr,
    from: MacAddr,
    ip: Ipv4Addr,
    packet: Packet,
}

impl Firmware {
    /// Asks for something that is refused until it is: a cable just laid may still drop frames.
    async fn plug() -> Self {
        let out = FrameSocket::sender("cli").unwrap();
        let firmware = Self { out, back: FrameSocket::open("cli", 0x0800, &[]).unwrap() };
        let elsewhere = request("udhcpc-request", Ipv4Addr::new(192, 0, 2, 1), None);
        loop {
            firmware.say(&elsewhere).await;
            if timeout(Duration::from_millis(200), firmware.hear_any()).await.is_ok() {
                return firmware;
            }
        }
    }

    async fn say(&self, payload: &[u8]) {
        let from = (MACHINE, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
        let to = (BROADCAST_MAC, SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT));
        self.out.send(&frame::udp_frame(from, to, payload).unwrap()).await.unwrap();
    }

    /// The next answer; refusals that came late are left over from plugging in.
    async fn hear(&self) -> Heard {
        let answer = async {
            loop {
                let heard = self.hear_any().await;
                if heard.packet.message_type() != Some(MessageType::Nak) {
                    return heard;
                }
            }
        };
        timeout(BROKEN, answer).await.expect("no answer")
    }

    /// Only waits for something to come.
    async fn hear_from_anybody(&self) {
        self.back.recv().await.unwrap();
    }

    /// The next answer of the server; it asks, too, whether another server is there.
    async fn hear_any(&self) -> Heard {
        loop {
            let frame = self.back.recv().await.unwrap();
            let ethernet = EthernetPacket::new(&frame).unwrap();
            let ip = Ipv4Packet::new(ethernet.payload()).unwrap();
            let datagram = UdpPacket::new(ip.payload()).unwrap();
            let is_udp = ip.get_next_level_protocol().0 == 17;
            if !is_udp || datagram.get_destination() == SERVER_PORT {
                continue;
            }
            assert_eq!(
                (ip.get_source(), datagram.get_source(), datagram.get_destination()),
                (SERVER, 67, 68)
            );
            return Heard {
                to: MacAddr(ethernet.get_destination().octets()),
                from: MacAddr(ethernet.get_source().octets()),
                ip: ip.get_destination(),
                packet: Packet::parse(datagram.payload()).unwrap(),
            };
        }
    }
}

/// A recorded REQUEST with another address, and with or without a server that offered it.
fn request(name: &str, address: Ipv4Addr, server: Option<Ipv4Addr>) -> Vec<u8> {
    let recorded = Packet::parse(&capture(name)).unwrap();
    let mut packet = Packet { options: Options::default(), ..recorded.clone() };
    for (code, value) in recorded.options.iter().filter(|(code, _)| !matches!(code, 50 | 54)) {
        packet.options.set_raw(code.into(), value);
    }
    packet.options.set(&DhcpOption::RequestedIpAddress(address));
    if let Some(server) = server {
        packet.options.set(&DhcpOption::ServerIdentifier(server));
    }
    packet.to_bytes()
}
