//! Members of etcd that stand still: a learner that nobody promotes any more, and a member that never started.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{ALL, Bench, bootstrapped, configured, members};
use lifecycle::{Effect, EtcdMember, EtcdObservation, Event, Task, TaskOutcome, Ticket, Wiped};

/// Two voters, and one more that has no vote; without a name it has not started.
fn with_learner(name: &str) -> EtcdObservation {
    let EtcdObservation::Members { mut members, health } = members(&["cp1", "cp3"]) else { unreachable!() };
    members.push(EtcdMember { name: name.into(), id: "id-learner".into(), learner: true });
    EtcdObservation::Members { members, health }
}

fn tell(bench: &mut Bench, voters: &EtcdObservation, own: &EtcdObservation) {
    bench.look("cp1", configured(1, "after", voters.clone()));
    bench.look("cp2", configured(2, "after", own.clone()));
    bench.look("cp3", configured(3, "after", voters.clone()));
}

fn ends(bench: &mut Bench, ticket: Ticket) {
    let outcome = TaskOutcome::Done { summary: "so it is".into() };
    bench.step(Event::Departed { node: "cp2".into(), ticket, outcome });
}

#[test]
fn a_learner_that_nobody_promotes_is_taken_out_and_joins_anew() {
    // its own etcd tells nothing while it has no vote, or Talos asks the others for it
    let silent = EtcdObservation::Unknown { reason: "etcd is Running: rpc not supported for learner".into() };
    for own in [with_learner("cp2"), silent] {
        let mut bench = bootstrapped();
        let began = bench.now;
        while bench.now < began + 9 * 60_000 {
            tell(&mut bench, &with_learner("cp2"), &own);
            assert!(!bench.is_departing(), "its own run may still promote it");
        }
        for _ in 0..2 {
            tell(&mut bench, &with_learner("cp2"), &own);
        }
        assert!(bench.hint("cp2").is_some_and(|hint| hint.contains("never given its vote")));
        let (ticket, remove) = bench.departing();
        assert!(matches!(&remove, Task::Remove { member, .. } if member == "id-learner"), "{remove:?}");
        ends(&mut bench, ticket);
        let voters = members(&["cp1", "cp3"]);
        let failed = EtcdObservation::Unknown { reason: "etcd is Failed".into() };
        tell(&mut bench, &voters, &failed);
        tell(&mut bench, &voters, &failed);
        let (ticket, reset) = bench.departing();
        let Task::Reset { leaves_etcd: false, wiped: Wiped::Data, boot_id, .. } = reset else {
            panic!("{reset:?}")
        };
        assert_eq!(boot_id, "after");
        ends(&mut bench, ticket);
        // it keeps its config and its slot, and joins as a learner in another boot
        bench.look("cp2", configured(2, "anew", with_learner("cp2")));
        assert_eq!(bench.state("cp2").name(), "configured");
        bench.look("cp2", configured(2, "anew", members(&ALL)));
        assert_eq!(bench.state("cp2").name(), "ready");
    }
}

#[test]
fn a_member_that_never_started_is_taken_out_and_nobody_is_reset_for_it() {
    let mut bench = bootstrapped();
    let began = bench.now;
    while bench.now < began + 4 * 60_000 {
        tell(&mut bench, &with_learner(""), &EtcdObservation::Waiting);
        assert!(!bench.is_departing(), "what comes between the two takes seconds, and may be under way");
    }
    for _ in 0..3 {
        tell(&mut bench, &with_learner(""), &EtcdObservation::Waiting);
    }
    let (ticket, remove) = bench.departing();
    assert!(matches!(&remove, Task::Remove { member, .. } if member == "id-learner"), "{remove:?}");
    ends(&mut bench, ticket);
    for _ in 0..2 {
        tell(&mut bench, &members(&["cp1", "cp3"]), &EtcdObservation::Waiting);
    }
    assert!(!bench.is_departing(), "{:?}", bench.flying);
    tell(&mut bench, &members(&ALL), &members(&ALL));
    assert_eq!(bench.state("cp2").name(), "ready");
}

#[test]
fn nobody_is_taken_out_for_a_learner_while_the_voters_have_no_quorum() {
    let mut bench = bootstrapped();
    let EtcdObservation::Members { members, mut health } = with_learner("cp2") else { unreachable!() };
    health.leader = None;
    let leaderless = EtcdObservation::Members { members, health };
    for _ in 0..8 {
        tell(&mut bench, &leaderless, &leaderless);
    }
    let removed = |effect: &Effect| {
        matches!(effect, Effect::Depart { task: Task::Remove { .. } | Task::Reset { .. }, .. })
    };
    assert!(!bench.flying.iter().any(removed), "{:?}", bench.flying);
}
