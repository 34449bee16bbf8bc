//! Nodes that are taken out, as the world meets it: etcd, the machine, and Kubernetes.

use std::net::IpAddr;

use lifecycle::{NodeName, Task, TaskOutcome, Wiped};
use machine::model::{self, Caller, Request, Response, Stage};

use crate::{invariants::Violation, world::World};

/// A member that is silent for so long is missed by the others: five of their heartbeats.
const UNNOTICED: u64 = 6_000;

impl World {
    /// Carries one step out.
    pub(crate) fn depart(&mut self, node: &NodeName, task: Task, now: u64) -> Result<TaskOutcome, Violation> {
        let failed = |reason: &str| TaskOutcome::Failed { reason: reason.to_owned() };
        let done = |summary: &str| TaskOutcome::Done { summary: summary.to_owned() };
        let admin = Caller::admin(&self.ours.clone());
        Ok(match task {
            Task::Snapshot { address } => {
                match self.call(address, &admin, Request::EtcdMemberList { local: false }, now) {
                    Ok(_) => {
                        let etcd =
                            self.rack.at(address).and_then(|it| it.storage().system.as_ref()?.etcd.clone());
                        if let Some(data) = etcd {
                            self.snapshots.insert(format!("etcd-{now}"), data.cluster.snapshot());
                        }
                        done("a snapshot is kept")
                    }
                    Err(status) => failed(&status.to_string()),
                }
            }
            Task::Drain if self.api_servers.is_empty() => {
                TaskOutcome::Skipped { reason: "Kubernetes does not answer".into() }
            }
            Task::Drain if self.endless_drain => {
                TaskOutcome::Stuck { reason: "a pod does not go away".into() }
            }
            Task::Drain => done("no pods are left"),
            Task::Remove { address, member } => {
                let before = self.quorum();
                let id = u64::from_str_radix(&member, 16).unwrap_or_default();
                let name = match self.call(address, &admin, Request::EtcdMemberList { local: true }, now) {
                    Ok(Response::Members(members)) => {
                        members.into_iter().find(|(other, _)| *other == id).map(|(_, member)| member.name)
                    }
                    _ => None,
                };
                if let Some(other) = name.filter(|name| *name != node.0 && !name.is_empty()) {
                    return Err(Violation::OtherSlotTouched { node: node.clone(), other });
                }
                let answer = self.call(address, &admin, Request::EtcdRemoveMember { id }, now);
                self.kept_quorum(node, before, now)?;
                match answer {
                    Ok(_) => done("it is out of etcd"),
                    Err(status) if status.code == model::Code::NotFound => done("it is out of etcd"),
                    Err(status) => failed(&status.to_string()),
                }
            }
            Task::Reset { address, boot_id, leaves_etcd, wiped } => {
                if self.rack.at(address).and_then(|machine| machine.boot_id()) != Some(boot_id.as_str()) {
                    return Ok(failed("another boot answers there, or none"));
                }
                let hostname =
                    self.rack.at(address).and_then(|machine| machine.hostname().map(str::to_owned));
                if let Some(other) = hostname.filter(|name| *name != node.0) {
                    return Err(Violation::OtherSlotTouched { node: node.clone(), other });
                }
                let labels: &[&str] = match wiped {
                    Wiped::Disk => &[],
                    Wiped::State => &["STATE", "EPHEMERAL"],
                    Wiped::Data => &["EPHEMERAL"],
                };
                let partitions = labels.iter().map(|label| (*label).to_owned()).collect();
                let before = self.quorum();
                let reset = Request::Reset { graceful: leaves_etcd, reboot: true, partitions };
                let answer = self.call(address, &admin, reset, now);
                self.kept_quorum(node, before, now)?;
                match answer {
                    Ok(_) => done("it was told"),
                    Err(status) => failed(&status.to_string()),
                }
            }
            Task::Clear { .. } | Task::Forget if self.api_servers.is_empty() => {
                failed("Kubernetes does not answer")
            }
            Task::Clear { .. } => done("Kubernetes knows no boot that is gone"),
            Task::Forget => done("Kubernetes knows no such node"),
        })
    }

    /// How many of the newest cluster's voters run, and how many must.
    fn quorum(&self) -> Option<(usize, usize)> {
        let clusters = self.rack.machines.values().filter_map(|machine| {
            let runs = machine.stage() == Stage::Configured;
            machine.storage().system.as_ref()?.etcd.as_ref().filter(|_| runs)
        });
        let newest = clusters.max_by_key(|data| data.cluster.revision)?;
        let runs = |address: IpAddr| {
            self.rack.name_at(address).and_then(|label| self.rack.machines.get(&label)).is_some_and(
                |machine| {
                    machine.stage() == Stage::Configured
                        && machine.storage().system.as_ref().is_some_and(|system| system.etcd.is_some())
                },
            )
        };
        let voters: Vec<&model::Member> =
            newest.cluster.members.values().filter(|member| !member.learner).collect();
        let alive = voters.iter().filter(|member| runs(member.address)).count();
        Some((alive, voters.len() / 2 + 1))
    }

    /// etcd has the quorum that it had before. That a machine has just died nobody can know yet, etcd itself included.
    fn kept_quorum(
        &self,
        node: &NodeName,
        before: Option<(usize, usize)>,
        now: u64,
    ) -> Result<(), Violation> {
        if self.power_lost.is_some_and(|at| now < at + UNNOTICED) {
            return Ok(());
        }
        match (before, self.quorum()) {
            (Some((alive, needed)), Some((left, need))) if alive >= needed && left < need => {
                Err(Violation::BelowQuorum { node: node.clone() })
            }
            _ => Ok(()),
        }
    }
}
