//! `lab identity`: whichever machine is in a port becomes the node of that port.
//!
//! Rounds of random cabling, each with a fresh daemon and blank machines, judged by the config on each machine's own
//! disk; then two cables are swapped, and a machine is replaced by one that shares nothing with it but the port.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::args::Identity;
use crate::daemon::{Daemon, Form};
use crate::dice::Dice;
use crate::folder::Folder;
use crate::plan::{self, Machine, SWITCH};
use crate::process::{Launcher, Lines, Network, Process, Start, last_lines};
use crate::programs::Programs;
use crate::wires::Wires;
use crate::{agent, evidence, rack, site, space, switch};

/// Between two looks at the daemon's status.
const LOOK: Duration = Duration::from_millis(100);
/// The longest that one step may take: far more than it does, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(180);
/// An LLDP interval of a real switch; the lab's own is shorter.
const LLDP_INTERVAL: Duration = Duration::from_secs(30);
/// One control plane and two workers.
const PORTS: usize = 3;

/// Runs all of it. True when every machine became what its port says.
pub(crate) fn run(arguments: &Identity) -> Result<bool> {
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    space::leave_the_machine()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let mut folder = Folder::make(&env::temp_dir())?;
        let judged = judge(arguments, &programs, folder.path()).await;
        if let Err(error) = &judged {
            say(&json!({ "event": "failed", "reason": format!("{error:#}") }));
            eprintln!("lab: {error:#}\nlogs and state are kept in {}", folder.path().display());
            folder.keep();
        }
        Ok(judged.is_ok())
    })
}

fn say(event: &Value) {
    println!("{event}");
}

async fn judge(arguments: &Identity, programs: &Programs, folder: &Path) -> Result<()> {
    let began = Instant::now();
    let mut lab = Lab::build(programs, folder, arguments.snmp.clone()).await?;
    let _switch_stops = lab.stop.clone().drop_guard();
    let passed = lab.pass(arguments, began).await;
    // before the machines are gone
    passed.map_err(|error| error.context(lab.evidence()))
}

impl Lab {
    async fn pass(&mut self, arguments: &Identity, began: Instant) -> Result<()> {
        let lab = self;
        let mut dice = Dice(arguments.seed);
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
        for (machine, network) in self.plan.iter().zip(&self.networks) {
            words += &evidence::of_network(&format!("the machine in {}", machine.port), network.pid);
        }
        words
    }
}

fn seconds(of: Duration) -> f64 {
    (of.as_secs_f64() * 10.0).round() / 10.0
}

/// A box without a place yet: what it is made of.
#[derive(Debug, Clone)]
struct Hardware {
    name: String,
    machine: Machine,
}

struct Lab {
    launcher: Launcher,
    programs: Programs,
    folder: PathBuf,
    site: PathBuf,
    /// the ports, with the node that belongs to each
    plan: Vec<Machine>,
    networks: Vec<Network>,
    wires: Wires,
    boxes: Vec<Hardware>,
    /// box → port, and its process
    running: BTreeMap<usize, (usize, Process)>,
    disks: PathBuf,
    /// the program that is the switch's agent, where nothing else tells a port
    snmp: Option<PathBuf>,
    agent: Option<Process>,
    daemon: Option<Daemon>,
    lines: Lines,
    said: mpsc::UnboundedReceiver<(String, String)>,
    stop: CancellationToken,
}

impl Lab {
    async fn build(programs: &Programs, folder: &Path, snmp: Option<PathBuf>) -> Result<Self> {
        let place = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make {}", path.display()))
                .map(|()| path)
        };
        let (site, logs, disks) = (place("site")?, place("logs")?, place("disks")?);
        let launcher = Launcher { lab: programs.lab.clone(), logs };
        let plan = plan::machines(1, PORTS - 1);
        let wires = Wires::open()?;
        wires.lay_bridge().await?;
        let mut networks = Vec::new();
        for machine in &plan {
            let network = launcher.hold_network(&machine.name).await?;
            wires.plug(&machine.interface, machine.mac, network.pid).await?;
            networks.push(network);
        }
        let stop = CancellationToken::new();
        if snmp.is_none() {
            switch::speak(&plan, &wires, &stop).await?;
        }
        write_site(&site, &plan, snmp.is_some())?;
        let (lines, said) = mpsc::unbounded_channel();
        let prepare = Daemon::new(
            launcher.clone(),
            programs.ichord.clone(),
            site.clone(),
            Form::Plain { state: folder.join("state"), ledger: None },
        );
        prepare.prepare().await?;
        // one box more than ports: the spare
        let boxes = plan::machines(1, PORTS).into_iter().enumerate().map(|(number, machine)| {
            let name = format!("box-{}", number + 1);
            Hardware { machine: Machine { name: name.clone(), ..machine }, name }
        });
        Ok(Self {
            launcher,
            programs: programs.clone(),
            folder: folder.to_owned(),
            site,
            plan,
            networks,
            wires,
            boxes: boxes.collect(),
            running: BTreeMap::new(),
            disks,
            snmp,
            agent: None,
            daemon: None,
            lines,
            said,
            stop,
        })
    }

    /// Blank machines in random ports, until each is installed with the config of its port.
    async fn round(&mut self, round: u32, cabling: &[usize]) -> Result<Duration> {
        let began = Instant::now();
        let state = self.folder.join(format!("state-{round}"));
        fs::create_dir_all(&state).context("cannot make a state folder")?;
        if let Some(responder) = &self.snmp {
            let behind = self.plan.iter().zip(cabling);
            let behind = behind.map(|(port, &number)| (port.port.clone(), self.boxes[number].machine.mac));
            let ports: Vec<_> = behind.collect();
            self.agent = Some(agent::start(&self.launcher, responder, &state, &ports).await?);
        }
        let form = Form::Plain { state, ledger: None };
        let mut daemon =
            Daemon::new(self.launcher.clone(), self.programs.ichord.clone(), self.site.clone(), form);
        daemon.start()?;
        daemon.ready().await?;
        self.daemon = Some(daemon);
        for (port, &number) in cabling.iter().enumerate() {
            fs::remove_file(self.disk(number)).ok();
            self.power_on(number, port).await?;
        }
        self.installed(&cabling.iter().copied().collect()).await?;
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
        let ports: Vec<(usize, usize)> =
            self.running.iter().map(|(number, (port, _))| (*number, *port)).collect();
        let &[(one, first), (other, second), ..] = ports.as_slice() else {
            bail!("there are no two machines")
        };
        self.power_off(one).await?;
        self.power_off(other).await?;
        self.power_on(one, second).await?;
        self.power_on(other, first).await?;
        let began = Instant::now();
        let (first, second) = (self.plan[first].name.clone(), self.plan[second].name.clone());
        let told = [(first.clone(), second.clone()), (second, first)];
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
        let back = [(one, ports[0].1), (other, ports[1].1)];
        self.power_off(one).await?;
        self.power_off(other).await?;
        for (number, port) in back {
            self.power_on(number, port).await?;
        }
        self.until("the right cables to be seen", |status| {
            status.view.nodes.values().all(|node| node.warning.is_none())
        })
        .await?;
        Ok(took)
    }

    /// A worker dies, and another box with other addresses, UUID and serial number is put into its port.
    async fn replace(&mut self) -> Result<Duration> {
        let workers = self.running.iter().find(|(_, (port, _))| !self.plan[*port].control_plane);
        let (old, port) =
            workers.map(|(number, (port, _))| (*number, *port)).context("there is no worker")?;
        let node = self.plan[port].name.clone();
        self.until("the node to be one", |status| {
            let node = status.view.nodes.get(&node.as_str().into());
            node.is_some_and(|node| matches!(node.state.as_str(), "configured" | "ready"))
        })
        .await?;
        self.power_off(old).await?;
        let began = Instant::now();
        let spare = PORTS;
        self.power_on(spare, port).await?;
        self.installed(&BTreeSet::from([spare])).await?;
        self.has_config_of(spare, port)?;
        let (mac, was) = (self.boxes[spare].machine.mac, self.boxes[old].machine.mac);
        self.until("the new machine to hold the slot, and the old one to be fenced off", |status| {
            let node = status.view.nodes.get(&node.as_str().into());
            node.is_some_and(|node| node.macs.contains(&mac) && !node.macs.contains(&was))
                && status.view.fenced.iter().any(|fenced| fenced.macs.contains(&was))
        })
        .await?;
        Ok(began.elapsed())
    }

    fn disk(&self, number: usize) -> PathBuf {
        self.disks.join(format!("{}.json", self.boxes[number].name))
    }

    async fn power_on(&mut self, number: usize, port: usize) -> Result<()> {
        self.wires.set_link(&self.plan[port].interface, true).await?;
        let Hardware { name, machine } = &self.boxes[number];
        let start = Start {
            name: name.clone(),
            network: Some(self.networks[port].pid),
            card: Some(machine.mac),
            command: rack::command(machine, &self.programs, &self.disks),
            environment: Vec::new(),
        };
        let process = self.launcher.start(start, Some(self.lines.clone()))?;
        self.running.insert(number, (port, process));
        Ok(())
    }

    async fn power_off(&mut self, number: usize) -> Result<()> {
        match self.running.remove(&number) {
            Some((port, mut process)) => {
                process.stop().await?;
                self.wires.set_link(&self.plan[port].interface, false).await
            }
            None => Ok(()),
        }
    }

    async fn end_round(&mut self) -> Result<()> {
        let all: Vec<usize> = self.running.keys().copied().collect();
        for number in all {
            self.power_off(number).await?;
        }
        if let Some(mut daemon) = self.daemon.take() {
            daemon.process()?.stop().await?;
        }
        if let Some(mut agent) = self.agent.take() {
            agent.stop().await?;
        }
        self.wires.forget_neighbours().await?;
        // what they said last belongs to no later round
        while self.said.try_recv().is_ok() {}
        Ok(())
    }

    /// Waits until each of these says that it was installed.
    async fn installed(&mut self, wanted: &BTreeSet<usize>) -> Result<()> {
        let mut missing: BTreeSet<String> =
            wanted.iter().map(|number| self.boxes[*number].name.clone()).collect();
        let deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            let heard = timeout_at(deadline, self.said.recv()).await;
            let Ok(Some((name, line))) = heard else {
                let mut words = format!("{missing:?} were not installed in time");
                for name in missing.iter().map(String::as_str).chain(["ichord"]) {
                    words += &format!("\n{name}:\n{}", last_lines(&self.launcher.log(name), 8).join("\n"));
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

    /// What the machine's own disk says that it is.
    fn has_config_of(&self, number: usize, port: usize) -> Result<()> {
        let text = fs::read_to_string(self.disk(number)).context("its disk cannot be read")?;
        let disk: Value = serde_json::from_str(&text).context("its disk is not one")?;
        let config = disk.pointer("/storage/system/state").and_then(Value::as_str).unwrap_or_default();
        let is = |machine: &&Machine| {
            config.lines().any(|line| line.trim() == format!("hostname: {}", machine.name))
        };
        let found: Vec<&str> = self.plan.iter().filter(is).map(|machine| machine.name.as_str()).collect();
        let wanted = self.plan[port].name.as_str();
        ensure!(found == [wanted], "{} is in the port of {wanted} and is {found:?}", self.boxes[number].name);
        Ok(())
    }

    async fn until(&mut self, what: &str, reached: impl Fn(&api::Status) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let daemon = self.daemon.as_ref().context("there is no daemon")?;
        loop {
            let status = daemon.status().await;
            if status.as_ref().is_some_and(&reached) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let nodes = status.map(|status| status.view.nodes);
                bail!("gave up waiting for {what}: {nodes:#?}");
            }
            sleep(LOOK).await;
        }
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
