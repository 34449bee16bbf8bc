//! What goes over the socket.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use hardware::{MacAddr, SwitchPort};
use identity::{Marks, PortRow};
use lifecycle::{NodeName, Order, View};
use serde::{Deserialize, Serialize};

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// the site's name
    pub site: String,
    /// the daemon's version
    pub version: String,
    /// set when the daemon runs on the last accepted site because the files have faults
    pub site_fault: Option<String>,
    /// copies of etcd's data
    #[serde(default)]
    pub snapshots: Snapshots,
    /// machines and the cluster
    #[serde(flatten)]
    pub view: View,
}

/// How etcd's data are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// when the last one was taken that nobody asked for, in seconds since the Unix epoch
    pub last: Option<u64>,
    /// why the last attempt did not come to its end: none was taken, or it was not copied elsewhere
    pub fault: Option<String>,
}

/// `POST /v1/snapshot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTaken {
    /// the sealed file
    pub path: PathBuf,
    /// of etcd's data in it
    pub size: u64,
    /// whose they are
    pub from: IpAddr,
    /// why it was not copied elsewhere
    pub not_copied: Option<String>,
}

/// `POST /v1/takeover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeOver {
    /// only say what is found
    pub only_look: bool,
    /// who asks, for the journal
    pub by: String,
}

/// The answer to [`TakeOver`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenOver {
    /// what was found, node by node
    pub found: BTreeMap<NodeName, String>,
    /// what was done
    pub done: Option<String>,
    /// why nothing was
    pub refused: Option<String>,
}

/// `POST /v1/recover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// the control plane that begins
    pub node: String,
    /// the snapshot; without it the newest that the daemon keeps
    pub snapshot: Option<PathBuf>,
    /// the disks of the control planes that do not answer are lost: those are installed anew first
    #[serde(default)]
    pub disks_lost: bool,
    /// who asks, for the journal
    pub by: String,
}

/// `POST /v1/deploy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// one slot; `null` is every unfilled one
    pub node: Option<String>,
    /// who asks, for the journal
    pub by: String,
}

/// The answer to [`Deploy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// slots that now have a permit
    pub nodes: Vec<String>,
}

/// `GET /v1/ports`: every port, as it is seen now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// when, in milliseconds since the Unix epoch
    pub at: u64,
    /// of the site, and every other one where a machine is seen
    pub ports: Vec<PortRow>,
    /// slots in whose ports nobody is seen
    pub unseen: Vec<String>,
    /// what the site file does not know yet, each with the commands that accept it: moved cables, switches with another name
    #[serde(default)]
    pub told: Vec<String>,
    /// where holders of slots were seen last, which is none of their slot's ports
    #[serde(default)]
    pub displaced: BTreeMap<String, SwitchPort>,
}

/// `POST /v1/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// a MAC address, a UUID, a serial number, or a slot
    pub machine: String,
}

/// One machine of the answer to [`Explain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// all it is known by
    pub machine: Marks,
    /// the slot it holds
    pub holds: Option<NodeName>,
    /// what the evidence says it is, in a sentence
    pub verdict: String,
    /// what the verdict rests on
    pub evidence: Vec<String>,
    /// every sighting that is remembered, the newest first
    pub seen: Vec<String>,
}

/// `POST /v1/claims`: changes who holds a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimOrder {
    /// what is to be done
    pub order: Order,
    /// who asks, for the journal
    pub by: String,
}

/// The answer to [`ClaimOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// what was done, in words
    pub done: String,
}

/// The answer to `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// the folder that was read
    pub site: PathBuf,
    /// warnings that did not stop it
    pub warnings: Vec<String>,
}

/// `GET /v1/trace?mac=…`: what one machine said and was told, on every layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// the card
    pub mac: MacAddr,
    /// the slot its machine holds
    pub node: Option<String>,
    /// its newest address
    pub address: Option<IpAddr>,
    /// oldest first
    pub lines: Vec<Said>,
}

/// One line of a [`Conversation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// when it happened first, in milliseconds since the Unix epoch
    pub at: u64,
    /// when it happened last
    pub last: u64,
    /// how often in a row
    pub times: u32,
    /// `dhcp`, `tftp`, `http` or `boot`
    pub layer: String,
    /// a sentence, with the reason of the answer or of the silence
    pub what: String,
}

/// One line of `GET /v1/doctor`: something a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// a short name of the kind
    pub kind: String,
    /// what happens, to whom, and what to do
    pub what: String,
    /// when it was first seen, in milliseconds since the Unix epoch
    pub since: u64,
    /// when it was last seen
    pub last: u64,
    /// how often
    pub times: u32,
}

/// One line of `GET /v1/events`: a decision with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// its place in the journal
    pub sequence: u64,
    /// milliseconds since the Unix epoch
    pub at: u64,
    /// a node, or `cluster`
    pub subject: String,
    /// what was decided
    pub what: String,
    /// on what grounds
    pub evidence: Vec<String>,
}

/// An error, as the socket carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) error: String,
}
