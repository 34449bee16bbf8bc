//! The one task that owns the world: drain events → step → one transaction → durable → publish → start.
//!
//! Everybody else either reads the published picture or sends an input through a [`Handle`].
//! Effects run as tasks of this room; each ends as an event in the same queue. Cancelling the token
//! ends the loop between two turns; effects under way are dropped and observed again at the next start.

mod checkpoint;
mod clock;
mod displaced;
mod handle;
mod high_water;
mod publish;
mod restore;
mod run;
mod sightings;
mod strangers;
mod turn;
mod world;

pub use checkpoint::Checkpoints;
pub use clock::Clock;
pub use displaced::Told;
pub use handle::{AskError, BootQuestion, DeployError, Explained, Handle, OrderError, Ports};
pub use high_water::HighWater;
pub use publish::{Published, boot_view};
pub use restore::RestoreError;
pub use run::{Reconciler, RunError};
pub use world::{
    Kept, Met, Tiding, World,
    talos::{Cluster, Talos},
};
