//! A rollout's effects: the nodes and the cluster are looked at, the record is kept, and what `rollout::order` has decided is done.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context as _, anyhow};
use kubernetes::{ApplyError, DrainError, Patience, RequestError};
use lifecycle::Role;
use rollout::{
    Class, NEVER_REBOOTS,
    order::{Etcd, Look, Next, Record, Task, Told, Work, next},
    versions::Minor,
};
use serde::Deserialize;
use serde_json::Value;
use talos_api::{ApplyMode, Client, Credentials, Kind, PORT, RebootMode, ShutdownMode, Stage};
use talos_config::config::MachineConfig;
use tokio::task::JoinSet;

use super::{
    Failure,
    book::Book,
    credentials::now,
    handover::{claim, client},
    print,
    running::compared,
};
use crate::app::Loaded;

/// Between two looks at the nodes.
const PAUSE: Duration = Duration::from_secs(1);

/// A node that does not answer for so long counts as silent.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a node's pods may take to go elsewhere.
const DRAIN: Patience = Patience { poll: Duration::from_secs(2), timeout: Duration::from_secs(600) };

/// Longhorn's volumes.
const VOLUMES: (&str, &str) = ("longhorn.io/v1beta2", "Volume");

const NODE_STATUSES: Kind = Kind { namespace: "k8s", name: "NodeStatuses.kubernetes.talos.dev" };

/// Until all is done or a person has to look.
pub(crate) async fn go(
    loaded: &Loaded,
    credentials: &Credentials,
    book: &Book,
    mut record: Record,
    command: &str,
) -> Result<(), Failure> {
    let mut waiting = String::new();
    loop {
        let (looks, work) = tokio::join!(look(loaded, credentials), work(loaded));
        match next(&record, &looks?, &work, now_ms()) {
            Next::Begin(current) => {
                let line = format!("{}: begins\n", current.node);
                record.begin(current, now_ms());
                book.write(&record)?;
                print(&line)?;
            }
            Next::Apply(node) => {
                record.ask(true, now_ms());
                book.write(&record)?;
                print(&format!("{node}: is given its config\n"))?;
                if let Err(error) = give(loaded, credentials, &node).await {
                    print(&format!("{node}: {error:#}\n"))?;
                }
            }
            Next::Reboot(node) => {
                record.ask(false, now_ms());
                book.write(&record)?;
                print(&format!("{node}: is told to boot again\n"))?;
                if let Err(error) = boot_again(loaded, credentials, &node).await {
                    print(&format!("{node}: {error:#}\n"))?;
                }
            }
            Next::Shutdown(node) => {
                record.ask(false, now_ms());
                book.write(&record)?;
                print(&format!("{node}: is told to go down\n"))?;
                if let Err(error) = go_down(loaded, credentials, &node).await {
                    print(&format!("{node}: {error:#}\n"))?;
                }
            }
            Next::Drain(node) => {
                print(&format!("{node}: its pods are moved elsewhere\n"))?;
                match empty(loaded, &node, command).await {
                    Ok(count) => {
                        record.emptied(now_ms());
                        book.write(&record)?;
                        print(&format!("{node}: {count} pods have gone\n"))?;
                    }
                    Err(error) if transient(&error) => {
                        print(&format!("{node}: {error}\n"))?;
                        tokio::time::sleep(PAUSE).await;
                    }
                    Err(error) => return Err(undecided(&node, &error, command)),
                }
            }
            Next::Uncordon(node) => {
                match open(loaded, &node, command).await {
                    Ok(()) => print(&format!("{node}: pods may come to it again\n"))?,
                    Err(error) => print(&format!("{node}: {error}\n"))?,
                }
                tokio::time::sleep(PAUSE).await;
            }
            Next::Finished(node) => {
                record.finish(now_ms());
                book.write(&record)?;
                print(&format!("{node}: {}\n", done(record.task)))?;
            }
            Next::Wait(reason) => {
                if reason != waiting {
                    print(&format!("waiting: {reason}\n"))?;
                    waiting = reason;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Next::Done => {
                book.forget()?;
                return match record.task {
                    Task::Apply => print("every node has what the site wants\n"),
                    Task::Reboot | Task::Shutdown => Ok(()),
                };
            }
            Next::Stop(reason) => {
                // with nobody in the middle of it there is nothing to go on with
                if record.current.is_none() {
                    book.forget()?;
                }
                return Err(anyhow!(reason).into());
            }
        }
    }
}

/// Looks at every node at once.
async fn look(loaded: &Loaded, credentials: &Credentials) -> anyhow::Result<BTreeMap<String, Look>> {
    let mut asked = JoinSet::new();
    for (name, node) in loaded.site.plan().nodes {
        let wanted = loaded.site.machine_config(&name.0, &loaded.secrets)?;
        let (address, credentials) = (SocketAddr::new(node.address, PORT), credentials.clone());
        let control_plane = node.role == Role::ControlPlane;
        asked.spawn(async move {
            let told =
                tokio::time::timeout(ANSWER, tell(address, &credentials, &wanted, control_plane)).await;
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

async fn tell(
    address: SocketAddr,
    credentials: &Credentials,
    wanted: &MachineConfig,
    control_plane: bool,
) -> anyhow::Result<Told> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct NodeStatus {
        #[serde(default)]
        node_ready: bool,
    }
    let client = Client::configured(address, credentials).await?.with_deadline(ANSWER);
    let running = compared(&client, wanted, &[]).await?;
    let status = client.machine_status().await?;
    let nodes = client.list(NODE_STATUSES).await.unwrap_or_default();
    let ready = nodes.first().and_then(|node| node.read::<NodeStatus>().ok()).map(|node| node.node_ready);
    let never = Minor::parse(&running.talos).is_none_or(|talos| talos >= NEVER_REBOOTS);
    Ok(Told {
        boot: client.boot_id().await?,
        class: running.plan.class(),
        reboots_itself: running.plan.class() == Some(Class::Reboot) && !never,
        running: status.stage == Stage::Running,
        settled: status.ready,
        ready,
        etcd: if control_plane { etcd(&client).await.ok() } else { None },
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

async fn give(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<()> {
    let config = loaded.site.machine_config(node, &loaded.secrets)?.to_yaml()?;
    let client = connected(loaded, credentials, node).await?;
    for warning in client.apply_configuration(&config, ApplyMode::Auto, false).await?.warnings {
        eprintln!("{node}: {warning}");
    }
    Ok(())
}

async fn boot_again(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<()> {
    Ok(connected(loaded, credentials, node).await?.reboot(RebootMode::Default).await?)
}

async fn go_down(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<()> {
    Ok(connected(loaded, credentials, node).await?.shutdown(ShutdownMode::Drain).await?)
}

/// What a node that is finished has gone through.
fn done(task: Task) -> &'static str {
    match task {
        Task::Apply => "has what the site wants",
        Task::Reboot | Task::Shutdown => "is back",
    }
}

/// What Kubernetes tells, if it answers.
async fn work(loaded: &Loaded) -> Work {
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

/// Keeps new pods off the node and moves the others elsewhere.
async fn empty(loaded: &Loaded, node: &str, command: &str) -> Result<usize, DrainError> {
    let client = own_client(loaded, command)?;
    let emptied = client.drain(node, DRAIN).await;
    // it ends by itself otherwise
    client.give_back().await.ok();
    emptied
}

async fn open(loaded: &Loaded, node: &str, command: &str) -> Result<(), DrainError> {
    let client = own_client(loaded, command)?;
    let opened = client.cordon(node, false).await;
    client.give_back().await.ok();
    Ok(opened?)
}

/// The client with which something is written while nobody else does.
fn own_client(loaded: &Loaded, command: &str) -> Result<kubernetes::Client, DrainError> {
    let endpoint = loaded.site.cluster().endpoint.clone();
    let unusable =
        |_| RequestError::Unreachable { endpoint, detail: "no client can be made for it".to_owned() };
    Ok(client(loaded).map_err(unusable)?.alone(claim(command)))
}

fn transient(error: &DrainError) -> bool {
    matches!(error, DrainError::Ask(error) if error.transient())
}

/// A drain that does not end is a person's to decide.
fn undecided(node: &str, error: &DrainError, command: &str) -> Failure {
    anyhow!(
        "{node} is not emptied: {error}\n  it keeps new pods off, and has not been told to boot or go down; see to these pods and give \
         `ichord {command}` again, or give it with --without-drain, or let pods on it again with `kubectl uncordon {node}`"
    )
    .into()
}

async fn connected(loaded: &Loaded, credentials: &Credentials, node: &str) -> anyhow::Result<Client> {
    let plan = loaded.site.plan();
    let planned = plan.nodes.get(&node.into()).with_context(|| format!("{node} is not in the site"))?;
    Ok(Client::configured(SocketAddr::new(planned.address, PORT), credentials).await?)
}

pub(crate) fn now_ms() -> u64 {
    now() * 1000
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

    #[test]
    fn a_drain_that_does_not_end_says_what_a_person_can_do() {
        let error =
            DrainError::Unmanaged { node: "mini03".to_owned(), pods: vec![("a".to_owned(), "b".to_owned())] };
        assert!(!transient(&error));
        let Failure::Other(told) = undecided("mini03", &error, "maintain") else { panic!("it is a failure") };
        let told = told.to_string();
        for said in ["a/b", "`ichord maintain` again", "--without-drain", "kubectl uncordon mini03"] {
            assert!(told.contains(said), "{told}");
        }
    }
}
