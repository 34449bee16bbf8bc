//! `lab cabling`: virtual machines with real firmware, in random ports of a switch that is a real lldpd.
//!
//! Rounds, each with a fresh daemon and blank disks, judged by the config on each machine's disk: it is that of the
//! machine's port. What iPXE heard from lldpd must be among the words that the daemon decided by.

mod lldpd;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use machine::wire::Medium;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::daemon::{Daemon, Form};
use crate::dice::Dice;
use crate::plan::{self, FirmwareKind, Machine, SWITCH};
use crate::process::{Launcher, Process, Start, last_lines};
use crate::programs::Programs;
use crate::qemu::{self, Kit};
use crate::wires::Wires;
use crate::{daemon, rack, space};

/// An emulated processor takes minutes for what takes seconds, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(900);
const LAST_LINES: usize = 12;

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
    for machine in &plan {
        rack::lay_tap(&wires, &machine.interface).await?;
    }
    let mut switch = lldpd::speak(&launcher, &arguments.lldpd, &switch, &plan)?;
    let form = |state| Form::Plain { state, ledger: None };
    let daemon = |state| Daemon::new(launcher.clone(), programs.ichord.clone(), site.clone(), form(state));
    daemon(place("state")?).prepare().await?;
    let lab = Lab { launcher: &launcher, plan: &plan, kit, disks: &disks };
    let (mut dice, mut seen) = (Dice(arguments.seed), BTreeSet::new());
    let began = Instant::now();
    for round in 1..=arguments.rounds {
        let cabling = dice.shuffled(plan.len());
        let mut daemon = daemon(place(&format!("state-{round}"))?);
        let took = lab
            .round(&mut daemon, &cabling)
            .await
            .with_context(|| format!("round {round}, cabling {cabling:?}"))?;
        println!(
            "{}",
            json!({ "event": "round", "round": round, "cabling": cabling, "seconds": took.as_secs() })
        );
        seen.insert(cabling);
        if let Some(status) = switch.has_ended()? {
            bail!("lldpd ended by itself ({status}): {}", last_lines(&launcher.log("lldpd"), 5).join("; "));
        }
        wires.forget_neighbours().await?;
    }
    let seconds = began.elapsed().as_secs();
    println!(
        "{}",
        json!({ "event": "summary", "passed": true, "rounds": arguments.rounds, "cablings": seen.len(), "seconds": seconds })
    );
    switch.crash().await?;
    Ok(())
}

/// What all rounds share.
struct Lab<'a> {
    launcher: &'a Launcher,
    plan: &'a [Machine],
    kit: &'a Kit,
    disks: &'a Path,
}

impl Lab<'_> {
    /// Blank machines in these ports, until each is installed with the config of its port.
    async fn round(&self, daemon: &mut Daemon, cabling: &[usize]) -> Result<Duration> {
        let began = Instant::now();
        daemon.start()?;
        daemon.ready().await?;
        let (lines, mut said) = mpsc::unbounded_channel();
        let mut running: Vec<Process> = Vec::new();
        for (port, &number) in self.plan.iter().zip(cabling) {
            let of_box = Machine { interface: port.interface.clone(), ..self.hardware(number) };
            let start = Start {
                name: of_box.name.clone(),
                network: None,
                card: None,
                command: self.kit.command(&of_box, self.disks)?,
                environment: Vec::new(),
            };
            running.push(self.launcher.start(start, Some(lines.clone()))?);
        }
        let judged = async {
            self.installed(&mut said, began + PATIENCE).await?;
            for (port, &number) in self.plan.iter().zip(cabling) {
                self.is_what_its_port_says(daemon, port, &self.hardware(number)).await?;
            }
            anyhow::Ok(())
        };
        let judged = judged.await;
        for mut process in running {
            process.crash().await?;
        }
        daemon.process()?.stop().await?;
        judged.map(|()| began.elapsed())
    }

    /// A machine without a place.
    fn hardware(&self, number: usize) -> Machine {
        Machine { name: format!("box-{}", number + 1), ..self.plan[number].clone() }
    }

    async fn installed(
        &self,
        said: &mut mpsc::UnboundedReceiver<(String, String)>,
        deadline: Instant,
    ) -> Result<()> {
        let mut missing: BTreeSet<String> =
            (0..self.plan.len()).map(|number| self.hardware(number).name).collect();
        while !missing.is_empty() {
            let Ok(Some((name, line))) = timeout_at(deadline, said.recv()).await else {
                let mut words = format!("{missing:?} were not installed in time");
                for name in missing.iter().map(String::as_str).chain([daemon::NAME]) {
                    let last = last_lines(&self.launcher.log(name), LAST_LINES);
                    words += &format!("\n{name}:\n{}", last.join("\n"));
                }
                bail!(words);
            };
            let event = serde_json::from_str::<Value>(&line).ok();
            if event.is_some_and(|event| event["event"] == "installed") {
                missing.remove(&name);
            }
        }
        Ok(())
    }

    /// By the config on its disk; and by the daemon's words, which must be lldpd's where the firmware can hear them.
    async fn is_what_its_port_says(&self, daemon: &Daemon, port: &Machine, of_box: &Machine) -> Result<()> {
        let disk = Medium::Device(self.disks.join(format!("{}.disk", of_box.name)));
        let system = disk.storage()?.system.with_context(|| format!("{}'s disk is blank", of_box.name))?;
        let wanted = format!("hostname: {}", port.name);
        ensure!(
            system.state.is_some_and(|config| config.lines().any(|line| line.trim() == wanted)),
            "{} is in the port of {} and has another one's config",
            of_box.name,
            port.name
        );
        let heard = format!("iPXE: {} on {SWITCH}/{}", of_box.mac, port.port);
        let seen = daemon.seen_of(&port.name).await?;
        let hears = seen.iter().any(|line| line.starts_with(&heard));
        // the card's ROM of a BIOS machine is a build without LLDP
        let can_hear = of_box.firmware != FirmwareKind::Bios;
        ensure!(
            hears == can_hear,
            "{} should have been heard as {heard:?}: {can_hear}; {seen:#?}",
            of_box.name
        );
        Ok(())
    }
}
