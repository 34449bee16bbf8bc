//! What only a person can say, and what the core makes of a store that it cannot trust.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bench;

use std::net::IpAddr;

use bench::{Bench, configured, maintenance, members, patient, two_control_planes};
use lifecycle::{
    ApplyOutcome, BootAnswer, Cluster, Content, Effect, EtcdObservation, Event, Identity, NodeState,
    Observation, Order, Progress, Records, Role, State,
};

fn used(mut observation: Observation, talos: bool) -> Observation {
    if let Observation::Maintenance { contents, .. } = &mut observation {
        contents.push(Content { disk: bench::DISK.into(), what: "ext4, home".into(), talos });
    }
    observation
}

fn approve(bench: &mut Bench, disk: &str) {
    bench.order(Order::Erase { node: "cp1".into(), disk: disk.into() });
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

/// The command line of a signed image is in the image.
#[test]
fn where_what_is_booted_is_signed_no_netboot_wipes_and_a_person_is_told_how() {
    let mut site = bench::plan(&[("cp1", Role::ControlPlane)]);
    site.nodes.get_mut(&"cp1".into()).unwrap().signed = true;
    let mut bench = Bench::new(site);
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    let words = bench.core.weigh(&Order::Erase { node: "cp1".into(), disk: bench::DISK.into() }).unwrap();
    assert!(words.contains("wiped by hand"), "{words}");
    approve(&mut bench, bench::DISK);
    bench.now += 20_000;
    assert!(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }), "a wipe would do nothing");
    bench.look("cp1", used(maintenance(1, "before"), true));
    assert!(!bench.is_applying());
    let way = "`talosctl wipe disk nvme0n1 --insecure --nodes 10.0.0.101`";
    assert!(bench.waiting("cp1").contains(way), "{}", bench.waiting("cp1"));
    bench.look("cp1", maintenance(1, "before"));
    assert!(bench.is_applying());
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
fn a_majority_and_a_word_found_a_cluster_and_a_sign_of_one_outweighs_the_word() {
    let mut bench = bench::three_control_planes();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.order(Order::New {});
    assert!(bench.cluster_waiting().contains("cp2 is vacant"), "one of three is no majority");
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    bench.nobody_has_the_virtual_address();
    assert_eq!(bench.bootstrapping().1, "cp1");

    let mut bench = bench::three_control_planes();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    bench.configure(2, "cp2", members(&["cp2"]));
    let refused = bench.core.weigh(&Order::New {}).unwrap_err();
    assert!(refused.contains("etcd on cp2 has members"), "{refused}");
    bench.order(Order::New {});
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
    let words = bench.core.weigh(&Order::New {}).unwrap();
    assert!(words.contains("nothing is done before cp2 booted anew"), "{words}");
    bench.order(Order::New {});
    assert!(bench.cluster_waiting().contains("switch it off and on"), "{}", bench.cluster_waiting());
    bench.look("cp2", configured(2, "another boot", EtcdObservation::Waiting));
    bench.nobody_has_the_virtual_address();
    assert_eq!(bench.bootstrapping().1, "cp1");
}

/// A store that was lost with its mark looks like a new site, and a blank machine in the port of the only control plane
/// looks like its first one. What tells otherwise is a worker that runs.
#[test]
fn a_worker_that_runs_tells_of_a_cluster_that_the_store_has_forgotten() {
    let mut site = bench::plan(&[("cp1", Role::ControlPlane), ("w1", Role::Worker)]);
    site.timing.observe = std::time::Duration::from_secs(60);
    site.virtual_address = None;
    let mut bench = Bench::new(site);
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    let sought = |bench: &mut Bench| {
        bench.take(|effect| match effect {
            Effect::SeekCluster { ticket, nodes, .. } => Some((*ticket, nodes.clone())),
            _ => None,
        })
    };
    let (ticket, nodes) = sought(&mut bench);
    let worker = IpAddr::from([10, 0, 0, 12]);
    assert_eq!(nodes, [worker], "nobody is known to be w1");
    bench.step(Event::ClusterSought { ticket, owner: None, nodes: vec![worker] });
    assert!(
        bench.cluster_waiting().contains("answered with our CA (10.0.0.12)"),
        "{}",
        bench.cluster_waiting()
    );

    // that it does not answer while it is switched off and on changes nothing
    bench.permit("w1");
    bench.ask(2, "w1", true);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(matches!(bench.core.cluster(), Cluster::Assembling { .. }));
    bench.restart();
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert!(bench.cluster_waiting().contains("`ichord bootstrap --new`"), "{}", bench.cluster_waiting());
    bench.order(Order::New {});
    assert_eq!(bench.bootstrapping().1, "cp1");
}

#[test]
fn a_worker_that_had_its_config_already_makes_the_cluster_doubtful_too() {
    let mut site = bench::plan(&[("cp1", Role::ControlPlane), ("w1", Role::Worker)]);
    site.timing.observe = std::time::Duration::from_secs(60);
    let mut bench = Bench::new(site);
    bench.permit("w1");
    bench.ask(2, "w1", true);
    bench.look("w1", configured(2, "some boot", EtcdObservation::None));
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    assert!(bench.cluster_waiting().contains("w1 had a config already"), "{}", bench.cluster_waiting());
}

#[test]
fn nobody_is_sought_where_every_node_is_known() {
    let mut site = bench::plan(&[("cp1", Role::ControlPlane)]);
    site.virtual_address = None;
    let mut bench = Bench::new(site);
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    assert_eq!(bench.bootstrapping().1, "cp1");
}

/// cp1 had not come, a person's word was enough, and cp2 was asked. Then the store was lost, or an old one came back:
/// cp2 may have taken the call, which shows nowhere, and cp1 is there now.
#[test]
fn a_node_that_a_forgotten_life_asked_has_lost_that_before_another_is_asked() {
    for is_older in [true, false] {
        let mut bench = bench::three_control_planes();
        bench.configure(3, "cp3", EtcdObservation::Waiting);
        bench.permit("cp1");
        bench.permit("cp2");
        let before = bench.records.clone();
        bench.configure(2, "cp2", EtcdObservation::Waiting);
        bench.look("cp3", configured(3, "after", EtcdObservation::Waiting));
        bench.order(Order::New {});
        bench.nobody_has_the_virtual_address();
        assert_eq!(bench.bootstrapping().1, "cp2");

        bench.records = if is_older { Records { is_older, ..before } } else { Records::default() };
        bench.restart();
        bench.records.is_older = false;
        for (last, node) in [(1, "cp1"), (2, "cp2"), (3, "cp3")] {
            if !bench.core.node(&node.into()).unwrap().is_configured() {
                bench.permit(node);
                assert!(matches!(bench.ask(last, node, true), BootAnswer::Deploy { .. }));
            }
        }
        bench.look("cp1", maintenance(1, "before"));
        let ticket = bench.applying("cp1");
        bench.step(Event::Applied { node: "cp1".into(), ticket, outcome: ApplyOutcome::Accepted });
        let everybody = |bench: &mut Bench, boot: &str| {
            for (last, node) in [(1, "cp1"), (2, "cp2"), (3, "cp3")] {
                bench.look(node, configured(last, boot, EtcdObservation::Waiting));
            }
        };
        everybody(&mut bench, "after");
        assert!(bench.cluster_waiting().contains("`ichord bootstrap --new`"), "{}", bench.cluster_waiting());
        bench.order(Order::New {});
        everybody(&mut bench, "after");
        assert!(
            bench.cluster_waiting().contains("cp2, cp3 may have been asked to bootstrap"),
            "{}",
            bench.cluster_waiting()
        );
        // what was seen is not forgotten with the next death
        bench.restart();
        everybody(&mut bench, "after");
        assert!(bench.cluster_waiting().contains("switch them off and on"), "{}", bench.cluster_waiting());
        everybody(&mut bench, "a new boot");
        bench.nobody_has_the_virtual_address();
        assert_eq!(bench.bootstrapping().1, "cp1");
    }
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
    bench.step(Event::Fetched { from: IpAddr::from([10, 0, 0, 101]) });
    assert!(matches!(bench.state("cp1"), NodeState::Deploying { progress: Progress::Kernel { .. }, .. }));
    assert_eq!(bench.hint("cp1"), None);
}

/// A store as the first version wrote it, with what its claims and its ledger knew.
#[test]
fn records_of_the_first_version_are_read() {
    let claim = |last: u8| {
        serde_json::json!({
            "machine": { "macs": [format!("02:00:00:00:00:0{last}")], "uuid": null, "serial": null },
            "port": null, "attested": true, "vouched": "ab:cd", "evidence": [], "netboot_address": null, "since": 1,
        })
    };
    let permit = serde_json::json!({ "id": "p", "by": "ann", "expires": 9_999_999, "boots_left": 4 });
    let deploying = |last: u8, progress: serde_json::Value| {
        serde_json::json!({
            "version": 1, "state": "deploying", "claim": claim(last), "permit": permit, "progress": progress,
        })
    };
    let installing = serde_json::json!({ "at": "installing", "since": 5, "boot_id": "before" });
    let mut bench = bench::three_control_planes();
    let nodes = &mut bench.records.nodes;
    nodes.insert("cp1".into(), deploying(1, serde_json::json!({ "at": "netbooting", "since": 5 })));
    nodes.insert("cp2".into(), deploying(2, installing));
    let ready = serde_json::json!({
        "version": 1, "state": "ready", "claim": claim(3), "boot_id": "x", "since": 7,
        "approved": { "machine": claim(4)["machine"], "by": "ann" },
    });
    nodes.insert("cp3".into(), ready);
    bench.records.cluster = Some(serde_json::json!({
        "version": 1, "cluster_id": "c1", "state": "assembling",
        "ledger": { "retired": [{ "machine": claim(9)["machine"], "node": "cp3", "by": "ann", "at": 3 }] },
    }));
    bench.restart();
    let is_at = |bench: &Bench, node: &str, at: State| assert_eq!(bench.state(node).state(), at, "{node}");
    is_at(&bench, "cp1", State::Firmware);
    is_at(&bench, "cp2", State::Installing);
    is_at(&bench, "cp3", State::Ready);
    assert_eq!(bench.core.view(lifecycle::Time(bench.now)).fenced.len(), 1);
    // it was told by us: the boot that was told proves nothing, the next one does
    bench.look("cp2", configured(2, "before", EtcdObservation::Waiting));
    is_at(&bench, "cp2", State::Installing);
    bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));
    assert!(matches!(bench.state("cp2"), NodeState::Configured { pushed: true, .. }));
    // what is written now is the second version, and is read again
    assert_eq!(bench.records.nodes[&"cp2".into()]["version"], 2);
    bench.restart();
    is_at(&bench, "cp2", State::Configured);
}

/// A look at the boot that took the config may end after the machine has asked its firmware again.
#[test]
fn the_boot_that_took_the_config_proves_nothing_after_the_next_question_either() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", maintenance(1, "before"));
    let ticket = bench.applying("cp1");
    bench.step(Event::Applied { node: "cp1".into(), ticket, outcome: ApplyOutcome::Accepted });
    bench.now += 20_000;
    bench.ask(1, "cp1", true);
    bench.look("cp1", configured(1, "before", EtcdObservation::Waiting));
    assert_eq!(bench.state("cp1").state(), State::Firmware);
    bench.look("cp1", configured(1, "after", EtcdObservation::Waiting));
    assert_eq!(bench.state("cp1").state(), State::Configured);
}

/// A look ends at the first address that answers: whoever answers there must not hide the machine for ever.
#[test]
fn strangers_at_every_address_but_one_do_not_hide_the_machine() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    let elsewhere = |last: u8, observation: Observation| match observation {
        Observation::Maintenance { fingerprint, boot_id, inventory, contents, .. } => {
            Observation::Maintenance {
                address: IpAddr::from([10, 0, 0, last]),
                fingerprint,
                boot_id,
                inventory,
                contents,
            }
        }
        other => other,
    };
    bench.look("cp1", elsewhere(101, maintenance(7, "x")));
    assert_eq!(bench.candidates("cp1")[0], IpAddr::from([10, 0, 0, 11]), "the stranger's comes last");
    bench.restart();
    bench.look("cp1", elsewhere(101, maintenance(7, "x")));
    bench.look("cp1", elsewhere(11, maintenance(8, "y")));
    assert_eq!(bench.candidates("cp1")[0], IpAddr::from([10, 0, 0, 101]), "and they take turns");
}

#[test]
fn a_backup_revives_neither_a_wipe_nor_an_approval_nor_a_replacement() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    approve(&mut bench, bench::DISK);
    bench.records.is_older = true;
    bench.restart();
    bench.permit("cp1");
    bench.now += 20_000;
    assert!(
        matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }),
        "the word may have been used since"
    );
}

#[test]
fn cables_that_flip_make_no_boot_for_which_no_permit_pays() {
    let mut bench = two_control_planes();
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    let mut boots = 1;
    for _ in 0..10 {
        bench.now += 20_000;
        for node in ["cp2", "cp1"] {
            let identity =
                Identity::Slot { node: node.into(), port: None, attested: true, evidence: Vec::new() };
            bench.step(Event::Identified { machine: bench::machine(1), identity });
        }
        boots += u32::from(matches!(bench.ask(1, "cp1", true), BootAnswer::Deploy { .. }));
    }
    assert_eq!(boots, 5);
}

#[test]
fn a_word_stands_in_for_a_missing_control_plane_or_for_a_lost_store_but_not_for_both() {
    let mut bench = bench::three_control_planes();
    bench.configure(2, "cp2", EtcdObservation::Waiting);
    bench.configure(3, "cp3", EtcdObservation::Waiting);
    bench.records.is_older = true;
    bench.restart();
    bench.look("cp2", configured(2, "after", EtcdObservation::Waiting));
    bench.look("cp3", configured(3, "after", EtcdObservation::Waiting));
    bench.order(Order::New {});
    assert!(bench.cluster_waiting().contains("every control plane"), "{}", bench.cluster_waiting());
    assert!(matches!(bench.core.cluster(), Cluster::Assembling { .. }));
}

/// Members that were seen are not forgotten with the machine that told of them: it is released, a blank one comes, and
/// only a word founds a second cluster.
#[test]
fn a_cluster_that_was_seen_does_not_end_with_the_machine_that_told_of_it() {
    let mut site = bench::plan(&[("cp1", Role::ControlPlane)]);
    site.timing.observe = std::time::Duration::from_secs(60);
    let mut bench = Bench::new(site);
    bench.permit("cp1");
    bench.ask(1, "cp1", true);
    bench.look("cp1", configured(1, "some boot", members(&["cp1"])));
    let silent = || Observation::Silent { detail: "nothing".into() };
    bench.look("cp1", silent());
    let refused = bench.core.weigh(&Order::Release { node: "cp1".into() }).unwrap_err();
    assert!(refused.contains("no other one tells etcd's members"), "{refused}");
    assert!(bench.cluster_waiting().contains("etcd had members"), "{}", bench.cluster_waiting());
    bench.restart();
    bench.look("cp1", silent());
    assert!(bench.core.weigh(&Order::Release { node: "cp1".into() }).is_err(), "after a death, too");

    bench.order(Order::New {});
    bench.order(Order::Release { node: "cp1".into() });
    bench.configure(2, "cp1", EtcdObservation::Waiting);
    bench.nobody_has_the_virtual_address();
    assert_eq!(bench.bootstrapping().1, "cp1");
}

#[test]
fn a_rival_is_gone_when_the_holder_is_in_its_place_again() {
    let mut bench = two_control_planes();
    bench.configure(1, "cp1", EtcdObservation::Waiting);
    let rival =
        |bench: &Bench| bench.core.view(lifecycle::Time(bench.now)).nodes[&"cp1".into()].rival.clone();
    bench.ask(3, "cp1", true);
    assert!(rival(&bench).is_some());
    bench.ask(1, "cp1", true);
    assert_eq!(rival(&bench), None);
}
