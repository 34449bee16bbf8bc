//! What was seen of a machine through its own API.

use std::net::IpAddr;

use hardware::Inventory;

/// The answer to one look at a machine (talos.md §6.7: three ways to tell).
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// nothing spoke the machine API at any address where the machine could be
    Silent {
        /// what was tried and what happened
        detail: String,
    },
    /// waits for a config
    Maintenance {
        /// where
        address: IpAddr,
        /// SHA-256 of its public key: the same machine is spoken to when the config is pushed
        fingerprint: String,
        /// changes with every boot
        boot_id: String,
        /// its own account of itself
        inventory: Inventory,
    },
    /// its certificate was issued by our CA
    Configured {
        /// where
        address: IpAddr,
        /// changes with every boot
        boot_id: String,
        /// how far its boot is
        stage: Stage,
        /// its own account of itself
        inventory: Inventory,
        /// what it knows of etcd
        etcd: EtcdObservation,
    },
    /// belongs to somebody else: never touched
    Foreign {
        /// where
        address: IpAddr,
        /// the certificate's subject
        subject: String,
    },
}

/// Talos's machine stage, as far as the core cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// boot sequence finished
    Running,
    /// anything before, after, or unknown
    Other,
}

/// etcd as one machine tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EtcdObservation {
    /// a worker has none
    None,
    /// the service waits for a bootstrap or for a cluster to join; it holds no data
    Waiting,
    /// it answered with its member list
    Members(Vec<EtcdMember>),
    /// no proof either way
    Unknown {
        /// why
        reason: String,
    },
}

/// One member of etcd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdMember {
    /// the member's name: the hostname
    pub name: String,
    /// hexadecimal
    pub id: String,
    /// does not vote yet
    pub learner: bool,
}
