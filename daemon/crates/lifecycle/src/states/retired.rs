//! Retired: a machine that was taken out of its slot. It is booted into nothing until it is let in again.

use serde::{Deserialize, Serialize};

use super::{Facts, State};
use crate::{Cluster, Core, Guards, Machine, NodeName, NodeState, Time};

pub(super) const FACTS: Facts = Facts {
    name: "retired",
    means: "a machine that was taken out",
    limit: None,
    next: &[(State::Identified, "a permit for its slot lets it in again")],
};

/// A machine that was taken out of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// which machine
    pub machine: Machine,
    /// the slot it held
    pub node: NodeName,
    /// who took it out
    pub by: String,
    /// when
    pub at: Time,
}

/// Why a machine stays in its slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// not a slot, or an empty one
    #[error("{0} holds no machine")]
    Empty(NodeName),
    /// its vote counts
    #[error("{0} votes in etcd: taking it out by a word alone could cost the cluster its quorum")]
    Member(NodeName),
    /// it was asked to found the cluster
    #[error("{0} was asked to found the cluster: another machine in its place could found a second one")]
    Founder(NodeName),
}

impl<G: Guards> Core<G> {
    /// Whether a person's word is enough to take the machine out of a slot.
    pub fn may_release(&self, node: &NodeName) -> Result<(), ReleaseError> {
        if let Cluster::Bootstrapping(intent) = &self.cluster
            && intent.node == *node
        {
            return Err(ReleaseError::Founder(node.clone()));
        }
        match self.node(node) {
            None | Some(NodeState::Vacant { .. }) => Err(ReleaseError::Empty(node.clone())),
            Some(NodeState::Member { .. }) => Err(ReleaseError::Member(node.clone())),
            Some(NodeState::Ready { .. }) if self.is_control_plane(node) => {
                Err(ReleaseError::Member(node.clone()))
            }
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn released(&mut self, node: &NodeName, by: &str, now: Time) {
        if let Err(error) = self.may_release(node) {
            self.note(&node.0, "not released", vec![error.to_string(), format!("by {by}")]);
            return;
        }
        let Some(claim) = self.node(node).and_then(NodeState::claim).cloned() else { return };
        let evidence = vec![format!("{} was taken out by {by}", claim.machine)];
        self.retire(Retirement { machine: claim.machine, node: node.clone(), by: by.to_owned(), at: now });
        if let Some(slot) = self.slots.get_mut(node) {
            // what is under way for the old machine says nothing about the next
            slot.forget();
        }
        self.move_node(node, NodeState::Vacant { permit: None }, evidence);
    }

    /// Whether the slot had a machine before, or may have had one.
    pub(crate) fn was_filled(&self, node: &NodeName) -> bool {
        self.is_unsure || self.retired.iter().any(|retired| retired.node == *node)
    }

    /// Why a machine that was taken out is not booted.
    pub(crate) fn retired_reason(&self, machine: &Machine) -> Option<String> {
        let retired = self.retired.iter().find(|retired| retired.machine.is_same_as(machine))?;
        Some(format!(
            "{machine} was taken out of {} by {}: `ichord deploy {}` lets a machine in again",
            retired.node, retired.by, retired.node
        ))
    }
}
