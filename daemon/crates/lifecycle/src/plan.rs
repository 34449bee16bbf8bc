//! What the site wants, as far as the core decides on it. `site` makes this from the user's files.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use hardware::{DiskSelector, MacAddr, SwitchPort};
use serde::{Deserialize, Serialize};

use crate::Switch;

/// A slot's name: the talconfig hostname.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// A Talos machine type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// runs etcd and the Kubernetes control plane; its config holds every key of the cluster
    ControlPlane,
    /// runs workloads only
    Worker,
}

/// One cluster on one provisioning network.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterPlan {
    /// `cluster.id` of the secrets bundle: which cluster the stored state belongs to
    pub cluster_id: String,
    /// every slot
    pub nodes: BTreeMap<NodeName, NodePlan>,
    /// the shared address of the control planes; nobody may answer for it before the bootstrap
    pub virtual_address: Option<IpAddr>,
    /// who grants install permits
    pub deploy: DeployPolicy,
    /// what a control-plane config needs
    pub trust: Trust,
    /// what happens when another machine appears in a slot that is held
    pub replace: ReplacePolicy,
    /// the hand-over steps in order
    pub handover: Vec<String>,
    /// how patient the core is
    pub timing: Timing,
}

impl ClusterPlan {
    /// The names of the control planes, in order.
    pub fn control_planes(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().filter(|(_, node)| node.role == Role::ControlPlane).map(|(name, _)| name)
    }
}

/// One slot, as the core needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePlan {
    /// what the machine becomes
    pub role: Role,
    /// the node's own address once it is configured (talconfig `ipAddress`)
    pub address: IpAddr,
    /// where Talos is installed to; must name exactly one disk of the machine
    pub install_disk: InstallDisk,
    /// links the config names; the machine must have them
    pub links: Vec<LinkNeed>,
    /// its firmware boots one signed file, whose command line is in it: no boot of ours can wipe a disk
    pub signed: bool,
    /// the switch ports that are its
    pub ports: Vec<SwitchPort>,
    /// where a person finds its machine: its switch port, or what else tells it
    pub place: String,
    /// how its machine is switched; by hand where there is nothing
    pub power: Option<Switch>,
}

/// The install disk of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum InstallDisk {
    /// a device path, symlinks included
    Path(String),
    /// Talos's selector
    Selector(DiskSelector),
}

/// A network link that a config relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkNeed {
    /// by its kernel name
    Name(String),
    /// by its permanent hardware address
    Mac(MacAddr),
}

/// Who grants the permission to install a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployPolicy {
    /// a person, with `ichord deploy`
    Ask,
    /// the site, for slots that were never filled under this cluster id
    Auto,
}

/// What happens when another machine appears in a slot that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplacePolicy {
    /// a person decides
    Ask,
    /// the machine on the slot's own switch port takes over from one that is dead
    SamePort {
        /// for how long the holder must not have answered
        after: Duration,
        /// how many replacements a day happen without a person
        per_day: u8,
    },
}

/// What releases a control-plane config, which holds every key of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// somebody else than the machine must vouch for its place
    Attested,
    /// what only the machine says about its port is enough
    Machine,
}

/// How patient the core is. All of these are waiting times, none of them decides safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// between two looks at a machine that is on its way
    pub observe: Duration,
    /// between two looks at a machine that has arrived
    pub watch: Duration,
    /// how long a `Bootstrap` whose outcome is unknown is given to show etcd members before the same
    /// node is asked again; longer than pulling the etcd image takes
    pub bootstrap_grace: Duration,
    /// how long a config push whose outcome is unknown is given before it is pushed again
    pub apply_grace: Duration,
    /// after a refusal, before the same thing is tried again
    pub retry: Duration,
    /// how long a permit lasts
    pub permit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            observe: Duration::from_secs(2),
            watch: Duration::from_secs(30),
            bootstrap_grace: Duration::from_secs(120),
            apply_grace: Duration::from_secs(20),
            retry: Duration::from_secs(10),
            permit: Duration::from_secs(24 * 60 * 60),
        }
    }
}
