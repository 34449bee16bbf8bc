//! `lab neighbours`: machines started from Talos's own ISO, whose ports nothing tells but Talos's LLDPNeighborStatus.
//!
//! They are plugged in crosswise, and the site believes no machine alone: the worker is installed, the control plane only
//! once a person has compared the fingerprint of its key.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::Status;
use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use crate::daemon::{Daemon, Form};
use crate::discovery::{Crosswise, deafen};
use crate::plan::{self, SWITCH};
use crate::ports::Ports;
use crate::process::Launcher;
use crate::programs::Programs;
use crate::{rack, site, space};

const PATIENCE: Duration = Duration::from_secs(180);
/// The first release that listens to LLDP by itself.
const LISTENS: &str = "v1.15.0";

/// Arguments of *neighbours*.
#[derive(Debug, Args)]
pub(crate) struct Neighbours {
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when every machine became what its port says.
pub(crate) fn run(arguments: &Neighbours) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| judge(&programs, folder).await.map(|()| true))
}

async fn judge(programs: &Programs, folder: &Path) -> Result<()> {
    let place = |name| space::place(folder, name);
    let (site, state, logs, disks) = (place("site")?, place("state")?, place("logs")?, place("disks")?);
    let launcher = Launcher { lab: programs.lab.clone(), logs };
    let ports = Ports::lay(&launcher, plan::machines(1, 1)).await?;
    let plan = &ports.plan;
    let _switch_stops = ports.speak().await?;
    rack::write_simulated_site(&site, plan, site::Dhcp::OursForAny)?;
    deafen(&site.join("ichord.yaml"), "attested")?;
    site::write_images(&site.join("images"), &site::ImageFiles::stand_ins())?;
    let mut daemon =
        Daemon::new(launcher.clone(), programs.ichord.clone(), site, Form::Plain { state, ledger: None });
    daemon.prepare().await?;
    daemon.start()?;
    daemon.ready().await?;

    let began = Instant::now();
    let iso = ["--iso", LISTENS];
    let mut boxes = Crosswise::power_on(&launcher, programs, plan, &ports.places(), &disks, &iso)?;
    let control_plane = &plan[0].name;
    let fingerprint = asks_for_a_person(&daemon, control_plane).await?;
    ensure!(!boxes.has_config(0, &disks)?, "{control_plane} has its config on its own word alone");
    daemon.tell(&["approve", control_plane, "--fingerprint", &fingerprint]).await?;
    boxes.until_installed(&launcher, began + PATIENCE).await?;
    boxes.are_what_their_ports_say(plan, &disks)?;
    let nodes = daemon.status().await.context("the daemon does not answer")?.view.nodes;
    for machine in plan {
        let told = nodes.get(&machine.name.as_str().into()).and_then(|node| node.port.clone());
        let port = format!("{SWITCH}/{}", machine.port);
        ensure!(told.as_deref() == Some(&port), "{} was not claimed by its port: {told:?}", machine.name);
        let seen = daemon.seen_of(&machine.name).await?;
        let hears = |words: &String| words.contains("its own account") && words.contains("hears chassis");
        ensure!(seen.iter().any(hears), "nothing that Talos hears placed {}: {seen:#?}", machine.name);
    }
    println!("{}", json!({ "event": "summary", "passed": true, "seconds": began.elapsed().as_secs() }));
    boxes.power_off().await?;
    daemon.process()?.stop().await?;
    Ok(())
}

/// Waits until the daemon asks somebody to compare the fingerprint, and returns that.
async fn asks_for_a_person(daemon: &Daemon, node: &str) -> Result<String> {
    let asked = |status: &Status| {
        let view = status.view.nodes.get(&node.into())?;
        let asks = view.waiting.as_deref()?.contains("ichord approve");
        view.fingerprint.clone().filter(|_| asks)
    };
    let what = format!("{node} to ask for a person's word");
    daemon.until(&what, PATIENCE, |status| asked(status).is_some()).await?;
    daemon.status().await.as_ref().and_then(asked).with_context(|| format!("{node} asks no longer"))
}
