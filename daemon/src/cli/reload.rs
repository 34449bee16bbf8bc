//! `ichord reload`: the daemon reads the site's files again.

use clap::Args;

use super::{Failure, Socket, print};

/// Goes on with the site's files as they are now, if they have no faults.
///
/// A faulty edit is refused with its faults, and the daemon keeps the site it has.
#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    socket: Socket,
}

impl Reload {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let reloaded = self.socket.client().reload().await?;
        for warning in reloaded.warnings {
            eprintln!("{warning}");
        }
        print(&format!("{} is in force\n", reloaded.site.display()))
    }
}
