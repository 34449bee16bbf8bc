//! A worker is reset, by the daemon, which is killed once the order is given: it is the same node again, and no other one is touched.

use anyhow::{Result, ensure};
use serde_json::json;

use super::names;
use crate::story::{Story, say, state_of};

pub(super) async fn taken_out(story: &mut Story) -> Result<()> {
    let names = names(story);
    let Some(name) = names.last() else { anyhow::bail!("there are no nodes") };
    let before = story.boxes.record(name);
    story.daemon()?.tell(&["reset", name]).await?;
    story.point("a node is to be taken out").await?;
    let of = name.clone();
    story
        .until("the node to be taken out, and to be ready again", move |status, boxes| {
            let node = status.view.nodes.get(&of.as_str().into());
            let is_back = node.is_some_and(|node| node.leaving.is_none());
            boxes.record(&of).wipes == before.wipes + 1 && is_back && state_of(status, &of) == "ready"
        })
        .await?;
    for (other, seen) in story.boxes.records() {
        ensure!(seen.counted.installs == 1, "{other} was installed {} times", seen.counted.installs);
        ensure!(seen.wipes == 0 || other == name, "{other} was wiped as well");
    }
    say(&json!({ "event": "taken-out", "node": name, "by": "reset" }));
    Ok(())
}
