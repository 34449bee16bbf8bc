//! Addresses that somebody may use already.

use super::*;

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
                sleep(Duration::from_millis(5)).await;
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
