//! What only a person can say, and what the core makes of a store that it cannot trust.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use bench::{Bench, configured, maintenance, members, patient, two_control_planes};
use hardware::Inventory;
use lifecycle::{
    ApplyOutcome, BootAnswer, Cluster, Content, Core, EtcdObservation, Event, Identity, NewnessError,
    NodeState, Observation, Progress, ReleaseError, Time,
};

fn used(mut observation: Observation, talos: bool) -> Observation {
    if let Observation::Maintenance { contents, .. } = &mut observation {
        contents.push(Content { disk: bench::DISK.into(), what: "ext4, home".into(), talos });
    }
    observation
}

fn approve(bench: &mut Bench, disk: &str) {
    bench.step(Event::EraseApproved { node: "cp1".into(), disk: disk.into(), by: "ann".into() });
}

#[test]
fn somebody_elses_data_is_overwritten_only_by_a_word_about_that_disk() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", used(maintenance(1, "before"), false));
    assert!(!bench.is_applying());
    assert!(
        bench.waiting("cp1").contains("`ichord approve cp1 --erase /dev/nvme0n1`"),
        "{}",
        bench.waiting("cp1")
    );
    approve(&mut bench, "/dev/sdz");
    bench.look("cp1", used(maintenance(1, "before"), false));
    assert!(!bench.is_applying(), "a word about another disk");
    approve(&mut bench, bench::DISK);
    bench.look("cp1", used(maintenance(1, "before"), false));
    assert!(bench.is_applying());
}

#[test]
fn a_disk_with_talos_is_wiped_by_one_boot_for_each_word() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    approve(&mut bench, bench::DISK);
    bench.look("cp1", used(maintenance(1, "before"), true));
    assert!(!bench.is_applying(), "Talos would go on with what it finds there");
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Wipe { .. }));
    for _ in 0..3 {
        bench.now += 20_000;
        assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }), "it cannot loop");
    }
}

#[test]
fn what_our_own_installation_left_is_no_obstacle() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", maintenance(1, "before"));
    let ticket = bench.applying("cp1");
    bench.step(Event::Applied { node: "cp1".into(), ticket, outcome: ApplyOutcome::Accepted });
    bench.now += 20_000;
    bench.ask(1, "cp1", true);
    bench.look("cp1", used(maintenance(1, "power came back"), true));
    assert!(bench.is_applying());
}

#[test]
fn a_released_machine_stays_out_until_a_machine_is_let_in() {
    let mut bench = two_control_planes();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.step(Event::Released { node: "cp1".into(), by: "ann".into() });
    assert!(matches!(bench.state("cp1"), NodeState::Vacant { permit: None }));
    assert!(
        matches!(bench.ask(1, "cp1", true), BootAnswer::Refused { reason } if reason.contains("taken out of cp1"))
    );
    bench.restart();
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Refused { .. }), "it is stored");
    bench.permit("cp1");
    assert!(matches!(bench.ask(2, "cp1", true), BootAnswer::Deploy { .. }), "another machine in its place");
}

#[test]
fn who_votes_or_was_asked_to_found_the_cluster_is_not_released_by_a_word() {
    let mut bench = patient();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.nobody_has_the_virtual_address();
    assert_eq!(bench.core.may_release(&"cp1".into()), Err(ReleaseError::Founder("cp1".into())));
    bench.step(Event::Released { node: "cp1".into(), by: "ann".into() });
    assert!(bench.state("cp1").is_configured());
    bench.look("cp1", configured(1, "after", members(&["cp1"])));
    assert_eq!(bench.core.may_release(&"cp1".into()), Err(ReleaseError::Member("cp1".into())));
    assert_eq!(bench.core.may_release(&"cp9".into()), Err(ReleaseError::Empty("cp9".into())));
}

#[test]
fn a_majority_and_a_word_found_a_cluster_and_a_sign_of_one_outweighs_the_word() {
    let mut bench = bench::three_control_planes();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.step(Event::NewnessConfirmed { by: "ann".into() });
    assert!(bench.cluster_waiting().contains("cp2 is vacant"), "one of three is no majority");
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    bench.nobody_has_the_virtual_address();
    assert_eq!(bench.bootstrapping().1, "cp1");

    let mut bench = bench::three_control_planes();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.configure(2, "cp2", members(&["cp2"]));
    assert!(matches!(bench.core.may_be_new(Time(bench.now)), Err(NewnessError::Exists { .. })));
    bench.step(Event::NewnessConfirmed { by: "ann".into() });
    assert!(matches!(bench.core.cluster(), Cluster::Assembling { word: None, .. }));
}

#[test]
fn a_machine_that_had_its_config_already_proves_nothing_about_newness() {
    let mut bench = patient();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.permit("cp2");
    bench.ask(2, "cp2", true);
    bench.look("cp2", configured(2, "some boot", EtcdObservation::Waiting));
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(bench.cluster_waiting().contains("cp2 had a config already"), "{}", bench.cluster_waiting());
    bench.step(Event::NewnessConfirmed { by: "ann".into() });
    bench.nobody_has_the_virtual_address();
    assert_eq!(bench.bootstrapping().1, "cp1");
}

#[test]
fn a_store_that_was_brought_back_revives_no_permit_and_proves_no_newness() {
    let mut bench = patient();
    bench.permit("cp2");
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.records.is_older = true;
    bench.restart();
    assert!(matches!(bench.ask(2, "cp2", true), BootAnswer::Retry { .. }), "the permit is void");
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(bench.cluster_waiting().contains("backup"), "{}", bench.cluster_waiting());

    bench.records.is_older = false;
    bench.restart();
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));
    assert!(bench.cluster_waiting().contains("backup"), "the doubt is stored");
}

#[test]
fn a_cable_in_the_wrong_port_fences_a_machine_and_the_right_one_frees_it() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    let sighted = |node: &str| Event::Identified {
        machine: bench::machine(1),
        identity: Identity::Slot { node: node.into(), port: None, attested: true, evidence: Vec::new() },
    };
    bench.step(sighted("cp2"));
    assert!(matches!(bench.state("cp1"), NodeState::Fenced { .. }));
    bench.look("cp1", maintenance(1, "before"));
    assert!(!bench.is_applying());
    assert!(matches!(bench.ask(1, "cp2", true), BootAnswer::Refused { .. }));
    bench.step(sighted("cp1"));
    bench.look("cp1", maintenance(1, "before"));
    assert!(bench.is_applying());
}

#[test]
fn a_refused_config_is_tried_again_after_longer_and_longer_pauses() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        bench.look("cp1", maintenance(1, "before"));
        let ticket = bench.applying("cp1");
        let outcome = ApplyOutcome::Refused { reason: "no such field".into() };
        bench.step(Event::Applied { node: "cp1".into(), ticket, outcome });
        let NodeState::Failed { since, until, reason, .. } = bench.state("cp1") else { panic!("not failed") };
        assert!(reason.contains("no such field"));
        pauses.push(until.since(*since));
    }
    assert!(pauses.is_sorted() && pauses[0] < pauses[2], "{pauses:?}");
}

#[test]
fn a_state_that_lasts_too_long_says_where_to_look() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    assert_eq!(bench.hint("cp1"), None);
    bench.now += 31_000;
    bench.step(Event::Tick);
    assert!(bench.hint("cp1").unwrap().contains("no file request"), "{:?}", bench.hint("cp1"));
    bench.step(Event::Fetched { from: std::net::IpAddr::from([10, 0, 0, 101]) });
    assert!(matches!(bench.state("cp1"), NodeState::Deploying { progress: Progress::Kernel { .. }, .. }));
    assert_eq!(bench.hint("cp1"), None);
}

#[test]
fn a_clock_that_goes_back_stops_nothing() {
    let mut bench = two_control_planes();
    bench.now += 7_200_000;
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", maintenance(1, "before"));
    let ticket = bench.applying("cp1");
    bench.step(Event::Applied { node: "cp1".into(), ticket, outcome: ApplyOutcome::Accepted });
    bench.now -= 7_200_000;
    bench.step(Event::Tick);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(bench.state("cp1").is_configured());
}

#[test]
fn records_of_the_first_version_are_read() {
    let claim = serde_json::json!({
        "machine": { "macs": ["02:00:00:00:00:01"], "uuid": null, "serial": null },
        "port": null, "attested": true, "evidence": [], "netboot_address": null, "since": 1,
    });
    let node = serde_json::json!({
        "version": 1, "state": "deploying", "claim": claim,
        "permit": { "id": "p", "by": "ann", "expires": 9_999_999, "boots_left": 4 },
        "progress": { "at": "netbooting", "since": 5 },
    });
    let mut bench = two_control_planes();
    bench.records.nodes.insert("cp1".into(), node);
    bench.records.cluster =
        Some(serde_json::json!({ "version": 1, "cluster_id": "c1", "state": "assembling" }));
    let core = Core::restore(bench.plan(), &bench.records, 3).unwrap();
    assert!(matches!(
        core.node(&"cp1".into()),
        Some(NodeState::Deploying { progress: Progress::Firmware { .. }, .. })
    ));
    let _: Inventory = bench::inventory(1);
}
