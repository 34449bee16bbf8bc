//! `ichord reprovision` and `ichord reset`: a node is taken out and comes back as the same node.

use clap::Args;
use lifecycle::{NodeName, Order};

use super::{Failure, Socket, give, typed};

/// Takes a node out, wipes its disk, and installs it anew as the same node.
///
/// Nothing is begun that would cost etcd its quorum. A snapshot of etcd is kept first, in the daemon's state directory; its
/// pods go elsewhere, it leaves etcd, is told to wipe itself, and is deleted in Kubernetes. One node at a time. Where pods do
/// not go away, `ichord status` says which, and --without-drain goes on all the same. A node that does not answer is taken
/// out of etcd by the others, and its next boot from the network wipes it, once. `ichord reset NODE --wipe-disk` is the same
/// under another name, for those who look for it there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord reprovision mini02\n  ichord reprovision mini02 --without-drain\n  ichord reprovision mini02 --cancel"
)]
pub(crate) struct Reprovision {
    /// the node, by its talconfig hostname
    node: String,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    socket: Socket,
}

/// Takes a node out and gives it its config anew. Talos stays on its disk; its config and its data (STATE and EPHEMERAL) go.
///
/// It boots its own disk and waits there for its config. With --wipe-disk its whole system disk goes and Talos is installed anew: that
/// is `ichord reprovision` in every step, but that the node's name must be typed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord reset mini02\n  ichord reset mini02 --wipe-disk      asks for its name"
)]
pub(crate) struct Reset {
    /// the node, by its talconfig hostname
    node: String,
    /// wipe its system disk, Talos included
    #[arg(long)]
    wipe_disk: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Args)]
struct How {
    /// do not wait for its pods, also where that is under way
    #[arg(long)]
    without_drain: bool,
    /// it stays after all, as long as nothing was taken from it
    #[arg(long, conflicts_with = "without_drain")]
    cancel: bool,
}

impl Reprovision {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let node = NodeName(self.node);
        let order = match self.how.cancel {
            true => Order::Stay { node },
            false => Order::Reprovision { node, undrained: self.how.without_drain },
        };
        give(&self.socket, order).await
    }
}

impl Reset {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let undrained = self.how.without_drain;
        let node = NodeName(self.node.clone());
        let order = match (self.how.cancel, self.wipe_disk) {
            (true, _) => Order::Stay { node },
            (false, true) => {
                typed(&self.node, &format!("Everything on the system disk of {} goes", self.node))?;
                Order::Reprovision { node, undrained }
            }
            (false, false) => Order::Reset { node, undrained },
        };
        give(&self.socket, order).await
    }
}
