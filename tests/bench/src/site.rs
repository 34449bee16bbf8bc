//! A site of 100, 300 and 1,000 machines on the whole road, in the core alone: processor time and memory, and how they grow.
//!
//! Every machine is switched on at once; what it answers to a look is all that is simulated, so that the numbers are the
//! core's own. A turn takes as many events as are there, up to as many as the daemon takes into one transaction.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use hardware::{Disk, Inventory, Link, MacAddr, SystemUuid};
use lifecycle::{
    ApplyOutcome, BootAnswer, BootstrapOutcome, Cluster, ClusterPlan, Core, DeployPolicy, Effect, EtcdHealth,
    EtcdMember, EtcdObservation, Event, Identity, InstallDisk, Machine, NodeName, NodePlan, NodeState,
    Observation, Output, Records, ReplacePolicy, RequestId, Role, Stage, StepOutcome, Time, Timing, Trust,
};

use crate::{
    child::{self, Taken},
    measure::{Limit, Measure},
};

pub(crate) const NAME: &str = "site";
pub(crate) const ABOUT: &str =
    "takes 100, 300 and 1,000 machines down the whole road at once: time, memory, growth";

const SIZES: [u32; 3] = [100, 300, 1_000];
/// The kernel counts time in hundredths of a second, so sites are run one after another until so many machines arrived.
const TOGETHER: u32 = 6_000;
const CONTROL_PLANES: u32 = 3;
const DISK: &str = "/dev/nvme0n1";
const COUNT: &str = "machines";
/// So many events the daemon takes into one turn.
const BATCH: usize = 256;
/// After the last one has arrived, everybody is looked at so often.
const WATCHED: u32 = 10;
/// Ten times as many machines may cost so many times what is linear.
const LINEAR: f64 = 2.0;

pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let mut taken: Vec<Taken> = Vec::new();
    for size in SIZES {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        fs::write(folder.path().join(COUNT), size.to_string())
            .context("cannot write the number of machines")?;
        taken.push(child::measure(NAME, folder.path())?);
    }
    let [small, medium, large] = &taken[..] else { bail!("three sizes were measured") };
    let once = |taken: &Taken, size: u32| taken.processor / f64::from(TOGETHER / size);
    let each = |taken: &Taken, size: u32| once(taken, size) * 1e3 / f64::from(size);
    let measure = |what, value, unit, limit| Measure { what, value, unit, limit };
    let [few, some, many] = SIZES;
    Ok(vec![
        measure("100: processor", once(small, few), "s", Limit::None),
        measure("300: processor", once(medium, some), "s", Limit::None),
        measure("1,000: processor", once(large, many), "s", Limit::Below(30.0)),
        measure("100: of a machine", each(small, few), "ms", Limit::None),
        measure("300: of a machine", each(medium, some), "ms", Limit::None),
        measure("1,000: of a machine", each(large, many), "ms", Limit::None),
        measure("100: peak memory", small.megabytes, "MB", Limit::None),
        measure("300: peak memory", medium.megabytes, "MB", Limit::None),
        measure("1,000: peak memory", large.megabytes, "MB", Limit::Below(150.0)),
        measure("time, × linear", each(large, many) / each(small, few), "", Limit::Below(LINEAR)),
        measure(
            "memory, × linear",
            (large.megabytes - medium.megabytes)
                / f64::from(many - some)
                / ((medium.megabytes - small.megabytes) / f64::from(some - few)).max(1e-3),
            "",
            Limit::Below(LINEAR),
        ),
    ])
}

/// In a process of its own: the whole road, and then a while of standing guard.
pub(crate) fn work(folder: &Path) -> anyhow::Result<impl Sized + use<>> {
    let count = fs::read_to_string(folder.join(COUNT)).context("how many machines is not said")?;
    let size: u32 = count.parse().context("the number of machines is not one")?;
    let mut last = None;
    for _ in 0..TOGETHER / size {
        drop(last.take());
        let mut site = Site::new(size)?;
        site.road()?;
        site.watch()?;
        last = Some(site);
    }
    Ok(last)
}

/// Where a machine is on the road, as a look at it shows.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Maintenance,
    Installed,
}

struct Site {
    core: Core,
    at: BTreeMap<NodeName, At>,
    founded: bool,
    now: u64,
    events: VecDeque<Event>,
    /// the view that readers have now
    published: Option<Box<lifecycle::View>>,
    looks: u64,
}

impl Site {
    fn new(machines: u32) -> anyhow::Result<Self> {
        let core = Core::restore(plan(machines), &Records::default(), 1)?;
        let mut events = VecDeque::from([Event::Tick]);
        for number in 0..machines {
            let (request, from) = (RequestId(u64::from(number)), lease(number));
            let identity = Identity::Slot {
                node: name(number),
                port: format!("sw{}/Eth1/{}", number / 40, number % 40 + 1).parse().ok(),
                attested: true,
                evidence: vec!["the switch tells".to_owned()],
            };
            events.push_back(Event::BootAsked {
                request,
                machine: machine(number),
                from,
                attempt: 0,
                identity,
            });
        }
        Ok(Self {
            core,
            at: (0..machines).map(|number| (name(number), At::Maintenance)).collect(),
            founded: false,
            now: 1_800_000_000_000,
            events,
            published: None,
            looks: 0,
        })
    }

    /// Until everybody has arrived and the cluster is handed over.
    fn road(&mut self) -> anyhow::Result<()> {
        for _ in 0..10_000 {
            self.turn();
            let arrived = |name| matches!(self.core.node(name), Some(NodeState::Ready { .. }));
            if self.events.is_empty()
                && matches!(self.core.cluster(), Cluster::HandedOver { .. })
                && self.at.keys().all(arrived)
            {
                return Ok(());
            }
        }
        bail!("the road has no end: {:?}", self.core.cluster())
    }

    /// Everybody is looked at [`WATCHED`] times more.
    fn watch(&mut self) -> anyhow::Result<()> {
        let (before, machines) = (self.looks, u64::try_from(self.at.len())?);
        for _ in 0..1_000_000 {
            self.turn();
            if self.looks - before >= u64::from(WATCHED) * machines {
                ensure!(self.published.is_some(), "nothing was ever published");
                return Ok(());
            }
        }
        bail!("nobody is looked at any more")
    }

    /// One turn: what is there, or what is due next; then one picture of it all.
    fn turn(&mut self) {
        if self.events.is_empty() {
            if let Some(due) = self.core.next_deadline() {
                self.now = self.now.max(due.0);
            }
            self.events.push_back(Event::Tick);
        }
        let now = Time(self.now);
        let batch = self.events.len().min(BATCH);
        let batch: Vec<Event> = self.events.drain(..batch).collect();
        for event in batch {
            for output in self.core.take(event, now) {
                match output {
                    Output::Persist { .. } => {}
                    Output::Publish(view) => self.published = Some(view),
                    Output::Start(effect) => self.carry_out(effect),
                }
            }
        }
        if let Some(view) = self.core.publish(now) {
            self.published = Some(Box::new(view));
        }
        self.now += 1;
    }

    fn carry_out(&mut self, effect: Effect) {
        let event = match effect {
            Effect::AnswerBoot { answer: BootAnswer::Deploy { node }, .. } => match number_of(&node) {
                Some(number) => Event::Fetched { from: lease(number) },
                None => return,
            },
            Effect::AnswerBoot { .. } => return,
            Effect::Observe { node, ticket, .. } => {
                self.looks += 1;
                let observation = self.look(&node);
                Event::Observed { node, ticket, observation }
            }
            Effect::Apply { node, ticket, .. } => {
                self.at.insert(node.clone(), At::Installed);
                Event::Applied { node, ticket, outcome: ApplyOutcome::Accepted }
            }
            Effect::SeekCluster { ticket, .. } => {
                Event::ClusterSought { ticket, owner: None, nodes: Vec::new() }
            }
            Effect::Bootstrap { ticket, .. } => {
                self.founded = true;
                Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Accepted }
            }
            Effect::LookAround { ticket, .. } => Event::LookedAround { ticket, nodes: Some(Vec::new()) },
            Effect::RunStep { ticket, step, .. } => Event::StepEnded {
                ticket,
                step,
                outcome: StepOutcome::Done { summary: "in place".to_owned() },
            },
            // nobody is taken out here
            Effect::Depart { .. } | Effect::Power { .. } | Effect::Recover { .. } => return,
        };
        self.events.push_back(event);
    }

    fn look(&self, node: &NodeName) -> Observation {
        let (Some(number), Some(at)) = (number_of(node), self.at.get(node)) else {
            return Observation::Silent { detail: "nobody".to_owned() };
        };
        match at {
            At::Maintenance => Observation::Maintenance {
                address: lease(number),
                fingerprint: format!("{number:064x}"),
                boot_id: "from the network".to_owned(),
                inventory: inventory(number),
                contents: Vec::new(),
            },
            At::Installed => Observation::Configured {
                address: address(number),
                boot_id: "from its own disk".to_owned(),
                stage: Stage::Running,
                inventory: inventory(number),
                etcd: self.etcd(number),
                holds_virtual_address: self.founded && number == 0,
                unwell: Vec::new(),
            },
        }
    }

    fn etcd(&self, number: u32) -> EtcdObservation {
        if number >= CONTROL_PLANES {
            return EtcdObservation::None;
        }
        if !self.founded {
            return EtcdObservation::Waiting;
        }
        let member =
            |number| EtcdMember { name: name(number).0, id: format!("{number:016x}"), learner: false };
        let leader = Some(format!("{:016x}", 0));
        EtcdObservation::Members {
            members: (0..CONTROL_PLANES).map(member).collect(),
            health: EtcdHealth { leader, term: 1, errors: Vec::new() },
        }
    }
}

fn plan(machines: u32) -> ClusterPlan {
    let node = |number| {
        let role = if number < CONTROL_PLANES { Role::ControlPlane } else { Role::Worker };
        let install_disk = InstallDisk::Path(DISK.to_owned());
        (
            name(number),
            NodePlan {
                role,
                address: address(number),
                install_disk,
                links: Vec::new(),
                signed: false,
                ports: Vec::new(),
                place: String::new(),
                power: None,
            },
        )
    };
    ClusterPlan {
        cluster_id: "a large one".to_owned(),
        nodes: (0..machines).map(node).collect(),
        virtual_address: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 255, 1))),
        deploy: DeployPolicy::Auto,
        trust: Trust::Attested,
        replace: ReplacePolicy::Ask,
        handover: vec!["namespaces".to_owned()],
        timing: Timing::default(),
    }
}

fn name(number: u32) -> NodeName {
    NodeName(format!("node-{number:04}"))
}

fn number_of(node: &NodeName) -> Option<u32> {
    node.0.strip_prefix("node-")?.parse().ok()
}

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0100 + number))
}

fn lease(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a01_0100 + number))
}

fn mac(number: u32) -> MacAddr {
    let [_, high, middle, low] = number.to_be_bytes();
    MacAddr([0x52, 0x54, 0x00, high, middle, low])
}

fn machine(number: u32) -> Machine {
    let mut uuid = [0x11; 16];
    uuid[12..].copy_from_slice(&number.to_be_bytes());
    Machine {
        macs: BTreeSet::from([mac(number)]),
        uuid: Some(SystemUuid(uuid)),
        serial: Some(format!("S{number}")),
    }
}

fn inventory(number: u32) -> Inventory {
    let Machine { uuid, serial, .. } = machine(number);
    Inventory {
        uuid,
        serial,
        links: vec![Link { name: "eth0".to_owned(), mac: mac(number), up: true }],
        disks: vec![Disk { dev_path: DISK.to_owned(), model: "a disk".to_owned(), ..Disk::default() }],
    }
}
