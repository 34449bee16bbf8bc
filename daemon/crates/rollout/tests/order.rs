//! A rollout over a simulated cluster: nodes that boot, die, take a config and lose the reply; a driver that is killed between
//! what it stores and what it does. Whatever happens, etcd keeps its quorum as far as we are concerned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rollout::Class;
use rollout::order::{Etcd, Look, Next, PATIENCE, Record, Talos, Task, Told, Work, next};

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
    /// it takes every config, and every image, and runs with the old one
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
    /// whether pods may come to it, and how many are there
    open: bool,
    pods: u32,
    /// the Talos it runs and is to run, the one on its disk, and how it gets there
    talos: u32,
    wanted: u32,
    on_disk: u32,
    elder: bool,
    /// how often its installer has run
    installs: u32,
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
            open: true,
            pods: 3,
            talos: 13,
            wanted: 13,
            on_disk: 13,
            elder: false,
            installs: 0,
        }
    }

    /// Its installer runs; a stubborn one goes back when the new image does not come up.
    fn install(&mut self) -> bool {
        self.installs += 1;
        if self.luck == Luck::Deaf && self.installs == 1 {
            return false;
        }
        self.on_disk = if self.luck == Luck::Stubborn { self.talos } else { self.wanted };
        true
    }

    fn boot(&mut self, now: u64) {
        (self.boots, self.talos) = (self.boots + 1, self.on_disk);
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
    /// whether Kubernetes answers; then nodes are emptied
    kubernetes: bool,
    /// how long replicas are written anew after a boot, and until when they are now
    rebuild: u64,
    unwell_until: u64,
}

impl Cluster {
    fn new(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Self {
        let nodes = nodes.into_iter().map(|(name, node)| (name.to_owned(), node));
        Self { nodes: nodes.collect(), now: 1_000_000, kubernetes: false, rebuild: 0, unwell_until: 0 }
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
                running: is_well,
                leaves: false,
                settled: is_well && !node.complains,
                ready: Some(is_well),
                etcd: (node.control_plane && is_well).then_some(etcd),
                talos: Some(Talos {
                    runs: node.talos.to_string(),
                    wanted: node.wanted.to_string(),
                    is_wanted: node.talos == node.wanted,
                    boots_itself: node.elder,
                }),
            };
            let told = node.is_up(self.now).then_some(told);
            (name.clone(), Look { control_plane: node.control_plane, told })
        };
        self.nodes.iter().map(look).collect()
    }

    fn work(&self) -> Work {
        let nodes = self.nodes.iter().map(|(name, node)| (name.clone(), node.open));
        let unwell = if self.now < self.unwell_until { vec!["pvc-1".to_owned()] } else { Vec::new() };
        Work { nodes: (self.kubernetes && self.has_quorum()).then(|| nodes.collect()), unwell }
    }

    /// A node goes down and comes back.
    fn boot(&mut self, name: &str) {
        let (now, rebuild) = (self.now, self.rebuild);
        let node = self.nodes.get_mut(name).expect("a node");
        node.told_to_boot += 1;
        node.boot(now);
        self.unwell_until = node.well_at.saturating_add(rebuild);
    }

    /// Runs a rollout to its end; `killed` says of each turn whether the driver dies in it, before or after what it does.
    fn roll(&mut self, record: &mut Record, killed: &mut dyn FnMut() -> Option<bool>) -> Next {
        for _ in 0..4_000 {
            let asked = next(record, &self.looks(), &self.work(), self.now);
            self.check(record, &asked);
            match &asked {
                Next::Done | Next::Stop(_) | Next::GiveUp(_) => return asked,
                Next::Wait(_) => {}
                Next::Snapshot(_) => {
                    if killed().is_none() {
                        record.snapshot = Some("kept".to_owned());
                    }
                }
                Next::Install(name) | Next::Upgrade(name) => {
                    let (now, dies) = (self.now, killed());
                    let by_itself = matches!(asked, Next::Upgrade(_));
                    if dies != Some(true) {
                        record.ask(true, now);
                    }
                    if dies.is_none() {
                        let node = self.nodes.get_mut(name).expect("a node");
                        let boot = node.boots.to_string();
                        if node.install() {
                            record.installed(Some(boot), now);
                            if by_itself {
                                record.ask(false, now);
                                self.boot(name);
                            }
                        }
                    }
                }
                Next::Begin(current) => record.begin(current.clone(), self.now),
                Next::Finished(_) => record.finish(self.now),
                Next::Drain(name) => {
                    let dies = killed();
                    let node = self.nodes.get_mut(name).expect("a node");
                    if dies != Some(true) {
                        // new ones are kept off first, and the others go one by one
                        node.open = false;
                        node.pods = node.pods.saturating_sub(if dies.is_none() { 3 } else { 1 });
                    }
                    if dies.is_none() {
                        record.emptied(self.now);
                    }
                }
                Next::Uncordon(name) => {
                    if killed() != Some(true) {
                        self.nodes.get_mut(name).expect("a node").open = true;
                    }
                }
                Next::Apply(name) | Next::Reboot(name) | Next::Shutdown(name) => {
                    let config = matches!(asked, Next::Apply(_));
                    // dead before the record is stored: nothing of it happened
                    let dies = killed();
                    if dies != Some(true) {
                        record.ask(config, self.now);
                    }
                    // dead after it was stored and before it was done
                    if dies.is_none() {
                        if config {
                            let now = self.now;
                            self.nodes.get_mut(name).expect("a node").take_config(now);
                        } else {
                            self.boot(name);
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
        if let Next::Begin(current) = asked {
            let closed: Vec<_> =
                self.nodes.iter().filter(|(_, node)| !node.open).map(|(name, _)| name).collect();
            assert!(
                closed.is_empty() || !current.must_boot,
                "{} begins while {closed:?} are closed",
                current.node
            );
            assert!(
                self.now >= self.unwell_until || !current.must_boot,
                "{} begins during a rebuild",
                current.node
            );
        }
        if let Next::Install(_) = asked {
            assert!(record.snapshot.is_some(), "nothing of etcd is kept");
        }
        let (Next::Apply(name) | Next::Reboot(name) | Next::Shutdown(name) | Next::Upgrade(name)) = asked
        else {
            return;
        };
        if self.kubernetes && !record.keeps_pods && record.current.as_ref().is_some_and(|it| it.must_boot) {
            assert_eq!(self.nodes[name].pods, 0, "{name} goes down with its pods");
        }
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
    Record { nodes: only.map(str::to_owned).into_iter().collect(), ..Record::new(Task::Apply, 1_000_000) }
}

/// One node that boots again or is switched off.
fn of_task(task: Task, node: &str, accepts_downtime: bool) -> Record {
    Record { task, accepts_downtime, ..record(Some(node)) }
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
    let mut cluster = to_be_upgraded(3, 0, false);
    cluster.now += PATIENCE + 1;
    let ended = next(&upgrade(), &cluster.looks(), &cluster.work(), cluster.now);
    assert!(matches!(&ended, Next::Stop(reason) if reason.contains("no snapshot of etcd")), "{ended:?}");
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
