//! `lab memory`: the daemon's memory is lost, or is an old one, and its cluster runs. A daemon that never saw it takes it over;
//! one whose state was deleted comes back; one that was restored from a backup learns what was done since; and etcd that lost its
//! data everywhere begins anew from a snapshot. Nobody is installed, wiped or asked to found a cluster by any of it. At the end the
//! control planes lose their disks, and one of them its machine: they are installed anew by a person's word, and etcd begins
//! from what the daemon kept by the clock and the site's own program copied elsewhere.
//!
//! The site lets everything be installed without a person (`deploy: auto`), which is what an empty store must not fall for.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::plan;
use crate::programs::Programs;
use crate::space;
use crate::story::{Story, has_come_to, say, state_of, waits_for};

const CONTROL_PLANES: usize = 3;
const WORKERS: usize = 1;

/// What nobody may be told while its cluster is taken over.
const TOUCHES: [&str; 7] =
    ["ApplyConfiguration", "Bootstrap", "BootstrapRecovered", "EtcdRecover", "Reset", "Reboot", "Shutdown"];

/// Snapshots by the clock: how often, how many stay here, where the copies go, and what keeps them from it.
const EVERY: &str = "2s";
const KEEP: u8 = 3;
const ELSEWHERE: &str = "elsewhere";
const FULL: &str = "full";

/// Until a word is taken that the daemon's looks must have grown old for.
const PATIENCE: Duration = Duration::from_secs(120);

/// For one answer of etcd.
const ANSWER: Duration = Duration::from_secs(10);

/// Keys and a value of etcd, in base64 as its gateway wants them.
const KEPT: &str = "bGFiL2tlcHQ=";
const LATER: &str = "bGFiL2xhdGVy";
const VALUE: &str = "YmVmb3Jl";

/// Arguments of *memory*.
#[derive(Debug, Args)]
pub(crate) struct Memory {
    /// A real etcd runs behind every control plane; needs what `cargo run -p oracles -- etcd` builds
    #[arg(long)]
    real_etcd: bool,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when the cluster is the same one all the time, and nobody was touched.
pub(crate) fn run(arguments: &Memory) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    let programs = if arguments.real_etcd { programs.with_real_etcd()? } else { programs };
    let real = arguments.real_etcd;
    space::tell(async |folder| {
        let mut spares = plan::machines(CONTROL_PLANES + WORKERS, 1).split_off(CONTROL_PLANES + WORKERS);
        spares[0].name = "spare".to_owned();
        let plan = plan::machines(CONTROL_PLANES, WORKERS);
        let site = |site: &mut Value| {
            site["deploy"] = json!("auto");
            site["replace"] = json!("same-port");
            site["timing"]["replace-after"] = json!("2s");
            let copy = folder.join("copy.sh").display().to_string();
            site["snapshots"] = json!({ "every": EVERY, "keep": KEEP, "copy": ["sh", copy] });
        };
        write_copier(folder)?;
        let mut story = Story::prepare(&programs, folder, plan, spares, site).await?;
        told(&mut story, folder, real).await?;
        say(&json!({ "event": "summary", "passed": true }));
        Ok(true)
    })
}

/// What a box's own record says of what must not happen.
type Touched = BTreeMap<String, (u32, u32, u32, usize)>;

fn touched(story: &Story) -> Touched {
    let of = |(name, seen): (&String, &crate::summary::Seen)| {
        let calls = seen.calls.iter().filter(|call| TOUCHES.contains(&call.as_str())).count();
        (name.clone(), (seen.counted.installs, seen.wipes, seen.counted.bootstraps, calls))
    };
    story.boxes.records().iter().map(of).collect()
}

async fn told(story: &mut Story, folder: &Path, real: bool) -> Result<()> {
    let chapter = "a memory is lost";
    story.begin(chapter).await?;
    story.switch_on(&(0..CONTROL_PLANES + WORKERS).collect::<Vec<_>>()).await?;
    whole(story, "the cluster to be handed over, and every node to be ready").await?;
    story.founded_once()?;

    let old = folder.join("old.sealed");
    story.daemon()?.back_up(&old).await?;
    restored(story, &old).await?;
    another_daemon(story).await?;
    deleted(story).await?;
    kept_by_the_clock(story, folder).await?;
    recovered(story, folder, real).await?;
    disks_lost(story, folder, real).await?;
    story.end(chapter).await
}

/// Everybody is ready, and the cluster is Git's.
async fn whole(story: &mut Story, what: &str) -> Result<()> {
    let names: Vec<String> = story.ports.plan.iter().map(|machine| machine.name.clone()).collect();
    story
        .until(what, move |status, _| {
            has_come_to(status, "handed over") && names.iter().all(|name| state_of(status, name) == "ready")
        })
        .await
}

/// A daemon that never saw the cluster, which another one built.
async fn another_daemon(story: &mut Story) -> Result<()> {
    let before = touched(story);
    story.another_daemon("state-of-another").await?;
    story
        .until("the cluster to be found", |status, _| {
            waits_for(status, "cluster").contains("`ichord takeover`")
        })
        .await?;
    let look = story.daemon()?.tell(&["takeover", "--look"]).await?;
    ensure!(look.contains("would be done: ") && look.contains("etcd's members are"), "it says {look}");
    // whoever boots now asks the network first, and the site permits everything
    let name = story.ports.plan[CONTROL_PLANES - 1].name.clone();
    let boots = story.boxes.record(&name).counted.boots;
    story.boxes.power_off(&name, &story.ports).await?;
    story.boxes.power_on(&name, &story.ports, CONTROL_PLANES - 1).await?;
    let watched = name.clone();
    story
        .until("its firmware to ask", move |status, _| {
            waits_for(status, &watched).contains(&format!("`ichord deploy {watched}`"))
        })
        .await?;
    ensure!(story.boxes.record(&name).counted.boots == boots, "{name} was given something to boot");
    let words = story.daemon()?.tell(&["takeover"]).await?;
    ensure!(
        words.contains("taken over as they are") && words.contains(&format!("{name}: does not answer")),
        "{words}"
    );
    // the one that asked boots its own disk once it is known, which takes the same word again
    story.boxes.power_off(&name, &story.ports).await?;
    boot_own_disk(story, &name, CONTROL_PLANES - 1).await?;
    whole(story, "the cluster to be as it was").await?;
    ensure!(touched(story) == before, "somebody was touched: {before:?} became {:?}", touched(story));
    say(&json!({ "event": "taken-over", "by": "another daemon" }));
    Ok(())
}

/// A box whose firmware asks in vain goes to its own disk in the end; a daemon that is away makes that quick.
async fn boot_own_disk(story: &mut Story, name: &str, port: usize) -> Result<()> {
    story.daemon()?.process()?.stop().await?;
    story.boxes.power_on(name, &story.ports, port).await?;
    while story.boxes.record(name).states.last().is_none_or(|(state, _)| state != "running") {
        story.boxes.hear().await;
        story.boxes.none_ended()?;
    }
    story.daemon()?.start()?;
    story.daemon()?.ready().await?;
    story.daemon()?.tell(&["takeover"]).await.map(drop)
}

/// The state directory is deleted under a daemon that is killed.
async fn deleted(story: &mut Story) -> Result<()> {
    let before = touched(story);
    story.daemon()?.process()?.crash().await?;
    let state = story.daemon()?.state()?;
    fs::remove_dir_all(&state).context("the state cannot be deleted")?;
    fs::create_dir(&state).context("the state's folder cannot be made")?;
    story.daemon()?.start()?;
    story.daemon()?.ready().await?;
    story.daemon()?.tell(&["takeover"]).await?;
    whole(story, "the cluster to be as it was, of a daemon without a state").await?;
    ensure!(touched(story) == before, "somebody was touched: {before:?} became {:?}", touched(story));
    say(&json!({ "event": "taken-over", "by": "a daemon whose state was deleted" }));
    Ok(())
}

/// A machine is replaced after a backup, which is then brought back.
async fn restored(story: &mut Story, old: &Path) -> Result<()> {
    let port = 1;
    let (node, plan) = (story.ports.plan[port].name.clone(), story.ports.plan.clone());
    let mac = story.boxes.machine("spare")?.mac;
    // an etcd that outlived it would keep the spare machine's from beginning, which is in the same network
    story.boxes.power_cut(&node, &story.ports).await?;
    story.boxes.blank("spare");
    story.boxes.power_on("spare", &story.ports, port).await?;
    let watched = node.clone();
    story
        .until("the spare machine to be the node", move |status, _| {
            status.view.nodes.get(&watched.as_str().into()).is_some_and(|held| {
                held.macs.contains(&mac) && held.state == "ready" && held.leaving.is_none()
            })
        })
        .await?;
    whole(story, "everybody to be ready again").await?;
    let before = touched(story);
    story.daemon()?.process()?.stop().await?;
    story.daemon()?.restore(old).await?;
    story.daemon()?.start()?;
    story.daemon()?.ready().await?;
    let watched = node.clone();
    story
        .until("the old store to find another machine", move |status, _| {
            waits_for(status, &watched).contains("answers with our CA")
        })
        .await?;
    let words = story.daemon()?.tell(&["takeover"]).await?;
    ensure!(words.contains(&format!("{node} taken over as they are")), "it says {words}");
    let watched = node.clone();
    story
        .until("the spare machine to be known as the node", move |status, _| {
            status.view.nodes.get(&watched.as_str().into()).is_some_and(|held| held.macs.contains(&mac))
        })
        .await?;
    whole(story, "everybody to be ready with the old store").await?;
    ensure!(touched(story) == before, "somebody was touched: {before:?} became {:?}", touched(story));
    ensure!(story.boxes.is("spare", &plan)? == [node.as_str()], "the spare machine is another node now");
    say(&json!({ "event": "restored", "replaced-since": node }));
    Ok(())
}

/// etcd's data are gone from every disk.
async fn recovered(story: &mut Story, folder: &Path, real: bool) -> Result<()> {
    let running = story.boxes.running();
    let control_planes: Vec<(String, usize)> =
        running.into_iter().filter(|(_, port)| *port < CONTROL_PLANES).collect();
    let first = story.ports.plan[0].name.clone();
    let refused = story.daemon()?.tell_typed(&["recover", &first], &first).await;
    ensure!(
        refused.as_ref().is_err_and(|error| format!("{error:#}").contains("follows a leader")),
        "a cluster with its quorum was to be recovered: {refused:?}"
    );
    let address = IpAddr::V4(story.ports.plan[0].address);
    if real {
        etcd(address, "put", &json!({ "key": KEPT, "value": VALUE })).await?;
    }
    let kept = story.daemon()?.tell(&["snapshot"]).await?;
    let (_, kept) = kept.trim().split_once("are kept in ").with_context(|| format!("it says {kept}"))?;
    // what the daemon keeps is overtaken by the clock; elsewhere all of them are
    let kept = folder.join(ELSEWHERE).join(Path::new(kept).file_name().context("it names no file")?);
    if real {
        etcd(address, "put", &json!({ "key": LATER, "value": VALUE })).await?;
    }
    for (name, _) in &control_planes {
        story.boxes.power_off(name, &story.ports).await?;
        lose_etcd(&story.boxes.disk(name))?;
    }
    for (name, port) in &control_planes {
        story.boxes.power_on(name, &story.ports, *port).await?;
    }
    let names: Vec<String> = story.ports.plan[..CONTROL_PLANES].iter().map(|it| it.name.clone()).collect();
    let waits = names.clone();
    story
        .until("every control plane to show that it is empty", move |status, _| {
            waits.iter().all(|name| waits_for(status, name).contains("etcd is Preparing"))
        })
        .await?;
    let kept = kept.display().to_string();
    let words = story.daemon()?.tell_typed(&["recover", &first, "--from", &kept], &first).await?;
    ensure!(words.contains("begins etcd anew"), "it says {words}");
    // the daemon may die over it, and tells nobody else
    story.daemon()?.process()?.crash().await?;
    story.daemon()?.start()?;
    story.daemon()?.ready().await?;
    story
        .until("every control plane to be well again", move |status, _| {
            names.iter().all(|name| state_of(status, name) == "ready" && waits_for(status, name).is_empty())
                && !waits_for(status, "cluster").contains("recovered")
        })
        .await?;
    let recoveries: BTreeMap<&String, u32> = (story.boxes.records().iter())
        .filter(|(_, seen)| seen.recoveries > 0)
        .map(|(name, seen)| (name, seen.recoveries))
        .collect();
    if recoveries != BTreeMap::from([(&first, 1)]) {
        bail!("etcd was recovered as {recoveries:?}, not once on {first}");
    }
    let founded: u32 = story.boxes.records().values().map(|seen| seen.counted.bootstraps).sum();
    ensure!(founded == 1, "{founded} clusters were founded");
    if real {
        let kept = etcd(address, "range", &json!({ "key": KEPT })).await?;
        ensure!(kept.contains(VALUE), "what was written before the snapshot is gone: {kept}");
        let later = etcd(address, "range", &json!({ "key": LATER })).await?;
        ensure!(!later.contains(VALUE), "what was written after the snapshot is there: {later}");
    }
    say(&json!({ "event": "recovered", "on": first, "real-etcd": real }));
    Ok(())
}

/// Nobody asks for them: some are kept here, all of them elsewhere, and where that fails a person sees it.
async fn kept_by_the_clock(story: &mut Story, folder: &Path) -> Result<()> {
    let (elsewhere, full) = (folder.join(ELSEWHERE), folder.join(ELSEWHERE).join(FULL));
    let kept = story.daemon()?.state()?.join("snapshots");
    let before = copies(&elsewhere)?.len();
    let copied = elsewhere.clone();
    story
        .until("snapshots to be taken by the clock", move |status, _| {
            status.snapshots.last.is_some()
                && copies(&copied).is_ok_and(|all| all.len() > before + usize::from(KEEP))
        })
        .await?;
    let here = copies(&kept)?;
    // one may be on its way, and is not forgotten before it is there
    ensure!((1..=usize::from(KEEP)).contains(&here.len()), "{} are kept: {here:?}", here.len());
    let newest = copies(&elsewhere)?.pop().context("none is elsewhere")?;
    let bytes = fs::read(elsewhere.join(&newest)).context("the copy cannot be read")?;
    let name = story.ports.plan[0].name.clone();
    let shows = bytes.windows(name.len()).any(|window| window == name.as_bytes());
    ensure!(!shows && !bytes.is_empty(), "the copy shows what it holds");

    fs::write(&full, "").context("the place elsewhere cannot be filled")?;
    story
        .until("the failed copy to be told", |status, _| {
            status.snapshots.fault.as_ref().is_some_and(|fault| fault.contains("no room there"))
        })
        .await?;
    let status = story.daemon()?.tell(&["status"]).await?;
    ensure!(status.contains("! snapshots of etcd: ") && status.contains("no room there"), "it says {status}");
    fs::remove_file(&full).context("the place elsewhere stays full")?;
    story.until("the next copy to succeed", |status, _| status.snapshots.fault.is_none()).await?;
    say(&json!({ "event": "kept-by-the-clock", "here": here.len() }));
    Ok(())
}

/// The names of the sealed snapshots in a folder, the oldest first.
fn copies(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let names = entries.map(|entry| anyhow::Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.retain(|name| name.ends_with(".sealed") && !name.contains("-before-"));
    names.sort();
    Ok(names)
}

/// The site's own program: copies what it is given, as long as there is room.
fn write_copier(folder: &Path) -> Result<()> {
    let elsewhere = folder.join(ELSEWHERE);
    fs::create_dir(&elsewhere).context("there is no place elsewhere")?;
    let elsewhere = elsewhere.display();
    let script = format!(
        "if [ -e '{elsewhere}/{FULL}' ]; then echo 'no room there' >&2; exit 1; fi\ncp \"$1\" '{elsewhere}/'\n"
    );
    fs::write(folder.join("copy.sh"), script).context("the program that copies cannot be written")
}

/// The control planes come back with empty disks, and one of them as another machine.
async fn disks_lost(story: &mut Story, folder: &Path, real: bool) -> Result<()> {
    let address = IpAddr::V4(story.ports.plan[0].address);
    let first = story.ports.plan[0].name.clone();
    if real {
        etcd(address, "put", &json!({ "key": KEPT, "value": VALUE })).await?;
    }
    let kept = story.daemon()?.tell(&["snapshot"]).await?;
    let (_, kept) = kept.trim().split_once("are kept in ").with_context(|| format!("it says {kept}"))?;
    let kept = folder.join(ELSEWHERE).join(Path::new(kept).file_name().context("it names no file")?);
    let kept = kept.display().to_string();
    let running = story.boxes.running();
    let before: Vec<(String, usize)> =
        running.into_iter().filter(|(_, port)| *port < CONTROL_PLANES).collect();
    let asked = story.calls("Bootstrap");
    let installs =
        |story: &Story| -> u32 { story.boxes.records().values().map(|seen| seen.counted.installs).sum() };
    for (name, _) in &before {
        story.boxes.power_cut(name, &story.ports).await?;
        story.boxes.blank(name);
    }
    // the box that the spare machine took the place of comes back, blank, as another machine than held the node last
    let names: Vec<String> = story.ports.plan[..CONTROL_PLANES].iter().map(|it| it.name.clone()).collect();
    for (port, name) in names.iter().enumerate() {
        story.boxes.blank(name);
        story.boxes.power_on(name, &story.ports, port).await?;
    }
    let words = ["recover", first.as_str(), "--disks-lost", "--from", kept.as_str()];
    let (was, deadline) = (installs(story), Instant::now() + PATIENCE);
    let said = loop {
        match story.daemon()?.tell_typed(&words, &first).await {
            Ok(said) => break said,
            // the last looks at them still count
            Err(error) => ensure!(Instant::now() < deadline, "never taken: {error:#}"),
        }
        // their firmware asks in vain, again and again
        story.boxes.hear().await;
        story.boxes.none_ended()?;
    };
    ensure!(said.contains("may be installed anew"), "it says {said}");
    ensure!(installs(story) == was, "somebody was installed without a person's word");
    story.daemon()?.process()?.crash().await?;
    story.daemon()?.start()?;
    story.daemon()?.ready().await?;
    let watched = names.clone();
    story
        .until("every control plane to be installed anew and well", move |status, _| {
            let back =
                |name: &String| state_of(status, name) == "ready" && waits_for(status, name).is_empty();
            watched.iter().all(back) && !waits_for(status, "cluster").contains("recovered")
        })
        .await?;
    whole(story, "the whole cluster to be as it was").await?;
    let now = installs(story);
    ensure!(now == was + 3, "{} machines were installed, not the three without a disk", now - was);
    let recoveries: u32 = story.boxes.records().values().map(|seen| seen.recoveries).sum();
    ensure!(recoveries == 2, "etcd was recovered {recoveries} times, where this is the second");
    ensure!(story.calls("Bootstrap") == asked, "somebody was asked to found a cluster");
    for (port, name) in names.iter().enumerate() {
        let is = story.boxes.is(name, &story.ports.plan)?;
        ensure!(is == [story.ports.plan[port].name.as_str()], "{name} is {is:?}");
    }
    if real {
        let kept = etcd(address, "range", &json!({ "key": KEPT })).await?;
        ensure!(kept.contains(VALUE), "what was written before the snapshot is gone: {kept}");
    }
    say(&json!({ "event": "disks-lost", "recovered-on": first, "real-etcd": real }));
    Ok(())
}

/// A question to a real etcd's JSON gateway; what it says, headers and all.
async fn etcd(address: IpAddr, what: &str, question: &Value) -> Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect((address, 2379)).await?;
        let body = question.to_string();
        let head = format!(
            "POST /v3/kv/{what} HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "etcd says {answer}");
        anyhow::Ok(answer)
    };
    timeout(ANSWER, asked).await.with_context(|| format!("etcd at {address} does not answer"))?
}

/// As if EPHEMERAL had been wiped.
fn lose_etcd(disk: &Path) -> Result<()> {
    let text = fs::read_to_string(disk).with_context(|| format!("{} cannot be read", disk.display()))?;
    let mut contents: Value = serde_json::from_str(&text).context("the disk is not one")?;
    let etcd = contents.pointer_mut("/storage/system/etcd").context("the disk has no place for etcd")?;
    ensure!(!etcd.is_null(), "{} has no etcd", disk.display());
    *etcd = Value::Null;
    fs::write(disk, contents.to_string()).with_context(|| format!("{} cannot be written", disk.display()))
}
