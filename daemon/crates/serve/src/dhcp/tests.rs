//! The loop on a virtual cable: recorded frames in at one end, answers out at the same end.

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
use tokio::{task::JoinHandle, time::timeout};

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
                tokio::time::sleep(Duration::from_millis(5)).await;
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

#[test]
fn a_recorded_machine_is_offered_and_leased_and_seen() {
    namespace::test(|| async {
        let mut stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ipxe-bios-uuid-discover")).await;
        let offer = firmware.hear().await;
        let address = offer.packet.yiaddr;
        assert_eq!(offer.packet.message_type(), Some(MessageType::Offer));
        // iPXE has no address and does not ask for broadcasts: the frame itself must find it
        assert_eq!((offer.to, offer.from, offer.ip), (MACHINE, SERVER_MAC, address));
        assert_eq!(offer.packet.file, b"http://10.77.0.1/boot.ipxe");
        assert!(stand.log.rows().is_empty());

        firmware.say(&request("ipxe-bios-request", address, Some(SERVER))).await;
        let ack = firmware.hear().await;
        assert_eq!((ack.packet.message_type(), ack.packet.yiaddr), (Some(MessageType::Ack), address));
        assert_eq!(stand.log.rows().get(&address).and_then(|lease| lease.mac), Some(MACHINE));
        let seen = stand.whereabouts.recv().await.unwrap();
        assert_eq!((seen.mac, seen.address), (MACHINE, address.into()));
        let sighting = stand.sightings.recv().await.unwrap();
        assert_eq!((sighting.source, sighting.port), (Source::Dhcp, None));
        assert!(sighting.machine.macs.contains(&MACHINE) && sighting.machine.uuid.is_some());
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn who_asks_for_broadcasts_gets_them() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ovmf-http-discover")).await;
        let offer = firmware.hear().await;
        assert_eq!((offer.to, offer.ip), (BROADCAST_MAC, Ipv4Addr::BROADCAST));
        assert_eq!(offer.packet.file, b"http://10.77.0.1/ipxe/snponly.efi");
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn no_ack_leaves_before_its_lease_is_stored() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ipxe-efi-discover")).await;
        let address = firmware.hear().await.packet.yiaddr;
        stand.log.broken.store(true, Ordering::SeqCst);
        firmware.say(&request("ipxe-efi-request", address, Some(SERVER))).await;
        firmware.say(&capture("ipxe-efi-discover")).await;
        // what promises nothing is answered all the same, and it comes first: the other is not answered at all
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Offer));
        stand.counts("not-stored").await;
        assert!(stand.log.rows().is_empty());
        stand.log.broken.store(false, Ordering::SeqCst);
        firmware.say(&request("ipxe-efi-request", address, Some(SERVER))).await;
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Ack));
        assert_eq!(stand.log.rows().len(), 1);
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn rubbish_is_counted_and_the_loop_goes_on() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        let mut no_cookie = capture("ovmf-pxe-discover");
        no_cookie[236] = 0;
        for rubbish in [&[][..], b"hello", &no_cookie] {
            firmware.say(rubbish).await;
        }
        firmware.say(&capture("ovmf-pxe-discover")).await;
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Offer));
        let count = |label| stand.counters.get("dhcp-malformed", label);
        assert_eq!((count("short"), count("cookie")), (2, 1));
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn what_is_published_counts_from_the_next_packet() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let firmware = Firmware::plug().await;
        let address = Ipv4Addr::new(10, 77, 0, 11);
        let machine = KnownMachine { node: "mini01".to_owned(), address, offer: Offer::Nothing };
        let view = BootView { revision: 2, known: [(MACHINE, machine)].into(), unknown: Offer::Identify };
        stand.view.send_replace(Arc::new(view));
        stand.configs.send_modify(|configs| configs[0].ntp = vec![SERVER]);
        firmware.say(&capture("ovmf-pxe-discover")).await;
        let offer = firmware.hear().await.packet;
        assert_eq!((offer.yiaddr, offer.file.as_slice()), (address, &b"local-disk"[..]));
        assert_eq!(offer.options.address(OptionCode::NtpServers), Some(SERVER));
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn a_proxy_answers_the_second_round_on_its_own_port() {
    namespace::test(|| async {
        let stand = Stand::start(Mode::Proxy).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let client = there.spawn(|| async {
            namespace::up("cli").await.unwrap();
            namespace::address("cli", "10.77.0.200/24".parse().unwrap()).await.unwrap();
            namespace::carrier("cli").await.unwrap();
            let socket = DhcpSocket::bind(PXE_PORT, Some("cli")).unwrap();
            let to = SocketAddrV4::new(SERVER, PXE_PORT);
            socket.send_to(&capture("ovmf-pxe-proxy-request"), to, Via::default()).await.unwrap();
            timeout(BROKEN, socket.recv()).await.expect("no answer").unwrap()
        });
        // the thread has a runtime of its own; joining must not hold ours
        let answer = tokio::task::spawn_blocking(|| client.unwrap().join().unwrap().unwrap()).await.unwrap();
        assert_eq!(answer.source, SocketAddrV4::new(SERVER, PXE_PORT));
        let packet = Packet::parse(&answer.payload).unwrap();
        assert_eq!(
            (packet.message_type(), packet.file.as_slice()),
            (Some(MessageType::Ack), &b"snponly.efi"[..])
        );
        stand.stop().await;
    })
    .unwrap();
}

/// What udhcpc runs when it has a lease: takes the address, and where the test says so ends its parent,
/// which then gives the address back (`-R`).
const WHEN_BOUND: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
busybox ifconfig "$interface" "$ip" netmask "$subnet"
[ -z "$GIVE_BACK" ] || kill "$PPID"
"#;

/// BusyBox's udhcpc, the DHCP client of small systems, as firmware and as an operating system.
#[test]
fn a_real_client_gets_its_lease_and_gives_it_back() {
    if Command::new("busybox").arg("udhcpc").arg("--help").output().is_err() {
        println!("skipped: no busybox on this host");
        return;
    }
    namespace::test(|| async {
        let stand = Stand::start(Mode::Authoritative).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let client = there.spawn(|| async {
            namespace::up("cli").await.unwrap();
            namespace::carrier("cli").await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let script = folder.path().join("bound");
            std::fs::write(&script, WHEN_BOUND).unwrap();
            std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
            let udhcpc = |options: &str| {
                let mut command = Command::new("busybox");
                command.args("udhcpc -f -n -i cli -T 1 -s".split(' ')).arg(&script).args(options.split(' '));
                command.stdin(Stdio::null());
                command
            };
            let stranger = udhcpc("-q -t 1").output().unwrap();
            let pxe = "-q -t 3 -O 66 -O 67 -x 93:0007 -V PXEClient:Arch:00007:UNDI:003016";
            let firmware = udhcpc(pxe).output().unwrap();
            let system = udhcpc("-R -t 3").env("GIVE_BACK", "yes").output().unwrap();
            [stranger, firmware, system]
        });
        let outputs = tokio::task::spawn_blocking(|| client.unwrap().join().unwrap().unwrap()).await.unwrap();
        let [stranger, firmware, system] = &outputs;
        assert!(!stranger.status.success(), "a stranger gets nothing: {stranger:?}");
        assert!(firmware.status.success(), "{firmware:?}");
        assert!(system.status.success(), "{system:?}");
        let released = async {
            while stand.counters.get("dhcp", "released") == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(BROKEN, released).await.unwrap_or_else(|_| panic!("not released: {system:?}"));
        let rows = stand.log.rows();
        let [lease] = rows.values().collect::<Vec<_>>()[..] else { panic!("one lease: {rows:?}") };
        assert_eq!((lease.mac, lease.state), (Some(MACHINE), ::dhcp::LeaseState::Released));
        assert!(stand.counters.get("dhcp", "not-for-the-pool") > 0);
    })
    .unwrap();
}

#[test]
fn what_is_missing_is_said() {
    namespace::test(|| async {
        namespace::cable(["srv", "cli"], [None, None]).await.unwrap();
        let (_view, view) = watch::channel(Arc::new(BootView::default()));
        let (_, rules) = watch::channel(Arc::new(LocalBootRules::default()));
        let links = Links {
            local_boots: LocalBoots::new(rules, view.clone()),
            trace: Arc::default(),
            view,
            sightings: mpsc::channel(1).0,
            whereabouts: mpsc::channel(1).0,
            counters: Arc::new(Counters::default()),
        };
        let (_configs, configs) = watch::channel(vec![config(Mode::Authoritative)]);
        let bind = |name| {
            Dhcp::bind(name, configs.clone(), Vec::new(), Log::default(), links.clone())
                .unwrap_err()
                .to_string()
        };
        let missing = bind("eno9");
        assert!(missing.contains("eno9") && missing.contains("srv"), "{missing}");
        let address = bind("srv");
        assert!(address.contains("srv does not have the address 10.77.0.1"), "{address}");
    })
    .unwrap();
}

/// A REQUEST or DISCOVER as a relay at 10.9.0.1 passes it on.
fn relayed(bytes: &[u8], information: &[u8]) -> Vec<u8> {
    let mut packet = Packet::parse(bytes).unwrap();
    packet.giaddr = Ipv4Addr::new(10, 9, 0, 1);
    packet.hops = 1;
    packet.options.set_raw(OptionCode::RelayAgentInformation, information);
    packet.to_bytes()
}

#[test]
fn a_relay_gets_the_answers_for_its_own_network_and_its_option_82_is_kept() {
    namespace::test(|| async {
        let behind = Config {
            subnet: "10.9.0.0/24".parse().unwrap(),
            relayed: true,
            pool: Some(Ipv4Addr::new(10, 9, 0, 100)..=Ipv4Addr::new(10, 9, 0, 110)),
            ..config(Mode::Authoritative)
        };
        let mut stand = Stand::start_with(vec![config(Mode::Authoritative), behind]).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let relay = there.spawn(|| async {
            namespace::up("cli").await.unwrap();
            for address in ["10.77.0.200/24", "10.9.0.1/32"] {
                namespace::address("cli", address.parse().unwrap()).await.unwrap();
            }
            namespace::carrier("cli").await.unwrap();
            let socket = DhcpSocket::bind(SERVER_PORT, Some("cli")).unwrap();
            let (to, via) = (SocketAddrV4::new(SERVER, SERVER_PORT), Via::default());
            let information = [1, 3, b'e', b't', b'h', 2, 1, 9];
            let discover = relayed(&capture("ovmf-pxe-discover"), &information);
            let offer = loop {
                socket.send_to(&discover, to, via).await.unwrap();
                // a cable just laid may lose the first
                if let Ok(heard) = timeout(Duration::from_secs(1), socket.recv()).await {
                    break Packet::parse(&heard.unwrap().payload).unwrap();
                }
            };
            let request = request("ovmf-pxe-request", offer.yiaddr, Some(SERVER));
            socket.send_to(&relayed(&request, &information), to, via).await.unwrap();
            loop {
                let heard = timeout(BROKEN, socket.recv()).await.expect("no answer").unwrap();
                let packet = Packet::parse(&heard.payload).unwrap();
                if packet.message_type() == Some(MessageType::Ack) {
                    return (heard.source, packet);
                }
            }
        });
        // the answers to 10.9.0.1 need a route
        namespace::address("srv", "10.9.0.254/24".parse().unwrap()).await.unwrap();
        let (source, ack) =
            tokio::task::spawn_blocking(|| relay.unwrap().join().unwrap().unwrap()).await.unwrap();
        assert_eq!(source, SocketAddrV4::new(SERVER, SERVER_PORT));
        assert_eq!(ack.yiaddr, Ipv4Addr::new(10, 9, 0, 100));
        let information: &[u8] = &[1, 3, b'e', b't', b'h', 2, 1, 9];
        assert_eq!(ack.options.raw(OptionCode::RelayAgentInformation), Some(information));
        let kept = stand.log.rows().get(&ack.yiaddr).and_then(|lease| lease.relayed.clone()).unwrap();
        assert_eq!(kept.to_string(), "10.9.0.1 0103657468020109");
        let sighting = stand.sightings.recv().await.unwrap();
        assert_eq!(sighting.raw, "option 82 by relay 10.9.0.1 0103657468020109");
        let forwarded = sighting.forwarded.unwrap();
        assert_eq!((forwarded.relay, forwarded.from), ([10, 9, 0, 1].into(), [10, 77, 0, 200].into()));
        assert_eq!(
            (forwarded.circuit.as_deref(), forwarded.remote.as_deref()),
            (Some(b"eth".as_slice()), Some([9].as_slice()))
        );
        stand.stop().await;
    })
    .unwrap();
}

#[test]
fn an_address_that_somebody_uses_is_not_offered() {
    namespace::test(|| async {
        namespace::cable(["srv", "cli"], [Some(SERVER_MAC), Some(MACHINE)]).await.unwrap();
        namespace::cable(["port", "old"], [None, None]).await.unwrap();
        namespace::bridge("br0", &["srv", "port"]).await.unwrap();
        namespace::address("br0", "10.77.0.1/24".parse().unwrap()).await.unwrap();
        // a machine with an address of the pool that nobody gave it
        let there = Namespace::create().unwrap();
        there.take("old").await.unwrap();
        let squatter = there.spawn(|| async {
            namespace::up("old").await.unwrap();
            namespace::address("old", "10.77.0.100/24".parse().unwrap()).await.unwrap();
            namespace::carrier("old").await.unwrap();
        });
        tokio::task::spawn_blocking(|| squatter.unwrap().join().unwrap().unwrap()).await.unwrap();
        // its port of the bridge went down with the move
        namespace::carrier("port").await.unwrap();
        let probing = Config { probe: true, ..config(Mode::Authoritative) };
        let stand = Stand::on("br0", vec![probing]);
        let firmware = Firmware::plug().await;
        firmware.say(&capture("ovmf-pxe-discover")).await;
        assert_eq!(firmware.hear().await.packet.yiaddr, Ipv4Addr::new(10, 77, 0, 101));
        let declined = |stand: &Stand| {
            let state = stand.log.rows().get(&Ipv4Addr::new(10, 77, 0, 100)).map(|lease| lease.state);
            state == Some(::dhcp::LeaseState::Declined)
        };
        // it is written while the machine is answered
        let written = async {
            while !declined(&stand) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(BROKEN, written).await.expect("it is stored");
        let complaints = stand.trace.complaints(clock::now());
        assert!(complaints.iter().any(|complaint| complaint.kind == "in-use"), "{complaints:?}");
        drop(there);
        stand.stop().await;
    })
    .unwrap();
}

/// One machine after the other is offered an address, until one is that nobody had to look at first.
#[test]
fn once_addresses_were_looked_at_offers_leave_at_once() {
    namespace::test(|| async {
        let probing = Config { probe: true, ..config(Mode::Authoritative) };
        let stand = Stand::start_with(vec![probing]).await;
        let firmware = Firmware::plug().await;
        let mut offered = BTreeMap::new();
        let at_once = async {
            for number in 1.. {
                let looked = stand.counters.get("dhcp", "looking");
                let mac = MacAddr([2, 0, 0, 0, 9, number]);
                let mut question =
                    Packet { chaddr: [0; 16], ..Packet::parse(&capture("ovmf-pxe-discover")).unwrap() };
                question.chaddr[..6].copy_from_slice(&mac.0);
                firmware.say(&question.to_bytes()).await;
                let address = firmware.hear().await.packet.yiaddr;
                assert_eq!(offered.insert(address, mac), None, "{address} is offered twice");
                if stand.counters.get("dhcp", "looking") == looked {
                    return;
                }
            }
        };
        timeout(BROKEN, at_once).await.expect("there is a stock");
        stand.stop().await;
    })
    .unwrap();
}

/// What answers every DISCOVER at the other end of the cable, as a server does that knows nothing of ours.
async fn another_server(shutdown: CancellationToken) {
    let (out, back) = (FrameSocket::sender("cli").unwrap(), FrameSocket::open("cli", 0x0800, &[]).unwrap());
    let address = Ipv4Addr::new(10, 77, 0, 9);
    while let Some(Ok(frame)) = shutdown.run_until_cancelled(back.recv()).await {
        let Some(question) = discover(&frame) else { continue };
        let mut offer = Packet::reply_to(&question);
        offer.yiaddr = Ipv4Addr::new(10, 77, 0, 250);
        offer.options.set(&DhcpOption::MessageType(MessageType::Offer));
        offer.options.set(&DhcpOption::ServerIdentifier(address));
        let from = (MACHINE, SocketAddrV4::new(address, SERVER_PORT));
        let to = (BROADCAST_MAC, SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT));
        out.send(&frame::udp_frame(from, to, &offer.to_bytes()).unwrap()).await.unwrap();
    }
}

fn discover(frame: &[u8]) -> Option<Packet> {
    let ethernet = EthernetPacket::new(frame)?;
    let ip = Ipv4Packet::new(ethernet.payload())?;
    let datagram =
        UdpPacket::new(ip.payload()).filter(|datagram| datagram.get_destination() == SERVER_PORT)?;
    let packet = Packet::parse(datagram.payload()).ok()?;
    (packet.message_type() == Some(MessageType::Discover)).then_some(packet)
}

#[test]
fn beside_another_server_nothing_starts() {
    namespace::test(|| async {
        let (dhcp, _stand) = Stand::bound(vec![config(Mode::Authoritative)]).await;
        dhcp.alone().await.unwrap();
        let shutdown = CancellationToken::new();
        let other = tokio::spawn(another_server(shutdown.clone()));
        let found = async {
            loop {
                if let Err(error) = dhcp.alone().await {
                    return error.to_string();
                }
            }
        };
        let said = timeout(BROKEN, found).await.expect("it is found");
        assert!(said.contains("10.77.0.9") && said.contains("srv") && said.contains("dhcp: proxy"), "{said}");
        shutdown.cancel();
        other.await.unwrap();
    })
    .unwrap();
}

#[test]
fn what_runs_goes_silent_beside_another_server_and_speaks_when_it_is_gone() {
    namespace::test(|| async {
        let (mut dhcp, stand) = Stand::bound(vec![config(Mode::Authoritative)]).await;
        let short = Duration::from_millis(200);
        dhcp.pace = rival::Pace { wait: short, pause: short, pause_with_rival: short };
        let stand = stand.running(dhcp);
        let firmware = Firmware::plug().await;
        let shutdown = CancellationToken::new();
        let other = tokio::spawn(another_server(shutdown.clone()));
        // somebody takes the other's offer, which is a reason to look
        let elsewhere =
            request("udhcpc-request", Ipv4Addr::new(10, 77, 0, 250), Some(Ipv4Addr::new(10, 77, 0, 9)));
        let silent = async {
            while stand.counters.get("dhcp", "silenced") == 0 {
                firmware.say(&elsewhere).await;
                firmware.say(&capture("ovmf-pxe-discover")).await;
                timeout(Duration::from_millis(20), firmware.hear_from_anybody()).await.ok();
            }
        };
        timeout(BROKEN, silent).await.expect("it goes silent");
        let complaints = stand.trace.complaints(clock::now());
        assert!(complaints.iter().any(|complaint| complaint.kind == "rival"), "{complaints:?}");
        shutdown.cancel();
        other.await.unwrap();
        let before = stand.counters.get("dhcp", "booting");
        let speaks = async {
            while stand.counters.get("dhcp", "booting") == before {
                firmware.say(&elsewhere).await;
                firmware.say(&capture("ovmf-pxe-discover")).await;
                timeout(Duration::from_millis(20), firmware.hear_from_anybody()).await.ok();
            }
        };
        timeout(BROKEN, speaks).await.expect("it speaks again");
        stand.stop().await;
    })
    .unwrap();
}
