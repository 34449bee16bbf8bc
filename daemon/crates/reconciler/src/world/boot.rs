//! What counts for one boot of one machine, and is told on a connection that proved to be of it: a stranger with our CA that
//! took the address since the last look is told nothing.

use std::net::IpAddr;

use lifecycle::BootstrapOutcome;
use talos_api::{CallError, Client};
use tonic::Code;

use super::talos::{Cluster, machine_api};

/// A connection to the machine that runs in this boot.
///
/// # Errors
/// In words; nothing was asked of anybody then.
pub(super) async fn of_boot(cluster: &Cluster, address: IpAddr, boot_id: &str) -> Result<Client, String> {
    let client = Client::configured_once(machine_api(address), &cluster.credentials()).await;
    let client = client.map_err(|error| error.to_string())?;
    match client.boot_id().await {
        Ok(Some(answers)) if answers == boot_id => Ok(client),
        Ok(_) => Err(format!("{address} is another machine than the one looked at, or booted again since")),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether etcd begins there. What may have happened is asked of no other machine.
pub(super) fn begun(answer: Result<(), CallError>) -> BootstrapOutcome {
    let error = match answer {
        Ok(()) => return BootstrapOutcome::Accepted,
        Err(error) if error.is_already_exists() => return BootstrapOutcome::Accepted,
        Err(error) => error,
    };
    let reason = error.to_string();
    match error.code() {
        Code::FailedPrecondition | Code::PermissionDenied | Code::Unimplemented | Code::InvalidArgument => {
            BootstrapOutcome::NotYet { reason }
        }
        _ => BootstrapOutcome::Unknown { reason },
    }
}
