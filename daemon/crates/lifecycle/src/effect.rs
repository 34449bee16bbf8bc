//! What the core wants done, as data.

use std::net::IpAddr;

use hardware::MacAddr;
use serde_json::Value;

use crate::{
    ApplyOutcome, BootstrapOutcome, Event, NodeName, Observation, PowerAction, PowerOutcome, RequestId,
    StepOutcome, Task, TaskOutcome, Ticket, View,
};

/// One output of a step. In every list, what must be durable comes before what leaves the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// to be made durable in one transaction before any later output is acted on
    Persist {
        /// records that changed
        writes: Vec<Write>,
        /// decisions with their evidence
        notes: Vec<Note>,
    },
    /// the new picture for everybody who only reads
    Publish(Box<View>),
    /// to be carried out
    Start(Effect),
}

/// One record of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// `cluster`, or `node/NAME`
    pub key: String,
    /// versioned JSON
    pub value: Value,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// a node's name, or `cluster`
    pub subject: String,
    /// what was decided
    pub what: String,
    /// on what grounds
    pub evidence: Vec<String>,
}

/// Something to be done in the world. At most one per node is in flight.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// tell a firmware what to boot
    AnswerBoot {
        /// the question
        request: RequestId,
        /// the answer
        answer: BootAnswer,
    },
    /// look at a machine through its own API
    Observe {
        /// whose slot
        node: NodeName,
        /// to be returned with the reply
        ticket: Ticket,
        /// where it can be, most likely first
        candidates: Vec<IpAddr>,
    },
    /// push the node's config
    Apply {
        /// whose
        node: NodeName,
        /// to be returned with the reply
        ticket: Ticket,
        /// the maintenance address
        address: IpAddr,
        /// the machine that was looked at; another one must not get the config
        fingerprint: String,
    },
    /// is there a cluster already? Asked before one is founded
    SeekCluster {
        /// to be returned with the reply
        ticket: Ticket,
        /// does anybody answer for it?
        virtual_address: Option<IpAddr>,
        /// the addresses of nodes that no machine is known to be: does any answer with our CA?
        nodes: Vec<IpAddr>,
    },
    /// do nodes of the site run already? Asked by a store that knows nothing
    LookAround {
        /// to be returned with the reply
        ticket: Ticket,
        /// the addresses of all nodes: does any answer with our CA?
        nodes: Vec<IpAddr>,
    },
    /// call `Bootstrap`
    Bootstrap {
        /// to be returned with the reply
        ticket: Ticket,
        /// on which node
        node: NodeName,
        /// where
        address: IpAddr,
        /// the boot that was looked at; whoever else answers there now must not get the call
        boot_id: String,
    },
    /// hand a snapshot of etcd to a node, and call `Bootstrap` from it
    Recover {
        /// to be returned with the reply
        ticket: Ticket,
        /// which node
        node: NodeName,
        /// where
        address: IpAddr,
        /// the boot that was looked at; whoever else answers there now must not get it
        boot_id: String,
        /// the file
        snapshot: String,
    },
    /// run one hand-over step
    RunStep {
        /// to be returned with the reply
        ticket: Ticket,
        /// which
        step: String,
        /// nothing is written: what is not in place is said
        only_look: bool,
    },
    /// switch a machine
    Power {
        /// whose
        node: NodeName,
        /// to be returned with the reply
        ticket: Ticket,
        /// what
        action: PowerAction,
        /// its next boot, and only that, is from the network
        network_boot: bool,
        /// its cards, as far as they are known
        macs: Vec<MacAddr>,
    },
    /// one step of a node that is taken out
    Depart {
        /// which node
        node: NodeName,
        /// to be returned with the reply
        ticket: Ticket,
        /// what
        task: Task,
    },
}

impl Effect {
    /// The event of an effect about which nothing is known but that it broke: the core then takes
    /// nothing for granted and looks again.
    pub fn broken(&self, reason: &str) -> Event {
        let reason = reason.to_owned();
        match self.clone() {
            Self::AnswerBoot { .. } => Event::Tick,
            Self::Observe { node, ticket, .. } => {
                Event::Observed { node, ticket, observation: Observation::Silent { detail: reason } }
            }
            Self::Apply { node, ticket, .. } => {
                Event::Applied { node, ticket, outcome: ApplyOutcome::Unknown { reason } }
            }
            // not knowing counts as an answer: nothing is bootstrapped over a doubt
            Self::SeekCluster { ticket, .. } => {
                let owner = Some(format!("the probe failed: {reason}"));
                Event::ClusterSought { ticket, owner, nodes: Vec::new() }
            }
            Self::LookAround { ticket, .. } => Event::LookedAround { ticket, nodes: None },
            Self::Bootstrap { ticket, .. } => {
                Event::BootstrapAnswered { ticket, outcome: BootstrapOutcome::Unknown { reason } }
            }
            Self::Recover { ticket, .. } => {
                Event::Recovered { ticket, outcome: BootstrapOutcome::Unknown { reason } }
            }
            Self::RunStep { ticket, step, .. } => {
                Event::StepEnded { ticket, step, outcome: StepOutcome::Failed { reason } }
            }
            Self::Power { node, ticket, .. } => {
                Event::Powered { node, ticket, outcome: PowerOutcome::Failed { reason } }
            }
            Self::Depart { node, ticket, .. } => {
                Event::Departed { node, ticket, outcome: TaskOutcome::Failed { reason } }
            }
        }
    }
}

/// What a firmware is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootAnswer {
    /// Talos, to be installed into this slot
    Deploy {
        /// which slot
        node: NodeName,
    },
    /// nobody knows which slot this is: ask again, or find it out meanwhile
    Identify {
        /// after so many seconds
        seconds: u32,
        /// what is missing
        reason: String,
    },
    /// Talos, which wipes its own disk and boots again; handed out once
    Wipe {
        /// whose machine
        node: NodeName,
    },
    /// ask again
    Retry {
        /// after so many seconds
        seconds: u32,
        /// what is being waited for
        reason: String,
    },
    /// boot what is installed
    LocalDisk {
        /// why nothing is served
        reason: String,
    },
    /// stop here; a person must look
    Refused {
        /// at what
        reason: String,
    },
}
