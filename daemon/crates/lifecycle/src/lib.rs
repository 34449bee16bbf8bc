//! The core: `step(event, now) -> [Persist, Publish, Start]`.
//!
//! Machines and the cluster are typed states; effects are data. The core has no clock, no socket and
//! no runtime: `reconciler` feeds it events, makes its outputs durable and carries its effects out.
//! Between any two outputs the process may die; [`Core::restore`] goes on from the store alone.

mod boot;
mod bootstrap;
mod claims;
mod cluster;
mod core;
mod deploy;
mod effect;
mod event;
mod handover;
mod ids;
mod machine;
mod node;
mod observation;
mod permit;
mod plan;
mod time;
mod view;

pub use crate::{
    claims::{Approval, Ledger, Order, Replacement, Retired},
    cluster::{Bootstrapped, Cluster, Intent},
    core::{Core, Records, RestoreError},
    effect::{BootAnswer, Effect, Note, Output, Write},
    event::{ApplyOutcome, BootstrapOutcome, Event, Identity, StepOutcome},
    ids::{RequestId, Ticket},
    machine::Machine,
    node::{Claim, NodeState, Progress},
    observation::{EtcdMember, EtcdObservation, Observation, Stage},
    permit::Permit,
    plan::{
        ClusterPlan, DeployPolicy, InstallDisk, LinkNeed, NodeName, NodePlan, ReplacePolicy, Role, Timing,
        Trust,
    },
    time::Time,
    view::{ClusterView, FencedView, NodeView, View},
};
