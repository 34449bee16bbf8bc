//! etcd from a snapshot, on the one node that was stored for it.

use std::{net::IpAddr, path::Path, time::Duration};

use lifecycle::BootstrapOutcome;
use talos_api::Client;

use super::{
    boot::{begun, of_boot},
    snapshots::opened,
    talos::Cluster,
};

/// For the whole upload, and the call after it.
const UPLOAD: Duration = Duration::from_secs(10 * 60);

pub(super) async fn recover(
    cluster: &Cluster,
    address: IpAddr,
    boot_id: &str,
    snapshot: &str,
) -> BootstrapOutcome {
    match handed_over(cluster, address, boot_id, snapshot).await {
        Ok(client) => begun(client.bootstrap_recovered(false).await),
        // a file that lies on the machine is nothing that happened
        Err(reason) => BootstrapOutcome::NotYet { reason },
    }
}

async fn handed_over(
    cluster: &Cluster,
    address: IpAddr,
    boot_id: &str,
    snapshot: &str,
) -> Result<Client, String> {
    let file = opened(Path::new(snapshot), cluster.secrets.cluster_secret.expose().as_bytes()).await?;
    let client = of_boot(cluster, address, boot_id).await?.with_deadline(UPLOAD);
    client.etcd_recover(file).await.map_err(|error| error.to_string())?;
    Ok(client)
}
