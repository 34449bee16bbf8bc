//! etcd from a snapshot, on the one node that was stored for it.

use std::{net::IpAddr, path::Path, time::Duration};

use lifecycle::BootstrapOutcome;
use talos_api::Client;
use tonic::Code;

use super::{
    snapshots::opened,
    talos::{Cluster, machine_api},
};

/// For the whole upload, and the call after it.
const UPLOAD: Duration = Duration::from_secs(10 * 60);

pub(super) async fn recover(
    cluster: &Cluster,
    address: IpAddr,
    boot_id: &str,
    snapshot: &str,
) -> BootstrapOutcome {
    let client = match handed_over(cluster, address, boot_id, snapshot).await {
        Ok(client) => client,
        // a file that lies on the machine is nothing that happened
        Err(reason) => return BootstrapOutcome::NotYet { reason },
    };
    match client.bootstrap_recovered(false).await {
        Ok(()) => BootstrapOutcome::Accepted,
        Err(error) if error.is_already_exists() => BootstrapOutcome::Accepted,
        Err(error) => match error.code() {
            Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::InvalidArgument => BootstrapOutcome::NotYet { reason: error.to_string() },
            _ => BootstrapOutcome::Unknown { reason: error.to_string() },
        },
    }
}

/// On the connection that proved to be of this boot, as with any bootstrap.
async fn handed_over(
    cluster: &Cluster,
    address: IpAddr,
    boot_id: &str,
    snapshot: &str,
) -> Result<Client, String> {
    let file = opened(Path::new(snapshot), cluster.secrets.cluster_secret.expose().as_bytes()).await?;
    let client = Client::configured_once(machine_api(address), &cluster.credentials()).await;
    let client = client.map_err(|error| error.to_string())?.with_deadline(UPLOAD);
    if client.boot_id().await.map_err(|error| error.to_string())?.as_deref() != Some(boot_id) {
        return Err(format!("{address} is another machine than the one looked at, or booted again since"));
    }
    client.etcd_recover(file).await.map_err(|error| error.to_string())?;
    Ok(client)
}
