//! What follows from a machine's own word that something about it has changed: a look, at once, and rarer looks otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use std::net::IpAddr;

use bench::{Bench, configured, members, patient, plan};
use lifecycle::{Effect, EtcdObservation, Event, Observation, Role, Watch};

fn told(bench: &mut Bench, node: &str, watch: Watch) {
    bench.step(Event::Watched { node: node.into(), watch });
}

fn looks(bench: &Bench, node: &str) -> usize {
    let at =
        |effect: &&Effect| matches!(effect, Effect::Observe { node: observed, .. } if observed.0 == node);
    bench.flying.iter().filter(at).count()
}

/// How long until the next look at somebody, in intervals of a machine that tells nothing.
fn pause(bench: &Bench) -> f64 {
    let next = bench.core.next_deadline().unwrap().0;
    (next - bench.now) as f64 / bench.plan().timing.observe.as_millis() as f64
}

fn worker() -> Bench {
    let mut bench = Bench::new(plan(&[("w1", Role::Worker)]));
    bench.configure(1, "w1", EtcdObservation::None);
    bench
}

#[test]
fn a_change_is_looked_at_at_once_and_once() {
    let mut bench = worker();
    assert_eq!(looks(&bench, "w1"), 0);
    told(&mut bench, "w1", Watch::Began);
    assert_eq!(looks(&bench, "w1"), 0, "what is there was just seen");
    told(&mut bench, "w1", Watch::Changed);
    assert_eq!(looks(&bench, "w1"), 1);
    told(&mut bench, "w1", Watch::Changed);
    assert_eq!(looks(&bench, "w1"), 1, "one look at a time");
    // that look may have come too early for the second change
    bench.now -= 60_000;
    bench.look("w1", configured(1, "after", EtcdObservation::None));
    assert_eq!(looks(&bench, "w1"), 1);
    bench.now -= 60_000;
    bench.look("w1", configured(1, "after", EtcdObservation::None));
    assert_eq!(looks(&bench, "w1"), 0);
}

#[test]
fn who_tells_is_looked_at_rarely_and_who_does_not_steadily() {
    let mut bench = worker();
    assert!(pause(&bench) <= 1.0);
    told(&mut bench, "w1", Watch::Began);
    bench.look("w1", configured(1, "after", EtcdObservation::None));
    assert!(pause(&bench) > 4.0 && pause(&bench) <= 5.0, "{}", pause(&bench));
    told(&mut bench, "w1", Watch::Ended);
    assert_eq!(looks(&bench, "w1"), 1, "where it went is looked for at once");
    bench.look("w1", configured(1, "after", EtcdObservation::None));
    assert!(pause(&bench) <= 1.0);
    told(&mut bench, "w1", Watch::Ended);
    assert_eq!(looks(&bench, "w1"), 0, "there was nothing to miss");
}

#[test]
fn a_machine_that_is_silent_or_somebody_elses_tells_nothing_any_more() {
    let foreign =
        Observation::Foreign { address: IpAddr::from([10, 0, 0, 11]), subject: "O=other".to_owned() };
    for other in [Observation::Silent { detail: "no".to_owned() }, foreign] {
        let mut bench = worker();
        told(&mut bench, "w1", Watch::Began);
        bench.look("w1", other);
        assert!(pause(&bench) <= 1.0);
    }
}

#[test]
fn votes_in_etcd_are_asked_for_steadily_because_nobody_tells_them() {
    let mut bench = patient();
    for (last, node) in [(1, "cp1"), (2, "cp2")] {
        bench.configure(last, node, EtcdObservation::Waiting);
        told(&mut bench, node, Watch::Began);
    }
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));
    bench.nobody_has_the_virtual_address();
    bench.bootstrapping();
    assert!(pause(&bench) <= 1.0, "{}", pause(&bench));
    bench.look("cp1", configured(1, "after", members(&["cp1"])));
    bench.look("cp2", configured(2, "after", members(&["cp1"])));
    assert!(bench.cluster_waiting().contains("cp2"), "{}", bench.cluster_waiting());
    assert!(pause(&bench) <= 1.0, "{}", pause(&bench));
}

#[test]
fn a_word_about_nobody_is_nothing() {
    let mut bench = worker();
    told(&mut bench, "w9", Watch::Changed);
    assert_eq!(looks(&bench, "w1"), 0);
}

#[test]
fn a_machine_that_gets_an_address_while_it_is_looked_for_elsewhere_is_looked_at_there_next() {
    let mut bench = Bench::new(plan(&[("w1", Role::Worker)]));
    bench.permit("w1");
    bench.ask(1, "w1", true);
    assert_eq!(looks(&bench, "w1"), 1);
    let address = IpAddr::from([10, 0, 0, 77]);
    bench.step(Event::Located { mac: hardware::MacAddr([2, 0, 0, 0, 0, 1]), address });
    assert_eq!(looks(&bench, "w1"), 1, "one look at a time");
    let ticket = bench.take(|effect| match effect {
        Effect::Observe { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let observation = Observation::Silent { detail: "nobody is there".into() };
    bench.step(Event::Observed { node: "w1".into(), ticket, observation });
    let next = bench.take(|effect| match effect {
        Effect::Observe { candidates, .. } => Some(candidates.clone()),
        _ => None,
    });
    assert_eq!(next.first(), Some(&address), "at once, and there");
}

#[test]
fn who_took_the_config_is_looked_for_at_its_own_address_first() {
    let mut bench = Bench::new(plan(&[("w1", Role::Worker)]));
    bench.permit("w1");
    bench.ask(1, "w1", true);
    let (lease, own) = (IpAddr::from([10, 0, 0, 101]), IpAddr::from([10, 0, 0, 11]));
    bench.look("w1", bench::maintenance(1, "before"));
    let ticket = bench.applying("w1");
    bench.step(Event::Applied { node: "w1".into(), ticket, outcome: lifecycle::ApplyOutcome::Accepted });
    assert_eq!(bench.candidates("w1"), [own, lease]);
}
