//! `lab replacement`: control planes die one after the other, and another machine in the dead one's port becomes the same
//! node of the same cluster each time, hands off: nobody says a word.
//!
//! etcd counts the dead one, so ichord keeps a snapshot, has the others take its member out, and only then lets the new
//! machine in. A witness asks etcd's members all the time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use talos_api::{Client, Credentials, EtcdMember};

use crate::plan;
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of};
use crate::witness::{ANSWER, Witness, credentials, names};

/// How many control planes there are.
const CONTROL_PLANES: usize = 3;

/// Arguments of *replacement*.
#[derive(Debug, Args)]
pub(crate) struct Replacement {
    /// How often a control plane is replaced
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Kill the daemon at every point
    #[arg(long)]
    restarts: bool,
    /// A real etcd runs behind every control plane; needs what `cargo run -p oracles -- etcd` builds
    #[arg(long)]
    real_etcd: bool,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when each new machine is the node of its port, and etcd had its quorum all the time.
pub(crate) fn run(arguments: &Replacement) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    let programs = if arguments.real_etcd { programs.with_real_etcd()? } else { programs };
    space::tell(async |folder| {
        let mut spares = plan::machines(CONTROL_PLANES, arguments.rounds).split_off(CONTROL_PLANES);
        for (round, machine) in spares.iter_mut().enumerate() {
            machine.name = format!("spare-{round}");
        }
        let replacing = |site: &mut serde_json::Value| {
            site["replace"] = json!("same-port");
            site["replacements-per-day"] = json!(200);
            site["timing"]["replace-after"] = json!("2s");
        };
        let plan = plan::machines(CONTROL_PLANES, 0);
        let mut story = Story::prepare(&programs, folder, plan, spares, replacing).await?;
        story.restarts = arguments.restarts;
        replaced(&mut story, folder, arguments.rounds).await?;
        say(&json!({ "event": "summary", "passed": true, "rounds": arguments.rounds }));
        Ok(true)
    })
}

async fn replaced(story: &mut Story, folder: &Path, rounds: usize) -> Result<()> {
    let chapter = "control planes are replaced";
    story.begin(chapter).await?;
    story.switch_on(&[0, 1, 2]).await?;
    let all: Vec<String> = story.ports.plan.iter().map(|machine| machine.name.clone()).collect();
    let ready = all.clone();
    story
        .until("the cluster to be handed over, every node ready", move |status, _| {
            has_come_to(status, "handed over") && ready.iter().all(|name| state_of(status, name) == "ready")
        })
        .await?;
    story.founded_once()?;
    let credentials = credentials(story, folder).await?;
    // which box is in which port
    let mut boxes = all.clone();
    for round in 0..rounds {
        // the founder is one of them
        let port = (round + 1) % CONTROL_PLANES;
        let dead = boxes[port].clone();
        let new = format!("spare-{round}");
        exchange(story, &credentials, port, &dead, &new)
            .await
            .with_context(|| format!("in round {round}"))?;
        boxes[port] = new;
    }
    story.founded_once()?;
    let kept = std::fs::read_dir(folder.join("state-control-planes-are-replaced/snapshots"))
        .context("no snapshot was kept")?
        .filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains("-before-"))
        })
        .count();
    ensure!((1..=10).contains(&kept), "{kept} snapshots are kept");
    story.end(chapter).await
}

/// One control plane dies, and another machine is plugged into its port.
async fn exchange(
    story: &mut Story,
    credentials: &Credentials,
    port: usize,
    dead: &str,
    new: &str,
) -> Result<()> {
    let plan = story.ports.plan.clone();
    let node = plan[port].name.clone();
    let living = SocketAddr::new(plan[(port + 1) % CONTROL_PLANES].address.into(), talos_api::PORT);
    let client = Client::configured(living, credentials).await?.with_deadline(ANSWER);
    let old = client.etcd_members(true).await?.into_iter().find(|member| member.hostname == node);
    let old = old.with_context(|| format!("{node} is no member before it dies"))?.id;
    let witness = Witness::begin(living, credentials.clone());

    story.boxes.power_off(dead, &story.ports).await?;
    story.point("a control plane died").await?;
    story.boxes.blank(new);
    story.boxes.power_on(new, &story.ports, port).await?;
    story.point("another machine is in its port").await?;

    let (mac, was) = (story.boxes.machine(new)?.mac, story.boxes.machine(dead)?.mac);
    let (watched, all) = (node.clone(), plan.clone());
    story
        .until("the new machine to be the node, ready, and the old one fenced off", move |status, _| {
            let held = status.view.nodes.get(&watched.as_str().into());
            held.is_some_and(|held| {
                held.macs.contains(&mac) && !held.macs.contains(&was) && held.leaving.is_none()
            }) && all.iter().all(|machine| state_of(status, &machine.name) == "ready")
                && status.view.fenced.iter().any(|fenced| fenced.macs.contains(&was))
        })
        .await?;
    ensure!(story.boxes.is(new, &plan)? == [node.as_str()], "the new machine has another config");
    let members = client.etcd_members(true).await?;
    let voters = names(members.iter().filter(|member| !member.learner));
    ensure!(
        voters == plan.iter().map(|machine| machine.name.clone()).collect::<BTreeSet<_>>(),
        "etcd's voters are {voters:?}"
    );
    ensure!(members.iter().all(|member| member.id != old), "the dead one's member is still there");
    let seen = witness.end().await?;
    judge(&seen, old)?;
    let joined = story.boxes.record(new).joined;
    ensure!(joined == [true], "the new machine joined etcd as {joined:?}, where true is a learner");
    for (name, seen) in story.boxes.records() {
        ensure!(seen.counted.installs <= 1, "{name} was installed again");
    }
    say(&json!({ "event": "replaced", "node": node, "by": new, "witness-looks": seen.len() }));
    Ok(())
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
