//! A cluster that grows and shrinks: what a changed site may do, and what becomes of nodes that it no longer names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use std::time::Duration;

use bench::{Bench, configured, maintenance, members, plan};
use lifecycle::{
    BootAnswer, ClusterPlan, Core, EtcdObservation, Event, NodeView, Observation, Order, Role, Task,
    TaskOutcome, Time, Wiped,
};

/// `cp…` are control planes, others workers. Each keeps its address, whoever else is there.
fn site(names: &[&str]) -> ClusterPlan {
    const ALL: [&str; 7] = ["cp1", "cp2", "cp3", "cp4", "cp5", "w1", "w2"];
    let role = |name: &str| if name.starts_with("cp") { Role::ControlPlane } else { Role::Worker };
    let mut plan = plan(&ALL.map(|name| (name, role(name))));
    plan.nodes.retain(|name, _| names.contains(&name.0.as_str()));
    plan.timing.observe = Duration::from_secs(60);
    plan
}

fn number(name: &str) -> u8 {
    match name {
        "w1" => 6,
        "w2" => 7,
        name => name[2..].parse().unwrap(),
    }
}

fn control_planes<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| name.starts_with("cp")).collect()
}

/// A cluster of these, founded.
fn founded(names: &[&str]) -> Bench {
    let mut bench = Bench::new(site(names));
    let members_now = control_planes(names);
    for name in &members_now {
        bench.configure(number(name), name, EtcdObservation::Waiting);
    }
    bench.bootstrap();
    // the first look shows that there are members, and the next one of the last that all are
    tell(&mut bench, &members_now, &members_now);
    tell(&mut bench, &members_now, &members_now);
    assert_eq!(bench.core.cluster().name(), "handing over", "{}", bench.cluster_waiting());
    for name in names.iter().filter(|name| name.starts_with('w')) {
        bench.configure(number(name), name, EtcdObservation::None);
    }
    tell(&mut bench, &members_now, &members_now);
    bench
}

/// These are looked at again, and tell these members.
fn tell(bench: &mut Bench, witnesses: &[&str], told: &[&str]) {
    for name in witnesses {
        bench.look(name, configured(number(name), "after", members(told)));
    }
}

fn changed(bench: &mut Bench, names: &[&str]) {
    bench.step(Event::PlanChanged(Box::new(site(names))));
}

fn view(bench: &Bench, node: &str) -> Option<NodeView> {
    bench.core.view(Time(bench.now)).nodes.get(&node.into()).cloned()
}

fn remove(node: &str) -> Order {
    Order::Remove { node: node.into(), wipe: false, undrained: false }
}

fn done(bench: &mut Bench, node: &str) -> Task {
    let (ticket, task) = bench.departing();
    let outcome = TaskOutcome::Done { summary: "so it is".into() };
    bench.step(Event::Departed { node: node.into(), ticket, outcome });
    task
}

/// The next daemon, with another site.
fn restart_with(bench: &mut Bench, names: &[&str]) {
    bench.core = Core::restore(site(names), &bench.records, bench.now).unwrap();
    bench.flying.clear();
    bench.step(Event::Tick);
}

#[test]
fn what_a_changed_site_may_do_to_a_cluster() {
    for (there, wanted, expected) in [
        (&["cp1"][..], &["cp1", "cp2", "cp3"][..], ""),
        (&["cp1", "cp2", "cp3", "w1"], &["cp1", "cp2", "cp3"], ""),
        (&["cp1", "cp2", "cp3"], &["cp1", "cp2", "cp3", "w1", "w2"], ""),
        (&["cp1", "cp2", "cp3", "cp4", "cp5"], &["cp1", "cp2", "cp3"], ""),
        // one goes for another
        (&["cp1", "cp2", "cp3"], &["cp1", "cp2", "cp4"], ""),
        (&["cp1", "cp2", "cp3"], &["cp1"], "the site would have 1 of 3 control planes"),
        (&["cp1", "cp2", "cp3"], &["cp1", "cp2"], "the site would have 2 of 3 control planes"),
        (&["cp1", "cp2", "cp3", "cp4", "cp5"], &["cp1"], "the site would have 1 of 5 control planes"),
        (&["cp1", "cp2"], &["cp1"], "the site would have 1 of 2 control planes"),
    ] {
        let bench = founded(there);
        let judged = bench.core.may_accept(&site(wanted));
        match judged {
            Ok(()) => assert_eq!(expected, "", "{there:?} → {wanted:?}"),
            Err(reason) => {
                assert!(
                    !expected.is_empty() && reason.contains(expected),
                    "{there:?} → {wanted:?}: {reason}"
                );
                assert!(reason.contains("recover-from"), "the way out: {reason}");
            }
        }
    }
    let bench = founded(&["cp1", "cp2", "cp3", "w1"]);
    let mut other_role = site(&["cp1", "cp2", "cp3", "w1"]);
    other_role.nodes.get_mut(&"w1".into()).unwrap().role = Role::ControlPlane;
    assert!(bench.core.may_accept(&other_role).unwrap_err().contains("cannot change between"));
    let mut same_address = site(&["cp1", "cp2", "cp3", "w2"]);
    same_address.nodes.get_mut(&"w2".into()).unwrap().address = site(&["w1"]).nodes[&"w1".into()].address;
    let reason = bench.core.may_accept(&same_address).unwrap_err();
    assert!(reason.contains("`ichord remove w1`"), "{reason}");
    // before there is a cluster a site is whatever people say
    let young = Bench::new(site(&["cp1", "cp2", "cp3"]));
    assert_eq!(young.core.may_accept(&site(&["cp1"])), Ok(()));
}

#[test]
fn a_worker_that_the_site_no_longer_names_goes_on_until_a_person_says_so() {
    let mut bench = founded(&["cp1", "cp2", "cp3", "w1"]);
    let words = bench.core.weigh(&remove("w1")).unwrap_err();
    assert!(words.contains("is a node of the site"), "{words}");
    changed(&mut bench, &["cp1", "cp2", "cp3"]);
    for restarted in [false, true] {
        if restarted {
            // also by a daemon that never saw the other site
            restart_with(&mut bench, &["cp1", "cp2", "cp3"]);
        }
        let shown = view(&bench, "w1").expect("it is shown");
        assert!(shown.left.is_some_and(|left| left.contains("`ichord remove w1`")), "restarted: {restarted}");
        for _ in 0..5 {
            bench.look("w1", configured(6, "after", EtcdObservation::None));
            assert!(!bench.is_departing());
        }
        // it boots its own disk, and nobody else is installed there
        assert!(matches!(bench.ask(6, "w1", true), BootAnswer::LocalDisk { .. }));
        assert!(bench.core.weigh(&Order::Reprovision { node: "w1".into(), undrained: true }).is_err());
    }
    tell(&mut bench, &["cp1", "cp2", "cp3"], &["cp1", "cp2", "cp3"]);
    bench.order(remove("w1"));
    assert_eq!(done(&mut bench, "w1"), Task::Drain);
    bench.look("w1", configured(6, "after", EtcdObservation::None));
    // a drained worker has no member; it is told, and Kubernetes forgets it
    while view(&bench, "w1").is_some() {
        match done(&mut bench, "w1") {
            Task::Reset { wiped: Wiped::State, leaves_etcd: false, .. } => {}
            Task::Forget => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(bench.core.view(Time(bench.now)).fenced.is_empty(), "it has forgotten what it was");
    restart_with(&mut bench, &["cp1", "cp2", "cp3"]);
    assert_eq!(view(&bench, "w1"), None);
    assert_eq!(bench.core.may_accept(&site(&["cp1", "cp2", "cp3", "w1"])), Ok(()), "it may come again");
}

#[test]
fn a_node_that_comes_back_into_the_site_is_what_it_was() {
    let mut bench = founded(&["cp1", "cp2", "cp3", "w1"]);
    changed(&mut bench, &["cp1", "cp2", "cp3"]);
    changed(&mut bench, &["cp1", "cp2", "cp3", "w1"]);
    assert_eq!(view(&bench, "w1").unwrap().left, None);
    bench.look("w1", configured(6, "after", EtcdObservation::None));
    assert_eq!(view(&bench, "w1").unwrap().state, "ready");
}

#[test]
fn of_three_voters_none_is_taken_out_for_good_and_of_four_one() {
    // the daemon was not there when the site changed
    let mut bench = founded(&["cp1", "cp2", "cp3"]);
    restart_with(&mut bench, &["cp1"]);
    let all = ["cp1", "cp2", "cp3"];
    tell(&mut bench, &all, &all);
    let before = bench.records.clone();
    for name in ["cp2", "cp3"] {
        let reason = bench.core.weigh(&remove(name)).unwrap_err();
        assert!(reason.contains("one of etcd's 3 voters") && reason.contains("`ichord deploy`"), "{reason}");
        bench.order(remove(name));
    }
    assert!(!bench.is_departing());
    assert_eq!(bench.records.nodes, before.nodes, "a refused order changes nothing");
    assert!(bench.core.weigh(&remove("cp1")).unwrap_err().contains("is a node of the site"));

    let all = ["cp1", "cp2", "cp3", "cp4"];
    let mut bench = founded(&all);
    changed(&mut bench, &["cp1", "cp2", "cp3"]);
    bench.order(remove("cp4"));
    let witnesses = ["cp1", "cp2", "cp3"];
    tell(&mut bench, &witnesses, &all);
    assert!(matches!(done(&mut bench, "cp4"), Task::Snapshot { .. }));
    assert_eq!(done(&mut bench, "cp4"), Task::Drain);
    tell(&mut bench, &witnesses, &all);
    bench.look("cp4", configured(4, "after", members(&all)));
    let reset = done(&mut bench, "cp4");
    assert!(matches!(reset, Task::Reset { leaves_etcd: true, wiped: Wiped::State, .. }), "{reset:?}");
    tell(&mut bench, &witnesses, &witnesses);
    while view(&bench, "cp4").is_some() {
        assert_eq!(done(&mut bench, "cp4"), Task::Forget);
    }
    tell(&mut bench, &witnesses, &witnesses);
    assert!(bench.core.weigh(&Order::Reprovision { node: "cp3".into(), undrained: true }).is_ok());
}

/// etcd refuses a member that wants to leave while it misses another one, and the machine wipes itself all the same.
#[test]
fn who_wiped_itself_without_leaving_etcd_is_taken_out_by_the_others() {
    let (all, witnesses) = (["cp1", "cp2", "cp3", "cp4"], ["cp1", "cp2", "cp3"]);
    let mut bench = founded(&all);
    changed(&mut bench, &witnesses);
    bench.order(remove("cp4"));
    let mut told = Vec::new();
    while !told.iter().any(|task| matches!(task, Task::Remove { member, .. } if member == "id-cp4")) {
        assert!(told.len() < 10, "{told:?}");
        tell(&mut bench, &witnesses, &all);
        if !told.iter().any(|task| matches!(task, Task::Reset { .. })) {
            bench.look("cp4", configured(4, "after", members(&all)));
        }
        told.push(done(&mut bench, "cp4"));
    }
    assert!(told.contains(&Task::Forget), "{told:?}");
    tell(&mut bench, &witnesses, &witnesses);
    while view(&bench, "cp4").is_some() {
        assert_eq!(done(&mut bench, "cp4"), Task::Forget);
    }
}

#[test]
fn a_machine_that_forgot_what_it_was_is_out_although_its_answer_was_lost() {
    let mut bench = founded(&["cp1", "cp2", "cp3", "w1"]);
    changed(&mut bench, &["cp1", "cp2", "cp3"]);
    bench.order(remove("w1"));
    assert_eq!(done(&mut bench, "w1"), Task::Drain);
    bench.look("w1", configured(6, "after", EtcdObservation::None));
    let (ticket, reset) = bench.departing();
    assert!(matches!(reset, Task::Reset { .. }), "{reset:?}");
    let outcome = TaskOutcome::Failed { reason: "connection reset".into() };
    bench.step(Event::Departed { node: "w1".into(), ticket, outcome });
    bench.look("w1", maintenance(6, "anew"));
    for _ in 0..10 {
        bench.step(Event::Tick);
        if bench.is_departing() {
            assert_eq!(done(&mut bench, "w1"), Task::Forget);
        }
    }
    assert_eq!(view(&bench, "w1"), None);
    assert!(bench.core.view(Time(bench.now)).fenced.is_empty());
}

#[test]
fn a_dead_node_is_taken_out_by_the_others_and_fenced_off() {
    let all = ["cp1", "cp2", "cp3", "cp4"];
    let mut bench = founded(&all);
    changed(&mut bench, &["cp1", "cp2", "cp3"]);
    let witnesses = ["cp1", "cp2", "cp3"];
    let silent = || Observation::Silent { detail: "no route".into() };
    bench.look("cp4", silent());
    tell(&mut bench, &witnesses, &all);
    bench.order(remove("cp4"));
    let (mut told, mut members_now) = (Vec::new(), &all[..]);
    for _ in 0..40 {
        bench.look("cp4", silent());
        tell(&mut bench, &witnesses, members_now);
        let flies = bench.is_departing();
        if flies {
            let task = done(&mut bench, "cp4");
            if matches!(task, Task::Remove { .. }) {
                members_now = &witnesses;
            }
            told.push(task);
        }
        if view(&bench, "cp4").is_none() {
            break;
        }
    }
    assert!(told.iter().any(|task| matches!(task, Task::Remove { .. })), "{told:?}");
    assert!(!told.iter().any(|task| matches!(task, Task::Reset { .. })), "nobody is there: {told:?}");
    assert_eq!(view(&bench, "cp4"), None, "{told:?}");
    assert_eq!(bench.core.view(Time(bench.now)).fenced.len(), 1, "it has the node's keys");
    assert!(matches!(bench.ask(4, "cp4", true), BootAnswer::Retry { .. }), "fenced off");
}

#[test]
fn new_control_planes_join_one_at_a_time() {
    let mut bench = founded(&["cp1"]);
    changed(&mut bench, &["cp1", "cp2", "cp3"]);
    for name in ["cp2", "cp3"] {
        bench.permit(name);
        assert!(matches!(bench.ask(number(name), name, true), BootAnswer::Deploy { .. }));
    }
    bench.look("cp2", maintenance(2, "before"));
    bench.look("cp3", maintenance(3, "before"));
    let waiting = bench.waiting("cp3");
    assert!(waiting.contains("cp2 joins etcd first"), "{waiting}");
    let ticket = bench.applying("cp2");
    assert!(!bench.is_applying(), "one at a time");
    bench.step(Event::Applied { node: "cp2".into(), ticket, outcome: lifecycle::ApplyOutcome::Accepted });
    bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));
    bench.look("cp3", maintenance(3, "before"));
    assert!(!bench.is_applying(), "it has no vote yet");
    tell(&mut bench, &["cp1", "cp2"], &["cp1", "cp2"]);
    bench.look("cp3", maintenance(3, "before"));
    bench.applying("cp3");
}
