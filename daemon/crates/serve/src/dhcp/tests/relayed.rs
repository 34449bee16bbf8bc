//! What relays pass on.

use super::*;

/// A REQUEST or DISCOVER as a relay at 10.9.0.1 passes it on.
fn relayed(bytes: &[u8], information: &[u8]) -> Vec<u8> {
    let mut packet = Packet::parse(bytes).unwrap();
    packet.giaddr = Ipv4Addr::new(10, 9, 0, 1);
    packet.hops = 1;
    packet.options.set_raw(OptionCode::RelayAgentInformation, information);
    packet.to_bytes()
}

/// Pool addresses of the network behind the relay.
fn behind(last: u8) -> Vec<Config> {
    let behind = Config {
        subnet: "10.9.0.0/24".parse().unwrap(),
        relayed: true,
        pool: Some(Ipv4Addr::new(10, 9, 0, 100)..=Ipv4Addr::new(10, 9, 0, last)),
        ..config(Mode::Authoritative)
    };
    vec![config(Mode::Authoritative), behind]
}

/// The relay's end of the cable, with its addresses.
async fn relay_socket() -> DhcpSocket {
    namespace::up("cli").await.unwrap();
    for address in ["10.77.0.200/24", "10.9.0.1/32"] {
        namespace::address("cli", address.parse().unwrap()).await.unwrap();
    }
    namespace::carrier("cli").await.unwrap();
    DhcpSocket::bind(SERVER_PORT, Some("cli")).unwrap()
}

#[test]
fn a_relay_gets_the_answers_for_its_own_network_and_its_option_82_is_kept() {
    namespace::test(|| async {
        let mut stand = Stand::start_with(behind(110)).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let relay = there.spawn(|| async {
            let mut socket = relay_socket().await;
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
fn all_machines_of_a_rack_behind_a_relay_are_answered() {
    const MACHINES: u8 = 60;
    namespace::test(|| async {
        let stand = Stand::start_with(behind(200)).await;
        let there = Namespace::create().unwrap();
        there.take("cli").await.unwrap();
        let relay = there.spawn(|| async {
            let mut socket = relay_socket().await;
            let (to, via) = (SocketAddrV4::new(SERVER, SERVER_PORT), Via::default());
            let mut offered = BTreeMap::new();
            while offered.len() < usize::from(MACHINES) {
                for machine in (0..MACHINES).filter(|machine| !offered.contains_key(machine)) {
                    let mut discover =
                        Packet::parse(&relayed(&capture("ovmf-pxe-discover"), &[1, 1, 7])).unwrap();
                    discover.xid = u32::from(machine);
                    discover.chaddr[5] = machine;
                    socket.send_to(&discover.to_bytes(), to, via).await.unwrap();
                }
                // a cable just laid may lose the first
                while let Ok(heard) = timeout(Duration::from_secs(1), socket.recv()).await {
                    let offer = Packet::parse(&heard.unwrap().payload).unwrap();
                    offered.insert(u8::try_from(offer.xid).unwrap(), offer.yiaddr);
                    if offered.len() == usize::from(MACHINES) {
                        break;
                    }
                }
            }
            offered
        });
        namespace::address("srv", "10.9.0.254/24".parse().unwrap()).await.unwrap();
        let offered = tokio::task::spawn_blocking(|| relay.unwrap().join().unwrap().unwrap()).await.unwrap();
        let addresses: std::collections::BTreeSet<_> = offered.values().collect();
        assert_eq!(addresses.len(), usize::from(MACHINES), "{offered:?}");
        stand.stop().await;
    })
    .unwrap();
}
