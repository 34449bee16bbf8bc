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
        /// what is on its disks; a blank disk is not named
        contents: Vec<Content>,
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
        /// whether it has the virtual address now
        holds_virtual_address: bool,
        /// services and conditions that are not well, in words
        unwell: Vec<String>,
    },
    /// belongs to somebody else: never touched
    Foreign {
        /// where
        address: IpAddr,
        /// the certificate's subject
        subject: String,
    },
}

/// What was found on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// `/dev/nvme0n1`
    pub disk: String,
    /// a partition table or file system, and its labels, in words
    pub what: String,
    /// Talos is installed there: it would go on with what it finds instead of installing (talos.md §7.5)
    pub talos: bool,
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
    Members {
        /// every member, learners included
        members: Vec<EtcdMember>,
        /// what the machine's own member says of itself
        health: EtcdHealth,
    },
    /// no proof either way
    Unknown {
        /// why
        reason: String,
    },
}

/// A member's account of itself (talos.md §9.4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcdHealth {
    /// the leader it follows, hexadecimal; none without a quorum
    pub leader: Option<String>,
    /// the term it is in
    pub term: u64,
    /// what it complains of
    pub errors: Vec<String>,
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
