//! A rollout over a simulated cluster: nodes that boot, die, take a config and lose the reply; a driver that is killed between
//! what it stores and what it does. Whatever happens, etcd keeps its quorum as far as we are concerned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod cluster;
mod upgrades;

use std::collections::BTreeSet;

use proptest::prelude::*;
use rollout::Class;
use rollout::order::{Etcd, Next, PATIENCE, Record, Task, Work, next};

use crate::cluster::{Cluster, Luck, any_node, never, of_task, record};

#[test]
fn control_planes_come_first_and_who_leads_comes_last_of_them() {
    for class in [Class::Live, Class::Reboot] {
        let mut cluster = Cluster::of(3, 2, Some(class));
        // cp3 leads while all are well; when it boots, cp2 does
        let mut record = record(None);
        assert_eq!(cluster.roll(&mut record, &mut never()), Next::Done);
        assert_eq!(record.done, ["cp1", "cp2", "cp3", "w1", "w2"]);
        let boots = if class == Class::Reboot { 2 } else { 1 };
        assert!(cluster.nodes.values().all(|node| node.given == 1 && node.boots == boots));
    }
}

#[test]
fn a_node_has_to_be_as_well_as_before_and_not_better() {
    let mut cluster = Cluster::of(3, 0, Some(Class::Live));
    cluster.nodes.values_mut().for_each(|node| node.complains = true);
    assert_eq!(cluster.roll(&mut record(None), &mut never()), Next::Done);

    let mut cluster = Cluster::of(3, 0, Some(Class::Live));
    let mut record = record(None);
    let Next::Begin(current) = next(&record, &cluster.looks(), &cluster.work(), cluster.now) else {
        panic!("cp1 begins")
    };
    let node = cluster.nodes.get_mut(&current.node).unwrap();
    (node.class, node.complains) = (None, true);
    record.begin(current, cluster.now);
    let ended = cluster.roll(&mut record, &mut never());
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("not as well as it was")), "{ended:?}");
}

#[test]
fn one_node_is_all_when_only_one_is_meant() {
    let mut cluster = Cluster::of(3, 2, Some(Class::Reboot));
    let mut record = record(Some("w2"));
    assert_eq!(cluster.roll(&mut record, &mut never()), Next::Done);
    assert_eq!(record.done, ["w2"]);
    assert_eq!(cluster.nodes.values().map(|node| node.given).sum::<u32>(), 1);
}

#[test]
fn what_cannot_be_made_in_place_changes_nothing_anywhere() {
    for class in [Class::Refused, Class::Reinstall] {
        let mut cluster = Cluster::of(3, 2, Some(Class::Live));
        cluster.nodes.get_mut("w2").unwrap().class = Some(class);
        let ended = cluster.roll(&mut record(None), &mut never());
        assert!(matches!(&ended, Next::Stop(reason) if reason.contains("a change of w2")), "{ended:?}");
        assert!(cluster.nodes.values().all(|node| node.given == 0 && node.boots == 1));
    }
}

#[test]
fn too_few_voting_members_want_a_word_first() {
    for count in [1, 2] {
        let mut cluster = Cluster::of(count, 1, Some(Class::Reboot));
        let ended = cluster.roll(&mut record(None), &mut never());
        assert!(matches!(&ended, Next::Stop(reason) if reason.contains("--accept-downtime")), "{ended:?}");
        assert!(cluster.nodes.values().all(|node| node.given == 0));
        let mut accepted = Record { accepts_downtime: true, ..record(None) };
        assert_eq!(cluster.roll(&mut accepted, &mut never()), Next::Done);
        // what takes no boot takes no word either
        assert_eq!(
            Cluster::of(count, 1, Some(Class::Live)).roll(&mut record(None), &mut never()),
            Next::Done
        );
    }
}

#[test]
fn nothing_follows_the_first_that_does_not_come_back() {
    let mut cluster = Cluster::of(3, 2, Some(Class::Reboot));
    cluster.nodes.get_mut("cp2").unwrap().luck = Luck::Dies;
    let mut record = record(None);
    let ended = cluster.roll(&mut record, &mut never());
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("cp2 has not come back")), "{ended:?}");
    assert_eq!(record.done, ["cp1"]);
    assert_eq!(cluster.nodes["cp3"].given + cluster.nodes["w1"].given + cluster.nodes["w2"].given, 0);
    // and asking again, with the patience renewed, does not go past it either
    record.since = cluster.now;
    assert!(matches!(next(&record, &cluster.looks(), &cluster.work(), cluster.now), Next::Wait(_)));
}

#[test]
fn nothing_begins_while_somebody_is_missing() {
    for missing in ["cp3", "w1"] {
        let mut cluster = Cluster::of(3, 2, Some(Class::Live));
        cluster.nodes.get_mut(missing).unwrap().down_until = u64::MAX;
        let ended = cluster.roll(&mut record(None), &mut never());
        assert!(matches!(&ended, Next::Stop(reason) if reason.starts_with(missing)), "{ended:?}");
        assert!(cluster.nodes.values().all(|node| node.given == 0));
    }
}

#[test]
fn a_config_that_is_never_in_force_is_not_offered_for_ever() {
    let mut cluster = Cluster::of(3, 0, Some(Class::Live));
    cluster.nodes.get_mut("cp1").unwrap().luck = Luck::Stubborn;
    let ended = cluster.roll(&mut record(None), &mut never());
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("given its config 3 times")), "{ended:?}");
    assert_eq!(cluster.nodes["cp1"].given, 3);
    assert_eq!(cluster.nodes["cp2"].given, 0);
}

#[test]
fn etcd_that_is_not_whole_is_waited_for() {
    let cluster = Cluster::of(3, 0, Some(Class::Live));
    type Fault = fn(&mut Etcd);
    let faults: [Fault; 4] = [
        |etcd| etcd.leader = 0,
        |etcd| etcd.complains = true,
        |etcd| etcd.leader = 1,
        |etcd| _ = etcd.voters.pop_first(),
    ];
    for fault in faults {
        let mut looks = cluster.looks();
        fault(looks.get_mut("cp2").unwrap().told.as_mut().unwrap().etcd.as_mut().unwrap());
        assert!(matches!(next(&record(None), &looks, &Work::default(), 1_000_000), Next::Wait(_)));
        assert!(matches!(next(&record(None), &looks, &Work::default(), 1_000_001 + PATIENCE), Next::Stop(_)));
    }
    // a member that is no control plane of the site
    let mut looks = cluster.looks();
    for look in looks.values_mut() {
        look.told.as_mut().unwrap().etcd.as_mut().unwrap().voters.insert(99);
    }
    assert!(matches!(next(&record(None), &looks, &Work::default(), 1_000_000), Next::Wait(_)));
}

#[test]
fn nodes_that_boot_are_emptied_one_at_a_time_and_opened_when_their_volumes_can_be_written_anew() {
    let mut cluster = Cluster::of(3, 2, Some(Class::Reboot));
    // longer than a node may take to come back: replicas take as long as there is data
    (cluster.kubernetes, cluster.rebuild) = (true, 2 * PATIENCE);
    let mut rolled = record(None);
    assert_eq!(cluster.roll(&mut rolled, &mut never()), Next::Done);
    assert_eq!(rolled.done, ["cp1", "cp2", "cp3", "w1", "w2"]);
    assert!(cluster.nodes.values().all(|node| node.open && node.pods == 0 && node.boots == 2));

    // what takes no boot moves nobody
    let mut cluster = Cluster::of(3, 2, Some(Class::Live));
    cluster.kubernetes = true;
    assert_eq!(cluster.roll(&mut record(None), &mut never()), Next::Done);
    assert!(cluster.nodes.values().all(|node| node.open && node.pods == 3));
}

#[test]
fn what_a_person_had_closed_stays_closed_and_what_they_decided_is_done() {
    let mut cluster = Cluster::of(3, 1, None);
    cluster.kubernetes = true;
    let worker = cluster.nodes.get_mut("w1").unwrap();
    (worker.class, worker.open) = (Some(Class::Reboot), false);
    // the check of `roll` is about nodes that we have closed
    let mut rolled = record(Some("w1"));
    let Next::Begin(current) = next(&rolled, &cluster.looks(), &cluster.work(), cluster.now) else {
        panic!("w1 begins")
    };
    rolled.begin(current, cluster.now);
    assert_eq!(cluster.roll(&mut rolled, &mut never()), Next::Done);
    assert!(!cluster.nodes["w1"].open && cluster.nodes["w1"].pods == 0);

    let mut cluster = Cluster::of(3, 1, Some(Class::Reboot));
    cluster.kubernetes = true;
    let mut keeps = Record { keeps_pods: true, ..record(None) };
    assert_eq!(cluster.roll(&mut keeps, &mut never()), Next::Done);
    assert!(cluster.nodes.values().all(|node| node.open && node.pods == 3));

    // decided in the middle of a drain that does not end: it boots, and is opened afterwards
    let mut cluster = Cluster::of(3, 1, Some(Class::Reboot));
    cluster.kubernetes = true;
    let mut stuck = record(Some("w1"));
    let Next::Begin(current) = next(&stuck, &cluster.looks(), &cluster.work(), cluster.now) else {
        panic!("w1 begins")
    };
    stuck.begin(current, cluster.now);
    assert!(matches!(next(&stuck, &cluster.looks(), &cluster.work(), cluster.now), Next::Drain(_)));
    cluster.nodes.get_mut("w1").unwrap().open = false;
    stuck.keep_pods(true);
    assert_eq!(cluster.roll(&mut stuck, &mut never()), Next::Done);
    assert!(cluster.nodes["w1"].open && cluster.nodes["w1"].boots == 2);
}

#[test]
fn no_node_goes_down_while_volumes_lack_replicas() {
    let mut cluster = Cluster::of(3, 1, Some(Class::Reboot));
    (cluster.kubernetes, cluster.unwell_until) = (true, u64::MAX);
    let ended = cluster.roll(&mut record(None), &mut never());
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("(pvc-1)")), "{ended:?}");
    assert!(cluster.nodes.values().all(|node| node.boots == 1 && node.open));
}

#[test]
fn one_node_is_maintained_and_keeps_the_quorum() {
    for task in [Task::Reboot, Task::Shutdown] {
        for (control_planes, name, accepts) in [(3, "cp2", false), (1, "w1", false), (1, "cp1", true)] {
            let mut cluster = Cluster::of(control_planes, 2, Some(Class::Live));
            cluster.kubernetes = true;
            let mut record = of_task(task, name, accepts);
            assert_eq!(cluster.roll(&mut record, &mut never()), Next::Done, "{task:?} of {name}");
            assert_eq!((record.done, cluster.nodes[name].boots), (vec![name.to_owned()], 2));
            assert_eq!(
                cluster.nodes.values().map(|node| node.boots + node.given).sum::<u32>(),
                cluster.nodes.len() as u32 + 1
            );
            assert!(cluster.nodes[name].open && cluster.nodes[name].pods == 0);
        }
        let mut cluster = Cluster::of(2, 1, None);
        let mut record = of_task(task, "cp1", false);
        let ended = cluster.roll(&mut record, &mut never());
        assert!(matches!(&ended, Next::Stop(reason) if reason.contains("--accept-downtime")), "{ended:?}");
        assert_eq!(cluster.nodes["cp1"].boots, 1);
    }
    // whoever works on a machine says when it is back
    let mut cluster = Cluster::of(3, 1, None);
    let mut off = of_task(Task::Shutdown, "w1", false);
    let Next::Begin(current) = next(&off, &cluster.looks(), &cluster.work(), cluster.now) else {
        panic!("w1 begins")
    };
    off.begin(current, cluster.now);
    off.ask(false, cluster.now);
    cluster.nodes.get_mut("w1").unwrap().down_until = u64::MAX;
    let later = cluster.now + 100 * PATIENCE;
    let told = next(&off, &cluster.looks(), &cluster.work(), later);
    assert!(matches!(&told, Next::Wait(reason) if reason.contains("switch it on again")), "{told:?}");
    // a boot that does not end is another matter
    off.task = Task::Reboot;
    assert!(matches!(next(&off, &cluster.looks(), &cluster.work(), later), Next::Stop(_)));
}

#[test]
fn a_record_of_before_is_read() {
    let old = r#"{"only":null,"accepts_downtime":false,"since":1,"done":["a"],"current":{"node":"b","boot":"1","must_boot":true,"was_settled":true,"was_ready":true,"tries":1,"asked":2}}"#;
    let record: Record = serde_json::from_str(old).unwrap();
    assert_eq!((record.task, record.keeps_pods), (Task::Apply, false));
    let one = old.replacen("null", "\"b\"", 1);
    let record: Record = serde_json::from_str(&one).unwrap();
    assert_eq!(record.nodes, BTreeSet::from(["b".to_owned()]));
    let again: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
    assert_eq!(again, record);
}

#[test]
fn an_order_that_a_dead_command_may_have_given_is_given_at_once_unless_it_is_seen_to_be_carried_out() {
    for task in [Task::Reboot, Task::Shutdown] {
        let cluster = Cluster::of(3, 1, None);
        let mut record = of_task(task, "w1", false);
        let Next::Begin(current) = next(&record, &cluster.looks(), &cluster.work(), cluster.now) else {
            panic!("w1 begins")
        };
        record.begin(current, cluster.now);
        record.ask(false, cluster.now);
        let asked = |record: &Record, leaves: bool| {
            let mut looks = cluster.looks();
            looks.get_mut("w1").unwrap().told.as_mut().unwrap().leaves = leaves;
            next(record, &looks, &cluster.work(), cluster.now)
        };
        assert!(matches!(asked(&record, false), Next::Wait(_)), "it was given this moment");
        record.take_up(cluster.now);
        assert!(matches!(asked(&record, false), Next::Reboot(_) | Next::Shutdown(_)));
        assert!(matches!(asked(&record, true), Next::Wait(reason) if reason.contains("on its way down")));
    }
}

#[test]
fn what_cannot_be_done_is_not_tried_for_ever() {
    let mut cluster = Cluster::of(3, 1, None);
    cluster.kubernetes = true;
    let mut record = of_task(Task::Reboot, "w1", false);
    let Next::Begin(current) = next(&record, &cluster.looks(), &cluster.work(), cluster.now) else {
        panic!("w1 begins")
    };
    record.begin(current, cluster.now);
    assert!(matches!(next(&record, &cluster.looks(), &cluster.work(), cluster.now), Next::Drain(_)));
    let later = cluster.now + PATIENCE + 1;
    let ended = next(&record, &cluster.looks(), &cluster.work(), later);
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("cannot be emptied")), "{ended:?}");
}

proptest! {
    #[test]
    fn whatever_happens_a_rollout_ends_and_the_quorum_is_kept(
        control_planes in prop::sample::select(vec![3_usize, 5]),
        nodes in prop::collection::vec(any_node(), 10),
        deaths in prop::collection::vec(prop::option::weighted(0.4, any::<bool>()), 0..6),
        kubernetes in any::<bool>(),
    ) {
        let mut cluster = Cluster::of(control_planes, 3, None);
        (cluster.kubernetes, cluster.rebuild) = (kubernetes, 30_000);
        for (node, (class, luck, reboots_itself)) in cluster.nodes.values_mut().zip(&nodes) {
            (node.class, node.luck, node.reboots_itself) = (*class, *luck, *reboots_itself);
        }
        let wanted: Vec<_> = cluster.nodes.iter().map(|(name, node)| (name.clone(), node.class, node.luck)).collect();
        let mut record = record(None);
        let mut deaths = deaths.into_iter();
        let ended = cluster.roll(&mut record, &mut || deaths.next().flatten());
        prop_assert!(cluster.has_quorum(), "of a quorum of {control_planes} we take one away at most");
        let down = cluster.nodes.values().filter(|node| !node.is_up(cluster.now)).count();
        prop_assert!(down <= 1, "{down} are down");
        for (name, class, luck) in wanted {
            let node = &cluster.nodes[&name];
            prop_assert!(node.given <= 3 && node.told_to_boot <= 1, "{name}: {node:?}");
            if class.is_none() {
                prop_assert_eq!((node.given, node.boots), (0, 1), "{} was touched for nothing", name);
            }
            if ended == Next::Done {
                prop_assert!(node.open, "{name} is left closed");
                prop_assert_eq!(node.class, None, "{} has not got it", &name);
                let boots = if class == Some(Class::Reboot) { 2 } else { 1 };
                prop_assert_eq!(node.boots, boots, "{} with {:?}", name, luck);
            }
        }
    }
}
