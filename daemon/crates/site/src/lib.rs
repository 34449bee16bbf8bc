//! ichord.yaml and talconfig.yaml become the site that the program works with.
//!
//! On the road this comes first: [`Site::load`] reads what people wrote and reports everything that is wrong
//! with it; from then on the reconciler asks the [`Site`] for its plan, its slots and its machine configs.
//!
//! Files are read through [`Files`], secrets are read by the caller, the environment is passed in.

mod check;
mod convert;
pub mod edit;
mod handover;
mod https;
mod load;
mod model;
mod networks;
mod power;
mod render;
mod rules;
mod secrets;
mod slots;
mod snmp;
mod wire;

pub use handover::{
    ConnectFrom, Credentials, FOUNDING, GitChart, HandoverStep, Owner, Reference, SecretSource, SecretValue,
    Source, StepRelease, Sync, SyncMode, Wait,
};
pub use https::Https;
pub use load::Files;
pub use model::{DhcpMode, ImageSet, LocalBoots, Network, Pool, Site, Snapshots, Switch};
pub use power::{Power, Redfish};
pub use render::{NodeConfigError, Rendered};
pub use rules::rules;
pub use snmp::{Community, Snmp};
