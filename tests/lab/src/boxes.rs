//! Simulated machines that are carried about: into any port of the switch, out of it, and another one into it.
//!
//! Each keeps its disk and its own record of what happened to it, wherever it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::machines;
use crate::plan::Machine;
use crate::ports::Ports;
use crate::process::{Launcher, Lines, Process, Start, last_lines};
use crate::programs::Programs;
use crate::rack;
use crate::summary::Seen;

/// All boxes, by name.
pub(crate) struct Boxes {
    launcher: Launcher,
    programs: Programs,
    disks: PathBuf,
    /// what every one of them is told beside what it is
    traits: Vec<String>,
    machines: BTreeMap<String, Machine>,
    running: BTreeMap<String, (usize, Process)>,
    lines: Lines,
    said: mpsc::UnboundedReceiver<(String, String)>,
    records: BTreeMap<String, Seen>,
    began: Instant,
}

impl Boxes {
    /// These, switched off and in no port.
    pub(crate) fn new(
        launcher: &Launcher,
        programs: &Programs,
        disks: &Path,
        machines: impl IntoIterator<Item = Machine>,
    ) -> Self {
        let (lines, said) = mpsc::unbounded_channel();
        Self {
            launcher: launcher.clone(),
            programs: programs.clone(),
            disks: disks.to_owned(),
            traits: Vec::new(),
            machines: machines.into_iter().map(|machine| (machine.name.clone(), machine)).collect(),
            running: BTreeMap::new(),
            lines,
            said,
            records: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// What every one of them is told beside what it is, from its next start on.
    pub(crate) fn are(&mut self, traits: &[&str]) {
        self.traits = traits.iter().map(|&word| word.to_owned()).collect();
    }

    /// What a box is made of.
    pub(crate) fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.get(name).with_context(|| format!("there is no box {name}"))
    }

    /// Box and port of each that runs, in the order of their names.
    pub(crate) fn running(&self) -> Vec<(String, usize)> {
        self.running.iter().map(|(name, (port, _))| (name.clone(), *port)).collect()
    }

    /// Puts a box into a port and switches it on.
    pub(crate) async fn power_on(&mut self, name: &str, ports: &Ports, port: usize) -> Result<()> {
        ports.wires.set_link(&ports.plan[port].interface, true).await?;
        let machine = self.machine(name)?;
        let start = Start {
            name: name.to_owned(),
            network: Some(ports.place(port)),
            card: Some(machine.mac),
            command: [rack::command(machine, &self.programs, &self.disks), self.traits.clone()].concat(),
            environment: Vec::new(),
        };
        let process = self.launcher.start(start, Some(self.lines.clone()))?;
        self.running.insert(name.to_owned(), (port, process));
        Ok(())
    }

    /// Pulls its plug, and its cable out of the port.
    pub(crate) async fn power_off(&mut self, name: &str, ports: &Ports) -> Result<()> {
        let Some((port, mut process)) = self.running.remove(name) else { return Ok(()) };
        process.stop().await?;
        self.launcher.darken(ports.place(port)).await?;
        ports.wires.set_link(&ports.plan[port].interface, false).await
    }

    /// The same as a power cut does it: nothing of it may live on, and nothing that it did not write down is there again.
    pub(crate) async fn power_cut(&mut self, name: &str, ports: &Ports) -> Result<()> {
        let Some((port, mut process)) = self.running.remove(name) else { return Ok(()) };
        process.crash().await?;
        self.launcher.darken(ports.place(port)).await?;
        ports.wires.set_link(&ports.plan[port].interface, false).await
    }

    /// The same for every one that runs.
    pub(crate) async fn all_off(&mut self, ports: &Ports) -> Result<()> {
        for (name, _) in self.running() {
            self.power_off(&name, ports).await?;
        }
        Ok(())
    }

    /// Forgets what all of them said and did; for boxes that are switched off.
    pub(crate) fn forget(&mut self) {
        while self.said.try_recv().is_ok() {}
        self.records.clear();
        self.began = Instant::now();
    }

    /// The file that is its disk.
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        self.disks.join(format!("{name}.json"))
    }

    /// An empty disk takes the place of its own.
    pub(crate) fn blank(&self, name: &str) {
        // a new one has none yet
        fs::remove_file(self.disk(name)).ok();
    }

    /// Puts a disk with this on it into the box.
    pub(crate) fn fill(&self, name: &str, storage: &Value) -> Result<()> {
        let path = self.disk(name);
        let contents = serde_json::json!({
            "storage": storage,
            "counters": {
                "boots": 0, "network_boots": 0, "configs_applied": 0, "installs": 0,
                "bootstraps_accepted": 0, "bootstraps": 0,
            },
        });
        fs::write(&path, contents.to_string()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Which nodes of the plan its own disk says that it is.
    pub(crate) fn is<'a>(&self, name: &str, plan: &'a [Machine]) -> Result<Vec<&'a str>> {
        let text = fs::read_to_string(self.disk(name)).context("its disk cannot be read")?;
        let disk: Value = serde_json::from_str(&text).context("its disk is not one")?;
        let config = disk.pointer("/storage/system/state").and_then(Value::as_str).unwrap_or_default();
        let is = |machine: &&Machine| {
            config.lines().any(|line| line.trim() == format!("hostname: {}", machine.name))
        };
        Ok(plan.iter().filter(is).map(|machine| machine.name.as_str()).collect())
    }

    /// Takes in one line of one of them. Cancel-safe.
    pub(crate) async fn hear(&mut self) {
        // never ends: one end of the channel is ours
        if let Some((name, line)) = self.said.recv().await {
            machines::understand(&line, self.began.elapsed(), self.records.entry(name).or_default());
        }
    }

    /// A box's own record since [`Boxes::forget`].
    pub(crate) fn record(&self, name: &str) -> Seen {
        self.records.get(name).cloned().unwrap_or_default()
    }

    /// Those of all of them.
    pub(crate) fn records(&self) -> &BTreeMap<String, Seen> {
        &self.records
    }

    /// A box whose process ended by itself is a fault.
    pub(crate) fn none_ended(&mut self) -> Result<()> {
        for (name, (_, process)) in &mut self.running {
            if let Some(status) = process.has_ended()? {
                let words = last_lines(&self.launcher.log(name), 5).join("\n");
                bail!("{name} ended by itself ({status}); its last words:\n{words}");
            }
        }
        Ok(())
    }
}
