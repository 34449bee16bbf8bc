//! A changed label comes to every node; what cannot be changed in place changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{called, edited, in_order, killed, names, refused};
use crate::story::{Story, say};

pub(super) async fn rolled(story: &mut Story, folder: &Path) -> Result<()> {
    let names = names(story);
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "there are changes before anything was changed: {planned:#?}");

    let record = folder.join("apply.json");
    let before = called(&story.boxes, &names, "ApplyConfiguration");
    let kept = edited(story.site(), |site| site["domain"] = json!("rolled.local"))?;
    refused(story, Some(&record), &["apply"], &[], "cannot be made in place").await?;
    fs::write(story.site().join("talconfig.yaml"), kept).context("the site cannot be written")?;

    edited(story.site(), |site| {
        for node in site["nodes"].as_array_mut().into_iter().flatten() {
            node["nodeLabels"] = json!({ "lab.example/rolled": "yes" });
        }
    })?;
    let planned = story.daemon()?.plan().await?;
    let classes: BTreeMap<&str, &Value> =
        planned.iter().map(|(name, node)| (name.as_str(), &node["class"])).collect();
    ensure!(classes.len() == names.len() && classes.values().all(|class| **class == "live"), "{planned:#?}");

    let steps = killed::by_itself(story, &record, &["apply"], &[]).await?;
    in_order(&steps.lines, &names, "has what the site wants")?;
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "something is still to be changed: {planned:#?}");
    ensure!(!record.exists(), "the record is still there");
    // a node that was given it twice had a command that died in between
    story
        .until("every box to write down that it was given its config", move |_, boxes| {
            let now = called(boxes, &names, "ApplyConfiguration");
            before.iter().all(|(name, before)| (1..=2).contains(&(now[name] - before)))
        })
        .await?;
    for (name, seen) in story.boxes.records() {
        ensure!(seen.counted.installs == 1 && seen.wipes == 0, "{name} was installed again");
    }
    say(&json!({ "event": "rolled", "steps": steps.lines.len(), "command-killed": steps.kills }));
    Ok(())
}
