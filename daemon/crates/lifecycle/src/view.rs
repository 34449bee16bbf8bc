//! The picture of the world for everybody who only reads: DHCP, the command line, the web page.

use std::{collections::BTreeMap, net::IpAddr};

use hardware::MacAddr;
use serde::{Deserialize, Serialize};

use crate::{Cluster, Core, Guards, NodeName, Role, State, Time, core::Slot, states::Limit};

/// Everything that may be read without asking the core.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// grows with every published picture
    pub revision: u64,
    /// the cluster
    pub cluster: ClusterView,
    /// every slot
    pub nodes: BTreeMap<NodeName, NodeView>,
    /// whether an unknown machine is booted, so that it can be identified, or fenced off from its own disk
    pub identify: bool,
    /// machines that were nodes once and are fenced off
    #[serde(default)]
    pub fenced: Vec<FencedView>,
}

/// The cluster, for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    /// one word: `assembling` … `handed over`
    pub state: String,
    /// what it waits for
    pub waiting: Option<String>,
    /// steps that are done
    pub done: Vec<String>,
}

/// One slot, for people and for DHCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// what it becomes
    pub role: Role,
    /// one word: `vacant` … `ready`
    pub state: String,
    /// what it waits for
    pub waiting: Option<String>,
    /// where to look, when the state has lasted too long
    #[serde(default)]
    pub hint: Option<String>,
    /// the node's own address
    pub address: IpAddr,
    /// the machine that holds the slot
    pub macs: Vec<MacAddr>,
    /// its switch port
    pub port: Option<String>,
    /// what is wrong with its place: a wrong cable, evidence that contradicts itself
    #[serde(default)]
    pub warning: Option<String>,
    /// another machine that is plugged in there
    #[serde(default)]
    pub rival: Option<String>,
    /// the key of the machine while it waits in maintenance mode
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// whether its next netboot is answered
    pub netboot: bool,
    /// an open install permit ends then
    pub permit_expires: Option<Time>,
    /// in this state since
    pub since: Option<Time>,
}

/// A machine that has the keys of a node that is another machine now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedView {
    /// its addresses
    pub macs: Vec<MacAddr>,
    /// the slot it held
    pub node: NodeName,
    /// who took it out
    pub by: String,
    /// when
    pub at: Time,
}

impl<G: Guards> Core<G> {
    /// The picture for readers, as it is now.
    pub fn view(&self, now: Time) -> View {
        let done = match &self.cluster {
            Cluster::HandingOver { done, .. } => done.clone(),
            Cluster::HandedOver { .. } => self.plan.handover.clone(),
            Cluster::Assembling { .. } | Cluster::Bootstrapping(_) | Cluster::Joining(_) => Vec::new(),
        };
        let nodes = self.plan.nodes.iter().filter_map(|(name, plan)| {
            let slot = self.slots.get(name)?;
            let claim = slot.state.claim();
            let open = slot.state.permit().filter(|permit| permit.refusal(now).is_none());
            let view = NodeView {
                role: plan.role,
                state: slot.shown().name().to_owned(),
                waiting: waiting(slot),
                hint: slot.late.then(|| limit(slot).map(|(_, limit)| hint(limit))).flatten(),
                address: plan.address,
                macs: claim.map(|claim| claim.machine.macs.iter().copied().collect()).unwrap_or_default(),
                port: claim.and_then(|claim| claim.port.as_ref()).map(ToString::to_string),
                warning: slot.warning.clone(),
                rival: slot.rival.as_ref().map(ToString::to_string),
                fingerprint: slot.fingerprint.clone(),
                netboot: claim.is_some() && open.is_some_and(|permit| permit.boots_left > 0),
                permit_expires: open.map(|permit| permit.expires),
                since: slot.state.since(),
            };
            Some((name.clone(), view))
        });
        View {
            revision: self.revision,
            cluster: ClusterView {
                state: self.cluster.name().to_owned(),
                waiting: self.work.waiting.clone(),
                done,
            },
            nodes: nodes.collect(),
            identify: self.looks_for_machines() || !self.ledger.retired.is_empty(),
            fenced: self.ledger.retired.iter().map(FencedView::from).collect(),
        }
    }

    /// A state that lasts too long is spoken of once.
    pub(crate) fn speak_of_limits(&mut self, now: Time) {
        let mut late = Vec::new();
        for (name, slot) in &mut self.slots {
            if !slot.late
                && self.plan.nodes.contains_key(name)
                && let Some((passes, limit)) = limit(slot)
                && passes <= now
            {
                slot.late = true;
                late.push((name.0.clone(), hint(limit)));
            }
        }
        for (name, hint) in late {
            self.note(&name, "lasts long", vec![hint]);
        }
    }

    /// When the next state has lasted too long.
    pub(crate) fn next_limit(&self) -> Option<Time> {
        let planned =
            self.slots.iter().filter(|(name, slot)| !slot.late && self.plan.nodes.contains_key(*name));
        planned.filter_map(|(_, slot)| limit(slot).map(|(passes, _)| passes)).min()
    }
}

/// What the slot waits for.
fn waiting(slot: &Slot) -> Option<String> {
    match slot.shown() {
        State::Vacant if slot.waiting.is_none() => {
            Some("no machine has been seen in its place yet".to_owned())
        }
        // it was permitted meanwhile, and a machine that went on to its own disk does not come again by itself
        State::Identified if slot.waiting.is_none() => Some(
            "its machine may be installed when it asks again: if it went on to its own disk, switch it off and on"
                .to_owned(),
        ),
        _ => slot.waiting.clone(),
    }
}

fn hint(limit: &Limit) -> String {
    format!("for more than {} s: {}", limit.seconds, limit.hint)
}

/// When the slot's state has lasted too long, and what is to be said then.
fn limit(slot: &Slot) -> Option<(Time, &'static Limit)> {
    let limit = slot.state.state().facts().limit.as_ref()?;
    Some((slot.state.since()? + limit.duration(), limit))
}
