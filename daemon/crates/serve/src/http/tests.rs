mod secure;

use std::{
    fs,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use ::boot::{AssetName, BootView, LldpReport, LocalBootRules, discovery::Report};
use hardware::{ChassisId, LocalBoot, MacAddr, PortId};
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;
use crate::authority::{BootQuestion, BootReply};

/// Answers with what the test put there, and keeps the questions.
struct Oracle {
    reply: Mutex<BootReply>,
    asked: Mutex<Vec<BootQuestion>>,
    reported: Mutex<Vec<(MacAddr, Report)>>,
}

impl BootAuthority for Oracle {
    async fn ask(&self, question: BootQuestion) -> BootReply {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(question);
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn report(&self, mac: MacAddr, _: IpAddr, report: Report) -> BootReply {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).push((mac, report));
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

const KERNEL: &[u8] = b"0123456789";
const KERNEL_DIGEST: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";

const SIGNED: &str = "metal-amd64-secureboot-uki.efi";

fn images() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let discovery = root.path().join("discovery/6.1.192-2");
    fs::create_dir_all(&discovery).unwrap();
    let mut sums = String::new();
    for file in ["kernel-amd64", "initramfs-amd64.xz", "cmdline-metal-amd64"] {
        fs::write(discovery.join(file), KERNEL).unwrap();
        sums += &format!("{KERNEL_DIGEST}  {file}\n");
    }
    fs::write(discovery.join("sha256sum.txt"), sums).unwrap();
    let image = root.path().join("abc/v1.11.0");
    fs::create_dir_all(&image).unwrap();
    fs::write(image.join("kernel-amd64"), KERNEL).unwrap();
    // of a file with the same content
    fs::write(image.join(SIGNED), KERNEL).unwrap();
    let sums = format!("{KERNEL_DIGEST}  kernel-amd64\n{KERNEL_DIGEST}  {SIGNED}\n");
    fs::write(image.join("sha256sum.txt"), sums).unwrap();
    fs::write(root.path().join("secret.yaml"), "not for the wire").unwrap();
    fs::create_dir(root.path().join("ipxe")).unwrap();
    fs::write(root.path().join("ipxe/snponly.efi"), "MZ").unwrap();
    root
}

/// A boot server on a free port of the loopback.
struct Stand {
    oracle: Arc<Oracle>,
    address: SocketAddr,
    counters: Arc<Counters>,
    trace: Arc<Trace>,
    whereabouts: mpsc::Receiver<Whereabouts>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    images: TempDir,
    /// kept, so that the receiver goes on
    _catalogue: watch::Sender<Arc<Catalogue>>,
}

struct Got {
    status: u16,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Stand {
    async fn start(limits: Limits) -> Self {
        Self::with(limits, None).await
    }

    async fn with(limits: Limits, tls: Option<Secure>) -> Self {
        let images = images();
        let catalogue = Arc::new(Catalogue::load(images.path()).unwrap());
        let (_catalogue, receiver) = watch::channel(catalogue);
        let (sender, whereabouts) = mpsc::channel(8);
        let reply = Mutex::new(BootReply::LocalDisk { reason: "mini01 is installed".to_owned() });
        let oracle = Arc::new(Oracle { reply, asked: Mutex::default(), reported: Mutex::default() });
        let counters = Arc::new(Counters::default());
        let trace = Arc::new(Trace::default());
        let rules =
            LocalBootRules { models: vec![("Odd *".to_owned(), LocalBoot::Sanboot)], ..Default::default() };
        let (_, rules) = watch::channel(Arc::new(rules));
        let (_, view) = watch::channel(Arc::new(BootView::default()));
        let server = BootServer {
            authority: Arc::clone(&oracle),
            catalogue: receiver,
            whereabouts: sender,
            local_boots: LocalBoots::new(rules, view),
            discoveries: Arc::default(),
            trace: Arc::clone(&trace),
            counters: Arc::clone(&counters),
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = match tls {
            None => tokio::spawn(server.serve(listener, shutdown.clone())),
            Some(tls) => tokio::spawn(server.serve_secure(listener, tls, shutdown.clone())),
        };
        Self { oracle, address, counters, trace, whereabouts, shutdown, task, images, _catalogue }
    }

    fn answer(&self, reply: BootReply) {
        *self.oracle.reply.lock().unwrap() = reply;
    }

    /// Sends a report.
    async fn report(&self, token: &str, body: Vec<u8>) -> Got {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut request = Request::post("/boot/discovery").header("host", "boot");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = http_body_util::Full::new(Bytes::from(body));
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        // who refuses a body does not read it
        driver.await.unwrap().ok();
        Got { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn call(&self, method: Method, path: &str, range: Option<&str>) -> Got {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "boot");
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        driver.await.unwrap().unwrap();
        Got { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Got {
        self.call(Method::GET, path, None).await
    }
}

const ASK: &str = "/boot/ask?mac=52-54-00-77-00-02&uuid=00112233-4455-6677-8899-aabbccddee02&serial=4330322058\
                   &platform=efi&attempt=2&lldp=52-54-00-77-00-02,04feffffffff01,0574617032,,737731,,";

#[tokio::test]
async fn a_file_comes_whole_with_length_type_and_digest() {
    let stand = Stand::start(Limits::default()).await;
    let got = stand.get("/assets/abc/v1.11.0/kernel-amd64").await;
    assert_eq!((got.status, &got.body[..]), (200, KERNEL));
    assert_eq!(got.header("content-length"), Some("10"));
    assert_eq!(got.header("transfer-encoding"), None);
    assert_eq!(got.header("content-type"), Some("application/octet-stream"));
    assert_eq!(got.header("accept-ranges"), Some("bytes"));
    // sha256sum | xxd -r -p | base64
    assert_eq!(got.header("repr-digest"), Some("sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:"));
    let loader = stand.get("/ipxe/snponly.efi").await;
    assert_eq!((loader.status, loader.header("content-type")), (200, Some("application/efi")));
}

#[tokio::test]
async fn head_says_the_same_without_the_file() {
    let stand = Stand::start(Limits::default()).await;
    let got = stand.call(Method::HEAD, "/assets/abc/v1.11.0/kernel-amd64", None).await;
    assert_eq!((got.status, got.header("content-length")), (200, Some("10")));
    assert!(got.header("repr-digest").is_some() && got.body.is_empty());
}

#[tokio::test]
async fn a_part_is_a_part_of_the_same_digest() {
    let stand = Stand::start(Limits::default()).await;
    let path = "/assets/abc/v1.11.0/kernel-amd64";
    let got = stand.call(Method::GET, path, Some("bytes=4-")).await;
    assert_eq!((got.status, &got.body[..]), (206, &KERNEL[4..]));
    assert_eq!(got.header("content-range"), Some("bytes 4-9/10"));
    assert_eq!(got.header("content-length"), Some("6"));
    assert_eq!(got.header("repr-digest"), stand.get(path).await.header("repr-digest"));
    assert_eq!(stand.call(Method::GET, path, Some("bytes=10-")).await.status, 416);
    assert_eq!(stand.counters.get("http", "416"), 1);
}

#[tokio::test]
async fn nothing_outside_the_catalogue_has_a_name() {
    let stand = Stand::start(Limits::default()).await;
    let paths = [
        "/",
        "/secret.yaml",
        "/ipxe/",
        "/ipxe/..%2fsecret.yaml",
        "/ipxe/../secret.yaml",
        "/ipxe/%2e%2e/secret.yaml",
        "/assets/abc/v1.11.0/sha256sum.txt",
        "/assets/abc/v1.11.0/..%2f..%2f..%2fsecret.yaml",
        "/assets/../../secret.yaml",
        "/assets/abc/v1.11.0/kernel-amd64/",
        "/assets/abc/v1.11.0/kernel-amd64%00",
    ];
    for path in paths {
        let got = stand.get(path).await;
        assert_eq!(got.status, 404, "{path}");
        assert!(!got.text().contains("not for the wire"), "{path}");
    }
    assert_eq!(stand.counters.get("http", "404"), paths.len() as u64);
    assert_eq!(stand.call(Method::POST, "/boot.ipxe", None).await.status, 405);
}

#[tokio::test]
async fn a_file_that_changed_on_disk_is_not_served() {
    let stand = Stand::start(Limits::default()).await;
    fs::write(stand.images.path().join("abc/v1.11.0/kernel-amd64"), "another kernel").unwrap();
    let got = stand.get("/assets/abc/v1.11.0/kernel-amd64").await;
    assert_eq!(got.status, 500);
    assert!(!got.text().contains("another kernel"));
    assert_eq!(stand.counters.get("http", "file-fault"), 1);
}

#[tokio::test]
async fn the_entry_script_leads_back_to_where_it_came_from() {
    let stand = Stand::start(Limits { lldp_wait: 7, ..Limits::default() }).await;
    let got = stand.get("/boot.ipxe").await;
    assert_eq!(got.text(), script::entry(Base { address: stand.address, secure: false }, 7));
    assert!(got.text().contains(&format!("http://{}/boot/ask?mac=", stand.address)));
    assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn the_question_arrives_in_form() {
    let mut stand = Stand::start(Limits::default()).await;
    let got = stand.get(ASK).await;
    assert_eq!(got.text(), script::local_disk(Some(script::Platform::Efi), None));
    let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, 2]);
    let question = BootQuestion {
        from: IpAddr::from([127, 0, 0, 1]),
        machine: identity::Marks {
            macs: [mac].into(),
            uuid: Some("00112233-4455-6677-8899-aabbccddee02".parse().unwrap()),
            serial: Some("C02 X".to_owned()),
        },
        attempt: 2,
        firmware: Some("efi".to_owned()),
        architecture: hardware::Architecture::Amd64,
        lldp: vec![LldpReport {
            nic: mac,
            chassis: Some(ChassisId { subtype: 4, id: vec![0xfe, 0xff, 0xff, 0xff, 0xff, 1] }),
            port: Some(PortId { subtype: 5, id: b"tap2".to_vec() }),
            system_name: Some("sw1".to_owned()),
            port_description: None,
            forwards: None,
            management: None,
        }],
    };
    assert_eq!(*stand.oracle.asked.lock().unwrap(), [question]);
    let seen = stand.whereabouts.recv().await.unwrap();
    assert_eq!((seen.mac, seen.address), (mac, IpAddr::from([127, 0, 0, 1])));
}

#[tokio::test]
async fn each_reply_becomes_its_script() {
    let stand = Stand::start(Limits::default()).await;
    let base = Base { address: stand.address, secure: false };
    stand.answer(BootReply::Retry { seconds: 3, reason: "no permit".to_owned() });
    assert_eq!(stand.get(ASK).await.text(), script::retry(base, 3, 2));
    assert_eq!(stand.counters.get("boot", "retry"), 1);
    stand.answer(BootReply::Refused { reason: "two machines on sw1/Eth1/1".to_owned() });
    assert_eq!(stand.get(ASK).await.text(), script::refused("two machines on sw1/Eth1/1"));
    let kernel = AssetName::image("abc", "v1.11.0", "kernel-amd64").unwrap();
    let deploy = |initramfs: &AssetName, cmdline: &str| BootReply::Deploy {
        kernel: kernel.clone(),
        initramfs: initramfs.clone(),
        cmdline: cmdline.to_owned(),
    };
    stand.answer(deploy(&kernel, "talos.platform=metal"));
    let script = stand.get(ASK).await;
    assert!(script.text().contains(&format!("# sha256 kernel-amd64 {KERNEL_DIGEST}\n")), "{}", script.text());
    assert!(
        script
            .text()
            .contains(&format!("kernel http://{}/assets/abc/v1.11.0/kernel-amd64 initrd=", stand.address))
    );
    // what cannot be booted is asked for again, when a person has mended it
    stand.answer(deploy(&AssetName::image("abc", "v1.11.0", "initramfs-amd64.xz").unwrap(), ""));
    assert_eq!(stand.get(ASK).await.text(), script::retry(base, 30, 2));
    stand.answer(deploy(&kernel, "talos.hostname=${hostname}"));
    assert_eq!(stand.get(ASK).await.text(), script::retry(base, 30, 2));
}

#[tokio::test]
async fn a_model_goes_to_its_disk_in_its_own_way_and_the_conversation_is_kept() {
    let stand = Stand::start(Limits::default()).await;
    // "Odd Machines", "One"
    let odd = format!("{ASK}&manufacturer=4f6464204d616368696e6573&product=4f6e65");
    let efi = Some(script::Platform::Efi);
    assert_eq!(stand.get(&odd).await.text(), script::local_disk(efi, Some(LocalBoot::Sanboot)));
    assert_eq!(stand.get("/ipxe/none.efi").await.status, 404);
    let said = stand.trace.conversation(MacAddr([0x52, 0x54, 0, 0x77, 0, 2])).unwrap();
    let lines: Vec<&str> = said.lines.iter().map(|line| line.what.as_str()).collect();
    let asked = "asks what to boot (attempt 2): local-disk, mini01 is installed";
    assert_eq!(lines, [asked, "GET /boot/ask: 200", "GET /ipxe/none.efi: 404"]);
    let complaints = stand.trace.complaints(clock::now());
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].what.contains("/ipxe/none.efi"), "{complaints:?}");
    assert_eq!(stand.get("/local-disk").await.status, 404);
    assert_eq!(stand.trace.complaints(clock::now()).len(), 1, "the file that is named to be missed");
}

#[tokio::test]
async fn who_does_not_ask_properly_asks_nobody() {
    let stand = Stand::start(Limits::default()).await;
    let got = stand.get("/boot/ask?uuid=x").await;
    assert_eq!(got.status, 400);
    assert!(got.text().contains("mac is missing"), "{}", got.text());
    assert_eq!(stand.call(Method::HEAD, ASK, None).await.status, 405);
    assert!(stand.oracle.asked.lock().unwrap().is_empty());
    assert_eq!((stand.counters.get("http", "400"), stand.counters.get("http", "405")), (1, 1));
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let stand = Stand::start(Limits { header: Duration::from_millis(50), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    stream.write_all(b"GET /boot.ipxe HT").await.unwrap();
    let mut rest = Vec::new();
    // ends when the server closes; a reset is a close too
    stream.read_to_end(&mut rest).await.ok();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn one_more_connection_waits_for_a_place() {
    let stand = Stand::start(Limits { connections: 1, ..Limits::default() }).await;
    let stream = TcpStream::connect(stand.address).await.unwrap();
    let (mut first, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut second = TcpStream::connect(stand.address).await.unwrap();
    second.write_all(b"GET /boot.ipxe HTTP/1.0\r\n\r\n").await.unwrap();
    for _ in 0..20 {
        let request = Request::get("/boot.ipxe").header("host", "boot").body(Empty::<Bytes>::new()).unwrap();
        let response = first.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    // the first was answered twenty times, the second not at all
    let mut byte = [0];
    assert!(
        matches!(second.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    );
    drop(first);
    driver.await.unwrap().unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn it_stops_when_told_and_kept_connections_with_it() {
    let stand = Stand::start(Limits::default()).await;
    let stream = TcpStream::connect(stand.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::get("/boot.ipxe").header("host", "boot").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    stand.shutdown.cancel();
    stand.task.await.unwrap();
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_signed_image_goes_to_who_shall_boot_it() {
    let stand = Stand::start(Limits::default()).await;
    let name = |file: &str| AssetName::image("abc", "v1.11.0", file).unwrap();
    let deploy = BootReply::Deploy {
        kernel: name("kernel-amd64"),
        initramfs: name("initramfs-amd64.xz"),
        cmdline: String::new(),
    };
    stand.answer(deploy);
    let path = "/uki/52-54-00-77-00-02/amd64.efi";
    let head = stand.call(Method::HEAD, path, None).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert!(stand.oracle.asked.lock().unwrap().is_empty(), "to ask for the length decides nothing");
    let got = stand.get(path).await;
    assert_eq!((got.status, &got.body[..]), (200, KERNEL));
    assert_eq!(got.header("content-type"), Some("application/efi"));
    let asked = stand.oracle.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].machine.macs, [MacAddr([0x52, 0x54, 0, 0x77, 0, 2])].into());

    stand.answer(BootReply::LocalDisk { reason: "it is installed".to_owned() });
    assert_eq!(stand.get(path).await.status, 404);
    for odd in ["/uki/nobody/amd64.efi", "/uki/52-54-00-77-00-02/amd64", "/uki/52-54-00-77-00-02/..%2fx.efi"]
    {
        assert_eq!(stand.get(odd).await.status, 404, "{odd}");
    }
}

/// What a machine that nobody knows asks, the third time in one boot.
fn ask_again(mac: u8) -> String {
    format!("/boot/ask?mac=52-54-00-77-00-{mac:02x}&platform=pcbios&arch=i386&attempt=2")
}

fn nobody_knows() -> BootReply {
    let name = |file| AssetName::image("discovery", "6.1.192-2", file).unwrap();
    let image = ::boot::Image {
        kernel: name("kernel-amd64"),
        initramfs: name("initramfs-amd64.xz"),
        cmdline: "console=tty0".to_owned(),
    };
    BootReply::Identify { seconds: 5, reason: "no source has told its port".to_owned(), image: Some(image) }
}

/// The token that a script hands out, if it boots the discovery image.
fn token(script: &str) -> Option<String> {
    let line =
        script.lines().find(|line| line.starts_with("kernel ") && line.contains("/assets/discovery/"))?;
    line.split(' ').find_map(|word| word.strip_prefix("ichord.token=")).map(str::to_owned)
}

fn found(card: u8) -> Vec<u8> {
    let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, card]);
    let links = vec![hardware::Link { name: "eth0".to_owned(), mac, up: true }];
    let inventory = hardware::Inventory { links, ..Default::default() };
    serde_json::to_vec(&Report { inventory, kexec: true, ..Report::default() }).unwrap()
}

#[tokio::test]
async fn who_is_not_known_is_sent_to_find_out_and_reports_once() {
    let stand = Stand::start(Limits { lldp_wait: 7, ..Limits::default() }).await;
    stand.answer(nobody_knows());
    // the quick sources first
    assert_eq!(token(stand.get(&ask_again(1).replace("attempt=2", "attempt=1")).await.text()), None);
    let script = stand.get(&ask_again(1)).await.text().to_owned();
    assert!(
        script.contains("ichord.listen=7 ichord.card=${card},${card-address} || goto failed"),
        "{script}"
    );
    let token = token(&script).unwrap();

    let kernel = AssetName::image("abc", "v1.11.0", "kernel-amd64").unwrap();
    let cmdline = "talos.platform=metal".to_owned();
    stand.answer(BootReply::Deploy { kernel: kernel.clone(), initramfs: kernel, cmdline });
    assert_eq!(stand.report(&token, b"{}".to_vec()).await.status, 400, "that is no report and costs nothing");
    let got = stand.report(&token, found(1)).await;
    let path = "/assets/abc/v1.11.0/kernel-amd64";
    let expected = format!(
        r#"{{"next":"kexec","kernel":{{"path":"{path}","sha256":"{KERNEL_DIGEST}"}},"initramfs":{{"path":"{path}","sha256":"{KERNEL_DIGEST}"}},"cmdline":"talos.platform=metal"}}"#
    );
    assert_eq!((got.status, got.text()), (200, expected.as_str()));
    assert_eq!(stand.report(&token, found(1)).await.status, 403, "a token pays once");
    let reported = stand.oracle.reported.lock().unwrap().clone();
    assert_eq!(reported.len(), 1);
    assert_eq!(reported[0].0, MacAddr([0x52, 0x54, 0, 0x77, 0, 1]));
    assert_eq!(stand.counters.get("discovery", "sent"), 1);
}

#[tokio::test]
async fn a_report_without_a_token_of_ours_is_not_even_read() {
    let stand = Stand::start(Limits::default()).await;
    assert_eq!(stand.report("", found(1)).await.status, 401);
    assert_eq!(stand.report("zz", found(1)).await.status, 401);
    assert_eq!(stand.report(&"ab".repeat(16), vec![b' '; 1 << 20]).await.status, 403);
    assert!(stand.oracle.reported.lock().unwrap().is_empty());
    assert_eq!(stand.call(Method::GET, "/boot/discovery", None).await.status, 405);
}

#[tokio::test]
async fn a_machine_that_finds_nothing_goes_to_its_own_disk_in_the_end() {
    let stand = Stand::start(Limits::default()).await;
    stand.answer(nobody_knows());
    for _ in 0..2 {
        let token = token(stand.get(&ask_again(1)).await.text()).unwrap();
        let got = stand.report(&token, found(1)).await;
        assert_eq!(got.text(), r#"{"next":"reboot","reason":"no source has told its port"}"#);
    }
    let last = stand.get(&ask_again(1)).await;
    assert_eq!(last.text(), script::local_disk(Some(script::Platform::Bios), None));
    assert!(token(stand.get(&ask_again(2)).await.text()).is_some(), "another machine may still");
    // where there is no image, it only asks again
    stand.answer(BootReply::Identify { seconds: 5, reason: String::new(), image: None });
    assert_eq!(
        stand.get(&ask_again(3)).await.text(),
        script::retry(Base { address: stand.address, secure: false }, 5, 2)
    );
}

#[tokio::test]
async fn a_report_of_another_machine_is_refused() {
    let stand = Stand::start(Limits::default()).await;
    stand.answer(nobody_knows());
    let token = token(stand.get(&ask_again(1)).await.text()).unwrap();
    stand.answer(BootReply::Refused { reason: "127.0.0.1 is another machine".to_owned() });
    let got = stand.report(&token, found(1)).await;
    assert_eq!((got.status, got.text()), (403, "127.0.0.1 is another machine\n"));
}

/// Says something and reads until the server closes.
async fn says(stand: &Stand, text: &str) -> String {
    let mut stream = TcpStream::connect(stand.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order_and_what_is_unclear_ends_it() {
    let stand = Stand::start(Limits::default()).await;
    let path = "/assets/abc/v1.11.0/kernel-amd64";
    let two = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\n\r\nHEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    );
    let answer = says(&stand, &two).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("content-length: 10\r\n").count(), 2, "{answer}");
    assert_eq!(answer.matches("0123456789").count(), 1, "{answer}");
    for (unclear, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", "505"),
    ] {
        // the client has no more to say, so nobody waits for it
        let mut stream = TcpStream::connect(stand.address).await.unwrap();
        stream.write_all(unclear.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{unclear:?}: {answer}");
    }
    assert_eq!(stand.counters.get("http", "malformed"), 3);
}

#[tokio::test]
async fn a_part_of_another_file_is_not_sent_as_one_of_this() {
    let stand = Stand::start(Limits::default()).await;
    let ask = |tag: &str| {
        format!(
            "GET /assets/abc/v1.11.0/kernel-amd64 HTTP/1.1\r\nHost: a\r\nRange: bytes=4-5\r\nIf-Range: {tag}\r\nConnection: close\r\n\r\n"
        )
    };
    let same = says(&stand, &ask(&format!("\"{KERNEL_DIGEST}\""))).await;
    assert!(same.starts_with("HTTP/1.1 206 ") && same.ends_with("\r\n\r\n45"), "{same}");
    let other = says(&stand, &ask("\"another\"")).await;
    assert!(other.starts_with("HTTP/1.1 200 ") && other.ends_with("0123456789"), "{other}");
}
