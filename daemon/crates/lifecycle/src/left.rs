//! Nodes that the site no longer names, and what a changed site may not do to a cluster that is founded.
//!
//! A deleted line is no order: its machine stays the node that it is, is looked at, and counts in etcd, until a person has
//! it taken out. What is needed for that is stored with the slot, so that it is known also where the site changed while the
//! daemon was not there.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    Cause, Cluster, ClusterPlan, Core, Departure, Going, Guards, InstallDisk, Machine, NodeName, NodePlan,
    NodeState, Role, Time, loss::Loss,
};

/// Fewer voters cannot lose one: a site that has so many keeps them.
const VOTERS: usize = 3;

/// What a node is beyond its site's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Home {
    pub(crate) role: Role,
    pub(crate) address: IpAddr,
}

impl From<&NodePlan> for Home {
    fn from(plan: &NodePlan) -> Self {
        Self { role: plan.role, address: plan.address }
    }
}

impl From<Home> for NodePlan {
    /// As far as a node needs it that is never installed again.
    fn from(home: Home) -> Self {
        let Home { role, address } = home;
        let install_disk = InstallDisk::Path(String::new());
        Self {
            role,
            address,
            install_disk,
            links: Vec::new(),
            signed: false,
            ports: Vec::new(),
            place: String::new(),
            power: None,
        }
    }
}

impl<G: Guards> Core<G> {
    /// Another site. Nodes of the cluster that it does not name stay.
    pub(crate) fn plan_changed(&mut self, plan: ClusterPlan) {
        let before = std::mem::replace(&mut self.plan, plan).nodes;
        self.keep_left(&before);
        self.note("cluster", "site accepted", Vec::new());
    }

    /// Goes on with nodes that the site does not name, as they are known otherwise.
    pub(crate) fn keep_left(&mut self, before: &BTreeMap<NodeName, NodePlan>) {
        let known = std::mem::take(&mut self.left);
        if self.is_founded() {
            for name in self.slots.names() {
                let Some(slot) = self.slots.get(&name).filter(|_| !self.plan.nodes.contains_key(&name))
                else {
                    continue;
                };
                let departs = self.ledger.departures.contains_key(&name);
                if slot.state.claim().is_none() && !departs {
                    continue;
                }
                let home = before.get(&name).map(Home::from).or(slot.home);
                // records of older programs do not tell it; who may be a member of etcd is treated as one
                let netboot = slot.state.claim().and_then(|claim| claim.netboot_address);
                let home = home.or_else(|| netboot.map(|address| Home { role: Role::ControlPlane, address }));
                let Some(home) = home else { continue };
                self.plan.nodes.insert(name.clone(), home.into());
                self.left.insert(name.clone());
                if !known.contains(&name) {
                    self.no_longer_named(&name);
                }
            }
        }
        self.slots.open(&self.plan);
        let homes: Vec<(NodeName, Home)> =
            self.plan.nodes.iter().map(|(name, plan)| (name.clone(), plan.into())).collect();
        for (name, home) in homes {
            let Some(slot) = self.slots.get_mut(&name).filter(|slot| slot.home != Some(home)) else {
                continue;
            };
            slot.home = Some(home);
            if slot.state.claim().is_some() {
                self.write_node(&name);
            }
        }
    }

    /// Whatever was permitted for it is not any more.
    fn no_longer_named(&mut self, name: &NodeName) {
        let words = vec![left_words(name)];
        self.note(&name.0, "the site no longer names it", words);
        let Some(mut state) = self.node(name).cloned() else { return };
        if let Some(permit) = state.permit_mut() {
            permit.revoke();
            self.move_node(name, state, Vec::new());
        }
    }

    /// The machine of a node that is taken out for good has no config any more, whatever was heard of its being told so.
    pub(crate) fn has_forgotten(&mut self, name: &NodeName, found: &Machine) -> bool {
        let departure = self.ledger.departures.get(name);
        let told = departure.is_some_and(|it| !comes_back(it) && it.step == Going::Reset);
        let is_it = self.node(name).and_then(NodeState::claim).is_some_and(|it| it.machine.is_same_as(found));
        if told && is_it {
            let words = vec!["it waits in maintenance mode, without the config it had".to_owned()];
            self.move_node(name, NodeState::Vacant { permit: None }, words);
            self.forget(name);
            // whether it left etcd before is asked of the others
            self.go(name, Going::Remove);
        }
        told && is_it
    }

    /// Who has been taken out, and is named by nobody, is forgotten.
    pub(crate) fn forget_left(&mut self) {
        let gone = |name: &&NodeName| {
            self.node(name).is_none_or(|state| state.claim().is_none())
                && !self.ledger.departures.contains_key(*name)
        };
        let gone: Vec<NodeName> = self.left.iter().filter(gone).cloned().collect();
        for name in &gone {
            self.left.remove(name);
            self.plan.nodes.remove(name);
            self.note(&name.0, "is not of the cluster any more", Vec::new());
        }
        if !gone.is_empty() {
            self.slots.open(&self.plan);
        }
    }

    /// For people: what is to be done about a node that the site no longer names.
    pub(crate) fn left_view(&self, name: &NodeName) -> Option<String> {
        (self.left.contains(name) && !self.ledger.departures.contains_key(name)).then(|| left_words(name))
    }

    /// Why nothing is installed there.
    pub(crate) fn is_named(&self, name: &NodeName) -> Result<(), String> {
        if self.left.contains(name) { Err(left_words(name)) } else { Ok(()) }
    }

    /// Whether a person may be asked for another site: what it would do to the cluster that there is.
    ///
    /// # Errors
    /// A sentence with the way out.
    pub fn may_accept(&self, plan: &ClusterPlan) -> Result<(), String> {
        if !self.is_founded() {
            return Ok(());
        }
        let held = |name: &NodeName| self.node(name).is_some_and(|state| state.claim().is_some());
        for (name, before) in &self.plan.nodes {
            let Some(after) = plan.nodes.get(name) else {
                if let Some(departure) = self.ledger.departures.get(name).filter(|it| comes_back(it)) {
                    let what = departure.describe(&self.departing);
                    return Err(format!(
                        "{name} is being taken out to come back ({what}): wait for that before the site drops it"
                    ));
                }
                if let Some((other, _)) = plan.nodes.iter().find(|(_, node)| node.address == before.address)
                    && held(name)
                {
                    return Err(format!(
                        "{other} would have the address {} of {name}, which is still a node: give it another one, or bring \
                         {name} back into the site, and `ichord remove {name}` first",
                        before.address
                    ));
                }
                continue;
            };
            if after.role != before.role && held(name) {
                return Err(format!(
                    "{name} cannot change between control plane and worker while it is a node: take it out of the site, \
                     `ichord remove {name}`, and bring it back as what it shall be"
                ));
            }
        }
        let is_control_plane =
            |(name, node): &(&NodeName, &NodePlan)| node.role == Role::ControlPlane && held(name);
        let now = self.plan.nodes.iter().filter(is_control_plane).count();
        let drops = self
            .plan
            .nodes
            .iter()
            .filter(is_control_plane)
            .any(|(name, _)| !plan.nodes.contains_key(name) && !self.left.contains(name));
        let after = plan.control_planes().count();
        if drops && after < now.min(VOTERS) {
            return Err(format!(
                "the site would have {after} of {now} control planes: {} Keep {} in the site",
                few(),
                now.min(VOTERS)
            ));
        }
        Ok(())
    }

    /// What taking a node out for good would do, or why it cannot be done now.
    pub(crate) fn may_remove(&self, name: &NodeName, wipe: bool, undrained: bool) -> Result<String, String> {
        let slot = self.planned(name)?;
        if !self.left.contains(name) {
            return Err(format!(
                "{name} is a node of the site: take it out of talconfig.yaml and ichord.yaml, `ichord reload`, and say this \
                 again"
            ));
        }
        if let Some(going) = self.under_way(name, &Cause::Removed { wipe }, undrained) {
            return going;
        }
        self.founded()?;
        self.alone(name)?;
        let machine = slot.state.claim().map(|claim| claim.machine.to_string()).unwrap_or_default();
        let out = match self.loss(name, |_| true)? {
            Loss::Nothing => String::new(),
            Loss::Member { voters, learner: false, .. } if voters <= VOTERS => {
                return Err(format!(
                    "{name} is one of etcd's {voters} voters: {} Let another control plane be installed first (`ichord deploy`), \
                     or bring {name} back into the site",
                    few()
                ));
            }
            Loss::Member { id, .. } => format!(", its member {id} leaves etcd after a snapshot is kept"),
        };
        let end = match (slot.state.is_configured(), wipe) {
            (true, true) => "its disk is wiped",
            (true, false) => "it forgets its config and its data, and keeps Talos",
            (false, _) => "it is forgotten, and fenced off where it has the node's keys",
        };
        Ok(format!("{name} ({machine}): its pods go elsewhere{out}; {end}; Kubernetes forgets it"))
    }

    /// Begins that.
    pub(crate) fn remove(&mut self, name: NodeName, wipe: bool, undrained: bool, by: &str, now: Time) {
        if self.node(&name).is_some_and(NodeState::is_configured) {
            self.depart(name, Cause::Removed { wipe }, undrained, by, now);
        } else {
            self.end_departure(&name);
            self.vacate(&name, by, now);
        }
    }

    fn is_founded(&self) -> bool {
        matches!(self.cluster, Cluster::Joining(_) | Cluster::HandingOver { .. } | Cluster::HandedOver { .. })
    }

    /// Another control plane that is on its way into etcd: one joins at a time, so that each finds a cluster that agrees.
    pub(crate) fn joins_before(&self, name: &NodeName) -> Option<NodeName> {
        let settled = matches!(self.cluster, Cluster::HandingOver { .. } | Cluster::HandedOver { .. });
        // there is no etcd to join before that has begun anew
        let settled = settled && !self.recovers_later();
        if !settled || self.plan.nodes.get(name).is_none_or(|plan| plan.role == Role::Worker) {
            return None;
        }
        let joins = |other: &&NodeName| {
            let Some(slot) = self.slots.get(other).filter(|slot| slot.silent.is_none()) else { return false };
            let on_its_way = matches!(
                &slot.state,
                NodeState::Configured { .. }
                    | NodeState::Deploying {
                        progress: crate::Progress::Applying { .. } | crate::Progress::Installing { .. },
                        ..
                    }
            );
            *other != name && on_its_way
        };
        self.slots.control_planes().find(joins).cloned()
    }
}

fn comes_back(departure: &Departure) -> bool {
    !matches!(departure.cause, Cause::Removed { .. })
}

fn left_words(name: &NodeName) -> String {
    format!(
        "the site no longer names {name}, and it goes on as it is: `ichord remove {name}` takes it out, or bring it back into \
         the site"
    )
}

fn few() -> &'static str {
    "with two voters etcd cannot lose one, and with one its whole state hangs on one disk, so that three are kept once they are \
     there. A cluster of one control plane is made from a snapshot of this one (`talosctl bootstrap --recover-from`)."
}
