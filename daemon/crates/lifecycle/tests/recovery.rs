//! etcd from a snapshot: only where its quorum cannot come back, once, on one node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{ALL, Bench, configured, founded, maintenance, members};
use lifecycle::{
    ApplyOutcome, BootAnswer, BootstrapOutcome, Effect, EtcdHealth, EtcdObservation, Event, NodeState,
    Observation, Order, Ticket,
};

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
    Order::Recover { node: node.into(), snapshot: "/snapshots/newest".into(), disks_lost: false }
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

fn gave_up(node: &str) -> Order {
    Order::Recover { node: node.into(), snapshot: "/snapshots/newest".into(), disks_lost: true }
}

/// Nobody answers, and that has been so for a while.
fn nobody_answers(bench: &mut Bench) {
    for name in ALL {
        bench.look(name, Observation::Silent { detail: "nobody".into() });
    }
    bench.now += 20 * 60_000;
    for name in ALL {
        bench.look(name, Observation::Silent { detail: "nobody".into() });
    }
}

/// This machine boots from the network, gets its config, and shows an empty etcd.
fn installed(bench: &mut Bench, last: u8, node: &str) {
    assert!(matches!(bench.ask(last, node, true), BootAnswer::Deploy { .. }), "{node}");
    bench.look(node, maintenance(last, "anew"));
    let ticket = bench.applying(node);
    bench.step(Event::Applied { node: node.into(), ticket, outcome: ApplyOutcome::Accepted });
    bench.look(node, configured(last, "installed", EtcdObservation::Waiting));
}

#[test]
fn where_the_disks_are_lost_a_person_lets_them_be_installed_and_most_of_them_prove_it() {
    let mut bench = founded();
    nobody_answers(&mut bench);
    assert!(bench.core.weigh(&recover("cp1")).unwrap_err().contains("not proven"));
    // who is installed gets nothing anew by itself
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::LocalDisk { .. }));
    bench.order(gave_up("cp1"));
    assert!(!is_told(&bench), "{}", bench.cluster_waiting());
    assert!(
        bench.records.cluster.as_ref().is_some_and(|record| record.to_string().contains("/snapshots/newest"))
    );
    assert!(ALL.iter().all(|name| matches!(bench.state(name), NodeState::Vacant { permit: Some(_) })));
    bench.restart();

    installed(&mut bench, 1, "cp1");
    assert!(!is_told(&bench), "one of three proves nothing");
    assert!(bench.cluster_waiting().contains("not proven"), "{}", bench.cluster_waiting());
    // another machine in the port of the second one, whose box is kept from coming back
    installed(&mut bench, 22, "cp2");
    let (ticket, node, _) = told(&mut bench);
    assert_eq!(node, "cp1");
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Retry { .. }));
    assert!(bench.core.weigh(&Order::KeepEtcd {}).unwrap_err().contains("may do it"));
    bench.step(Event::Recovered { ticket, outcome: BootstrapOutcome::Accepted });
    bench.look("cp1", configured(1, "installed", members(&["cp1"])));
    assert!(!bench.cluster_waiting().contains("recovered"), "{}", bench.cluster_waiting());
    bench.look("cp2", configured(22, "installed", members(&["cp1", "cp2"])));
    installed(&mut bench, 3, "cp3");
    assert!(!is_told(&bench), "once");
}

#[test]
fn a_disk_that_is_there_after_all_keeps_what_it_holds_and_ends_nothing() {
    let mut bench = founded();
    nobody_answers(&mut bench);
    bench.order(gave_up("cp1"));
    installed(&mut bench, 1, "cp1");
    for (last, name) in [(2, "cp2"), (3, "cp3")] {
        // its disk has the config: it is never offered one
        assert!(matches!(bench.ask(last, name, true), BootAnswer::Deploy { .. }));
        bench.look(name, configured(last, "its own disk", members(&["cp2", "cp3"])));
        assert!(matches!(bench.state(name), NodeState::Member { .. } | NodeState::Ready { .. }), "{name}");
    }
    assert!(!is_told(&bench) && !bench.is_applying());
    assert!(bench.cluster_waiting().contains("follows a leader"), "{}", bench.cluster_waiting());
    assert!(bench.cluster_waiting().contains("`ichord recover --cancel`"), "{}", bench.cluster_waiting());
    bench.order(Order::KeepEtcd {});
    bench.restart();
    assert!(!bench.cluster_waiting().contains("recovered"), "{}", bench.cluster_waiting());
    assert!(bench.core.weigh(&Order::KeepEtcd {}).is_err());
}

#[test]
fn nobody_is_given_up_who_answers_or_was_not_looked_for() {
    let mut bench = founded();
    assert!(bench.core.weigh(&gave_up("cp1")).unwrap_err().contains("follows a leader"));
    bench.restart();
    assert!(bench.core.weigh(&gave_up("cp1")).unwrap_err().contains("shows in a moment"));
    let waiting = || EtcdObservation::Waiting;
    tell(&mut bench, [waiting(), leaderless(), leaderless()], "later");
    assert!(bench.core.weigh(&gave_up("cp1")).unwrap_err().contains("which is a majority"));
    tell(&mut bench, [waiting(), waiting(), waiting()], "later");
    assert!(bench.core.weigh(&gave_up("cp1")).unwrap_err().contains("every control plane answers"));
}
