//! The loop on a virtual cable: recorded frames in at one end, answers out at the same end.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::boot::KnownMachine;
use ::dhcp::{Lease, Mode, Options, PoolFor, Timing};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use net::namespace::{self, Namespace};
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
        server: SERVER,
        http_port: 80,
        pool: Some(Ipv4Addr::new(10, 77, 0, 100)..=Ipv4Addr::new(10, 77, 0, 110)),
        pool_for: PoolFor::NetbootClients,
        excluded: Default::default(),
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
    configs: watch::Sender<Config>,
    sightings: mpsc::Receiver<Sighting>,
    whereabouts: mpsc::Receiver<Whereabouts>,
    counters: Arc<Counters>,
    log: Log,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Stand {
    /// Lays the cable and starts the loop at its end `srv`.
    async fn start(mode: Mode) -> Self {
        namespace::cable(["srv", "cli"], [Some(SERVER_MAC), Some(MACHINE)]).await.unwrap();
        namespace::address("srv", "10.77.0.1/24".parse().unwrap()).await.unwrap();
        let (view, views) =
            watch::channel(Arc::new(BootView { unknown: Offer::Netboot, ..BootView::default() }));
        let (configs, later) = watch::channel(config(mode));
        let (sightings_to, sightings) = mpsc::channel(64);
        let (whereabouts_to, whereabouts) = mpsc::channel(64);
        let counters = Arc::new(Counters::default());
        let links = Links {
            view: views,
            sightings: sightings_to,
            whereabouts: whereabouts_to,
            counters: Arc::clone(&counters),
        };
        let log = Log::default();
        let dhcp = Dhcp::bind("srv", later, Vec::new(), log.clone(), links).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(dhcp.run(shutdown.clone()));
        Self { view, configs, sightings, whereabouts, counters, log, shutdown, task }
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

    async fn hear_any(&self) -> Heard {
        let frame = self.back.recv().await.unwrap();
        let ethernet = EthernetPacket::new(&frame).unwrap();
        let ip = Ipv4Packet::new(ethernet.payload()).unwrap();
        let datagram = UdpPacket::new(ip.payload()).unwrap();
        assert_eq!((ip.get_source(), datagram.get_source(), datagram.get_destination()), (SERVER, 67, 68));
        Heard {
            to: MacAddr(ethernet.get_destination().octets()),
            from: MacAddr(ethernet.get_source().octets()),
            ip: ip.get_destination(),
            packet: Packet::parse(datagram.payload()).unwrap(),
        }
    }
}

/// A recorded REQUEST with another address, and with or without a server that offered it.
fn request(name: &str, address: Ipv4Addr, server: Option<Ipv4Addr>) -> Vec<u8> {
    let recorded = Packet::parse(&capture(name)).unwrap();
    let mut packet = Packet { options: Options::default(), ..recorded.clone() };
    for (code, value) in recorded.options.iter().filter(|(code, _)| !matches!(code, 50 | 54)) {
        packet.options.set_raw(code.into(), value.to_vec());
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
        // in order, so silence about the first is over when the second is answered
        assert_eq!(firmware.hear().await.packet.message_type(), Some(MessageType::Offer));
        assert_eq!(stand.counters.get("dhcp", "not-stored"), 1);
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
        let view = BootView { revision: 2, known: [(MACHINE, machine)].into(), unknown: Offer::Netboot };
        stand.view.send_replace(Arc::new(view));
        stand.configs.send_modify(|config| config.ntp = vec![SERVER]);
        firmware.say(&capture("ovmf-pxe-discover")).await;
        let offer = firmware.hear().await.packet;
        assert_eq!((offer.yiaddr, offer.file.as_slice()), (address, &b""[..]));
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
        let links = Links {
            view,
            sightings: mpsc::channel(1).0,
            whereabouts: mpsc::channel(1).0,
            counters: Arc::new(Counters::default()),
        };
        let (_configs, configs) = watch::channel(config(Mode::Authoritative));
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
