//! Machines that have to boot: who is switched by itself, how often, and who is left to a person.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use std::time::Duration;

use bench::{ALL, Bench, configured, members, plan};
use lifecycle::{
    BootAnswer, Effect, EtcdObservation, Event, Observation, Order, PowerAction, PowerOutcome, Role, Switch,
    Task, TaskOutcome, Ticket,
};

const MINUTE: u64 = 60_000;

/// Three control planes whose machines are switched like this.
fn bench(switch: Option<Switch>) -> Bench {
    let mut plan = plan(&ALL.map(|name| (name, Role::ControlPlane)));
    plan.timing.observe = Duration::from_secs(60);
    for (node, port) in plan.nodes.values_mut().zip(1..) {
        node.power = switch;
        node.place = format!("port sw1/Eth1/{port}");
    }
    Bench::new(plan)
}

/// The machine that is being switched.
fn switching(bench: &Bench) -> Option<(String, Ticket, PowerAction, bool)> {
    bench.flying.iter().find_map(|effect| match effect {
        Effect::Power { node, ticket, action, network_boot, .. } => {
            Some((node.0.clone(), *ticket, *action, *network_boot))
        }
        _ => None,
    })
}

/// It ends like this.
fn ends(bench: &mut Bench, outcome: PowerOutcome) -> (String, PowerAction, bool) {
    let (node, ticket, action, network_boot) = switching(bench).expect("nobody is switched");
    bench.flying.retain(|effect| !matches!(effect, Effect::Power { .. }));
    bench.step(Event::Powered { node: node.as_str().into(), ticket, outcome });
    (node, action, network_boot)
}

fn done() -> PowerOutcome {
    PowerOutcome::Done { summary: "it was off, and is on".into() }
}

fn failed() -> PowerOutcome {
    PowerOutcome::Failed { reason: "10.0.0.11:443 cannot be reached".into() }
}

fn passes(bench: &mut Bench, minutes: u64) {
    bench.now += minutes * MINUTE;
    bench.step(Event::Tick);
}

fn order(node: &str, action: PowerAction) -> Order {
    Order::Power { node: node.into(), action, network_boot: false, forced: false }
}

/// All three are a cluster.
fn founded(switch: Option<Switch>) -> Bench {
    let mut bench = bench(switch);
    for (last, name) in (1..).zip(ALL) {
        bench.configure(last, name, EtcdObservation::Waiting);
        if switching(&bench).is_some() {
            ends(&mut bench, done());
        }
    }
    bench.bootstrap();
    tell(&mut bench, &ALL);
    assert_eq!(bench.core.cluster().name(), "handing over");
    bench
}

/// These are looked at again, and see all members.
fn tell(bench: &mut Bench, names: &[&str]) {
    for (last, name) in (1..).zip(ALL).filter(|(_, name)| names.contains(name)) {
        bench.look(name, configured(last, "after", members(&ALL)));
    }
}

#[test]
fn who_may_be_installed_is_switched_on_once_and_boots_from_the_network() {
    let mut bench = bench(Some(Switch::Full));
    passes(&mut bench, 1);
    assert_eq!(switching(&bench), None, "nobody said that it may be");
    bench.permit("cp2");
    assert_eq!(ends(&mut bench, done()), ("cp2".into(), PowerAction::On, true));
    for _ in 0..30 {
        passes(&mut bench, 10);
        assert_eq!(switching(&bench), None, "it is on, and may run anything");
    }
}

#[test]
fn a_permit_pays_for_two_attempts_also_over_deaths_of_the_daemon() {
    let mut bench = bench(Some(Switch::Full));
    bench.permit("cp2");
    ends(&mut bench, failed());
    assert_eq!(switching(&bench), None, "not at once");
    passes(&mut bench, 1);
    assert!(switching(&bench).is_some());
    // paid for, and never heard of again
    bench.restart();
    for _ in 0..30 {
        passes(&mut bench, 10);
        assert_eq!(switching(&bench), None);
    }
    bench.permit("cp2");
    ends(&mut bench, failed());
    passes(&mut bench, 1);
    ends(&mut bench, failed());
    passes(&mut bench, 60);
    assert_eq!(switching(&bench), None);
    let waiting = bench.waiting("cp2");
    assert!(waiting.ends_with("switch its machine on: port sw1/Eth1/2"), "{waiting}");
}

#[test]
fn a_machine_that_asked_and_holds_no_slot_keeps_its_power() {
    let mut bench = bench(Some(Switch::Full));
    bench.ask(2, "cp2", true);
    bench.permit("cp2");
    passes(&mut bench, 5);
    assert_eq!(switching(&bench), None);
}

#[test]
fn who_stands_still_on_the_way_from_its_firmware_starts_anew() {
    let mut bench = bench(Some(Switch::Full));
    bench.permit("cp2");
    ends(&mut bench, done());
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Deploy { .. }));
    passes(&mut bench, 4);
    assert_eq!(switching(&bench), None);
    passes(&mut bench, 2);
    assert_eq!(ends(&mut bench, done()), ("cp2".into(), PowerAction::Cycle, true));
    passes(&mut bench, 60);
    assert_eq!(switching(&bench), None, "the permit has paid for both");
}

#[test]
fn wake_on_lan_only_switches_on() {
    let mut bench = bench(Some(Switch::OnlyOn));
    bench.permit("cp2");
    assert_eq!(ends(&mut bench, done()).1, PowerAction::On);
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Deploy { .. }));
    passes(&mut bench, 60);
    assert_eq!(switching(&bench), None);
    for action in [PowerAction::Off, PowerAction::Cycle, PowerAction::Status] {
        let words = bench.core.weigh(&order("cp2", action)).unwrap_err();
        assert!(words.contains("by hand") && words.contains("port sw1/Eth1/2"), "{words}");
    }
    assert!(bench.core.weigh(&order("cp2", PowerAction::On)).is_ok());
}

#[test]
fn without_a_switch_a_person_is_told_whom_to_switch_and_where() {
    let mut bench = bench(None);
    bench.permit("cp2");
    let waiting = bench.waiting("cp2");
    assert!(waiting.ends_with("switch its machine on: port sw1/Eth1/2"), "{waiting}");
    let words = bench.core.weigh(&order("cp2", PowerAction::On)).unwrap_err();
    assert!(words.contains("`power:`") && words.contains("port sw1/Eth1/2"), "{words}");
    let bench = founded(None);
    let reprovision = Order::Reprovision { node: "cp2".into(), undrained: true };
    let words = bench.core.weigh(&reprovision).unwrap();
    assert!(words.contains("switch it off and on: port sw1/Eth1/2, 02:00:00:00:00:02"), "{words}");
}

#[test]
fn a_dead_node_that_is_to_be_installed_anew_is_switched_when_etcd_has_let_it_go() {
    let mut bench = founded(Some(Switch::Full));
    let silent = || Observation::Silent { detail: "no route".into() };
    bench.look("cp2", silent());
    bench.order(Order::Reprovision { node: "cp2".into(), undrained: true });
    for _ in 0..30 {
        bench.look("cp2", silent());
        assert_eq!(switching(&bench), None, "etcd counts it");
        tell(&mut bench, &["cp1", "cp3"]);
        let task = bench.flying.iter().find_map(|effect| match effect {
            Effect::Depart { ticket, task, .. } => Some((*ticket, task.clone())),
            _ => None,
        });
        let Some((ticket, task)) = task else { continue };
        bench.flying.retain(|effect| !matches!(effect, Effect::Depart { .. }));
        let outcome = TaskOutcome::Done { summary: "so it is".into() };
        bench.step(Event::Departed { node: "cp2".into(), ticket, outcome });
        if matches!(task, Task::Remove { .. }) {
            break;
        }
    }
    for (last, name) in [(1, "cp1"), (3, "cp3"), (1, "cp1"), (3, "cp3")] {
        bench.look(name, configured(last, "after", members(&["cp1", "cp3"])));
    }
    bench.look("cp2", silent());
    assert_eq!(bench.state("cp2").name(), "leaving", "{}", bench.waiting("cp2"));
    assert_eq!(ends(&mut bench, done()), ("cp2".into(), PowerAction::Cycle, true));
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Wipe { .. }), "that boot wipes it, once");
}

#[test]
fn the_power_of_a_node_that_etcd_needs_is_not_taken() {
    let mut bench = founded(Some(Switch::Full));
    assert!(bench.core.weigh(&order("cp2", PowerAction::Off)).is_ok(), "of three one can be spared");
    bench.look("cp3", Observation::Silent { detail: "no route".into() });
    tell(&mut bench, &["cp1", "cp2"]);
    for action in [PowerAction::Off, PowerAction::Cycle] {
        let words = bench.core.weigh(&order("cp2", action)).unwrap_err();
        assert!(words.contains("of etcd's 3 voters") && words.contains("`--force`"), "{words}");
        assert!(bench.core.weigh(&order("cp3", action)).is_ok(), "it is dead already");
        let forced = Order::Power { node: "cp2".into(), action, network_boot: false, forced: true };
        assert!(bench.core.weigh(&forced).is_ok());
    }
    bench.order(order("cp2", PowerAction::Off));
    assert_eq!(switching(&bench), None, "a refused order changes nothing");
    bench.order(order("cp2", PowerAction::Status));
    assert!(bench.core.weigh(&order("cp2", PowerAction::On)).unwrap_err().contains("already"));
    ends(&mut bench, done());
    assert!(bench.core.weigh(&order("cp2", PowerAction::On)).is_ok());
}

/// cp2 is to be installed anew, its data are kept, and it is about to be told to wipe itself.
fn before_the_wipe(bench: &mut Bench) {
    bench.order(Order::Reprovision { node: "cp2".into(), undrained: true });
    tell(bench, &["cp1", "cp3"]);
    let (ticket, snapshot) = bench.departing();
    assert!(matches!(snapshot, Task::Snapshot { .. }), "{snapshot:?}");
    bench.step(Event::Departed {
        node: "cp2".into(),
        ticket,
        outcome: TaskOutcome::Done { summary: "kept".into() },
    });
    tell(bench, &["cp1", "cp3"]);
    tell(bench, &["cp2"]);
}

#[test]
fn a_node_that_wipes_itself_boots_from_the_network_next_where_its_processor_can_be_told() {
    let wipes = |bench: &mut Bench| matches!(bench.departing().1, Task::Reset { .. });
    for outcome in [done(), failed()] {
        let mut bench = founded(Some(Switch::Processor));
        before_the_wipe(&mut bench);
        assert!(!bench.is_departing(), "first its next boot is chosen");
        assert_eq!(bench.state("cp2").name(), "ready", "nothing has happened to it");
        // the daemon dies, and nobody knows whether it was told: it is told again
        bench.restart();
        tell(&mut bench, &["cp1", "cp3"]);
        tell(&mut bench, &["cp2"]);
        tell(&mut bench, &["cp1", "cp3"]);
        assert_eq!(ends(&mut bench, outcome), ("cp2".into(), PowerAction::NetworkBoot, true));
        tell(&mut bench, &["cp1", "cp3"]);
        tell(&mut bench, &["cp2"]);
        assert!(wipes(&mut bench), "a processor that does not obey keeps nobody");
        assert_eq!(switching(&bench), None, "its power is not touched");
    }
    // who cannot be told is not asked
    for switch in [Switch::Full, Switch::OnlyOn] {
        let mut bench = founded(Some(switch));
        before_the_wipe(&mut bench);
        assert!(wipes(&mut bench) && switching(&bench).is_none());
        let order = order("cp1", PowerAction::NetworkBoot);
        let words = bench.core.weigh(&order).unwrap_err();
        assert!(words.contains("only a service processor") && words.contains("port sw1/Eth1/1"), "{words}");
    }
}

#[test]
fn a_node_that_keeps_talos_boots_its_own_disk_next() {
    let mut bench = founded(Some(Switch::Processor));
    bench.order(Order::Reset { node: "cp2".into(), undrained: true });
    tell(&mut bench, &["cp1", "cp3"]);
    let (ticket, _) = bench.departing();
    bench.step(Event::Departed {
        node: "cp2".into(),
        ticket,
        outcome: TaskOutcome::Done { summary: "kept".into() },
    });
    tell(&mut bench, &["cp1", "cp3"]);
    tell(&mut bench, &["cp2"]);
    assert!(matches!(bench.departing().1, Task::Reset { .. }) && switching(&bench).is_none());
}
