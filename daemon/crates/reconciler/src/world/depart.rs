//! The steps of a node that is taken out, on the real machines and the real API server. Each may be told again.

use std::{net::IpAddr, time::Duration};

use kubernetes::{DrainError, NodeBoot, Patience};
use lifecycle::{NodeName, Task, TaskOutcome, Wiped};
use talos_api::{CallError, Client, Reset, Wipe};
use tonic::Code;

use super::{
    boot::of_boot,
    step::api_server,
    talos::{Cluster, machine_api},
};

/// How patient a drain is: most pods stop within half a minute, and what takes longer than this a person decides.
const DRAIN: Patience = Patience { poll: Duration::from_secs(2), timeout: Duration::from_secs(5 * 60) };

/// For one call; etcd's own pause over a membership change is longer than a look.
const CALL: Duration = Duration::from_secs(20);

pub(super) async fn depart(cluster: &Cluster, node: &NodeName, task: &Task) -> TaskOutcome {
    let outcome = match task {
        Task::Snapshot { address } => snapshot(cluster, node, *address).await,
        Task::Drain => drain(cluster, node).await,
        Task::Remove { address, member } => remove(cluster, *address, member).await,
        Task::Reset { address, boot_id, leaves_etcd, wiped } => {
            reset(cluster, *address, boot_id, *leaves_etcd, *wiped).await
        }
        Task::Clear { boot_id } => clear(cluster, node, boot_id.as_deref()).await,
        Task::Forget => forget(cluster, node).await,
    };
    outcome.unwrap_or_else(|reason| TaskOutcome::Failed { reason })
}

fn done(summary: impl Into<String>) -> Result<TaskOutcome, String> {
    Ok(TaskOutcome::Done { summary: summary.into() })
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

async fn client(cluster: &Cluster, address: IpAddr) -> Result<Client, String> {
    let client =
        Client::configured_once(machine_api(address), &cluster.credentials()).await.map_err(words)?;
    Ok(client.with_deadline(CALL))
}

/// etcd's data, before anything is taken from it.
async fn snapshot(cluster: &Cluster, node: &NodeName, address: IpAddr) -> Result<TaskOutcome, String> {
    if cluster.snapshots.is_none() {
        return Ok(TaskOutcome::Skipped { reason: "there is no folder for snapshots".to_owned() });
    }
    let kept = cluster.snapshot_before(&node.0, address).await?;
    done(format!("{} bytes of etcd are kept in {}", kept.size, kept.path.display()))
}

async fn drain(cluster: &Cluster, node: &NodeName) -> Result<TaskOutcome, String> {
    let skipped = |reason: String| Ok(TaskOutcome::Skipped { reason });
    let client = api_server(cluster, None)?;
    match client.ready().await {
        Ok(true) => {}
        Ok(false) => return skipped("the API server is not ready: its pods are not asked to go".to_owned()),
        Err(error) => return skipped(format!("its pods are not asked to go: {error}")),
    }
    if !client.nodes().await.map_err(words)?.iter().any(|known| known.name == node.0) {
        return skipped(format!("Kubernetes knows no node {node}"));
    }
    match client.drain(&node.0, DRAIN).await {
        Ok(gone) => done(format!("{gone} pods went elsewhere")),
        Err(error @ (DrainError::Unmanaged { .. } | DrainError::Late { .. })) => {
            Ok(TaskOutcome::Stuck { reason: error.to_string() })
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn remove(cluster: &Cluster, address: IpAddr, member: &str) -> Result<TaskOutcome, String> {
    let id = u64::from_str_radix(member, 16).map_err(|_| format!("{member} is no member of etcd"))?;
    match client(cluster, address).await?.etcd_remove_member(id).await {
        Ok(true) => done(format!("{address} took {member} out of etcd")),
        Ok(false) => done(format!("{member} was out of etcd already")),
        Err(error) => Err(error.to_string()),
    }
}

async fn reset(
    cluster: &Cluster,
    address: IpAddr,
    boot_id: &str,
    leaves_etcd: bool,
    wiped: Wiped,
) -> Result<TaskOutcome, String> {
    let client = of_boot(cluster, address, boot_id).await?.with_deadline(CALL);
    let mut told = Vec::new();
    if leaves_etcd {
        match client.etcd_forfeit_leadership().await {
            Ok(Some(leader)) => told.push(format!("{leader} leads etcd now")),
            Ok(None) => {}
            // who cannot hand it over loses it when it leaves
            Err(error) if error.code() == Code::Unimplemented => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let labels = |labels: &[&str]| Wipe::Partitions(labels.iter().map(|label| (*label).to_owned()).collect());
    let (wipe, what) = match wiped {
        Wiped::Disk => (Wipe::SystemDisk, "its system disk"),
        Wiped::State => (labels(&["STATE", "EPHEMERAL"]), "its config and its data"),
        Wiped::Data => (labels(&["EPHEMERAL"]), "its data"),
    };
    let reset = Reset { graceful: leaves_etcd, reboot: true, wipe };
    client.reset(reset).await.map_err(|error: CallError| error.to_string())?;
    told.push(format!("it was told to wipe {what}"));
    done(told.join("; "))
}

/// Kubernetes's node of the boot that is gone is deleted, which takes its pods along; one of a later boot takes pods again.
async fn clear(cluster: &Cluster, node: &NodeName, boot_id: Option<&str>) -> Result<TaskOutcome, String> {
    let client = api_server(cluster, None)?;
    match client.node_boot(&node.0).await.map_err(words)? {
        None => done(format!("Kubernetes knows no node {node}")),
        Some(NodeBoot { boot_id: told, uid, .. }) if boot_id.is_some() && told.as_deref() == boot_id => {
            client.delete_node(&node.0, &uid).await.map_err(words)?;
            done(format!("Kubernetes forgot the node {node} of the boot that is gone"))
        }
        Some(NodeBoot { schedulable: false, .. }) => {
            client.cordon(&node.0, false).await.map_err(words)?;
            done("it takes pods again")
        }
        Some(_) => done("Kubernetes knows its new boot"),
    }
}

/// Kubernetes's node where nothing of that name runs. Which boot it tells of says nothing: older Talos does not tell its
/// own in Kubernetes's words.
async fn forget(cluster: &Cluster, node: &NodeName) -> Result<TaskOutcome, String> {
    let client = api_server(cluster, None)?;
    match client.node_boot(&node.0).await.map_err(words)? {
        None => done(format!("Kubernetes knows no node {node}")),
        Some(NodeBoot { uid, .. }) => {
            client.delete_node(&node.0, &uid).await.map_err(words)?;
            done(format!("Kubernetes forgot the node {node}"))
        }
    }
}
