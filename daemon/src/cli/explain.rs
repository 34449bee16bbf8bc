//! `ichord explain`: every word about a machine, and what follows from them.

use anyhow::anyhow;
use clap::Args;

use super::{Failure, Socket, print};

/// Shows everything that was seen of a machine, and which node that makes it, or why none.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord explain 64:4b:f0:00:00:03\n  ichord explain mini02      whoever holds it, and whoever is in its port"
)]
pub(crate) struct Explain {
    /// a MAC address, a UUID, a serial number, or a slot
    machine: String,
    /// as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

impl Explain {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let request = api::Explain { machine: self.machine };
        let found = self.socket.client().explain(&request).await?;
        if found.is_empty() {
            let meant = request.machine;
            return Err(anyhow!(
                "no machine with the MAC address, UUID or serial number {meant} was seen, and none in a slot {meant}; \
                 `ichord ports` shows who is where"
            )
            .into());
        }
        if self.json {
            return print(&format!("{}\n", serde_json::to_string(&found)?));
        }
        print(&found.iter().map(text).collect::<Vec<_>>().join("\n"))
    }
}

fn text(found: &api::Explained) -> String {
    let holds = match &found.holds {
        Some(node) => format!("holds {node}"),
        None => "holds no slot".to_owned(),
    };
    let mut lines = vec![format!("{}: {holds}", found.machine), format!("  {}", found.verdict)];
    lines.extend(found.evidence.iter().map(|line| format!("    because {line}")));
    lines.push(if found.seen.is_empty() { "  nothing is remembered of it" } else { "  seen" }.to_owned());
    lines.extend(found.seen.iter().map(|line| format!("    {line}")));
    lines.join("\n") + "\n"
}
