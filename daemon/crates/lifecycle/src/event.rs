//! What the core is told.

use std::net::IpAddr;

use hardware::{MacAddr, SwitchPort};

use crate::{
    ClusterPlan, Machine, NodeName, Observation, Order, PowerOutcome, RequestId, TaskOutcome, Ticket,
};

/// Everything that can happen to the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// a new site was accepted
    PlanChanged(Box<ClusterPlan>),
    /// somebody allows installing into one slot, or into every slot that holds no machine
    PermitGranted {
        /// the slot; `None` is every unfilled one
        node: Option<NodeName>,
        /// who
        by: String,
    },
    /// a person changes who holds a slot, or says what only a person can say
    Ordered {
        /// what is to be done
        order: Order,
        /// who
        by: String,
    },
    /// a boot file was fetched from an address
    Fetched {
        /// from where
        from: IpAddr,
    },
    /// a machine's firmware asks what to boot
    BootAsked {
        /// to be answered with this
        request: RequestId,
        /// who asks, as it says
        machine: Machine,
        /// from where
        from: IpAddr,
        /// how often it has asked in this boot, from 0
        attempt: u32,
        /// which slot the evidence gives it
        identity: Identity,
    },
    /// evidence about a machine changed after it had asked
    Identified {
        /// who
        machine: Machine,
        /// which slot the evidence gives it
        identity: Identity,
    },
    /// a slot's machine is seen where the site names nobody, or is not any more
    Displaced {
        /// whose slot
        node: NodeName,
        /// where, and what a person can do, in words; `None` when it is where it belongs
        told: Option<String>,
    },
    /// a machine waits in maintenance mode, whatever it was started from
    FoundWaiting {
        /// who, as its own account of itself says
        machine: Machine,
        /// where
        address: IpAddr,
        /// which slot the evidence gives it
        identity: Identity,
    },
    /// a machine was seen at an address
    Located {
        /// who
        mac: MacAddr,
        /// where
        address: IpAddr,
    },
    /// a look at a machine ended
    Observed {
        /// whose slot
        node: NodeName,
        /// the effect it answers
        ticket: Ticket,
        /// what was seen
        observation: Observation,
    },
    /// a machine tells by itself what changes about it, or no longer does
    Watched {
        /// whose slot
        node: NodeName,
        /// what is told
        watch: Watch,
    },
    /// a config push ended
    Applied {
        /// whose slot
        node: NodeName,
        /// the effect it answers
        ticket: Ticket,
        /// how
        outcome: ApplyOutcome,
    },
    /// the look for a cluster that exists already ended
    ClusterSought {
        /// the effect it answers
        ticket: Ticket,
        /// who answered for the virtual address, in words; `None` when nobody did
        owner: Option<String>,
        /// those of the addresses asked where our CA answered
        nodes: Vec<IpAddr>,
    },
    /// the look for nodes that an empty store does not know ended
    LookedAround {
        /// the effect it answers
        ticket: Ticket,
        /// those of the addresses asked where our CA answered; `None` where it could not be found out
        nodes: Option<Vec<IpAddr>>,
    },
    /// a `Bootstrap` call ended
    BootstrapAnswered {
        /// the effect it answers
        ticket: Ticket,
        /// how
        outcome: BootstrapOutcome,
    },
    /// a `Bootstrap` from a snapshot ended
    Recovered {
        /// the effect it answers
        ticket: Ticket,
        /// how
        outcome: BootstrapOutcome,
    },
    /// a hand-over step ended
    StepEnded {
        /// the effect it answers
        ticket: Ticket,
        /// which
        step: String,
        /// how
        outcome: StepOutcome,
    },
    /// a step of a node that is taken out ended
    Departed {
        /// which node
        node: NodeName,
        /// the effect it answers
        ticket: Ticket,
        /// how
        outcome: TaskOutcome,
    },
    /// a machine was switched, or was not
    Powered {
        /// whose
        node: NodeName,
        /// the effect it answers
        ticket: Ticket,
        /// how
        outcome: PowerOutcome,
    },
    /// the time of [`crate::Core::next_deadline`] has come
    Tick,
}

/// What comes from a machine that is under watch. Only times follow from it: what has changed shows the next look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// from now on it tells when something changes
    Began,
    /// something has changed
    Changed,
    /// it tells nothing any more
    Ended,
}

/// Which slot a machine belongs to, as the evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// one slot
    Slot {
        /// which
        node: NodeName,
        /// the port that named it
        port: Option<SwitchPort>,
        /// somebody else than the machine vouches for it
        attested: bool,
        /// in words
        evidence: Vec<String>,
    },
    /// not enough evidence
    Unknown {
        /// what is missing
        reason: String,
    },
    /// evidence that contradicts itself
    Refused {
        /// how
        reason: String,
    },
}

/// How a config push ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// Talos took it, now or before
    Accepted,
    /// Talos said no; pushing the same again changes nothing until somebody mends the cause
    Refused {
        /// Talos's words
        reason: String,
    },
    /// the connection broke: it may have arrived
    Unknown {
        /// how it broke
        reason: String,
    },
}

/// How a `Bootstrap` call ended (talos.md §9.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootstrapOutcome {
    /// etcd restarts in bootstrap mode, or the data directory is already there
    Accepted,
    /// certainly nothing happened: asked too early, or not reachable
    NotYet {
        /// Talos's words
        reason: String,
    },
    /// it may have happened
    Unknown {
        /// what was seen
        reason: String,
    },
}

/// How a hand-over step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// in place
    Done {
        /// what it changed, in words
        summary: String,
    },
    /// to be tried again
    Failed {
        /// why
        reason: String,
    },
}
