//! `lab outage`: the power of the whole rack goes, the provisioning host's as well, and the daemon comes back last. Every node
//! boots its own disk as the node that it was, at its own address; nothing is installed, and nobody founds anything.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;

use crate::plan;
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of};

const CONTROL_PLANES: usize = 3;
const WORKERS: usize = 2;

/// Arguments of *outage*.
#[derive(Debug, Args)]
pub(crate) struct Outage {
    /// How often the power goes
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when everybody came back, and nobody was installed or asked to found anything.
pub(crate) fn run(arguments: &Outage) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let plan = plan::machines(CONTROL_PLANES, WORKERS);
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), |_| {}).await?;
        came_back(&mut story, arguments.rounds).await?;
        say(&json!({ "event": "summary", "passed": true, "rounds": arguments.rounds }));
        Ok(true)
    })
}

async fn came_back(story: &mut Story, rounds: usize) -> Result<()> {
    let chapter = "the power of the rack goes";
    story.begin(chapter).await?;
    story.switch_on(&(0..CONTROL_PLANES + WORKERS).collect::<Vec<_>>()).await?;
    let names: Vec<String> = story.ports.plan.iter().map(|machine| machine.name.clone()).collect();
    let ready = |status: &api::Status, names: &[String]| {
        has_come_to(status, "handed over") && names.iter().all(|name| state_of(status, name) == "ready")
    };
    let all = names.clone();
    story
        .until("the cluster to be handed over, every node ready", move |status, _| ready(status, &all))
        .await?;
    story.founded_once()?;
    let boots = |story: &Story| -> BTreeMap<String, u32> {
        names.iter().map(|name| (name.clone(), story.boxes.record(name).counted.boots)).collect()
    };
    for round in 0..rounds {
        let before = boots(story);
        story.daemon()?.process()?.crash().await?;
        story.boxes.all_off(&story.ports).await?;
        story.ports.wires.forget_neighbours().await?;
        for (port, name) in names.iter().enumerate() {
            story.boxes.power_on(name, &story.ports, port).await?;
        }
        // the daemon's host takes longer than any of them, whose firmware asks in vain meanwhile
        let firmware = |story: &Story, name: &String| {
            story.boxes.record(name).states.iter().filter(|(state, _)| state == "firmware").count()
        };
        let asked: BTreeMap<&String, usize> =
            names.iter().map(|name| (name, firmware(story, name))).collect();
        while names.iter().any(|name| firmware(story, name) == asked[name]) {
            story.boxes.hear().await;
        }
        story.daemon()?.start()?;
        story.daemon()?.ready().await?;
        let (all, booted) = (names.clone(), before.clone());
        story
            .until("every node to be back", move |status, boxes| {
                let again = |name: &String| boxes.record(name).counted.boots > booted[name];
                ready(status, &all) && all.iter().all(again)
            })
            .await?;
        for name in &names {
            let seen = story.boxes.record(name);
            ensure!(seen.counted.installs == 1 && seen.wipes == 0, "{name} was installed again");
        }
        story.founded_once()?;
        say(&json!({ "event": "back", "round": round }));
    }
    story.end(chapter).await
}
