//! What the nodes and the cluster say, for whoever decides what is next.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use kubernetes::ApplyError;
use lifecycle::Role;
use rollout::order::{Etcd, Look, Talos, Task, Told, Work};
use serde::Deserialize;
use serde_json::Value;
use talos_api::{Client, Credentials, Kind, PORT, Stage};
use talos_config::config::MachineConfig;
use tokio::task::JoinSet;

use super::{Installer, Rollout};
use crate::{
    app::Loaded,
    cli::{
        handover::client,
        running::{compared, image_of},
    },
};

/// A node that does not answer for so long counts as silent.
const ANSWER: Duration = Duration::from_secs(10);

/// Longhorn's volumes.
const VOLUMES: (&str, &str) = ("longhorn.io/v1beta2", "Volume");

const NODE_STATUSES: Kind = Kind { namespace: "k8s", name: "NodeStatuses.kubernetes.talos.dev" };

/// What is asked of a node beside how it is.
struct Question {
    control_plane: bool,
    /// the config that it should have
    wanted: Option<MachineConfig>,
    /// the image that it should run
    installer: Option<Installer>,
}

/// Looks at every node at once.
pub(super) async fn at_nodes(rollout: &Rollout<'_>, task: Task) -> anyhow::Result<BTreeMap<String, Look>> {
    let mut asked = JoinSet::new();
    let loaded = rollout.loaded;
    for (name, node) in loaded.site.plan().nodes {
        let wanted = match task {
            Task::Apply => Some(loaded.site.machine_config(&name.0, &loaded.secrets)?),
            Task::Reboot | Task::Shutdown | Task::Upgrade => None,
        };
        let (address, credentials) = (SocketAddr::new(node.address, PORT), rollout.credentials.clone());
        let control_plane = node.role == Role::ControlPlane;
        let installer = rollout.installers.get(&name.0).cloned();
        let question = Question { control_plane, wanted, installer };
        asked.spawn(async move {
            let told = tokio::time::timeout(ANSWER, tell(address, &credentials, &question)).await;
            // why it does not answer is no matter: whether it does is looked at again and again
            (name.0, Look { control_plane, told: told.ok().and_then(Result::ok) })
        });
    }
    let mut looks = BTreeMap::new();
    while let Some(ended) = asked.join_next().await {
        let (name, look) = ended?;
        looks.insert(name, look);
    }
    Ok(looks)
}

async fn tell(address: SocketAddr, credentials: &Credentials, question: &Question) -> anyhow::Result<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct NodeStatus {
        #[serde(default)]
        node_ready: bool,
    }
    let client = Client::configured(address, credentials).await?.with_deadline(ANSWER);
    let class = match &question.wanted {
        Some(wanted) => compared(&client, wanted, &[]).await?.plan.class(),
        None => None,
    };
    let talos = match &question.installer {
        Some(installer) => Some(talos(&client, installer).await?),
        None => None,
    };
    let status = client.machine_status().await?;
    let nodes = client.list(NODE_STATUSES).await.unwrap_or_default();
    let ready = nodes.first().and_then(|node| node.read::<NodeStatus>().ok()).map(|node| node.node_ready);
    let leaves = [Stage::Rebooting, Stage::ShuttingDown, Stage::Resetting, Stage::Upgrading];
    Ok(Told {
        boot: client.boot_id().await?,
        class,
        running: status.stage == Stage::Running,
        leaves: leaves.contains(&status.stage),
        settled: status.ready,
        ready,
        etcd: if question.control_plane { etcd(&client).await.ok() } else { None },
        talos,
    })
}

async fn talos(client: &Client, installer: &Installer) -> anyhow::Result<Talos> {
    let runs = image_of(client).await?;
    Ok(Talos {
        is_wanted: runs.is(&installer.image),
        boots_itself: runs.boots_itself(),
        runs: runs.to_string(),
        wanted: installer.image.to_string(),
    })
}

async fn etcd(client: &Client) -> anyhow::Result<Etcd> {
    let status = client.etcd_status().await?;
    let members = client.etcd_members(false).await?;
    Ok(Etcd {
        member: status.member_id,
        leader: status.leader,
        voters: members.iter().filter(|member| !member.learner).map(|member| member.id).collect(),
        complains: !status.errors.is_empty(),
    })
}

/// What Kubernetes tells, if it answers.
pub(super) async fn at_work(loaded: &Loaded) -> Work {
    let told = tokio::time::timeout(ANSWER, tell_work(loaded)).await;
    // why it does not answer is no matter: whether it does is looked at again and again
    told.ok().flatten().unwrap_or_default()
}

async fn tell_work(loaded: &Loaded) -> Option<Work> {
    let client = client(loaded).ok()?;
    let nodes = client.nodes().await.ok()?;
    let volumes = match client.list(VOLUMES.0, VOLUMES.1, None, "").await {
        // there is no Longhorn here
        Err(ApplyError::UnknownKind { .. }) => Vec::new(),
        volumes => volumes.ok()?,
    };
    Some(Work {
        unwell: unwell(&volumes),
        nodes: Some(nodes.into_iter().map(|node| (node.name, node.schedulable)).collect()),
    })
}

/// The volumes of Longhorn that lack replicas, as it says itself.
fn unwell(volumes: &[Value]) -> Vec<String> {
    let lacks = |volume: &&Value| {
        let status = &volume["status"];
        // of one that nobody uses nothing is known
        status["state"] == "attached"
            && ["degraded", "faulted"].iter().any(|word| status["robustness"] == *word)
    };
    let name = |volume: &Value| volume["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    volumes.iter().filter(lacks).map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn volumes_that_lack_replicas_are_those_in_use() {
        let volume = |name: &str, state: &str, robustness: &str| json!({ "metadata": { "name": name }, "status": { "state": state, "robustness": robustness } });
        let volumes = [
            volume("a", "attached", "healthy"),
            volume("b", "attached", "degraded"),
            volume("c", "attached", "faulted"),
            volume("d", "detached", "unknown"),
            volume("e", "detached", "degraded"),
            json!({ "metadata": { "name": "new" } }),
        ];
        assert_eq!(unwell(&volumes), ["b", "c"]);
    }
}
