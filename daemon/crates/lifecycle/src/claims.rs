//! Who holds a slot, and how that changes: a person's orders, replacements, and machines that are fenced off.
//!
//! `boot` asks here before a machine gets a slot that is held; the reconciler weighs a person's order here before
//! it becomes an event. While the first machine answers, no second one gets its config.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BootAnswer, Cause, Claim, Cluster, Core, Departure, EtcdObservation, FencedView, Guards, Machine,
    NodeName, NodeState, PowerAction, Progress, Recovery, Role, Survey, Time, slot::Slot, slots::Key,
};

/// Seconds between two questions of a machine that is fenced off: a person comes in minutes, not in seconds.
const FENCED_PAUSE: u32 = 30;

/// A person's order about a claim, or a person's word about what the daemon cannot know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// the machine that waits in maintenance mode with this key is the right one
    Vouch {
        /// whose machine
        node: NodeName,
        /// SHA-256 of its public key, as read from its console
        fingerprint: String,
    },
    /// the machine that is plugged in there now takes the slot from its holder
    Admit {
        /// whose slot
        node: NodeName,
    },
    /// its machine no longer holds the slot
    Release {
        /// which slot
        node: NodeName,
    },
    /// the machine of one slot gets another one, wherever it is plugged in
    Move {
        /// the slot it holds
        from: NodeName,
        /// the vacant slot it gets
        to: NodeName,
    },
    /// a machine that was fenced off may be used again
    Readmit {
        /// its MAC address or UUID
        machine: String,
    },
    /// a disk of the slot's machine may be overwritten, whatever is on it
    Erase {
        /// whose machine
        node: NodeName,
        /// its path, as the machine names it
        disk: String,
    },
    /// nothing of this cluster exists yet
    New {},
    /// the cluster runs, and this was found of it: it is taken over as it is. Never from outside: the daemon asks itself
    #[serde(skip)]
    TakeOver {
        /// what every node answered
        found: Survey,
    },
    /// etcd has lost its quorum for ever, and begins anew on this node from a snapshot
    Recover {
        /// on which
        node: NodeName,
        /// the file, as the daemon finds it
        snapshot: String,
        /// the disks of the control planes that do not answer are lost: those are installed anew first
        #[serde(default)]
        disks_lost: bool,
    },
    /// etcd does not begin anew after all, as long as nobody was told to
    KeepEtcd {},
    /// a node is taken out, its disk is wiped, and it is installed anew
    Reprovision {
        /// which
        node: NodeName,
        /// its pods are not waited for
        #[serde(default)]
        undrained: bool,
    },
    /// a node forgets its config and its data, keeps Talos, and gets its config again
    Reset {
        /// which
        node: NodeName,
        /// its pods are not waited for
        #[serde(default)]
        undrained: bool,
    },
    /// a node that the site no longer names is taken out for good
    Remove {
        /// which
        node: NodeName,
        /// its disk is wiped, Talos included
        #[serde(default)]
        wipe: bool,
        /// its pods are not waited for
        #[serde(default)]
        undrained: bool,
    },
    /// the power of a slot's machine
    Power {
        /// whose
        node: NodeName,
        /// what
        action: PowerAction,
        /// its next boot, and only that, is from the network
        #[serde(default)]
        network_boot: bool,
        /// also where etcd loses its quorum
        #[serde(default)]
        forced: bool,
    },
    /// a node that is being taken out stays
    Stay {
        /// which
        node: NodeName,
    },
}

/// What is remembered of claims that have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// machines that have the keys of a node that is another machine now
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
    /// replacements that no person ordered, the newest last
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replacements: Vec<Replacement>,
    /// the store was a backup once: which slots were filled since is unknown
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// the store began empty, and nobody has looked yet whether the site's nodes run
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unlooked: bool,
    /// etcd members that were seen and that nobody here bootstrapped, and where: the cluster that they are of does not
    /// end with the machine that told of it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
    /// control planes, and the boots in which a life that is forgotten may have asked them to bootstrap; another boot
    /// has lost that
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub boots: BTreeMap<NodeName, String>,
    /// etcd begins anew from a snapshot
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// nodes that are taken out, and not back yet
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub departures: BTreeMap<NodeName, Departure>,
}

/// A machine that was a node once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// the box
    pub machine: Machine,
    /// the slot it held
    pub node: NodeName,
    /// who took it out
    pub by: String,
    /// when
    pub at: Time,
}

/// One replacement that no person ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// which slot
    pub node: NodeName,
    /// when
    pub at: Time,
}

/// A person's word that this machine may have the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// the box
    pub machine: Machine,
    /// who said so
    pub by: String,
}

impl<G: Guards> Core<G> {
    /// What an order would do, in words, or why it cannot be carried out now.
    ///
    /// # Errors
    /// A sentence for the person who gave it.
    pub fn weigh(&self, order: &Order) -> Result<String, String> {
        match order {
            Order::Vouch { node, fingerprint } => {
                let seen = self.planned(node)?.fingerprint.as_deref();
                let seen = seen.ok_or_else(|| format!("{node} does not wait in maintenance mode now"))?;
                if !seen.eq_ignore_ascii_case(fingerprint.trim()) {
                    return Err(format!("{node} waits with the key {seen}, which is not {fingerprint}"));
                }
                Ok(format!("{node}: the machine with the key {seen} gets its config"))
            }
            Order::Admit { node } => {
                self.is_named(node)?;
                let (holder, rival) = self.admissible(node)?;
                Ok(format!("{node}: {rival} takes the place of {holder}, which is fenced off from now on"))
            }
            Order::Release { node } => {
                let slot = self.planned(node)?;
                let holder = slot.state.claim().ok_or_else(|| format!("nobody holds {node}"))?;
                self.is_silent(node, slot, holder)?;
                self.is_no_member(node)?;
                Ok(match has_keys(&slot.state) {
                    true => {
                        format!("{node} is vacant; {}, which has its keys, is fenced off", holder.machine)
                    }
                    false => format!("{node} is vacant"),
                })
            }
            Order::Move { from, to } => {
                let (slot, target) = (self.planned(from)?, self.planned(to)?);
                self.is_named(to)?;
                let holder = slot.state.claim().ok_or_else(|| format!("nobody holds {from}"))?;
                if let Some(other) = target.state.claim() {
                    return Err(format!("{to} is held by {}: release it first", other.machine));
                }
                self.is_silent(from, slot, holder)?;
                self.is_no_member(from)?;
                Ok(format!(
                    "{} is {to} when it next boots from the network; {from} is vacant",
                    holder.machine
                ))
            }
            Order::Readmit { machine } => {
                let retired = self.retired_as(machine);
                let retired =
                    retired.ok_or_else(|| format!("no machine that was fenced off has {machine}"))?;
                Ok(format!("{}, once {}, may be used again", retired.machine, retired.node))
            }
            Order::Erase { node, disk } => self.may_erase(node, disk),
            Order::New {} => self.may_be_new(),
            Order::TakeOver { found } => self.may_take_over(found),
            Order::Recover { node, snapshot, disks_lost } => self.may_recover(node, snapshot, *disks_lost),
            Order::KeepEtcd {} => self.may_keep_etcd(),
            Order::Reprovision { node, undrained } => self.may_depart(node, &Cause::Reprovision, *undrained),
            Order::Reset { node, undrained } => self.may_depart(node, &Cause::Reset, *undrained),
            Order::Remove { node, wipe, undrained } => self.may_remove(node, *wipe, *undrained),
            Order::Stay { node } => self.may_stay(node),
            Order::Power { node, action, network_boot, forced } => {
                self.may_switch(node, *action, *network_boot, *forced)
            }
        }
    }

    /// Carries an order out, if it still can be.
    pub(crate) fn ordered(&mut self, order: Order, by: &str, now: Time) {
        let words = match self.weigh(&order) {
            Ok(words) => vec![words, format!("ordered by {by}")],
            Err(reason) => {
                self.note("cluster", "an order came too late", vec![reason, format!("ordered by {by}")]);
                return;
            }
        };
        match order {
            Order::Vouch { node, fingerprint } => {
                let Some(mut state) = self.node(&node).cloned() else { return };
                if let Some(claim) = state.claim_mut() {
                    claim.vouched = Some(fingerprint.trim().to_lowercase());
                }
                self.note(&node.0, "a person vouches for its machine", words);
                self.move_node(&node, state, Vec::new());
            }
            Order::Admit { node } => {
                let rival = self.slots.get(&node).and_then(|slot| slot.rival.clone());
                self.note(&node.0, "a replacement is approved", words);
                self.approve(&node, rival.map(|machine| Approval { machine, by: by.to_owned() }));
            }
            Order::Release { node } => {
                self.note(&node.0, "released", words);
                self.end_departure(&node);
                self.vacate(&node, by, now);
            }
            Order::Move { from, to } => {
                let machine = self.node(&from).and_then(|state| state.claim()).map(|it| it.machine.clone());
                self.note(&from.0, "moved", words);
                self.end_departure(&from);
                self.move_node(&from, NodeState::Vacant { permit: None }, Vec::new());
                self.forget(&from);
                let permit = self.new_permit(by, now);
                self.move_node(&to, NodeState::Vacant { permit: Some(permit) }, Vec::new());
                self.approve(&to, machine.map(|machine| Approval { machine, by: by.to_owned() }));
            }
            Order::Readmit { machine } => {
                let found = self.retired_as(&machine).cloned();
                self.ledger.retired.retain(|retired| Some(retired) != found.as_ref());
                self.note("cluster", "readmitted", words);
                self.write_cluster();
            }
            Order::Erase { node, disk } => self.erase_approved(&node, disk, by, words),
            Order::New {} => self.newness_confirmed(by, words, now),
            Order::TakeOver { found } => self.take_over(found, by, words, now),
            Order::Recover { node, snapshot, disks_lost } => {
                self.recover(node, snapshot, disks_lost, by, words, now);
            }
            Order::KeepEtcd {} => self.keep_etcd(words),
            Order::Reprovision { node, undrained } => {
                self.note(&node.0, "is to be installed anew", words);
                self.depart(node, Cause::Reprovision, undrained, by, now);
            }
            Order::Reset { node, undrained } => {
                self.note(&node.0, "is to be reset", words);
                self.depart(node, Cause::Reset, undrained, by, now);
            }
            Order::Remove { node, wipe, undrained } => {
                self.note(&node.0, "is to be taken out for good", words);
                self.remove(node, wipe, undrained, by, now);
            }
            Order::Stay { node } => self.stay(&node, words),
            Order::Power { node, action, network_boot, .. } => {
                self.switch(&node, action, network_boot, words);
            }
        }
    }

    /// A machine that was a node once must not become that node, or any other, by itself.
    pub(crate) fn fenced(&mut self, machine: &Machine) -> Option<BootAnswer> {
        let retired = self.ledger.retired.iter().find(|retired| retired.machine.is_same_as(machine))?;
        let (node, known) = (retired.node.clone(), retired.machine.clone());
        let mac = machine.macs.first().map(ToString::to_string).unwrap_or_else(|| machine.to_string());
        let reason = format!(
            "{machine} was {node} once and is fenced off: switch it off, or let it be used again with \
             `ichord slot readmit {mac}`"
        );
        if self.came_back.insert(known.to_string()) {
            self.note(&node.0, format!("{machine}, which was {node} once, is back"), vec![reason.clone()]);
        }
        Some(BootAnswer::Retry { seconds: FENCED_PAUSE, reason })
    }

    /// The slot that a person gave this machine.
    pub(crate) fn approved_for(&self, machine: &Machine) -> Option<(&NodeName, &Approval)> {
        let approved = |name| Some((name, self.slots.get(name)?.approved.as_ref()?));
        let is_same = |(_, approval): &(&NodeName, &Approval)| approval.machine.is_same_as(machine);
        let all = self.slots.all_that_are(Key::Approved).filter_map(approved).filter(is_same);
        all.min_by_key(|(name, _)| *name)
    }

    /// The holder was looked for and did not answer.
    pub(crate) fn is_silent(&self, name: &NodeName, slot: &Slot, holder: &Claim) -> Result<(), String> {
        if slot.silent.is_some() {
            return Ok(());
        }
        let machine = &holder.machine;
        Err(match slot.heard {
            true => format!("{name} is held by {machine}, which answers: switch it off first"),
            false => format!("{name} is held by {machine}; whether that answers shows in a moment"),
        })
    }

    /// etcd does not count on the node: a second member of its name would find no place, and taking one away needs
    /// the others' quorum.
    pub(crate) fn is_no_member(&self, name: &NodeName) -> Result<(), String> {
        let plan = self.plan.nodes.get(name);
        let is_new = matches!(self.cluster, Cluster::Assembling { .. }) && self.ledger.members.is_none();
        if plan.is_none_or(|plan| plan.role == Role::Worker) || is_new {
            return Ok(());
        }
        let look = |other: &NodeName| match &self.slots.get(other)?.look.as_ref()?.etcd {
            EtcdObservation::Members { members, .. } => Some(members.clone()),
            _ => None,
        };
        let others: Vec<&NodeName> = self.slots.control_planes().filter(|other| *other != name).collect();
        let Some((witness, members)) = others.into_iter().find_map(|other| Some((other, look(other)?)))
        else {
            return Err(format!(
                "{name} is a control plane and no other one tells etcd's members now: nothing is changed"
            ));
        };
        match members.iter().find(|member| member.name == name.0) {
            Some(member) => Err(format!(
                "etcd on {witness} still counts {name} (member {}): it must be removed from etcd first",
                member.id
            )),
            None => Ok(()),
        }
    }

    /// Takes the slot from its machine; one that has the node's keys is fenced off.
    pub(crate) fn vacate(&mut self, name: &NodeName, by: &str, now: Time) {
        let Some(state) = self.node(name).cloned() else { return };
        if let Some(claim) = state.claim()
            && has_keys(&state)
        {
            let (machine, node) = (claim.machine.clone(), name.clone());
            self.ledger.retired.push(Retired { machine, node, by: by.to_owned(), at: now });
            self.write_cluster();
        }
        self.move_node(name, NodeState::Vacant { permit: None }, Vec::new());
        self.forget(name);
    }

    /// Nothing that is only known now is about the next machine.
    pub(crate) fn forget(&mut self, name: &NodeName) {
        if self.ledger.boots.remove(name).is_some() {
            self.write_cluster();
        }
        if let Some(slot) = self.slots.get_mut(name) {
            let state = slot.state.clone();
            let (in_flight, mut power) = (slot.in_flight, slot.power.clone());
            power.anew();
            let home = slot.home;
            *slot = Slot { in_flight, power, home, ..Slot::new(state) };
        }
    }

    fn approve(&mut self, name: &NodeName, approval: Option<Approval>) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.approved = approval;
            self.write_node(name);
        }
    }

    pub(crate) fn planned(&self, name: &NodeName) -> Result<&Slot, String> {
        let known = || self.plan.nodes.keys().map(|name| name.0.as_str()).collect::<Vec<_>>().join(", ");
        let slot = self.slots.get(name).filter(|_| self.slots.is_planned(name));
        slot.ok_or_else(|| format!("{name} is not in the site; its nodes are {}", known()))
    }

    fn retired_as(&self, machine: &str) -> Option<&Retired> {
        let mac = machine.parse().ok();
        let uuid = machine.parse().ok();
        let is = |retired: &&Retired| {
            mac.is_some_and(|mac| retired.machine.macs.contains(&mac))
                || uuid.is_some() && retired.machine.uuid == uuid
        };
        self.ledger.retired.iter().find(is)
    }

    /// Whether the slot had a machine before, so that nobody fills it but by a person's word.
    pub(crate) fn was_filled(&self, name: &NodeName) -> bool {
        self.ledger.unsure || self.ledger.retired.iter().any(|retired| retired.node == *name)
    }
}

impl From<&Retired> for FencedView {
    fn from(retired: &Retired) -> Self {
        Self {
            macs: retired.machine.macs.iter().copied().collect(),
            node: retired.node.clone(),
            by: retired.by.clone(),
            at: retired.at,
        }
    }
}

/// Whether the machine of this state was given the node's config, or may have been.
fn has_keys(state: &NodeState) -> bool {
    let pushed = state.claim().is_some_and(|claim| claim.told.is_some());
    pushed
        || state.is_configured()
        || matches!(state, NodeState::Leaving { .. })
        || matches!(
            state,
            NodeState::Deploying { progress: Progress::Applying { .. } | Progress::Installing { .. }, .. }
        )
}
