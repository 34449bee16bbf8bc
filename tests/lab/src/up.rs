//! `lab up`: everything is built, started, followed to the end of the road, judged, and removed.
//!
//! One task, one loop ([`Lab::follow`]): what the machines say, what the daemon says, the daemon's deaths, Ctrl-C.
//! The children end with the lab in any case; in an orderly end each is asked first.

mod outages;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::args::{Iso, Kill, Up};
use crate::daemon::{self, Daemon, Form};
use crate::folder::Folder;
use crate::kill::Killer;
use crate::kubernetes::{self, Kubernetes, Parts};
use crate::machines::{self, Machines};
use crate::plan;
use crate::process::{Launcher, last_lines};
use crate::programs::Programs;
use crate::qemu::{self, Kit};
use crate::report::{Event, Report};
use crate::summary::{Counted, HANDED_OVER, Summary};
use crate::wires::Wires;
use crate::{others, owned, rack, space, switch};

/// Between two looks at the daemon's status.
const LOOK: Duration = Duration::from_millis(200);
/// How many lines of each log a failure shows.
const LAST_LINES: usize = 15;

/// Runs the lab. True when everything ended as it must.
pub(crate) fn run(up: &Up) -> Result<bool> {
    if (up.qemu || up.unit) && !geteuid().is_root() {
        bail!("--qemu and --unit need root: QEMU's network cards and systemd are the kernel's business");
    }
    let programs = if up.no_build { Programs::already_built()? } else { Programs::build()? };
    // downloads, so before the network is left behind
    let kit = up.qemu.then(|| kit(&programs)).transpose()?;
    let parts = up.kubernetes.then(Parts::built).transpose()?;
    space::leave_the_machine()?;
    space::runtime()?.block_on(begin(up, &programs, kit.as_ref(), parts.as_ref()))
}

fn kit(programs: &Programs) -> Result<Kit> {
    let scratch = tempfile::tempdir().context("cannot make a folder for the boot images")?;
    qemu::assemble(&programs.machine, scratch.path())
}

async fn begin(up: &Up, programs: &Programs, kit: Option<&Kit>, parts: Option<&Parts>) -> Result<bool> {
    let mut folder = Folder::make(&env::temp_dir())?;
    let place = |name| space::place(folder.path(), name);
    let (site, state, logs) = (place("site")?, place("state")?, place("logs")?);
    let launcher = Launcher { lab: programs.lab.clone(), logs };
    let interrupts = Interrupts::listen()?;

    let plan = match kit {
        Some(_) => plan::one_of_each_firmware(),
        None => plan::machines(usize::from(up.control_planes), usize::from(up.workers)),
    };
    let mut report = Report::new(up.json, &plan);
    let wires = Wires::open()?;
    wires.lay_bridge().await?;
    let (lines, said) = mpsc::unbounded_channel();
    let mut rack = Machines::new(launcher.clone(), lines);
    let disks = place("machines")?;
    match kit {
        Some(kit) => {
            report.tell(&Event::Lab { what: format!("real firmware, accelerator {}", kit.accelerator()) });
            rack::firmware(&mut rack, &plan, kit, &wires, &site, &disks).await?;
            if let Some(way) = up.local_boot {
                rack::boot_locally_by(way, &site)?;
            }
        }
        None => rack::simulated(&mut rack, &plan, programs, &wires, &site, &disks, up).await?,
    }
    let _other = match up.iso {
        Some(Iso::Proxy) => Some(others::dnsmasq(&launcher, &wires, folder.path(), 0).await?),
        _ => None,
    };
    let stop = CancellationToken::new();
    let _switch_stops = stop.clone().drop_guard();
    switch::speak(&plan, &wires, &stop).await?;
    report.tell(&Event::Lab {
        what: format!("{} machines are plugged into switch {}", plan.len(), plan::SWITCH),
    });

    let points = up.kill == Some(Kill::Points);
    let form = match (up.unit, points) {
        (true, _) => Form::Unit { folder: state },
        (false, true) => Form::Plain { state, ledger: Some(folder.path().join("ledger")) },
        (false, false) => Form::Plain { state, ledger: None },
    };
    let daemon = Daemon::new(launcher.clone(), programs.ichord.clone(), site.clone(), form);
    daemon.secrets().await?;
    let kubernetes = match parts {
        Some(parts) => {
            let own = kubernetes::Site::write(parts, programs, &site).await?;
            daemon.check().await?;
            let kubernetes = Kubernetes::start(parts, own, &site, &plan, up.outages).await?;
            report.tell(&Event::Lab { what: "the real control plane is ready".to_owned() });
            Some(kubernetes)
        }
        None => {
            daemon.check().await?;
            None
        }
    };
    let mut lab = Lab {
        kubernetes,
        outages: up.outages,
        daemon,
        daemon_dies_at: None,
        killer: Killer::new(up.kill, up.seed),
        points,
        machines: rack,
        // every firmware has to find its own disk; of simulated machines one is enough
        cycle: plan.iter().take(if up.qemu { 3 } else { 1 }).map(|machine| machine.name.clone()).collect(),
        said,
        interrupts,
        report,
        summary: Summary::of(&plan),
        nodes: BTreeMap::new(),
        deadline: Instant::now() + up.patience(),
    };
    let mut faults = match lab.road().await {
        Ok(cycled) => lab.summary.faults(&cycled),
        // nobody wants to know what is missing then, and nothing is left behind
        Err(error) if error.is::<Interrupted>() => {
            lab.tear_down().await;
            bail!(error)
        }
        Err(error) => {
            let mut faults = vec![format!("{error:#}")];
            faults.extend(lab.summary.faults(&BTreeMap::new()));
            faults
        }
    };
    if up.iso.is_some() {
        faults.extend(lab.summary.netbooted());
    }
    faults.extend(lab.daemon.faults());
    if let Some(kubernetes) = &lab.kubernetes {
        faults.extend(kubernetes.faults().await?);
    }
    lab.summary.checkpoints = lab.daemon.checkpoints();
    if !faults.is_empty() {
        lab.show_logs(&launcher);
    }
    lab.report.end(&lab.summary, &faults);
    if up.keep {
        lab.stay(folder.path()).await;
    }
    if !faults.is_empty() {
        lab.report.aside(&format!("logs and state are kept in {}", folder.path().display()));
        folder.keep();
    }
    lab.tear_down().await;
    Ok(faults.is_empty())
}

/// A running lab.
struct Lab {
    /// the real control plane, which ends before everything else here
    kubernetes: Option<Kubernetes>,
    /// whether parts of it go away in the middle
    outages: bool,
    daemon: Daemon,
    /// when the lab kills the daemon that runs now
    daemon_dies_at: Option<Instant>,
    killer: Killer,
    /// whether the daemon kills itself at its checkpoints
    points: bool,
    machines: Machines,
    /// who is switched off and on at the end of the road
    cycle: Vec<String>,
    said: mpsc::UnboundedReceiver<(String, String)>,
    interrupts: Interrupts,
    report: Report,
    summary: Summary,
    /// what the daemon last said of each machine
    nodes: BTreeMap<String, (String, Option<String>)>,
    deadline: Instant,
}

impl Lab {
    /// The whole road, and power cycles at its end. Returns who was power-cycled, with what each had counted before.
    async fn road(&mut self) -> Result<BTreeMap<String, Counted>> {
        self.start_daemon()?;
        if self.daemon_dies_at.is_none() && !self.points {
            self.daemon.ready().await?;
            self.report.tell(&Event::Daemon { what: "ready".to_owned() });
        }
        for name in self.machines.names() {
            self.machines.power_on(&name)?;
        }
        if self.outages {
            self.go_through_outages().await?;
        }
        self.follow("the cluster to be handed over", |lab| {
            let over = lab.summary.state() == Some(HANDED_OVER) && lab.daemon_dies_at.is_none();
            // a machine whose installation the daemon has not seen yet would rightly be netbooted again
            over && lab.machines_run() && lab.nodes_are_ready()
        })
        .await?;

        self.daemon.verify().await?;
        self.report
            .tell(&Event::Lab { what: "the hand-over is verified: nothing is left to write".to_owned() });
        // a daemon that is being killed answers now and then
        if !self.points && self.summary.kills == 0 {
            self.is_well().await?;
            self.report.tell(&Event::Lab { what: "the cluster is well, by `ichord health`".to_owned() });
            let planned = self.daemon.plan().await?;
            if !planned.is_empty() {
                bail!("`ichord plan` would change what was just installed: {planned:#?}");
            }
            self.report.tell(&Event::Lab {
                what: "the nodes run with what the site wants, by `ichord plan`".to_owned(),
            });
        }

        if let Some(kubernetes) = &self.kubernetes {
            self.daemon.git_is_well().await?;
            self.report.tell(&Event::Lab {
                what: "everything that Git brings is ready, by `ichord gitops`".to_owned(),
            });
            if self.summary.kills == 0 && !self.points && !self.outages {
                owned::changes(&self.daemon, kubernetes.hands()).await?;
                let what = "what ichord owns in the cluster has changed with the site, by `ichord plan` and `ichord apply`";
                self.report.tell(&Event::Lab { what: what.to_owned() });
            }
        }

        let mut cycled = BTreeMap::new();
        for name in self.cycle.clone() {
            cycled.insert(name.clone(), self.power_cycle(&name).await?);
        }
        let before = cycled.clone();
        self.follow("the machines to come back from their own disks", move |lab| {
            let back = |(name, before): (&String, &Counted)| {
                lab.summary.machines.get(name).is_some_and(|seen| seen.counted.booted_own_disk_since(*before))
            };
            before.iter().all(back) && lab.machines_run() && lab.summary.state() == Some(HANDED_OVER)
        })
        .await?;
        Ok(cycled)
    }

    /// Switches a machine off and on; what it had counted before.
    async fn power_cycle(&mut self, name: &str) -> Result<Counted> {
        self.report.tell(&Event::Lab { what: format!("switching {name} off and on") });
        let before = self.summary.machine(name).counted;
        self.machines.power_off(name).await?;
        // nothing it said before may count as coming back
        while let Ok((machine, line)) = self.said.try_recv() {
            self.machine_said(&machine, &line);
        }
        self.summary.machine(name).is("off", self.report.elapsed());
        self.machines.power_on(name)?;
        Ok(before)
    }

    /// Every assertion about the cluster comes true.
    async fn is_well(&mut self) -> Result<()> {
        loop {
            let not_so = self.daemon.not_so().await?;
            if not_so.is_empty() {
                return Ok(());
            }
            if Instant::now() > self.deadline {
                bail!("the cluster is not as a healthy one of the lab: {not_so:#?}");
            }
            sleep(LOOK).await;
        }
    }

    fn nodes_are_ready(&self) -> bool {
        let names = self.machines.names();
        names.iter().all(|name| self.nodes.get(name).is_some_and(|(state, _)| state == "ready"))
    }

    fn machines_run(&self) -> bool {
        let names = self.machines.names();
        names.iter().all(|name| self.summary.machines.get(name).is_some_and(machines::runs))
    }

    fn start_daemon(&mut self) -> Result<()> {
        self.daemon.start()?;
        self.summary.daemon_starts += 1;
        self.daemon_dies_at = self.killer.life().map(|life| Instant::now() + life);
        Ok(())
    }

    /// Takes in everything that happens until the goal is reached.
    async fn follow(&mut self, goal: &str, reached: impl Fn(&Self) -> bool) -> Result<()> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !reached(self) {
            let dies_at = self.daemon_dies_at;
            let killing = async move {
                match dies_at {
                    Some(moment) => sleep_until(moment).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some((machine, line)) = self.said.recv() => self.machine_said(&machine, &line),
                _ = look.tick() => {
                    self.machines.none_ended()?;
                    self.look_at_daemon().await;
                    if let Some(kubernetes) = &mut self.kubernetes {
                        kubernetes.look().await?;
                    }
                }
                ended = self.daemon.process()?.ended() => self.daemon_ended(&ended?.to_string())?,
                () = killing => self.kill_daemon().await?,
                () = sleep_until(self.deadline) => bail!("gave up waiting for {goal}"),
                () = self.interrupts.next() => bail!(Interrupted),
            }
        }
        Ok(())
    }

    async fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.process()?.crash().await?;
        self.summary.kills += 1;
        self.report
            .tell(&Event::Daemon { what: format!("killed by the lab, {} to come", self.killer.left()) });
        self.start_daemon()
    }

    /// The daemon may end by itself in one way only: at a checkpoint that was not in the ledger before.
    fn daemon_ended(&mut self, status: &str) -> Result<()> {
        let known = self.summary.checkpoints.len();
        let now = self.daemon.checkpoints();
        if now.len() <= known {
            bail!("ichord ended by itself ({status}); its last words:\n{}", self.daemon.last_words());
        }
        for point in now.iter().skip(known) {
            self.report.tell(&Event::Daemon { what: format!("died at {point}") });
        }
        self.summary.kills += 1;
        self.summary.checkpoints = now;
        self.start_daemon()
    }

    async fn look_at_daemon(&mut self) {
        // it may be dead or not up yet; the process is watched elsewhere
        let Some(status) = self.daemon.status().await else { return };
        let cluster = status.view.cluster;
        if self.summary.cluster_is(&cluster.state, self.report.elapsed()) {
            self.report.tell(&Event::Cluster { state: cluster.state, waiting: cluster.waiting });
        }
        let killing = self.points || self.summary.kills > 0;
        for (name, node) in status.view.nodes {
            // a permit pays for five boots; a daemon that dies in the middle of them uses them up, and asks a person
            let asks = node
                .waiting
                .as_ref()
                .is_some_and(|reason| reason.contains(&format!("`ichord deploy {name}`")));
            if killing && asks && self.daemon.deploy(&name.0).await {
                self.summary.permits_granted += 1;
                self.report.tell(&Event::Lab {
                    what: format!("grants {name} a new install permit, as ichord asks"),
                });
            }
            let said = (node.state, node.waiting);
            if self.nodes.get(&name.0) != Some(&said) {
                let (state, waiting) = said.clone();
                self.nodes.insert(name.0.clone(), said);
                self.report.tell(&Event::Node { machine: name.0, state, waiting });
            }
        }
    }

    fn machine_said(&mut self, machine: &str, line: &str) {
        let at = self.report.elapsed();
        if let Some(what) = machines::understand(line, at, self.summary.machine(machine)) {
            self.report.tell(&Event::Machine { machine: machine.to_owned(), what });
        }
    }

    fn show_logs(&self, launcher: &Launcher) {
        for name in [daemon::NAME.to_owned()].into_iter().chain(self.machines.names()) {
            self.report.aside(&format!("--- the last lines of {name}:"));
            for line in last_lines(&launcher.log(&name), LAST_LINES) {
                self.report.aside(&line);
            }
        }
        if let Some(kubernetes) = &self.kubernetes {
            self.report.aside(&format!("--- the last lines of Flux:\n{}", kubernetes.words()));
        }
    }

    /// `--keep`: tells how to look inside, and waits for Ctrl-C.
    async fn stay(&mut self, folder: &Path) {
        let enter = |pid: u32| format!("nsenter --target {pid} --user --net --mount --preserve-credentials");
        self.report.aside(&format!("\nthe lab stays up until Ctrl-C; its folder is {}", folder.display()));
        self.report
            .aside(&format!("  the daemon:  ichord status --socket {}", self.daemon.socket().display()));
        self.report.aside(&format!("  the network: {}", enter(std::process::id())));
        for (name, network) in self.machines.networks() {
            self.report.aside(&format!("  {name}: {}", enter(network)));
        }
        self.interrupts.next().await;
    }

    /// Everybody is asked to end; who does not is reported, and dies with the lab.
    async fn tear_down(mut self) {
        if let Ok(daemon) = self.daemon.process()
            && let Err(error) = daemon.stop().await
        {
            self.report.aside(&format!("lab: {error:#}"));
        }
        for name in self.machines.names() {
            if let Err(error) = self.machines.power_off(&name).await {
                self.report.aside(&format!("lab: {error:#}"));
            }
        }
    }
}

/// The person at the keyboard had enough.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

/// Ctrl-C and SIGTERM: both end the lab in order.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
