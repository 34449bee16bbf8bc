//! The simulated cluster: its nodes, what a driver sees of them, and what becomes of what it asks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rollout::Class;
use rollout::order::{Etcd, Look, Next, Record, Talos, Task, Told, Work, next};

/// Milliseconds between two looks.
pub(crate) const TICK: u64 = 5_000;

/// What becomes of a node that is asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Luck {
    Fine,
    /// what it is asked for does not arrive, the first time
    Deaf,
    /// it goes down and stays there
    Dies,
    /// it takes every config, and every image, and runs with the old one
    Stubborn,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) control_plane: bool,
    pub(crate) class: Option<Class>,
    pub(crate) reboots_itself: bool,
    pub(crate) luck: Luck,
    pub(crate) boots: u32,
    /// it is back then; for ever is never
    pub(crate) down_until: u64,
    /// etcd and Kubernetes follow later
    pub(crate) well_at: u64,
    /// something is unmet there, whatever we do
    pub(crate) complains: bool,
    /// how often it was given a config, and told to boot
    pub(crate) given: u32,
    pub(crate) told_to_boot: u32,
    /// whether pods may come to it, and how many are there
    pub(crate) open: bool,
    pub(crate) pods: u32,
    /// the Talos it runs and is to run, the one on its disk, and how it gets there
    pub(crate) talos: u32,
    pub(crate) wanted: u32,
    pub(crate) on_disk: u32,
    pub(crate) elder: bool,
    /// how often its installer has run
    pub(crate) installs: u32,
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

    pub(crate) fn is_up(&self, now: u64) -> bool {
        now >= self.down_until
    }
}

pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) now: u64,
    /// whether Kubernetes answers; then nodes are emptied
    pub(crate) kubernetes: bool,
    /// how long replicas are written anew after a boot, and until when they are now
    pub(crate) rebuild: u64,
    pub(crate) unwell_until: u64,
}

impl Cluster {
    fn new(nodes: impl IntoIterator<Item = (&'static str, Node)>) -> Self {
        let nodes = nodes.into_iter().map(|(name, node)| (name.to_owned(), node));
        Self { nodes: nodes.collect(), now: 1_000_000, kubernetes: false, rebuild: 0, unwell_until: 0 }
    }

    pub(crate) fn of(control_planes: usize, workers: usize, class: Option<Class>) -> Self {
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

    pub(crate) fn has_quorum(&self) -> bool {
        let voters = self.voters();
        let up = voters.iter().filter(|name| self.nodes[**name].is_up(self.now)).count();
        up > voters.len() / 2
    }

    /// The lead is with the last control plane that is well; nobody leads without a quorum.
    pub(crate) fn looks(&self) -> BTreeMap<String, Look> {
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

    pub(crate) fn work(&self) -> Work {
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
    pub(crate) fn roll(&mut self, record: &mut Record, killed: &mut dyn FnMut() -> Option<bool>) -> Next {
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

pub(crate) fn record(only: Option<&str>) -> Record {
    Record { nodes: only.map(str::to_owned).into_iter().collect(), ..Record::new(Task::Apply, 1_000_000) }
}

/// One node that boots again or is switched off.
pub(crate) fn of_task(task: Task, node: &str, accepts_downtime: bool) -> Record {
    Record { task, accepts_downtime, ..record(Some(node)) }
}

pub(crate) fn never() -> impl FnMut() -> Option<bool> {
    || None
}

prop_compose! {
    pub(crate) fn any_node()(
        class in prop_oneof![Just(None), Just(Some(Class::Live)), Just(Some(Class::Reboot))],
        luck in prop_oneof![4 => Just(Luck::Fine), 1 => Just(Luck::Deaf), 1 => Just(Luck::Dies), 1 => Just(Luck::Stubborn)],
        reboots_itself in any::<bool>(),
    ) -> (Option<Class>, Luck, bool) {
        (class, luck, reboots_itself)
    }
}
