//! A bridge with virtual machines' cables: what its ports hear arrives as sightings, and identifies the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hardware::{ChassisId, MacAddr, PortId};
use identity::{Attestor, Decision, Marks, Sighting, Sightings, Slot, Slots, Source, decide};
use lldp::{Announcement, Frame};
use net::{frame::FrameSocket, namespace};
use serve::{
    capture::{Capture, LocalSwitch},
    counters::Counters,
    forwarding::Forwarding,
};
use tokio::{
    sync::mpsc::{self, Receiver},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const MACHINE: MacAddr = MacAddr([0x02, 0, 0, 0, 0x01, 0x01]);
const OTHER: MacAddr = MacAddr([0x02, 0, 0, 0, 0x01, 0x02]);
/// Long enough for a loaded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two machines on ports p1 and p2 of br0.
async fn rack() {
    namespace::cable(["p1", "m1"], [None, Some(MACHINE)]).await.unwrap();
    namespace::cable(["p2", "m2"], [None, Some(OTHER)]).await.unwrap();
    namespace::bridge("br0", &["p1", "p2"]).await.unwrap();
}

fn switch() -> LocalSwitch {
    let ports = [("Eth1/1", "p1"), ("Eth1/2", "p2")].map(|(port, on)| (port.to_owned(), on.to_owned()));
    LocalSwitch { name: "sw1".to_owned(), bridge: Some("br0".to_owned()), ports: BTreeMap::from(ports) }
}

fn announcement(mac: MacAddr, ttl: u16) -> Vec<u8> {
    let chassis = ChassisId { subtype: 4, id: mac.0.to_vec() };
    let port = PortId { subtype: 5, id: b"eth0".to_vec() };
    let mut announcement = Announcement::new(chassis, port, ttl);
    announcement.system_name = Some("mini01".to_owned());
    Frame { destination: lldp::NEAREST_BRIDGE, source: mac, vlan: None, announcement }.build()
}

/// Any frame: what a bridge learns from.
fn hello(mac: MacAddr) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &mac.0, &[0x88, 0xb5]].concat();
    frame.resize(60, 0);
    frame
}

/// The next sighting that is asked for; the kernel's own chatter on the cables is sighted too.
async fn next(sightings: &mut Receiver<Sighting>, wanted: impl Fn(&Sighting) -> bool) -> Sighting {
    let found = async {
        loop {
            let sighting = sightings.recv().await.expect("somebody still sends");
            if wanted(&sighting) {
                return sighting;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("it is seen")
}

#[test]
fn lldp_on_a_port_is_a_sighting_for_as_long_as_it_says() {
    namespace::test(|| async {
        rack().await;
        let counters = Arc::new(Counters::default());
        let capture = Capture::open(switch(), Arc::clone(&counters)).await.unwrap();
        let (sender, mut sightings) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let running = tokio::spawn(capture.run(sender, stop.clone()));

        let machine = FrameSocket::sender("m2").unwrap();
        let mut broken = announcement(OTHER, 120);
        broken[14] = 0x7f;
        machine.send(&broken).await.unwrap();
        machine.send(&announcement(OTHER, 120)).await.unwrap();
        let seen = next(&mut sightings, |_| true).await;
        assert_eq!((seen.source, seen.attestor), (Source::Lldp, Attestor::Daemon));
        assert_eq!(seen.port.unwrap().to_string(), "sw1/Eth1/2");
        assert_eq!((seen.machine, seen.nic), (Marks::of_mac(OTHER), Some(OTHER)));
        assert_eq!(seen.lifetime, Duration::from_secs(120));
        assert!(seen.raw.contains("\"mini01\""), "{}", seen.raw);
        assert_eq!((counters.get("lldp", "frames"), counters.get("lldp", "malformed")), (2, 1));

        machine.send(&announcement(OTHER, 0)).await.unwrap();
        let gone = next(&mut sightings, |_| true).await;
        assert_eq!((gone.nic, gone.lifetime), (Some(OTHER), Duration::ZERO));

        stop.cancel();
        timeout(PATIENCE, running).await.expect("it stops").unwrap();
        assert!(sightings.recv().await.is_none());
    })
    .unwrap();
}

#[test]
fn a_port_that_is_deleted_and_made_anew_is_heard_again() {
    namespace::test(|| async {
        rack().await;
        let capture = Capture::open(switch(), Arc::default()).await.unwrap();
        let (sender, mut sightings) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let running = tokio::spawn(capture.run(sender, stop.clone()));
        namespace::delete("p1").await.unwrap();
        namespace::cable(["p1", "m1"], [None, Some(MACHINE)]).await.unwrap();
        let machine = FrameSocket::sender("m1").unwrap();
        // nobody listens until the new interface was found
        let seen = async {
            loop {
                machine.send(&announcement(MACHINE, 120)).await.unwrap();
                if let Ok(seen) = timeout(Duration::from_millis(50), sightings.recv()).await {
                    return seen.unwrap();
                }
            }
        };
        let seen = timeout(PATIENCE, seen).await.expect("it is seen");
        assert_eq!(seen.port.unwrap().to_string(), "sw1/Eth1/1");
        stop.cancel();
        timeout(PATIENCE, running).await.expect("it stops").unwrap();
    })
    .unwrap();
}

/// A hypervisor's taps come and go; none is listed.
#[test]
fn ports_that_nobody_lists_are_heard_under_their_own_names() {
    namespace::test(|| async {
        namespace::bridge("br0", &[]).await.unwrap();
        let switch = LocalSwitch { ports: BTreeMap::new(), ..switch() };
        let capture = Capture::open(switch, Arc::default()).await.unwrap();
        let (sender, mut sightings) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let running = tokio::spawn(capture.run(sender, stop.clone()));
        namespace::cable(["tap7", "m7"], [None, Some(MACHINE)]).await.unwrap();
        namespace::attach("tap7", "br0").await.unwrap();
        let machine = FrameSocket::sender("m7").unwrap();
        let seen = async {
            loop {
                machine.send(&announcement(MACHINE, 120)).await.unwrap();
                if let Ok(seen) = timeout(Duration::from_millis(50), sightings.recv()).await {
                    return seen.unwrap();
                }
            }
        };
        let seen = timeout(PATIENCE, seen).await.expect("it is seen");
        assert_eq!(seen.port.unwrap().to_string(), "sw1/tap7");
        stop.cancel();
        timeout(PATIENCE, running).await.expect("it stops").unwrap();
    })
    .unwrap();
}

#[test]
fn any_frame_names_the_port_and_decides_the_slot() {
    namespace::test(|| async {
        rack().await;
        // heard before the daemon starts
        FrameSocket::sender("m1").unwrap().send(&hello(MACHINE)).await.unwrap();
        let forwarding = Forwarding::open(switch()).await.unwrap().expect("the switch has a bridge");
        let (sender, mut sightings) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let running = tokio::spawn(forwarding.run(sender, stop.clone()));
        let first = next(&mut sightings, |seen| seen.nic == Some(MACHINE)).await;
        assert_eq!((first.source, first.attestor), (Source::ForwardingTable, Attestor::Daemon));

        let slots = [("mini01", "sw1/Ethernet1/1"), ("mini02", "sw1/Ethernet1/2")].map(|(name, port)| Slot {
            name: name.to_owned(),
            ports: vec![port.parse().unwrap()],
            ..Slot::default()
        });
        let slots = Slots::plain(slots.into());
        let mut table = Sightings::default();
        let now = first.at;
        table.record(first);
        let decision = decide(&slots, &table, &Marks::of_mac(MACHINE), now);
        let Decision::Identified { slot, attested, .. } = decision else { panic!("{decision:?}") };
        assert_eq!((slot.as_str(), attested), ("mini01", true));

        // the cable is moved: port 1 loses its link, and the machine is heard on port 2
        namespace::down("m1").await.unwrap();
        let emptied = next(&mut sightings, |seen| seen.machine.is_empty()).await;
        assert_eq!(emptied.port.as_ref().unwrap().to_string(), "sw1/Eth1/1");
        table.record(emptied);
        assert!(matches!(decide(&slots, &table, &Marks::of_mac(MACHINE), now), Decision::Unknown { .. }));
        FrameSocket::sender("m2").unwrap().send(&hello(MACHINE)).await.unwrap();
        let moved = next(&mut sightings, |seen| seen.nic == Some(MACHINE) && !seen.lifetime.is_zero()).await;
        let now = moved.at;
        table.record(moved);
        let decision = decide(&slots, &table, &Marks::of_mac(MACHINE), now);
        assert!(matches!(&decision, Decision::Identified { slot, .. } if slot == "mini02"), "{decision:?}");

        stop.cancel();
        timeout(PATIENCE, running).await.expect("it stops").unwrap();
    })
    .unwrap();
}

#[test]
fn tasks_end_when_nobody_takes_sightings() {
    namespace::test(|| async {
        rack().await;
        let capture = Capture::open(switch(), Arc::default()).await.unwrap();
        let forwarding = Forwarding::open(switch()).await.unwrap().unwrap();
        let (sender, sightings) = mpsc::channel(1);
        drop(sightings);
        let stop = CancellationToken::new();
        let running = tokio::spawn(forwarding.run(sender.clone(), stop.clone()));
        FrameSocket::sender("m1").unwrap().send(&hello(MACHINE)).await.unwrap();
        timeout(PATIENCE, running).await.expect("it ends").unwrap();
        let running = tokio::spawn(capture.run(sender, stop));
        for machine in ["m1", "m2"] {
            FrameSocket::sender(machine).unwrap().send(&announcement(MACHINE, 120)).await.unwrap();
        }
        timeout(PATIENCE, running).await.expect("it ends").unwrap();
    })
    .unwrap();
}

#[test]
fn a_switch_without_a_bridge_has_no_table_and_a_wrong_bridge_is_named() {
    namespace::test(|| async {
        let without = LocalSwitch { bridge: None, ..switch() };
        assert!(Forwarding::open(without).await.unwrap().is_none());
        let Err(error) = Forwarding::open(switch()).await else { panic!("there is no br0") };
        assert!(error.to_string().contains("no network interface \"br0\""), "{error}");
    })
    .unwrap();
}
