//! Child processes of the lab: each with a log of its own, none outliving the lab.
//!
//! A child becomes its program through `lab enter`, which ties its life to ours, and leads a process group of its
//! own, so that Ctrl-C reaches the lab alone and the lab decides who ends when.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hardware::MacAddr;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::shell::HELD;

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How much of a log's end is worth reading for its last lines.
const TAIL: u64 = 64 * 1024;

/// Starts children.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    /// the lab's own program
    pub(crate) lab: PathBuf,
    /// where the logs are
    pub(crate) logs: PathBuf,
}

/// What to start, and how.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// names the log
    pub(crate) name: String,
    /// whose network it joins; none: the lab's own
    pub(crate) network: Option<u32>,
    /// the address of its card, where it is not the one that the network was made with
    pub(crate) card: Option<MacAddr>,
    /// program and arguments
    pub(crate) command: Vec<String>,
    /// environment beyond ours
    pub(crate) environment: Vec<(String, String)>,
}

/// Lines of many children in one channel: the child's name and the line.
pub(crate) type Lines = mpsc::UnboundedSender<(String, String)>;

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Launcher {
    /// The log of the child with this name; it grows over restarts.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Starts a child. Its standard error goes to its log; so does its standard output, line by line, of which
    /// `lines` (if given) gets a copy.
    pub(crate) fn start(&self, start: Start, lines: Option<Lines>) -> Result<Process> {
        let log = open_log(&self.log(&start.name))?;
        let mut command = Command::new(&self.lab);
        command.arg("enter").arg("--lab").arg(std::process::id().to_string());
        if let Some(holder) = start.network {
            command.arg("--network").arg(holder.to_string());
        }
        if let Some(card) = start.card {
            command.arg("--card").arg(card.to_string());
        }
        command.arg("--").args(&start.command).envs(start.environment);
        command.stdin(Stdio::null()).stderr(log.try_clone().context("cannot share a log")?);
        match lines {
            None => command.stdout(log.try_clone().context("cannot share a log")?),
            Some(_) => command.stdout(Stdio::piped()),
        };
        let mut child = command
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", start.name))?;
        if let (Some(lines), Some(output)) = (lines, child.stdout.take()) {
            tokio::spawn(copy_lines(start.name.clone(), output, log, lines));
        }
        Ok(Process { name: start.name, child })
    }

    /// Starts the keeper of a machine's network and waits until the network exists.
    pub(crate) async fn hold_network(&self, name: &str) -> Result<Network> {
        let mut child = Command::new(&self.lab)
            .arg("hold")
            .arg("--lab")
            .arg(std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(open_log(&self.log(name))?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the keeper of {name}'s network"))?;
        let mut word = [0; HELD.len()];
        let said = match &mut child.stdout {
            Some(output) => timeout(GRACE, output.read_exact(&mut word)).await,
            None => bail!("the keeper of {name}'s network has no output"),
        };
        if !matches!(said, Ok(Ok(_))) || word != HELD.as_bytes() {
            bail!("the network of {name} could not be made: {}", last_lines(&self.log(name), 3).join("; "));
        }
        let pid = child.id().ok_or_else(|| anyhow!("the keeper of {name}'s network ended"))?;
        Ok(Network { pid, _keeper: child })
    }
}

/// A machine's network; it is gone when this is dropped and nobody is in it.
#[derive(Debug)]
pub(crate) struct Network {
    /// the process to join
    pub(crate) pid: u32,
    _keeper: Child,
}

impl Launcher {
    /// Takes the card in this network down, and waits for it.
    pub(crate) async fn darken(&self, network: u32) -> Result<()> {
        let mut command = Command::new(&self.lab);
        command.args(["darken", "--network", &network.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
        let status = command.status().await.context("cannot start the lab's own program")?;
        anyhow::ensure!(status.success(), "the card in the network of process {network} stays up ({status})");
        Ok(())
    }
}

impl Process {
    /// Resolves when the child ended by itself. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("cannot wait for {}", self.name))
    }

    /// How it ended, if it did.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))
    }

    /// Ends it as a crash does, and waits until it is gone.
    pub(crate) async fn crash(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.ended().await
    }

    /// Asks it to end; after [`GRACE`] it is made to.
    pub(crate) async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        match timeout(GRACE, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("cannot wait for {}", self.name)),
            Err(_) => {
                self.crash().await?;
                bail!("{} did not end within {} s of SIGTERM and was killed", self.name, GRACE.as_secs())
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // an id is kept until the child was waited for, so it cannot be somebody else's
        let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) else {
            return Ok(());
        };
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot signal {}", self.name))
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

async fn copy_lines(
    name: String,
    output: tokio::process::ChildStdout,
    log: File,
    lines: Lines,
) -> std::io::Result<()> {
    let mut log = tokio::fs::File::from_std(log);
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // a serial console says what it likes, so bytes and not UTF-8
    while output.read_until(b'\n', &mut line).await? > 0 {
        log.write_all(&line).await?;
        log.flush().await?;
        // nobody may be listening any more; the log still matters
        lines.send((name.clone(), String::from_utf8_lossy(&line).trim_end().to_owned())).ok();
        line.clear();
    }
    Ok(())
}

/// The last lines of a log, for a person who has to find out what went wrong.
pub(crate) fn last_lines(log: &Path, count: usize) -> Vec<String> {
    let Ok(mut file) = File::open(log) else { return Vec::new() };
    let length = file.metadata().map(|about| about.len()).unwrap_or_default();
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).is_err()
        || file.read_to_end(&mut bytes).is_err()
    {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        std::fs::write(&log, (0..50_000).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        assert_eq!(last_lines(&log, 2), ["line 49998", "line 49999"]);
        assert!(last_lines(&folder.path().join("none"), 2).is_empty());
    }
}
