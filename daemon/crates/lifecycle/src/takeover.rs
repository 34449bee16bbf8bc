//! A cluster that runs already is taken over as it is: slots are claimed, and nothing is installed, founded or written.
//!
//! The daemon asks every node at its address, and the answers come here all at once with a person's order, so that it is one
//! decision: either everything that answers fits the site, or nothing changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    Bootstrapped, Claim, Cluster, Core, EtcdMember, EtcdObservation, Guards, Intent, Machine, NodeName,
    NodeState, Role, Ticket, Time,
};

/// What answers where a node should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighted {
    /// nobody does
    Silent {
        /// what was tried and what happened
        detail: String,
    },
    /// a machine without a config
    Waiting {
        /// where
        address: IpAddr,
    },
    /// somebody else's
    Foreign {
        /// where
        address: IpAddr,
        /// its certificate's subject
        subject: String,
    },
    /// one with our CA
    Ours(Box<Runner>),
}

/// A machine that runs with our CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    /// where
    pub address: IpAddr,
    /// what it calls itself
    pub hostname: String,
    /// its own account of itself
    pub machine: Machine,
    /// the boot in which it was asked
    pub boot_id: String,
    /// what it knows of etcd; workers have none
    pub etcd: EtcdObservation,
}

impl Sighted {
    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Silent { detail } => format!("does not answer: {detail}"),
            Self::Waiting { address } => format!("waits at {address} for a config"),
            Self::Foreign { address, subject } => {
                format!("somebody else's machine answers at {address} ({subject})")
            }
            Self::Ours(runner) => {
                let etcd = match &runner.etcd {
                    EtcdObservation::None => "a worker".to_owned(),
                    EtcdObservation::Waiting => "a control plane whose etcd has no data".to_owned(),
                    EtcdObservation::Members { members, .. } => {
                        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                        format!("a control plane; etcd's members are {}", names.join(", "))
                    }
                    EtcdObservation::Unknown { reason } => format!("a control plane ({reason})"),
                };
                format!("{} runs at {} ({}): {etcd}", runner.hostname, runner.address, runner.machine)
            }
        }
    }
}

/// What was found of a site's nodes.
pub type Survey = BTreeMap<NodeName, Sighted>;

/// What would be done.
struct Verdict {
    /// these get their slots
    taken: Vec<NodeName>,
    /// the first member of etcd that is a node of the site
    founder: Option<EtcdMember>,
}

impl<G: Guards> Core<G> {
    /// What taking over what was found would do, or everything that stands against it.
    pub(crate) fn may_take_over(&self, found: &Survey) -> Result<String, String> {
        let verdict = self.judged(found)?;
        let names =
            |names: &[NodeName]| names.iter().map(|name| name.0.as_str()).collect::<Vec<_>>().join(", ");
        let left: Vec<NodeName> = self
            .plan
            .nodes
            .keys()
            .filter(|name| {
                !verdict.taken.contains(name) && self.node(name).is_some_and(|state| state.claim().is_none())
            })
            .cloned()
            .collect();
        let mut words = match verdict.taken.as_slice() {
            [] => "every node that answers holds its slot already".to_owned(),
            taken => format!("{} taken over as they are; nothing is installed or founded", names(taken)),
        };
        if !left.is_empty() {
            words += &format!(
                "; {} stay vacant: `ichord takeover` again when they answer, or `ichord deploy` to install them",
                names(&left)
            );
        }
        Ok(words)
    }

    fn judged(&self, found: &Survey) -> Result<Verdict, String> {
        let mut faults = Vec::new();
        match &self.cluster {
            Cluster::Bootstrapping(Intent { doubt: None, node, .. }) => faults.push(format!(
                "the cluster is being founded on {node}: there is nothing to take over before that has ended"
            )),
            Cluster::Assembling { .. }
            | Cluster::Bootstrapping(_)
            | Cluster::Joining(_)
            | Cluster::HandingOver { .. }
            | Cluster::HandedOver { .. } => {}
        }
        let mut taken = Vec::new();
        let mut machines: Vec<(&NodeName, &Machine)> = Vec::new();
        for (name, sighted) in found {
            let Some(plan) = self.plan.nodes.get(name) else { continue };
            let runner = match sighted {
                Sighted::Foreign { address, subject } => {
                    faults.push(format!(
                        "{name}: at {address} answers a machine with another CA ({subject}): is `secrets:` this cluster's? If it \
                         is another cluster's machine, switch it off or mend the node's address"
                    ));
                    continue;
                }
                Sighted::Silent { .. } | Sighted::Waiting { .. } => continue,
                Sighted::Ours(runner) => runner,
            };
            if runner.hostname != name.0 {
                faults.push(format!(
                    "{name}: the node at {} calls itself {}: mend hostname or ipAddress in talconfig.yaml",
                    runner.address, runner.hostname
                ));
                continue;
            }
            let is_control_plane = runner.etcd != EtcdObservation::None;
            if is_control_plane != (plan.role == Role::ControlPlane) {
                let (is, should) = if is_control_plane {
                    ("a control plane", "a worker")
                } else {
                    ("a worker", "a control plane")
                };
                faults.push(format!(
                    "{name}: it is {is}, and the site says {should}: mend controlPlane in talconfig.yaml"
                ));
                continue;
            }
            if let Some((other, _)) = machines.iter().find(|(_, other)| other.is_same_as(&runner.machine)) {
                faults.push(format!(
                    "{name}: {} answers as {other}, too: two nodes have one machine",
                    runner.machine
                ));
                continue;
            }
            machines.push((name, &runner.machine));
            match self.takes(name, runner) {
                Ok(true) => taken.push(name.clone()),
                Ok(false) => {}
                Err(fault) => faults.push(format!("{name}: {fault}")),
            }
        }
        let founder = self.founded_as(found, &mut faults);
        if machines.is_empty() && faults.is_empty() {
            faults.push(
                "no node of the site answers with its CA: are they on, and is this host on their network? Of a cluster that is \
                 still to be founded there is nothing to take over"
                    .to_owned(),
            );
        }
        if !faults.is_empty() {
            return Err(format!("nothing is taken over: {}", faults.join("; ")));
        }
        Ok(Verdict { taken, founder })
    }

    /// Whether the runner gets the slot of its name; not if it has it already.
    fn takes(&self, name: &NodeName, runner: &Runner) -> Result<bool, String> {
        if let Some(held) = self.held_by(&runner.machine).filter(|held| held != name) {
            return Err(format!(
                "{} holds {held}: `ichord slot release {held}` says that it is not that node",
                runner.machine
            ));
        }
        let Some(slot) = self.slots.get(name) else { return Ok(false) };
        match slot.state.claim() {
            None => Ok(true),
            Some(claim) if claim.machine.is_same_as(&runner.machine) => Ok(false),
            Some(claim) if slot.heard => {
                Err(format!("{} answers as it, too: switch off the one that is not {name}", claim.machine))
            }
            Some(_) => Ok(true),
        }
    }

    /// The founder, where etcd is what the site says.
    fn founded_as(&self, found: &Survey, faults: &mut Vec<String>) -> Option<EtcdMember> {
        let told: Vec<(&NodeName, &Vec<EtcdMember>)> = found
            .iter()
            .filter_map(|(name, sighted)| match sighted {
                Sighted::Ours(runner) => match &runner.etcd {
                    EtcdObservation::Members { members, .. } => Some((name, members)),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let ids = |members: &[EtcdMember]| -> BTreeSet<String> {
            members.iter().map(|member| member.id.clone()).collect()
        };
        let is_founded = !matches!(self.cluster, Cluster::Assembling { .. } | Cluster::Bootstrapping(_));
        let Some((first, members)) = told.first() else {
            let answers = found.values().any(|sighted| matches!(sighted, Sighted::Ours(_)));
            if !is_founded && answers {
                faults.push(
                    "no control plane that answers tells etcd's members: without them there is no cluster to take over. Bring a \
                     control plane with its disk back; where etcd's data are lost everywhere, `ichord recover` founds it from a \
                     snapshot"
                        .to_owned(),
                );
            }
            return None;
        };
        for (other, theirs) in told.iter().skip(1) {
            if ids(theirs) != ids(members) {
                faults.push(format!(
                    "{first} and {other} tell different members of etcd: is one of them of another cluster, or cut off?"
                ));
            }
        }
        let planned = |name: &str| self.slots.control_planes().any(|known| known.0 == name);
        let strange: Vec<&str> = members
            .iter()
            .map(|member| member.name.as_str())
            .filter(|name| !name.is_empty() && !planned(name))
            .collect();
        if !strange.is_empty() {
            faults.push(format!(
                "etcd has members that are no control planes of the site ({}): add them to talconfig.yaml, or take them out with \
                 `talosctl etcd remove-member`",
                strange.join(", ")
            ));
        }
        members.iter().find(|member| !member.learner && planned(&member.name)).cloned()
    }

    /// Does it, after it was weighed.
    pub(crate) fn take_over(&mut self, found: Survey, by: &str, words: Vec<String>, now: Time) {
        let Ok(verdict) = self.judged(&found) else { return };
        self.note("cluster", "taken over as it is", words);
        self.ledger.unlooked = false;
        self.write_cluster();
        for name in verdict.taken {
            if let Some(Sighted::Ours(runner)) = found.get(&name) {
                self.claim_runner(&name, runner, by, now);
            }
        }
        // which vacant slots were filled before is unknown, and whether who is silent is still the node: nobody fills or replaces
        // one but by a person's word, until each has its machine and that answers
        let answers = |name| matches!(found.get(name), Some(Sighted::Ours(_)));
        self.ledger.unsure = !self.plan.nodes.keys().all(answers);
        let is_founded = !matches!(self.cluster, Cluster::Assembling { .. } | Cluster::Bootstrapping(_));
        if let Some(founder) = verdict.founder.filter(|_| !is_founded) {
            self.ledger.members = None;
            self.ledger.boots.clear();
            let bootstrapped = Bootstrapped {
                node: NodeName(founder.name),
                member: founder.id,
                at: now,
                taken_over: Some(by.to_owned()),
            };
            self.move_cluster(Cluster::Joining(bootstrapped), vec!["etcd has members already".to_owned()]);
        }
    }

    fn claim_runner(&mut self, name: &NodeName, runner: &Runner, by: &str, now: Time) {
        self.end_departure(name);
        if self.node(name).is_some_and(|state| state.claim().is_some()) {
            self.vacate(name, by, now);
        }
        let evidence = vec![
            format!("it answers with our CA at {} as {}", runner.address, runner.hostname),
            format!("{by} had the cluster taken over"),
        ];
        let claim = Claim {
            machine: runner.machine.clone(),
            port: None,
            attested: true,
            vouched: None,
            evidence: evidence.clone(),
            netboot_address: None,
            since: now,
            told: None,
            erase: None,
            kept: false,
            old_disk: false,
        };
        // who has been taken out and runs as the node is let in again by the same word
        self.ledger.retired.retain(|retired| !retired.machine.is_same_as(&runner.machine));
        let boot_id = runner.boot_id.clone();
        self.move_node(name, NodeState::Configured { claim, boot_id, since: now, pushed: false }, evidence);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.address = Some(runner.address);
            slot.next_look = now;
        }
    }

    /// A store that knows nothing first finds out whether its cluster runs already.
    pub(crate) fn look_around(&mut self, now: Time) {
        let is_due = self.work.around.is_none() && now >= self.work.around_not_before;
        if !self.ledger.unlooked || !is_due || !matches!(self.cluster, Cluster::Assembling { .. }) {
            return;
        }
        let ticket = self.ticket();
        self.work.around = Some(ticket);
        let nodes = self.plan.nodes.values().map(|node| node.address).collect();
        self.start(crate::Effect::LookAround { ticket, nodes });
    }

    /// Those that answer with our CA; `None` where it could not be found out.
    pub(crate) fn looked_around(&mut self, ticket: Ticket, nodes: Option<Vec<IpAddr>>, now: Time) {
        if self.work.around != Some(ticket) {
            return;
        }
        self.work.around = None;
        let Some(nodes) = nodes else {
            self.work.around_not_before = now + self.plan.timing.retry;
            return;
        };
        if std::mem::take(&mut self.ledger.unlooked) {
            self.write_cluster();
        }
        let Cluster::Assembling { doubt: None, word } = self.cluster.clone() else { return };
        let known = |address: &&IpAddr| {
            self.plan.nodes.iter().any(|(name, plan)| {
                plan.address == **address && self.node(name).is_some_and(|state| state.claim().is_some())
            })
        };
        let unknown: Vec<String> =
            nodes.iter().filter(|address| !known(address)).map(ToString::to_string).collect();
        if unknown.is_empty() {
            return;
        }
        let doubt = unknown_answered(&unknown);
        self.note("cluster", "the store does not know everything", vec![doubt.clone()]);
        self.move_cluster(Cluster::Assembling { doubt: Some(doubt), word }, Vec::new());
    }

    /// Why the site's own permission to install does not hold now.
    pub(crate) fn site_permits(&self, now: Time) -> Result<(), &'static str> {
        if self.ledger.unlooked {
            return Err("whether the cluster runs already is being found out");
        }
        match &self.cluster {
            Cluster::Assembling { doubt: Some(_), word } if !crate::bootstrap::holds(word.as_ref(), now) => {
                Err("the cluster may exist already")
            }
            _ => Ok(()),
        }
    }
}

/// What a store that knows nothing of its nodes says.
pub(crate) fn unknown_answered(addresses: &[String]) -> String {
    format!(
        "nodes that this store knows nothing of answered with our CA ({}), and `ichord takeover` takes them over as they are",
        addresses.join(", ")
    )
}
