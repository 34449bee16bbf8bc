//! `ichord approve`: a person vouches for a machine that nobody else vouches for, or allows a disk to be overwritten.

use anyhow::anyhow;
use clap::Args;
use lifecycle::{NodeName, Order};

use super::{Failure, Socket, give, print};

/// Lets the machine that waits in maintenance mode have its control-plane config, or allows a disk of it to be
/// overwritten.
///
/// Such a config holds every key of the cluster. Where only the machine itself says in which port it is, a person
/// compares the fingerprint of its key with the one on its console. Without --fingerprint this shows the fingerprint
/// and changes nothing.
///
/// With --erase, a disk that is not empty may be overwritten. Where Talos is on it, the machine's next netboot wipes it,
/// once: each word pays for one wipe.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ichord approve mini01                         shows the fingerprint\n  ichord approve mini01 --fingerprint 3f:b0:…   this machine, and no other\n  ichord approve mini01 --erase /dev/sda         what is on that disk may go"
)]
pub(crate) struct Approve {
    /// the slot, by its talconfig hostname
    node: String,
    /// the fingerprint that the machine's console shows
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// the disk, by its path on that machine
    #[arg(long, value_name = "DISK", conflicts_with = "fingerprint")]
    erase: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

impl Approve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let client = self.socket.client();
        let node = NodeName(self.node);
        if let Some(disk) = self.erase {
            return give(&self.socket, Order::Erase { node, disk }).await;
        }
        let Some(fingerprint) = self.fingerprint else {
            let status = client.status().await?;
            let view = status.view.nodes.get(&node).ok_or_else(|| anyhow!("{node} is not in the site"))?;
            let waits = view.waiting.as_deref().unwrap_or("nothing");
            let seen = view.fingerprint.as_deref().ok_or_else(|| {
                anyhow!(
                    "{node} does not wait in maintenance mode now; it is {} and waits for: {waits}",
                    view.state
                )
            })?;
            let macs = view.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            return print(&format!(
                "{node}: {macs} waits with the key\n  {seen}\nIf its console shows the same:\n  \
                 ichord approve {node} --fingerprint {seen}\n"
            ));
        };
        give(&self.socket, Order::Vouch { node, fingerprint }).await
    }
}
