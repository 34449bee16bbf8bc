//! From an API server that answers to a cluster that Git owns: steps with observe, apply, wait.
//!
//! The reconciler runs one [`Step`] after the other once it has a kubeconfig; a step is what a person put into
//! manifest files ([`Step::parse`]). Nothing is remembered between runs: every run observes the cluster first,
//! so a step that was interrupted anywhere goes on, and one that is done writes nothing. What is somebody
//! else's stays theirs, and nothing is ever deleted.

mod adoption;
mod certificates;
mod changes;
mod check;
mod checks;
pub mod cilium;
mod credentials;
mod diagnosis;
mod error;
mod evidence;
mod fixed;
pub mod git;
pub mod gitops;
pub mod helm;
mod manifest;
mod order;
mod ownership;
mod pack;
mod plan;
mod postbuild;
mod release;
mod restart;
mod rules;
mod run;
mod secret;
mod sync;
mod verify;

pub use adoption::Component;
pub use certificates::{CERTIFICATE, hubble_wants};
pub use changes::{FieldChange, ObjectChange, StepChanges, changes};
pub use checks::Check;
pub use credentials::{ConnectCredentials, CredentialsError, Delivery};
pub use diagnosis::{Diagnosis, diagnose};
pub use error::{Cause, Fault, StepError};
pub use fixed::{FixedField, fixed};
pub use manifest::{Manifest, Owner, Step};
pub use pack::{Difference, Pack, Parameter, ParameterType, Target};
pub use plan::{Phase, Plan, plan};
pub use postbuild::{ExpressionError, PostBuildError, Variables};
pub use release::StepRelease;
pub use restart::restart_with_secrets;
pub use rules::RULES;
pub use run::{ObjectOutcome, Pace, StepOutcome, run_step};
pub use secret::{SecretData, secret};
pub use sync::{Access, Operator, Sync, gotk_version};
pub use verify::{Verified, verify};
