//! Nodes that are taken out to come back: the order of the steps, what is asked before each, and who decides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{ALL, Bench, configured, founded, maintenance, members};
use lifecycle::{
    BootAnswer, Effect, Event, Identity, NodeState, Observation, Order, ReplacePolicy, Task, TaskOutcome,
    Ticket, Wiped,
};

fn reprovision(node: &str, undrained: bool) -> Order {
    Order::Reprovision { node: node.into(), undrained }
}

/// Everybody but `node` is looked at again.
fn others_tell(bench: &mut Bench, node: &str, told: &[&str]) {
    for (last, name) in (1..).zip(ALL).filter(|(_, name)| *name != node) {
        bench.look(name, configured(last, "after", members(told)));
    }
}

fn ends(bench: &mut Bench, node: &str, ticket: Ticket, outcome: TaskOutcome) {
    bench.step(Event::Departed { node: node.into(), ticket, outcome });
}

fn done() -> TaskOutcome {
    TaskOutcome::Done { summary: "so it is".into() }
}

fn leaving(bench: &Bench, node: &str) -> String {
    let view = bench.core.view(lifecycle::Time(bench.now));
    view.nodes[&node.into()].leaving.clone().unwrap_or_default()
}

/// As far as the word to the machine that it is to wipe itself.
fn told_to_wipe(bench: &mut Bench) -> Ticket {
    bench.order(reprovision("cp2", true));
    assert!(!bench.is_departing(), "only new looks count");
    others_tell(bench, "cp2", &ALL);
    let (ticket, snapshot) = bench.departing();
    assert!(matches!(snapshot, Task::Snapshot { .. }), "{snapshot:?}");
    ends(bench, "cp2", ticket, done());
    others_tell(bench, "cp2", &ALL);
    bench.look("cp2", configured(2, "after", members(&ALL)));
    let (ticket, reset) = bench.departing();
    let Task::Reset { boot_id, leaves_etcd: true, wiped: Wiped::Disk, .. } = reset else {
        panic!("{reset:?}")
    };
    assert_eq!(boot_id, "after");
    assert_eq!(bench.state("cp2").name(), "leaving");
    ticket
}

#[test]
fn a_node_is_installed_anew_step_by_step() {
    let mut bench = founded();
    let ticket = told_to_wipe(&mut bench);
    ends(&mut bench, "cp2", ticket, done());
    let (ticket, clear) = bench.departing();
    assert_eq!(clear, Task::Forget);
    ends(&mut bench, "cp2", ticket, done());
    // it wiped itself: no boot of ours does it again
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Deploy { .. }));
    bench.look("cp2", maintenance(2, "anew"));
    assert!(bench.is_applying(), "{}", bench.waiting("cp2"));
}

#[test]
fn who_may_have_a_config_again_keeps_its_node_of_kubernetes() {
    let mut bench = founded();
    let ticket = told_to_wipe(&mut bench);
    ends(&mut bench, "cp2", ticket, done());
    assert_eq!(bench.departing().1, Task::Forget);
    // whether Kubernetes has heard that the daemon does not live to learn
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Deploy { .. }));
    bench.look("cp2", maintenance(2, "anew"));
    assert!(bench.is_applying(), "{}", bench.waiting("cp2"));
    bench.restart();
    assert_eq!(bench.departing().1, Task::Clear { boot_id: Some("after".into()) });
}

#[test]
fn where_its_own_wipe_is_in_doubt_one_boot_wipes_it_and_no_second_one() {
    let mut bench = founded();
    let ticket = told_to_wipe(&mut bench);
    ends(&mut bench, "cp2", ticket, TaskOutcome::Failed { reason: "connection reset".into() });
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Wipe { .. }));
    for _ in 0..3 {
        bench.now += 60_000;
        let answer = bench.ask(2, "cp2", true);
        assert!(matches!(answer, BootAnswer::Deploy { .. }), "{answer:?}");
    }
}

#[test]
fn a_machine_that_comes_back_with_its_config_is_told_again() {
    let mut bench = founded();
    let ticket = told_to_wipe(&mut bench);
    ends(&mut bench, "cp2", ticket, done());
    bench.departing();
    bench.restart();
    let (ticket, _) = bench.departing();
    ends(&mut bench, "cp2", ticket, done());
    bench.look("cp2", configured(2, "another boot", members(&ALL)));
    assert_eq!(bench.state("cp2").name(), "leaving");
    others_tell(&mut bench, "cp2", &ALL);
    bench.look("cp2", configured(2, "another boot", members(&ALL)));
    let told = bench.take(|effect| match effect {
        Effect::Depart { task: Task::Reset { boot_id, .. }, .. } => Some(boot_id.clone()),
        _ => None,
    });
    assert_eq!(told, "another boot");
}

#[test]
fn a_drain_that_never_ends_is_a_person_s_to_decide() {
    let mut bench = founded();
    bench.order(reprovision("cp2", false));
    others_tell(&mut bench, "cp2", &ALL);
    let (ticket, _) = bench.departing();
    ends(&mut bench, "cp2", ticket, done());
    let (ticket, drain) = bench.departing();
    assert_eq!(drain, Task::Drain);
    let stuck = TaskOutcome::Stuck { reason: "default/db-0 stays".into() };
    ends(&mut bench, "cp2", ticket, stuck);
    let said = leaving(&bench, "cp2");
    assert!(said.contains("db-0 stays") && said.contains("--without-drain"), "{said}");
    others_tell(&mut bench, "cp2", &ALL);
    assert!(!bench.is_departing(), "nothing by itself");
    // one at a time, and what is refused changes nothing
    let before = bench.records.clone();
    assert!(bench.core.weigh(&reprovision("cp1", false)).unwrap_err().contains("cp2 is being taken out"));
    bench.order(reprovision("cp1", false));
    assert_eq!(bench.records, before);
    // it may stay, or go on
    bench.core.weigh(&Order::Stay { node: "cp2".into() }).unwrap();
    bench.order(reprovision("cp2", true));
    others_tell(&mut bench, "cp2", &ALL);
    bench.look("cp2", configured(2, "after", members(&ALL)));
    let (_, reset) = bench.departing();
    assert!(matches!(reset, Task::Reset { .. }), "{reset:?}");
}

#[test]
fn a_drain_that_fails_for_minutes_is_a_person_s_to_decide_as_well() {
    let mut bench = founded();
    bench.order(reprovision("cp2", false));
    others_tell(&mut bench, "cp2", &ALL);
    let (ticket, _) = bench.departing();
    ends(&mut bench, "cp2", ticket, done());
    let mut first = None;
    loop {
        let (ticket, drain) = bench.departing();
        assert_eq!(drain, Task::Drain);
        let now = bench.now;
        let failing = now - *first.get_or_insert(now);
        ends(&mut bench, "cp2", ticket, TaskOutcome::Failed { reason: "evictions are forbidden".into() });
        let asks = leaving(&bench, "cp2").contains("--without-drain");
        assert_eq!(asks, failing >= 300_000, "after {failing} ms");
        others_tell(&mut bench, "cp2", &ALL);
        if asks {
            break;
        }
        bench.now += 20_000;
        others_tell(&mut bench, "cp2", &ALL);
    }
    let said = leaving(&bench, "cp2");
    assert!(said.contains("evictions are forbidden"), "{said}");
    assert!(!bench.is_departing(), "nothing by itself");
}

#[test]
fn a_dead_member_leaves_before_its_successor_comes_and_an_old_disk_in_that_is_fenced() {
    let mut bench = founded();
    bench.look("cp2", Observation::Silent { detail: "no route".into() });
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Retry { .. }));
    bench.order(Order::Admit { node: "cp2".into() });
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Retry { .. }));
    others_tell(&mut bench, "cp2", &ALL);
    let (ticket, snapshot) = bench.departing();
    assert!(matches!(snapshot, Task::Snapshot { .. }), "{snapshot:?}");
    ends(&mut bench, "cp2", ticket, done());
    others_tell(&mut bench, "cp2", &ALL);
    let (ticket, remove) = bench.departing();
    assert!(matches!(&remove, Task::Remove { member, .. } if member == "id-cp2"), "{remove:?}");
    ends(&mut bench, "cp2", ticket, done());
    others_tell(&mut bench, "cp2", &["cp1", "cp3"]);
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Deploy { .. }));
    let (_, clear) = bench.departing();
    assert_eq!(clear, Task::Forget, "its successor has no config yet");
    // it was given nothing, and answers as one of ours
    bench.look("cp2", configured(9, "own disk", members(&["cp1", "cp3"])));
    assert!(matches!(bench.state("cp2"), NodeState::Fenced { .. }), "{:?}", bench.state("cp2"));
    assert!(
        bench.waiting("cp2").contains("the disk of a node that was taken out"),
        "{}",
        bench.waiting("cp2")
    );
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Refused { .. }));
    bench.order(Order::Erase { node: "cp2".into(), disk: bench::DISK.into() });
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Wipe { .. }));
    bench.now += 60_000;
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Deploy { .. }));
}

#[test]
fn a_replacement_that_was_not_needed_after_all_leaves_the_day_s_number_as_it_was() {
    let mut plan = bench::three_control_planes().plan();
    plan.replace = ReplacePolicy::SamePort { after: std::time::Duration::ZERO, per_day: 1 };
    let mut bench = Bench::new(plan);
    bench.found();
    for _ in 0..3 {
        bench.look("cp2", Observation::Silent { detail: "no route".into() });
        others_tell(&mut bench, "cp2", &ALL);
        let (port, evidence) = ("sw1/2".parse().ok(), vec!["the switch sees it".to_owned()]);
        let there = Identity::Slot { node: "cp2".into(), port, attested: true, evidence };
        let BootAnswer::Retry { reason, .. } = bench.ask_as(9, there, 0) else { panic!("it was installed") };
        assert!(reason.ends_with("becomes cp2 when the dead one is out of etcd"), "{reason}");
        bench.look("cp2", configured(2, "after", members(&ALL)));
        assert_eq!(leaving(&bench, "cp2").split("; ").last(), Some("it is waited for"));
        others_tell(&mut bench, "cp2", &ALL);
        let (ticket, _) = bench.departing();
        ends(&mut bench, "cp2", ticket, done());
    }
}

#[test]
fn a_dead_machine_that_is_back_in_time_is_not_taken_out() {
    let mut bench = founded();
    bench.look("cp2", Observation::Silent { detail: "no route".into() });
    bench.ask(9, "cp2", true);
    bench.order(Order::Admit { node: "cp2".into() });
    bench.ask(9, "cp2", true);
    bench.look("cp2", configured(2, "after", members(&ALL)));
    others_tell(&mut bench, "cp2", &ALL);
    let clears =
        |effect: &Effect| matches!(effect, Effect::Depart { task: Task::Clear { boot_id: None }, .. });
    assert!(bench.flying.iter().all(|effect| !matches!(effect, Effect::Depart { .. }) || clears(effect)));
    assert!(matches!(bench.ask(9, "cp2", true), BootAnswer::Retry { .. }));
}
