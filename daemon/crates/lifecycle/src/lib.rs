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
mod departure;
mod effect;
mod event;
mod guards;
mod handover;
mod health;
mod ids;
mod left;
mod loss;
mod machine;
mod node;
mod observation;
mod observe;
mod outside;
mod permit;
mod plan;
mod power;
mod quorum;
mod recovery;
mod replacement;
mod restore;
mod slot;
mod slots;
mod states;
mod takeover;
mod time;
mod view;

pub use crate::{
    claims::{Approval, Ledger, Order, Replacement, Retired},
    cluster::{Bootstrapped, Cluster, Intent, Word},
    core::Core,
    departure::{Cause, Departure, Going, Task, TaskOutcome, Wiped},
    effect::{BootAnswer, Effect, Note, Output, Write},
    event::{ApplyOutcome, BootstrapOutcome, Event, Identity, StepOutcome, Watch},
    guards::{Guard, Guards, Strict},
    health::{
        Assertion, HealthFacts, KubernetesFacts, KubernetesNode, MadeCertificate, NodeFacts, ServiceFacts,
        StaticPod, Verdict, Workload, assertions, ending,
    },
    ids::{RequestId, Ticket},
    machine::Machine,
    node::{Claim, Erase, NodeState, Progress},
    observation::{Content, EtcdHealth, EtcdMember, EtcdObservation, Observation, Stage},
    permit::Permit,
    plan::{
        ClusterPlan, DeployPolicy, InstallDisk, LinkNeed, NodeName, NodePlan, ReplacePolicy, Role, Timing,
        Trust,
    },
    power::{PowerAction, PowerOutcome, Switch},
    recovery::Recovery,
    restore::{Records, RestoreError},
    states::{Facts, Limit, State, diagram},
    takeover::{Runner, Sighted, Survey},
    time::Time,
    view::{ClusterView, FencedView, NodeView, PowerView, View},
};
