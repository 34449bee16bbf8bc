//! What a changed site changes on nodes that already run, and in which order they may get it: functions of values.
//!
//! On the road this comes after the hand-over: the command line reads the configs that the nodes run with and asks here
//! what the site's new ones would do to them, before anybody is asked to take one.
//!
//! * [`mod@plan`]: the changes of one node, each with its class and its phase;
//! * `rules`: what each place in a config asks for before it is another one;
//! * `essentials`: what makes a node that node and a cluster that cluster, wherever a config says it;
//! * [`order`]: which node is next, and what is done with it;
//! * [`upgrade`]: whether another version of Talos may be brought to nodes, and has come;
//! * [`kubernetes`]: the same of Kubernetes, part by part;
//! * [`phase`]: what belongs to the bootstrap and what to Git, by the founding document's matrix;
//! * [`versions`]: steps of a version that Kubernetes allows.

mod essentials;
pub mod kubernetes;
pub mod order;
pub mod phase;
pub mod plan;
mod rules;
pub mod upgrade;
pub mod versions;

pub use phase::Phase;
pub use plan::{Change, Class, NEVER_REBOOTS, NodePlan, plan};
