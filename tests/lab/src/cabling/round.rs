//! A round: virtual machines in ports, and a daemon that knows nothing when it begins.
//!
//! Of each machine it is judged what its own disk says, and that the words of lldpd are among those it was placed by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::Status;
use machine::wire::Medium;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::daemon::{self, Daemon};
use crate::plan::{self, FirmwareKind, Machine, SWITCH};
use crate::process::{Launcher, Lines, Process, Start, last_lines};
use crate::qemu::Kit;
use crate::wires::Wires;

/// An emulated processor takes minutes for what takes seconds, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(900);
/// An LLDP interval of a real switch, and the time that emulated firmware takes to its first word.
const WARNED_WITHIN: Duration = Duration::from_secs(30 + 30);
const LAST_LINES: usize = 12;

/// What all rounds share.
pub(super) struct Lab<'a> {
    pub(super) launcher: &'a Launcher,
    /// the nodes, in the order of their ports
    pub(super) plan: &'a [Machine],
    pub(super) kit: &'a Kit,
    pub(super) disks: &'a Path,
    pub(super) wires: &'a Wires,
}

impl Lab<'_> {
    /// A box by its number, in no port; the one beyond the ports is the spare.
    fn hardware(&self, number: usize) -> Machine {
        let name = format!("box-{}", number + 1);
        match self.plan.get(number) {
            Some(machine) => Machine { name, ..machine.clone() },
            None => Machine { name, ..plan::machines(1, number)[number].clone() },
        }
    }
}

/// Machines that run, and the daemon.
pub(super) struct Round<'a> {
    lab: &'a Lab<'a>,
    daemon: Daemon,
    lines: Lines,
    said: mpsc::UnboundedReceiver<(String, String)>,
    /// by the number of the port, from 0
    running: BTreeMap<usize, (Machine, Process)>,
}

impl<'a> Round<'a> {
    /// Starts the daemon.
    pub(super) async fn begin(lab: &'a Lab<'a>, mut daemon: Daemon) -> Result<Self> {
        daemon.start()?;
        daemon.ready().await?;
        let (lines, said) = mpsc::unbounded_channel();
        Ok(Self { lab, daemon, lines, said, running: BTreeMap::new() })
    }

    /// Blank machines in these ports, until each is installed with the config of its port.
    pub(super) async fn installs(&mut self, cabling: &[usize]) -> Result<()> {
        for (port, &number) in cabling.iter().enumerate() {
            self.power_on_blank(number, port).await?;
        }
        let boxes = cabling.iter().map(|&number| self.lab.hardware(number).name).collect();
        self.installed(boxes).await?;
        for (port, &number) in cabling.iter().enumerate() {
            self.is_what_its_port_says(number, port).await?;
        }
        Ok(())
    }

    /// Two machines that run are each put into the other's port, and back when the daemon has told it.
    pub(super) async fn swap(&mut self) -> Result<Duration> {
        self.all_are_nodes().await?;
        let plan = self.lab.plan;
        let began = Instant::now();
        self.exchange(0, 1).await?;
        let told = [(&plan[0].name, &plan[1].name), (&plan[1].name, &plan[0].name)];
        let both = |status: &Status| {
            told.iter().all(|(node, there)| {
                let node = status.view.nodes.get(&node.as_str().into());
                let warning = node.and_then(|node| node.warning.as_deref()).unwrap_or_default();
                warning.contains("wrong cable") && warning.contains(&format!("the port of {there}"))
            })
        };
        self.daemon.until("both wrong cables to be told", PATIENCE, both).await?;
        let took = began.elapsed();
        ensure!(took < WARNED_WITHIN, "the warning took {} s, longer than an LLDP interval", took.as_secs());
        self.exchange(0, 1).await?;
        let none = |status: &Status| status.view.nodes.values().all(|node| node.warning.is_none());
        self.daemon.until("the right cables to be seen", PATIENCE, none).await?;
        Ok(took)
    }

    /// A worker dies, and a machine with other addresses, UUID and serial number is put into its port.
    pub(super) async fn replace(&mut self) -> Result<Duration> {
        self.all_are_nodes().await?;
        let plan = self.lab.plan;
        let port = plan.iter().position(|node| !node.control_plane).context("there is no worker")?;
        let was = self.power_off(port).await?.mac;
        let began = Instant::now();
        let spare = plan.len();
        self.power_on_blank(spare, port).await?;
        let new = self.lab.hardware(spare);
        self.installed(BTreeSet::from([new.name])).await?;
        self.is_what_its_port_says(spare, port).await?;
        let took = began.elapsed();
        let node = plan[port].name.as_str();
        let exchanged = |status: &Status| {
            let view = status.view.nodes.get(&node.into());
            view.is_some_and(|view| view.macs.contains(&new.mac) && !view.macs.contains(&was))
                && status.view.fenced.iter().any(|fenced| fenced.macs.contains(&was))
        };
        self.daemon
            .until("the new machine to hold the slot, and the old one to be fenced off", PATIENCE, exchanged)
            .await?;
        Ok(took)
    }

    /// Everything is off.
    pub(super) async fn end(mut self) -> Result<()> {
        for port in 0..self.lab.plan.len() {
            if self.running.contains_key(&port) {
                self.power_off(port).await?;
            }
        }
        self.daemon.process()?.stop().await?;
        Ok(())
    }

    async fn all_are_nodes(&self) -> Result<()> {
        let nodes = |status: &Status| {
            status.view.nodes.values().all(|node| matches!(node.state.as_str(), "configured" | "ready"))
        };
        self.daemon.until("every node to run from its own disk", PATIENCE, nodes).await
    }

    async fn exchange(&mut self, one: usize, other: usize) -> Result<()> {
        let (first, second) = (self.power_off(one).await?, self.power_off(other).await?);
        self.power_on(first, other).await?;
        self.power_on(second, one).await
    }

    async fn power_on_blank(&mut self, number: usize, port: usize) -> Result<()> {
        let of_box = self.lab.hardware(number);
        Kit::blank(&of_box, self.lab.disks)?;
        self.power_on(of_box, port).await
    }

    async fn power_on(&mut self, of_box: Machine, port: usize) -> Result<()> {
        let interface = self.lab.plan[port].interface.clone();
        self.lab.wires.set_link(&interface, true).await?;
        let of_box = Machine { interface, ..of_box };
        let start = Start {
            name: of_box.name.clone(),
            network: None,
            card: None,
            command: self.lab.kit.command(&of_box, self.lab.disks),
            environment: Vec::new(),
        };
        let process = self.lab.launcher.start(start, Some(self.lines.clone()))?;
        self.running.insert(port, (of_box, process));
        Ok(())
    }

    async fn power_off(&mut self, port: usize) -> Result<Machine> {
        let (of_box, mut process) = self.running.remove(&port).context("nobody is in that port")?;
        process.crash().await?;
        self.lab.wires.set_link(&self.lab.plan[port].interface, false).await?;
        Ok(of_box)
    }

    /// Waits until each of these says that it was installed.
    async fn installed(&mut self, mut missing: BTreeSet<String>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            let Ok(Some((name, line))) = timeout_at(deadline, self.said.recv()).await else {
                let mut words = format!("{missing:?} were not installed in time");
                for name in missing.iter().map(String::as_str).chain([daemon::NAME]) {
                    let last = last_lines(&self.lab.launcher.log(name), LAST_LINES);
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
    async fn is_what_its_port_says(&self, number: usize, port: usize) -> Result<()> {
        let (of_box, port) = (self.lab.hardware(number), &self.lab.plan[port]);
        let disk = Medium::Device(self.lab.disks.join(format!("{}.disk", of_box.name)));
        let system = disk.storage()?.system.with_context(|| format!("{}'s disk is blank", of_box.name))?;
        let wanted = format!("hostname: {}", port.name);
        ensure!(
            system.state.is_some_and(|config| config.lines().any(|line| line.trim() == wanted)),
            "{} is in the port of {} and has another one's config",
            of_box.name,
            port.name
        );
        let heard = format!("iPXE: {} on {SWITCH}/{}", of_box.mac, port.port);
        let seen = self.daemon.seen_of(&port.name).await?;
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
