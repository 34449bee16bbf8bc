//! `ichord events`: the journal.

use clap::Args;
use futures_util::StreamExt as _;

use super::{Failure, Socket, print};

/// Shows every decision with its evidence, oldest first.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// go on as decisions are made
    #[arg(long, short)]
    follow: bool,
    /// begin at this place of the journal
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    from: u64,
    /// one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Events {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut events = Box::pin(self.socket.client().events(self.from, self.follow).await?);
        while let Some(event) = events.next().await {
            let event = event?;
            if self.json {
                print(&format!("{}\n", serde_json::to_string(&event)?))?;
                continue;
            }
            let at = i64::try_from(event.at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
            let at = at.map(|at| format!("{at:.3}")).unwrap_or_default();
            print(&format!("{at}  {:<16} {}\n", event.subject, event.what))?;
            for line in event.evidence {
                print(&format!("{:>44} {line}\n", "·"))?;
            }
        }
        Ok(())
    }
}
