//! One part of the control plane as a process of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A running part; ended when it is dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. The kernel ends it when the thread that started it ends, so that a killed test leaves nothing.
    pub(crate) fn start(
        program: &Path,
        name: &'static str,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Process> {
        let arguments: Vec<String> = [name.to_owned()].into_iter().chain(arguments.iter().cloned()).collect();
        Process::start_with(program, name, &arguments, folder, &[])
    }

    /// The same for a program that is no part of another, with variables of its environment.
    pub(crate) fn start_with(
        program: &Path,
        name: &'static str,
        arguments: &[String],
        folder: &Path,
        environment: &[(&str, String)],
    ) -> Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("setpriv of util-linux does not start")?;
        Ok(Process { name, child, log })
    }

    /// An error with its last words when it has ended.
    pub(crate) fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port of loopback that nobody has now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
