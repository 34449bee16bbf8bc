//! The picture of the world for everybody who only reads: DHCP, the command line, the web page.

use std::{collections::BTreeMap, net::IpAddr};

use hardware::MacAddr;
use serde::{Deserialize, Serialize};

use crate::{
    Cluster, Core, Guards, NodeName, PowerOutcome, Role, State, Time, power::PowerWork, slot::Slot,
    slots::Key, states::Limit,
};

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
    /// its machine is seen where the site names nobody: where, and what to do
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub displaced: Option<String>,
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
    /// it is taken out, or not back yet: what for, and how far that is
    #[serde(default)]
    pub leaving: Option<String>,
    /// the site no longer names it: what is to be done
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// how its machine is switched, where the site says it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerView>,
}

/// A machine's power.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerView {
    /// it is being switched
    pub running: bool,
    /// what came of the last time
    pub said: Option<String>,
    /// it did not obey
    pub failed: bool,
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
        let nodes = self.plan.nodes.keys();
        let nodes = nodes.filter_map(|name| Some((name.clone(), self.node_view(name, now)?))).collect();
        View { nodes, ..self.frame() }
    }

    /// The picture for readers, if it is another one than before. Only slots that were touched since are drawn anew.
    pub fn publish(&mut self, now: Time) -> Option<View> {
        let is_first = self.published.is_none();
        let before = self.published.take().unwrap_or_default();
        let mut view = View { revision: before.revision, ..self.frame() };
        let frames = |view: &View| (view.cluster.clone(), view.identify, view.fenced.clone());
        let mut is_new = is_first || frames(&before) != frames(&view);
        view.nodes = before.nodes;
        for name in self.slots.unseen(self.published_at, now) {
            let drawn = self.node_view(&name, now);
            if view.nodes.get(&name) == drawn.as_ref() {
                continue;
            }
            is_new = true;
            match drawn {
                Some(drawn) => view.nodes.insert(name, drawn),
                None => view.nodes.remove(&name),
            };
        }
        self.published_at = now;
        if is_new {
            self.revision += 1;
            view.revision = self.revision;
        }
        self.published = Some(view);
        self.published.clone().filter(|_| is_new)
    }

    /// The picture without its slots.
    fn frame(&self) -> View {
        let done = match &self.cluster {
            Cluster::HandingOver { done, .. } => done.clone(),
            Cluster::HandedOver { .. } => self.plan.handover.clone(),
            Cluster::Assembling { .. } | Cluster::Bootstrapping(_) | Cluster::Joining(_) => Vec::new(),
        };
        View {
            revision: self.revision,
            cluster: ClusterView {
                state: self.cluster.name().to_owned(),
                waiting: self.recovery_in_words().or_else(|| self.work.waiting.clone()),
                done,
            },
            nodes: BTreeMap::new(),
            identify: self.looks_for_machines() || !self.ledger.retired.is_empty(),
            fenced: self.ledger.retired.iter().map(FencedView::from).collect(),
        }
    }

    fn node_view(&self, name: &NodeName, now: Time) -> Option<NodeView> {
        let (plan, slot) = (self.plan.nodes.get(name)?, self.slots.get(name)?);
        let claim = slot.state.claim();
        let open = slot.state.permit().filter(|permit| permit.refusal(now).is_none());
        Some(NodeView {
            role: plan.role,
            state: slot.shown().name().to_owned(),
            waiting: by_hand(waiting(slot), self.by_hand(name)),
            hint: slot.late.then(|| slot.limit().map(|(_, limit)| hint(limit))).flatten(),
            address: plan.address,
            macs: claim.map(|claim| claim.machine.macs.iter().copied().collect()).unwrap_or_default(),
            port: claim.and_then(|claim| claim.port.as_ref()).map(ToString::to_string),
            warning: slot.warning.clone(),
            displaced: slot.displaced.clone(),
            rival: slot.rival.as_ref().map(ToString::to_string),
            fingerprint: slot.fingerprint.clone(),
            netboot: claim.is_some() && open.is_some_and(|permit| permit.boots_left > 0),
            permit_expires: open.map(|permit| permit.expires),
            since: slot.state.since(),
            leaving: self.ledger.departures.get(name).map(|it| it.describe(&self.departing)),
            left: self.left_view(name),
            power: slot.power.switch.map(|_| PowerView::from(&slot.power)),
        })
    }

    /// A state that lasts too long is spoken of once.
    pub(crate) fn speak_of_limits(&mut self, now: Time) {
        for name in self.slots.due(Key::Limit, now) {
            let Some(slot) = self.slots.get_mut(&name) else { continue };
            slot.late = true;
            if let Some((_, limit)) = slot.limit() {
                self.note(&name.0, "lasts long", vec![hint(limit)]);
            }
        }
    }
}

impl From<&PowerWork> for PowerView {
    fn from(work: &PowerWork) -> Self {
        let (said, failed) = match &work.ended {
            Some(PowerOutcome::Done { summary }) => (Some(summary.clone()), false),
            Some(PowerOutcome::Failed { reason }) => (Some(reason.clone()), true),
            None => (None, false),
        };
        Self { running: work.in_flight.is_some(), said, failed }
    }
}

/// What is waited for, with what a person has to switch for it.
fn by_hand(waiting: Option<String>, switch: Option<String>) -> Option<String> {
    match (waiting, switch) {
        (Some(waiting), Some(switch)) => Some(format!("{waiting}; {switch}")),
        (one, other) => one.or(other),
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
