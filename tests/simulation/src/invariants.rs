//! What must hold in every world, at every moment.

use std::collections::{BTreeMap, BTreeSet};

use lifecycle::{Core, Guards, NodeName, Output, State};
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
    /// an install answer or a config left after its permit had ended, or was used up
    PermitOver {
        /// which slot
        node: NodeName,
    },
    /// a disk was to be wiped without a word, or twice for one word
    WipeWithoutWord {
        /// which slot
        node: NodeName,
    },
    /// data of somebody else was to be overwritten without a word
    DataLost {
        /// which machine
        machine: String,
    },
    /// a config for hardware that it does not fit
    WrongHardware {
        /// which slot
        node: NodeName,
    },
    /// a control-plane config for a machine whose place nobody vouched for
    NoWitness {
        /// which slot
        node: NodeName,
    },
    /// a slot got another machine without a person's word
    SlotMoved {
        /// which slot
        node: NodeName,
    },
    /// a slot counts as configured, and its machine has no config
    NotConfigured {
        /// which slot
        node: NodeName,
    },
    /// two effects of one subject were under way
    TwoAtOnce {
        /// a node, or the cluster
        subject: Option<NodeName>,
    },
    /// `Bootstrap` was called where a cluster existed
    BootstrapOverCluster,
    /// `Bootstrap` was called before the control planes were configured
    BootstrapTooEarly {
        /// how many were
        there: usize,
        /// of how many
        all: usize,
    },
    /// `Bootstrap` was called although nothing proved that the cluster is new
    NewnessNotProven,
    /// a bootstrap that a reboot had lost was not repeated at once
    BootstrapForgotten,
    /// the cluster was furnished before it was whole
    NotWhole {
        /// what was missing
        missing: String,
    },
    /// a slot took a way that the picture does not show
    UndeclaredTransition {
        /// from, to
        arrow: (String, String),
    },
    /// what the core finds its slots by, or its picture, is not what going through all slots says
    Misfiled,
    /// a person's order was refused, and something changed by it
    RefusedAndDone,
    /// a node was taken out of etcd where there was none to spare
    QuorumSpent {
        /// which
        node: NodeName,
        /// how many voters there were
        voters: usize,
    },
    /// etcd lost its quorum by what the daemon did
    BelowQuorum {
        /// which node was taken out
        node: NodeName,
    },
    /// taking one node out touched another one
    OtherSlotTouched {
        /// the node that was taken out
        node: NodeName,
        /// who was touched
        other: String,
    },
    /// two nodes were taken out at once
    TwoDepartures,
    /// a machine was to be switched in a way that the site does not know
    NoSwitch {
        /// whose
        node: NodeName,
    },
    /// the daemon switched a machine by itself that may run anything
    PowerTaken {
        /// whose
        node: NodeName,
    },
    /// the run did not end as it should
    Stuck {
        /// what the core waited for
        waiting: String,
    },
}

/// One machine, one slot.
pub(crate) fn one_slot_each<G: Guards>(core: &Core<G>, nodes: &[NodeName]) -> Option<Violation> {
    let claims: Vec<_> =
        nodes.iter().filter_map(|name| Some((name, &core.node(name)?.claim()?.machine))).collect();
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

/// Whether two steps decided differently: what they only say does not count.
pub(crate) fn differ(one: &[Output], other: &[Output]) -> bool {
    let decided = |outputs: &[Output]| {
        let (mut writes, mut effects) = (Vec::new(), Vec::new());
        for output in outputs {
            match output {
                Output::Persist { writes: records, .. } => writes.extend(records.clone()),
                Output::Publish(_) => {}
                Output::Start(effect) => effects.push(effect.clone()),
            }
        }
        (writes, effects)
    };
    decided(one) != decided(other)
}

/// A way that a journal line tells of is in the picture.
pub(crate) fn declared(line: &str) -> Result<Option<(String, String)>, Violation> {
    let Some((from, to)) = line.split_once(" → ") else { return Ok(None) };
    let state = |name: &str| State::ALL.into_iter().find(|state| state.name() == name);
    let arrow = (from.to_owned(), to.to_owned());
    match (state(from), state(to)) {
        (Some(from), Some(to)) if !from.leads_to(to) => Err(Violation::UndeclaredTransition { arrow }),
        (Some(_), Some(_)) => Ok(Some(arrow)),
        // the cluster's
        _ => Ok(None),
    }
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
