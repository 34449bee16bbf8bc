//! What really was the case, kept beside the core: permits that people gave, machines that proved their
//! places, effects that are under way. Invariants ask the ledger and the machines, never the core.

use std::collections::{BTreeMap, BTreeSet};

use hardware::Inventory;
use lifecycle::{
    BootAnswer, Claim, Cluster, ClusterPlan, Effect, EtcdMember, InstallDisk, LinkNeed, NodeName, NodeState,
    Role, Task,
};

use crate::{invariants::Violation, world::World};

/// Boots that one permit pays for.
const BOOTS: usize = 5;

/// The ledger.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// slots that somebody permitted to be installed
    pub(crate) granted: BTreeSet<NodeName>,
    /// machine → slots that its cable ever named
    pub(crate) proved: BTreeSet<(String, NodeName)>,
    /// machine → slots for which somebody vouched
    pub(crate) vouched: BTreeSet<(String, NodeName)>,
    /// permit → the boots it paid for
    boots: BTreeMap<String, BTreeSet<u64>>,
    /// words that allow erasing, and wipes that were handed out
    pub(crate) approved: BTreeMap<NodeName, u32>,
    wipes: BTreeMap<NodeName, u32>,
    /// a person said that the cluster is new
    pub(crate) said_new: bool,
    /// a backup of the store was brought back
    pub(crate) store_is_old: bool,
    /// how many configs each machine had been given when the store was lost
    pub(crate) told_before: BTreeMap<String, u32>,
    /// effects under way in this life: node, or none for the cluster
    flying: BTreeMap<Option<NodeName>, u32>,
    /// what control planes told of etcd's members last: what the site wants, or what is wrong with them
    pub(crate) told: BTreeMap<NodeName, Result<(), String>>,
    /// etcd's members, as each control plane told them last
    pub(crate) members: BTreeMap<NodeName, Vec<EtcdMember>>,
    /// since when the core knows that a bootstrap was lost
    pub(crate) lost_since: Option<u64>,
    /// who was asked to bootstrap, and in which boots
    bootstrapped: BTreeMap<NodeName, BTreeSet<String>>,
    /// the same, of lives that were lost with their store
    forgotten: Vec<(NodeName, String)>,
    /// slots that a person gave to the machine that asks for them
    pub(crate) admitted: BTreeSet<NodeName>,
    /// who holds which slot
    holders: BTreeMap<NodeName, Claim>,
}

/// What the core has stored.
pub(crate) struct Stored<'a> {
    pub(crate) nodes: &'a BTreeMap<NodeName, NodeState>,
    pub(crate) cluster: Option<&'a Cluster>,
}

impl Ledger {
    /// An effect leaves the daemon, by a clock that shows `clock`.
    pub(crate) fn starts(
        &mut self,
        effect: &Effect,
        stored: &Stored<'_>,
        world: &World,
        plan: &ClusterPlan,
        clock: u64,
    ) -> Result<(), Violation> {
        let subject = match effect {
            Effect::AnswerBoot { answer, .. } => return self.answers(answer, stored, clock),
            Effect::Observe { node, .. } => Some(node.clone()),
            Effect::Apply { node, address, .. } => {
                self.applies(node, *address, stored, world, plan, clock)?;
                Some(node.clone())
            }
            Effect::Bootstrap { node, boot_id, .. } => {
                self.bootstraps(node, boot_id, stored, world, plan)?;
                None
            }
            // etcd is never lost in these worlds
            Effect::Recover { .. } => None,
            // no more than a question, on an account of its own
            Effect::LookAround { .. } => return Ok(()),
            Effect::SeekCluster { .. } | Effect::RunStep { .. } => None,
            // weighed where the site and the slots are known
            Effect::Power { .. } => return Ok(()),
            Effect::Depart { node, task, .. } => return self.departs(node, task),
        };
        let flying = self.flying.entry(subject.clone()).or_default();
        *flying += 1;
        if *flying > 1 {
            return Err(Violation::TwoAtOnce { subject });
        }
        Ok(())
    }

    /// The first reply to an effect of this life reaches the daemon.
    pub(crate) fn ended(&mut self, effect: &Effect) {
        let subject = match effect {
            Effect::Observe { node, .. } | Effect::Apply { node, .. } => Some(node.clone()),
            Effect::Depart { .. } | Effect::Power { .. } | Effect::LookAround { .. } => return,
            _ => None,
        };
        self.flying.remove(&subject);
    }

    /// The daemon died, or gave its core up.
    pub(crate) fn new_core(&mut self) {
        self.flying.clear();
        self.lost_since = None;
    }

    /// The store is lost, and what people said with it.
    pub(crate) fn lost_store(&mut self, is_older: bool, told_before: BTreeMap<String, u32>) {
        for (node, boots) in std::mem::take(&mut self.bootstrapped) {
            self.forgotten.extend(boots.into_iter().map(|boot| (node.clone(), boot)));
        }
        self.said_new = false;
        self.store_is_old = is_older;
        self.told_before = told_before;
    }

    /// A slot is emptied by a person, or forgotten with the store.
    pub(crate) fn emptied(&mut self, node: &NodeName) {
        self.holders.remove(node);
    }

    fn answers(&mut self, answer: &BootAnswer, stored: &Stored<'_>, clock: u64) -> Result<(), Violation> {
        let (BootAnswer::Deploy { node } | BootAnswer::Wipe { node }) = answer else { return Ok(()) };
        let Some(NodeState::Deploying { permit, progress: lifecycle::Progress::Firmware { since }, .. }) =
            stored.nodes.get(node)
        else {
            return Err(Violation::NoPermit { node: node.clone() });
        };
        if !self.granted.contains(node) {
            return Err(Violation::NoPermit { node: node.clone() });
        }
        if permit.expires.0 <= clock {
            return Err(Violation::PermitOver { node: node.clone() });
        }
        let boots = self.boots.entry(permit.id.clone()).or_default();
        boots.insert(since.0);
        if boots.len() > BOOTS {
            return Err(Violation::PermitOver { node: node.clone() });
        }
        if matches!(answer, BootAnswer::Wipe { .. }) {
            let wipes = self.wipes.entry(node.clone()).or_default();
            *wipes += 1;
            if *wipes > self.approved.get(node).copied().unwrap_or_default() {
                return Err(Violation::WipeWithoutWord { node: node.clone() });
            }
        }
        Ok(())
    }

    /// Only a voter that etcd can spare is taken out of it, by what the others told last.
    fn departs(&self, node: &NodeName, task: &Task) -> Result<(), Violation> {
        if !matches!(task, Task::Remove { .. } | Task::Reset { leaves_etcd: true, .. }) {
            return Ok(());
        }
        for members in self.members.iter().filter(|(witness, _)| *witness != node).map(|(_, members)| members)
        {
            let voters = members.iter().filter(|member| !member.learner).count();
            let votes = members.iter().any(|member| member.name == node.0 && !member.learner);
            if votes && voters < 3 {
                return Err(Violation::QuorumSpent { node: node.clone(), voters });
            }
        }
        Ok(())
    }

    fn applies(
        &self,
        node: &NodeName,
        address: std::net::IpAddr,
        stored: &Stored<'_>,
        world: &World,
        plan: &ClusterPlan,
        clock: u64,
    ) -> Result<(), Violation> {
        let Some(plan) = plan.nodes.get(node) else { return Ok(()) };
        let permit = stored.nodes.get(node).and_then(NodeState::permit);
        if permit.is_none_or(|permit| permit.expires.0 <= clock) {
            return Err(Violation::PermitOver { node: node.clone() });
        }
        let Some(label) = world.rack.name_at(address) else { return Ok(()) };
        if plan.role == Role::ControlPlane && !self.vouched.contains(&(label.clone(), node.clone())) {
            return Err(Violation::NoWitness { node: node.clone() });
        }
        let Some(inventory) = world.inventory(&label) else { return Ok(()) };
        if !fits(&plan.install_disk, &plan.links, &inventory) {
            return Err(Violation::WrongHardware { node: node.clone() });
        }
        let word = self.approved.contains_key(node);
        let own = world.rack.machines.get(&label).is_some_and(|m| m.counters().configs_applied > 0);
        if !world.contents(&label).is_empty() && !word && !own {
            return Err(Violation::DataLost { machine: label });
        }
        Ok(())
    }

    /// The promise of the whole: one etcd cluster, for ever.
    fn bootstraps(
        &mut self,
        node: &NodeName,
        boot_id: &str,
        stored: &Stored<'_>,
        world: &World,
        plan: &ClusterPlan,
    ) -> Result<(), Violation> {
        let intended = match stored.cluster {
            Some(Cluster::Bootstrapping(intent)) => Some(&intent.node),
            _ => None,
        };
        if intended != Some(node) {
            return Err(Violation::EffectBeforeCommit { effect: format!("bootstrap {node}") });
        }
        self.lost_since = None;
        let first = self.bootstrapped.is_empty();
        self.bootstrapped.entry(node.clone()).or_default().insert(boot_id.to_owned());
        // who lost the store may ask another node when nothing can come any more of what was asked before
        let runs = |boot: &str| world.rack.machines.values().any(|machine| machine.boot_id() == Some(boot));
        let pending = self.forgotten.iter().filter(|(other, boot)| other != node && runs(boot));
        let nodes: BTreeSet<NodeName> =
            self.bootstrapped.keys().chain(pending.map(|(other, _)| other)).cloned().collect();
        if nodes.len() > 1 {
            return Err(Violation::TwoNodesBootstrapped { nodes });
        }
        if !first {
            return Ok(());
        }
        if world.rack.name_at(crate::site::VIRTUAL_ADDRESS).is_some()
            || world.ours_with_data().next().is_some()
        {
            return Err(Violation::BootstrapOverCluster);
        }
        let claim = |name: &NodeName| stored.nodes.get(name).and_then(NodeState::claim);
        let machine = |name: &NodeName| claim(name).and_then(|claim| world.claimed(claim));
        let has_config = |name: &&NodeName| {
            let system = machine(name).and_then(|machine| machine.storage().system.as_ref());
            system.is_some_and(|system| system.state.is_some())
        };
        let (there, all) = (plan.control_planes().filter(has_config).count(), plan.control_planes().count());
        let enough = if self.said_new { there > all / 2 } else { there == all };
        if !enough {
            return Err(Violation::BootstrapTooEarly { there, all });
        }
        let before = |machine: &machine::model::Machine| {
            self.told_before.get(&machine.hardware().serial).copied().unwrap_or_default()
        };
        let was_told = |name: &NodeName| {
            machine(name).is_some_and(|machine| machine.counters().configs_applied > before(machine))
        };
        if !self.said_new && (self.store_is_old || !plan.control_planes().all(was_told)) {
            return Err(Violation::NewnessNotProven);
        }
        Ok(())
    }

    /// Slots change hands only by a person's word.
    pub(crate) fn holders_stay(&mut self, nodes: &BTreeMap<NodeName, NodeState>) -> Result<(), Violation> {
        for (name, state) in nodes {
            let Some(claim) = state.claim() else { continue };
            match self.holders.get(name) {
                // who was only its own word, and was given nothing, yields to who is vouched for
                Some(holder)
                    if !holder.machine.is_same_as(&claim.machine)
                        && !self.admitted.remove(name)
                        && (holder.attested || holder.told.is_some() || !claim.attested) =>
                {
                    return Err(Violation::SlotMoved { node: name.clone() });
                }
                _ => {
                    self.holders.insert(name.clone(), claim.clone());
                }
            }
        }
        Ok(())
    }
}

fn fits(disk: &InstallDisk, links: &[LinkNeed], inventory: &Inventory) -> bool {
    let matching = inventory.disks.iter().filter(|candidate| match disk {
        InstallDisk::Path(path) => candidate.dev_path == *path,
        InstallDisk::Selector(selector) => selector.matches(candidate),
    });
    let has = |need: &LinkNeed| {
        inventory.links.iter().any(|link| match need {
            LinkNeed::Name(name) => link.name == *name,
            LinkNeed::Mac(mac) => link.mac == *mac,
        })
    };
    matching.count() == 1 && links.iter().all(has)
}
