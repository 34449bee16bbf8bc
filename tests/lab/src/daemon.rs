//! The daemon under test: the real `ichord`, started, watched, killed and started again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::{Client, Deploy, Explain, Status};
use futures_util::TryStreamExt as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Launcher, Process, Start, last_lines};

/// Names its log.
pub(crate) const NAME: &str = "ichord";
/// From start to the first answer on the admin socket.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks for the answer.
const LOOK: Duration = Duration::from_millis(50);
/// One answer on a local socket.
const ANSWER: Duration = Duration::from_secs(5);

/// One line of such a command after another: longer than a node may need between two.
const APPLIED: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// the lab killed it
    Killed,
    /// it was done, or failed
    ByItself { code: Option<i32>, complaint: String },
}

/// How the daemon is run.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// as a plain process
    Plain {
        /// its state directory
        state: PathBuf,
        /// it dies once at every checkpoint that this file does not name
        ledger: Option<PathBuf>,
    },
    /// as its systemd unit says, under a systemd of its own
    Unit {
        /// where that has its things
        folder: PathBuf,
    },
}

/// The script that starts a systemd of its own.
const UNDER_SYSTEMD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/under-systemd");

/// The daemon and what it works on.
pub(crate) struct Daemon {
    launcher: Launcher,
    program: PathBuf,
    site: PathBuf,
    form: Form,
    process: Option<Process>,
}

impl Daemon {
    /// Not started yet.
    pub(crate) fn new(launcher: Launcher, program: PathBuf, site: PathBuf, form: Form) -> Self {
        Self { launcher, program, site, form, process: None }
    }

    /// `ichord secrets new` and `ichord check`, as a user does before the first start.
    pub(crate) async fn prepare(&self) -> Result<()> {
        self.secrets().await?;
        self.check().await
    }

    /// `ichord secrets new`.
    pub(crate) async fn secrets(&self) -> Result<()> {
        self.command(&["secrets", "new"]).await
    }

    /// `ichord check`.
    pub(crate) async fn check(&self) -> Result<()> {
        self.command(&["check"]).await
    }

    /// `ichord gitops`: everything that Git brings is ready.
    pub(crate) async fn git_is_well(&self) -> Result<()> {
        self.command(&["gitops", "--wait-healthy"]).await
    }

    /// `ichord handover verify`: after the hand-over nothing is left to write, and everything is ready.
    pub(crate) async fn verify(&self) -> Result<()> {
        self.command(&["handover", "verify"]).await
    }

    /// `ichord ports --verify`: the machines say that they are cabled as the site says.
    pub(crate) async fn verify_cabling(&self) -> Result<()> {
        self.command(&["ports", "--verify"]).await
    }

    /// `ichord plan`: by node what the site on disk would change there, and the class of it; nothing of a node without changes.
    pub(crate) async fn plan(&self) -> Result<BTreeMap<String, Value>> {
        let output = Command::new(&self.program)
            .args(["plan", "--json"])
            .arg(&self.site)
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let nodes: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`ichord plan` says no JSON: {}", said()))?;
        let changed: BTreeMap<_, _> =
            nodes.into_iter().filter(|(_, node)| !node["class"].is_null()).collect();
        let expected = if changed.is_empty() { 0 } else { 3 };
        if output.status.code() != Some(expected) {
            bail!("`ichord plan` ended with {}, and says {changed:?}: {}", output.status, said());
        }
        Ok(changed)
    }

    /// `ichord plan` as a person sees it: how it ended, and what it said.
    pub(crate) async fn plan_as_text(&self) -> Result<(Option<i32>, String)> {
        let output = Command::new(&self.program)
            .arg("plan")
            .arg(&self.site)
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// The site's folder.
    pub(crate) fn site(&self) -> &Path {
        &self.site
    }

    /// A command that goes from node to node (`apply`, or `maintain` with the site between these words), killed as by a power cut
    /// at the first line of its that `kill` says so of. Those that see on the nodes how far they are keep no record.
    pub(crate) async fn roll(
        &self,
        command: &[&str],
        record: Option<&Path>,
        more: &[&str],
        kill: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Ended> {
        let said = command.join(" ");
        let mut child = Command::new(&self.program)
            .args(command)
            .args(record.into_iter().flat_map(|record| [Path::new("--record"), record]))
            .arg(&self.site)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        while let Some(line) = timeout(APPLIED, lines.next_line())
            .await
            .with_context(|| format!("`ichord {said}` says nothing more"))??
        {
            if kill(&line) {
                child.kill().await.with_context(|| format!("`ichord {said}` cannot be killed"))?;
                return Ok(Ended::Killed);
            }
        }
        let output = child.wait_with_output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ended::ByItself { code: output.status.code(), complaint })
    }

    /// `ichord render`: the config of a node, in a folder.
    pub(crate) async fn render(&self, node: &str, out: &Path) -> Result<()> {
        self.command(&["render", "--node", node, "--out", &out.display().to_string()]).await
    }

    /// `ichord talosconfig`: what opens the machine API, in a file.
    pub(crate) async fn talosconfig(&self, out: &Path) -> Result<()> {
        self.command(&["talosconfig", "--out", &out.display().to_string()]).await
    }

    /// `ichord kubeconfig`: what opens Kubernetes, in a file.
    pub(crate) async fn kubeconfig(&self, out: &Path) -> Result<()> {
        // it writes over nothing
        fs::remove_file(out).ok();
        self.command(&["kubeconfig", "--out", &out.display().to_string()]).await
    }

    /// `ichord health`: what is not so, by the assertion's number, with the reason.
    pub(crate) async fn not_so(&self) -> Result<BTreeMap<u64, String>> {
        let output = Command::new(&self.program)
            .args(["health", "--json", "--socket"])
            .arg(self.socket())
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let assertions: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("`ichord health` says no JSON: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        let not_so = |assertion: &Value| {
            let Value::Object(verdict) = &assertion["verdict"] else { return None };
            let reason = verdict.get("reason").and_then(Value::as_str).unwrap_or_default();
            let is_not = verdict.get("is").and_then(Value::as_str) == Some("not");
            is_not.then(|| Some((assertion["number"].as_u64()?, reason.to_owned()))).flatten()
        };
        let not_so: BTreeMap<u64, String> = assertions.iter().filter_map(not_so).collect();
        if output.status.success() != not_so.is_empty() {
            bail!("`ichord health` ended with {}, and says that this is not so: {not_so:?}", output.status);
        }
        Ok(not_so)
    }

    async fn command(&self, words: &[&str]) -> Result<()> {
        let output = Command::new(&self.program)
            .args(words)
            .arg(&self.site)
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if !output.status.success() {
            bail!(
                "`ichord {} {}` failed ({}):\n{}{}",
                words.join(" "),
                self.site.display(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Starts the process; it is not ready yet.
    pub(crate) fn start(&mut self) -> Result<()> {
        let path = |path: &Path| path.display().to_string();
        let mut environment = Vec::new();
        let command = match &self.form {
            Form::Plain { state, ledger } => {
                if let Some(ledger) = ledger {
                    environment.push(("ICHORD_CRASH_LEDGER".to_owned(), path(ledger)));
                }
                vec![
                    path(&self.program),
                    "serve".to_owned(),
                    path(&self.site),
                    "--state".to_owned(),
                    path(state),
                    "--socket".to_owned(),
                    path(&self.socket()),
                    "--log".to_owned(),
                    "json".to_owned(),
                ]
            }
            Form::Unit { folder } => {
                vec![
                    UNDER_SYSTEMD.to_owned(),
                    path(&self.program),
                    path(&self.site),
                    path(folder),
                    path(&self.launcher.log(NAME)),
                ]
            }
        };
        let start = Start { name: NAME.to_owned(), network: None, card: None, command, environment };
        self.process = Some(self.launcher.start(start, None)?);
        Ok(())
    }

    /// Waits until it answers on its admin socket.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while self.status().await.is_none() {
            if let Some(status) = self.process()?.has_ended()? {
                bail!("ichord ended before it was ready ({status}); its last words:\n{}", self.last_words());
            }
            if Instant::now() > deadline {
                bail!("ichord did not answer within {} s", READY_WITHIN.as_secs());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// What it says now; nothing while it does not answer.
    pub(crate) async fn status(&self) -> Option<Status> {
        let client = Client::new(&self.socket());
        timeout(ANSWER, client.status()).await.ok()?.ok()
    }

    /// Waits until it says that this is so.
    pub(crate) async fn until(
        &self,
        what: &str,
        patience: Duration,
        reached: impl Fn(&Status) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.status().await;
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

    /// What it remembers of whoever holds this slot, a line each, as `ichord explain` shows it.
    pub(crate) async fn seen_of(&self, node: &str) -> Result<Vec<String>> {
        let client = Client::new(&self.socket());
        let request = Explain { machine: node.to_owned() };
        let found =
            timeout(ANSWER, client.explain(&request)).await.context("the daemon does not answer")??;
        let holders =
            found.into_iter().filter(|found| found.holds.as_ref().is_some_and(|holds| holds.0 == node));
        Ok(holders.flat_map(|found| found.seen).collect())
    }

    /// Grants a new install permit, as the daemon asks a person to. False when it does not answer.
    pub(crate) async fn deploy(&self, node: &str) -> bool {
        let client = Client::new(&self.socket());
        let permit = Deploy { node: Some(node.to_owned()), by: "the lab".to_owned() };
        matches!(timeout(ANSWER, client.deploy(&permit)).await, Ok(Ok(_)))
    }

    /// Its journal: what, and when in milliseconds since the Unix epoch.
    pub(crate) async fn journal(&self) -> Result<Vec<(String, u64)>> {
        let client = Client::new(&self.socket());
        let events = client.events(0, false).await.context("the journal does not come")?;
        let events: Vec<api::Event> = events.try_collect().await.context("the journal breaks off")?;
        Ok(events.into_iter().map(|event| (event.what, event.at)).collect())
    }

    /// A command of `ichord` that speaks to the running daemon, as a person gives it; what it answers.
    pub(crate) async fn tell(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(words)
            .arg("--socket")
            .arg(self.socket())
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!("`ichord {}` failed: {}", words.join(" "), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// The same of one that asks for a word to be typed.
    pub(crate) async fn tell_typed(&self, words: &[&str], typed: &str) -> Result<String> {
        let mut child = Command::new(&self.program)
            .args(words)
            .arg("--socket")
            .arg(self.socket())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("its input is piped")?;
        stdin.write_all(format!("{typed}\n").as_bytes()).await.context("it does not listen")?;
        drop(stdin);
        let output = timeout(APPLIED, child.wait_with_output()).await.context("it does not end")??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!("`ichord {}` failed: {}", words.join(" "), text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// `ichord backup`, beside the running daemon.
    pub(crate) async fn back_up(&self, out: &Path) -> Result<()> {
        let (state, out) = (self.state()?.display().to_string(), out.display().to_string());
        self.command(&["backup", "--state", &state, "--out", &out]).await
    }

    /// `ichord restore` over the store that is there.
    pub(crate) async fn restore(&self, backup: &Path) -> Result<()> {
        let state = self.state()?.display().to_string();
        let output = Command::new(&self.program)
            .args(["restore", "--replace", "--state", &state])
            .arg(&self.site)
            .arg(backup)
            .output()
            .await
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if !output.status.success() {
            bail!("`ichord restore` failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Its state directory.
    pub(crate) fn state(&self) -> Result<PathBuf> {
        match &self.form {
            Form::Plain { state, .. } => Ok(state.clone()),
            Form::Unit { .. } => bail!("its unit has the state"),
        }
    }

    /// The running process.
    pub(crate) fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("ichord was not started")
    }

    /// Where it listens for `ichord status`.
    pub(crate) fn socket(&self) -> PathBuf {
        match &self.form {
            Form::Plain { state, .. } => state.join("ichord.sock"),
            Form::Unit { folder } => folder.join("run/ichord/ichord.sock"),
        }
    }

    /// Checkpoints at which it died so far.
    pub(crate) fn checkpoints(&self) -> Vec<String> {
        let Form::Plain { ledger: Some(ledger), .. } = &self.form else { return Vec::new() };
        fs::read_to_string(ledger).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// What is wrong with how it kept its state: its unit gives it a key, so it must not have made one.
    pub(crate) fn faults(&self) -> Vec<String> {
        let Form::Unit { folder } = &self.form else { return Vec::new() };
        let state = folder.join("state");
        let mut faults = Vec::new();
        if !state.join("state.db").exists() {
            faults.push("the daemon did not keep its state where its unit says".to_owned());
        }
        if state.join("vault.key").exists() {
            faults.push("the daemon made a key of its own instead of using the one of its unit".to_owned());
        }
        faults
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.launcher.log(NAME), 15).join("\n")
    }
}
