//! Sockets, the forwarding table and ARP on virtual cables, in namespaces that each test makes for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use hardware::MacAddr;
use net::{
    arp,
    forwarding::{Event, Watch},
    frame::{FrameSocket, LLDP_GROUPS},
    interface::{Interface, InterfaceError, bridge_ports},
    namespace::{self, Namespace},
    neighbour,
    tap::Tap,
    udp::{BindError, DhcpSocket, Via},
};
use tokio::time::timeout;

const LLDP: u16 = 0x88cc;
const MACHINE: MacAddr = MacAddr([0x02, 0, 0, 0, 0x01, 0x01]);
const OTHER: MacAddr = MacAddr([0x02, 0, 0, 0, 0x01, 0x02]);
/// Long enough for a loaded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

fn frame(destination: MacAddr, source: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [destination.0, source.0].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens")
}

#[test]
fn interfaces_are_told_by_name() {
    namespace::test(|| async {
        namespace::cable(["port1", "eth0"], [None, Some(MACHINE)]).await.unwrap();
        namespace::address("eth0", "10.77.0.5/24".parse().unwrap()).await.unwrap();
        let eth0 = Interface::named("eth0").unwrap();
        assert_eq!(eth0.mac, Some(MACHINE));
        assert_eq!(eth0.addresses, ["10.77.0.5/24".parse().unwrap()]);
        assert!(eth0.up && eth0.index > 0);
        assert_eq!(Interface::named("lo").unwrap().mac, None);

        let error = Interface::named("eno1").unwrap_err();
        let InterfaceError::Missing { name, existing } = &error else { panic!("{error:?}") };
        assert_eq!(name, "eno1");
        assert!(
            existing.contains(&"port1".to_owned()) && existing.contains(&"eth0".to_owned()),
            "{existing:?}"
        );
        assert!(error.to_string().contains("there is no network interface \"eno1\""), "{error}");
    })
    .unwrap();
}

#[test]
fn a_bridge_lists_its_ports() {
    namespace::test(|| async {
        namespace::cable(["p1", "m1"], [None, None]).await.unwrap();
        namespace::cable(["p2", "m2"], [None, None]).await.unwrap();
        namespace::bridge("br0", &["p1", "p2"]).await.unwrap();
        let names: Vec<String> =
            bridge_ports("br0").await.unwrap().into_iter().map(|port| port.name).collect();
        assert_eq!(names, ["p1", "p2"]);
        assert!(matches!(bridge_ports("p1").await, Err(InterfaceError::NotABridge { .. })));
        assert!(matches!(bridge_ports("br1").await, Err(InterfaceError::Missing { .. })));
    })
    .unwrap();
}

#[test]
fn frames_of_the_type_arrive_and_own_ones_do_not() {
    namespace::test(|| async {
        namespace::cable(["port1", "eth0"], [None, Some(MACHINE)]).await.unwrap();
        let port = FrameSocket::open("port1", LLDP, &LLDP_GROUPS).unwrap();
        let machine = FrameSocket::sender("eth0").unwrap();
        // another type, then the port's own frame: neither may come before the one that counts
        machine.send(&frame(LLDP_GROUPS[0], MACHINE, 0x88b5, b"other")).await.unwrap();
        port.send(&frame(LLDP_GROUPS[0], OTHER, LLDP, b"own")).await.unwrap();
        let sent = frame(LLDP_GROUPS[0], MACHINE, LLDP, b"hello");
        machine.send(&sent).await.unwrap();
        assert_eq!(soon(port.recv()).await.unwrap(), sent);
    })
    .unwrap();
}

#[test]
fn of_all_that_is_sent_only_datagrams_to_the_port_are_heard() {
    namespace::test(|| async {
        namespace::cable(["port1", "eth0"], [None, Some(MACHINE)]).await.unwrap();
        let port = FrameSocket::open("port1", 0x0800, &[]).unwrap();
        port.only_udp_to(68).unwrap();
        let machine = FrameSocket::sender("eth0").unwrap();
        // an IPv4 header of so many words, of a protocol, and where the fragment begins
        let datagram = |words: u8, protocol: u8, fragment: u8, to: u16| {
            let mut ip = vec![0x40 | words, 0, 0, 0, 0, 0, 0, fragment, 64, protocol];
            ip.resize(usize::from(words) * 4, 0);
            ip.extend([0, 67]);
            ip.extend(to.to_be_bytes());
            frame(OTHER, MACHINE, 0x0800, &[&ip[..], &[0, 8, 0, 0, words]].concat())
        };
        let unwanted = [
            datagram(5, 17, 0, 67),
            datagram(5, 6, 0, 68),
            datagram(5, 17, 1, 68),
            datagram(6, 17, 0, 69),
            frame(OTHER, MACHINE, 0x0800, &[0x45]),
        ];
        for unwanted in &unwanted {
            machine.send(unwanted).await.unwrap();
        }
        for words in [5, 6] {
            let wanted = datagram(words, 17, 0, 68);
            machine.send(&wanted).await.unwrap();
            assert_eq!(soon(port.recv()).await.unwrap(), wanted);
        }
    })
    .unwrap();
}

#[test]
fn lldp_reaches_the_port_of_a_bridge_but_not_its_neighbours() {
    namespace::test(|| async {
        namespace::cable(["p1", "m1"], [None, Some(MACHINE)]).await.unwrap();
        namespace::cable(["p2", "m2"], [None, Some(OTHER)]).await.unwrap();
        namespace::bridge("br0", &["p1", "p2"]).await.unwrap();
        let [p1, p2] = ["p1", "p2"].map(|port| FrameSocket::open(port, LLDP, &LLDP_GROUPS).unwrap());
        let [m1, m2] = ["m1", "m2"].map(|machine| FrameSocket::open(machine, LLDP, &LLDP_GROUPS).unwrap());
        for (machine, port, mac) in [(&m1, &p1, MACHINE), (&m2, &p2, OTHER)] {
            let sent = frame(LLDP_GROUPS[0], mac, LLDP, b"hello");
            machine.send(&sent).await.unwrap();
            // each port hears its own machine first, so nothing of the other one crossed the bridge
            assert_eq!(soon(port.recv()).await.unwrap(), sent);
        }
    })
    .unwrap();
}

#[test]
fn an_interface_that_goes_down_is_reported_and_comes_back() {
    namespace::test(|| async {
        namespace::cable(["port1", "eth0"], [None, Some(MACHINE)]).await.unwrap();
        let port = FrameSocket::open("port1", LLDP, &LLDP_GROUPS).unwrap();
        namespace::down("port1").await.unwrap();
        let error = soon(port.recv()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkDown);
        namespace::up("port1").await.unwrap();
        soon(namespace::carrier("eth0")).await.unwrap();
        let sent = frame(LLDP_GROUPS[0], MACHINE, LLDP, b"hello");
        FrameSocket::sender("eth0").unwrap().send(&sent).await.unwrap();
        assert_eq!(soon(port.recv()).await.unwrap(), sent);
    })
    .unwrap();
}

/// A client machine at the other end of the cable `lan`, whose interface `eth0` has no address yet.
async fn machine_behind_lan() -> Namespace {
    namespace::cable(["lan", "eth0"], [None, Some(MACHINE)]).await.unwrap();
    namespace::address("lan", "10.77.0.1/24".parse().unwrap()).await.unwrap();
    let machine = Namespace::create().unwrap();
    machine.take("eth0").await.unwrap();
    inside(&machine, || async { namespace::up("eth0").await.unwrap() }).await;
    soon(namespace::carrier("lan")).await.unwrap();
    inside(&machine, || async { namespace::carrier("eth0").await.unwrap() }).await;
    machine
}

/// Runs something in another namespace, while this one goes on.
async fn inside<F: Future<Output = T>, T: Send + 'static>(
    namespace: &Namespace,
    body: impl FnOnce() -> F + Send + 'static,
) -> T {
    let running = namespace.spawn(body).unwrap();
    tokio::task::spawn_blocking(|| running.join().unwrap().unwrap()).await.unwrap()
}

/// What DHCP lives on: a client without an address broadcasts, the answer leaves by the same interface.
#[test]
fn a_broadcast_without_an_address_is_answered_on_its_interface() {
    namespace::test(|| async {
        let machine = machine_behind_lan().await;
        let mut server = DhcpSocket::bind(67, Some("lan")).unwrap();
        let client = inside(&machine, || async {
            // a socket bound before the broadcast cannot miss the answer
            let client = std::net::UdpSocket::bind("0.0.0.0:68").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let sender = DhcpSocket::bind(0, Some("eth0")).unwrap();
            let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
            let via = Via { interface: Interface::named("eth0").unwrap().index, source: None };
            sender.send_to(b"discover", everybody, via).await.unwrap();
            client
        });
        let (client, asked) = tokio::join!(client, soon(server.recv()));
        let asked = asked.unwrap();
        assert_eq!(asked.payload, b"discover");
        assert_eq!(asked.interface, Interface::named("lan").unwrap().index);
        assert_eq!((asked.source.ip(), asked.destination), (&Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST));

        let ours = Ipv4Addr::new(10, 77, 0, 1);
        let via = Via { interface: asked.interface, source: Some(ours) };
        server.send_to(b"offer", SocketAddrV4::new(Ipv4Addr::BROADCAST, 68), via).await.unwrap();
        let answered = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 64];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            (buffer[..length].to_vec(), from)
        });
        assert_eq!(answered.await.unwrap(), (b"offer".to_vec(), "10.77.0.1:67".parse().unwrap()));
    })
    .unwrap();
}

/// Each of two networks has its socket on the same port and hears only its own clients.
#[test]
fn two_networks_share_the_port() {
    namespace::test(|| async {
        namespace::cable(["lan", "eth0"], [None, None]).await.unwrap();
        namespace::address("lan", "10.77.0.1/24".parse().unwrap()).await.unwrap();
        let _lan = DhcpSocket::bind(67, Some("lan")).unwrap();
        let mut lo = DhcpSocket::bind(67, Some("lo")).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"hello", "127.9.9.9:67").unwrap();
        let heard = soon(lo.recv()).await.unwrap();
        assert_eq!((heard.payload, heard.local), (b"hello".to_vec(), Ipv4Addr::new(127, 9, 9, 9)));
        assert_eq!(heard.interface, Interface::named("lo").unwrap().index);
    })
    .unwrap();
}

#[test]
fn sockets_say_what_hinders_them() {
    namespace::test(|| async {
        let error = DhcpSocket::bind(67, Some("eno1")).unwrap_err();
        assert!(matches!(error, BindError::Interface(InterfaceError::Missing { .. })), "{error:?}");
        let taken = std::net::UdpSocket::bind("0.0.0.0:67").unwrap();
        assert!(matches!(DhcpSocket::bind(67, None), Err(BindError::InUse { port: 67 })));
        drop(taken);
        DhcpSocket::bind(67, None).unwrap();
    })
    .unwrap();
}

async fn until(watch: &mut Watch, wanted: impl Fn(&Event) -> bool) -> Event {
    soon(async {
        loop {
            let event = watch.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

#[test]
fn a_bridge_tells_where_an_address_was_heard_and_that_it_moved() {
    namespace::test(|| async {
        namespace::cable(["p1", "m1"], [None, Some(MACHINE)]).await.unwrap();
        namespace::cable(["p2", "m2"], [None, Some(OTHER)]).await.unwrap();
        namespace::bridge("br0", &["p1", "p2"]).await.unwrap();
        let [p1, p2] = ["p1", "p2"].map(|port| Interface::named(port).unwrap().index);
        let mut watch = Watch::open("br0").await.unwrap();
        assert_eq!(watch.port_name(p2), Some("p2"));

        let [m1, m2] = ["m1", "m2"].map(|machine| FrameSocket::sender(machine).unwrap());
        // not a name that any kernel code sends from by itself
        let heard = MacAddr([0x02, 0, 0, 0, 0x09, 0x09]);
        let hello = frame(MacAddr([0xff; 6]), heard, 0x88b5, b"hello");
        m1.send(&hello).await.unwrap();
        let learned = |port: u32| {
            move |event: &Event| matches!(event, Event::Learned(entry) if entry.mac == heard && entry.port == port)
        };
        until(&mut watch, learned(p1)).await;
        let entries = watch.entries().await.unwrap();
        let entry = entries.iter().find(|entry| entry.mac == heard).unwrap();
        assert_eq!((entry.port, entry.vlan), (p1, None));
        assert!(entry.idle < PATIENCE, "{:?}", entry.idle);
        // the ports' own addresses are in the table too, as permanent entries
        let own = Interface::named("p1").unwrap().mac.unwrap();
        assert!(entries.iter().all(|entry| entry.mac != own), "{entries:?}");

        m2.send(&hello).await.unwrap();
        until(&mut watch, learned(p2)).await;

        namespace::down("m2").await.unwrap();
        let gone = until(&mut watch, |event| matches!(event, Event::Port(port) if port.index == p2)).await;
        assert!(matches!(gone, Event::Port(port) if !port.running));
        until(&mut watch, |event| matches!(event, Event::Forgotten(entry) if entry.mac == heard)).await;
        assert!(watch.entries().await.unwrap().iter().all(|entry| entry.mac != heard));

        namespace::release("p2").await.unwrap();
        until(&mut watch, |event| matches!(event, Event::PortRemoved(port) if port.name == "p2")).await;
        assert_eq!(watch.port_name(p2), None);
    })
    .unwrap();
}

#[test]
fn an_address_in_use_is_found_and_a_free_one_is_not() {
    namespace::test(|| async {
        let machine = machine_behind_lan().await;
        inside(&machine, || async {
            namespace::address("eth0", "10.77.0.9/24".parse().unwrap()).await.unwrap();
        })
        .await;
        let used = arp::probe("lan", Ipv4Addr::new(10, 77, 0, 9), PATIENCE).await.unwrap();
        assert_eq!(used, Some(MACHINE));
        let own = arp::probe("lan", Ipv4Addr::new(10, 77, 0, 1), PATIENCE).await.unwrap();
        assert_eq!(own, Interface::named("lan").unwrap().mac);
        let free = arp::probe("lan", Ipv4Addr::new(10, 77, 0, 77), Duration::from_millis(300)).await.unwrap();
        assert_eq!(free, None);

        namespace::down("lan").await.unwrap();
        let asked = arp::probe("lan", Ipv4Addr::new(10, 77, 0, 9), PATIENCE).await;
        assert!(matches!(asked, Err(arp::ProbeError::Down { .. })), "{asked:?}");
    })
    .unwrap();
}

#[test]
fn a_program_is_the_far_end_of_a_port() {
    namespace::test(|| async {
        let tap = Tap::open("t1").unwrap();
        namespace::up("t1").await.unwrap();
        let port = FrameSocket::open("t1", 0x88cc, &[]).unwrap();
        let frame = |last: u8| {
            let mut frame = vec![0xff; 12];
            frame.extend([0x88, 0xcc, 1, 2, 3, last]);
            frame.resize(60, 0);
            frame
        };
        tap.send(&frame(1)).await.unwrap();
        assert_eq!(soon(port.recv()).await.unwrap(), frame(1));
        port.send(&frame(2)).await.unwrap();
        // the kernel says something of its own, too
        let heard = soon(async {
            loop {
                let heard = tap.recv().await.unwrap();
                if heard.get(12..14) == Some(&[0x88, 0xcc]) {
                    return heard;
                }
            }
        });
        assert_eq!(heard.await, frame(2));
        assert!(Tap::open("a-name-that-is-too-long").is_err());
    })
    .unwrap();
}

#[test]
fn who_has_talked_to_us_is_known_by_its_ethernet_address() {
    namespace::test(|| async {
        let machine = machine_behind_lan().await;
        let theirs = Ipv4Addr::new(10, 77, 0, 9);
        assert_eq!(neighbour::mac_of(theirs.into()).await.unwrap(), None);
        let server = tokio::net::TcpListener::bind("10.77.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let client = inside(&machine, move || async move {
            namespace::address("eth0", "10.77.0.9/24".parse().unwrap()).await.unwrap();
            std::net::TcpStream::connect_timeout(&address, PATIENCE).unwrap()
        });
        let (_client, asked) = tokio::join!(client, soon(server.accept()));
        assert_eq!(asked.unwrap().1.ip(), theirs);
        assert_eq!(neighbour::mac_of(theirs.into()).await.unwrap(), Some(MACHINE));
        assert_eq!(neighbour::mac_of("10.77.0.10".parse().unwrap()).await.unwrap(), None);
        assert_eq!(neighbour::mac_of("fd77::9".parse().unwrap()).await.unwrap(), None);
    })
    .unwrap();
}

/// A machine in a dead one's place has its address at once; the kernel would send to the dead one for many seconds.
#[test]
fn an_address_that_another_machine_took_over_is_found_where_it_is_now() {
    namespace::test(|| async {
        let theirs = Ipv4Addr::new(10, 77, 0, 9);
        let machine = machine_behind_lan().await;
        inside(&machine, || async {
            namespace::address("eth0", "10.77.0.9/24".parse().unwrap()).await.unwrap();
        })
        .await;
        // the dead one, as certain as the kernel can be
        namespace::neighbour("lan", theirs, OTHER).await.unwrap();
        assert_eq!(neighbour::mac_of(theirs.into()).await.unwrap(), Some(OTHER));
        soon(async {
            while neighbour::mac_of(theirs.into()).await.unwrap() != Some(MACHINE) {
                assert!(arp::ask("lan", theirs).await.unwrap());
            }
        })
        .await;
        // what is behind a router has no Ethernet address here
        assert!(!arp::ask("lan", Ipv4Addr::new(10, 78, 0, 9)).await.unwrap());
    })
    .unwrap();
}

/// Somebody who is not read for a while loses nothing of a burst, and what is lost after all is counted.
#[test]
fn frames_wait_for_a_busy_reader() {
    namespace::test(|| async {
        namespace::cable(["port1", "eth0"], [None, Some(MACHINE)]).await.unwrap();
        let port = FrameSocket::open("port1", LLDP, &LLDP_GROUPS).unwrap();
        let machine = FrameSocket::sender("eth0").unwrap();
        let sent = frame(LLDP_GROUPS[0], MACHINE, LLDP, b"hello");
        const BURST: usize = 400;
        for _ in 0..BURST {
            machine.send(&sent).await.unwrap();
        }
        for _ in 0..BURST {
            assert_eq!(soon(port.recv()).await.unwrap(), sent);
        }
        assert_eq!(port.lost().unwrap(), 0);
        // far more than any queue of this length holds
        for _ in 0..40_000 {
            machine.send(&sent).await.unwrap();
        }
        assert!(port.lost().unwrap() > 0);
        assert_eq!(port.lost().unwrap(), 0, "told once");
    })
    .unwrap();
}
