//! The picture of the world for everybody who only reads: DHCP, the command line, the web page.

use std::{collections::BTreeMap, net::IpAddr};

use hardware::MacAddr;
use serde::{Deserialize, Serialize};

use crate::{NodeName, Role, Time};

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
    /// the node's own address
    pub address: IpAddr,
    /// the machine that holds the slot
    pub macs: Vec<MacAddr>,
    /// its switch port
    pub port: Option<String>,
    /// what is wrong with its place: a wrong cable, evidence that contradicts itself
    #[serde(default)]
    pub warning: Option<String>,
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
