//! The simulated outside: racked machines behind switch ports, and what effects meet there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hardware::{Disk, Inventory, Link, MacAddr, SystemUuid};
use lifecycle::{
    ApplyOutcome, BootAnswer, BootstrapOutcome, Claim, ClusterPlan, Content, Effect, EtcdHealth, EtcdMember,
    EtcdObservation, Event, Identity, Machine, NodeName, Observation, Runner, Sighted, Stage, StepOutcome,
    Survey,
};
use machine::model::{
    self, ApplyMode, BootOrder, Caller, Cluster, Code, Counters, DataDirectory, Hardware, Image, Instruction,
    Member, Pace, Rack, Request, Response, ServerIdentity, Storage, SystemDisk, fingerprint,
};

use crate::{
    config::{OUR_CA, machine_config},
    invariants::Violation,
    ledger::Ledger,
};

/// The rack, and which slot each machine is cabled to.
pub(crate) struct World {
    pub(crate) rack: Rack,
    /// machine → slot: the truth that switch ports tell
    pub(crate) cabling: BTreeMap<String, NodeName>,
    /// machine → its address of the pool
    leases: BTreeMap<String, String>,
    /// nobody vouches for their places
    pub(crate) unwitnessed: BTreeSet<String>,
    /// their second disk has not been pulled yet
    pub(crate) two_disks: BTreeSet<String>,
    /// their second link has not been put in yet
    pub(crate) one_link: BTreeSet<String>,
    /// somebody's data is on their disks
    pub(crate) used: BTreeSet<String>,
    seed: u64,
    plan: ClusterPlan,
    /// how our CA is named
    pub(crate) ours: String,
    /// machines whose API server answers
    pub(crate) api_servers: BTreeSet<String>,
    /// pods that do not go away are on every node
    pub(crate) endless_drain: bool,
    /// when a machine lost its power last
    pub(crate) power_lost: Option<u64>,
    /// what the daemon keeps of etcd, by file
    pub(crate) snapshots: BTreeMap<String, Vec<u8>>,
}

impl World {
    /// One machine for every slot, powered off.
    pub(crate) fn new(plan: ClusterPlan, seed: u64) -> Self {
        let mut world = Self {
            rack: Rack::default(),
            cabling: BTreeMap::new(),
            leases: BTreeMap::new(),
            unwitnessed: BTreeSet::new(),
            two_disks: BTreeSet::new(),
            one_link: BTreeSet::new(),
            used: BTreeSet::new(),
            seed,
            plan,
            ours: fingerprint(OUR_CA),
            api_servers: BTreeSet::new(),
            endless_drain: false,
            power_lost: None,
            snapshots: BTreeMap::new(),
        };
        let names: Vec<NodeName> = world.plan.nodes.keys().cloned().collect();
        for (index, name) in (1u8..).zip(names) {
            let label = format!("box-{index}");
            world.rack_up(&label, index, Storage::default(), BootOrder::NetworkFirst);
            world.cabling.insert(label, name);
        }
        world
    }

    /// Puts a machine into the rack, powered off.
    pub(crate) fn rack_up(&mut self, label: &str, number: u8, storage: Storage, boot_order: BootOrder) {
        let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, number]);
        let mut uuid = [0x11; 16];
        uuid[15] = number;
        let hardware =
            Hardware { boot_order, ..Hardware::plain(mac, SystemUuid(uuid), &format!("S{number}")) };
        // what only costs time is fast; members need not talk more often than it takes to miss them
        let pace = Pace { heartbeat: 1_000, node_report: 3_000, certificate_every: 500, ..Pace::fast() };
        let seed = self.seed.wrapping_add(u64::from(number));
        let mut machine =
            model::Machine::new(hardware, pace, seed).with_storage(storage, Counters::default());
        let lease = format!("10.77.0.{}/24", 100 + number);
        machine.set_lease(lease.parse().ok());
        self.leases.insert(label.to_owned(), lease);
        self.rack.machines.insert(label.to_owned(), machine);
    }

    /// A disk with Talos on it, and a config; with `member`, also the etcd data of a cluster of its own that
    /// gave this virtual address to it.
    pub(crate) fn installed(config: String, member: Option<(&str, IpAddr)>) -> Storage {
        let etcd = member.map(|(name, address)| {
            let member = Member { name: name.to_owned(), address, learner: false, joined: 1 };
            let cluster = Cluster {
                id: 0x01d,
                revision: 1,
                members: BTreeMap::from([(0x01d, member)]),
                elections: BTreeMap::new(),
            };
            DataDirectory { me: 0x01d, cluster }
        });
        Storage {
            system: Some(SystemDisk {
                dev_path: "/dev/nvme0n1".into(),
                image: Image { schematic: None, version: "v1.13.9".into() },
                fallback: None,
                state: Some(config),
                etcd,
            }),
            ..Storage::default()
        }
    }

    /// The config that a node of the site gets.
    pub(crate) fn config_of(&self, node: &NodeName) -> Option<String> {
        let plan = self.plan.nodes.get(node)?;
        let shared = self.plan.virtual_address?;
        Some(machine_config(&node.0, plan.role, Some(plan.address), shared))
    }

    /// The machine whose cable is in this slot's port.
    pub(crate) fn boxed(&self, node: &NodeName) -> Option<String> {
        self.cabling.iter().find(|(_, slot)| *slot == node).map(|(label, _)| label.clone())
    }

    /// The machine that holds a slot by this claim.
    pub(crate) fn claimed(&self, claim: &Claim) -> Option<&model::Machine> {
        self.rack.machines.values().find(|machine| is_claimed(claim, machine))
    }

    /// Its name.
    pub(crate) fn label(&self, claim: &Claim) -> Option<String> {
        let mut machines = self.rack.machines.iter();
        machines.find(|(_, machine)| is_claimed(claim, machine)).map(|(label, _)| label.clone())
    }

    /// Machines of our CA with etcd data that answer.
    pub(crate) fn ours_with_data(&self) -> impl Iterator<Item = &str> {
        let ours = ServerIdentity::Issued { ca: self.ours.clone() };
        self.rack
            .machines
            .iter()
            .filter(move |(label, machine)| {
                let issued = machine.server_identity() == ours;
                let data = machine.storage().system.as_ref().is_some_and(|system| system.etcd.is_some());
                issued && data && !self.rack.unplugged.contains(*label)
            })
            .map(|(label, _)| label.as_str())
    }

    /// What a machine of this name is made of.
    pub(crate) fn inventory(&self, label: &str) -> Option<Inventory> {
        let hardware = self.rack.machines.get(label)?.hardware();
        let (mut links, mut disks) = (hardware.links.clone(), hardware.disks.clone());
        if self.two_disks.contains(label) {
            let second = Disk { dev_path: "/dev/nvme1n1".into(), ..disks[0].clone() };
            disks.push(second);
        }
        let node = self.cabling.get(label).and_then(|node| self.plan.nodes.get(node));
        if node.is_some_and(|node| !node.links.is_empty()) && !self.one_link.contains(label) {
            let mut mac = links[0].mac;
            mac.0[0] |= 2;
            mac.0[4] = 0xee;
            links.push(Link { name: "eth1".into(), mac, up: true });
        }
        Some(Inventory { uuid: Some(hardware.uuid), serial: Some(hardware.serial.clone()), links, disks })
    }

    /// What is on a machine's disks.
    pub(crate) fn contents(&self, label: &str) -> Vec<Content> {
        let system = self.rack.machines.get(label).and_then(|machine| machine.storage().system.as_ref());
        let talos = system.map(|system| {
            let what = "another Talos: META, STATE".to_owned();
            Content { disk: system.dev_path.clone(), what, talos: true }
        });
        let data = self.used.contains(label).then(|| Content {
            disk: "/dev/nvme0n1".into(),
            what: "ext4, home".into(),
            talos: false,
        });
        talos.into_iter().chain(data).collect()
    }

    pub(crate) fn power_off(&mut self, label: &str, now: u64) {
        if let Some(machine) = self.rack.machines.get_mut(label) {
            self.power_lost = Some(now);
            machine.power_off(now);
        }
    }

    /// What the daemon learns when the firmware of this machine asks: who it is, and its switch port.
    pub(crate) fn question(&self, label: &str) -> Option<(Machine, IpAddr, Identity)> {
        let asking = self.rack.machines.get(label)?;
        let node = self.cabling.get(label)?.clone();
        let hardware = asking.hardware();
        let machine = Machine {
            macs: hardware.macs().into_iter().collect(),
            uuid: Some(hardware.uuid),
            serial: Some(hardware.serial.clone()),
        };
        Some((machine, asking.address()?, self.identity(label, node)))
    }

    fn identity(&self, label: &str, node: NodeName) -> Identity {
        let attested = !self.unwitnessed.contains(label);
        let evidence = vec![format!("the switch sees {label} in {node}'s port")];
        let port = format!("sw1/{node}").parse().ok();
        Identity::Slot { node, port, attested, evidence }
    }

    /// What the daemon learns of a machine without its asking: the switch tells its port.
    pub(crate) fn sighted(&self, label: &str) -> Option<Event> {
        let hardware = self.rack.machines.get(label)?.hardware();
        let node = self.cabling.get(label)?.clone();
        let macs = hardware.macs().into_iter().collect();
        let machine = Machine { macs, uuid: Some(hardware.uuid), serial: Some(hardware.serial.clone()) };
        Some(Event::Identified { machine, identity: self.identity(label, node) })
    }

    /// What the lease table says of this machine.
    pub(crate) fn located(&self, label: &str) -> Option<Event> {
        let hardware = self.rack.machines.get(label)?.hardware();
        let address = self.leases.get(label)?.split('/').next()?.parse().ok()?;
        Some(Event::Located { mac: *hardware.macs().first()?, address })
    }

    /// A firmware hears its answer.
    pub(crate) fn answer_boot(&mut self, label: &str, answer: &BootAnswer, now: u64) {
        let instruction = match answer {
            BootAnswer::Deploy { .. } | BootAnswer::Wipe { .. } => {
                let wipe = matches!(answer, BootAnswer::Wipe { .. });
                let wipe = if wipe { " talos.experimental.wipe=system" } else { "" };
                Instruction::Talos {
                    image: Image { schematic: None, version: "v1.13.9".into() },
                    cmdline: format!("talos.platform=metal slab_nomerge pti=on{wipe}"),
                    intact: true,
                }
            }
            BootAnswer::Identify { seconds, .. } | BootAnswer::Retry { seconds, .. } => {
                Instruction::Retry { after: u64::from(*seconds) * 1000 }
            }
            BootAnswer::LocalDisk { .. } | BootAnswer::Refused { .. } => Instruction::LocalDisk,
        };
        if let Some(machine) = self.rack.machines.get_mut(label) {
            machine.boot(instruction, now);
        }
    }

    /// The pool deals two machines each other's addresses.
    pub(crate) fn swap_addresses(&mut self, one: &str, other: &str) {
        let (Some(first), Some(second)) = (self.leases.get(one).cloned(), self.leases.get(other).cloned())
        else {
            return;
        };
        // a machine that runs keeps its lease
        let is_off = |label| self.rack.machines.get(label).is_some_and(|m| m.stage() == model::Stage::Off);
        if !is_off(one) || !is_off(other) {
            return;
        }
        for (label, lease) in [(one, second), (other, first)] {
            if let Some(machine) = self.rack.machines.get_mut(label) {
                machine.set_lease(lease.parse().ok());
            }
            self.leases.insert(label.to_owned(), lease);
        }
    }

    pub(crate) fn api_server_changed(&mut self, label: &str, answers: bool) {
        if answers {
            self.api_servers.insert(label.to_owned());
        } else {
            self.api_servers.remove(label);
        }
    }

    /// Carries an effect out now. The event is what the daemon hears when nothing is lost.
    pub(crate) fn carry_out(
        &mut self,
        effect: &Effect,
        ledger: &Ledger,
        now: u64,
    ) -> Result<Event, Violation> {
        Ok(match effect.clone() {
            // answered where the firmware is, not here
            Effect::AnswerBoot { .. } => Event::Tick,
            Effect::Observe { node, ticket, candidates } => {
                Event::Observed { node, ticket, observation: self.observe(&candidates, now) }
            }
            Effect::Apply { node, ticket, address, fingerprint } => {
                let outcome = self.apply(&node, address, &fingerprint, ledger, now)?;
                Event::Applied { node, ticket, outcome }
            }
            Effect::SeekCluster { ticket, virtual_address, nodes } => {
                let ours = ServerIdentity::Issued { ca: self.ours.clone() };
                let mut nodes = nodes;
                nodes.retain(|node| {
                    self.rack.at(*node).is_some_and(|machine| machine.server_identity() == ours)
                });
                let owner = virtual_address.and_then(|address| self.rack.name_at(address));
                Event::ClusterSought { ticket, owner, nodes }
            }
            Effect::Bootstrap { ticket, address, boot_id, .. } => {
                // the daemon asks on the connection that it calls on
                let is_meant = |machine: &&mut model::Machine| machine.boot_id() == Some(boot_id.as_str());
                let answer = match self.rack.at(address).filter(is_meant) {
                    Some(_) => {
                        self.call(address, &Caller::admin(&self.ours.clone()), Request::Bootstrap, now)
                    }
                    None => {
                        let message = "another boot answers there, or none".into();
                        Err(model::Status { code: Code::Unavailable, message })
                    }
                };
                let outcome = match answer {
                    Ok(_) => BootstrapOutcome::Accepted,
                    Err(status) if status.code == Code::AlreadyExists => BootstrapOutcome::Accepted,
                    Err(status) => BootstrapOutcome::NotYet { reason: status.to_string() },
                };
                Event::BootstrapAnswered { ticket, outcome }
            }
            Effect::Recover { ticket, address, boot_id, snapshot, .. } => {
                let is_meant = |machine: &&mut model::Machine| machine.boot_id() == Some(boot_id.as_str());
                let admin = Caller::admin(&self.ours.clone());
                let kept = self.snapshots.get(&snapshot).cloned();
                let answer = match (self.rack.at(address).filter(is_meant), kept) {
                    (Some(_), Some(snapshot)) => self
                        .call(address, &admin, Request::EtcdRecover { snapshot }, now)
                        .and_then(|_| self.call(address, &admin, Request::BootstrapRecovered, now)),
                    _ => Err(model::Status {
                        code: Code::Unavailable,
                        message: "another boot answers there, or the snapshot is not kept".into(),
                    }),
                };
                let outcome = match answer {
                    Ok(_) => BootstrapOutcome::Accepted,
                    Err(status) if status.code == Code::AlreadyExists => BootstrapOutcome::Accepted,
                    Err(status) => BootstrapOutcome::NotYet { reason: status.to_string() },
                };
                Event::Recovered { ticket, outcome }
            }
            Effect::LookAround { ticket, mut nodes } => {
                let ours = ServerIdentity::Issued { ca: self.ours.clone() };
                nodes.retain(|node| {
                    self.rack.at(*node).is_some_and(|machine| machine.server_identity() == ours)
                });
                Event::LookedAround { ticket, nodes: Some(nodes) }
            }
            Effect::RunStep { ticket, step, .. } => {
                let holder = self.plan.virtual_address.and_then(|shared| self.rack.name_at(shared));
                let outcome = if holder.is_some_and(|label| self.api_servers.contains(&label)) {
                    StepOutcome::Done { summary: "applied".into() }
                } else {
                    StepOutcome::Failed { reason: "the API server does not answer".into() }
                };
                Event::StepEnded { ticket, step, outcome }
            }
            Effect::Power { node, ticket, action, network_boot, .. } => {
                let outcome = self.switch(&node, action, network_boot, now)?;
                Event::Powered { node, ticket, outcome }
            }
            Effect::Depart { node, ticket, task } => {
                let outcome = self.depart(&node, task, now)?;
                Event::Departed { node, ticket, outcome }
            }
        })
    }

    /// What the daemon finds when it asks every node where it should be.
    pub(crate) fn survey(&mut self, now: u64) -> Survey {
        let own: Vec<(NodeName, IpAddr)> =
            self.plan.nodes.iter().map(|(name, node)| (name.clone(), node.address)).collect();
        own.into_iter().map(|(name, address)| (name, self.sight(address, now))).collect()
    }

    fn sight(&mut self, address: IpAddr, now: u64) -> Sighted {
        let silent = || Sighted::Silent { detail: "nobody answers".into() };
        let Some(label) = self.rack.name_at(address) else { return silent() };
        let inventory = self.inventory(&label).unwrap_or_default();
        let Some(machine) = self.rack.machines.get_mut(&label) else { return silent() };
        match machine.server_identity() {
            ServerIdentity::Closed => silent(),
            ServerIdentity::Maintenance { .. } => Sighted::Waiting { address },
            ServerIdentity::Issued { ca } if ca == self.ours => Sighted::Ours(Box::new(Runner {
                address,
                hostname: machine.hostname().unwrap_or_default().to_owned(),
                machine: Machine::from(&inventory),
                boot_id: machine.boot_id().unwrap_or_default().to_owned(),
                etcd: etcd(machine, &Caller::admin(&ca), now),
            })),
            ServerIdentity::Issued { ca } => Sighted::Foreign { address, subject: ca },
        }
    }

    pub(crate) fn call(
        &mut self,
        address: IpAddr,
        caller: &Caller,
        request: Request,
        now: u64,
    ) -> Result<Response, model::Status> {
        match self.rack.at(address) {
            Some(machine) => machine.call(caller, request, now),
            None => Err(model::Status { code: Code::Unavailable, message: "connection refused".into() }),
        }
    }

    fn observe(&mut self, candidates: &[IpAddr], now: u64) -> Observation {
        let mut silence = Vec::new();
        for &address in candidates {
            let Some(label) = self.rack.name_at(address) else {
                silence.push(format!("{address} does not answer"));
                continue;
            };
            let (inventory, contents) = (self.inventory(&label).unwrap_or_default(), self.contents(&label));
            let shared = self.plan.virtual_address;
            let Some(machine) = self.rack.machines.get_mut(&label) else { continue };
            let boot_id = machine.boot_id().unwrap_or_default().to_owned();
            match machine.server_identity() {
                ServerIdentity::Closed => silence.push(format!("{address} refuses")),
                ServerIdentity::Maintenance { fingerprint } => {
                    return Observation::Maintenance { address, fingerprint, boot_id, inventory, contents };
                }
                ServerIdentity::Issued { ca } if ca == self.ours => {
                    let admin = Caller::admin(&ca);
                    let stage = if machine.is_running() { Stage::Running } else { Stage::Other };
                    let etcd = etcd(machine, &admin, now);
                    let holds_virtual_address =
                        shared.is_some_and(|shared| machine.addresses().contains(&shared));
                    let unwell = Vec::new();
                    return Observation::Configured {
                        address,
                        boot_id,
                        stage,
                        inventory,
                        etcd,
                        holds_virtual_address,
                        unwell,
                    };
                }
                ServerIdentity::Issued { ca } => return Observation::Foreign { address, subject: ca },
            }
        }
        Observation::Silent { detail: silence.join(", ") }
    }

    fn apply(
        &mut self,
        node: &NodeName,
        address: IpAddr,
        pin: &str,
        ledger: &Ledger,
        now: u64,
    ) -> Result<ApplyOutcome, Violation> {
        let Some(label) = self.rack.name_at(address) else {
            return Ok(ApplyOutcome::Unknown { reason: "connection refused".into() });
        };
        let Some(config) = self.config_of(node) else {
            return Ok(ApplyOutcome::Refused { reason: "not in the site".into() });
        };
        let Some(machine) = self.rack.machines.get_mut(&label) else {
            return Ok(ApplyOutcome::Unknown { reason: "gone".into() });
        };
        let pinned = ServerIdentity::Maintenance { fingerprint: pin.to_owned() };
        if machine.server_identity() != pinned {
            return Ok(ApplyOutcome::Unknown { reason: "not the certificate that was looked at".into() });
        }
        if !ledger.proved.contains(&(label.clone(), node.clone())) {
            return Err(Violation::ConfigToStranger { node: node.clone(), machine: label });
        }
        let request =
            Request::ApplyConfiguration { data: config.into_bytes(), mode: ApplyMode::Auto, dry_run: false };
        Ok(match machine.call(&Caller::Anonymous, request, now) {
            Ok(_) => ApplyOutcome::Accepted,
            Err(status) if status.code == Code::FailedPrecondition => ApplyOutcome::Accepted,
            Err(status) => ApplyOutcome::Refused { reason: status.to_string() },
        })
    }
}

/// Whether this machine is the one of a claim.
pub(crate) fn is_claimed(claim: &Claim, machine: &model::Machine) -> bool {
    machine.hardware().macs().iter().any(|mac| claim.machine.macs.contains(mac))
}

fn etcd(machine: &mut model::Machine, admin: &Caller, now: u64) -> EtcdObservation {
    // a learner's own etcd does not tell
    let told = machine.call(admin, Request::EtcdMemberList { local: true }, now);
    let told = told.or_else(|_| machine.call(admin, Request::EtcdMemberList { local: false }, now));
    if let Ok(Response::Members(members)) = told {
        let members = members.into_iter().map(|(id, member)| EtcdMember {
            name: member.name,
            id: format!("{id:016x}"),
            learner: member.learner,
        });
        let members: Vec<EtcdMember> = members.collect();
        let leader = match machine.call(admin, Request::EtcdStatus, now) {
            Ok(Response::EtcdStatus { leader, .. }) if leader != 0 => Some(format!("{leader:016x}")),
            _ => None,
        };
        return EtcdObservation::Members {
            members,
            health: EtcdHealth { leader, term: 1, errors: Vec::new() },
        };
    }
    match machine.call(admin, Request::ServiceList, now) {
        Ok(Response::Services(services)) => match services.iter().find(|service| service.id == "etcd") {
            None => EtcdObservation::None,
            Some(service) if matches!(service.state.as_str(), "Preparing" | "Waiting") => {
                EtcdObservation::Waiting
            }
            Some(service) => EtcdObservation::Unknown { reason: format!("etcd is {}", service.state) },
        },
        _ => EtcdObservation::Unknown { reason: "the service list does not come".into() },
    }
}
