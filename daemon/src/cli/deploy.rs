//! `ichord deploy`: permission to install.

use clap::Args;

use super::{Failure, Socket, print};

/// Allows one machine to be installed, once, within a day.
///
/// Without such a permit nothing is ever installed. It is used up when the machine answers with the
/// cluster's own CA, and pays for at most five netboots until then.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ichord deploy mini01\n  ichord deploy --unfilled")]
pub(crate) struct Deploy {
    /// the slot, by its talconfig hostname
    #[arg(required_unless_present = "unfilled", conflicts_with = "unfilled")]
    node: Option<String>,
    /// every slot that holds no machine
    #[arg(long)]
    unfilled: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Deploy {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let by = super::somebody();
        let granted = self.socket.client().deploy(&api::Deploy { node: self.node, by }).await?;
        for node in granted.nodes {
            print(&format!("{node}: may be installed once, within a day; power it on\n"))?;
        }
        Ok(())
    }
}
