//! Clusters that run already: what a store that knows nothing of them does, and what a person's word makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use std::{net::IpAddr, time::Duration};

use bench::{ALL, Bench, configured, members};
use lifecycle::{
    BootAnswer, DeployPolicy, Effect, EtcdObservation, Event, Identity, NodeState, Observation, Order,
    ReplacePolicy, Role, Runner, Sighted, StepOutcome, Survey, Task, Ticket,
};

/// A site of three control planes and a worker, whose store is empty.
fn empty(deploy: DeployPolicy) -> Bench {
    let roles = [
        ("cp1", Role::ControlPlane),
        ("cp2", Role::ControlPlane),
        ("cp3", Role::ControlPlane),
        ("w1", Role::Worker),
    ];
    let mut plan = bench::plan(&roles);
    plan.deploy = deploy;
    plan.timing.observe = Duration::from_secs(60);
    let mut bench = Bench::new(plan);
    bench.step(Event::Tick);
    bench
}

fn runs(last: u8, hostname: &str, etcd: EtcdObservation) -> Sighted {
    Sighted::Ours(Box::new(Runner {
        address: IpAddr::from([10, 0, 0, 10 + last]),
        hostname: hostname.into(),
        machine: bench::machine(last),
        boot_id: "boot".into(),
        etcd,
    }))
}

fn silent() -> Sighted {
    Sighted::Silent { detail: "nobody answers".into() }
}

/// What a whole cluster looks like.
fn whole() -> Survey {
    let mut found: Survey =
        (1..).zip(ALL).map(|(last, name)| (name.into(), runs(last, name, members(&ALL)))).collect();
    found.insert("w1".into(), runs(4, "w1", EtcdObservation::None));
    found
}

fn take_over(bench: &mut Bench, found: Survey) -> Result<String, String> {
    let order = Order::TakeOver { found };
    let words = bench.core.weigh(&order);
    bench.order(order);
    words
}

fn around(bench: &mut Bench) -> (Ticket, usize) {
    bench.take(|effect| match effect {
        Effect::LookAround { ticket, nodes } => Some((*ticket, nodes.len())),
        _ => None,
    })
}

#[test]
fn a_running_cluster_is_taken_over_and_its_hand_over_only_looked_at() {
    let mut bench = empty(DeployPolicy::Ask);
    let words = take_over(&mut bench, whole()).unwrap();
    assert!(words.contains("cp1, cp2, cp3, w1 taken over"), "{words}");
    assert_eq!(bench.core.cluster().name(), "joining");
    for (last, name) in (1..).zip(ALL) {
        bench.look(name, configured(last, "boot", members(&ALL)));
        assert!(matches!(bench.state(name), NodeState::Ready { .. }));
    }
    bench.look("w1", configured(4, "boot", EtcdObservation::None));
    let (ticket, step, only_look) = bench.take(|effect| match effect {
        Effect::RunStep { ticket, step, only_look } => Some((*ticket, step.clone(), *only_look)),
        _ => None,
    });
    assert!(only_look);
    bench.step(Event::StepEnded { ticket, step, outcome: StepOutcome::Done { summary: "so it is".into() } });
    assert_eq!(bench.core.cluster().name(), "handed over");
    // nothing else ever left
    let harmless = |effect: &Effect| matches!(effect, Effect::Observe { .. } | Effect::LookAround { .. });
    assert!(bench.flying.iter().all(harmless), "{:?}", bench.flying);
    // they are known from now on, also after a death
    bench.restart();
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::LocalDisk { .. }));
    bench.look("cp1", configured(1, "another boot", members(&ALL)));
    assert!(matches!(bench.state("cp1"), NodeState::Ready { .. }));
}

#[test]
fn what_does_not_fit_the_site_changes_nothing() {
    let with = |name: &str, sighted: Sighted| {
        let mut found = whole();
        found.insert(name.into(), sighted);
        found
    };
    let foreign =
        Sighted::Foreign { address: IpAddr::from([10, 0, 0, 12]), subject: "CN=talos, O=other".into() };
    let three = members(&ALL);
    let cases: Vec<(Survey, &str)> = vec![
        (with("cp2", foreign), "another CA"),
        (with("cp2", runs(2, "cp9", three.clone())), "calls itself cp9"),
        (with("cp2", runs(2, "cp2", EtcdObservation::None)), "the site says a control plane"),
        (with("w1", runs(4, "w1", three.clone())), "the site says a worker"),
        (with("cp2", runs(1, "cp2", three.clone())), "two nodes have one machine"),
        (with("cp2", runs(2, "cp2", members(&["cp2"]))), "tell different members"),
        (
            (1..)
                .zip(ALL)
                .map(|(last, name)| (name.into(), runs(last, name, members(&["cp1", "old-9"]))))
                .collect(),
            "no control planes of the site (old-9)",
        ),
        (
            (1..)
                .zip(ALL)
                .map(|(last, name)| (name.into(), runs(last, name, EtcdObservation::Waiting)))
                .collect(),
            "no control plane that answers tells etcd's members",
        ),
        (ALL.into_iter().map(|name| (name.into(), silent())).collect(), "no node of the site answers"),
    ];
    for (found, expected) in cases {
        let mut bench = empty(DeployPolicy::Ask);
        let before = bench.records.clone();
        let reason = take_over(&mut bench, found).unwrap_err();
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(bench.records, before, "{expected}");
        assert_eq!(bench.core.cluster().name(), "assembling");
    }
}

#[test]
fn who_does_not_answer_stays_vacant_and_is_filled_by_nobody_but_a_person() {
    let mut bench = empty(DeployPolicy::Auto);
    let mut found = whole();
    found.insert("cp3".into(), silent());
    let words = take_over(&mut bench, found).unwrap();
    assert!(words.contains("cp3 stay vacant"), "{words}");
    let BootAnswer::Retry { reason, .. } = bench.ask(9, "cp3", true) else { panic!("it was installed") };
    assert!(reason.contains("`ichord deploy cp3`"), "{reason}");
    // it comes back, and is taken over by the same command
    take_over(&mut bench, whole()).unwrap();
    assert!(matches!(bench.state("cp3"), NodeState::Configured { .. }));
}

#[test]
fn an_empty_store_looks_for_its_cluster_before_the_site_permits_anything() {
    let mut bench = empty(DeployPolicy::Auto);
    let BootAnswer::Retry { seconds: 1, reason } = bench.ask(1, "cp1", true) else {
        panic!("it was installed")
    };
    assert!(reason.contains("is being found out"), "{reason}");
    // what is not known is asked again, also by the next life
    let (ticket, asked) = around(&mut bench);
    assert_eq!(asked, 4);
    bench.step(Event::LookedAround { ticket, nodes: None });
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Retry { .. }));
    bench.restart();
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Retry { .. }));
    let (ticket, _) = around(&mut bench);
    let nodes = Some(vec![IpAddr::from([10, 0, 0, 11])]);
    bench.step(Event::LookedAround { ticket, nodes });
    let BootAnswer::Retry { reason, .. } = bench.ask(2, "cp2", true) else { panic!("it was installed") };
    assert!(reason.contains("`ichord deploy cp2`"), "{reason}");
    assert!(bench.cluster_waiting().contains("`ichord takeover`"), "{}", bench.cluster_waiting());
    bench.restart();
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Retry { .. }), "the doubt is stored");

    let mut bench = empty(DeployPolicy::Auto);
    let (ticket, _) = around(&mut bench);
    bench.step(Event::LookedAround { ticket, nodes: Some(Vec::new()) });
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }), "a new site goes on by itself");
    bench.restart();
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Deploy { .. }), "and is not asked again");
}

/// An old backup: cp2 was another machine then.
#[test]
fn an_old_store_learns_who_is_which_node_now() {
    let mut bench = empty(DeployPolicy::Ask);
    take_over(&mut bench, whole()).unwrap();
    for (last, name) in (1..).zip(ALL) {
        bench.look(name, configured(last, "boot", members(&ALL)));
    }
    bench.records.is_older = true;
    bench.restart();
    bench.records.is_older = false;
    let mut found = whole();
    found.insert("cp2".into(), runs(7, "cp2", members(&ALL)));
    // the machine that the store knows answers: then it is not the other one
    bench.look("cp2", configured(2, "boot", members(&ALL)));
    let reason = take_over(&mut bench, found.clone()).unwrap_err();
    assert!(reason.contains("switch off the one that is not cp2"), "{reason}");
    bench.look("cp2", configured(7, "boot", members(&ALL)));
    assert!(
        bench.waiting("cp2").contains("`ichord takeover` takes over who runs there"),
        "{}",
        bench.waiting("cp2")
    );
    bench.restart();
    take_over(&mut bench, found).unwrap();
    let holder = bench.state("cp2").claim().unwrap().machine.clone();
    assert_eq!(holder, bench::machine(7));
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Retry { .. }), "the old one is fenced off");
    let view = bench.core.view(lifecycle::Time(bench.now));
    assert_eq!(view.fenced.len(), 1);
}

/// Who was dead when the backup was made may have been replaced since.
#[test]
fn the_machine_in_a_dead_one_s_port_waits_for_a_person_while_the_store_is_an_old_one_and_the_status_says_so()
{
    let mut plan = bench::three_control_planes().plan();
    plan.replace = ReplacePolicy::SamePort { after: Duration::ZERO, per_day: 3 };
    let mut bench = Bench::new(plan);
    bench.found();
    bench.records.is_older = true;
    bench.restart();
    bench.records.is_older = false;
    let rival = |bench: &mut Bench| {
        let port = "sw1/2".parse().ok();
        let evidence = vec!["the switch sees it".to_owned()];
        bench.ask_as(9, Identity::Slot { node: "cp2".into(), port, attested: true, evidence }, 0)
    };
    let others = |bench: &mut Bench, told: &[&str]| {
        for (last, name) in [(1, "cp1"), (3, "cp3")] {
            bench.look(name, configured(last, "after", members(told)));
        }
        bench.look("cp2", Observation::Silent { detail: "no route".into() });
    };
    others(&mut bench, &ALL);
    let BootAnswer::Retry { reason, .. } = rival(&mut bench) else { panic!("it took the slot") };
    assert!(reason.contains("backup") && reason.contains("`ichord slot approve cp2`"), "{reason}");
    others(&mut bench, &ALL);
    let waiting = bench.waiting("cp2");
    assert!(waiting.contains("backup") && waiting.contains("`ichord slot approve cp2`"), "{waiting}");
    assert!(!bench.is_departing(), "nobody is taken out for it");

    bench.order(Order::Admit { node: "cp2".into() });
    rival(&mut bench);
    others(&mut bench, &ALL);
    assert!(!bench.waiting("cp2").contains("backup"), "{}", bench.waiting("cp2"));
    assert!(matches!(bench.departing().1, Task::Snapshot { .. }), "the dead member leaves first");
}
