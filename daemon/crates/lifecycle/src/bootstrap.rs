//! Exactly one etcd cluster. Talos guards only a node's own disk, so the guard is here (talos.md §9.2).

use std::{collections::BTreeSet, time::Duration};

use crate::{
    BootstrapOutcome, Bootstrapped, Cluster, Core, Effect, EtcdMember, EtcdObservation, Intent, NodeName,
    NodeState, Ticket, Time, core::Look,
};

/// A look older than so many observation intervals proves nothing any more.
const FRESH_INTERVALS: u32 = 10;

impl Core {
    /// Moves the cluster as far as the latest looks allow.
    pub(crate) fn advance_cluster(&mut self, now: Time) {
        match self.cluster.clone() {
            Cluster::Assembling => self.assemble(now),
            Cluster::Bootstrapping(intent) => self.bootstrap(intent, now),
            Cluster::Joining(bootstrapped) => self.join(bootstrapped, now),
            Cluster::HandingOver { bootstrapped, done } => self.hand_over(bootstrapped, done, now),
            Cluster::HandedOver { .. } => {}
        }
    }

    fn fresh_look(&self, name: &NodeName, now: Time) -> Option<&Look> {
        let patience = self.plan.timing.observe.saturating_mul(FRESH_INTERVALS).max(Duration::from_secs(5));
        self.slots.get(name)?.look.as_ref().filter(|look| now.since(look.at) <= patience)
    }

    /// etcd's members as any control plane tells them now.
    fn members_seen(&self, now: Time) -> Option<(NodeName, Vec<EtcdMember>)> {
        self.plan.control_planes().find_map(|name| match &self.fresh_look(name, now)?.etcd {
            EtcdObservation::Members(members) if !members.is_empty() => Some((name.clone(), members.clone())),
            _ => None,
        })
    }

    /// Every control plane was configured by us and holds no etcd data: only then may one be chosen.
    fn assemble(&mut self, now: Time) {
        let names: Vec<NodeName> = self.plan.control_planes().cloned().collect();
        let Some(first) = names.first().cloned() else { return };
        if let Some((name, members)) = self.members_seen(now) {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            self.wait_cluster(format!(
                "etcd on {name} already has members ({}) that ichord did not bootstrap: nothing is bootstrapped over them",
                names.join(", ")
            ));
            return;
        }
        let mut missing = Vec::new();
        for name in &names {
            let state = self.slots.get(name).map(|slot| &slot.state);
            let empty = self.fresh_look(name, now).is_some_and(|look| look.etcd == EtcdObservation::Waiting);
            match state {
                Some(NodeState::Configured { .. }) if empty => {}
                Some(NodeState::Configured { .. }) => {
                    missing.push(format!("{name} has not shown that it holds no etcd data"))
                }
                Some(state) => missing.push(format!("{name} is {}", state.name())),
                None => missing.push(format!("{name} is unknown")),
            }
        }
        if !missing.is_empty() {
            self.wait_cluster(format!(
                "every control plane must be configured first: {}",
                missing.join("; ")
            ));
            return;
        }
        if self.work.in_flight.is_some() || now < self.work.not_before {
            return;
        }
        match self.plan.virtual_address {
            Some(address) => {
                let ticket = self.ticket();
                self.work.in_flight = Some(ticket);
                self.start(Effect::ProbeVirtualAddress { ticket, address });
            }
            None => self.intend(&first, now),
        }
    }

    pub(crate) fn virtual_address_probed(&mut self, ticket: Ticket, owner: Option<String>, now: Time) {
        if self.work.in_flight != Some(ticket) {
            return;
        }
        self.work.in_flight = None;
        if !matches!(self.cluster, Cluster::Assembling) {
            return;
        }
        match owner {
            Some(owner) => {
                self.work.not_before = now + self.plan.timing.retry;
                self.wait_cluster(format!(
                    "somebody answers for the virtual address ({owner}): a cluster may already exist, nothing is bootstrapped"
                ));
            }
            None => {
                // nothing may have changed while the network was asked
                let still = self.plan.control_planes().all(|name| {
                    self.slots
                        .get(name)
                        .is_some_and(|slot| matches!(slot.state, NodeState::Configured { .. }))
                        && self
                            .fresh_look(name, now)
                            .is_some_and(|look| look.etcd == EtcdObservation::Waiting)
                });
                let first = self.plan.control_planes().next().cloned();
                if let Some(first) = first.filter(|_| still) {
                    self.intend(&first, now);
                }
            }
        }
    }

    /// Writes the intent down; the call leaves only after that is durable.
    fn intend(&mut self, name: &NodeName, now: Time) {
        let Some(look) = self.fresh_look(name, now) else { return };
        let intent =
            Intent { node: name.clone(), address: look.address, boot_id: look.boot_id.clone(), at: now };
        let mut evidence = vec!["every control plane is configured and holds no etcd data".to_owned()];
        if let Some(address) = self.plan.virtual_address {
            evidence.push(format!("nobody answers for {address}"));
        }
        evidence.push(format!("{name} is asked, and no other node ever"));
        self.call(intent, evidence);
    }

    fn call(&mut self, intent: Intent, evidence: Vec<String>) {
        let ticket = self.ticket();
        self.work.in_flight = Some(ticket);
        self.work.refused = false;
        let effect = Effect::Bootstrap { ticket, node: intent.node.clone(), address: intent.address };
        self.note("cluster", format!("Bootstrap is called on {}", intent.node), evidence.clone());
        self.move_cluster(Cluster::Bootstrapping(intent), evidence);
        self.start(effect);
    }

    fn bootstrap(&mut self, intent: Intent, now: Time) {
        if let Some((witness, members)) = self.members_seen(now) {
            let Some(member) = members.iter().find(|member| member.name == intent.node.0) else {
                let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                self.wait_cluster(format!(
                    "etcd on {witness} has members ({}) and {} is not among them: this is not the cluster that \
                     it was asked to found",
                    names.join(", "),
                    intent.node
                ));
                return;
            };
            // the call may still be unanswered; what follows waits for its end
            let bootstrapped = Bootstrapped { node: intent.node, member: member.id.clone(), at: now };
            self.move_cluster(Cluster::Joining(bootstrapped), vec![format!("etcd on {witness} has members")]);
            return;
        }
        if self.work.in_flight.is_some() || now < self.work.not_before {
            return;
        }
        let Some(look) = self.fresh_look(&intent.node, now) else {
            self.wait_cluster(format!("{} was asked to bootstrap and does not answer", intent.node));
            return;
        };
        // an intent from the future is a clock that went back: it says nothing about what was seen since
        let in_future = intent.at > now;
        if look.etcd != EtcdObservation::Waiting || (look.at <= intent.at && !in_future) {
            return;
        }
        let address = look.address;
        if look.boot_id != intent.boot_id {
            let boot_id = look.boot_id.clone();
            let evidence = vec![format!(
                "{} rebooted before etcd wrote its data; the same node is asked again",
                intent.node
            )];
            self.call(Intent { boot_id, address, at: now, ..intent }, evidence);
        } else if self.work.refused {
            let evidence = vec!["the last call certainly did nothing".to_owned()];
            self.call(Intent { address, at: now, ..intent }, evidence);
        } else if in_future || now.since(intent.at) >= self.plan.timing.bootstrap_grace {
            let evidence =
                vec![format!("no etcd members {} s after the call", now.since(intent.at).as_secs())];
            self.call(Intent { address, at: now, ..intent }, evidence);
        } else {
            self.wait_cluster(format!("etcd on {} has no members yet", intent.node));
        }
    }

    pub(crate) fn bootstrap_answered(&mut self, ticket: Ticket, outcome: BootstrapOutcome, now: Time) {
        if self.work.in_flight != Some(ticket) {
            return;
        }
        self.work.in_flight = None;
        let Cluster::Bootstrapping(intent) = &self.cluster else { return };
        let node = intent.node.clone();
        if let Some(slot) = self.slots.get_mut(&node) {
            slot.next_look = now;
        }
        match outcome {
            BootstrapOutcome::Accepted => {
                self.note("cluster", format!("{node} accepted the bootstrap"), Vec::new())
            }
            BootstrapOutcome::NotYet { reason } => {
                self.work.refused = true;
                self.work.not_before = now + self.plan.timing.retry;
                self.wait_cluster(format!("{node} cannot bootstrap yet: {reason}"));
            }
            BootstrapOutcome::Unknown { reason } => {
                self.wait_cluster(format!(
                    "whether {node} took the bootstrap shows in etcd's members ({reason})"
                ));
            }
        }
    }

    /// Until etcd's voters are exactly the control planes, as each of them tells it.
    fn join(&mut self, bootstrapped: Bootstrapped, now: Time) {
        let wanted: BTreeSet<&str> = self.plan.control_planes().map(|name| name.0.as_str()).collect();
        let mut missing = Vec::new();
        for name in self.plan.control_planes() {
            match self.fresh_look(name, now).map(|look| &look.etcd) {
                Some(EtcdObservation::Members(members)) => {
                    let voters: BTreeSet<&str> = members
                        .iter()
                        .filter(|member| !member.learner)
                        .map(|member| member.name.as_str())
                        .collect();
                    if voters != wanted || members.len() != wanted.len() {
                        let seen: Vec<&str> = voters.into_iter().collect();
                        missing.push(format!("{name} sees the voters {}", seen.join(", ")));
                    }
                }
                _ => missing.push(format!("{name} does not show etcd's members")),
            }
        }
        if missing.is_empty() {
            let evidence = vec!["etcd's voters are the control planes, as each of them tells it".to_owned()];
            self.move_cluster(Cluster::HandingOver { bootstrapped, done: Vec::new() }, evidence);
            self.advance_cluster(now);
        } else {
            self.wait_cluster(missing.join("; "));
        }
    }
}
