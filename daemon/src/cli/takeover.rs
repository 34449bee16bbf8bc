//! `ichord takeover`: a cluster that runs already, or whose daemon lost its memory.

use anyhow::anyhow;
use clap::Args;

use super::{Failure, Socket, print, whoever_asks};

/// Takes a running cluster over as it is: nothing is installed, founded or written.
///
/// Every node is asked at its address, and everybody at an address that was leased. Who answers with the site's own CA, under the
/// name of a node, in its role, gets that node's slot; the hand-over's steps are looked at, and count as done where they are. When
/// anything does not fit the site nothing changes, and each reason is told. The same brings back a daemon whose state
/// directory was lost or is an old backup. Nodes that do not answer stay vacant: give the command again when they do.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord takeover --look     say what is found, and change nothing\n  ichord takeover"
)]
pub(crate) struct Takeover {
    /// only say what is found, and what would be done
    #[arg(long)]
    look: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Takeover {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let request = api::TakeOver { only_look: self.look, by: whoever_asks() };
        let taken = self.socket.client().take_over(&request).await?;
        let mut text = String::new();
        for (name, found) in &taken.found {
            text += &format!("{name}: {found}\n");
        }
        if let Some(done) = &taken.done {
            text += &format!("\n{}{done}\n", if self.look { "would be done: " } else { "" });
        }
        print(&text)?;
        match taken.refused {
            Some(reason) => Err(anyhow!(reason).into()),
            None => Ok(()),
        }
    }
}
