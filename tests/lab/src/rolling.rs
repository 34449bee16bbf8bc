//! `lab rolling`: a changed label comes to three control planes and two workers by `ichord apply`, one at a time, with the command
//! killed after every step and the daemon after every one, too. What cannot be changed in place changes nothing.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when every node has the label, and nothing else has happened to it.
pub(crate) fn run(arguments: &Rolling) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let plan = plan::machines(CONTROL_PLANES, WORKERS);
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), |_| {}).await?;
        story.restarts = arguments.restarts;
        rolled(&mut story, folder).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

async fn rolled(story: &mut Story, folder: &Path) -> Result<()> {
    let chapter = "a label is rolled out";
    story.begin(chapter).await?;
    story.switch_on(&(0..CONTROL_PLANES + WORKERS).collect::<Vec<_>>()).await?;
    let names: Vec<String> = story.ports.plan.iter().map(|machine| machine.name.clone()).collect();
    let all = names.clone();
    story
        .until("the cluster to be handed over, and every node to be ready", move |status, _| {
            has_come_to(status, "handed over") && all.iter().all(|name| state_of(status, name) == "ready")
        })
        .await?;
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "there are changes before anything was changed: {planned:#?}");

    let record = folder.join("apply.json");
    let before: BTreeMap<String, usize> =
        names.iter().map(|name| (name.clone(), given(&story.boxes, name))).collect();
    let kept = edited(story.site(), |site| site["domain"] = json!("rolled.local"))?;
    let ended = story.daemon()?.apply(&record, &mut |_| false).await?;
    let Ended::ByItself { code: Some(1), complaint } = &ended else {
        anyhow::bail!("what cannot be changed in place was not refused: {ended:?}")
    };
    ensure!(complaint.contains("cannot be made in place"), "it says {complaint}");
    fs::write(story.site().join("talconfig.yaml"), kept).context("the site cannot be written")?;
    say(&json!({ "event": "refused", "because": complaint.trim() }));

    edited(story.site(), |site| {
        for node in site["nodes"].as_array_mut().into_iter().flatten() {
            node["nodeLabels"] = json!({ "lab.example/rolled": "yes" });
        }
    })?;
    let planned = story.daemon()?.plan().await?;
    let classes: BTreeMap<&str, &Value> =
        planned.iter().map(|(name, node)| (name.as_str(), &node["class"])).collect();
    ensure!(classes.len() == names.len() && classes.values().all(|class| **class == "live"), "{planned:#?}");

    let (steps, kills) = apply_killed_again_and_again(story, &record).await?;
    let finished: Vec<&str> =
        steps.iter().filter_map(|line| line.strip_suffix(": has what the site wants")).collect();
    let (control_planes, workers) = finished.split_at(CONTROL_PLANES.min(finished.len()));
    ensure!(
        finished.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>()
            == names.iter().cloned().collect()
            && finished.len() == names.len()
            && control_planes.iter().all(|name| name.contains("-cp-"))
            && workers.iter().all(|name| !name.contains("-cp-")),
        "the nodes came in this order: {finished:?}"
    );
    one_at_a_time(&steps)?;
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "something is still to be changed: {planned:#?}");
    ensure!(!record.exists(), "the record is still there");
    // a node that was given it twice had a command that died in between
    let times = before.clone();
    story
        .until("every box to write down that it was given its config", move |_, boxes| {
            times.iter().all(|(name, before)| (1..=2).contains(&(given(boxes, name) - before)))
        })
        .await?;
    for name in &names {
        let seen = story.boxes.record(name);
        ensure!(seen.counted.installs == 1 && seen.wipes == 0, "{name} was installed again");
    }
    story.founded_once()?;
    say(&json!({ "event": "rolled", "steps": steps.len(), "command-killed": kills }));
    story.end(chapter).await
}

/// Gives the command until it ends by itself. It is killed at the first sight of every step, in the middle of what the step
/// says; a step that was seen already is let go on.
async fn apply_killed_again_and_again(story: &mut Story, record: &Path) -> Result<(Vec<String>, u32)> {
    let (mut steps, mut kills) = (Vec::new(), 0);
    loop {
        let mut fresh = |line: &str| {
            say(&json!({ "event": "apply", "says": line }));
            let is_step = !line.starts_with("waiting: ");
            let is_new = is_step && !steps.iter().any(|known| known == line);
            if is_new {
                steps.push(line.to_owned());
            }
            is_new
        };
        match story.daemon()?.apply(record, &mut fresh).await? {
            Ended::Killed => {
                kills += 1;
                let step = steps.last().cloned().unwrap_or_default();
                say(&json!({ "event": "killed", "at": step }));
                story.point(&step).await?;
            }
            Ended::ByItself { code: Some(0), .. } => return Ok((steps, kills)),
            ended => anyhow::bail!("`ichord apply` did not go on after {steps:?}: {ended:?}"),
        }
    }
}

/// Nobody begins before the one before is back.
fn one_at_a_time(steps: &[String]) -> Result<()> {
    let mut current = None;
    for step in steps {
        if let Some(name) = step.strip_suffix(": begins") {
            ensure!(current.is_none(), "{name} begins while {current:?} is not back");
            current = Some(name);
        } else if let Some(name) = step.strip_suffix(": has what the site wants") {
            ensure!(current == Some(name), "{name} is back and {current:?} was away");
            current = None;
        }
    }
    Ok(())
}

/// How often a box was given a config, by its own record.
fn given(boxes: &Boxes, name: &str) -> usize {
    boxes.record(name).calls.iter().filter(|call| *call == "ApplyConfiguration").count()
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
