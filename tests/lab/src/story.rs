//! What a story needs in which machines come, go and are exchanged: ports, boxes, a site, a daemon that may be killed.
//!
//! A story has chapters; each begins with a daemon that knows nothing, and with every box switched off. The switch, the
//! places and the cluster's secrets are the same in all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::Status;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::DropGuard;

use crate::boxes::Boxes;
use crate::daemon::{Daemon, Form};
use crate::plan::Machine;
use crate::ports::Ports;
use crate::process::{Launcher, last_lines};
use crate::programs::Programs;
use crate::switch::Voice;
use crate::{rack, site, space};

/// Between two looks at the daemon's status.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that one step may take: far more than it does, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(180);
/// How many lines of a log a failure shows.
const LAST_LINES: usize = 12;

/// The states of the cluster in their order.
const STATES: [&str; 5] = ["assembling", "bootstrapping", "joining", "handing over", "handed over"];

/// The stage and the actors.
pub(crate) struct Story {
    launcher: Launcher,
    programs: Programs,
    folder: PathBuf,
    site: PathBuf,
    pub(crate) ports: Ports,
    pub(crate) boxes: Boxes,
    daemon: Option<Daemon>,
    /// whether the daemon is killed at every point
    pub(crate) restarts: bool,
    killed: u32,
    began: Instant,
    switch_stops: Option<DropGuard>,
}

impl Story {
    /// A box for every port, called as the node that belongs there, and the spare ones. `edit` makes the lab's site into
    /// the story's.
    pub(crate) async fn prepare(
        programs: &Programs,
        folder: &Path,
        plan: Vec<Machine>,
        spares: Vec<Machine>,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let place = |name| space::place(folder, name);
        let (site, logs, disks) = (place("site")?, place("logs")?, place("disks")?);
        let launcher = Launcher { lab: programs.lab.clone(), logs };
        write_site(&site, &plan, edit)?;
        let form = Form::Plain { state: folder.join("state"), ledger: None };
        Daemon::new(launcher.clone(), programs.ichord.clone(), site.clone(), form).prepare().await?;
        let boxes = Boxes::new(&launcher, programs, &disks, plan.iter().cloned().chain(spares));
        let ports = Ports::lay(&launcher, plan).await?;
        let switch_stops = ports.speak().await?;
        Ok(Self {
            launcher,
            programs: programs.clone(),
            folder: folder.to_owned(),
            site,
            ports,
            boxes,
            daemon: None,
            restarts: false,
            killed: 0,
            began: Instant::now(),
            switch_stops: Some(switch_stops),
        })
    }

    pub(crate) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// The daemon's log, of all chapters.
    pub(crate) fn log(&self) -> PathBuf {
        self.launcher.log(crate::daemon::NAME)
    }

    /// The site's folder.
    pub(crate) fn site(&self) -> &Path {
        &self.site
    }

    /// The switch has another name from now on, or another switch is in its place.
    pub(crate) async fn switch_is(&mut self, voice: &Voice) -> Result<()> {
        // two voices on one port would be two switches
        self.switch_stops = None;
        self.switch_stops = Some(self.ports.speak_as(voice).await?);
        Ok(())
    }

    /// A new chapter: a daemon without a past. Disks are the caller's business.
    pub(crate) async fn begin(&mut self, chapter: &str) -> Result<()> {
        self.boxes.forget();
        (self.killed, self.began) = (0, Instant::now());
        self.start(&format!("state-{}", chapter.replace(' ', "-"))).await
    }

    /// The daemon goes, and another one comes in its place that knows nothing.
    pub(crate) async fn another_daemon(&mut self, state: &str) -> Result<()> {
        self.daemon()?.process()?.stop().await?;
        self.start(state).await
    }

    /// A daemon with a state directory of this name.
    async fn start(&mut self, state: &str) -> Result<()> {
        let state = space::place(&self.folder, state)?;
        let form = Form::Plain { state, ledger: None };
        let mut daemon =
            Daemon::new(self.launcher.clone(), self.programs.ichord.clone(), self.site.clone(), form);
        daemon.start()?;
        daemon.ready().await?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The end of a chapter: everything is off, and the network forgets.
    pub(crate) async fn end(&mut self, chapter: &str) -> Result<()> {
        self.boxes.all_off(&self.ports).await?;
        self.daemon()?.process()?.stop().await?;
        self.daemon = None;
        self.ports.wires.forget_neighbours().await?;
        let seconds = (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        say(
            &json!({ "event": "chapter", "chapter": chapter, "seconds": seconds, "daemon-killed": self.killed }),
        );
        Ok(())
    }

    pub(crate) fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("no chapter has begun")
    }

    /// Blank machines for every port of these, switched on at once. Returns how long that took.
    pub(crate) async fn switch_on(&mut self, ports: &[usize]) -> Result<Duration> {
        let began = Instant::now();
        for &port in ports {
            let name = self.ports.plan[port].name.clone();
            self.boxes.blank(&name);
            self.boxes.power_on(&name, &self.ports, port).await?;
        }
        Ok(began.elapsed())
    }

    /// A moment at which the daemon may die: with restarts it does, as by a power cut, and comes back.
    pub(crate) async fn point(&mut self, what: &str) -> Result<()> {
        if !self.restarts {
            return Ok(());
        }
        self.killed += 1;
        let daemon = self.daemon()?;
        daemon.process()?.crash().await?;
        daemon.start()?;
        daemon.ready().await.with_context(|| format!("the daemon was killed: {what}"))
    }

    /// Takes in everything until this is so.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        reached: impl Fn(&Status, &Boxes) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.boxes.hear() => {}
                _ = look.tick() => {
                    self.boxes.none_ended()?;
                    let status = self.daemon()?.status().await;
                    if status.as_ref().is_some_and(|status| reached(status, &self.boxes)) {
                        return Ok(());
                    }
                    if Instant::now() > deadline {
                        bail!("gave up waiting for {what}\n{}", self.evidence(status));
                    }
                    self.grant(status).await?;
                }
            }
        }
    }

    /// Takes in everything for so long; what must not happen meanwhile is a fault.
    pub(crate) async fn stays(
        &mut self,
        long: Duration,
        what: &str,
        holds: impl Fn(&Status, &Boxes) -> bool,
    ) -> Result<()> {
        let over = Instant::now() + long;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < over {
            tokio::select! {
                () = self.boxes.hear() => {}
                _ = look.tick() => {
                    if let Some(status) = self.daemon()?.status().await
                        && !holds(&status, &self.boxes)
                    {
                        bail!("it did not stay so: {what}\n{}", self.evidence(Some(status)));
                    }
                }
            }
        }
        Ok(())
    }

    /// A permit pays for five boots; a daemon that dies in the middle of them may use them up, and asks a person.
    async fn grant(&mut self, status: Option<Status>) -> Result<()> {
        let Some(status) = status.filter(|_| self.killed > 0) else { return Ok(()) };
        for (name, node) in status.view.nodes {
            let asks = format!("`ichord deploy {name}`");
            if node.waiting.is_some_and(|reason| reason.contains(&asks)) {
                self.daemon()?.deploy(&name.0).await;
            }
        }
        Ok(())
    }

    /// What the daemon and the boxes said last.
    fn evidence(&self, status: Option<Status>) -> String {
        let mut words = String::new();
        if let Some(status) = status {
            words +=
                &format!("the cluster is {}: {:?}\n", status.view.cluster.state, status.view.cluster.waiting);
            for (name, node) in status.view.nodes {
                words += &format!("{name} is {}: {:?}\n", node.state, node.waiting);
            }
        }
        let running = self.boxes.running();
        for name in running.iter().map(|(name, _)| name.as_str()).chain(["ichord"]) {
            words += &format!("{name}:\n{}\n", last_lines(&self.launcher.log(name), LAST_LINES).join("\n"));
        }
        words
    }

    /// How often these calls were made, over all boxes: by their own records.
    pub(crate) fn calls(&self, call: &str) -> Vec<(String, usize)> {
        let of = |(name, seen): (&String, &crate::summary::Seen)| {
            let count = seen.calls.iter().filter(|made| *made == call).count();
            (count > 0).then(|| (name.clone(), count))
        };
        self.boxes.records().iter().filter_map(of).collect()
    }

    /// One cluster was founded and one box was ever asked to; without restarts it was asked once.
    pub(crate) fn founded_once(&self) -> Result<()> {
        let asked = self.calls("Bootstrap");
        let founded: u32 = self.boxes.records().values().map(|seen| seen.counted.bootstraps).sum();
        ensure!(founded == 1, "{founded} clusters were founded, not one");
        ensure!(asked.len() == 1, "several boxes were asked to bootstrap, or none: {asked:?}");
        // who dies between the call and its answer asks the same box again
        ensure!(self.killed > 0 || asked[0].1 == 1, "Bootstrap was called several times: {asked:?}");
        Ok(())
    }
}

/// Whether the cluster is at least that far.
pub(crate) fn has_come_to(status: &Status, state: &str) -> bool {
    let rank = |state: &str| STATES.iter().position(|known| *known == state);
    rank(&status.view.cluster.state) >= rank(state)
}

/// A node's state.
pub(crate) fn state_of<'a>(status: &'a Status, node: &str) -> &'a str {
    status.view.nodes.get(&node.into()).map_or("", |node| node.state.as_str())
}

/// What is waited for: of a node, or of the cluster.
pub(crate) fn waits_for(status: &Status, subject: &str) -> String {
    let waiting = match subject {
        "cluster" => status.view.cluster.waiting.clone(),
        node => status.view.nodes.get(&node.into()).and_then(|node| node.waiting.clone()),
    };
    waiting.unwrap_or_default()
}

/// Whether a machine with our config was proven in this slot.
pub(crate) fn is_configured(status: &Status, node: &str) -> bool {
    matches!(state_of(status, node), "configured" | "member" | "ready")
}

/// A line for whoever reads along.
pub(crate) fn say(event: &Value) {
    println!("{event}");
}

fn write_site(folder: &Path, plan: &[Machine], edit: impl FnOnce(&mut Value)) -> Result<()> {
    rack::write_simulated_site(folder, plan, site::Dhcp::Ours)?;
    let path = folder.join("ichord.yaml");
    let text = fs::read_to_string(&path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    written["timing"] = json!({ "observe": "300ms", "watch": "500ms", "bootstrap-grace": "20s" });
    edit(&mut written);
    fs::write(&path, format!("{written:#}\n")).context("the site cannot be written")?;
    site::write_images(&folder.join("images"), &site::ImageFiles::stand_ins())
}
