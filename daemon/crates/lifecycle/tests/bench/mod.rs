//! A core with its store and a world that the test plays.
#![allow(dead_code, unreachable_pub)] // each test file uses a part of it

use std::{collections::BTreeSet, net::IpAddr};

use hardware::{Disk, Inventory, Link, MacAddr};
use lifecycle::{
    ApplyOutcome, BootAnswer, BootstrapOutcome, ClusterPlan, Core, DeployPolicy, Effect, EtcdHealth,
    EtcdMember, EtcdObservation, Event, Identity, InstallDisk, Machine, NodeName, NodePlan, NodeState,
    Observation, Order, Output, Records, ReplacePolicy, RequestId, Role, Stage, Task, Ticket, Time, Timing,
    Trust,
};

pub const DISK: &str = "/dev/nvme0n1";

/// The control planes of most clusters here.
pub const ALL: [&str; 3] = ["cp1", "cp2", "cp3"];

pub fn plan(nodes: &[(&str, Role)]) -> ClusterPlan {
    let nodes = nodes.iter().zip(11u8..).map(|(&(name, role), last)| {
        let plan = NodePlan {
            role,
            address: IpAddr::from([10, 0, 0, last]),
            install_disk: InstallDisk::Path(DISK.into()),
            links: Vec::new(),
            signed: false,
            ports: Vec::new(),
            place: String::new(),
            power: None,
        };
        (NodeName::from(name), plan)
    });
    ClusterPlan {
        cluster_id: "c1".into(),
        nodes: nodes.collect(),
        virtual_address: Some(IpAddr::from([10, 0, 0, 10])),
        deploy: DeployPolicy::Ask,
        trust: Trust::Attested,
        replace: ReplacePolicy::Ask,
        handover: vec!["namespaces".into()],
        timing: Timing::default(),
    }
}

pub fn machine(last: u8) -> Machine {
    Machine { macs: BTreeSet::from([MacAddr([2, 0, 0, 0, 0, last])]), uuid: None, serial: None }
}

pub fn inventory(last: u8) -> Inventory {
    Inventory {
        links: vec![Link { name: "eth0".into(), mac: MacAddr([2, 0, 0, 0, 0, last]), up: true }],
        disks: vec![Disk {
            dev_path: DISK.into(),
            transport: "nvme".into(),
            model: "M1".into(),
            ..Disk::default()
        }],
        ..Inventory::default()
    }
}

/// A core with its store and the effects that are in flight.
pub struct Bench {
    site: ClusterPlan,
    pub core: Core,
    pub records: Records,
    pub flying: Vec<Effect>,
    /// the journal's lines about waiting
    pub waits: Vec<String>,
    pub now: u64,
    pub questions: u64,
}

impl Bench {
    pub fn new(plan: ClusterPlan) -> Self {
        let core = Core::restore(plan.clone(), &Records::default(), 1).unwrap();
        Self {
            site: plan,
            core,
            records: Records::default(),
            flying: Vec::new(),
            waits: Vec::new(),
            now: 1_000,
            questions: 0,
        }
    }

    pub fn step(&mut self, event: Event) {
        self.now += 1;
        for output in self.core.step(event, Time(self.now)) {
            match output {
                Output::Persist { writes, notes } => {
                    let waits = notes.into_iter().filter(|note| note.what == "waiting");
                    self.waits.extend(waits.flat_map(|note| note.evidence));
                    for write in writes {
                        match write.key.strip_prefix("node/") {
                            Some(name) => self.records.nodes.insert(name.into(), write.value),
                            None => self.records.cluster.replace(write.value),
                        };
                    }
                }
                Output::Publish(_) => {}
                Output::Start(effect) => self.flying.push(effect),
            }
        }
        assert!(self.core.is_filed(Time(self.now)), "a slot is not found where it is");
    }

    pub fn ask(&mut self, last: u8, node: &str, attested: bool) -> BootAnswer {
        let identity =
            Identity::Slot { node: node.into(), port: None, attested, evidence: vec!["a test".into()] };
        self.ask_as(last, identity, 0)
    }

    pub fn ask_as(&mut self, last: u8, identity: Identity, attempt: u32) -> BootAnswer {
        self.questions += 1;
        let request = RequestId(self.questions);
        let from = IpAddr::from([10, 0, 0, 100 + last]);
        self.step(Event::BootAsked { request, machine: machine(last), from, attempt, identity });
        let position =
            self.flying.iter().position(|effect| matches!(effect, Effect::AnswerBoot { .. })).unwrap();
        match self.flying.remove(position) {
            Effect::AnswerBoot { answer, .. } => answer,
            _ => unreachable!(),
        }
    }

    pub fn order(&mut self, order: Order) {
        self.step(Event::Ordered { order, by: "ann".into() });
    }

    pub fn permit(&mut self, node: &str) {
        self.step(Event::PermitGranted { node: Some(node.into()), by: "ann".into() });
    }

    /// Answers the look that is in flight for a node.
    pub fn look(&mut self, node: &str, observation: Observation) {
        self.now += 60_000;
        self.step(Event::Tick);
        let ticket = self.take(|effect| match effect {
            Effect::Observe { node: observed, ticket, .. } if observed.0 == node => Some(*ticket),
            _ => None,
        });
        self.step(Event::Observed { node: node.into(), ticket, observation });
    }

    pub fn take<T>(&mut self, pick: impl Fn(&Effect) -> Option<T>) -> T {
        let position = self.flying.iter().position(|effect| pick(effect).is_some());
        let position = position.unwrap_or_else(|| panic!("not in flight: {:?}", self.flying));
        pick(&self.flying.remove(position)).unwrap()
    }

    /// Where the next look at a node goes, most likely place first.
    pub fn candidates(&mut self, node: &str) -> Vec<IpAddr> {
        self.now += 60_000;
        self.step(Event::Tick);
        self.take(|effect| match effect {
            Effect::Observe { node: observed, candidates, .. } if observed.0 == node => {
                Some(candidates.clone())
            }
            _ => None,
        })
    }

    pub fn state(&self, node: &str) -> &NodeState {
        self.core.node(&node.into()).unwrap()
    }

    pub fn waiting(&self, node: &str) -> String {
        self.core.view(Time(self.now)).nodes[&NodeName::from(node)].waiting.clone().unwrap_or_default()
    }

    pub fn hint(&self, node: &str) -> Option<String> {
        self.core.view(Time(self.now)).nodes[&NodeName::from(node)].hint.clone()
    }

    pub fn cluster_waiting(&self) -> String {
        self.core.view(Time(self.now)).cluster.waiting.unwrap_or_default()
    }

    pub fn is_applying(&self) -> bool {
        self.flying.iter().any(|effect| matches!(effect, Effect::Apply { .. }))
    }

    /// From vacant to configured, in the boot `after`.
    pub fn configure(&mut self, last: u8, node: &str, etcd: EtcdObservation) {
        self.permit(node);
        assert!(matches!(self.ask(last, node, true), BootAnswer::Deploy { .. }));
        self.look(node, maintenance(last, "before"));
        let ticket = self.applying(node);
        self.step(Event::Applied { node: node.into(), ticket, outcome: ApplyOutcome::Accepted });
        self.look(node, configured(last, "after", etcd));
    }

    pub fn applying(&mut self, node: &str) -> Ticket {
        self.take(|effect| match effect {
            Effect::Apply { node: told, ticket, .. } if told.0 == node => Some(*ticket),
            _ => None,
        })
    }

    pub fn bootstrapping(&mut self) -> (Ticket, String) {
        self.take(|effect| match effect {
            Effect::Bootstrap { ticket, node, .. } => Some((*ticket, node.0.clone())),
            _ => None,
        })
    }

    /// The next step of a node that is taken out.
    pub fn departing(&mut self) -> (Ticket, Task) {
        self.take(|effect| match effect {
            Effect::Depart { ticket, task, .. } => Some((*ticket, task.clone())),
            _ => None,
        })
    }

    pub fn is_departing(&self) -> bool {
        self.flying.iter().any(|effect| matches!(effect, Effect::Depart { .. }))
    }

    pub fn nobody_has_the_virtual_address(&mut self) {
        let ticket = self.take(|effect| match effect {
            Effect::SeekCluster { ticket, .. } => Some(*ticket),
            _ => None,
        });
        self.step(Event::ClusterSought { ticket, owner: None, nodes: Vec::new() });
    }

    /// Every control plane has its config, and no etcd.
    pub fn configure_all(&mut self) {
        for (last, name) in (1..).zip(ALL) {
            self.configure(last, name, EtcdObservation::Waiting);
        }
    }

    /// From the first permit to a cluster that is whole.
    pub fn found(&mut self) {
        self.configure_all();
        self.bootstrap();
        for (last, name) in (1..).zip(ALL) {
            self.look(name, configured(last, "after", members(&ALL)));
        }
        assert_eq!(self.core.cluster().name(), "handing over");
    }

    /// Everybody is configured and nobody has the virtual address: one is told to found the cluster, and does.
    pub fn bootstrap(&mut self) {
        self.nobody_has_the_virtual_address();
        let (ticket, _) = self.bootstrapping();
        self.step(Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted });
    }

    /// The process dies; the next one has the store and nothing else.
    pub fn restart(&mut self) {
        self.core = Core::restore(self.plan(), &self.records, self.now).unwrap();
        self.flying.clear();
        self.step(Event::Tick);
    }

    pub fn plan(&self) -> ClusterPlan {
        self.site.clone()
    }
}

pub fn maintenance(last: u8, boot_id: &str) -> Observation {
    Observation::Maintenance {
        address: IpAddr::from([10, 0, 0, 100 + last]),
        fingerprint: format!("key of {last}"),
        boot_id: boot_id.into(),
        inventory: inventory(last),
        contents: Vec::new(),
    }
}

pub fn configured(last: u8, boot_id: &str, etcd: EtcdObservation) -> Observation {
    Observation::Configured {
        address: IpAddr::from([10, 0, 0, 10 + last]),
        boot_id: boot_id.into(),
        stage: Stage::Running,
        inventory: inventory(last),
        holds_virtual_address: last == 1 && matches!(etcd, EtcdObservation::Members { .. }),
        etcd,
        unwell: Vec::new(),
    }
}

pub fn members(names: &[&str]) -> EtcdObservation {
    let member = |name: &&str| EtcdMember { name: (*name).into(), id: format!("id-{name}"), learner: false };
    let health = EtcdHealth { leader: Some(format!("id-{}", names[0])), term: 2, errors: Vec::new() };
    EtcdObservation::Members { members: names.iter().map(member).collect(), health }
}

pub fn two_control_planes() -> Bench {
    Bench::new(plan(&[("cp1", Role::ControlPlane), ("cp2", Role::ControlPlane)]))
}

/// Patience long enough that looks a minute apart count as fresh.
pub fn patient() -> Bench {
    let mut plan = plan(&[("cp1", Role::ControlPlane), ("cp2", Role::ControlPlane)]);
    plan.timing.observe = std::time::Duration::from_secs(60);
    Bench::new(plan)
}

pub fn three_control_planes() -> Bench {
    let mut plan =
        plan(&[("cp1", Role::ControlPlane), ("cp2", Role::ControlPlane), ("cp3", Role::ControlPlane)]);
    plan.timing.observe = std::time::Duration::from_secs(60);
    Bench::new(plan)
}

/// Three control planes, one of which has just founded the cluster.
pub fn bootstrapped() -> Bench {
    let mut bench = three_control_planes();
    bench.configure_all();
    bench.bootstrap();
    bench
}

/// The same, when all of them have told that they are etcd's members.
pub fn founded() -> Bench {
    let mut bench = three_control_planes();
    bench.found();
    bench
}
