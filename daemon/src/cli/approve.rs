//! `ichord approve`: a person's word that a disk may be overwritten.

use clap::Args;

use super::{Failure, Socket, say};

/// Allows a disk of a machine that is being installed to be overwritten, whatever is on it.
///
/// Where Talos is on that disk, the machine's next netboot wipes it, once: each word pays for one wipe.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ichord approve mini01 --erase /dev/nvme0n1")]
pub(crate) struct Approve {
    /// the slot, by its talconfig hostname
    node: String,
    /// the disk, by its path on that machine
    #[arg(long, value_name = "DISK")]
    erase: String,
    #[command(flatten)]
    socket: Socket,
}

impl Approve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        say(&self.socket, api::Says::Erase { node: self.node, disk: self.erase }).await
    }
}
