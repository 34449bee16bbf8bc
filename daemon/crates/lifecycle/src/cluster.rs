//! The life of the cluster: from scattered machines to one that Git owns.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{NodeName, Time};

/// What is durable about the cluster. There is no way back from a later state to an earlier one:
/// that is what makes the bootstrap happen once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Cluster {
    /// control planes are still being configured; nothing was bootstrapped
    Assembling {
        /// why the store does not prove that no cluster exists
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt: Option<String>,
        /// a person said that no cluster exists
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word: Option<Word>,
    },
    /// the intent is stored: from now on only this node may ever be asked to bootstrap
    Bootstrapping(Intent),
    /// etcd has answered with members; the other control planes join
    Joining(Bootstrapped),
    /// etcd members are the control planes; Kubernetes is being furnished
    HandingOver {
        /// how the cluster began
        bootstrapped: Bootstrapped,
        /// steps that are done, in order
        done: Vec<String>,
    },
    /// Git owns the cluster
    HandedOver {
        /// how the cluster began
        bootstrapped: Bootstrapped,
        /// when
        since: Time,
    },
}

/// A person's word that the cluster is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// who
    pub by: String,
    /// when
    pub at: Time,
}

/// The one node that is bootstrapped, written down before it is asked (talos.md §9.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// fixed for ever
    pub node: NodeName,
    /// where it is asked: its own address, never the virtual one
    pub address: IpAddr,
    /// the boot that is asked; another one means that a call was lost before etcd wrote its data
    pub boot_id: String,
    /// when the call was last allowed
    pub at: Time,
    /// why the store does not prove any more that no cluster exists
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// The cluster's beginning, kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrapped {
    /// the node that was asked
    pub node: NodeName,
    /// its etcd member id, hexadecimal as Talos prints it
    pub member: String,
    /// when members were first seen
    pub at: Time,
    /// who had it taken over as it was, founded by somebody else or by a life that is forgotten: its hand-over is looked
    /// at, and nothing is written to it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<String>,
}

impl Cluster {
    /// Where every cluster begins.
    pub(crate) fn new() -> Self {
        Self::Assembling { doubt: None, word: None }
    }

    /// One word for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Assembling { .. } => "assembling",
            Self::Bootstrapping(_) => "bootstrapping",
            Self::Joining(_) => "joining",
            Self::HandingOver { .. } => "handing over",
            Self::HandedOver { .. } => "handed over",
        }
    }
}
