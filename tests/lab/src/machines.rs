//! The machines of the lab: switched on and off, and listened to.
//!
//! A simulated machine is a process in a network of its own; one with real firmware is a QEMU process. Either says
//! what happens to it in JSON lines on its standard output (a serial console says other things in between).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Launcher, Lines, Network, Process, Start, last_lines};
use crate::summary::Seen;

/// All machines.
pub(crate) struct Machines {
    launcher: Launcher,
    lines: Lines,
    boxes: BTreeMap<String, Box>,
}

/// One machine.
struct Box {
    /// what its power switch starts
    command: Vec<String>,
    /// where it is plugged in; a virtual machine has its own
    network: Option<Network>,
    process: Option<Process>,
}

impl Machines {
    /// None yet.
    pub(crate) fn new(launcher: Launcher, lines: Lines) -> Self {
        Self { launcher, lines, boxes: BTreeMap::new() }
    }

    /// Racks a machine, switched off.
    pub(crate) fn add(&mut self, name: &str, command: Vec<String>, network: Option<Network>) {
        self.boxes.insert(name.to_owned(), Box { command, network, process: None });
    }

    /// Starts the keeper of a network for a machine that is going to be racked.
    pub(crate) async fn hold_network(&self, name: &str) -> Result<Network> {
        self.launcher.hold_network(name).await
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.boxes.keys().cloned().collect()
    }

    /// Names and keepers of the networks.
    pub(crate) fn networks(&self) -> Vec<(String, u32)> {
        let keeper = |(name, one): (&String, &Box)| Some((name.clone(), one.network.as_ref()?.pid));
        self.boxes.iter().filter_map(keeper).collect()
    }

    /// Presses the power switch.
    pub(crate) fn power_on(&mut self, name: &str) -> Result<()> {
        let one = self.boxes.get_mut(name).with_context(|| format!("there is no machine {name}"))?;
        let start = Start {
            name: name.to_owned(),
            network: one.network.as_ref().map(|network| network.pid),
            command: one.command.clone(),
            environment: Vec::new(),
        };
        one.process = Some(self.launcher.start(start, Some(self.lines.clone()))?);
        Ok(())
    }

    /// Pulls the plug and waits until the machine is off.
    pub(crate) async fn power_off(&mut self, name: &str) -> Result<()> {
        let one = self.boxes.get_mut(name).with_context(|| format!("there is no machine {name}"))?;
        match one.process.take() {
            Some(mut process) => process.stop().await.map(drop),
            None => Ok(()),
        }
    }

    /// A machine whose process ended by itself is a fault of the lab or of the machine.
    pub(crate) fn none_ended(&mut self) -> Result<()> {
        for (name, one) in &mut self.boxes {
            let Some(process) = &mut one.process else { continue };
            if let Some(status) = process.has_ended()? {
                let words = last_lines(&self.launcher.log(name), 5).join("\n");
                bail!("the machine {name} ended by itself ({status}); its last words:\n{words}");
            }
        }
        Ok(())
    }
}

impl Machines {
    /// Reads one line of a machine's output.
    pub(crate) fn understand(_line: &str, _at: Duration, _seen: &mut Seen) -> Option<String> {
        None
    }
    pub(crate) fn runs(_seen: &Seen) -> bool {
        true
    }
    pub(crate) fn to_power_cycle(&self) -> Vec<String> {
        Vec::new()
    }
}
