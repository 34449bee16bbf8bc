//! `ichord slot`: who holds which slot.

use clap::{Args, Subcommand};
use lifecycle::{NodeName, Order};

use super::{Failure, Socket, print, whoever_asks};

/// Changes which machine holds a slot.
///
/// A machine that answers keeps its slot: switch it off first. A machine that has a node's keys and is no longer
/// that node is fenced off: it is booted into nothing until it is readmitted.
#[derive(Debug, Args)]
pub(crate) struct Slot {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The machine that is plugged in there now takes the slot from one that is dead
    #[command(after_help = "Example:\n  ichord slot approve mini02")]
    Approve {
        /// the slot, by its talconfig hostname
        node: String,
    },
    /// Takes the slot from its machine; whichever is identified as the node next may be installed with a permit
    #[command(after_help = "Example:\n  ichord slot release mini02")]
    Release {
        /// the slot, by its talconfig hostname
        node: String,
    },
    /// Gives the machine of one slot another, vacant one; it is installed anew when it next boots from the network
    #[command(after_help = "Example:\n  ichord slot move mini02 mini05")]
    Move {
        /// the slot that it holds
        from: String,
        /// the slot that it gets
        to: String,
    },
    /// Lets a machine that was fenced off be used again
    #[command(after_help = "Example:\n  ichord slot readmit 64:4b:f0:00:00:03")]
    Readmit {
        /// its MAC address or UUID, as `ichord status` shows it
        machine: String,
    },
}

impl Slot {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let order = match self.command {
            Command::Approve { node } => Order::Admit { node: NodeName(node) },
            Command::Release { node } => Order::Release { node: NodeName(node) },
            Command::Move { from, to } => Order::Move { from: NodeName(from), to: NodeName(to) },
            Command::Readmit { machine } => Order::Readmit { machine },
        };
        let ordered = self.socket.client().order(&api::ClaimOrder { order, by: whoever_asks() }).await?;
        print(&format!("{}\n", ordered.done))
    }
}
