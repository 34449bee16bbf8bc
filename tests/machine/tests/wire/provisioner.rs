//! What stands in for the daemon: just enough DHCP, HTTP and LLDP, with the daemon's own entry script.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{RawQuery, State},
    routing::get,
};
use boot::script::{self, Base};
use hardware::MacAddr;
use net::frame::FrameSocket;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const KERNEL: &[u8] = b"a kernel";
const INITRAMFS: &[u8] = b"an initramfs";

/// What the boot server says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Talos,
    LocalDisk,
}

#[derive(Clone)]
struct Book {
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Answer>>,
    schematic: String,
    version: &'static str,
}

/// Ends with its drop.
pub(crate) struct Provisioner {
    book: Book,
    _tasks: JoinSet<()>,
}

impl Provisioner {
    pub(crate) async fn start(bridge: &str, ports: &[&str], schematic: &str) -> Self {
        Self::with(bridge, ports, schematic, "v1.13.9").await
    }

    /// With a Talos of this version.
    pub(crate) async fn with(bridge: &str, ports: &[&str], schematic: &str, version: &'static str) -> Self {
        let answer = Arc::new(Mutex::new(Answer::Talos));
        let book = Book { asked: Arc::default(), answer, schematic: schematic.to_owned(), version };
        let mut tasks = JoinSet::new();
        let images = format!("/images/{schematic}/{version}");
        let app = Router::new()
            .route("/ipxe/snponly.efi", get(|| async { "iPXE" }))
            .route(
                "/boot.ipxe",
                get(|| async { script::entry(Base { address: (SERVER, 80).into(), secure: false }, 35) }),
            )
            .route("/boot/ask", get(ask))
            .route(&format!("{images}/kernel-amd64"), get(|| async { KERNEL }))
            .route(&format!("{images}/initramfs-amd64.xz"), get(|| async { INITRAMFS }))
            .with_state(book.clone());
        let listener = tokio::net::TcpListener::bind((SERVER, 80)).await.unwrap();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        let socket = FrameSocket::open(bridge, 0x0800, &[]).unwrap();
        tasks.spawn(async move {
            loop {
                let frame = socket.recv().await.unwrap();
                if let Some(reply) = dhcp(&frame) {
                    socket.send(&reply).await.unwrap();
                }
            }
        });
        for port in ports {
            let (socket, frame) = (FrameSocket::sender(port).unwrap(), lldp(port));
            tasks.spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(100));
                loop {
                    ticks.tick().await;
                    socket.send(&frame).await.ok();
                }
            });
        }
        Self { book, _tasks: tasks }
    }

    /// The queries of all machines so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.book.asked.lock().unwrap().clone()
    }

    pub(crate) fn answer(&self, answer: Answer) {
        *self.book.answer.lock().unwrap() = answer;
    }
}

async fn ask(State(book): State<Book>, RawQuery(query): RawQuery) -> String {
    book.asked.lock().unwrap().push(query.unwrap_or_default());
    if *book.answer.lock().unwrap() == Answer::LocalDisk {
        return "#!ipxe\nexit 1\n".to_owned();
    }
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let base = format!("http://{SERVER}/images/{}/{}", book.schematic, book.version);
    format!(
        "#!ipxe\n# sha256 kernel-amd64 {}\n# sha256 initramfs-amd64.xz {}\n\
         kernel {base}/kernel-amd64 initrd=initramfs-amd64.xz talos.platform=metal slab_nomerge pti=on || goto failed\n\
         initrd --name initramfs-amd64.xz {base}/initramfs-amd64.xz || goto failed\nboot || goto failed\n:failed\nexit 1\n",
        digest(KERNEL),
        digest(INITRAMFS)
    )
}

/// Answers a DHCP frame: the address is the last byte of the hardware address plus 100.
fn dhcp(frame: &[u8]) -> Option<Vec<u8>> {
    let message = frame.get(42..).filter(|_| frame.get(36..38) == Some(&[0, 67]))?;
    let mac: [u8; 6] = message.get(28..34)?.try_into().ok()?;
    let options = message.get(240..)?;
    let has = |needle: &[u8]| options.windows(needle.len()).any(|window| window == needle);
    let kind = if has(&[53, 1, 1]) { 2 } else { 5 };
    let (class, file) = match () {
        () if has(b"iPXE") => (None, format!("http://{SERVER}/boot.ipxe")),
        () if has(b"HTTPClient") => (Some(b"HTTPClient"), format!("http://{SERVER}/ipxe/snponly.efi")),
        () => (None, String::new()),
    };
    let mut reply = vec![2, 1, 6, 0];
    reply.extend(&message[4..8]);
    reply.extend([0; 8]);
    reply.extend([10, 77, 0, mac[5] + 100]);
    reply.extend([0; 8]);
    reply.extend(mac);
    reply.extend([0; 202]);
    reply.extend([99, 130, 83, 99, 53, 1, kind, 54, 4]);
    reply.extend(SERVER.octets());
    reply.extend([1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 14, 16]);
    for (code, value) in [(60, class.map_or(&b""[..], |class| &class[..])), (67, file.as_bytes())] {
        if !value.is_empty() {
            reply.extend([code, u8::try_from(value.len()).unwrap()]);
            reply.extend(value);
        }
    }
    reply.push(255);
    let length = u16::try_from(reply.len()).unwrap();
    let mut frame = mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
    frame.extend((length + 28).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend(SERVER.octets());
    frame.extend([255; 4]);
    frame.extend([0, 67, 0, 68]);
    frame.extend((length + 8).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(reply);
    Some(frame)
}

/// A switch's frame on its port.
fn lldp(port: &str) -> Vec<u8> {
    let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e];
    frame.extend(MacAddr([2, 0, 0, 0, 0, 1]).0);
    frame.extend([0x88, 0xcc, 2, 7, 4, 2, 0, 0, 0, 0, 1, 4, u8::try_from(port.len() + 1).unwrap(), 5]);
    frame.extend(port.as_bytes());
    frame.extend([6, 2, 0, 8, 10, 3]);
    frame.extend(b"sw1");
    frame.extend([0, 0]);
    frame
}
