//! A control plane and a worker are emptied, boot again, and are let pods on again; another worker is switched off, and somebody
//! switches it on again.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{CONTROL_PLANES, WORKERS, called, killed, names};
use crate::story::{Story, say};

pub(super) async fn maintained(story: &mut Story, folder: &Path) -> Result<()> {
    let (first, last) = (0, CONTROL_PLANES + WORKERS - 1);
    for (port, task) in [(first, "reboot"), (last - 1, "reboot"), (last, "shutdown")] {
        one(story, folder, port, task).await?;
    }
    Ok(())
}

async fn one(story: &mut Story, folder: &Path, port: usize, task: &str) -> Result<()> {
    let names = names(story);
    let name = names.get(port).context("there is no such node")?.clone();
    let record = folder.join(format!("maintain-{name}.json"));
    let call = if task == "reboot" { "Reboot" } else { "Shutdown" };
    let (before, boots) = (called(&story.boxes, &names, call), story.boxes.record(&name).counted.boots);
    let is_off = |line: &str| line.contains("is off; switch it on again");
    let switch_on = {
        let name = name.clone();
        async move |story: &mut Story| {
            story.boxes.power_off(&name, &story.ports).await?;
            story.boxes.power_on(&name, &story.ports, port).await
        }
    };
    let more = [name.as_str(), "--", task];
    let steps = killed::again_and_again(
        story,
        Some(&record),
        &["maintain"],
        &more,
        killed::is_step,
        is_off,
        switch_on,
    )
    .await?;
    let told = if task == "reboot" { "is told to boot again" } else { "is told to go down" };
    let mut expected = vec!["begins", "its pods are moved elsewhere", told, "is back"];
    // simulated control planes have a Kubernetes each, and the shared address moves while the one that has it boots
    if !name.contains("-cp-") {
        expected.push("pods may come to it again");
    }
    for said in expected {
        let line = format!("{name}: {said}");
        ensure!(steps.lines.contains(&line), "{line:?} is not among {:?}", steps.lines);
    }
    ensure!(!record.exists(), "the record is still there");
    let of = name.clone();
    story
        .until("the box to write down that it was told, and has booted", move |_, boxes| {
            let now = called(boxes, &names, call);
            // a command that died after its word was given gives it again
            now.iter().all(|(name, now)| match *name == of {
                true => (1..=2).contains(&(now - before[name])),
                false => now == &before[name],
            }) && boxes.record(&of).counted.boots == boots + 1
        })
        .await?;
    let seen = story.boxes.record(&name);
    ensure!(seen.counted.installs == 1 && seen.wipes == 0, "{name} was installed again");
    say(&json!({ "event": "maintained", "node": name, "by": task, "command-killed": steps.kills }));
    Ok(())
}
