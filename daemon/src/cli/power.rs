//! `ichord power`: a machine is switched on or off by what the site names for it.

use clap::{Args, ValueEnum};
use lifecycle::{NodeName, Order, PowerAction};

use super::{Failure, Socket, give};

/// Switches a node's machine on or off, or shows whether it is on, by the `power:` of its line in ichord.yaml.
///
/// `off` takes the power away at once; `ichord maintain NODE -- shutdown` shuts a running node down in an orderly way. The
/// power of a control plane that etcd needs is not taken away without --force.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ichord power mini02 status\n  ichord power mini02 cycle --network-boot")]
pub(crate) struct Power {
    /// the node, by its talconfig hostname
    node: String,
    /// what is done
    action: Action,
    /// its next boot, and only that, is from the network
    #[arg(long)]
    network_boot: bool,
    /// also where etcd loses its quorum
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    socket: Socket,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    On,
    Off,
    Cycle,
    /// what it boots next, and only then; its power stays as it is
    NetworkBoot,
    Status,
}

impl Power {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let action = match self.action {
            Action::On => PowerAction::On,
            Action::Off => PowerAction::Off,
            Action::Cycle => PowerAction::Cycle,
            Action::NetworkBoot => PowerAction::NetworkBoot,
            Action::Status => PowerAction::Status,
        };
        if self.network_boot && matches!(self.action, Action::Off | Action::Status | Action::NetworkBoot) {
            return Err(anyhow::anyhow!("--network-boot goes with `on` and `cycle`").into());
        }
        let (node, network_boot, forced) = (NodeName(self.node), self.network_boot, self.force);
        give(&self.socket, Order::Power { node, action, network_boot, forced }).await
    }
}
