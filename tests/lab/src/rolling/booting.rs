//! A change that Talos takes only with another boot comes to a control plane and a worker, and with restarts to every node.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{called, edited, in_order, killed, names};
use crate::story::{Story, say};

pub(super) async fn rolled(story: &mut Story, folder: &Path) -> Result<()> {
    let all = names(story);
    let record = folder.join("apply-and-boot.json");
    let names: Vec<String> = match story.restarts {
        true => all.clone(),
        false => [all.first(), all.last()].into_iter().flatten().cloned().collect(),
    };
    edited(story.site(), |site| {
        let nodes = site["nodes"].as_array_mut().into_iter().flatten();
        for node in nodes.filter(|node| names.iter().any(|name| node["hostname"] == name.as_str())) {
            node["patches"] = json!(["machine: { udev: { rules: ['ATTR{lab}==\"yes\"'] } }"]);
        }
    })?;
    let planned = story.daemon()?.plan().await?;
    let classes: BTreeMap<&str, &Value> =
        planned.iter().map(|(name, node)| (name.as_str(), &node["class"])).collect();
    ensure!(
        classes.len() == names.len() && classes.values().all(|class| **class == "reboot"),
        "{planned:#?}"
    );

    let (before, boots) = (called(&story.boxes, &all, "ApplyConfiguration"), story.boxes.records().clone());
    let steps = killed::by_itself(story, &record, &["apply"], &[]).await?;
    in_order(&steps.lines, &names, "has what the site wants")?;
    for name in &names {
        for said in ["begins", "its pods are moved elsewhere", "is given its config"] {
            let line = format!("{name}: {said}");
            ensure!(steps.lines.contains(&line), "{line:?} is not among {:?}", steps.lines);
        }
    }
    ensure!(!record.exists(), "the record is still there");
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "something is still to be changed: {planned:#?}");
    let of = names.clone();
    story
        .until(
            "each of them to write down that it was given its config and has booted once",
            move |_, boxes| {
                let now = called(boxes, &all, "ApplyConfiguration");
                all.iter().all(|name| {
                    let booted = boots.get(name).map_or(0, |seen| seen.counted.boots);
                    let (told, booted) =
                        (now[name] - before[name], boxes.record(name).counted.boots - booted);
                    match of.contains(name) {
                        // a command that died after its word was given gives it again
                        true => (1..=2).contains(&told) && booted == 1,
                        false => told == 0 && booted == 0,
                    }
                })
            },
        )
        .await?;
    for (name, seen) in story.boxes.records() {
        ensure!(seen.counted.installs == 1 && seen.wipes == 0, "{name} was installed again");
    }
    say(
        &json!({ "event": "rolled-with-a-boot", "nodes": names, "steps": steps.lines.len(), "command-killed": steps.kills }),
    );
    Ok(())
}
