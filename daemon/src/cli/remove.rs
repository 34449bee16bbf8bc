//! `ichord remove`: a node that the site no longer names is taken out for good.

use clap::Args;
use lifecycle::{NodeName, Order};

use super::{Failure, Socket, give, typed};

/// Takes a node out for good, after it was taken out of the site.
///
/// What the site no longer names goes on as it is and is shown by `ichord status`, until this is said. A snapshot of etcd is
/// kept, its pods go elsewhere, it leaves etcd, forgets its config and its data, and is deleted in Kubernetes. Talos stays on
/// its disk unless --wipe-disk is given, for which its name must be typed. A machine that does not answer is taken out of
/// etcd by the others and fenced off, as it has the node's keys. Three control planes are kept once they are there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord remove mini05\n  ichord remove mini05 --without-drain\n  ichord remove mini05 --cancel"
)]
pub(crate) struct Remove {
    /// the node, by its talconfig hostname
    node: String,
    /// wipe its system disk, Talos included
    #[arg(long)]
    wipe_disk: bool,
    /// do not wait for its pods, also where that is under way
    #[arg(long)]
    without_drain: bool,
    /// it stays after all, as long as nothing was taken from it
    #[arg(long, conflicts_with_all = ["without_drain", "wipe_disk"])]
    cancel: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Remove {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if self.wipe_disk {
            typed(&self.node, &format!("Everything on the system disk of {} goes", self.node))?;
        }
        let (node, wipe, undrained) = (NodeName(self.node), self.wipe_disk, self.without_drain);
        let order = match self.cancel {
            true => Order::Stay { node },
            false => Order::Remove { node, wipe, undrained },
        };
        give(&self.socket, order).await
    }
}
