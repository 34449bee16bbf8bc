mod raspberry_pi;

use std::{fs, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use ::boot::Catalogue;
use ::tftp::{Options, packet::code};
use tempfile::TempDir;
use tokio::{process::Command, sync::watch, task::JoinHandle, time::timeout};

use super::{
    bootloaders::{Fault, Memory},
    *,
};

/// A bootloader's length: some full windows and a rest.
const SIZE: usize = 174_080 + 77;
/// More than enough for anything here that comes at all.
const PATIENCE: Duration = Duration::from_secs(20);

fn bootloader() -> Vec<u8> {
    (0..SIZE).map(|index| ((index / 251) ^ index) as u8).collect()
}

/// A TFTP server on a free port of a loopback address.
struct Stand {
    address: SocketAddr,
    counters: Arc<Counters>,
    trace: Arc<Trace>,
    files: Arc<Bootloaders>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    images: TempDir,
    /// kept, so that the receiver goes on
    catalogues: watch::Sender<Arc<Catalogue>>,
}

impl Stand {
    async fn on(address: Ipv4Addr, limits: Limits) -> Self {
        let images = tempfile::tempdir().unwrap();
        fs::create_dir_all(images.path().join("ipxe")).unwrap();
        fs::write(images.path().join("ipxe/snponly.efi"), bootloader()).unwrap();
        fs::write(images.path().join("ipxe/undionly.kpxe"), "small").unwrap();
        fs::write(images.path().join("secret.yaml"), "not for the wire").unwrap();
        let (catalogues, catalogue) = watch::channel(Arc::new(Catalogue::load(images.path()).unwrap()));
        let files = Arc::new(Bootloaders::new(catalogue));
        let (counters, trace) = (Arc::new(Counters::default()), Arc::new(Trace::default()));
        let server = Tftp::bind(
            (address, 0).into(),
            Arc::clone(&files),
            Arc::clone(&counters),
            Arc::clone(&trace),
            limits,
        );
        let server = server.unwrap();
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let task = tokio::spawn(server.run(shutdown.clone()));
        Self { address, counters, trace, files, shutdown, task, images, catalogues }
    }

    async fn new() -> Self {
        Self::on(Ipv4Addr::LOCALHOST, Limits::default()).await
    }

    /// Waits until it was counted so often.
    async fn counts(&self, label: &'static str, times: u64) {
        let counted = async {
            while self.counters.get("tftp", label) < times {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let seen = timeout(PATIENCE, counted).await;
        assert!(seen.is_ok(), "{label}: {:?}", self.counters.snapshot());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// One client port.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    async fn new(stand: &Stand) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self { socket, server: stand.address }
    }

    async fn ask(&self, name: &[u8], options: Options) {
        self.send(self.server, &Packet::Read(Request { name, mode: Mode::Octet, options })).await;
    }

    async fn send(&self, to: SocketAddr, packet: &Packet<'_>) {
        self.socket.send_to(&packet.to_bytes(), to).await.unwrap();
    }

    async fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 70_000];
        let received = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
        let (length, from) = received.expect("an answer").unwrap();
        buffer.truncate(length);
        (buffer, from)
    }

    /// The code of the error that comes.
    async fn refused(&self) -> u16 {
        let (answer, _) = self.receive().await;
        match Packet::parse(&answer).unwrap() {
            Packet::Error { code, .. } => code,
            other => panic!("{other:?}"),
        }
    }

    /// The granted options, and where they came from.
    async fn granted(&self) -> (Options, SocketAddr) {
        let (answer, from) = self.receive().await;
        match Packet::parse(&answer).unwrap() {
            Packet::OptionAck(options) => (options, from),
            other => panic!("{other:?}"),
        }
    }

    /// The whole file, in windows.
    async fn fetch(&self, name: &[u8], options: Options) -> Vec<u8> {
        self.ask(name, options).await;
        let (granted, server) = self.granted().await;
        self.send(server, &Packet::Ack(0)).await;
        let (size, window) = (granted.block_size.unwrap_or(512), granted.window.unwrap_or(1));
        let (mut file, mut has) = (Vec::new(), 0_u16);
        loop {
            let (datagram, from) = self.receive().await;
            assert_eq!(from, server);
            let Packet::Data { block, data } = Packet::parse(&datagram).unwrap() else { panic!("no data") };
            if block == has + 1 {
                has = block;
                file.extend_from_slice(data);
            }
            let last = (data.len() as u64) < size;
            if block == has && (last || u64::from(has) % window == 0) {
                self.send(server, &Packet::Ack(has)).await;
            }
            if last && block == has {
                return file;
            }
        }
    }
}

fn firmware(size: Option<u64>) -> Options {
    Options { block_size: Some(1468), size, window: Some(4), timeout: None }
}

/// As OVMF does it: the size first, given up with an error; then the file.
#[tokio::test]
async fn firmware_asks_for_the_size_and_then_fetches() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    client.ask(b"snponly.efi", firmware(Some(0))).await;
    let (granted, server) = client.granted().await;
    assert_eq!(granted, firmware(Some(SIZE as u64)));
    assert_ne!(server, stand.address, "a port of its own for each transfer");
    let abort = Packet::Error { code: code::OPTIONS, text: "User aborted the transfer".into() };
    client.send(server, &abort).await;
    stand.counts("probed", 1).await;
    let client = Client::new(&stand).await;
    assert_eq!(client.fetch(b"snponly.efi", firmware(None)).await, bootloader());
    stand.counts("done", 1).await;
    stand.stop().await;
}

#[tokio::test]
async fn the_answer_comes_from_the_address_that_was_asked() {
    let asked = Ipv4Addr::new(127, 0, 0, 2);
    let stand = Stand::on(asked, Limits::default()).await;
    let client = Client::new(&stand).await;
    client.ask(b"undionly.kpxe", Options::default()).await;
    let (datagram, from) = client.receive().await;
    assert_eq!(Packet::parse(&datagram), Ok(Packet::Data { block: 1, data: b"small" }));
    assert_eq!(from.ip(), asked);
    stand.stop().await;
}

#[tokio::test]
async fn nothing_but_bootloaders_has_a_name() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    let wrong = [
        "secret.yaml",
        "../secret.yaml",
        "ipxe/../secret.yaml",
        "ipxe/snponly.efi",
        "/etc/passwd",
        "..",
        "/",
        "snponly.EFI",
        "abc/v1.11.0",
        "snponly.efi/",
        "./snponly.efi",
    ];
    for name in wrong.into_iter().map(str::as_bytes).chain([&b"\xe4\xff"[..], b"snponly.efi\x01"]) {
        client.ask(name, firmware(Some(0))).await;
        assert_eq!(client.refused().await, NOT_FOUND, "{name:?}");
    }
    for name in [&b"/snponly.efi"[..], b"\\snponly.efi", b"snponly.efi\xff", b"//snponly.efi"] {
        let client = Client::new(&stand).await;
        assert_eq!(client.fetch(name, firmware(None)).await.len(), SIZE, "{name:?}");
    }
    let request = Request { name: b"snponly.efi", mode: Mode::Netascii, options: Options::default() };
    client.send(stand.address, &Packet::Read(request.clone())).await;
    assert_eq!(client.refused().await, UNDEFINED);
    client.send(stand.address, &Packet::Write(request)).await;
    assert_eq!(client.refused().await, ACCESS);
    assert_eq!(stand.counters.get("tftp", "refused-name"), 13);
    assert_eq!(stand.counters.get("tftp", "refused-write"), 1);
    stand.stop().await;
}

#[tokio::test]
async fn nonsense_is_counted_and_not_answered() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    for bytes in [&b""[..], b"\0", b"\0\x01", b"\xff\xff\xff", b"\0\x01\0\0", b"\0\x09abc", &[0; 1400]] {
        client.socket.send_to(bytes, stand.address).await.unwrap();
    }
    client.send(stand.address, &Packet::Ack(3)).await;
    // the first thing that comes back is the answer to this
    client.ask(b"nothing", Options::default()).await;
    assert_eq!(client.refused().await, NOT_FOUND);
    assert_eq!(stand.counters.get("tftp", "malformed"), 7);
    assert_eq!(stand.counters.get("tftp", "stray"), 1);
    stand.stop().await;
}

#[tokio::test]
async fn a_client_that_begins_anew_gets_a_new_transfer() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    client.ask(b"snponly.efi", firmware(None)).await;
    let (_, first) = client.granted().await;
    // doubled by the network: still the first transfer
    client.ask(b"snponly.efi", firmware(None)).await;
    stand.counts("doubled", 1).await;
    client.ask(b"snponly.efi", firmware(Some(0))).await;
    let (granted, second) = client.granted().await;
    assert_ne!(first, second);
    assert_eq!(granted.size, Some(SIZE as u64));
    stand.counts("stopped", 1).await;
    assert_eq!(stand.counters.get("tftp", "replaced"), 1);
    stand.stop().await;
}

#[tokio::test]
async fn one_client_cannot_have_all_transfers() {
    let stand = Stand::on(Ipv4Addr::LOCALHOST, Limits { per_client: 2, ..Limits::default() }).await;
    let clients = [Client::new(&stand).await, Client::new(&stand).await, Client::new(&stand).await];
    let [one, two, three] = &clients;
    one.ask(b"snponly.efi", firmware(None)).await;
    let (_, transfer) = one.granted().await;
    two.ask(b"snponly.efi", firmware(None)).await;
    two.granted().await;
    three.ask(b"snponly.efi", firmware(None)).await;
    stand.counts("busy", 1).await;
    // a place is free again, and the client asks again, as clients do
    one.send(transfer, &Packet::Error { code: UNDEFINED, text: "no more".into() }).await;
    stand.counts("aborted", 1).await;
    let served = async {
        loop {
            three.ask(b"snponly.efi", firmware(None)).await;
            if timeout(Duration::from_millis(20), three.granted()).await.is_ok() {
                return;
            }
        }
    };
    assert!(timeout(PATIENCE, served).await.is_ok(), "{:?}", stand.counters.snapshot());
    stand.stop().await;
}

#[tokio::test]
async fn a_client_that_is_gone_ends_its_transfer() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    client.ask(b"undionly.kpxe", Options::default()).await;
    client.receive().await;
    // its port closes; the next repetition finds nobody
    drop(client);
    stand.counts("gone", 1).await;
    stand.stop().await;
}

#[tokio::test]
async fn a_file_is_in_memory_once_and_follows_the_catalogue() {
    let stand = Stand::new().await;
    let name = AssetName::ipxe("snponly.efi").unwrap();
    let first = stand.files.content(&name).await.unwrap();
    assert!(Arc::ptr_eq(&first, &stand.files.content(&name).await.unwrap()));
    let path = stand.images.path().join("ipxe/snponly.efi");
    fs::write(&path, "a newer one").unwrap();
    stand.catalogues.send_replace(Arc::new(Catalogue::load(stand.images.path()).unwrap()));
    let client = Client::new(&stand).await;
    assert_eq!(client.fetch(b"snponly.efi", firmware(None)).await, b"a newer one");
    stand.stop().await;
}

/// Whoever asks for as much as there is, and then says no word more, costs a window and no file.
#[tokio::test]
async fn memory_is_bounded_whatever_window_is_asked() {
    let stand = Stand::on(Ipv4Addr::LOCALHOST, Limits { per_client: 64, ..Limits::default() }).await;
    let content = stand.files.content(&AssetName::ipxe("snponly.efi").unwrap()).await.unwrap();
    let before = Arc::strong_count(&content);
    let greedy = Options { block_size: Some(65464), window: Some(65535), ..Options::default() };
    let mut clients = Vec::new();
    for _ in 0..40 {
        let client = Client::new(&stand).await;
        client.ask(b"snponly.efi", greedy).await;
        let (granted, server) = client.granted().await;
        assert_eq!((granted.block_size, granted.window), (Some(1468), Some(64)));
        client.send(server, &Packet::Ack(0)).await;
        let (first, _) = client.receive().await;
        assert!(matches!(Packet::parse(&first), Ok(Packet::Data { block: 1, .. })));
        clients.push(client);
    }
    // all of them send from the one copy
    assert_eq!(Arc::strong_count(&content), before + clients.len());
    assert!(Arc::ptr_eq(
        &content,
        &stand.files.content(&AssetName::ipxe("snponly.efi").unwrap()).await.unwrap()
    ));
    stand.stop().await;
}

#[tokio::test]
async fn what_is_large_is_there_once_and_only_while_it_is_fetched() {
    let images = tempfile::tempdir().unwrap();
    fs::create_dir(images.path().join("ipxe")).unwrap();
    let [one, two, three, four, small] =
        [("one", 4000), ("two", 4000), ("three", 5001), ("four", 4000), ("small", 100)].map(
            |(name, size)| {
                fs::write(images.path().join("ipxe").join(name), vec![7; size]).unwrap();
                AssetName::ipxe(name).unwrap()
            },
        );
    let (_kept, catalogue) = watch::channel(Arc::new(Catalogue::load(images.path()).unwrap()));
    let files = Bootloaders::within(catalogue, Memory { largest: 5000, kept: 100, most: 10_000 });
    let first = files.content(&one).await.unwrap();
    assert!(Arc::ptr_eq(&first, &files.content(&one).await.unwrap()));
    let second = files.content(&two).await.unwrap();
    let kept = Arc::downgrade(&files.content(&small).await.unwrap());
    let refused = files.content(&three).await.unwrap_err();
    assert!(matches!(refused, Fault::TooLarge(5001, 5000)), "{refused}");
    let refused = files.content(&four).await.unwrap_err();
    assert!(matches!(refused, Fault::Full), "{refused}");
    drop(second);
    files.content(&four).await.unwrap();
    let gone = Arc::downgrade(&first);
    drop(first);
    assert!(gone.upgrade().is_none() && kept.upgrade().is_some());
}

/// Behind a firewall or a NAT that lets only the asked port answer.
#[tokio::test]
async fn with_a_single_port_every_answer_comes_from_it() {
    let limits = Limits { ports: Ports::Single, ..Limits::default() };
    let stand = Stand::on(Ipv4Addr::LOCALHOST, limits).await;
    // two at once, each with its own options
    let (one, two) = (Client::new(&stand).await, Client::new(&stand).await);
    one.ask(b"snponly.efi", firmware(Some(0))).await;
    let (granted, server) = one.granted().await;
    assert_eq!((granted.size, server), (Some(SIZE as u64), stand.address));
    assert_eq!(two.fetch(b"snponly.efi", Options { window: Some(64), ..firmware(None) }).await, bootloader());
    stand.counts("done", 1).await;
    one.send(server, &Packet::Error { code: code::OPTIONS, text: "User aborted the transfer".into() }).await;
    stand.counts("probed", 1).await;
    assert_eq!(one.fetch(b"snponly.efi", firmware(None)).await, bootloader());
    stand.counts("done", 2).await;
    // nobody's acknowledgement belongs to nobody
    let three = Client::new(&stand).await;
    three.send(stand.address, &Packet::Ack(1)).await;
    stand.counts("stray", 1).await;
    stand.stop().await;
}

#[tokio::test]
async fn a_file_that_changed_behind_the_catalogue_is_not_served() {
    let stand = Stand::new().await;
    fs::write(stand.images.path().join("ipxe/undionly.kpxe"), "something else").unwrap();
    let client = Client::new(&stand).await;
    client.ask(b"undionly.kpxe", firmware(None)).await;
    assert_eq!(client.refused().await, UNDEFINED);
    stand.counts("broken", 1).await;
    stand.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let stand = Stand::new().await;
    let (files, counters) = (Arc::clone(&stand.files), Arc::clone(&stand.counters));
    let error = Tftp::bind(stand.address, files, counters, Arc::default(), Limits::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    stand.stop().await;
}

/// In lock-step the first transfers have threads of their own, the others share the lanes; nobody is turned away.
#[tokio::test]
async fn more_clients_in_lock_step_than_there_are_threads() {
    let limits = Limits { transfers: 512, per_client: 512, ..Limits::default() };
    let stand = Stand::on(Ipv4Addr::LOCALHOST, limits).await;
    let mut open = Vec::new();
    let lock_step = Options { window: None, ..firmware(None) };
    for _ in 0..lanes::DESKS + 8 {
        let client = Client::new(&stand).await;
        client.ask(b"snponly.efi", lock_step).await;
        let (_, server) = client.granted().await;
        open.push((client, server));
    }
    for (client, server) in &open {
        client.send(*server, &Packet::Ack(0)).await;
        let (first, from) = client.receive().await;
        assert!(matches!(Packet::parse(&first), Ok(Packet::Data { block: 1, .. })));
        assert_eq!(from, *server);
    }
    // one begins anew while its thread waits for an answer
    let (again, before) = &open[0];
    again.ask(b"undionly.kpxe", lock_step).await;
    let (_, server) = again.granted().await;
    assert_ne!(server, *before);
    stand.counts("stopped", 1).await;
    let other = Client::new(&stand).await;
    assert_eq!(other.fetch(b"snponly.efi", lock_step).await, bootloader());
    stand.counts("done", 1).await;
    // with all of them still waiting for their clients
    stand.stop().await;
}

/// Nobody listens any more, or the network loses what was sent: known on a thread of its own as elsewhere.
#[tokio::test]
async fn in_lock_step_a_lost_block_comes_again_and_silence_ends() {
    let stand = Stand::new().await;
    let client = Client::new(&stand).await;
    client.ask(b"snponly.efi", Options { window: None, ..firmware(None) }).await;
    let (_, server) = client.granted().await;
    client.send(server, &Packet::Ack(0)).await;
    let (first, _) = client.receive().await;
    // not acknowledged: the timer brings it again
    assert_eq!(client.receive().await.0, first);
    drop(client);
    stand.counts("gone", 1).await;
    stand.stop().await;
}

/// Somebody else's idea of TFTP: plain, with options, with a block size above the limit.
#[tokio::test]
async fn curl_fetches_it() {
    for ports in [Ports::Own, Ports::Single] {
        fetch_with_curl(ports).await;
    }
}

async fn fetch_with_curl(ports: Ports) {
    let curl = Path::new("/usr/bin/curl");
    if !fs::metadata(curl).is_ok_and(|file| file.permissions().mode() & 0o111 != 0) {
        eprintln!("skipped: there is no {}", curl.display());
        return;
    }
    let stand = Stand::on(Ipv4Addr::LOCALHOST, Limits { ports, ..Limits::default() }).await;
    let url = format!("tftp://{}/snponly.efi", stand.address);
    let runs: [&[&str]; 4] =
        [&[], &["--tftp-no-options"], &["--tftp-blksize", "1468"], &["--tftp-blksize", "65464"]];
    for (run, times) in runs.into_iter().zip(1..) {
        let mut command = Command::new(curl);
        let output =
            command.args(["-sS", "--max-time", "20"]).args(run).arg(&url).stdin(Stdio::null()).output();
        let output = output.await.unwrap();
        assert!(output.status.success(), "{run:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout == bootloader(), "{run:?}: {} octets", output.stdout.len());
        stand.counts("done", times).await;
    }
    stand.stop().await;
}
