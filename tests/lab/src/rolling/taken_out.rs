//! A worker is reset and a control plane installed anew, by the daemon, which is killed once the order is given: both are the same
//! nodes again.

use anyhow::{Result, ensure};
use serde_json::json;

use super::names;
use crate::story::{Story, say, state_of};

pub(super) async fn taken_out(story: &mut Story) -> Result<()> {
    let names = names(story);
    let (Some(first), Some(last)) = (names.first(), names.last()) else {
        anyhow::bail!("there are no nodes")
    };
    for (name, command, installs) in [(last, "reset", 1), (first, "reprovision", 2)] {
        let before = story.boxes.record(name);
        story.daemon()?.tell(&[command, name]).await?;
        story.point("a node is to be taken out").await?;
        let of = name.clone();
        story
            .until("the node to be taken out, and to be ready again", move |status, boxes| {
                let node = status.view.nodes.get(&of.as_str().into());
                let is_back = node.is_some_and(|node| node.leaving.is_none());
                boxes.record(&of).wipes == before.wipes + 1 && is_back && state_of(status, &of) == "ready"
            })
            .await?;
        let seen = story.boxes.record(name);
        ensure!(seen.counted.installs == installs, "{name} was installed {} times", seen.counted.installs);
        for other in names.iter().filter(|other| *other != name) {
            let seen = story.boxes.record(other);
            ensure!(seen.wipes == 0 || other == last, "{other} was wiped as well");
        }
        say(&json!({ "event": "taken-out", "node": name, "by": command }));
    }
    Ok(())
}
