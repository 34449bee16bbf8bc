//! `lab racing`: three control planes that come at once, late, never, or as another machine found exactly one cluster.
//!
//! Each is a chapter with blank machines and a daemon without a past. With `--restarts` the daemon is killed at every
//! point of each. The judges are the machines: each writes down which calls reached it and what it founded.

use std::time::Duration;

use anyhow::{Result, ensure};
use api::Status;
use clap::Args;
use serde_json::json;

use crate::boxes::Boxes;
use crate::plan::{self, Machine};
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, is_configured, say, state_of, waits_for};

/// How many control planes the site wants.
const WANTED: usize = 3;
/// The one that comes late, or never.
const LAST: usize = 2;
/// The one that is replaced; not the first, so that the new one is not the one that is asked.
const REPLACED: usize = 1;
/// For so long nothing may happen while one is missing that never comes.
const QUIET: Duration = Duration::from_secs(3);

/// Arguments of *racing*.
#[derive(Debug, Args)]
pub(crate) struct Racing {
    /// Kill the daemon at every point
    #[arg(long)]
    restarts: bool,
    /// The late one comes so many seconds after the others are ready
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    late: u64,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when exactly one cluster was founded each time.
pub(crate) fn run(arguments: &Racing) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let mut spare = plan::machines(WANTED, 1).split_off(WANTED);
        spare.iter_mut().for_each(|machine| "spare".clone_into(&mut machine.name));
        let replacing = |site: &mut serde_json::Value| {
            site["replace"] = json!("same-port");
            site["timing"]["replace-after"] = json!("2s");
            if arguments.restarts {
                // a call that was never made is made anew after this; one that was made twice is no fault then
                site["timing"]["bootstrap-grace"] = json!("3s");
            }
        };
        let mut story =
            Story::prepare(&programs, folder, plan::machines(WANTED, 0), spare, replacing).await?;
        story.restarts = arguments.restarts;
        at_once(&mut story).await?;
        late(&mut story, Duration::from_secs(arguments.late)).await?;
        never(&mut story).await?;
        replaced(&mut story).await?;
        say(&json!({ "event": "summary", "passed": true, "restarts": arguments.restarts }));
        Ok(true)
    })
}

fn name(port: usize) -> String {
    plan::machines(WANTED, 0).swap_remove(port).name
}

/// Three are switched on within the same second.
async fn at_once(story: &mut Story) -> Result<()> {
    let chapter = "three at once";
    story.begin(chapter).await?;
    let within = story.switch_on(&[0, 1, 2]).await?;
    say(&json!({ "event": "switched on", "machines": WANTED, "milliseconds": within.as_millis() }));
    ensure!(within < Duration::from_secs(1), "it took {within:?} to switch them on");
    story.point("they were just switched on").await?;
    story.until("one to be told its config", |_, boxes| configs(boxes) > 0).await?;
    story.point("one has its config").await?;
    configured(story, &[0, 1, 2]).await?;
    story.point("all of them are configured").await?;
    to_the_end(story).await?;
    story.end(chapter).await
}

/// Two wait for the third: nothing is bootstrapped before it is there.
async fn late(story: &mut Story, long: Duration) -> Result<()> {
    let chapter = "one is late";
    story.begin(chapter).await?;
    two_wait_for_the_third(story).await?;
    story.stays(long, "two of three wait", nothing_is_founded).await?;
    story.point("one is still missing").await?;
    story.switch_on(&[LAST]).await?;
    story.point("the late one is here").await?;
    configured(story, &[LAST]).await?;
    story.point("the late one is configured").await?;
    to_the_end(story).await?;
    story.end(chapter).await
}

/// The third never comes: a person says that no cluster exists, and the two found one.
async fn never(story: &mut Story) -> Result<()> {
    let chapter = "one never comes";
    story.begin(chapter).await?;
    two_wait_for_the_third(story).await?;
    story.stays(QUIET, "two of three wait", nothing_is_founded).await?;
    story.point("a person is asked").await?;
    let words = story.daemon()?.tell(&["bootstrap", "--new"]).await?;
    ensure!(words.contains("counts as new"), "`ichord bootstrap --new` says: {words}");
    story.point("the person's word was taken").await?;
    story.until("the cluster to be founded", |status, _| has_come_to(status, "bootstrapping")).await?;
    story.point("the cluster is being founded").await?;
    let missing = name(LAST);
    story
        .until("both to vote, and the missing one to be named", |status, _| {
            let cluster = waits_for(status, "cluster");
            let vote = |port| matches!(state_of(status, &name(port)), "member" | "ready");
            status.view.cluster.state == "joining" && cluster.contains(&missing) && vote(0) && vote(1)
        })
        .await?;
    story.founded_once()?;
    story.end(chapter).await
}

/// One is exchanged for another box after it got its config and before the cluster is founded.
async fn replaced(story: &mut Story) -> Result<()> {
    let chapter = "one is replaced before the bootstrap";
    story.begin(chapter).await?;
    two_wait_for_the_third(story).await?;
    let node = name(REPLACED);
    story.boxes.power_off(&node, &story.ports).await?;
    story.point("one was pulled out").await?;
    story.boxes.blank("spare");
    story.boxes.power_on("spare", &story.ports, REPLACED).await?;
    story.point("another one is in its place").await?;
    let (new, old) = (story.boxes.machine("spare")?.mac, story.boxes.machine(&node)?.mac);
    story
        .until("the new machine to be the node", |status, _| {
            let held = status.view.nodes.get(&node.as_str().into());
            held.is_some_and(|held| held.macs.contains(&new) && !held.macs.contains(&old))
                && is_configured(status, &node)
        })
        .await?;
    story.point("the new one is configured").await?;
    ensure!(story.calls("Bootstrap").is_empty(), "a cluster was founded while one was missing");
    story.switch_on(&[LAST]).await?;
    configured(story, &[LAST]).await?;
    story.point("the last one is configured").await?;
    to_the_end(story).await?;
    let is = story.boxes.is("spare", &story.ports.plan)?;
    ensure!(is == [node.as_str()], "the new machine is {is:?}");
    story.end(chapter).await
}

/// Two are switched on and get their configs, and the status names who is missing.
async fn two_wait_for_the_third(story: &mut Story) -> Result<()> {
    story.switch_on(&[0, 1]).await?;
    story.point("two were just switched on").await?;
    configured(story, &[0, 1]).await?;
    story.point("two are configured").await?;
    let missing = format!("{} is vacant", name(LAST));
    story
        .until("the cluster to name who is missing", |status, _| {
            let waiting = waits_for(status, "cluster");
            waiting.contains(&missing) && waiting.contains("`ichord bootstrap --new`")
        })
        .await
}

async fn configured(story: &mut Story, ports: &[usize]) -> Result<()> {
    let names: Vec<String> = ports.iter().map(|port| name(*port)).collect();
    let all = |status: &Status, _: &Boxes| names.iter().all(|name| is_configured(status, name));
    story.until(&format!("{} to be configured", names.join(", ")), all).await
}

/// From here the cluster is founded, everybody votes, and it is handed over.
async fn to_the_end(story: &mut Story) -> Result<()> {
    story.until("the cluster to be founded", |status, _| has_come_to(status, "bootstrapping")).await?;
    story.point("Bootstrap is being called").await?;
    story.until("etcd to have members", |status, _| has_come_to(status, "joining")).await?;
    story.point("the others join").await?;
    story.until("the cluster to be handed over", |status, _| has_come_to(status, "handed over")).await?;
    story.founded_once()?;
    for Machine { name, .. } in story.ports.plan.clone() {
        let installs = story.boxes.record(&name).counted.installs;
        ensure!(installs == 1, "{name} was installed {installs} times");
    }
    Ok(())
}

fn configs(boxes: &Boxes) -> u32 {
    boxes.records().values().map(|seen| seen.counted.configs_applied).sum()
}

fn nothing_is_founded(status: &Status, boxes: &Boxes) -> bool {
    let asked = boxes.records().values().any(|seen| seen.calls.iter().any(|call| call == "Bootstrap"));
    status.view.cluster.state == "assembling" && !asked
}
