//! Maintenance mode before Talos 1.13, which has no name of its own in its certificate: such a machine is known by what
//! its server offers (talos.md §6.7).

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::Code;

use crate::{Client, Fingerprint, Stage};

/// Whether the server with this key, which asked for no certificate of ours, is a Talos machine that waits for its
/// config: its server refuses to name its version and says why, and its state says the same. Two questions, both of
/// which change nothing; whatever else is answered, the machine is not taken for one.
pub(crate) async fn waits(address: SocketAddr, fingerprint: &Fingerprint, deadline: Instant) -> bool {
    let asked = async {
        let client = Client::maintenance(address, fingerprint).await.ok()?;
        let within = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let client = client.with_deadline(within);
        let refused = client.version().await.err()?;
        let says_why =
            refused.code() == Code::Unimplemented && refused.to_string().contains("maintenance mode");
        let stage = client.machine_status().await.ok()?.stage;
        Some(says_why && stage == Stage::Maintenance)
    };
    timeout_at(deadline, asked).await.ok().flatten().unwrap_or(false)
}
