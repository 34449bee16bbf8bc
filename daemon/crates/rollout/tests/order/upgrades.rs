//! Another Talos: one node after the other, each with a snapshot kept before it, and an end where one goes back.

use proptest::prelude::*;
use rollout::order::{Next, PATIENCE, Record, Task, next};

use crate::cluster::{Cluster, Luck, TICK, any_node, never, record};

fn to_be_upgraded(control_planes: usize, workers: usize, elder: bool) -> Cluster {
    let mut cluster = Cluster::of(control_planes, workers, None);
    cluster.kubernetes = true;
    cluster.nodes.values_mut().for_each(|node| (node.wanted, node.elder) = (14, elder));
    cluster
}

fn upgrade() -> Record {
    Record { task: Task::Upgrade, ..record(None) }
}

#[test]
fn another_talos_comes_to_one_node_after_the_other() {
    for elder in [false, true] {
        let mut cluster = to_be_upgraded(3, 2, elder);
        let mut record = upgrade();
        assert_eq!(cluster.roll(&mut record, &mut never()), Next::Done);
        assert_eq!(record.done, ["cp1", "cp2", "cp3", "w1", "w2"]);
        assert!(record.snapshot.is_some());
        for node in cluster.nodes.values() {
            assert_eq!((node.talos, node.boots, node.installs, node.open), (14, 2, 1, true));
        }
    }
}

#[test]
fn a_node_that_goes_back_to_its_old_talos_ends_it_and_is_let_work_again() {
    for elder in [false, true] {
        let mut cluster = to_be_upgraded(3, 2, elder);
        cluster.nodes.get_mut("cp2").unwrap().luck = Luck::Stubborn;
        let mut record = upgrade();
        let ended = cluster.roll(&mut record, &mut never());
        let said = "cp2 was to run 14 and has come back with 13";
        assert!(matches!(&ended, Next::GiveUp(reason) if reason.contains(said)), "{ended:?}");
        assert_eq!(record.done, ["cp1"]);
        assert!(cluster.nodes["cp2"].open && cluster.nodes["cp3"].installs == 0);
    }
}

#[test]
fn an_installer_that_fails_takes_no_work_from_its_node() {
    let mut cluster = to_be_upgraded(3, 0, false);
    let mut record = upgrade();
    cluster.nodes.get_mut("cp1").unwrap().luck = Luck::Deaf;
    let mut turns = 0;
    // the command is killed right after the first, failed try
    let mut killed = || {
        turns += 1;
        (turns == 3).then_some(true)
    };
    assert_eq!(cluster.roll(&mut record, &mut killed), Next::Done);
    assert_eq!(cluster.nodes["cp1"].installs, 2);

    // one that never runs is a person's to look at, and the node has all of its pods
    let mut cluster = to_be_upgraded(3, 0, false);
    let mut record = upgrade();
    loop {
        let asked = next(&record, &cluster.looks(), &cluster.work(), cluster.now);
        match asked {
            Next::Begin(current) => record.begin(current, cluster.now),
            Next::Snapshot(_) => record.snapshot = Some("kept".to_owned()),
            Next::Install(_) => record.ask(true, cluster.now),
            Next::Wait(_) => {}
            Next::Stop(reason) => {
                assert!(reason.contains("told 3 times"), "{reason}");
                break;
            }
            other => panic!("{other:?}"),
        }
        cluster.now += TICK;
    }
    assert_eq!((cluster.nodes["cp1"].pods, cluster.nodes["cp1"].open), (3, true));
    // who gives the command again has looked
    record.take_up(cluster.now);
    assert!(matches!(next(&record, &cluster.looks(), &cluster.work(), cluster.now), Next::Install(_)));
}

#[test]
fn without_a_snapshot_no_node_is_upgraded() {
    let mut cluster = to_be_upgraded(3, 0, false);
    cluster.now += PATIENCE + 1;
    let ended = next(&upgrade(), &cluster.looks(), &cluster.work(), cluster.now);
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("no snapshot of etcd")), "{ended:?}");
    assert!(cluster.nodes.values().all(|node| node.installs == 0));
}

proptest! {
    #[test]
    fn whatever_happens_an_upgrade_ends_and_the_quorum_is_kept(
        control_planes in prop::sample::select(vec![3_usize, 5]),
        nodes in prop::collection::vec((any_node(), any::<bool>()), 10),
        deaths in prop::collection::vec(prop::option::weighted(0.4, any::<bool>()), 0..8),
        kubernetes in any::<bool>(),
    ) {
        let mut cluster = to_be_upgraded(control_planes, 3, false);
        cluster.kubernetes = kubernetes;
        for (node, ((_, luck, elder), has_it)) in cluster.nodes.values_mut().zip(&nodes) {
            (node.luck, node.elder) = (*luck, *elder);
            if *has_it {
                (node.talos, node.on_disk) = (14, 14);
            }
        }
        let had: Vec<bool> = cluster.nodes.values().map(|node| node.talos == 14).collect();
        let mut record = upgrade();
        let mut deaths = deaths.into_iter();
        let ended = cluster.roll(&mut record, &mut || deaths.next().flatten());
        prop_assert!(cluster.has_quorum());
        let down = cluster.nodes.values().filter(|node| !node.is_up(cluster.now)).count();
        prop_assert!(down <= 1, "{down} are down");
        for ((name, node), had) in cluster.nodes.iter().zip(had) {
            prop_assert!(!had || (node.boots, node.installs) == (1, 0), "{} was touched for nothing", name);
            prop_assert!(node.boots <= 2, "{name} has booted {} times", node.boots);
            if ended == Next::Done {
                prop_assert!(node.talos == 14 && node.open, "{}: {:?}", name, node);
            }
        }
    }
}
