//! What goes over the socket.

use std::{net::IpAddr, path::PathBuf};

use hardware::MacAddr;
use lifecycle::View;
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
    /// machines and the cluster
    #[serde(flatten)]
    pub view: View,
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

/// `POST /v1/word`: what only a person can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// who says it, for the journal
    pub by: String,
    /// what
    #[serde(flatten)]
    pub says: Says,
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "says", rename_all = "kebab-case")]
pub enum Says {
    /// this slot's machine is taken out
    Release {
        /// the slot
        node: String,
    },
    /// a disk of this slot's machine may be overwritten, whatever is on it
    Erase {
        /// the slot
        node: String,
        /// `/dev/nvme0n1`
        disk: String,
    },
    /// nothing of this cluster exists yet
    New,
}

/// The answer to [`Word`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// what follows from it, in words
    pub follows: String,
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
