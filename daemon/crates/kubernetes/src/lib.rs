//! The Kubernetes API: client, server-side apply, readiness, drain, and who may write.
//!
//! `handover` works through this crate once the machines' etcd has its members; it needs few verbs: is the
//! API there, what is an object now, make it so (as the field manager `ichord`), is it ready. kube-rs speaks
//! the protocol; the answers are read here, so that a refusal says whose field it was, and no answer that
//! carries a Secret is ever logged.

mod alone;
mod apply;
mod client;
mod create;
mod difference;
mod drain;
mod error;
mod list;
mod nodes;
mod object;
mod readiness;
mod wait;

pub use alone::{Claim, Holder};
pub use apply::{Applied, FIELD_MANAGER, Outcome};
pub use client::{Access, Client};
pub use difference::{compared, differences};
pub use drain::{DrainError, Patience, PodName};
pub use error::{AccessError, ApplyError, FieldConflict, RequestError, WaitError};
pub use nodes::{NodeBoot, NodeStatus};
pub use object::{ObjectError, ObjectId};
pub use readiness::{Readiness, readiness};
