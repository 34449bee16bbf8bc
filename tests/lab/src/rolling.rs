//! `lab rolling`: what is done to a cluster of three control planes and two workers, one node at a time, by commands that are killed
//! after every step and given again, the daemon killed with them: a changed label, maintenance, another version of Talos and of
//! Kubernetes, a node reset and one installed anew. What must not be done changes nothing.

mod booting;
mod installed_anew;
mod killed;
mod kubernetes;
mod label;
mod maintenance;
mod taken_out;
mod upgrade;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::boxes::Boxes;
use crate::daemon::Ended;
use crate::plan;
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of};

const CONTROL_PLANES: usize = 3;
const WORKERS: usize = 2;

/// Arguments of *rolling*.
#[derive(Debug, Args)]
pub(crate) struct Rolling {
    /// Kill the daemon, too, whenever the command is killed
    #[arg(long)]
    restarts: bool,
    /// Talos of before LifecycleService, whose machines are told to upgrade themselves
    #[arg(long)]
    elder: bool,
    /// Only so many control planes, whose etcd cannot spare any
    #[arg(long, value_name = "CONTROL-PLANES", conflicts_with = "elder")]
    few: Option<usize>,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when everything has come to every node, and nothing else has happened to it.
pub(crate) fn run(arguments: &Rolling) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let plan = match arguments.few {
            Some(count) => plan::machines(count, 0),
            None => plan::machines(CONTROL_PLANES, WORKERS),
        };
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), |_| {}).await?;
        story.restarts = arguments.restarts;
        let versions = upgrade::versions(arguments.elder);
        // after an upgrade to this one they go back to the one before
        story.boxes.are(&["--doomed", versions.doomed, "--doomed", kubernetes::DOOMED]);
        upgrade::begin_with(story.site(), versions.first, versions.kubernetes)?;
        let chapter = "what is done to a running cluster";
        founded(&mut story, chapter).await?;
        if arguments.few.is_some() {
            installed_anew::few(&mut story).await?;
        } else if arguments.elder {
            upgrade::upgraded(&mut story, folder, &versions).await?;
        } else {
            label::rolled(&mut story, folder).await?;
            booting::rolled(&mut story, folder).await?;
            maintenance::maintained(&mut story, folder).await?;
            upgrade::upgraded(&mut story, folder, &versions).await?;
            kubernetes::upgraded(&mut story, folder).await?;
            taken_out::taken_out(&mut story).await?;
            installed_anew::installed_anew(&mut story, folder).await?;
        }
        story.founded_once()?;
        story.end(chapter).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

/// A cluster that is handed over.
async fn founded(story: &mut Story, chapter: &str) -> Result<()> {
    story.begin(chapter).await?;
    story.switch_on(&(0..story.ports.plan.len()).collect::<Vec<_>>()).await?;
    let names = names(story);
    story
        .until("the cluster to be handed over, and every node to be ready", move |status, _| {
            has_come_to(status, "handed over") && names.iter().all(|name| state_of(status, name) == "ready")
        })
        .await
}

/// The nodes, control planes first.
fn names(story: &Story) -> Vec<String> {
    story.ports.plan.iter().map(|machine| machine.name.clone()).collect()
}

/// How often each box was called by this name, by its own record.
fn called(boxes: &Boxes, names: &[String], call: &str) -> BTreeMap<String, usize> {
    let count = |name: &String| boxes.record(name).calls.iter().filter(|made| *made == call).count();
    names.iter().map(|name| (name.clone(), count(name))).collect()
}

/// A command that does not do what it must not, and says why; nothing changes on any box.
async fn refused(
    story: &mut Story,
    record: Option<&Path>,
    command: &[&str],
    more: &[&str],
    because: &str,
) -> Result<()> {
    let changes = |story: &Story| -> BTreeMap<String, Vec<String>> {
        names(story).into_iter().map(|name| (name.clone(), story.boxes.record(&name).calls)).collect()
    };
    let before = changes(story);
    let ended = story.daemon()?.roll(command, record, more, &mut |_| false).await?;
    let Ended::ByItself { code: Some(1), complaint } = &ended else {
        anyhow::bail!("`ichord {} {}` was not refused: {ended:?}", command.join(" "), more.join(" "))
    };
    ensure!(complaint.contains(because), "`ichord {}` says {complaint}", command.join(" "));
    ensure!(changes(story) == before, "something was changed, although it was refused: {complaint}");
    say(&json!({ "event": "refused", "because": complaint.trim() }));
    Ok(())
}

/// Every node is done with after the one before, control planes first.
fn in_order(steps: &[String], names: &[String], done: &str) -> Result<()> {
    let finished: Vec<&str> = steps
        .iter()
        .filter_map(|line| line.split_once(": ").filter(|(_, what)| what.starts_with(done)))
        .map(|(name, _)| name)
        .collect();
    let mut sorted = finished.clone();
    sorted.sort_by_key(|name| !name.contains("-cp-"));
    ensure!(
        sorted == finished && finished.len() == names.len(),
        "the nodes came in this order: {finished:?}"
    );
    let mut current = None;
    for step in steps {
        let Some((name, what)) = step.split_once(": ") else { continue };
        if what == "begins" {
            ensure!(current.is_none(), "{name} begins while {current:?} is not back");
            current = Some(name);
        } else if what.starts_with(done) {
            ensure!(current == Some(name), "{name} is back and {current:?} was away");
            current = None;
        }
    }
    Ok(())
}

/// Changes the cluster's file; what was there before.
fn edited(site: &Path, edit: impl FnOnce(&mut Value)) -> Result<String> {
    let path = site.join("talconfig.yaml");
    let before = fs::read_to_string(&path).context("the site cannot be read")?;
    let mut value: Value = serde_json::from_str(&before).context("the lab's talconfig is not JSON")?;
    edit(&mut value);
    fs::write(&path, format!("{value:#}\n")).context("the site cannot be written")?;
    Ok(before)
}
