//! Another version of Talos comes to every node; what must not come changes nothing, and a node that goes back to its old version is
//! the last that is touched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{called, edited, in_order, killed, kubernetes, names, refused};
use crate::daemon::Ended;
use crate::site::{self, ImageFiles};
use crate::story::{Story, say};

/// What the lab's network plugin says of kube-proxy.
const REPLACES_PROXY: &str = "kube-proxy-replacement: \"true\"";

const COMMAND: [&str; 2] = ["upgrade", "talos"];

/// How a node is told whose Talos is 1.13 or newer, as all of them have it after their first upgrade.
const INSTALLS: &str = "LifecycleService.Upgrade";

/// The versions of a story.
pub(super) struct Versions {
    /// of the cluster when it is founded
    pub(super) first: &'static str,
    /// the Kubernetes that all of them run
    pub(super) kubernetes: &'static str,
    /// what it is brought to
    second: &'static str,
    /// does not come up on these machines
    pub(super) doomed: &'static str,
    /// is older, and one is too new
    never: [(&'static str, &'static str); 2],
    /// how a node is told
    call: &'static str,
    says: &'static [&'static str],
}

pub(super) fn versions(elder: bool) -> Versions {
    match elder {
        false => Versions {
            first: site::TALOS,
            kubernetes: kubernetes::FIRST,
            second: "v1.14.0",
            doomed: "v1.14.1",
            never: [("v1.12.11", "rollback"), ("v1.15.0", "not known here")],
            call: INSTALLS,
            says: &["its installer runs", "the new image is on its disk", "is told to boot again"],
        },
        true => Versions {
            first: "v1.12.11",
            kubernetes: kubernetes::FIRST,
            second: "v1.13.0",
            doomed: "v1.13.1",
            never: [("v1.11.6", "rollback"), ("v1.14.0", "one minor version at a time")],
            call: "Upgrade",
            says: &["is told to upgrade itself", "upgrades itself"],
        },
    }
}

/// A site for this version, with what its machines boot.
pub(super) fn begin_with(folder: &Path, version: &str, kubernetes: &str) -> Result<()> {
    site::write_images_of(version, &folder.join("images"), &ImageFiles::stand_ins())?;
    edited(folder, |site| {
        (site["talosVersion"], site["kubernetesVersion"]) = (json!(version), json!(kubernetes));
        // Talos brings kube-proxy
        site["patches"] = json!([]);
    })?;
    let path = folder.join("handover/cilium.yaml");
    let text = fs::read_to_string(&path).context("the network plugin cannot be read")?;
    fs::write(&path, text.replace(REPLACES_PROXY, &REPLACES_PROXY.replace("true", "false")))
        .context("the network plugin cannot be written")
}

pub(super) async fn upgraded(story: &mut Story, folder: &Path, versions: &Versions) -> Result<()> {
    let names = names(story);
    let record = folder.join("upgrade.json");
    for (version, because) in versions.never {
        refused(story, Some(&record), &COMMAND, &["--to", version], because).await?;
    }
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "there are changes before anything was changed: {planned:#?}");
    begin_with(story.site(), versions.second, versions.kubernetes)?;
    let planned = story.daemon()?.plan().await?;
    let reinstalls = planned.values().filter(|node| node["class"] == "reinstall").count();
    ensure!(reinstalls == names.len(), "{planned:#?}");
    refused(story, Some(&record), &["apply"], &[], "needs Talos's installer").await?;

    let (installed, before) = (story.boxes.records().clone(), called(&story.boxes, &names, versions.call));
    let steps = killed::by_itself(story, &record, &COMMAND, &[]).await?;
    let done = format!("runs {} of schematic", versions.second);
    in_order(&steps.lines, &names, &done)?;
    for name in &names {
        let says = versions.says.iter().chain(&["begins", "its pods are moved elsewhere"]);
        for said in says {
            let line = format!("{name}: {said}");
            ensure!(steps.lines.contains(&line), "{line:?} is not among {:?}", steps.lines);
        }
    }
    ensure!(!record.exists(), "the record is still there");
    let snapshots = steps.lines.iter().filter(|line| line.contains("of its etcd are kept in")).count();
    ensure!(snapshots >= 1, "no snapshot of etcd was kept: {:?}", steps.lines);
    let of = names.clone();
    story
        .until("every box to write down that it was told, and has booted its own disk", move |_, boxes| {
            let now = called(boxes, &of, versions.call);
            // who had a command that died in between was told again
            before.iter().all(|(name, before)| (1..=3).contains(&(now[name] - before)))
                && installed
                    .iter()
                    .all(|(name, before)| boxes.record(name).counted.booted_own_disk_since(before.counted))
        })
        .await?;
    for (name, seen) in story.boxes.records() {
        ensure!(seen.counted.installs == 1 && seen.wipes == 0, "{name} was installed again");
    }
    say(&json!({ "event": "upgraded", "steps": steps.lines.len(), "command-killed": steps.kills }));

    // the config still names the image of before, and gets the new one's name while it runs
    killed::by_itself(story, &record, &["apply"], &[]).await?;
    let planned = story.daemon()?.plan().await?;
    ensure!(planned.is_empty(), "something is still to be changed: {planned:#?}");
    goes_back(story, &record, &names, versions).await
}

/// A version that does not come up: its node is back with the one before, and nobody follows.
async fn goes_back(story: &mut Story, record: &Path, names: &[String], versions: &Versions) -> Result<()> {
    let before = called(&story.boxes, names, INSTALLS);
    let more = ["--to", versions.doomed];
    let ended = story.daemon()?.roll(&COMMAND, Some(record), &more, &mut |_| false).await?;
    let said = format!("was to run {} of schematic", versions.doomed);
    let Ended::ByItself { code: Some(1), complaint } = &ended else {
        anyhow::bail!("it did not end with a node that went back: {ended:?}")
    };
    let back = format!("has come back with {}", versions.second);
    ensure!(complaint.contains(&said) && complaint.contains(&back), "it says {complaint}");
    ensure!(!record.exists(), "the record is still there");
    let names = names.to_owned();
    story
        .until("one box to write down that it was told", move |_, boxes| {
            let now = called(boxes, &names, INSTALLS);
            names.iter().map(|name| now[name] - before[name]).sum::<usize>() == 1
        })
        .await
        .context("one node is told, and no other one")?;
    say(&json!({ "event": "went-back", "because": complaint.trim() }));
    Ok(())
}
