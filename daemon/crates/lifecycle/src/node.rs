//! The life of one slot, from vacant to ready. What each state means and where it leads: `states`.

use std::net::IpAddr;

use hardware::SwitchPort;
use serde::{Deserialize, Serialize};

use crate::{Machine, Permit, State, Time};

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
    /// it cannot go on as it is; it is tried again later, each time after a longer pause
    Failed {
        /// which machine
        claim: Claim,
        /// what allows the installation
        permit: Permit,
        /// when
        since: Time,
        /// not before then
        until: Time,
        /// how often in a row
        attempts: u32,
        /// what happened
        reason: String,
    },
    /// evidence about the machine contradicts its claim: it gets nothing until that is set right
    Fenced {
        /// which machine
        claim: Claim,
        /// what allows the installation
        permit: Permit,
        /// how far it was
        progress: Progress,
        /// when
        since: Time,
        /// what contradicts
        reason: String,
    },
    /// the machine answered with our CA from a boot after the config was applied
    Configured {
        /// which machine
        claim: Claim,
        /// the boot that proved it
        boot_id: String,
        /// when
        since: Time,
        /// the config was pushed by us, on the record of this store; otherwise the machine had it already
        #[serde(default)]
        pushed: bool,
    },
    /// a control plane votes in etcd
    Member {
        /// which machine
        claim: Claim,
        /// the boot it was last seen in
        boot_id: String,
        /// when
        since: Time,
    },
    /// arrived: its boot is finished and its services are well
    Ready {
        /// which machine
        claim: Claim,
        /// the boot it was last seen in
        boot_id: String,
        /// when it arrived
        since: Time,
    },
    /// it was told to forget what it is, and is waited for as a machine that comes anew
    Leaving {
        /// which machine
        claim: Claim,
        /// what allows it to be installed anew
        permit: Permit,
        /// the boot that was told
        boot_id: String,
        /// when
        since: Time,
    },
}

/// How far a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Progress {
    /// the boot script was handed out; next, the machine fetches the kernel
    #[serde(alias = "netbooting")]
    Firmware {
        /// when
        since: Time,
    },
    /// the boot files were fetched; next, the machine waits in maintenance mode
    Kernel {
        /// when
        since: Time,
    },
    /// it waits for a config in maintenance mode
    Maintenance {
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
    /// the boot to which a config was pushed last, or was about to be: it proves no installation, and what Talos
    /// left on the disk since is ours
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// the disk that a person allowed to be overwritten, whatever is on it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase: Option<Erase>,
    /// Talos was on its disk when it was given its config, or was told to keep it: it goes on without installing, and
    /// without a boot in between
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// the disk of a node that was taken out is in it, and has not been wiped
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old_disk: bool,
}

/// A person's word that what is on a disk may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erase {
    /// which disk
    pub disk: String,
    /// who said so
    pub by: String,
    /// the boot that wipes Talos's own disk was handed out: it is never handed out twice for one word
    pub wiped: bool,
}

impl NodeState {
    /// The machine that holds the slot.
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Vacant { .. } => None,
            Self::Deploying { claim, .. }
            | Self::Failed { claim, .. }
            | Self::Fenced { claim, .. }
            | Self::Configured { claim, .. }
            | Self::Member { claim, .. }
            | Self::Ready { claim, .. }
            | Self::Leaving { claim, .. } => Some(claim),
        }
    }

    pub(crate) fn claim_mut(&mut self) -> Option<&mut Claim> {
        match self {
            Self::Vacant { .. } => None,
            Self::Deploying { claim, .. }
            | Self::Failed { claim, .. }
            | Self::Fenced { claim, .. }
            | Self::Configured { claim, .. }
            | Self::Member { claim, .. }
            | Self::Ready { claim, .. }
            | Self::Leaving { claim, .. } => Some(claim),
        }
    }

    /// The permit that is open, or was when the machine was installed with it.
    pub fn permit(&self) -> Option<&Permit> {
        match self {
            Self::Vacant { permit } => permit.as_ref(),
            Self::Deploying { permit, .. }
            | Self::Failed { permit, .. }
            | Self::Fenced { permit, .. }
            | Self::Leaving { permit, .. } => Some(permit),
            Self::Configured { .. } | Self::Member { .. } | Self::Ready { .. } => None,
        }
    }

    pub(crate) fn permit_mut(&mut self) -> Option<&mut Permit> {
        match self {
            Self::Vacant { permit } => permit.as_mut(),
            Self::Deploying { permit, .. }
            | Self::Failed { permit, .. }
            | Self::Fenced { permit, .. }
            | Self::Leaving { permit, .. } => Some(permit),
            Self::Configured { .. } | Self::Member { .. } | Self::Ready { .. } => None,
        }
    }

    /// Which state of the diagram this is.
    pub fn state(&self) -> State {
        match self {
            Self::Vacant { .. } => State::Vacant,
            Self::Deploying { progress, .. } => match progress {
                Progress::Firmware { .. } => State::Firmware,
                Progress::Kernel { .. } => State::Kernel,
                Progress::Maintenance { .. } => State::Maintenance,
                Progress::Applying { .. } => State::Applying,
                Progress::Installing { .. } => State::Installing,
            },
            Self::Failed { .. } => State::Failed,
            Self::Fenced { .. } => State::Fenced,
            Self::Configured { .. } => State::Configured,
            Self::Member { .. } => State::Member,
            Self::Ready { .. } => State::Ready,
            Self::Leaving { .. } => State::Leaving,
        }
    }

    /// In this state since.
    pub fn since(&self) -> Option<Time> {
        match self {
            Self::Vacant { .. } => None,
            Self::Deploying { progress, .. } => Some(match progress {
                Progress::Firmware { since }
                | Progress::Kernel { since }
                | Progress::Maintenance { since }
                | Progress::Applying { since, .. }
                | Progress::Installing { since, .. } => *since,
            }),
            Self::Failed { since, .. }
            | Self::Fenced { since, .. }
            | Self::Configured { since, .. }
            | Self::Member { since, .. }
            | Self::Ready { since, .. }
            | Self::Leaving { since, .. } => Some(*since),
        }
    }

    /// The boot in which a node that has its config was seen last.
    pub(crate) fn boot_id(&self) -> Option<&str> {
        match self {
            Self::Configured { boot_id, .. } | Self::Member { boot_id, .. } | Self::Ready { boot_id, .. } => {
                Some(boot_id)
            }
            _ => None,
        }
    }

    /// One word for people.
    pub fn name(&self) -> &'static str {
        self.state().name()
    }

    /// Whether a machine with our config was proven in this slot.
    pub fn is_configured(&self) -> bool {
        matches!(self, Self::Configured { .. } | Self::Member { .. } | Self::Ready { .. })
    }
}
