//! A rollout over a simulated cluster: nodes that boot, die, take a config and lose the reply; a driver that is killed between
//! what it stores and what it does. Whatever happens, etcd keeps its quorum as far as we are concerned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rollout::Class;
use rollout::order::{Etcd, Look, Next, PATIENCE, Record, Told, next};

/// Milliseconds between two looks.
const TICK: u64 = 5_000;

/// What becomes of a node that is asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Fine,
    /// what it is asked for does not arrive, the first time
    Deaf,
    /// it goes down and stays there
    Dies,
    /// it takes every config and runs with the old one
    Stubborn,
}

#[derive(Debug, Clone)]
struct Node {
    control_plane: bool,
    class: Option<Class>,
    reboots_itself: bool,
    luck: Luck,
    boots: u32,
    /// it is back then; for ever is never
    down_until: u64,
    /// etcd and Kubernetes follow later
    well_at: u64,
    /// something is unmet there, whatever we do
    complains: bool,
    /// how often it was given a config, and told to boot
    given: u32,
    told_to_boot: u32,
}

impl Node {
    fn new(control_plane: bool, class: Option<Class>) -> Self {
        Self {
            control_plane,
            class,
            reboots_itself: false,
            luck: Luck::Fine,
            boots: 1,
            down_until: 0,
            well_at: 0,
            complains: false,
            given: 0,
            told_to_boot: 0,
        }
    }

    fn boot(&mut self, now: u64) {
        self.boots += 1;
        self.down_until = if self.luck == Luck::Dies { u64::MAX } else { now + 40_000 };
        self.well_at = self.down_until.saturating_add(20_000);
    }

    fn take_config(&mut self, now: u64) {
        self.given += 1;
        if self.luck == Luck::Deaf && self.given == 1 || self.luck == Luck::Stubborn {
            return;
        }
        let class = self.class.take();
        if self.reboots_itself && class == Some(Class::Reboot) {
            self.boot(now);
        }
    }

    fn is_up(&self, now: u64) -> bool {
        now >= self.down_until
    }
}

struct Cluster {
    nodes: BTreeMap<String, Node>,
    now: u64,
}

impl Cluster {
    fn new(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Self {
        let nodes = nodes.into_iter().map(|(name, node)| (name.to_owned(), node));
        Self { nodes: nodes.collect(), now: 1_000_000 }
    }

    fn of(control_planes: usize, workers: usize, class: Option<Class>) -> Self {
        const NAMES: [&str; 10] = ["cp1", "cp2", "cp3", "cp4", "cp5", "w1", "w2", "w3", "w4", "w5"];
        let of = |names: &'static [&'static str], count, control_plane| {
            names.iter().take(count).map(move |name| (*name, Node::new(control_plane, class)))
        };
        Self::new(of(&NAMES[..5], control_planes, true).chain(of(&NAMES[5..], workers, false)))
    }

    fn id(name: &str) -> u64 {
        name.bytes().fold(7, |id, byte| id * 31 + u64::from(byte))
    }

    fn voters(&self) -> Vec<&String> {
        self.nodes.iter().filter(|(_, node)| node.control_plane).map(|(name, _)| name).collect()
    }

    fn has_quorum(&self) -> bool {
        let voters = self.voters();
        let up = voters.iter().filter(|name| self.nodes[**name].is_up(self.now)).count();
        up > voters.len() / 2
    }

    /// The lead is with the last control plane that is well; nobody leads without a quorum.
    fn looks(&self) -> BTreeMap<String, Look> {
        let voters: BTreeSet<u64> = self.voters().into_iter().map(|name| Self::id(name)).collect();
        let well = |name: &&&String| self.nodes[**name].well_at <= self.now;
        let leader = if self.has_quorum() {
            self.voters().iter().rfind(well).map(|name| Self::id(name))
        } else {
            None
        };
        let look = |(name, node): (&String, &Node)| {
            let etcd = Etcd {
                member: Self::id(name),
                leader: leader.unwrap_or(0),
                voters: voters.clone(),
                complains: false,
            };
            let is_well = node.well_at <= self.now;
            let told = Told {
                boot: Some(node.boots.to_string()),
                class: node.class,
                reboots_itself: node.reboots_itself,
                running: is_well,
                settled: is_well && !node.complains,
                ready: Some(is_well),
                etcd: (node.control_plane && is_well).then_some(etcd),
            };
            let told = node.is_up(self.now).then_some(told);
            (name.clone(), Look { control_plane: node.control_plane, told })
        };
        self.nodes.iter().map(look).collect()
    }

    /// Runs a rollout to its end; `killed` says of each turn whether the driver dies in it, before or after what it does.
    fn roll(&mut self, record: &mut Record, killed: &mut dyn FnMut() -> Option<bool>) -> Next {
        for _ in 0..4_000 {
            let asked = next(record, &self.looks(), self.now);
            self.check(record, &asked);
            match &asked {
                Next::Done | Next::Stop(_) => return asked,
                Next::Wait(_) => {}
                Next::Begin(current) => record.begin(current.clone(), self.now),
                Next::Finished(_) => record.finish(self.now),
                Next::Apply(name) | Next::Reboot(name) => {
                    let config = matches!(asked, Next::Apply(_));
                    // dead before the record is stored: nothing of it happened
                    let dies = killed();
                    if dies != Some(true) {
                        record.ask(config, self.now);
                    }
                    // dead after it was stored and before it was done
                    if dies.is_none() {
                        let (node, now) = (self.nodes.get_mut(name).expect("a node"), self.now);
                        if config {
                            node.take_config(now);
                        } else {
                            node.told_to_boot += 1;
                            node.boot(now);
                        }
                    }
                }
            }
            if !matches!(asked, Next::Begin(_) | Next::Finished(_)) {
                self.now += TICK;
            }
        }
        panic!("no end: {record:?}");
    }

    /// What must hold whenever something is asked of a node.
    fn check(&self, record: &Record, asked: &Next) {
        let (Next::Apply(name) | Next::Reboot(name)) = asked else { return };
        assert_eq!(
            record.current.as_ref().map(|current| &current.node),
            Some(name),
            "it was not stored before"
        );
        let others_down = self.nodes.iter().filter(|(other, node)| *other != name && !node.is_up(self.now));
        let others_down: Vec<_> = others_down.map(|(other, _)| other).collect();
        if self.nodes[name].control_plane && record.current.as_ref().is_some_and(|it| it.tries == 0) {
            assert!(others_down.is_empty(), "{name} begins while {others_down:?} are down");
            assert!(self.has_quorum());
        }
    }
}

fn record(only: Option<&str>) -> Record {
    Record::new(only.map(str::to_owned), false, 1_000_000)
}

fn never() -> impl FnMut() -> Option<bool> {
    || None
}

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
    let Next::Begin(current) = next(&record, &cluster.looks(), cluster.now) else { panic!("cp1 begins") };
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
    assert!(matches!(next(&record, &cluster.looks(), cluster.now), Next::Wait(_)));
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
        assert!(matches!(next(&record(None), &looks, 1_000_000), Next::Wait(_)));
        assert!(matches!(next(&record(None), &looks, 1_000_001 + PATIENCE), Next::Stop(_)));
    }
    // a member that is no control plane of the site
    let mut looks = cluster.looks();
    for look in looks.values_mut() {
        look.told.as_mut().unwrap().etcd.as_mut().unwrap().voters.insert(99);
    }
    assert!(matches!(next(&record(None), &looks, 1_000_000), Next::Wait(_)));
}

prop_compose! {
    fn any_node()(
        class in prop_oneof![Just(None), Just(Some(Class::Live)), Just(Some(Class::Reboot))],
        luck in prop_oneof![4 => Just(Luck::Fine), 1 => Just(Luck::Deaf), 1 => Just(Luck::Dies), 1 => Just(Luck::Stubborn)],
        reboots_itself in any::<bool>(),
    ) -> (Option<Class>, Luck, bool) {
        (class, luck, reboots_itself)
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_rollout_ends_and_the_quorum_is_kept(
        control_planes in prop::sample::select(vec![3_usize, 5]),
        nodes in prop::collection::vec(any_node(), 10),
        deaths in prop::collection::vec(prop::option::weighted(0.4, any::<bool>()), 0..6),
    ) {
        let mut cluster = Cluster::of(control_planes, 3, None);
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
                prop_assert_eq!(node.class, None, "{} has not got it", &name);
                let boots = if class == Some(Class::Reboot) { 2 } else { 1 };
                prop_assert_eq!(node.boots, boots, "{} with {:?}", name, luck);
            }
        }
    }
}
