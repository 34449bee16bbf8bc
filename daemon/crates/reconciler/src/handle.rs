//! How the other rooms speak to the reconciler.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use boot::{LldpReport, discovery::Report};
use hardware::{MacAddr, SwitchPort};
use identity::{Marks, PortRow, Sighting};
use lifecycle::{BootAnswer, ClusterPlan, Event, NodeName, Order};
use site::Site;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Met, Published, Tiding, Told};

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

/// Every port, as it is seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// when, in milliseconds since the Unix epoch
    pub at: u64,
    /// of the site, and every other one where a machine is seen
    pub rows: Vec<PortRow>,
    /// slots in whose ports nobody is seen
    pub unseen: Vec<String>,
    /// what the site file does not know yet: moved cables, switches with another name
    pub told: Vec<Told>,
    /// where holders of slots were seen last, which is none of their slot's ports
    pub displaced: BTreeMap<String, SwitchPort>,
}

/// Everything about one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Everything that reaches the reconciler's queue.
pub(crate) enum Input {
    Boot { question: BootQuestion, answer: oneshot::Sender<BootAnswer> },
    Sighting(Sighting),
    Report { from: IpAddr, report: Box<Report> },
    Located { mac: MacAddr, address: IpAddr },
    Heard { mac: MacAddr, address: IpAddr },
    Met { mac: MacAddr, met: Option<Met> },
    Tiding(Tiding),
    Deploy { node: Option<NodeName>, by: String, answer: oneshot::Sender<Result<Vec<NodeName>, DeployError>> },
    Order { order: Order, by: String, answer: oneshot::Sender<Result<String, OrderError>> },
    Weigh { order: Order, answer: oneshot::Sender<Result<String, OrderError>> },
    Fetched { from: IpAddr },
    Ports { answer: oneshot::Sender<Ports> },
    Explain { machine: String, answer: oneshot::Sender<Vec<Explained>> },
    Judge { plan: Box<ClusterPlan>, answer: oneshot::Sender<Result<(), OrderError>> },
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
    /// the site no longer names it
    #[error("{0}")]
    Left(String),
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

/// An order about claims was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// what stands against it
    #[error("{0}")]
    Refused(String),
    /// the decision could not be made durable
    #[error("the order could not be stored; nothing was done")]
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

    /// What a machine found out about itself by the discovery image.
    pub async fn report(&self, from: IpAddr, report: Report) -> Result<(), AskError> {
        self.send(Input::Report { from, report: Box::new(report) }).await
    }

    /// A machine has this address now.
    pub async fn locate(&self, mac: MacAddr, address: IpAddr) -> Result<(), AskError> {
        self.send(Input::Located { mac, address }).await
    }

    /// A machine spoke from this address, as anybody can say on a network: reason to look there, and no more.
    pub async fn hear(&self, mac: MacAddr, address: IpAddr) -> Result<(), AskError> {
        self.send(Input::Heard { mac, address }).await
    }

    /// Grants install permits: to one slot, or to every unfilled one. Answers the slots.
    pub async fn deploy(&self, node: Option<NodeName>, by: String) -> Result<Vec<NodeName>, DeployError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Deploy { node, by, answer }).await?;
        wait.await.map_err(|_| AskError)?
    }

    /// Changes who holds a slot. Answers in words what was done.
    pub async fn order(&self, order: Order, by: String) -> Result<String, OrderError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Order { order, by, answer }).await?;
        wait.await.map_err(|_| AskError)?
    }

    /// What an order would do, in words; nothing is done.
    pub async fn weigh(&self, order: Order) -> Result<String, OrderError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Weigh { order, answer }).await?;
        wait.await.map_err(|_| AskError)?
    }

    /// A boot file was fetched.
    pub async fn fetched(&self, from: IpAddr) -> Result<(), AskError> {
        self.send(Input::Fetched { from }).await
    }

    /// Every port, with who is seen there now.
    pub async fn ports(&self) -> Result<Ports, AskError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Ports { answer }).await?;
        wait.await.map_err(|_| AskError)
    }

    /// Everything about the machines with this MAC address, UUID or serial number, or those of a slot.
    pub async fn explain(&self, machine: String) -> Result<Vec<Explained>, AskError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Explain { machine, answer }).await?;
        wait.await.map_err(|_| AskError)
    }

    /// Whether the cluster that there is can become what another site says; nothing is changed by it.
    pub async fn judge(&self, site: &Site) -> Result<(), OrderError> {
        let (answer, wait) = oneshot::channel();
        self.send(Input::Judge { plan: Box::new(site.plan()), answer }).await?;
        wait.await.map_err(|_| AskError)?
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

impl Input {
    /// Whether a machine that waits outside may be let in after it.
    pub(crate) fn may_let_somebody_in(&self) -> bool {
        matches!(self, Self::Deploy { .. } | Self::Order { .. } | Self::Site { .. })
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Boot { .. } => "Boot",
            Self::Sighting(_) => "Sighting",
            Self::Report { .. } => "Report",
            Self::Located { .. } => "Located",
            Self::Heard { .. } => "Heard",
            Self::Met { .. } => "Met",
            Self::Tiding(_) => "Tiding",
            Self::Deploy { .. } => "Deploy",
            Self::Order { .. } => "Order",
            Self::Weigh { .. } => "Weigh",
            Self::Fetched { .. } => "Fetched",
            Self::Ports { .. } => "Ports",
            Self::Explain { .. } => "Explain",
            Self::Judge { .. } => "Judge",
            Self::Site { .. } => "Site",
            Self::Effect(_) => "Effect",
            Self::Tick => "Tick",
        })
    }
}
