//! The simulated outside: racked machines behind switch ports, and what effects meet there.

use std::{collections::BTreeMap, net::IpAddr};

use hardware::{Inventory, MacAddr, SystemUuid};
use lifecycle::{
    ApplyOutcome, BootAnswer, BootstrapOutcome, ClusterPlan, Effect, EtcdMember, EtcdObservation, Event,
    Identity, Machine, NodeName, Observation, Stage, StepOutcome,
};
use machine::model::{
    self, ApplyMode, Caller, Code, Hardware, Image, Instruction, Pace, Rack, Request, Response,
    ServerIdentity, fingerprint,
};
use serde_json::Value;

use crate::{
    config::{OUR_CA, machine_config},
    invariants::Violation,
};

/// The rack, and which slot each machine is cabled to.
pub(crate) struct World {
    pub(crate) rack: Rack,
    /// machine → slot: the truth that switch ports tell
    pub(crate) cabling: BTreeMap<String, NodeName>,
    /// machine → its address of the pool
    leases: BTreeMap<String, String>,
    plan: ClusterPlan,
    api_server: bool,
}

impl World {
    /// One machine for every slot, powered off.
    pub(crate) fn new(plan: ClusterPlan, seed: u64) -> Self {
        let mut rack = Rack::default();
        let (mut cabling, mut leases) = (BTreeMap::new(), BTreeMap::new());
        for (index, name) in (1u8..).zip(plan.nodes.keys()) {
            let mac = MacAddr([0x52, 0x54, 0, 0x77, 0, index]);
            let mut uuid = [0x11; 16];
            uuid[15] = index;
            let hardware = Hardware::plain(mac, SystemUuid(uuid), &format!("S{index}"));
            let mut machine =
                model::Machine::new(hardware, Pace::fast(), seed.wrapping_add(u64::from(index)));
            let lease = format!("10.77.0.{}/24", 100 + index);
            machine.set_lease(lease.parse().ok());
            let label = format!("box-{index}");
            leases.insert(label.clone(), lease);
            cabling.insert(label.clone(), name.clone());
            rack.machines.insert(label, machine);
        }
        Self { rack, cabling, leases, plan, api_server: false }
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
        let evidence = vec![format!("the switch sees {label} in {node}'s port")];
        let from = asking.address()?;
        Some((machine, from, Identity::Slot { node, port: None, attested: true, evidence }))
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
            BootAnswer::Deploy { .. } => Instruction::Talos {
                image: Image { schematic: None, version: "v1.13.9".into() },
                cmdline: "talos.platform=metal slab_nomerge pti=on".into(),
                intact: true,
            },
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
        for (label, lease) in [(one, second), (other, first)] {
            if let Some(machine) = self.rack.machines.get_mut(label) {
                machine.set_lease(lease.parse().ok());
            }
            self.leases.insert(label.to_owned(), lease);
        }
    }

    pub(crate) fn api_server_changed(&mut self, answers: bool) {
        self.api_server = answers;
    }

    /// Carries an effect out now. The event is what the daemon hears when nothing is lost.
    pub(crate) fn carry_out(&mut self, effect: &Effect, now: u64) -> Result<Event, Violation> {
        Ok(match effect.clone() {
            // answered where the firmware is, not here
            Effect::AnswerBoot { .. } => Event::Tick,
            Effect::Observe { node, ticket, candidates } => {
                Event::Observed { node, ticket, observation: self.observe(&candidates, now) }
            }
            Effect::Apply { node, ticket, address, fingerprint } => {
                let outcome = self.apply(&node, address, &fingerprint, now)?;
                Event::Applied { node, ticket, outcome }
            }
            Effect::ProbeVirtualAddress { ticket, address } => {
                Event::VirtualAddressProbed { ticket, owner: self.rack.name_at(address) }
            }
            Effect::Bootstrap { ticket, address, .. } => {
                let answer =
                    self.call(address, &Caller::admin(&fingerprint(OUR_CA)), Request::Bootstrap, now);
                let outcome = match answer {
                    Ok(_) => BootstrapOutcome::Accepted,
                    Err(status) if status.code == Code::AlreadyExists => BootstrapOutcome::Accepted,
                    Err(status) => BootstrapOutcome::NotYet { reason: status.to_string() },
                };
                Event::BootstrapAnswered { ticket, outcome }
            }
            Effect::RunStep { ticket, step } => {
                let there = self.plan.virtual_address.is_some_and(|vip| self.rack.name_at(vip).is_some());
                let outcome = if there && self.api_server {
                    StepOutcome::Done { summary: "applied".into() }
                } else {
                    StepOutcome::Failed { reason: "the API server does not answer".into() }
                };
                Event::StepEnded { ticket, step, outcome }
            }
        })
    }

    fn call(
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
            let Some(machine) = self.rack.at(address) else {
                silence.push(format!("{address} does not answer"));
                continue;
            };
            let boot_id = machine.boot_id().unwrap_or_default().to_owned();
            let inventory = inventory(machine);
            match machine.server_identity() {
                ServerIdentity::Closed => silence.push(format!("{address} refuses")),
                ServerIdentity::Maintenance { fingerprint } => {
                    return Observation::Maintenance { address, fingerprint, boot_id, inventory };
                }
                ServerIdentity::Issued { ca } if ca == fingerprint(OUR_CA) => {
                    let admin = Caller::admin(&ca);
                    let stage = stage(machine, &admin, now);
                    let etcd = etcd(machine, &admin, now);
                    return Observation::Configured { address, boot_id, stage, inventory, etcd };
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
        now: u64,
    ) -> Result<ApplyOutcome, Violation> {
        let Some(label) = self.rack.name_at(address) else {
            return Ok(ApplyOutcome::Unknown { reason: "connection refused".into() });
        };
        let (Some(plan), Some(vip)) = (self.plan.nodes.get(node), self.plan.virtual_address) else {
            return Ok(ApplyOutcome::Refused { reason: "not in the site".into() });
        };
        let config = machine_config(&node.0, plan.role, plan.address, vip);
        let Some(machine) = self.rack.machines.get_mut(&label) else {
            return Ok(ApplyOutcome::Unknown { reason: "gone".into() });
        };
        let pinned = ServerIdentity::Maintenance { fingerprint: pin.to_owned() };
        if machine.server_identity() != pinned {
            return Ok(ApplyOutcome::Unknown { reason: "not the certificate that was looked at".into() });
        }
        if self.cabling.get(&label) != Some(node) {
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

fn inventory(machine: &model::Machine) -> Inventory {
    let hardware = machine.hardware();
    Inventory {
        uuid: Some(hardware.uuid),
        serial: Some(hardware.serial.clone()),
        links: hardware.links.clone(),
        disks: hardware.disks.clone(),
    }
}

fn stage(machine: &mut model::Machine, admin: &Caller, now: u64) -> Stage {
    let request = Request::Get {
        namespace: "runtime".into(),
        kind: "MachineStatuses.runtime.talos.dev".into(),
        id: "machine".into(),
    };
    let running = match machine.call(admin, request, now) {
        Ok(Response::Resources(resources)) => resources
            .iter()
            .any(|resource| resource.spec.get("stage").and_then(Value::as_str) == Some("running")),
        _ => false,
    };
    if running { Stage::Running } else { Stage::Other }
}

fn etcd(machine: &mut model::Machine, admin: &Caller, now: u64) -> EtcdObservation {
    if let Ok(Response::Members(members)) = machine.call(admin, Request::EtcdMemberList { local: true }, now)
    {
        let members = members.into_iter().map(|(id, member)| EtcdMember {
            name: member.name,
            id: format!("{id:016x}"),
            learner: member.learner,
        });
        return EtcdObservation::Members(members.collect());
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
