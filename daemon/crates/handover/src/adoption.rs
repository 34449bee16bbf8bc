//! Whether Git has taken over what it owns, and the fields that become Git's then.
//!
//! A report, not a condition: what is not in the repository stays as the hand-over left it.

use kubernetes::{ApplyError, Client, ObjectId};
use tokio::time::{Instant, sleep};

use crate::{git, gitops, ownership, run::Pace};

/// What one step has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// The step.
    pub step: String,
    /// Its objects.
    pub objects: Vec<ObjectId>,
    /// Whether it is meant to become Git's.
    pub of_git: bool,
}

/// Looks until everything is adopted, Flux has nothing more to do, or time is over; then tells about each component.
pub(crate) async fn wait(
    client: &Client,
    components: &[Component],
    pace: Pace,
    end: Instant,
) -> Result<Vec<String>, ApplyError> {
    loop {
        let mut lines = Vec::new();
        let mut complete = true;
        for component in components {
            let (adopted, owner) = adopted(client, component).await?;
            let all = component.objects.len();
            let name = &component.step;
            lines.push(match (component.of_git, adopted, owner) {
                (_, 0, _) if !component.of_git => format!("{name}: stays with ichord"),
                (false, _, Some(owner)) => {
                    format!("{name}: is to stay with ichord, and {owner} manages {adopted} of {all} objects")
                }
                (true, some, Some(owner)) if some == all => format!("{name}: adopted by {owner}"),
                (true, some, Some(owner)) => format!("{name}: {owner} has adopted {some} of {all} objects"),
                _ => format!("{name}: not in Git"),
            });
            complete &= !component.of_git || adopted == all;
        }
        let idle = gitops::report(client).await?;
        let idle =
            !idle.entries.is_empty() && idle.entries.iter().all(|entry| entry.state != gitops::State::Busy);
        if complete || idle || Instant::now() + pace.poll > end {
            return Ok(lines);
        }
        sleep(pace.poll).await;
    }
}

/// How many of a component's objects Flux has, and one who has them. Fields of ours on those become Flux's.
async fn adopted(
    client: &Client,
    component: &Component,
) -> Result<(usize, Option<git::GitOwner>), ApplyError> {
    let (mut count, mut found) = (0, None);
    for id in &component.objects {
        let live = match client.object(id).await {
            Err(ApplyError::UnknownKind { .. }) => None,
            live => live?,
        };
        let Some((live, owner)) = live.and_then(|live| git::owner(&live).map(|owner| (live, owner))) else {
            continue;
        };
        count += 1;
        if component.of_git
            && let Some(patch) = ownership::handed_over(&live)
        {
            // somebody was quicker: the next look sees to it
            let done = client.patch_json(id, &patch).await?;
            tracing::info!(object = %id, %owner, done, "handed our fields over");
        }
        found = found.or(Some(owner));
    }
    Ok((count, found))
}
