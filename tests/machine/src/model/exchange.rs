//! What one machine asks of another: etcd on 2379 and 2380, trustd on 50001, a kubelet's report.

use std::net::IpAddr;

use super::etcd::Cluster;

/// A call between machines. It can be written as JSON, which is how the wire carries all but trustd's.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PeerCall {
    /// etcd: list the members, with a leader required
    Members,
    /// etcd: remove a member
    Remove {
        /// member id
        id: u64,
    },
    /// etcd: add a learner
    AddLearner {
        /// where its etcd will answer
        address: IpAddr,
    },
    /// etcd: give a learner its vote
    Promote {
        /// member id
        id: u64,
    },
    /// etcd: a member's regular word to another, with its view of the cluster
    Beat {
        /// the sender
        from: u64,
        /// its hostname
        name: String,
        /// its view
        view: Cluster,
    },
    /// etcd: a candidate for a virtual address
    Campaign {
        /// the address
        address: IpAddr,
        /// the candidate
        member: u64,
    },
    /// trustd: sign a worker's certificate
    Certificate {
        /// the trustd token
        token: String,
    },
    /// a kubelet's report of its node to the API server
    Node(NodeReport),
}

/// What a kubelet says of its node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeReport {
    /// the node's name
    pub name: String,
    /// its addresses
    pub addresses: Vec<IpAddr>,
    /// the boot of the machine that it is about
    pub boot_id: String,
    /// whether it is one
    pub control_plane: bool,
    /// the Ready condition as far as the kubelet knows
    pub ready: bool,
    /// its own version
    pub kubelet: String,
    /// what it runs without being told by the API server
    pub static_pods: Vec<StaticPod>,
}

/// A pod that only its kubelet runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StaticPod {
    /// what it is
    pub component: String,
    /// from what
    pub image: String,
    /// whether it is up
    pub ready: bool,
}

impl PeerCall {
    /// The port on which the other machine answers this. The kubelet's report really goes to 6443; the
    /// stand-in for the API server has no kubelets' authentication, so it has a door of its own.
    pub fn port(&self) -> u16 {
        match self {
            Self::Certificate { .. } => 50001,
            Self::Beat { .. } => 2380,
            Self::Node(_) => 10250,
            Self::Members
            | Self::Remove { .. }
            | Self::AddLearner { .. }
            | Self::Promote { .. }
            | Self::Campaign { .. } => 2379,
        }
    }
}

impl std::fmt::Debug for PeerCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Members => f.write_str("Members"),
            Self::Remove { id } => write!(f, "Remove({id:016x})"),
            Self::AddLearner { address } => write!(f, "AddLearner({address})"),
            Self::Promote { id } => write!(f, "Promote({id:016x})"),
            Self::Beat { from, view, .. } => write!(f, "Beat(from {from:016x}, revision {})", view.revision),
            Self::Campaign { address, member } => write!(f, "Campaign({address}, {member:016x})"),
            // the token is a secret
            Self::Certificate { .. } => f.write_str("Certificate"),
            Self::Node(report) => write!(f, "Node({})", report.name),
        }
    }
}

/// The answer to a [`PeerCall`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PeerAnswer {
    /// the cluster after the call
    Cluster(Cluster),
    /// the learner was added under this id
    Added {
        /// its member id
        id: u64,
        /// the cluster with it
        cluster: Cluster,
    },
    /// the certificate was signed
    Certificate,
    /// the node was reported
    Reported {
        /// whether the network plugin runs on it
        network: bool,
    },
}

/// Why another machine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PeerRefusal {
    /// nobody listens there
    Unreachable,
    /// only the leader changes the membership; it is here
    NotLeader(IpAddr),
    /// etcd's or trustd's own words
    Refused(String),
}
