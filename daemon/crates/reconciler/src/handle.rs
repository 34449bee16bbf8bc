//! How the other rooms speak to the reconciler.

use std::{net::IpAddr, sync::Arc};

use boot::LldpReport;
use hardware::MacAddr;
use identity::{Marks, Sighting};
use lifecycle::{BootAnswer, Event, NodeName};
use site::Site;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Published;

/// A firmware's question, as HTTP boot received it.
#[derive(Debug, Clone)]
pub struct BootQuestion {
    /// who asks, as it says
    pub machine: Marks,
    /// from where
    pub from: IpAddr,
    /// how often it has asked in this boot, from 0
    pub attempt: u32,
    /// what its iPXE heard from switches
    pub lldp: Vec<LldpReport>,
}

/// Everything that reaches the reconciler's queue.
pub(crate) enum Input {
    Boot { question: BootQuestion, answer: oneshot::Sender<BootAnswer> },
    Sighting(Sighting),
    Located { mac: MacAddr, address: IpAddr },
    Deploy { node: Option<NodeName>, by: String, answer: oneshot::Sender<Result<Vec<NodeName>, DeployError>> },
    Word { says: Says, by: String, answer: oneshot::Sender<Result<(), WordError>> },
    Fetched { from: IpAddr },
    Site { site: Arc<Site>, taken: oneshot::Sender<()> },
    Effect(Event),
    Tick,
}

/// The reconciler has stopped; the daemon is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the daemon is shutting down")]
pub struct AskError;

/// No permit was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeployError {
    /// not in the site
    #[error("{node} is not in the site; its nodes are {known}")]
    UnknownNode {
        /// what was asked for
        node: NodeName,
        /// what there is
        known: String,
    },
    /// a machine is installed there
    #[error("{node} is installed ({machine}): a permit would have no effect")]
    Installed {
        /// the slot
        node: NodeName,
        /// its machine
        machine: String,
    },
    /// `--unfilled` found nothing
    #[error("every slot has its machine: there is nothing to deploy")]
    NothingUnfilled,
    /// the decision could not be made durable
    #[error("the permit could not be stored; nothing was granted")]
    NotStored,
    /// going down
    #[error(transparent)]
    Stopped(#[from] AskError),
}

/// What only a person can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// the slot's machine is taken out
    Release {
        /// the slot
        node: NodeName,
    },
    /// a disk of the slot's machine may be overwritten, whatever is on it
    Erase {
        /// the slot
        node: NodeName,
        /// its path
        disk: String,
    },
    /// nothing of this cluster exists yet
    New,
}

/// A person's word was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// the machine stays
    #[error(transparent)]
    Release(#[from] lifecycle::ReleaseError),
    /// the cluster is not new
    #[error(transparent)]
    Newness(#[from] lifecycle::NewnessError),
    /// nothing of this slot may be erased by a word
    #[error("{0} has no machine on its way to be installed: there is nothing to erase")]
    NothingToErase(NodeName),
    /// the decision could not be made durable
    #[error("it could not be stored; nothing was done")]
    NotStored,
    /// going down
    #[error(transparent)]
    Stopped(#[from] AskError),
}

/// Speaks to the reconciler; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) published: watch::Receiver<Published>,
}

impl Handle {
    /// What is this machine to boot? The answer is durable when it arrives.
    pub async fn ask(&self, question: BootQuestion) -> Result<BootAnswer, AskError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Boot { question, answer }).await?;
        wait.await.map_err(|_| AskError)
    }

    /// A piece of evidence about a machine.
    pub async fn sight(&self, sighting: Sighting) -> Result<(), AskError> {
        self.send(Input::Sighting(sighting)).await
    }

    /// A machine has this address now.
    pub async fn locate(&self, mac: MacAddr, address: IpAddr) -> Result<(), AskError> {
        self.send(Input::Located { mac, address }).await
    }

    /// Grants install permits: to one slot, or to every unfilled one. Answers the slots.
    pub async fn deploy(&self, node: Option<NodeName>, by: String) -> Result<Vec<NodeName>, DeployError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Deploy { node, by, answer }).await?;
        wait.await.map_err(|_| AskError)?
    }

    /// Takes what only a person can say. It is durable when this returns.
    pub async fn word(&self, says: Says, by: String) -> Result<(), WordError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Word { says, by, answer }).await?;
        wait.await.map_err(|_| AskError)?
    }

    /// A boot file was fetched.
    pub async fn fetched(&self, from: IpAddr) -> Result<(), AskError> {
        self.send(Input::Fetched { from }).await
    }

    /// Goes on with another site, which was checked and accepted.
    pub async fn reload(&self, site: Arc<Site>) -> Result<(), AskError> {
        let (taken, wait) = oneshot::channel();
        self.send(Input::Site { site, taken }).await?;
        wait.await.map_err(|_| AskError)
    }

    /// The picture of the world, and every later one.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.clone()
    }

    async fn send(&self, input: Input) -> Result<(), AskError> {
        self.inputs.send(input).await.map_err(|_| AskError)
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Boot { .. } => "Boot",
            Self::Sighting(_) => "Sighting",
            Self::Located { .. } => "Located",
            Self::Deploy { .. } => "Deploy",
            Self::Word { .. } => "Word",
            Self::Fetched { .. } => "Fetched",
            Self::Site { .. } => "Site",
            Self::Effect(_) => "Effect",
            Self::Tick => "Tick",
        })
    }
}
