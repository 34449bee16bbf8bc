//! `lab disks`: what is on a machine's disk is not overwritten, and what runs from it is not touched, before a person says so.
//!
//! A worker has somebody's partition on its disk and waits in maintenance mode. The control plane is a box whose disk has
//! the same node of another cluster: it never reaches maintenance mode and answers with a foreign CA at the node's address.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::Status;
use clap::Args;
use serde_json::json;

use crate::boxes::Boxes;
use crate::daemon::{Daemon, Form};
use crate::plan::{self, Machine};
use crate::programs::Programs;
use crate::story::{Story, has_come_to, say, waits_for};
use crate::{site, space};

/// The one disk of a simulated machine.
const DISK: &str = "/dev/nvme0n1";
/// For so long nothing may happen before a person says so.
const QUIET: Duration = Duration::from_secs(3);

const CONTROL_PLANE: usize = 0;
const WORKER: usize = 1;

/// Arguments of *disks*.
#[derive(Debug, Args)]
pub(crate) struct Disks {
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when nothing was touched before it was allowed, and everything went on after that.
pub(crate) fn run(arguments: &Disks) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let mut story = Story::prepare(&programs, folder, plan::machines(1, 1), Vec::new(), |_| {}).await?;
        story.restarts = true;
        used(&mut story, &programs, folder).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

async fn used(story: &mut Story, programs: &Programs, folder: &Path) -> Result<()> {
    let chapter = "used disks";
    story.begin(chapter).await?;
    let plan = story.ports.plan.clone();
    let (recycled, worker) = (plan[CONTROL_PLANE].name.clone(), plan[WORKER].name.clone());
    let state = config_of_another_cluster(story, programs, folder, &plan[CONTROL_PLANE]).await?;
    story.boxes.fill(
        &recycled,
        &json!({ "system": {
            "dev_path": DISK,
            "image": { "schematic": site::schematic_id(), "version": site::TALOS },
            "state": state,
            "etcd": null,
        } }),
    )?;
    story.boxes.fill(&worker, &json!({ "system": null, "used": "home" }))?;
    story.boxes.power_on(&recycled, &story.ports, CONTROL_PLANE).await?;
    story.boxes.power_on(&worker, &story.ports, WORKER).await?;

    let way_out = |node: &str, disk: &str| format!("`ichord approve {node} --erase {disk}`");
    let told = {
        let (recycled, worker) = (recycled.clone(), worker.clone());
        move |status: &Status, _: &Boxes| {
            let (of_box, of_worker) = (waits_for(status, &recycled), waits_for(status, &worker));
            of_box.contains("belongs to another cluster")
                && of_box.contains(&way_out(&recycled, "DISK"))
                && of_worker.contains("is not empty")
                && of_worker.contains("ext4 home")
                && of_worker.contains(&way_out(&worker, DISK))
        }
    };
    story.until("the status to name both disks and the way out", told).await?;
    story.point("both disks are named").await?;
    story.stays(QUIET, "nobody said anything about the disks", untouched).await?;

    story.daemon()?.tell(&["approve", &worker, "--erase", DISK]).await?;
    story.point("the worker's disk may be overwritten").await?;
    let its = worker.clone();
    story
        .until("the worker to be installed", move |_, boxes| boxes.record(&its).counted.installs == 1)
        .await?;
    ensure!(story.boxes.is(&worker, &plan)? == [worker.as_str()], "the worker has another node's config");
    // of the two, only the word about this one was given
    let calls = story.boxes.record(&recycled).calls;
    ensure!(calls.is_empty(), "a machine of another cluster was told {calls:?}");

    story.daemon()?.tell(&["approve", &recycled, "--erase", DISK]).await?;
    story.point("the recycled box may be wiped").await?;
    let calls = story.boxes.record(&recycled).calls;
    ensure!(calls.is_empty(), "a machine that still is of another cluster was told {calls:?}");
    cycle(story, &recycled, CONTROL_PLANE).await?;
    let its = recycled.clone();
    story.until("the recycled box to be wiped", move |_, boxes| boxes.record(&its).wipes > 0).await?;
    story.point("the recycled box was just wiped").await?;
    story.until("the cluster to be handed over", |status, _| has_come_to(status, "handed over")).await?;
    story.founded_once()?;

    // one more time through the firmware: the word about its disk is used up
    cycle(story, &recycled, CONTROL_PLANE).await?;
    let its = recycled.clone();
    story
        .until("it to come back from its own disk", move |_, boxes| {
            let seen = boxes.record(&its);
            seen.counted.disk_boots() >= 2 && crate::machines::runs(&seen)
        })
        .await?;
    for name in [&recycled, &worker] {
        let seen = story.boxes.record(name);
        ensure!(seen.counted.installs == 1, "{name} was installed {} times", seen.counted.installs);
        let wipes = u32::from(*name == recycled);
        ensure!(seen.wipes == wipes, "{name} was wiped {} times, not {wipes}", seen.wipes);
    }
    story.end(chapter).await
}

/// Switched off and on, with its disk as it is.
async fn cycle(story: &mut Story, name: &str, port: usize) -> Result<()> {
    story.boxes.power_off(name, &story.ports).await?;
    story.boxes.power_on(name, &story.ports, port).await
}

fn untouched(_: &Status, boxes: &Boxes) -> bool {
    boxes.records().values().all(|seen| seen.calls.is_empty() && seen.wipes == 0)
}

/// The config of the same node in a cluster with other secrets, as ichord renders it.
async fn config_of_another_cluster(
    story: &Story,
    programs: &Programs,
    folder: &Path,
    node: &Machine,
) -> Result<String> {
    let other = folder.join("other-site");
    copy_site(story.site(), &other)?;
    let form = Form::Plain { state: folder.join("other-state"), ledger: None };
    let other_daemon = Daemon::new(story.launcher().clone(), programs.ichord.clone(), other.clone(), form);
    other_daemon.prepare().await?;
    other_daemon.render(&node.name, &folder.join("other-configs")).await?;
    let wanted = format!("{}.yaml", node.name);
    for entry in fs::read_dir(folder.join("other-configs")).context("the other cluster has no configs")? {
        let path = entry.context("the other cluster's configs cannot be read")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(&wanted)) {
            return fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
        }
    }
    anyhow::bail!("the other cluster has no config for {}", node.name)
}

/// Everything but the secrets.
fn copy_site(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry.context("the site cannot be read")?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_site(&path, &target)?;
        } else if !entry.file_name().to_string_lossy().starts_with("talsecret") {
            fs::copy(&path, &target).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}
