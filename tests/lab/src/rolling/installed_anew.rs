//! A control plane is installed anew by `ichord reprovision`, the daemon killed at each step of it: it is the same node again, with
//! another member of etcd and another node in Kubernetes, and no other machine is touched. Where etcd would lose its quorum by it,
//! nothing is begun.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kubernetes::Client as Kubernetes;
use serde_json::{Value, json};
use talos_api::{Client, Credentials, EtcdMember, Kind};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{called, names};
use crate::access;
use crate::plan::{Machine, VIRTUAL_ADDRESS};
use crate::story::{Story, say, state_of};
use crate::witness::credentials;

const ADDRESSES: Kind = Kind { namespace: "network", name: "NodeAddresses.net.talos.dev" };
/// Between two questions of the witness.
const WITNESS: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(3);
/// What the journal says of it, in this order.
const STEPS: [&str; 4] = [
    "a snapshot of etcd is kept first",
    "its pods go elsewhere",
    "it is told to forget what it is",
    "Kubernetes forgets the boot that is gone",
];

pub(super) async fn installed_anew(story: &mut Story, folder: &Path) -> Result<()> {
    let names = names(story);
    let credentials = credentials(story, folder).await?;
    let (taken, other) = chosen(&story.ports.plan, &credentials).await?;
    let name = taken.name.clone();
    let old = member(&other, &credentials, &name).await?.context("it is no member of etcd")?;
    let (before, journal) = (story.boxes.records().clone(), story.daemon()?.journal().await?.len());
    let resets = called(&story.boxes, &names, "Reset");
    let witness = Witness::begin(access::kubernetes(story, folder).await?, name.clone());

    story.daemon()?.tell(&["reprovision", &name]).await?;
    // somebody who is not sure says it again
    match story.daemon()?.tell(&["reprovision", &name]).await {
        Ok(said) => bail!("it is begun twice: {said}"),
        Err(error) => ensure!(format!("{error:#}").contains("is being taken out already"), "{error:#}"),
    }
    let installs = before.get(&name).map_or(0, |seen| seen.counted.installs);
    let mut steps = BTreeSet::new();
    loop {
        let (of, known, fresh) = (name.clone(), steps.clone(), Mutex::new(None));
        story
            .until("the next step of a node that is installed anew", |status, boxes| {
                let node = status.view.nodes.get(&of.as_str().into());
                let step = node.and_then(|node| node.leaving.clone());
                let step = step.map(|step| step.split(": ").next().unwrap_or_default().to_owned());
                let is_back = step.is_none()
                    && state_of(status, &of) == "ready"
                    && boxes.record(&of).counted.installs == installs + 1;
                let is_new = step.as_ref().is_some_and(|step| !known.contains(step));
                if is_new {
                    *fresh.lock().unwrap_or_else(PoisonError::into_inner) = step;
                }
                is_new || is_back
            })
            .await?;
        let Some(step) = fresh.into_inner().unwrap_or_else(PoisonError::into_inner) else { break };
        story.point(&step).await?;
        steps.insert(step);
    }

    let said: Vec<String> =
        story.daemon()?.journal().await?.into_iter().skip(journal).map(|(what, _)| what).collect();
    let mut rest = said.iter();
    for step in STEPS {
        ensure!(rest.any(|what| what.ends_with(step)), "{step:?} is not in its place: {said:#?}");
    }
    let new = member(&other, &credentials, &name).await?.context("it is no member of etcd any more")?;
    ensure!(new.id != old.id && !new.learner, "its member of etcd is {new:?}, and was {old:?}");
    ensure!(story.boxes.is(&name, &story.ports.plan)? == [name.as_str()], "it has another config");
    ensure!(story.boxes.record(&name).joined.last() == Some(&true), "it did not join etcd as a learner");
    witness.end().await?;
    let now = called(&story.boxes, &names, "Reset");
    for (box_name, seen) in story.boxes.records() {
        let was = before.get(box_name).cloned().unwrap_or_default();
        let (wipes, told) = (seen.wipes - was.wipes, now[box_name] - resets[box_name]);
        if *box_name == name {
            // a daemon that died meanwhile tells it again, or wipes it by its next boot
            ensure!(
                (1..=2).contains(&wipes) && (story.restarts || wipes == 1),
                "{name} was wiped {wipes} times"
            );
            ensure!((1..=2).contains(&told) && (story.restarts || told == 1), "{name} was told {told} times");
        } else {
            ensure!(
                wipes == 0 && told == 0 && seen.counted.installs == was.counted.installs,
                "{box_name} was touched as well"
            );
        }
    }
    let forfeits = story.calls("EtcdForfeitLeadership");
    ensure!(forfeits.iter().any(|(of, _)| *of == name), "it did not hand over etcd's lead: {forfeits:?}");
    let state = story.daemon()?.state()?;
    let mut kept = std::fs::read_dir(state.join("snapshots")).context("no snapshot was kept")?;
    let is_of_it = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().contains("-before-"))
    };
    ensure!(kept.any(is_of_it), "no snapshot was kept");
    say(&json!({ "event": "installed-anew", "node": name, "steps": steps }));
    Ok(())
}

/// One or two control planes are all: etcd cannot spare either.
pub(super) async fn few(story: &mut Story) -> Result<()> {
    let names = names(story);
    let before = story.boxes.records().clone();
    for name in &names {
        for command in ["reprovision", "reset"] {
            match story.daemon()?.tell(&[command, name]).await {
                Ok(said) => bail!("`ichord {command} {name}` is not refused: {said}"),
                Err(error) => {
                    let error = format!("{error:#}");
                    ensure!(error.contains("voter"), "`ichord {command} {name}` says {error}");
                    say(&json!({ "event": "refused", "because": error }));
                }
            }
        }
    }
    for (name, seen) in story.boxes.records() {
        let was = before.get(name).cloned().unwrap_or_default();
        ensure!(seen.calls == was.calls, "{name} was told something: {:?}", seen.calls);
    }
    Ok(())
}

/// A control plane that has not the shared address, behind which each simulated one has a Kubernetes of its own, and another one.
async fn chosen(plan: &[Machine], credentials: &Credentials) -> Result<(Machine, Machine)> {
    let planes: Vec<&Machine> = plan.iter().filter(|machine| machine.control_plane).collect();
    for machine in &planes {
        let client = client(machine, credentials).await?;
        let lists = client.list(ADDRESSES).await?;
        let has = lists.iter().any(|list| {
            list.read::<Value>().is_ok_and(|spec| spec.to_string().contains(&format!("{VIRTUAL_ADDRESS}/")))
        });
        let other = planes.iter().find(|other| other.name != machine.name);
        if let (false, Some(other)) = (has, other) {
            return Ok(((*machine).clone(), (*other).clone()));
        }
    }
    bail!("every control plane has the shared address")
}

async fn client(machine: &Machine, credentials: &Credentials) -> Result<Client> {
    let address = SocketAddr::new(machine.address.into(), talos_api::PORT);
    Ok(Client::configured(address, credentials).await?.with_deadline(ANSWER))
}

/// Its member of etcd, as another control plane tells it.
async fn member(by: &Machine, credentials: &Credentials, name: &str) -> Result<Option<EtcdMember>> {
    let members = client(by, credentials).await?.etcd_members(false).await?;
    Ok(members.into_iter().find(|member| member.hostname == name))
}

/// What Kubernetes says of a node: its uid, the boot it is of, and whether pods may come.
type Look = (String, String, bool);

/// Looks at a node in Kubernetes all the time.
struct Witness {
    client: Kubernetes,
    node: String,
    looks: Arc<Mutex<Vec<Look>>>,
    task: JoinHandle<()>,
}

impl Witness {
    fn begin(client: Kubernetes, node: String) -> Self {
        let looks = Arc::<Mutex<Vec<Look>>>::default();
        let (seen, asked, of) = (Arc::clone(&looks), client.clone(), node.clone());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(Some(look)) = look(&asked, &of).await {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen.last() != Some(&look) {
                        seen.push(look);
                    }
                }
                sleep(WITNESS).await;
            }
        });
        Self { client, node, looks, task }
    }

    /// It was kept empty, went with its boot, and another one of a later boot takes pods.
    async fn end(self) -> Result<()> {
        self.task.abort();
        let last = look(&self.client, &self.node).await?.context("Kubernetes does not know it any more")?;
        let seen = self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = seen.first().context("Kubernetes did not know it")?.clone();
        let emptied = seen.iter().any(|(uid, _, may_come)| *uid == first.0 && !may_come);
        ensure!(emptied, "pods could come to it all the time: {seen:?}");
        ensure!(last.0 != first.0 && last.1 != first.1, "its stale node is still there: {seen:?}");
        ensure!(last.2, "pods may not come to it: {last:?}");
        Ok(())
    }
}

async fn look(client: &Kubernetes, name: &str) -> Result<Option<Look>> {
    let nodes = client.list("v1", "Node", None, "").await?;
    let node = nodes.iter().find(|node| node["metadata"]["name"] == name);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(node.map(|node| {
        let boot = text(&node["status"]["nodeInfo"]["bootID"]);
        (text(&node["metadata"]["uid"]), boot, node["spec"]["unschedulable"] != true)
    }))
}
