//! One process under measurement: what processors worked for it, its memory, and its end.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::Context as _;

use crate::cable::Cable;

/// Of the kernel's interface, whatever its own clock does.
const TICKS: f64 = 100.0;

/// A running process at the servers' end; it ends with the value.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(cable: &Cable, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self { child: cable.serve(command)? })
    }

    /// The seconds that processors worked for it, in both modes (proc_pid_stat(5), fields 14 and 15).
    pub(crate) fn processor(&self) -> anyhow::Result<f64> {
        let stat = self.read("stat")?;
        // the second field is the program's name in brackets, and may hold anything
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok());
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
        Ok(ticks.context("the kernel says no times")? / TICKS)
    }

    /// The memory that is its own and no file's, now, in millions of bytes.
    pub(crate) fn private_memory(&self) -> anyhow::Result<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        Ok(kibibytes.context("the server has ended")? * 1024.0 / 1e6)
    }

    fn read(&self, file: &str) -> anyhow::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).context("the server is gone")
    }
}

/// Lets time pass: a measurement takes its samples in time, and another process says nothing when it is ready.
#[allow(clippy::disallowed_methods)] // there is no condition in this process to wait for
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

impl Drop for Process {
    fn drop(&mut self) {
        // in vain when it has ended already
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
