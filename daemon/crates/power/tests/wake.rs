//! Wake-on-LAN on a wire: which card the packet leaves by, and what arrives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{net::Ipv4Addr, time::Duration};

use hardware::MacAddr;
use net::{frame::FrameSocket, namespace};
use power::{Action, Ask, Means, Pins, PowerError, Wire, act, packet};
use tokio::time::timeout;

const ASLEEP: MacAddr = MacAddr([0x64, 0x4b, 0xf0, 0, 0, 3]);
const IPV4: u16 = 0x0800;
/// Long enough for a loaded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_packet_leaves_by_the_card_of_the_machines_network() {
    namespace::test(|| async {
        namespace::cable(["right", "port1"], [None, None]).await.unwrap();
        namespace::cable(["wrong", "port2"], [None, None]).await.unwrap();
        // by the routes it would leave there
        namespace::address("wrong", "10.77.0.5/24".parse().unwrap()).await.unwrap();
        namespace::address("right", "10.78.0.5/24".parse().unwrap()).await.unwrap();
        let here = FrameSocket::open("port1", IPV4, &[]).unwrap();
        let there = FrameSocket::open("port2", IPV4, &[]).unwrap();
        let wire = |interface: &str| Wire { interface: interface.into(), broadcast: Ipv4Addr::BROADCAST };
        let ask = Ask {
            node: "mini03".into(),
            port: None,
            macs: vec![ASLEEP],
            action: Action::On,
            network_boot: true,
        };
        let pins = Pins::at("/nonexistent".into());
        let done = act(&Means::WakeOnLan(vec![wire("right")]), &pins, &ask).await.unwrap();
        assert!(done.summary.contains("right") && done.summary.contains("64:4b:f0:00:00:03"), "{done:?}");
        let woken = async {
            loop {
                let frame = here.recv().await.unwrap();
                // the packet is for everybody, and is all that the datagram has
                if frame.len() >= 102 && frame[frame.len() - 102..] == packet(ASLEEP) {
                    return frame[..6].to_vec();
                }
            }
        };
        assert_eq!(timeout(PATIENCE, woken).await.expect("it arrives"), [0xff; 6]);
        let other = timeout(Duration::ZERO, there.recv()).await;
        assert!(other.is_err(), "nobody else hears it");

        let gone = act(&Means::WakeOnLan(vec![wire("gone")]), &pins, &ask).await;
        assert!(matches!(gone, Err(PowerError::Send { .. })), "{gone:?}");
    })
    .unwrap();
}
