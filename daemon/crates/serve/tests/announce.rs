//! What the switch at the other end of the cable hears of the daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{net::IpAddr, time::Duration};

use hardware::{MacAddr, PortId};
use lldp::{Capabilities, Frame};
use net::{
    frame::{FrameSocket, LLDP_GROUPS},
    namespace,
};
use serve::announce::Announce;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const HOST: MacAddr = MacAddr([2, 0, 0, 0, 7, 1]);
/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_switch_hears_who_is_there_and_when_it_goes() {
    namespace::test(|| async {
        namespace::cable(["port", "uplink"], [None, Some(HOST)]).await.unwrap();
        namespace::address("uplink", "10.77.0.1/24".parse().unwrap()).await.unwrap();
        let port = FrameSocket::open("port", lldp::ETHERTYPE, &LLDP_GROUPS).unwrap();
        let next = async || {
            let frame = timeout(PATIENCE, port.recv()).await.expect("in time").unwrap();
            Frame::parse(&frame).unwrap()
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(Announce::open("uplink").unwrap().run(stop.clone()));

        let first = next().await;
        assert_eq!(first.source, HOST);
        let said = first.announcement;
        assert_eq!(said.ttl, 120);
        assert_eq!(said.chassis.id, HOST.0);
        assert_eq!(said.port, PortId { subtype: 5, id: b"uplink".to_vec() });
        assert_eq!(said.management[0].ip(), Some(IpAddr::from([10, 77, 0, 1])));
        assert!(said.system_description.unwrap().starts_with("ichord "));
        let can = said.capabilities.unwrap();
        assert!(
            can.does(Capabilities::STATION) && !can.does(Capabilities::BRIDGE),
            "nobody takes it for a switch"
        );
        // a switch that lost the first one need not wait for half a minute
        assert_eq!(next().await.announcement.chassis, said.chassis);

        stop.cancel();
        running.await.unwrap();
        let last = loop {
            let last = next().await.announcement;
            if last.ttl == 0 {
                break last;
            }
        };
        assert_eq!((last.chassis, last.port), (said.chassis, said.port));
    })
    .unwrap();
}
