//! `lab cabling`: virtual machines with real firmware, in random ports of a switch that is a real lldpd.
//!
//! Rounds, each with a fresh daemon and blank disks, judged by the config on each machine's disk: it is that of the
//! machine's port. After the last one two cables are swapped, and another machine takes the place of a worker.

mod lldpd;
mod round;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::round::{Lab, Round};
use crate::daemon::{Daemon, Form};
use crate::dice::Dice;
use crate::plan;
use crate::process::{Launcher, last_lines};
use crate::programs::Programs;
use crate::qemu::{self, Kit};
use crate::wires::Wires;
use crate::{rack, space};

/// Arguments of *cabling*.
#[derive(Debug, Args)]
pub(crate) struct Cabling {
    /// Rounds of random cabling
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seed of the cablings
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder that Debian's package lldpd was unpacked into
    #[arg(long, value_name = "FOLDER")]
    lldpd: PathBuf,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it (needs root). True when every machine became what its port says.
pub(crate) fn run(arguments: &Cabling) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("virtual machines need root: QEMU's network cards are the kernel's business");
    }
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    // downloads, so before the network is left behind
    let scratch = tempfile::tempdir().context("cannot make a folder for the boot images")?;
    let kit = qemu::assemble(&programs.machine, scratch.path())?;
    space::tell(async |folder| judge(arguments, &programs, &kit, folder).await.map(|()| true))
}

async fn judge(arguments: &Cabling, programs: &Programs, kit: &Kit, folder: &Path) -> Result<()> {
    let place = |name: &str| space::place(folder, name);
    let (site, logs, disks, switch) = (place("site")?, place("logs")?, place("disks")?, place("switch")?);
    let launcher = Launcher { lab: programs.lab.clone(), logs };
    // the ports, with the node that belongs to each; the boxes are the same hardware without a place
    let plan = plan::one_of_each_firmware();
    let wires = Wires::open()?;
    wires.lay_bridge().await?;
    rack::write_firmware_site(kit, &site, &plan)?;
    replaced_by_itself(&site.join("ichord.yaml"))?;
    for machine in &plan {
        rack::lay_tap(&wires, &machine.interface).await?;
    }
    let mut switch = lldpd::speak(&launcher, &arguments.lldpd, &switch, &plan)?;
    let form = |state| Form::Plain { state, ledger: None };
    let daemon = |state| Daemon::new(launcher.clone(), programs.ichord.clone(), site.clone(), form(state));
    daemon(place("state")?).prepare().await?;
    let lab = Lab { launcher: &launcher, plan: &plan, kit, disks: &disks, wires: &wires };
    let (mut dice, mut seen) = (Dice::new(arguments.seed), BTreeSet::new());
    let began = Instant::now();
    for number in 1..=arguments.rounds {
        let cabling = dice.shuffled(plan.len());
        let round_began = Instant::now();
        let mut round = Round::begin(&lab, daemon(place(&format!("state-{number}"))?)).await?;
        let judged = async {
            round.installs(&cabling).await?;
            say(&json!({
                "event": "round",
                "round": number,
                "cabling": cabling,
                "seconds": round_began.elapsed().as_secs(),
            }));
            if number == arguments.rounds {
                let warned = round.swap().await.context("two cables are swapped")?;
                say(&json!({ "event": "wrong cables told", "seconds": warned.as_secs() }));
                let replaced = round.replace().await.context("a machine is replaced")?;
                say(&json!({ "event": "replaced", "seconds": replaced.as_secs() }));
            }
            anyhow::Ok(())
        };
        let judged = judged.await;
        round.end().await?;
        judged.with_context(|| format!("round {number}, cabling {cabling:?}"))?;
        seen.insert(cabling);
        if let Some(status) = switch.has_ended()? {
            bail!("lldpd ended by itself ({status}): {}", last_lines(&launcher.log("lldpd"), 5).join("; "));
        }
        wires.forget_neighbours().await?;
    }
    let seconds = began.elapsed().as_secs();
    say(
        &json!({ "event": "summary", "passed": true, "rounds": arguments.rounds, "cablings": seen.len(), "seconds": seconds }),
    );
    switch.crash().await?;
    Ok(())
}

fn say(event: &Value) {
    println!("{event}");
}

/// No person orders the replacement of a dead machine, and the daemon need not be sure of its death for long.
fn replaced_by_itself(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    written["replace"] = json!("same-port");
    written["timing"] = json!({ "replace-after": "2s" });
    fs::write(path, format!("{written:#}\n")).context("the site cannot be written")
}
