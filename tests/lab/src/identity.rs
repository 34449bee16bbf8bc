//! `lab identity`: whichever machine is in a port becomes the node of that port.
//!
//! Rounds of random cabling, each with a fresh daemon and blank machines, judged by the config on each machine's own
//! disk; then two cables are swapped, and a machine is replaced by one that shares nothing with it but the port.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use crate::args::Identity;
use crate::boxes::Boxes;
use crate::daemon::{Daemon, Form};
use crate::dice::Dice;
use crate::plan::{self, Machine, SWITCH};
use crate::ports::Ports;
use crate::process::{Launcher, Process, last_lines};
use crate::programs::Programs;
use crate::{agent, evidence, rack, site, space};

/// The longest that one step may take: far more than it does, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(180);
/// An LLDP interval of a real switch; the lab's own is shorter.
const LLDP_INTERVAL: Duration = Duration::from_secs(30);
/// One control plane and two workers.
const PORTS: usize = 3;

/// Runs all of it. True when every machine became what its port says.
pub(crate) fn run(arguments: &Identity) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::tell(async |folder| judge(arguments, &programs, folder).await.map(|()| true))
}

fn say(event: &Value) {
    println!("{event}");
}

async fn judge(arguments: &Identity, programs: &Programs, folder: &Path) -> Result<()> {
    let began = Instant::now();
    let mut lab = Lab::build(programs, folder, arguments.snmp.clone()).await?;
    let passed = lab.pass(arguments, began).await;
    // before the machines are gone
    passed.map_err(|error| error.context(lab.evidence()))
}

impl Lab {
    async fn pass(&mut self, arguments: &Identity, began: Instant) -> Result<()> {
        let lab = self;
        let mut dice = Dice::new(arguments.seed);
        let mut seen = BTreeSet::new();
        for round in 1..=arguments.rounds {
            let cabling = dice.shuffled(PORTS);
            seen.insert(cabling.clone());
            let took = lab
                .round(round, &cabling)
                .await
                .with_context(|| format!("round {round}, cabling {cabling:?}"))?;
            say(&json!({ "event": "round", "round": round, "cabling": cabling, "seconds": seconds(took) }));
            if round < arguments.rounds {
                lab.end_round().await?;
            }
        }
        // what follows is about moments, and an agent is asked now and then
        if lab.snmp.is_some() {
            lab.end_round().await?;
            let seconds = seconds(began.elapsed());
            say(
                &json!({ "event": "summary", "passed": true, "rounds": arguments.rounds, "seconds": seconds }),
            );
            return Ok(());
        }
        lab.verify().await.context("the machines say where they are plugged in")?;
        let warned = lab.swap().await.context("two cables are swapped")?;
        say(&json!({ "event": "wrong cables told", "seconds": seconds(warned) }));
        ensure!(
            warned < LLDP_INTERVAL,
            "the warning took {} s, longer than an LLDP interval",
            warned.as_secs()
        );
        let replaced = lab.replace().await.context("a machine is replaced")?;
        say(&json!({ "event": "replaced", "seconds": seconds(replaced) }));
        lab.end_round().await?;
        say(&json!({
            "event": "summary",
            "passed": true,
            "rounds": arguments.rounds,
            "cablings": seen.len(),
            "seconds": seconds(began.elapsed()),
        }));
        Ok(())
    }

    /// What the host and every port's machine know of the network now.
    fn evidence(&self) -> String {
        let mut words = evidence::of_network("the host", std::process::id());
        for (machine, place) in self.ports.plan.iter().zip(self.ports.places()) {
            words += &evidence::of_network(&format!("the machine in {}", machine.port), place);
        }
        words
    }
}

fn seconds(of: Duration) -> f64 {
    (of.as_secs_f64() * 10.0).round() / 10.0
}

struct Lab {
    launcher: Launcher,
    programs: Programs,
    folder: PathBuf,
    site: PathBuf,
    ports: Ports,
    boxes: Boxes,
    /// the program that is the switch's agent, where nothing else tells a port
    snmp: Option<PathBuf>,
    agent: Option<Process>,
    daemon: Option<Daemon>,
    _switch_stops: Option<DropGuard>,
}

/// What the boxes are called, by number from 0; the one beyond the ports is the spare.
fn box_name(number: usize) -> String {
    format!("box-{}", number + 1)
}

impl Lab {
    async fn build(programs: &Programs, folder: &Path, snmp: Option<PathBuf>) -> Result<Self> {
        let place = |name| space::place(folder, name);
        let (site, logs, disks) = (place("site")?, place("logs")?, place("disks")?);
        let launcher = Launcher { lab: programs.lab.clone(), logs };
        let ports = Ports::lay(&launcher, plan::machines(1, PORTS - 1)).await?;
        let switch_stops = match snmp {
            None => Some(ports.speak().await?),
            Some(_) => None,
        };
        write_site(&site, &ports.plan, snmp.is_some())?;
        let form = Form::Plain { state: folder.join("state"), ledger: None };
        Daemon::new(launcher.clone(), programs.ichord.clone(), site.clone(), form).prepare().await?;
        let boxes = plan::machines(1, PORTS).into_iter().enumerate();
        let boxes = boxes.map(|(number, machine)| Machine { name: box_name(number), ..machine });
        Ok(Self {
            boxes: Boxes::new(&launcher, programs, &disks, boxes),
            launcher,
            programs: programs.clone(),
            folder: folder.to_owned(),
            site,
            ports,
            snmp,
            agent: None,
            daemon: None,
            _switch_stops: switch_stops,
        })
    }

    /// Blank machines in random ports, until each is installed with the config of its port.
    async fn round(&mut self, round: u32, cabling: &[usize]) -> Result<Duration> {
        let began = Instant::now();
        let state = space::place(&self.folder, &format!("state-{round}"))?;
        if let Some(responder) = &self.snmp {
            let mut ports = Vec::new();
            for (port, &number) in self.ports.plan.iter().zip(cabling) {
                ports.push((port.port.clone(), self.boxes.machine(&box_name(number))?.mac));
            }
            self.agent = Some(agent::start(&self.launcher, responder, &state, &ports).await?);
        }
        let form = Form::Plain { state, ledger: None };
        let mut daemon =
            Daemon::new(self.launcher.clone(), self.programs.ichord.clone(), self.site.clone(), form);
        daemon.start()?;
        daemon.ready().await?;
        self.daemon = Some(daemon);
        for (port, &number) in cabling.iter().enumerate() {
            self.boxes.blank(&box_name(number));
            self.boxes.power_on(&box_name(number), &self.ports, port).await?;
        }
        self.installed(cabling).await?;
        for (port, &number) in cabling.iter().enumerate() {
            self.has_config_of(number, port)?;
        }
        Ok(began.elapsed())
    }

    /// The machines that run are asked what their cards hear.
    async fn verify(&mut self) -> Result<()> {
        self.until("every node to be one", |status| {
            status.view.nodes.values().all(|node| matches!(node.state.as_str(), "configured" | "ready"))
        })
        .await?;
        self.daemon.as_ref().context("there is no daemon")?.verify_cabling().await
    }

    /// Two machines that run are each put into the other's port.
    async fn swap(&mut self) -> Result<Duration> {
        let running = self.boxes.running();
        let [(one, first), (other, second), ..] = running.as_slice() else {
            bail!("there are no two machines")
        };
        let (boxes, ports) = (&mut self.boxes, &self.ports);
        boxes.power_off(one, ports).await?;
        boxes.power_off(other, ports).await?;
        boxes.power_on(one, ports, *second).await?;
        boxes.power_on(other, ports, *first).await?;
        let began = Instant::now();
        let plan = &self.ports.plan;
        let (first_node, second_node) = (plan[*first].name.clone(), plan[*second].name.clone());
        let told = [(first_node.clone(), second_node.clone()), (second_node, first_node)];
        self.until("both wrong cables to be told", |status| {
            told.iter().all(|(node, there)| {
                let node = status.view.nodes.get(&node.as_str().into());
                let warning = node.and_then(|node| node.warning.clone()).unwrap_or_default();
                warning.contains("wrong cable") && warning.contains(&format!("the port of {there}"))
            })
        })
        .await?;
        let took = began.elapsed();
        // they themselves know better, once they are up again
        let daemon = self.daemon.as_ref().context("there is no daemon")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = match daemon.verify_cabling().await {
                Ok(()) => bail!("two cables are swapped, and `ichord ports --verify` is content"),
                Err(error) => format!("{error:#}"),
            };
            if said.matches("is plugged into the port of").count() == 2 {
                break;
            }
            ensure!(
                Instant::now() < deadline,
                "`ichord ports --verify` does not tell both wrong cables: {said}"
            );
        }
        // and back again
        let (boxes, ports) = (&mut self.boxes, &self.ports);
        boxes.power_off(one, ports).await?;
        boxes.power_off(other, ports).await?;
        boxes.power_on(one, ports, *first).await?;
        boxes.power_on(other, ports, *second).await?;
        self.until("the right cables to be seen", |status| {
            status.view.nodes.values().all(|node| node.warning.is_none())
        })
        .await?;
        Ok(took)
    }

    /// A worker dies, and another box with other addresses, UUID and serial number is put into its port.
    async fn replace(&mut self) -> Result<Duration> {
        let plan = &self.ports.plan;
        let worker = self.boxes.running().into_iter().find(|(_, port)| !plan[*port].control_plane);
        let (old, port) = worker.context("there is no worker")?;
        let node = plan[port].name.clone();
        self.until("the node to be one", |status| {
            let node = status.view.nodes.get(&node.as_str().into());
            node.is_some_and(|node| matches!(node.state.as_str(), "configured" | "ready"))
        })
        .await?;
        self.boxes.power_off(&old, &self.ports).await?;
        let began = Instant::now();
        let spare = PORTS;
        self.boxes.power_on(&box_name(spare), &self.ports, port).await?;
        self.installed(&[spare]).await?;
        self.has_config_of(spare, port)?;
        let (mac, was) = (self.boxes.machine(&box_name(spare))?.mac, self.boxes.machine(&old)?.mac);
        self.until("the new machine to hold the slot, and the old one to be fenced off", |status| {
            let node = status.view.nodes.get(&node.as_str().into());
            node.is_some_and(|node| node.macs.contains(&mac) && !node.macs.contains(&was))
                && status.view.fenced.iter().any(|fenced| fenced.macs.contains(&was))
        })
        .await?;
        Ok(began.elapsed())
    }

    async fn end_round(&mut self) -> Result<()> {
        self.boxes.all_off(&self.ports).await?;
        if let Some(mut daemon) = self.daemon.take() {
            daemon.process()?.stop().await?;
        }
        if let Some(mut agent) = self.agent.take() {
            agent.stop().await?;
        }
        self.ports.wires.forget_neighbours().await?;
        // what they said last belongs to no later round
        self.boxes.forget();
        Ok(())
    }

    /// Waits until each of these says that it was installed.
    async fn installed(&mut self, wanted: &[usize]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let missing = |boxes: &Boxes| {
            let names = wanted.iter().map(|number| box_name(*number));
            names.filter(|name| boxes.record(name).counted.installs == 0).collect::<Vec<_>>()
        };
        while let missing = missing(&self.boxes)
            && !missing.is_empty()
        {
            if timeout_at(deadline, self.boxes.hear()).await.is_err() {
                let mut words = format!("{missing:?} were not installed in time");
                for name in missing.iter().map(String::as_str).chain(["ichord"]) {
                    words += &format!("\n{name}:\n{}", last_lines(&self.launcher.log(name), 8).join("\n"));
                }
                bail!(words);
            }
        }
        Ok(())
    }

    /// What the machine's own disk says that it is.
    fn has_config_of(&self, number: usize, port: usize) -> Result<()> {
        let (name, plan) = (box_name(number), &self.ports.plan);
        let (found, wanted) = (self.boxes.is(&name, plan)?, plan[port].name.as_str());
        ensure!(found == [wanted], "{name} is in the port of {wanted} and is {found:?}");
        Ok(())
    }

    async fn until(&self, what: &str, reached: impl Fn(&api::Status) -> bool) -> Result<()> {
        self.daemon.as_ref().context("there is no daemon")?.until(what, PATIENCE, reached).await
    }
}

/// The lab's site, with replacements that no person orders.
fn write_site(folder: &Path, plan: &[Machine], by_snmp: bool) -> Result<()> {
    rack::write_simulated_site(folder, plan, site::Dhcp::Ours)?;
    let path = folder.join("ichord.yaml");
    let text = fs::read_to_string(&path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    written["replace"] = json!("same-port");
    written["timing"] =
        json!({ "observe": "300ms", "watch": "500ms", "bootstrap-grace": "20s", "replace-after": "2s" });
    if by_snmp {
        let community = "snmp-community";
        fs::write(folder.join(community), agent::COMMUNITY).context("the community cannot be written")?;
        written["switches"] =
            json!([{ "name": SWITCH, "snmp": { "address": agent::ADDRESS, "community": community } }]);
    }
    fs::write(&path, format!("{written:#}\n")).context("the site cannot be written")?;
    site::write_images(&folder.join("images"), &site::ImageFiles::stand_ins())
}

#[cfg(test)]
mod tests {
    use hardware::MacAddr;

    use super::*;

    #[test]
    fn the_spare_shares_nothing_with_the_others() {
        let macs: BTreeSet<MacAddr> = plan::machines(1, PORTS).iter().map(|machine| machine.mac).collect();
        assert_eq!(macs.len(), PORTS + 1);
    }
}
