//! The calls of the machine API that this machine understands, and its answers (talos.md §6.2).

use std::collections::BTreeSet;

use super::etcd::Member;

/// A call to the machine API on port 50000.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `MachineService.Version`
    Version,
    /// `MachineService.Hostname`
    Hostname,
    /// `MachineService.ServiceList`
    ServiceList,
    /// `MachineService.Memory`
    Memory,
    /// `MachineService.ApplyConfiguration`
    ApplyConfiguration {
        /// the YAML stream as it came
        data: Vec<u8>,
        /// how to apply
        mode: ApplyMode,
        /// validate and say what would change
        dry_run: bool,
    },
    /// `MachineService.Bootstrap`
    Bootstrap,
    /// `MachineService.EtcdRecover`: a snapshot is handed over, and kept for the next one
    EtcdRecover {
        /// as etcd makes it, its checksum at the end
        snapshot: Vec<u8>,
    },
    /// `MachineService.Bootstrap` with `recover_etcd`
    BootstrapRecovered,
    /// `MachineService.PacketCapture`
    PacketCapture,
    /// `MachineService.Reboot`
    Reboot {
        /// through the firmware instead of kexec
        power_cycle: bool,
    },
    /// `MachineService.Shutdown`
    Shutdown,
    /// `ImageService.Pull`, or `MachineService.ImagePull`
    ImagePull {
        /// the image
        reference: String,
    },
    /// `LifecycleService.Upgrade`: the installer begins
    InstallUpgrade {
        /// the installer's image
        reference: String,
    },
    /// `MachineService.Upgrade`
    Upgrade {
        /// the installer's image
        reference: String,
    },
    /// `MachineService.Reset`
    Reset {
        /// leave etcd first
        graceful: bool,
        /// reboot afterwards instead of shutting down
        reboot: bool,
        /// labels to wipe; empty means the whole system disk (talos.md §6.9)
        partitions: BTreeSet<String>,
    },
    /// `MachineService.EtcdMemberList`
    EtcdMemberList {
        /// answer from the own copy, even without quorum
        local: bool,
    },
    /// `MachineService.EtcdStatus`
    EtcdStatus,
    /// `MachineService.EtcdRemoveMemberByID`
    EtcdRemoveMember {
        /// member id
        id: u64,
    },
    /// `MachineService.EtcdLeaveCluster`: the own member goes, and its data with it
    EtcdLeave,
    /// `MachineService.EtcdForfeitLeadership`
    EtcdForfeit,
    /// `MachineService.EtcdSnapshot`
    EtcdSnapshot,
    /// `MachineService.Kubeconfig`
    Kubeconfig,
    /// `cosi.resource.State.Get`
    Get {
        /// COSI namespace
        namespace: String,
        /// COSI type
        kind: String,
        /// resource id
        id: String,
    },
    /// `cosi.resource.State.List`, and the contents of a Watch
    List {
        /// COSI namespace
        namespace: String,
        /// COSI type
        kind: String,
    },
    /// `MachineService.Read`
    Read {
        /// the file
        path: String,
    },
    /// `MachineService.Events`: whether this caller may hear them
    Events,
    /// `cluster.ClusterService.HealthCheck`: whether this machine runs it for this caller
    HealthCheck,
    /// `storage.StorageService.Disks`
    Disks,
}

impl Request {
    /// The call's name, where it changes something: what a machine that nobody may touch is never asked.
    pub fn changes(&self) -> Option<&'static str> {
        match self {
            Self::ApplyConfiguration { dry_run: false, .. } => Some("ApplyConfiguration"),
            Self::Bootstrap => Some("Bootstrap"),
            Self::EtcdRecover { .. } => Some("EtcdRecover"),
            // a ledger that counts who was asked to found a cluster does not mean this
            Self::BootstrapRecovered => Some("BootstrapRecovered"),
            Self::Reboot { .. } => Some("Reboot"),
            Self::Shutdown => Some("Shutdown"),
            Self::Reset { .. } => Some("Reset"),
            Self::EtcdRemoveMember { .. } => Some("EtcdRemoveMemberByID"),
            Self::EtcdLeave => Some("EtcdLeaveCluster"),
            Self::EtcdForfeit => Some("EtcdForfeitLeadership"),
            // it changes nothing, and whoever counts the calls wants to know of it
            Self::EtcdSnapshot => Some("EtcdSnapshot"),
            Self::InstallUpgrade { .. } => Some("LifecycleService.Upgrade"),
            Self::Upgrade { .. } => Some("Upgrade"),
            Self::ApplyConfiguration { .. }
            | Self::Version
            | Self::Hostname
            | Self::ServiceList
            | Self::Memory
            | Self::PacketCapture
            | Self::ImagePull { .. }
            | Self::EtcdMemberList { .. }
            | Self::EtcdStatus
            | Self::Kubeconfig
            | Self::Get { .. }
            | Self::List { .. }
            | Self::Read { .. }
            | Self::Events
            | Self::HealthCheck
            | Self::Disks => None,
        }
    }
}

/// `ApplyConfigurationRequest.Mode`, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplyMode {
    /// 0
    Reboot = 0,
    /// 1
    Auto = 1,
    /// 2
    NoReboot = 2,
    /// 3
    Staged = 3,
    /// 4
    Try = 4,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// to Version
    Version {
        /// `v1.13.9`
        tag: String,
    },
    /// to Memory
    Memory {
        /// what the box has
        bytes: u64,
    },
    /// to Hostname
    Hostname(String),
    /// to ServiceList
    Services(Vec<Service>),
    /// to ApplyConfiguration
    Applied {
        /// the mode that was really used
        mode: ApplyMode,
        /// for people
        details: String,
    },
    /// to Bootstrap, Reboot, Shutdown, ImagePull, InstallUpgrade, Upgrade, Reset, EtcdRemoveMember, EtcdLeave, Events, HealthCheck:
    /// accepted
    Accepted,
    /// to EtcdMemberList
    Members(Vec<(u64, Member)>),
    /// to EtcdStatus
    EtcdStatus {
        /// this member
        member: u64,
        /// the leader, 0 when there is none
        leader: u64,
        /// whether this member has no vote
        learner: bool,
        /// grows with every change
        index: u64,
    },
    /// to EtcdForfeit: who leads now, where this member did
    Forfeited(Option<String>),
    /// to EtcdSnapshot
    Snapshot(Vec<u8>),
    /// to Kubeconfig: the caller may have one (the wire makes it from the CA in the config)
    Kubeconfig,
    /// to Read: the file
    File(String),
    /// to Get (exactly one) and List
    Resources(Vec<Resource>),
    /// to Disks
    Disks {
        /// all disks
        disks: Vec<hardware::Disk>,
        /// the one Talos is installed on
        system: Option<String>,
    },
}

/// A line of ServiceList.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `etcd`, `ext-lldpd` …
    pub id: String,
    /// `Waiting`, `Preparing`, `Running`, `Failed` …
    pub state: String,
    /// `None` while unknown
    pub healthy: Option<bool>,
    /// the last event's text
    pub message: String,
}

/// A COSI resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// COSI namespace
    pub namespace: String,
    /// COSI type
    pub kind: String,
    /// resource id
    pub id: String,
    /// when the machine made it: resources are in memory only, so that none is older than the boot
    pub created: u64,
    /// the spec with the YAML keys of Talos
    pub spec: serde_json::Value,
}
