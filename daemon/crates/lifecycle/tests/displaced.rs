//! A machine that is seen where the site names nobody, and a site that calls a port otherwise: only words follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{Bench, machine, plan};
use lifecycle::{BootAnswer, EtcdObservation, Event, Identity, NodeView, Role, Time};

fn on(port: &str) -> Identity {
    let port = Some(port.parse().unwrap());
    Identity::Slot { node: "w1".into(), port, attested: true, evidence: vec!["the switch says so".into()] }
}

fn bench(port: &str) -> Bench {
    let mut site = plan(&[("cp1", Role::ControlPlane), ("w1", Role::Worker)]);
    site.nodes.get_mut(&"w1".into()).unwrap().ports = vec![port.parse().unwrap()];
    let mut bench = Bench::new(site);
    bench.configure(2, "w1", EtcdObservation::None);
    bench
}

fn view(bench: &Bench) -> NodeView {
    bench.core.view(Time(bench.now)).nodes[&"w1".into()].clone()
}

#[test]
fn a_machine_that_is_seen_elsewhere_is_only_told() {
    let mut bench = bench("sw1/Eth1/1");
    let before = view(&bench);
    let told = |words: Option<&str>| Event::Displaced { node: "w1".into(), told: words.map(str::to_owned) };
    bench.step(told(Some("the machine of w1 is seen on sw1/Eth1/9")));
    let now = view(&bench);
    assert_eq!(now.displaced.as_deref(), Some("the machine of w1 is seen on sw1/Eth1/9"));
    assert_eq!(NodeView { displaced: None, ..now }, before, "nothing else follows");
    // it boots its own disk, wherever it is plugged in
    let unknown = Identity::Unknown { reason: "sw1/Eth1/9 is nobody's".into() };
    assert!(matches!(bench.ask_as(2, unknown, 0), BootAnswer::LocalDisk { .. }));
    bench.step(told(None));
    assert_eq!(view(&bench).displaced, None);
    // of whom nobody speaks any more
    bench.step(Event::Displaced { node: "w9".into(), told: Some("who is that".into()) });
}

#[test]
fn a_port_that_the_site_calls_otherwise_is_called_so_and_one_of_two_stays() {
    let mut bench = bench("sw1/Eth1/1");
    let identified = |port: &str| Event::Identified { machine: machine(2), identity: on(port) };
    bench.step(identified("sw1/Eth1/1"));
    assert_eq!(view(&bench).port.as_deref(), Some("sw1/Eth1/1"));
    let mut site = plan(&[("cp1", Role::ControlPlane), ("w1", Role::Worker)]);
    site.nodes.get_mut(&"w1".into()).unwrap().ports =
        vec!["leaf1/Eth1/1".parse().unwrap(), "leaf2/Eth1/1".parse().unwrap()];
    bench.step(Event::PlanChanged(Box::new(site)));
    assert_eq!(view(&bench).port.as_deref(), Some("sw1/Eth1/1"), "until it is seen there");
    bench.step(identified("leaf1/Eth1/1"));
    assert_eq!(view(&bench).port.as_deref(), Some("leaf1/Eth1/1"));
    bench.step(identified("leaf2/Eth1/1"));
    assert_eq!(view(&bench).port.as_deref(), Some("leaf1/Eth1/1"), "its other port is no news");
    assert!(format!("{:?}", bench.records.nodes[&"w1".into()]).contains("leaf1/Eth1/1"), "durably");
}
