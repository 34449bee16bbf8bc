//! What must hold in every world, at every moment.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::{BootAnswer, Core, Effect, NodeName, NodeState, Output};
use machine::model::Rack;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// more than one etcd cluster was ever founded
    SecondCluster {
        /// how many
        clusters: u32,
    },
    /// `Bootstrap` was called on two different nodes
    TwoNodesBootstrapped {
        /// which
        nodes: BTreeSet<NodeName>,
    },
    /// an effect left before the decision behind it was durable
    EffectBeforeCommit {
        /// which
        effect: String,
    },
    /// a config was sent to a machine that is not plugged into the slot's port
    ConfigToStranger {
        /// whose config
        node: NodeName,
        /// which machine got it
        machine: String,
    },
    /// one machine holds two slots
    SlotHeldTwice {
        /// which slots
        slots: (NodeName, NodeName),
    },
    /// a machine was told to install without a permit
    NoPermit {
        /// which slot
        node: NodeName,
    },
    /// a machine was installed although it had reached its end before
    InstalledAgain {
        /// which machine
        machine: String,
    },
    /// the run did not end handed over
    Stuck {
        /// what the core waited for
        waiting: String,
    },
}

/// One machine, one slot.
pub(crate) fn one_slot_each(core: &Core, nodes: &[NodeName]) -> Option<Violation> {
    let claims: Vec<_> =
        nodes.iter().filter_map(|name| Some((name, core.node(name)?.claim()?.machine.clone()))).collect();
    for (index, (name, machine)) in claims.iter().enumerate() {
        for (other, second) in claims.iter().skip(index + 1) {
            if machine.is_same_as(second) {
                return Some(Violation::SlotHeldTwice { slots: ((*name).clone(), (*other).clone()) });
            }
        }
    }
    None
}

/// Persist comes before Publish, Publish before Start.
pub(crate) fn order(outputs: &[Output]) -> Option<Violation> {
    let rank = |output: &Output| match output {
        Output::Persist { .. } => 0,
        Output::Publish(_) => 1,
        Output::Start(_) => 2,
    };
    let sorted = outputs.is_sorted_by_key(rank);
    (!sorted).then(|| Violation::EffectBeforeCommit { effect: format!("{outputs:?}") })
}

/// An install answer needs a stored state that holds a permit.
pub(crate) fn permitted(stored: &BTreeMap<NodeName, NodeState>, effect: &Effect) -> Option<Violation> {
    let Effect::AnswerBoot { answer: BootAnswer::Deploy { node }, .. } = effect else { return None };
    let permitted = matches!(stored.get(node), Some(NodeState::Deploying { .. }));
    (!permitted).then(|| Violation::NoPermit { node: node.clone() })
}

/// At most one etcd cluster in the rack, for ever.
pub(crate) fn one_cluster(rack: &Rack) -> Option<Violation> {
    let clusters: u32 = rack.machines.values().map(|machine| machine.counters().bootstraps).sum();
    (clusters > 1).then_some(Violation::SecondCluster { clusters })
}

/// Nobody who had arrived is installed again.
pub(crate) fn installed_once(rack: &Rack, arrived: &BTreeMap<String, u32>) -> Option<Violation> {
    arrived
        .iter()
        .find(|(name, installs)| rack.machines.get(*name).is_some_and(|m| m.counters().installs > **installs))
        .map(|(name, _)| Violation::InstalledAgain { machine: name.clone() })
}
