//! `ichord release`: takes a machine out of its slot.

use clap::Args;

use super::{Failure, Socket, say};

/// Takes the machine out of a slot, so that another one can take its place.
///
/// The machine itself is not touched, and is booted into nothing until `ichord deploy` lets one in again.
/// A control plane that votes in etcd, or was asked to found the cluster, stays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ichord release mini02")]
pub(crate) struct Release {
    /// the slot, by its talconfig hostname
    node: String,
    #[command(flatten)]
    socket: Socket,
}

impl Release {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        say(&self.socket, api::Says::Release { node: self.node }).await
    }
}
