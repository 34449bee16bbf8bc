//! The life of one slot, from vacant to ready.

use std::net::IpAddr;

use hardware::SwitchPort;
use serde::{Deserialize, Serialize};

use crate::{Machine, Permit, Time};

/// What is durable about a slot. A state holds exactly the facts that are true in it: there is no
/// deployment without a permit, and nothing but a vacant slot without a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum NodeState {
    /// no machine holds the slot
    Vacant {
        /// the next machine that proves to be in this slot may be installed
        permit: Option<Permit>,
    },
    /// a machine holds the slot and is on its way from the firmware to our CA
    Deploying {
        /// which machine, and why it
        claim: Claim,
        /// what allows the installation
        permit: Permit,
        /// how far it is
        progress: Progress,
    },
    /// the machine answered with our CA from a boot after the config was applied
    Configured {
        /// which machine
        claim: Claim,
        /// the boot that proved it
        boot_id: String,
        /// when
        since: Time,
    },
    /// arrived: an etcd voter, or a running worker
    Ready {
        /// which machine
        claim: Claim,
        /// the boot it was last seen in
        boot_id: String,
        /// when it arrived
        since: Time,
    },
}

/// How far a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Progress {
    /// the boot script was handed out; next, the machine waits in maintenance mode
    Netbooting {
        /// when
        since: Time,
    },
    /// the config is being pushed, or was: the outcome is unknown until it is observed
    Applying {
        /// when the intent was stored
        since: Time,
        /// the maintenance address
        address: IpAddr,
        /// the boot that is told
        boot_id: String,
    },
    /// Talos took the config
    Installing {
        /// when
        since: Time,
        /// the boot that took it; only another one proves the installation
        boot_id: String,
    },
}

/// Machine X holds slot Y. Released only by a person or by the replace policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// the box
    pub machine: Machine,
    /// the switch port that named the slot; none when a static selector did
    pub port: Option<SwitchPort>,
    /// whether somebody else than the machine vouched for its place
    pub attested: bool,
    /// the key (SHA-256 of its public key) of the machine that a person vouched for
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<String>,
    /// what decided, in words
    pub evidence: Vec<String>,
    /// where the machine was when it asked for its boot script
    pub netboot_address: Option<IpAddr>,
    /// when
    pub since: Time,
}

impl NodeState {
    /// The machine that holds the slot.
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Vacant { .. } => None,
            Self::Deploying { claim, .. } | Self::Configured { claim, .. } | Self::Ready { claim, .. } => {
                Some(claim)
            }
        }
    }

    pub(crate) fn claim_mut(&mut self) -> Option<&mut Claim> {
        match self {
            Self::Vacant { .. } => None,
            Self::Deploying { claim, .. } | Self::Configured { claim, .. } | Self::Ready { claim, .. } => {
                Some(claim)
            }
        }
    }

    /// One word for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vacant { .. } => "vacant",
            Self::Deploying { progress: Progress::Netbooting { .. }, .. } => "netbooting",
            Self::Deploying { progress: Progress::Applying { .. }, .. } => "applying",
            Self::Deploying { progress: Progress::Installing { .. }, .. } => "installing",
            Self::Configured { .. } => "configured",
            Self::Ready { .. } => "ready",
        }
    }

    /// Whether a machine with our config was proven in this slot.
    pub fn is_configured(&self) -> bool {
        matches!(self, Self::Configured { .. } | Self::Ready { .. })
    }
}
