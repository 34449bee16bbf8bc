//! Malformed input on every socket: dropped, and the next correct request is answered.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use dhcp::Packet;
use hardware::{ChassisId, MacAddr, PortId};
use lldp::{Announcement, Frame};
use net::{
    frame::FrameSocket,
    interface::Interface,
    udp::{DhcpSocket, Via},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket, UnixStream},
    time::timeout,
};

use crate::{
    daemon::{Daemon, PATIENCE, in_network},
    site::Site,
};

const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
const HTTP: &str = "10.77.0.1:80";
const TFTP: &str = "10.77.0.1:69";
/// A question that got lost is asked again after this long.
const AGAIN: Duration = Duration::from_millis(500);

/// Bytes without a pattern (xorshift), the same in every run.
fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What firmware sent in a recording.
fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/captures/dhcp/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    hex::decode(digits).unwrap()
}

/// Asks as firmware does until an offer comes.
pub(crate) async fn offered() -> Packet {
    let mut socket = DhcpSocket::bind(68, Some("eth0")).unwrap();
    let via = Via { interface: Interface::named("eth0").unwrap().index, source: None };
    let question = recorded("ovmf-http-discover");
    let xid = Packet::parse(&question).unwrap().xid;
    let answer = async {
        loop {
            socket.send_to(&question, SERVER, via).await.unwrap();
            if let Ok(datagram) = timeout(AGAIN, socket.recv()).await {
                let packet = Packet::parse(&datagram.unwrap().payload).unwrap();
                if packet.xid == xid {
                    return packet;
                }
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("DHCP answers")
}

/// The status line and all that follows.
pub(crate) async fn fetch(path: &str) -> String {
    let get = async {
        let mut stream = TcpStream::connect(HTTP).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 10.77.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    timeout(PATIENCE, get).await.expect("HTTP answers")
}

/// Writes, reads what comes back, and lives with a connection that is cut.
async fn say(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    bytes: &[u8],
) -> String {
    let mut back = Vec::new();
    if stream.write_all(bytes).await.is_ok() {
        stream.shutdown().await.ok();
    }
    timeout(PATIENCE, stream.read_to_end(&mut back)).await.expect("the connection is let go").ok();
    String::from_utf8_lossy(&back).into_owned()
}

#[test]
fn dhcp_goes_on_after_garbage() {
    in_network(|network| async move {
        let site = Site::new();
        let mut serve = site.serve();
        serve.env("RUST_LOG", "debug");
        let mut daemon = Daemon::start_by(&site, serve).await;
        let offer = network.at_machine(|| async {
            let socket = DhcpSocket::bind(68, Some("eth0")).unwrap();
            let via = Via { interface: Interface::named("eth0").unwrap().index, source: None };
            let good = recorded("ovmf-http-discover");
            let mut packets: Vec<Vec<u8>> =
                (0..200).map(|at| random(at + 1, (at as usize * 7) % 1400)).collect();
            // cut off at every place
            packets.extend((0..good.len()).map(|length| good[..length].to_vec()));
            // a whole one with one byte after another turned around
            packets.extend((0..good.len()).map(|at| {
                let mut packet = good.clone();
                packet[at] ^= 0xff;
                packet
            }));
            for packet in packets {
                socket.send_to(&packet, SERVER, via).await.unwrap();
            }
            drop(socket);
            offered().await
        });
        let offer = offer.await;
        assert_eq!(offer.file, b"http://10.77.0.1/ipxe/snponly.efi");
        daemon.logs("not a DHCP message, dropped").await;
        let log = daemon.stop().await;
        assert!(log.contains("(\"dhcp-malformed\", "), "{log}");
    });
}

/// The first block of a boot file over TFTP (RFC 1350), asked for again until it comes.
async fn first_block(file: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let request = [&[0, 1], file.as_bytes(), b"\0octet\0"].concat();
    let answer = async {
        let mut buffer = [0; 1024];
        loop {
            socket.send_to(&request, TFTP).await.unwrap();
            if let Ok(received) = timeout(AGAIN, socket.recv_from(&mut buffer)).await {
                let (length, from) = received.unwrap();
                assert_eq!(&buffer[..4], [0, 3, 0, 1], "DATA, block 1");
                socket.send_to(&[0, 4, 0, 1], from).await.unwrap();
                return buffer[4..length].to_vec();
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("TFTP answers")
}

#[test]
fn tftp_goes_on_after_garbage() {
    in_network(|network| async move {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let block = network.at_machine(|| async {
            let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
            for at in 0..200 {
                let noise = random(at + 1, (at as usize * 7) % 1400);
                socket.send_to(&noise, TFTP).await.unwrap();
            }
            first_block("undionly.kpxe").await
        });
        assert_eq!(block.await, b"bios");
        let log = daemon.stop().await;
        assert!(log.contains("(\"tftp\", \"malformed\")"), "{log}");
    });
}

#[test]
fn http_goes_on_after_garbage() {
    in_network(|network| async move {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let answers = network.at_machine(|| async {
            // heads that are never finished, held open meanwhile
            let mut slow = Vec::new();
            for _ in 0..64 {
                let mut stream = TcpStream::connect(HTTP).await.unwrap();
                stream.write_all(b"GET /boot.ipxe HTTP/1.1\r\nHost: 10").await.unwrap();
                slow.push(stream);
            }
            for at in 0..32 {
                let mut stream = TcpStream::connect(HTTP).await.unwrap();
                say(&mut stream, &random(at + 1, 4000)).await;
            }
            let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
            let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5000));
            for text in [long.as_str(), many.as_str(), "GET http://[ HTTP/9.9\r\n\r\n"] {
                let mut stream = TcpStream::connect(HTTP).await.unwrap();
                let back = say(&mut stream, text.as_bytes()).await;
                assert!(!back.contains("200 OK"), "{back}");
            }
            let mut answers = Vec::new();
            for path in [
                "/boot/ask",
                "/boot/ask?mac=nonsense",
                "/images/../../talsecret.yaml",
                "/images/%2e%2e/%2e%2e/talsecret.yaml",
                "/ipxe/..%2f..%2ftalsecret.yaml",
                "/nothing",
                "/boot.ipxe",
            ] {
                answers.push(fetch(path).await);
            }
            // those that never finished are let go
            for mut stream in slow {
                let mut back = Vec::new();
                timeout(PATIENCE, stream.read_to_end(&mut back)).await.unwrap().ok();
            }
            answers
        });
        let answers = answers.await;
        let (script, refused) = answers.split_last().unwrap();
        assert!(script.starts_with("HTTP/1.1 200 OK") && script.contains("#!ipxe"), "{script}");
        for answer in refused {
            assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            assert!(!answer.contains("secretboxencryptionsecret"));
        }
        let log = daemon.stop().await;
        assert!(log.contains("(\"http\", \"malformed\")"), "{log}");
    });
}

#[test]
fn lldp_goes_on_after_garbage() {
    in_network(|network| async move {
        let site = Site::new();
        let mut serve = site.serve();
        serve.env("RUST_LOG", "debug");
        let mut daemon = Daemon::start_by(&site, serve).await;
        let good = || {
            let mac = MacAddr([2, 0, 0, 0, 0, 9]);
            let chassis = ChassisId { subtype: 4, id: mac.0.to_vec() };
            let port = PortId { subtype: 5, id: b"eth0".to_vec() };
            let mut announcement = Announcement::new(chassis, port, 120);
            announcement.system_name = Some("a-machine".to_owned());
            Frame { destination: lldp::NEAREST_BRIDGE, source: mac, vlan: None, announcement }.build()
        };
        network
            .at_machine(move || async move {
                let wire = FrameSocket::sender("eth0").unwrap();
                let head = &good()[..14];
                for at in 0..100 {
                    let frame = [head, &random(at + 1, 46 + at as usize)].concat();
                    wire.send(&frame).await.unwrap();
                }
                for length in 14..good().len() {
                    wire.send(&good()[..length]).await.unwrap();
                }
            })
            .await;
        daemon.logs("LLDP frame dropped").await;
        network
            .at_machine(move || async move {
                FrameSocket::sender("eth0").unwrap().send(&good()).await.unwrap();
            })
            .await;
        daemon.logs("LLDP neighbour").await;
        assert!(daemon.log().contains("machine=02:00:00:00:00:09"), "{}", daemon.log());
        // it is alive, and so are the others
        assert!(network.at_machine(|| async { fetch("/boot.ipxe").await }).await.contains("#!ipxe"));
        assert_eq!(daemon.status().await.site, "small");
        let log = daemon.stop().await;
        assert!(log.contains("(\"lldp\", \"malformed\")"), "{log}");
    });
}

#[test]
fn the_admin_socket_goes_on_after_garbage() {
    in_network(|_network| async {
        let site = Site::new();
        let daemon = Daemon::start(&site).await;
        let unfinished = {
            let mut stream = UnixStream::connect(site.socket()).await.unwrap();
            stream.write_all(b"POST /v1/deploy HTTP/1.1\r\nHo").await.unwrap();
            stream
        };
        for at in 0..32 {
            let mut stream = UnixStream::connect(site.socket()).await.unwrap();
            say(&mut stream, &random(at + 1, 2000)).await;
        }
        let post = |path: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        for request in [
            post("/v1/deploy", "{"),
            post("/v1/deploy", "{\"node\": \"cp1\", \"by\": \"x\", \"more\": 1}"),
            post("/v1/deploy", &format!("{{\"node\": \"{}\", \"by\": \"x\"}}", "a".repeat(1 << 16))),
            post("/v1/nothing", "{}"),
            "GET /v1/events?from=-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        ] {
            let mut stream = UnixStream::connect(site.socket()).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut back = String::new();
            timeout(PATIENCE, stream.read_to_string(&mut back)).await.unwrap().unwrap();
            assert!(back.starts_with("HTTP/1.1 4"), "{back}");
        }
        let status = daemon.status().await;
        assert!(status.view.nodes.values().all(|node| node.permit_expires.is_none()));
        drop(unfinished);
        daemon.stop().await;
    });
}
