//! `lab growing`: a cluster of one control plane becomes one of three and gets a worker, a control plane goes for another one, and
//! the worker goes. The person changes the site, plugs machines in, and says `ichord remove`; nobody founds a second cluster.
//!
//! A witness asks etcd's members all the time: new ones get their vote one after the other, and there is never one that a failure
//! could not be survived without. What must not be done changes nothing and says what can be done instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use api::Status;
use clap::Args;
use serde_json::json;
use talos_api::{Credentials, EtcdMember};

use crate::part::Site;
use crate::plan::{self, Machine};
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of};
use crate::witness::{Witness, credentials, names};

/// Of the ports; the site begins with the first machine alone.
const CONTROL_PLANES: usize = 4;
const WORKERS: usize = 1;

/// Arguments of *growing*.
#[derive(Debug, Args)]
pub(crate) struct Growing {
    /// Kill the daemon at every step of a node that is taken out, and at each other moment that counts
    #[arg(long)]
    restarts: bool,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when the cluster was always the same one, and what is left of it is whole.
pub(crate) fn run(arguments: &Growing) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| {
        let plan = plan::machines(CONTROL_PLANES, WORKERS);
        let mut story = Story::prepare(&programs, folder, plan, Vec::new(), |_| {}).await?;
        story.restarts = arguments.restarts;
        let site = Site::read(story.site())?;
        let chapter = "a cluster grows and shrinks";
        site.names_only(&["lab-cp-1"])?;
        story.begin(chapter).await?;
        let credentials = founded(&mut story, folder).await?;
        let all = ["lab-cp-1", "lab-cp-2", "lab-cp-3", "lab-w-1"];
        grown(&mut story, &site, &credentials, &all).await?;
        kept(&mut story, &site, &all).await?;
        exchanged(&mut story, &site, &credentials).await?;
        story.end(chapter).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

/// One control plane is a cluster.
async fn founded(story: &mut Story, folder: &Path) -> Result<Credentials> {
    story.switch_on(&[0]).await?;
    whole(story, "a cluster of one control plane to be handed over", &["lab-cp-1"]).await?;
    story.founded_once()?;
    credentials(story, folder).await
}

/// Two control planes and a worker come, all at once.
async fn grown(story: &mut Story, site: &Site, credentials: &Credentials, all: &[&str]) -> Result<()> {
    site.names_only(all)?;
    story.daemon()?.tell(&["reload"]).await?;
    story.point("the site has grown").await?;
    let witness = Witness::begin(of(story, "lab-cp-1")?, credentials.clone());
    story.switch_on(&[1, 2, CONTROL_PLANES]).await?;
    story.point("three machines are switched on").await?;
    whole(story, "the cluster of three control planes and a worker", all).await?;
    story.founded_once()?;
    let seen = witness.end().await?;
    one_after_the_other(&seen)?;
    let last = seen.last().context("the witness saw nothing")?;
    let voters = names(last.iter().filter(|member| !member.learner));
    let wanted: BTreeSet<String> =
        all.iter().filter(|name| name.contains("-cp-")).map(|&it| it.into()).collect();
    ensure!(voters == wanted, "etcd's voters are {voters:?}");
    for name in ["lab-cp-2", "lab-cp-3"] {
        let joined = story.boxes.record(name).joined;
        ensure!(joined == [true], "{name} joined etcd as {joined:?}, where true is a learner");
    }
    well(story).await?;
    say(&json!({ "event": "grown", "witness-looks": seen.len() }));
    Ok(())
}

/// What would cost the cluster its safety is refused, with the way out, and changes nothing.
async fn kept(story: &mut Story, site: &Site, all: &[&str]) -> Result<()> {
    site.names_only(&["lab-cp-1", "lab-w-1"])?;
    refused(story, &["reload"], &["the site would have 1 of 3 control planes", "recover-from"]).await?;
    let fault = story.daemon()?.status().await.and_then(|status| status.site_fault).unwrap_or_default();
    ensure!(fault.contains("the site would have 1 of 3 control planes"), "`ichord status` says {fault:?}");
    site.names_only(all)?;
    story.daemon()?.tell(&["reload"]).await?;
    let status = story.daemon()?.status().await.context("the daemon does not answer")?;
    ensure!(status.site_fault.is_none(), "the site is in force again, and {:?}", status.site_fault);
    refused(story, &["remove", "lab-w-1"], &["is a node of the site", "`ichord reload`"]).await
}

/// A control plane goes for another one, and the worker goes as well.
async fn exchanged(story: &mut Story, site: &Site, credentials: &Credentials) -> Result<()> {
    let (gone, stay) = (["lab-cp-2", "lab-w-1"], ["lab-cp-1", "lab-cp-3", "lab-cp-4"]);
    let before = installs(story);
    site.names_only(&stay)?;
    story.daemon()?.tell(&["reload"]).await?;
    story.point("the site names another control plane").await?;
    story
        .until("who is not named any more to be told, and to go on", move |status, _| {
            gone.iter().all(|&name| {
                let node = status.view.nodes.get(&name.into());
                let left = node.and_then(|node| node.left.as_ref());
                left.is_some_and(|left| left.contains(&format!("`ichord remove {name}`")))
                    && state_of(status, name) == "ready"
            })
        })
        .await?;
    refused(story, &["remove", "lab-cp-2"], &["is one of etcd's 3 voters", "`ichord deploy`"]).await?;

    let witness = Witness::begin(of(story, "lab-cp-1")?, credentials.clone());
    story.switch_on(&[CONTROL_PLANES - 1]).await?;
    whole(story, "the fourth control plane to be ready", &stay).await?;
    for name in gone {
        removed(story, name).await?;
    }
    whole(story, "what is left to be whole", &stay).await?;
    let seen = witness.end().await?;
    one_after_the_other(&seen)?;
    let fewest = seen.iter().map(|members| members.iter().filter(|member| !member.learner).count()).min();
    ensure!(fewest == Some(3), "etcd had {fewest:?} voters at one time");
    let last = names(seen.last().context("the witness saw nothing")?.iter());
    ensure!(last == stay.iter().map(|&name| name.to_owned()).collect(), "etcd's members are {last:?}");
    well(story).await?;
    story.founded_once()?;

    // who was taken out waits for whatever a person wants of it, and is given nothing
    story
        .until("who was taken out to wait in maintenance mode", move |_, boxes| {
            gone.iter().all(|name| {
                let record = boxes.record(name);
                record.wipes == 1 && record.states.last().is_some_and(|(state, _)| state == "maintenance")
            })
        })
        .await?;
    for name in gone {
        let is = story.boxes.is(name, &story.ports.plan)?;
        ensure!(is.is_empty(), "{name} was taken out, and is {is:?} by its own disk");
    }
    let after: BTreeMap<String, (u32, u32)> = installs(story);
    for (name, (installs, wipes)) in &after {
        let (installed, wiped) = before.get(name).copied().unwrap_or_default();
        let expected = (installed.max(1), wiped + u32::from(gone.contains(&name.as_str())));
        ensure!((*installs, *wipes) == expected, "{name} has {installs} installations and {wipes} wipes");
    }
    say(&json!({ "event": "exchanged", "witness-looks": seen.len() }));
    Ok(())
}

/// `ichord remove`, until nobody speaks of the node any more; with restarts the daemon dies at each step that it shows.
async fn removed(story: &mut Story, name: &str) -> Result<()> {
    agreed(story, &["remove", name]).await?;
    let step = |status: &Status, name: &str| -> Option<String> {
        let node = status.view.nodes.get(&name.into())?;
        let leaving = node.leaving.clone().unwrap_or_default();
        // without what it waits for
        Some(leaving.split_once("; ").map_or("", |(_, step)| step).split(':').next()?.to_owned())
    };
    let mut shown = BTreeSet::new();
    loop {
        let (known, of) = (shown.clone(), name.to_owned());
        story
            .until("a node that is taken out to go on", move |status, _| {
                step(status, &of).is_none_or(|step| !known.contains(&step))
            })
            .await?;
        let Some(status) = story.daemon()?.status().await else { continue };
        let Some(next) = step(&status, name) else { break };
        story.point(&format!("{name} is taken out: {next}")).await?;
        shown.insert(next);
    }
    say(&json!({ "event": "removed", "node": name, "steps": shown }));
    Ok(())
}

/// A command that is refused as long as the daemon's last looks at etcd differ, until it is not.
async fn agreed(story: &mut Story, words: &[&str]) -> Result<()> {
    for _ in 0..LOOKS {
        match story.daemon()?.tell(words).await {
            Ok(_) => return Ok(()),
            // as long as it takes to ask all of them
            Err(error) if is_too_early(&format!("{error:#}")) => {
                story.daemon()?.not_so().await?;
            }
            Err(error) => return Err(error),
        }
    }
    anyhow::bail!("the daemon sees no agreement after {LOOKS} looks at the whole cluster")
}

/// The daemon has not looked at everybody since something changed, or since it started.
fn is_too_early(said: &str) -> bool {
    ["until they agree", "tells etcd's members now", "do not follow one leader"]
        .iter()
        .any(|words| said.contains(words))
}

/// The cluster is Git's, and these are all ready.
async fn whole(story: &mut Story, what: &str, names: &[&str]) -> Result<()> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    story
        .until(what, move |status, _| {
            has_come_to(status, "handed over") && names.iter().all(|name| state_of(status, name) == "ready")
        })
        .await
}

/// `ichord health`: etcd's members and Kubernetes's nodes are those of the site, and no other ones. What has just come may need
/// a moment to be seen everywhere.
async fn well(story: &mut Story) -> Result<()> {
    let mut not_so = BTreeMap::new();
    for _ in 0..LOOKS {
        not_so = story.daemon()?.not_so().await?;
        if not_so.is_empty() {
            return Ok(());
        }
        story.boxes.none_ended()?;
    }
    anyhow::bail!("`ichord health` says after {LOOKS} looks that this is not so: {not_so:#?}")
}

/// How often the cluster is asked whether it is well; each time asks every machine.
const LOOKS: usize = 100;

/// In no look two members have no vote.
fn one_after_the_other(seen: &[Vec<EtcdMember>]) -> Result<()> {
    for members in seen {
        let learners = members.iter().filter(|member| member.learner).count();
        ensure!(learners <= 1, "two members have no vote at the same time: {members:?}");
    }
    Ok(())
}

/// A command that does not do what it must not and says all of this; no box hears of it.
async fn refused(story: &mut Story, words: &[&str], because: &[&str]) -> Result<()> {
    let calls = |story: &Story| -> BTreeMap<String, Vec<String>> {
        story.boxes.records().iter().map(|(name, seen)| (name.clone(), seen.calls.clone())).collect()
    };
    let before = calls(story);
    let mut said = String::new();
    for _ in 0..LOOKS {
        said = match story.daemon()?.tell(words).await {
            Ok(said) => anyhow::bail!("`ichord {}` was not refused, and says {said}", words.join(" ")),
            Err(error) => format!("{error:#}"),
        };
        if !is_too_early(&said) {
            break;
        }
        story.daemon()?.not_so().await?;
    }
    ensure!(because.iter().all(|because| said.contains(because)), "it says {said}");
    ensure!(calls(story) == before, "something was done, although it was refused: {said}");
    say(&json!({ "event": "refused", "because": said }));
    Ok(())
}

/// How often each box was installed and wiped, by its own record.
fn installs(story: &Story) -> BTreeMap<String, (u32, u32)> {
    let records = story.boxes.records().iter();
    records.map(|(name, seen)| (name.clone(), (seen.counted.installs, seen.wipes))).collect()
}

/// A node's machine API.
fn of(story: &Story, name: &str) -> Result<SocketAddr> {
    let is_it = |machine: &&Machine| machine.name == name;
    let machine =
        story.ports.plan.iter().find(is_it).with_context(|| format!("there is no port of {name}"))?;
    Ok(SocketAddr::new(machine.address.into(), talos_api::PORT))
}
