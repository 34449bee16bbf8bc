//! `lab replacement`: a control plane dies, and another machine in its port becomes the same node of the same cluster.
//!
//! etcd still counts the dead one, so ichord asks a person to remove it, and the lab does that as `talosctl` would: through
//! the machine API of one that lives. From then on it is hands off. A witness asks etcd's members all the time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::json;
use talos_api::{Client, Credentials, EtcdMember};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::plan;
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of, waits_for};

/// How many control planes there are.
const CONTROL_PLANES: usize = 3;
/// The one that dies.
const DEAD: usize = 1;
/// Between two questions of the witness.
const WITNESS: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(3);

/// Arguments of *replacement*.
#[derive(Debug, Args)]
pub(crate) struct Replacement {
    /// Kill the daemon at every point
    #[arg(long)]
    restarts: bool,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when the new machine is the node, and etcd had its quorum all the time.
pub(crate) fn run(arguments: &Replacement) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let mut spare = plan::machines(CONTROL_PLANES, 1).split_off(CONTROL_PLANES);
        spare.iter_mut().for_each(|machine| "spare".clone_into(&mut machine.name));
        let replacing = |site: &mut serde_json::Value| {
            site["replace"] = json!("same-port");
            site["timing"]["replace-after"] = json!("2s");
        };
        let plan = plan::machines(CONTROL_PLANES, 0);
        let mut story = Story::prepare(&programs, folder, plan, spare, replacing).await?;
        story.restarts = arguments.restarts;
        replaced(&mut story, folder).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

async fn replaced(story: &mut Story, folder: &Path) -> Result<()> {
    let chapter = "a control plane is replaced";
    story.begin(chapter).await?;
    story.switch_on(&[0, 1, 2]).await?;
    story.until("the cluster to be handed over", |status, _| has_come_to(status, "handed over")).await?;
    story.founded_once()?;
    let plan = story.ports.plan.clone();
    let node = plan[DEAD].name.clone();
    let credentials = credentials(story, folder).await?;
    let living = SocketAddr::new(plan[0].address.into(), talos_api::PORT);
    let client = Client::configured(living, &credentials).await?.with_deadline(ANSWER);
    let old = client.etcd_members(true).await?.into_iter().find(|member| member.hostname == node);
    let old = old.with_context(|| format!("{node} is no member before it dies"))?.id;
    let witness = Witness::begin(living, credentials);

    story.boxes.power_off(&node, &story.ports).await?;
    story.point("a control plane died").await?;
    story.boxes.blank("spare");
    story.boxes.power_on("spare", &story.ports, DEAD).await?;
    story.point("another machine is in its port").await?;
    let asks = format!("etcd on {} still counts {node}", plan[0].name);
    let asking = node.clone();
    story
        .until("ichord to say that etcd still counts it", move |status, _| {
            let said = waits_for(status, &asking);
            said.contains(&asks) && said.contains(&format!("{old:016x}")) && said.contains("must be removed")
        })
        .await?;
    ensure!(story.boxes.record("spare").calls.is_empty(), "the new machine was told something already");
    ensure!(client.etcd_remove_member(old).await?, "etcd did not know the member that it counted");
    story.point("the dead one's member is removed").await?;

    let (new, was) = (story.boxes.machine("spare")?.mac, story.boxes.machine(&node)?.mac);
    let watched = node.clone();
    story
        .until("the new machine to be the node, ready, and the old one fenced off", move |status, _| {
            let held = status.view.nodes.get(&watched.as_str().into());
            held.is_some_and(|held| held.macs.contains(&new) && !held.macs.contains(&was))
                && state_of(status, &watched) == "ready"
                && status.view.fenced.iter().any(|fenced| fenced.macs.contains(&was))
        })
        .await?;
    ensure!(story.boxes.is("spare", &plan)? == [node.as_str()], "the new machine has another config");
    // nobody was asked to found anything
    story.founded_once()?;
    let members = client.etcd_members(true).await?;
    let voters = names(members.iter().filter(|member| !member.learner));
    ensure!(
        voters == plan.iter().map(|machine| machine.name.clone()).collect::<BTreeSet<_>>(),
        "etcd's voters are {voters:?}"
    );
    ensure!(members.iter().all(|member| member.id != old), "the dead one's member is still there");
    let seen = witness.end().await?;
    judge(&seen, old)?;
    let joined = story.boxes.record("spare").joined;
    ensure!(joined == [true], "the new machine joined etcd as {joined:?}, where true is a learner");
    say(&json!({ "event": "witness", "looks": seen.len() }));
    story.end(chapter).await
}

/// In every look, more than half of the voters were alive.
fn judge(seen: &[Vec<EtcdMember>], dead: u64) -> Result<()> {
    for members in seen {
        let voters: Vec<&EtcdMember> = members.iter().filter(|member| !member.learner).collect();
        let alive = voters.iter().filter(|member| member.id != dead).count();
        ensure!(alive * 2 > voters.len(), "etcd had {alive} of {} voters: {members:?}", voters.len());
    }
    let removed = seen.iter().position(|members| members.iter().all(|member| member.id != dead));
    ensure!(removed.is_some_and(|at| at > 0), "the witness did not see the dead member go");
    Ok(())
}

fn names<'a>(members: impl Iterator<Item = &'a EtcdMember>) -> BTreeSet<String> {
    members.map(|member| member.hostname.clone()).collect()
}

/// Asks one living member all the time who the members are; ends with an error when it does not tell.
struct Witness {
    looks: mpsc::UnboundedReceiver<Vec<EtcdMember>>,
    task: JoinHandle<Result<()>>,
}

impl Witness {
    fn begin(address: SocketAddr, credentials: Credentials) -> Self {
        let (tell, looks) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let client = Client::configured(address, &credentials).await?.with_deadline(ANSWER);
            loop {
                // not its own copy alone: an answer needs a leader
                match client.etcd_members(false).await {
                    Ok(members) => {
                        if tell.send(members).is_err() {
                            return Ok(());
                        }
                    }
                    // between two leaders, for a moment
                    Err(error) => tracing::debug!(%error, "etcd did not tell its members"),
                }
                sleep(WITNESS).await;
            }
        });
        Self { looks, task }
    }

    async fn end(mut self) -> Result<Vec<Vec<EtcdMember>>> {
        let mut seen = Vec::new();
        while let Ok(look) = self.looks.try_recv() {
            seen.push(look);
        }
        if self.task.is_finished() {
            self.task.await.context("the witness fell over")??;
            bail!("the witness stopped looking");
        }
        self.task.abort();
        Ok(seen)
    }
}

/// What `ichord talosconfig` makes for a person.
async fn credentials(story: &mut Story, folder: &Path) -> Result<Credentials> {
    let path = folder.join("talosconfig");
    story.daemon()?.talosconfig(&path).await?;
    let text = std::fs::read_to_string(&path).context("there is no talosconfig")?;
    let pem = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
        let line = line.with_context(|| format!("the talosconfig has no {key}"))?;
        let bytes =
            BASE64_STANDARD.decode(line.trim_matches('"')).context("the talosconfig is not base64")?;
        String::from_utf8(bytes).context("the talosconfig holds no PEM")
    };
    Ok(Credentials::from_pem(&pem("ca")?, &pem("crt")?, &pem("key")?)?)
}
