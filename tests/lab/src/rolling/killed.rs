//! A command that is killed at the first sight of every step, in the middle of what the step says, and given again; a step that
//! was seen already is let go on.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::daemon::Ended;
use crate::story::{Story, say};

/// What a command said until it ended.
pub(super) struct Steps {
    /// each once, in its order
    pub(super) lines: Vec<String>,
    /// how often it was killed
    pub(super) kills: u32,
}

/// Gives the command until it ends well by itself, and kills it at each line that is a step. Where it says, for the first time, that
/// it waits for a `person`, it is killed as well, and that one does what it waits for.
pub(super) async fn again_and_again(
    story: &mut Story,
    record: Option<&Path>,
    command: &[&str],
    more: &[&str],
    is_step: impl Fn(&str) -> bool,
    person: impl Fn(&str) -> bool,
    mut does: impl AsyncFnMut(&mut Story) -> Result<()>,
) -> Result<Steps> {
    let mut steps = Steps { lines: Vec::new(), kills: 0 };
    let mut has_done = false;
    loop {
        let mut is_asked = false;
        let mut fresh = |line: &str| {
            say(&json!({ "event": command.join(" "), "says": line }));
            is_asked = !has_done && person(line);
            let is_new = !steps.lines.iter().any(|known| known == line);
            if is_new {
                steps.lines.push(line.to_owned());
            }
            (is_new && is_step(line)) || is_asked
        };
        match story.daemon()?.roll(command, record, more, &mut fresh).await? {
            Ended::Killed => {
                steps.kills += 1;
                let step = steps.lines.last().cloned().unwrap_or_default();
                story.point(&step).await?;
                if is_asked {
                    has_done = true;
                    does(story).await?;
                }
            }
            Ended::ByItself { code: Some(0), .. } => return Ok(steps),
            ended => {
                anyhow::bail!(
                    "`ichord {}` did not go on after {:?}: {ended:?}",
                    command.join(" "),
                    steps.lines
                )
            }
        }
    }
}

/// The same where nobody has to do anything.
pub(super) async fn by_itself(
    story: &mut Story,
    record: &Path,
    command: &[&str],
    more: &[&str],
) -> Result<Steps> {
    again_and_again(story, Some(record), command, more, is_step, |_| false, async |_| Ok(())).await
}

/// Everything that such a command says, but for what it waits for.
pub(super) fn is_step(line: &str) -> bool {
    !line.starts_with("waiting: ")
}
