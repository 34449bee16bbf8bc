//! The core through its public face: one slot, one event at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hardware::{Disk, DiskSelector, Inventory, MacAddr};
use lifecycle::{
    ApplyOutcome, BootAnswer, BootstrapOutcome, Cluster, ClusterPlan, Core, Effect, EtcdObservation, Event,
    Identity, InstallDisk, LinkNeed, NodePlan, NodeState, Observation, Progress, Records, Role, StepOutcome,
    Ticket, Trust,
};

#[test]
fn nothing_is_installed_without_a_permit() {
    let mut bench = two_control_planes();
    assert!(
        matches!(bench.ask(1, "cp1", true), BootAnswer::Retry { reason, .. } if reason.contains("ichord deploy cp1"))
    );
    assert!(matches!(bench.state("cp1"), NodeState::Vacant { permit: None }));
    bench.permit("cp1");
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { node } if node.0 == "cp1"));
}

#[test]
fn a_permit_pays_for_five_netboots_of_one_machine() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    for _ in 0..5 {
        assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }));
        assert!(
            matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }),
            "asked again at once: the same boot"
        );
        bench.now += 60_000;
    }
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::LocalDisk { .. }));
}

#[test]
fn an_expired_permit_lets_nothing_pass() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.now += 25 * 60 * 60 * 1000;
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Retry { .. }));

    bench.permit("cp1");
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }));
    bench.now += 25 * 60 * 60 * 1000;
    bench.look("cp1", maintenance(1, "before"));
    assert!(!bench.is_applying());
    assert!(bench.waiting("cp1").contains("expired"), "{}", bench.waiting("cp1"));
}

#[test]
fn a_control_plane_needs_a_witness_and_a_worker_does_not() {
    let mut bench = Bench::new(plan(&[("cp1", Role::ControlPlane), ("w1", Role::Worker)]));
    bench.permit("cp1");
    bench.permit("w1");
    assert!(matches!(bench.ask(1, "cp1", false), BootAnswer::Deploy { .. }), "it boots, and shows its key");
    bench.look("cp1", maintenance(1, "before"));
    assert!(!bench.is_applying());
    assert!(bench.waiting("cp1").contains("ichord approve cp1"), "{}", bench.waiting("cp1"));
    assert!(matches!(bench.ask(2, "w1", false), BootAnswer::Deploy { .. }));

    let mut trusting =
        Bench::new(ClusterPlan { trust: Trust::Machine, ..plan(&[("cp1", Role::ControlPlane)]) });
    trusting.permit("cp1");
    assert!(matches!(trusting.ask(1, "cp1", false), BootAnswer::Deploy { .. }));
}

#[test]
fn one_machine_one_slot() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.permit("cp2");
    bench.ask(1, "cp1", true);
    assert!(
        matches!(bench.ask(1, "cp2", true), BootAnswer::Refused { reason } if reason.contains("wrong cable: cp1"))
    );
    assert!(
        matches!(bench.ask(2, "cp1", true), BootAnswer::Retry { reason, .. } if reason.contains("is held by"))
    );
}

#[test]
fn who_is_unknown_asks_again_and_then_boots_its_own_disk() {
    let mut bench = two_control_planes();
    let unknown = || Identity::Unknown { reason: "no port yet".into() };
    assert!(matches!(bench.ask_as(1, unknown(), 0), BootAnswer::Identify { .. }));
    assert!(matches!(bench.ask_as(1, unknown(), 1000), BootAnswer::LocalDisk { .. }));
}

#[test]
fn only_the_claimed_machine_gets_the_config() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", maintenance(2, "before"));
    assert!(!bench.is_applying(), "a stranger at the address gets nothing");
    assert!(bench.waiting("cp1").contains("was expected"));
    bench.look("cp1", maintenance(1, "before"));
    assert!(bench.is_applying());
}

#[test]
fn machines_that_swapped_addresses_are_found_where_they_answer() {
    let mut bench = two_control_planes();
    for (last, node) in [(1, "cp1"), (2, "cp2")] {
        bench.permit(node);
        bench.ask(last, node, true);
    }
    // the second answers where the first asked from, and no lease told the daemon
    let at = IpAddr::from([10, 0, 0, 101]);
    let Observation::Maintenance { fingerprint, boot_id, inventory, .. } = maintenance(2, "b1") else {
        unreachable!()
    };
    bench.look(
        "cp1",
        Observation::Maintenance { address: at, fingerprint, boot_id, inventory, contents: Vec::new() },
    );
    assert!(bench.waiting("cp1").contains("was expected"), "{}", bench.waiting("cp1"));
    bench.look("cp2", Observation::Silent { detail: "nobody is there".into() });
    assert_eq!(bench.candidates("cp2").first(), Some(&at));
}

#[test]
fn a_foreign_machine_is_never_touched() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look(
        "cp1",
        Observation::Foreign { address: IpAddr::from([10, 0, 0, 101]), subject: "O=other".into() },
    );
    assert!(!bench.is_applying());
    assert!(bench.waiting("cp1").contains("not touched"));
}

#[test]
fn exactly_one_disk_and_every_link_or_it_waits_with_the_reason() {
    let selector = DiskSelector { model: Some("M*".into()), ..DiskSelector::default() };
    let base = plan(&[("cp1", Role::ControlPlane)]);
    let with = |change: &dyn Fn(&mut NodePlan)| {
        let mut plan = base.clone();
        plan.nodes.values_mut().for_each(change);
        plan
    };
    let two_disks = |inventory: &mut Inventory| {
        let second = Disk { dev_path: "/dev/nvme1n1".into(), ..inventory.disks[0].clone() };
        inventory.disks.push(second);
    };
    type Change = Box<dyn Fn(&mut Inventory)>;
    let cases: [(ClusterPlan, Change, &str); 5] = [
        (base.clone(), Box::new(|_| ()), ""),
        (base.clone(), Box::new(|inventory| inventory.disks.clear()), "no disk matches /dev/nvme0n1"),
        (
            with(&|node| node.install_disk = InstallDisk::Selector(selector.clone())),
            Box::new(two_disks),
            "several disks",
        ),
        (
            with(&|node| node.links = vec![LinkNeed::Name("enp9s0".into())]),
            Box::new(|_| ()),
            "names the link enp9s0",
        ),
        (with(&|node| node.links = vec![LinkNeed::Mac(MacAddr([2, 0, 0, 0, 0, 1]))]), Box::new(|_| ()), ""),
    ];
    for (plan, change, expected) in cases {
        let mut bench = Bench::new(plan);
        bench.permit("cp1");
        bench.ask(1, "cp1", true);
        let mut observation = maintenance(1, "before");
        if let Observation::Maintenance { inventory, .. } = &mut observation {
            change(inventory);
        }
        bench.look("cp1", observation);
        assert_eq!(bench.is_applying(), expected.is_empty(), "{expected}: {}", bench.waiting("cp1"));
        assert!(bench.waiting("cp1").contains(expected), "{expected}: {}", bench.waiting("cp1"));
    }
}

#[test]
fn the_boot_that_was_told_does_not_prove_the_installation() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", maintenance(1, "before"));
    let ticket = bench.applying("cp1");
    bench.step(Event::Applied { node: "cp1".into(), ticket, outcome: ApplyOutcome::Accepted });
    bench.look("cp1", configured(1, "before", EtcdObservation::Waiting));
    assert!(matches!(bench.state("cp1"), NodeState::Deploying { progress: Progress::Installing { .. }, .. }));
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(matches!(bench.state("cp1"), NodeState::Configured { .. }));
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::LocalDisk { .. }), "no second install");
}

#[test]
fn a_stranger_with_our_ca_proves_nothing_for_the_slot() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", configured(2, "after", EtcdObservation::Waiting));
    assert!(matches!(bench.state("cp1"), NodeState::Deploying { .. }));
    assert!(
        bench.waiting("cp1").contains("answers with our CA at 10.0.0.12 where"),
        "{}",
        bench.waiting("cp1")
    );
}

#[test]
fn a_reply_to_an_older_effect_is_dropped() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.step(Event::Observed {
        node: "cp1".into(),
        ticket: Ticket(42),
        observation: maintenance(1, "before"),
    });
    assert!(!bench.is_applying());
}

#[test]
fn the_bootstrap_needs_every_control_plane_and_a_free_virtual_address() {
    let mut bench = patient();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    assert!(bench.cluster_waiting().contains("cp2 is vacant"), "{}", bench.cluster_waiting());
    bench.configure(2, "cp2", EtcdObservation::Unknown { reason: "?".into() });
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(bench.cluster_waiting().contains("cp2 has not shown"), "{}", bench.cluster_waiting());
    bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));

    let ticket = bench.take(|effect| match effect {
        Effect::SeekCluster { ticket, .. } => Some(*ticket),
        _ => None,
    });
    bench.step(Event::ClusterSought { ticket, owner: Some("aa:bb answers".into()), nodes: Vec::new() });
    assert!(bench.cluster_waiting().contains("a cluster may already exist"));
    assert!(!bench.flying.iter().any(|effect| matches!(effect, Effect::Bootstrap { .. })));
}

#[test]
fn a_cluster_that_we_did_not_found_is_not_founded_again() {
    let mut bench = patient();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.configure(2, "cp2", members(&["cp2"]));
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    let waiting = bench.cluster_waiting();
    assert!(waiting.contains("did not bootstrap") && waiting.contains("`ichord takeover`"), "{waiting}");
    let asks = |effect: &Effect| matches!(effect, Effect::Observe { .. } | Effect::LookAround { .. });
    assert!(bench.flying.iter().all(asks));
}

fn bootstrapped() -> Bench {
    let mut bench = patient();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.nobody_has_the_virtual_address();
    bench
}

#[test]
fn the_intent_is_stored_before_the_call_and_the_same_node_is_asked_after_a_restart() {
    let mut bench = bootstrapped();
    let stored: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(bench.records.cluster.clone().unwrap()).unwrap();
    assert_eq!((stored["state"].as_str(), stored["node"].as_str()), (Some("bootstrapping"), Some("cp1")));
    assert_eq!(bench.bootstrapping().1, "cp1");

    bench.restart();
    assert!(bench.flying.iter().all(|effect| matches!(effect, Effect::Observe { .. })), "first it observes");
}

#[test]
fn a_bootstrap_of_unknown_outcome_is_given_time_and_a_refused_one_is_not() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered {
        ticket,
        outcome: BootstrapOutcome::Unknown { reason: "reset".into() },
    });
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(
        !bench.flying.iter().any(|effect| matches!(effect, Effect::Bootstrap { .. })),
        "the grace is not over"
    );
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert_eq!(bench.bootstrapping().1, "cp1", "after the grace the same node is asked again");

    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered {
        ticket,
        outcome: BootstrapOutcome::NotYet { reason: "time".into() },
    });
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert_eq!(bench.bootstrapping().1, "cp1");
}

#[test]
fn a_reboot_loses_a_bootstrap_and_the_same_node_is_asked_at_once() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    bench.look("cp1", configured(1, "yet another boot", EtcdObservation::Waiting));
    assert_eq!(bench.bootstrapping().1, "cp1");
}

#[test]
fn a_founder_that_stays_silent_is_waited_for_and_the_status_says_the_way_out() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    let silent = || Observation::Silent { detail: "nobody is there".into() };
    bench.look("cp1", silent());
    assert!(bench.cluster_waiting().ends_with("does not answer"), "it boots: {}", bench.cluster_waiting());
    for _ in 0..3 {
        bench.look("cp1", silent());
    }
    assert!(bench.cluster_waiting().contains("put its state directory aside"), "{}", bench.cluster_waiting());
    assert!(
        !bench.flying.iter().any(|effect| matches!(effect, Effect::Bootstrap { .. })),
        "nobody else is asked"
    );
}

#[test]
fn members_without_the_founder_are_another_cluster() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    bench.look("cp2", configured(2, "after", members(&["cp2", "old"])));
    assert!(matches!(bench.core.cluster(), Cluster::Bootstrapping(_)));
    assert!(bench.cluster_waiting().contains("cp1 is not among them"), "{}", bench.cluster_waiting());
}

#[test]
fn no_step_begins_while_the_bootstrap_call_is_unanswered() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.look("cp1", configured(1, "after", members(&["cp1", "cp2"])));
    bench.look("cp2", configured(2, "after", members(&["cp1", "cp2"])));
    assert!(matches!(bench.core.cluster(), Cluster::HandingOver { .. }));
    let runs = |bench: &Bench| bench.flying.iter().any(|effect| matches!(effect, Effect::RunStep { .. }));
    assert!(!runs(&bench));
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    assert!(runs(&bench));
}

#[test]
fn a_clock_that_goes_back_stops_neither_a_deployment_nor_a_bootstrap() {
    let hours = 2 * 60 * 60 * 1000;
    let mut bench = two_control_planes();
    bench.now += hours;
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", maintenance(1, "before"));
    let ticket = bench.applying("cp1");
    bench.step(Event::Applied { node: "cp1".into(), ticket, outcome: ApplyOutcome::Accepted });
    bench.now -= hours;
    bench.step(Event::Tick);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(bench.state("cp1").is_configured());

    let mut bench = patient();
    bench.now += hours;
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.nobody_has_the_virtual_address();
    let (ticket, _) = bench.bootstrapping();
    let outcome = BootstrapOutcome::Unknown { reason: "reset".into() };
    bench.step(Event::BootstrapAnswered { ticket, outcome });
    bench.now -= hours;
    bench.step(Event::Tick);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert_eq!(bench.bootstrapping().1, "cp1");
}

#[test]
fn members_lead_to_the_hand_over_and_its_steps_to_the_end() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    bench.look("cp1", configured(1, "after", members(&["cp1"])));
    assert!(matches!(bench.core.cluster(), Cluster::Joining(_)));
    bench.look("cp1", configured(1, "after", members(&["cp1", "cp2"])));
    assert!(bench.cluster_waiting().contains("cp2"), "{}", bench.cluster_waiting());
    bench.look("cp2", configured(2, "after", members(&["cp1", "cp2"])));
    assert!(matches!(bench.core.cluster(), Cluster::HandingOver { .. }));

    let run = |bench: &mut Bench| {
        bench.take(|effect| match effect {
            Effect::RunStep { ticket, step, .. } => Some((*ticket, step.clone())),
            _ => None,
        })
    };
    let (ticket, step) = run(&mut bench);
    bench.step(Event::StepEnded { ticket, step, outcome: StepOutcome::Failed { reason: "no API".into() } });
    assert!(bench.cluster_waiting().contains("no API"));
    bench.look("cp1", configured(1, "after", members(&["cp1", "cp2"])));
    let (ticket, step) = run(&mut bench);
    bench.step(Event::StepEnded { ticket, step, outcome: StepOutcome::Done { summary: "1 object".into() } });
    assert!(matches!(bench.core.cluster(), Cluster::HandedOver { .. }));
}

/// Who joins etcd with our keys and is no node shares what is furnished from then on.
#[test]
fn the_hand_over_waits_while_a_stranger_is_in_etcd_and_it_is_named_afterwards_too() {
    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    bench.look("cp1", configured(1, "after", members(&["cp1", "cp2"])));
    bench.look("cp2", configured(2, "after", members(&["cp1", "cp2"])));
    let step = |effect: &Effect| match effect {
        Effect::RunStep { ticket, step, .. } => Some((*ticket, step.clone())),
        _ => None,
    };
    let (ticket, name) = bench.take(step);
    bench.look("cp1", configured(1, "after", members(&["cp1", "cp2", "old-9"])));
    let failed = StepOutcome::Failed { reason: "no API".into() };
    bench.step(Event::StepEnded { ticket, step: name, outcome: failed });
    bench.look("cp2", configured(2, "after", members(&["cp1", "cp2", "old-9"])));
    assert!(!bench.flying.iter().any(|effect| step(effect).is_some()), "nothing is furnished");
    assert!(bench.cluster_waiting().contains("not in the site (old-9)"), "{}", bench.cluster_waiting());

    for (last, node) in [(1, "cp1"), (2, "cp2")] {
        bench.look(node, configured(last, "after", members(&["cp1", "cp2"])));
    }
    let (ticket, name) = bench.take(step);
    let done = StepOutcome::Done { summary: "1 object".into() };
    bench.step(Event::StepEnded { ticket, step: name, outcome: done });
    assert!(matches!(bench.core.cluster(), Cluster::HandedOver { .. }));
    assert_eq!(bench.cluster_waiting(), "");
    bench.look("cp2", configured(2, "after", members(&["cp1", "cp2", "old-9"])));
    assert!(bench.cluster_waiting().contains("not in the site (old-9)"), "{}", bench.cluster_waiting());
}

#[test]
fn an_empty_store_says_what_it_does_not_know() {
    let site = plan(&[("cp1", Role::ControlPlane)]);
    let said = |records: &Records| -> String {
        let mut core = Core::restore(site.clone(), records, 1).unwrap();
        format!("{:?}", core.step(Event::Tick, lifecycle::Time(1)))
    };
    assert!(said(&Records::default()).contains("would found a second cluster"));
    let mut bench = Bench::new(site.clone());
    bench.step(Event::Tick);
    assert!(!said(&bench.records).contains("second cluster"), "it is said once");
}

#[test]
fn the_state_of_another_cluster_is_refused() {
    let bench = bootstrapped();
    let other = ClusterPlan { cluster_id: "c2".into(), ..plan(&[("cp1", Role::ControlPlane)]) };
    let error = Core::restore(other, &bench.records, 1).unwrap_err();
    assert!(error.to_string().contains("belongs to the cluster c1"), "{error}");
}

#[test]
fn what_is_stored_is_what_is_restored() {
    let bench = bootstrapped();
    let again = Core::restore(bench.plan(), &bench.records, 2).unwrap();
    assert_eq!(again.cluster(), bench.core.cluster());
    for node in ["cp1", "cp2"] {
        assert_eq!(again.node(&node.into()), Some(bench.state(node)));
    }
}

#[test]
fn reasons_that_take_turns_are_written_down_once_until_something_moves() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.waits.clear();
    for _ in 0..5 {
        bench.look("cp1", maintenance(3, "before"));
        bench.look("cp1", Observation::Silent { detail: "nobody is there".into() });
        assert!(bench.waiting("cp1").contains("nobody is there"), "people see the reason of now");
    }
    assert_eq!(bench.waits.len(), 2, "{:?}", bench.waits);
    bench.ask(1, "cp1", true);
    bench.look("cp1", Observation::Silent { detail: "nobody is there".into() });
    assert_eq!(bench.waits.len(), 3, "another boot: {:?}", bench.waits);

    let mut bench = bootstrapped();
    let (ticket, _) = bench.bootstrapping();
    bench.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    bench.look("cp1", configured(1, "after", members(&["cp1"])));
    bench.waits.clear();
    for _ in 0..5 {
        bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));
        bench.look("cp2", configured(2, "after", members(&["cp1"])));
    }
    let distinct: BTreeSet<&String> = bench.waits.iter().collect();
    assert_eq!(bench.waits.len(), distinct.len(), "{:?}", bench.waits);
}
