//! `lab discovery`: machines whose port nothing tells find it out themselves and become the nodes of their ports.
//!
//! Their iPXE hears no LLDP (BIOS), and the site has no bridge whose table or ports the daemon could look at; they are
//! plugged in crosswise, so that only the port says which node each is.

mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::daemon::{Daemon, Form};
use crate::plan::{self, FirmwareKind, Machine};
use crate::ports::Ports;
use crate::process::{Launcher, Process, Start, last_lines};
use crate::programs::Programs;
use crate::{rack, site, space};

/// It listens for 35 s by itself.
const PATIENCE: Duration = Duration::from_secs(240);

/// Arguments of *discovery*.
#[derive(Debug, Args)]
pub(crate) struct Discovery {
    /// A virtual machine with SeaBIOS boots a real image, made by `ichord images discovery`, and goes on by kexec
    /// (needs root)
    #[arg(long)]
    qemu: bool,
    /// With `--qemu`: the agent, linked statically
    #[arg(long, value_name = "FILE", requires = "qemu", required_if_eq("qemu", "true"))]
    agent: Option<PathBuf>,
    /// With `--qemu`: Debian's generic kernel, with every driver, instead of the small one for virtual machines
    #[arg(long, requires = "qemu")]
    generic: bool,
    /// With `--qemu`: a kernel that starts no other one, so that the machine goes on through its firmware
    #[arg(long, requires = "qemu")]
    without_kexec: bool,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    no_build: bool,
}

/// Runs it. True when every machine became what its port says.
pub(crate) fn run(arguments: &Discovery) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    // downloads, so before the network is left behind
    let kit = match &arguments.agent {
        Some(agent) => Some(qemu::Kit::assemble(agent, arguments.generic, arguments.without_kexec)?),
        None => None,
    };
    space::tell(async |folder| {
        match &kit {
            Some(kit) => qemu::judge(&programs, kit, folder).await?,
            None => judge(&programs, folder).await?,
        }
        Ok(true)
    })
}

async fn judge(programs: &Programs, folder: &Path) -> Result<()> {
    let place = |name| space::place(folder, name);
    let (site, state, logs, disks) = (place("site")?, place("state")?, place("logs")?, place("disks")?);
    let launcher = Launcher { lab: programs.lab.clone(), logs };
    let ports = Ports::lay(&launcher, plan::machines(1, 1)).await?;
    let plan = &ports.plan;
    let _switch_stops = ports.speak().await?;
    rack::write_simulated_site(&site, plan, site::Dhcp::Ours)?;
    deafen(&site.join("ichord.yaml"), "machine")?;
    let images = site.join("images");
    site::write_images(&images, &site::ImageFiles::stand_ins())?;
    site::write_discovery(&images, b"a kernel", b"an initramfs", "console=ttyS0")?;
    let mut daemon =
        Daemon::new(launcher.clone(), programs.ichord.clone(), site, Form::Plain { state, ledger: None });
    daemon.prepare().await?;
    daemon.start()?;
    daemon.ready().await?;

    let began = Instant::now();
    let mut boxes = Crosswise::power_on(&launcher, programs, plan, &ports.places(), &disks, &[])?;
    let story = boxes.until_installed(&launcher, began + PATIENCE).await?;
    ensure!(story.discovered == plan.len(), "only some went by way of the discovery image: {story:?}");
    ensure!(story.kexec == plan.len(), "only some went on without their firmware: {story:?}");
    boxes.are_what_their_ports_say(plan, &disks)?;
    println!("{}", json!({ "event": "summary", "passed": true, "seconds": began.elapsed().as_secs() }));
    boxes.power_off().await?;
    daemon.process()?.stop().await?;
    Ok(())
}

/// Boxes with BIOS, each in the port of another one's node.
pub(crate) struct Crosswise {
    running: Vec<(Machine, usize, Process)>,
    said: mpsc::UnboundedReceiver<(String, String)>,
}

impl Crosswise {
    /// The networks are those behind the ports; the options are the simulated machine's own.
    pub(crate) fn power_on(
        launcher: &Launcher,
        programs: &Programs,
        plan: &[Machine],
        networks: &[u32],
        disks: &Path,
        options: &[&str],
    ) -> Result<Self> {
        let (lines, said) = mpsc::unbounded_channel();
        let mut running = Vec::new();
        for (port, network) in networks.iter().enumerate() {
            let number = plan.len() - 1 - port;
            let name = format!("box-{}", number + 1);
            let of_box = Machine { name, firmware: FirmwareKind::Bios, ..plan[number].clone() };
            let mut command = rack::command(&of_box, programs, disks);
            command.extend(options.iter().map(|&option| option.to_owned()));
            let start = Start {
                name: of_box.name.clone(),
                network: Some(*network),
                card: Some(of_box.mac),
                command,
                environment: Vec::new(),
            };
            running.push((of_box, port, launcher.start(start, Some(lines.clone()))?));
        }
        Ok(Self { running, said })
    }

    /// Waits until each was installed, and says how they got there.
    pub(crate) async fn until_installed(&mut self, launcher: &Launcher, deadline: Instant) -> Result<Story> {
        let mut story = Story::default();
        while story.installed.len() < self.running.len() {
            let Ok(Some((name, line))) = timeout_at(deadline, self.said.recv()).await else {
                let mut words = format!("not all were installed in time: {story:?}");
                for name in self.running.iter().map(|(of_box, ..)| of_box.name.as_str()).chain(["ichord"]) {
                    words += &format!("\n{name}:\n{}", last_lines(&launcher.log(name), 12).join("\n"));
                }
                bail!(words);
            };
            story.take(&name, &line);
        }
        Ok(story)
    }

    /// By the config on each one's own disk.
    pub(crate) fn are_what_their_ports_say(&self, plan: &[Machine], disks: &Path) -> Result<()> {
        for (of_box, port, _) in &self.running {
            let config = config_of(of_box, disks)?;
            let wanted = format!("hostname: {}", plan[*port].name);
            ensure!(config.lines().any(|line| line.trim() == wanted), "{} is not {wanted}", of_box.name);
        }
        Ok(())
    }

    /// Whether the box in this port has a config on its disk.
    pub(crate) fn has_config(&self, port: usize, disks: &Path) -> Result<bool> {
        let (of_box, ..) =
            self.running.iter().find(|(_, in_port, _)| *in_port == port).context("no such port")?;
        Ok(!config_of(of_box, disks)?.is_empty())
    }

    pub(crate) async fn power_off(self) -> Result<()> {
        for (.., mut process) in self.running {
            process.stop().await?;
        }
        Ok(())
    }
}

/// The config on a box's disk; empty when there is none.
fn config_of(of_box: &Machine, disks: &Path) -> Result<String> {
    let disk = disks.join(format!("{}.json", of_box.name));
    let text = fs::read_to_string(&disk).context("its disk cannot be read")?;
    let disk: Value = serde_json::from_str(&text).context("its disk is not one")?;
    Ok(disk.pointer("/storage/system/state").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// What the machines did.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) discovered: usize,
    pub(crate) kexec: usize,
    installed: Vec<String>,
}

impl Story {
    fn take(&mut self, name: &str, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return };
        match event["event"].as_str() {
            Some("discovered") => self.discovered += 1,
            Some("kexec") => self.kexec += 1,
            Some("installed") => self.installed.push(name.to_owned()),
            _ => {}
        }
    }
}

/// Takes every other source away: what is left is the machine's own word, and how far the site trusts that.
pub(crate) fn deafen(path: &Path, trust: &str) -> Result<()> {
    let text = fs::read_to_string(path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    written["switches"] = json!([]);
    written["trust"] = json!(trust);
    fs::write(path, format!("{written:#}\n")).context("the site cannot be written")
}
