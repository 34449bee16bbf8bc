//! The reconciler with a real store and a world that the test plays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use hardware::{Disk, Inventory, Link, MacAddr};
use identity::Marks;
use lifecycle::{ApplyOutcome, BootAnswer, Effect, Event, NodeName, Observation};
use reconciler::{BootQuestion, Checkpoints, Clock, DeployError, Handle, HighWater, Met, Reconciler, World};
use site::{Files, Site};
use store::Store;
use talos_api::LldpNeighbor;
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

struct Disks;

impl Files for Disks {
    fn read(&self, path: &Path) -> io::Result<String> {
        // known by a hardware address, so that no switch is needed
        let text = std::fs::read_to_string(path)?;
        Ok(text.replace("{ port: sw1/Eth1/1 }", "{ mac: \"02:00:00:00:00:01\" }"))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

fn site() -> Arc<Site> {
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../profiles/home-ops");
    let (site, _) = Site::load(&profile, &Disks, &BTreeMap::new()).expect("the example site has no faults");
    Arc::new(site.for_cluster("c1"))
}

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// A machine that waits in maintenance mode; whoever is told a config dies of it if the test says so.
#[derive(Default)]
struct Played {
    seen: Mutex<Vec<Effect>>,
    panics: bool,
    /// the card behind the address of a machine that was started from Talos's own ISO
    waits: Option<MacAddr>,
    /// what the switch says to it
    hears: Vec<LldpNeighbor>,
    /// how often somebody knocked
    knocks: watch::Sender<u32>,
}

impl Played {
    fn has_seen(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.seen.lock().unwrap().iter().any(wanted)
    }
}

fn inventory() -> Inventory {
    Inventory {
        links: vec![Link { name: "eth0".into(), mac: MAC, up: true }],
        disks: vec![Disk {
            dev_path: "/dev/nvme0n1".into(),
            model: "APPLE SSD AP0512M".into(),
            transport: "nvme".into(),
            size: 500_000_000_000,
            ..Disk::default()
        }],
        ..Inventory::default()
    }
}

impl World for Played {
    async fn meet(self: Arc<Self>, addresses: Vec<IpAddr>) -> Option<Met> {
        self.knocks.send_modify(|knocks| *knocks += 1);
        let neighbors = self.hears.clone();
        self.waits.map(|card| Met {
            address: addresses[0],
            card: Some(card),
            inventory: inventory(),
            neighbors,
        })
    }

    async fn carry_out(self: Arc<Self>, effect: Effect) -> Event {
        // a question at the start, which touches nobody
        if !matches!(effect, Effect::LookAround { .. }) {
            self.seen.lock().unwrap().push(effect.clone());
        }
        match effect {
            Effect::Observe { node, ticket, candidates } => {
                let observation = Observation::Maintenance {
                    address: candidates[0],
                    fingerprint: "f".into(),
                    boot_id: "b".into(),
                    inventory: inventory(),
                    contents: Vec::new(),
                };
                Event::Observed { node, ticket, observation }
            }
            Effect::Apply { .. } if self.panics => panic!("an effect that panics"),
            Effect::Apply { node, ticket, .. } => {
                Event::Applied { node, ticket, outcome: ApplyOutcome::Accepted }
            }
            // nobody runs yet
            Effect::LookAround { ticket, .. } => Event::LookedAround { ticket, nodes: Some(Vec::new()) },
            other => panic!("not expected: {other:?}"),
        }
    }
}

struct Running {
    handle: Handle,
    world: Arc<Played>,
    store: Store,
    stop: CancellationToken,
    task: JoinHandle<Result<(), reconciler::RunError>>,
}

impl Running {
    async fn start(path: &Path, world: Played) -> Self {
        Self::start_at(site(), path, world).await
    }

    async fn start_at(site: Arc<Site>, path: &Path, world: Played) -> Self {
        let store = Store::open(path).unwrap();
        let world = Arc::new(world);
        let (clock, checkpoints) = (Clock::system(), Checkpoints::none());
        let (reconciler, handle) =
            Reconciler::new(site, store.clone(), Arc::clone(&world), clock, checkpoints, HighWater::none())
                .await
                .unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(reconciler.run(stop.clone()));
        Self { handle, world, store, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Waits until a node's published state is this.
    async fn until(&self, node: &str, state: &str) {
        let mut published = self.handle.published();
        let reached = published.wait_for(|picture| picture.view.nodes[&NodeName::from(node)].state == state);
        timeout(Duration::from_secs(30), reached).await.expect("in time").unwrap();
    }
}

fn question() -> BootQuestion {
    BootQuestion {
        machine: Marks { macs: BTreeSet::from([MAC]), ..Marks::default() },
        from: IpAddr::from([172, 29, 51, 100]),
        attempt: 0,
        lldp: Vec::new(),
    }
}

#[tokio::test]
async fn an_answer_is_durable_when_it_arrives_and_the_next_life_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let running = Running::start(&path, Played::default()).await;
    assert!(
        matches!(running.handle.ask(question()).await.unwrap(), BootAnswer::Retry { .. }),
        "no permit yet"
    );

    let granted = running.handle.deploy(Some("mini01".into()), "ann".into()).await.unwrap();
    assert_eq!(granted, [NodeName::from("mini01")]);
    assert!(
        matches!(running.handle.ask(question()).await.unwrap(), BootAnswer::Deploy { node } if node.0 == "mini01")
    );
    let stored = running.store.get("node/mini01").await.unwrap().expect("stored before it was answered");
    assert_eq!(stored.value["state"], "deploying");
    running.until("mini01", "installing").await;
    let subjects = journal::tail(&running.store, 100).await.unwrap();
    assert!(subjects.iter().any(|record| record.entry.what.contains("claimed by")), "{subjects:?}");
    assert!(!running.handle.published().borrow().boot.known.is_empty(), "DHCP knows the machine");
    running.end().await;

    let again = Running::start(&path, Played::default()).await;
    again.until("mini01", "installing").await;
    assert!(!again.world.has_seen(|effect| matches!(effect, Effect::Apply { .. })), "it is not told again");
    again.end().await;
}

#[tokio::test]
async fn a_permit_that_would_have_no_effect_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&dir.path().join("state.db"), Played::default()).await;
    let unknown = running.handle.deploy(Some("mini09".into()), "ann".into()).await.unwrap_err();
    assert!(
        matches!(&unknown, DeployError::UnknownNode { known, .. } if known.contains("mini01")),
        "{unknown}"
    );
    let all = running.handle.deploy(None, "ann".into()).await.unwrap();
    assert_eq!(all.len(), 3);
    running.end().await;
}

#[tokio::test]
async fn an_effect_that_panics_is_an_effect_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let running =
        Running::start(&dir.path().join("state.db"), Played { panics: true, ..Played::default() }).await;
    running.handle.deploy(None, "ann".into()).await.unwrap();
    running.handle.ask(question()).await.unwrap();
    let mut published = running.handle.published();
    let told = published.wait_for(|picture| {
        let waiting = &picture.view.nodes[&NodeName::from("mini01")].waiting;
        waiting.as_ref().is_some_and(|reason| reason.contains("internal error"))
    });
    timeout(Duration::from_secs(30), told).await.expect("in time").unwrap();
    running.end().await;
}

#[tokio::test]
async fn questions_after_the_end_are_refused_and_do_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&dir.path().join("state.db"), Played::default()).await;
    let handle = running.handle.clone();
    running.end().await;
    assert!(handle.ask(question()).await.is_err());
    assert!(matches!(handle.deploy(None, "ann".into()).await, Err(DeployError::Stopped(_))));
}

/// The same site, its first node known by its switch port alone, its switch's word taken from machines.
fn site_by_port() -> Arc<Site> {
    site_on("sw1")
}

/// The same with another name for the switch.
fn site_on(switch: &'static str) -> Arc<Site> {
    struct On(&'static str);
    impl Files for On {
        fn read(&self, path: &Path) -> io::Result<String> {
            Ok(std::fs::read_to_string(path)?.replace("sw1/", &format!("{}/", self.0)))
        }

        fn exists(&self, path: &Path) -> bool {
            path.exists()
        }
    }
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../profiles/home-ops");
    let (site, _) =
        Site::load(&profile, &On(switch), &BTreeMap::new()).expect("the example site has no faults");
    Arc::new(site.for_cluster("c1"))
}

#[tokio::test]
async fn a_switch_that_the_site_calls_otherwise_is_told_until_the_site_follows() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start_at(site_on("sw1"), &dir.path().join("state.db"), Played::default()).await;
    running.handle.deploy(None, "ann".into()).await.unwrap();
    for number in 1..=2 {
        let nic = MacAddr([2, 0, 0, 0, 0, number]);
        let heard = boot::LldpReport {
            nic,
            chassis: None,
            port: Some(hardware::PortId { subtype: 5, id: format!("Ethernet1/{number}").into_bytes() }),
            system_name: Some("sw1".into()),
            port_description: None,
            forwards: Some(true),
            management: None,
        };
        let asks = BootQuestion { machine: Marks::of_mac(nic), lldp: vec![heard], ..question() };
        let answer = running.handle.ask(asks).await.unwrap();
        assert!(matches!(answer, BootAnswer::Deploy { .. }), "{answer:?}");
    }
    let displaced = || {
        let view = running.handle.published().borrow().view.clone();
        view.nodes.into_iter().map(|(name, node)| (name.0, node.port, node.displaced)).collect::<Vec<_>>()
    };
    let nobody = |name: &str, port: Option<&str>| (name.to_owned(), port.map(str::to_owned), None);
    let in_place =
        [nobody("mini01", Some("sw1/Eth1/1")), nobody("mini02", Some("sw1/Eth1/2")), nobody("mini03", None)];
    assert_eq!(displaced(), in_place);
    assert_eq!(running.handle.ports().await.unwrap().told, []);

    // as if the switch had got the name that it has now
    running.handle.reload(site_on("old")).await.unwrap();
    let ports = running.handle.ports().await.unwrap();
    let [told] = ports.told.as_slice() else { panic!("{ports:?}") };
    assert!(told.switch && told.what.contains("old is called sw1 now"), "{told:?}");
    assert!(told.what.contains("`ichord ports --rename-switch old=sw1 "), "{told:?}");
    assert_eq!(
        ports.displaced["mini02"].to_string(),
        "sw1/Ethernet1/2",
        "as the switch calls it, of which the site names no port"
    );
    for (name, _, words) in &displaced()[..2] {
        let words = words.as_deref().unwrap_or_default();
        assert!(words.contains(&format!("the machine of {name} is seen on sw1/")), "{words}");
        assert!(words.contains("`ichord ports --rename-switch old=sw1 "), "{words}");
    }
    assert_eq!(displaced()[2], nobody("mini03", None));

    running.handle.reload(site_on("sw1")).await.unwrap();
    assert_eq!(displaced(), in_place);
    let ports = running.handle.ports().await.unwrap();
    assert_eq!((ports.told.len(), ports.displaced.len()), (0, 0));
    running.end().await;
}

#[tokio::test]
async fn a_machine_whose_talos_hears_its_switch_port_is_the_node_of_that_port() {
    let hears = |port: &str| LldpNeighbor {
        link: "eth0".into(),
        chassis_id: "02:00:00:00:0a:01".into(),
        system_name: "sw1".into(),
        port_id: port.into(),
        port_description: String::new(),
        management: Vec::new(),
    };
    for (port, expected) in [("Ethernet1/1", "mini01"), ("Ethernet1/2", "mini02")] {
        let dir = tempfile::tempdir().unwrap();
        let world = Played { waits: Some(MAC), hears: vec![hears(port)], ..Played::default() };
        let running = Running::start_at(site_by_port(), &dir.path().join("state.db"), world).await;
        running.handle.locate(MAC, HERE).await.unwrap();
        let mut published = running.handle.published();
        let asks = published.wait_for(|picture| {
            let waiting = &picture.view.nodes[&NodeName::from(expected)].waiting;
            waiting.as_ref().is_some_and(|reason| reason.contains(&format!("ichord deploy {expected}")))
        });
        timeout(Duration::from_secs(30), asks).await.expect("in time").unwrap();
        let told = running.handle.explain(MAC.to_string()).await.unwrap();
        let words = format!("{told:?}");
        assert!(words.contains("eth0 hears chassis 02:00:00:00:0a:01"), "{words}");
        running.end().await;
    }
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 29, 51, 100));

#[tokio::test]
async fn a_machine_that_never_netbooted_and_waits_in_maintenance_mode_becomes_its_node() {
    let dir = tempfile::tempdir().unwrap();
    let world = Played { waits: Some(MAC), ..Played::default() };
    let running = Running::start(&dir.path().join("state.db"), world).await;
    running.handle.locate(MAC, HERE).await.unwrap();
    let mut published = running.handle.published();
    let asks = published.wait_for(|picture| {
        let waiting = &picture.view.nodes[&NodeName::from("mini01")].waiting;
        waiting.as_ref().is_some_and(|reason| reason.contains("ichord deploy mini01"))
    });
    timeout(Duration::from_secs(30), asks).await.expect("in time").unwrap();
    assert!(!running.world.has_seen(|_| true), "nothing is touched before somebody permits it");

    running.handle.deploy(Some("mini01".into()), "ann".into()).await.unwrap();
    running.until("mini01", "installing").await;
    running.end().await;
}

#[tokio::test]
async fn a_machine_that_says_to_be_another_one_than_its_card_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let liar = MacAddr([2, 0, 0, 0, 0, 66]);
    let world = Played { waits: Some(liar), ..Played::default() };
    let running = Running::start(&dir.path().join("state.db"), world).await;
    running.handle.deploy(None, "ann".into()).await.unwrap();
    let mut knocks = running.world.knocks.subscribe();
    // anybody can write into a DHCP request that the victim has his address
    running.handle.locate(MAC, HERE).await.unwrap();
    timeout(Duration::from_secs(30), knocks.wait_for(|knocks| *knocks >= 1)).await.expect("in time").unwrap();
    // granting again makes whoever waits be looked at once more, after the first knock's end was taken in
    running.handle.deploy(None, "ann".into()).await.unwrap();
    timeout(Duration::from_secs(30), knocks.wait_for(|knocks| *knocks >= 2)).await.expect("in time").unwrap();
    assert_eq!(running.handle.published().borrow().view.nodes[&NodeName::from("mini01")].state, "vacant");
    assert!(!running.world.has_seen(|_| true), "nobody gets a config");
    running.end().await;
}

#[tokio::test]
async fn a_machine_that_nobody_knows_is_known_after_its_own_report() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&dir.path().join("state.db"), Played::default()).await;
    let stranger = MacAddr([2, 0, 0, 0, 0, 9]);
    let asks = || BootQuestion { machine: Marks::of_mac(stranger), ..question() };
    assert!(matches!(running.handle.ask(asks()).await.unwrap(), BootAnswer::Identify { .. }));
    let heard = boot::LldpReport {
        nic: stranger,
        chassis: None,
        port: Some(hardware::PortId { subtype: 5, id: b"Ethernet1/2".to_vec() }),
        system_name: Some("sw1".into()),
        port_description: None,
        forwards: Some(true),
        management: None,
    };
    let disk = Disk {
        dev_path: "/dev/sda".into(),
        model: "SAMSUNG".into(),
        size: 480_000_000_000,
        ..Disk::default()
    };
    let inventory = Inventory {
        links: vec![Link { name: "eth0".into(), mac: stranger, up: true }],
        disks: vec![disk],
        ..Inventory::default()
    };
    let report = boot::discovery::Report { inventory, neighbours: vec![heard], ..Default::default() };
    running.handle.report(asks().from, report).await.unwrap();
    let answer = running.handle.ask(asks()).await.unwrap();
    assert!(
        matches!(&answer, BootAnswer::Retry { reason, .. } if reason.contains("ichord deploy mini02")),
        "{answer:?}"
    );
    let explained = running.handle.explain(stranger.to_string()).await.unwrap();
    assert_eq!(explained[0].verdict, "it is mini02, as nobody but itself says");
    let seen = explained[0].seen.join("\n");
    assert!(seen.contains("discovery image") && seen.contains("/dev/sda 480 GB SAMSUNG"), "{seen}");
    running.end().await;
}
