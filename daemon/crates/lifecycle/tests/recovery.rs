//! etcd from a snapshot: only where its quorum cannot come back, once, on one node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{ALL, Bench, configured, founded, members};
use lifecycle::{BootstrapOutcome, Effect, EtcdHealth, EtcdObservation, Event, Observation, Order, Ticket};

fn tell(bench: &mut Bench, etcd: [EtcdObservation; 3], boot: &str) {
    for ((last, name), etcd) in (1..).zip(ALL).zip(etcd) {
        bench.look(name, configured(last, boot, etcd));
    }
}

/// Members without a leader.
fn leaderless() -> EtcdObservation {
    let EtcdObservation::Members { members, .. } = members(&ALL) else { unreachable!() };
    EtcdObservation::Members { members, health: EtcdHealth::default() }
}

fn recover(node: &str) -> Order {
    Order::Recover { node: node.into(), snapshot: "/snapshots/newest".into() }
}

fn told(bench: &mut Bench) -> (Ticket, String, String) {
    bench.take(|effect| match effect {
        Effect::Recover { ticket, node, snapshot, .. } => Some((*ticket, node.0.clone(), snapshot.clone())),
        _ => None,
    })
}

fn is_told(bench: &Bench) -> bool {
    bench.flying.iter().any(|effect| matches!(effect, Effect::Recover { .. }))
}

#[test]
fn nothing_is_recovered_where_a_quorum_may_be() {
    let empty = || EtcdObservation::Waiting;
    let unknown = || EtcdObservation::Unknown { reason: "etcd is Failed".into() };
    for (etcd, node, expected) in [
        ([members(&ALL), members(&ALL), members(&ALL)], "cp1", "follows a leader"),
        ([empty(), empty(), members(&ALL)], "cp1", "follows a leader"),
        // two that elect nobody now may elect somebody in a moment
        ([empty(), leaderless(), leaderless()], "cp1", "not proven"),
        ([empty(), unknown(), leaderless()], "cp1", "not proven"),
        ([empty(), empty(), leaderless()], "cp3", "still has etcd's data"),
    ] {
        let mut bench = founded();
        tell(&mut bench, etcd, "later");
        let reason = bench.core.weigh(&recover(node)).unwrap_err();
        assert!(reason.contains(expected), "{reason}");
        let before = bench.records.clone();
        bench.order(recover(node));
        assert!(!is_told(&bench) && bench.records == before, "{expected}");
    }
    let mut bench = founded();
    for name in ["cp2", "cp3"] {
        bench.look(name, Observation::Silent { detail: "nobody".into() });
    }
    bench.look("cp1", configured(1, "later", EtcdObservation::Waiting));
    bench.now += 20 * 60_000;
    bench.look("cp1", configured(1, "later", EtcdObservation::Waiting));
    let reason = bench.core.weigh(&recover("cp1")).unwrap_err();
    assert!(reason.contains("2 may still hold it") && reason.contains("cp2 does not answer"), "{reason}");
}

#[test]
fn where_most_are_empty_one_node_is_told_and_no_other_one() {
    let mut bench = founded();
    let waiting = || EtcdObservation::Waiting;
    tell(&mut bench, [waiting(), waiting(), leaderless()], "later");
    bench.order(recover("cp2"));
    assert_eq!(told(&mut bench).1, "cp2");
    let reason = bench.core.weigh(&recover("cp1")).unwrap_err();
    assert!(reason.contains("recovered on cp2 already"), "{reason}");

    // the daemon dies: whether it was told is not known, so the same one is told again, and not at once
    bench.restart();
    tell(&mut bench, [waiting(), waiting(), leaderless()], "later");
    assert!(bench.core.weigh(&recover("cp1")).is_err());
    bench.now += 10 * 60_000;
    tell(&mut bench, [waiting(), waiting(), leaderless()], "later");
    let (ticket, node, snapshot) = told(&mut bench);
    assert_eq!((node.as_str(), snapshot.as_str()), ("cp2", "/snapshots/newest"));
    bench.step(Event::Recovered { ticket, outcome: BootstrapOutcome::Accepted });
    assert!(bench.cluster_waiting().contains("is recovered on cp2"), "{}", bench.cluster_waiting());

    tell(&mut bench, [waiting(), members(&["cp2"]), leaderless()], "later");
    assert!(!bench.cluster_waiting().contains("is recovered"), "{}", bench.cluster_waiting());
    // never by itself again
    bench.flying.retain(|effect| !matches!(effect, Effect::Recover { .. }));
    bench.now += 60 * 60_000;
    tell(&mut bench, [members(&["cp2", "cp1"]), members(&["cp2", "cp1"]), waiting()], "later");
    assert!(!is_told(&bench));
    assert_eq!(bench.core.cluster().name(), "handing over", "it is the same cluster to us");
}

#[test]
fn what_certainly_did_nothing_is_over_and_what_may_have_is_not() {
    let mut bench = founded();
    let waiting = || EtcdObservation::Waiting;
    tell(&mut bench, [waiting(), waiting(), waiting()], "later");
    bench.order(recover("cp1"));
    let (ticket, ..) = told(&mut bench);
    let reason = "the snapshot does not open".to_owned();
    bench.step(Event::Recovered { ticket, outcome: BootstrapOutcome::NotYet { reason } });
    assert!(bench.core.weigh(&recover("cp2")).is_ok(), "another file, or another node");

    bench.order(recover("cp1"));
    let (ticket, ..) = told(&mut bench);
    let reason = "connection reset".to_owned();
    bench.step(Event::Recovered { ticket, outcome: BootstrapOutcome::Unknown { reason } });
    assert!(bench.core.weigh(&recover("cp2")).is_err());
    // it booted again before etcd wrote anything: what it was told is lost
    tell(&mut bench, [waiting(), waiting(), waiting()], "another boot");
    assert_eq!(told(&mut bench).1, "cp1");
}
