//! `ichord bootstrap`: a person's word about the cluster.

use clap::Args;

use super::{Failure, Socket, give};

/// Says that nothing of this cluster exists yet, where the daemon cannot know it.
///
/// It stands in for control planes that are missing, as long as a majority is there, and for a store that was
/// lost or brought back. It holds for an hour, and never outweighs a sign of an existing cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ichord bootstrap --new")]
pub(crate) struct Bootstrap {
    /// the cluster is new: no machine of it has etcd data
    #[arg(long, required = true)]
    new: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Bootstrap {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        // clap insists on the flag
        debug_assert!(self.new);
        give(&self.socket, lifecycle::Order::New {}).await
    }
}
