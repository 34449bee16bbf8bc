//! The command line. Exit codes: 0 done, 1 failed, 2 the site's files (or the arguments) have faults, 3 `plan` has changes.

mod apply;
mod approve;
mod backup;
mod book;
mod bootstrap;
mod cabling;
mod check;
mod cluster;
mod credentials;
mod deploy;
mod doctor;
mod events;
mod explain;
mod gitops;
mod handover;
mod health;
mod images;
mod kubeconfig;
mod maintain;
mod pack;
mod plan;
mod ports;
mod power;
mod reload;
mod remove;
mod render;
mod reprovision;
mod rolling;
mod running;
mod secrets;
mod serve;
mod slot;
mod snapshot;
mod status;
mod takeover;
mod talosconfig;
mod trace;
mod upgrade;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::app::{LoadError, sentence};

/// Turns racked metal into a running Talos Kubernetes cluster and hands that cluster to Git.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ichord secrets new profiles/home-ops     make the cluster's secrets, once
  ichord check profiles/home-ops           find every fault before anything boots
  ichord images pull profiles/home-ops     fetch what its machines boot
  ichord serve profiles/home-ops           run the daemon
  ichord deploy --unfilled                 allow installing into every empty slot
  ichord status                            machines and the cluster, now
  ichord ports                             who is plugged in where, and who should be
  ichord events --follow                   every decision with its evidence, as it is made
  ichord trace 64:4b:f0:00:00:03           everything one machine said and was told, and why
  ichord doctor                            what is wrong on the network
  ichord health                            whether the cluster is well
  ichord plan profiles/home-ops            what a changed site would change on each node
  ichord apply profiles/home-ops           the same done, one node at a time
  ichord maintain profiles/home-ops mini03 -- reboot
                                           one node emptied, booted again, and back at work
  ichord upgrade talos profiles/home-ops   the Talos that the site names, one node at a time";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Check(check::Check),
    Render(render::Render),
    Secrets(secrets::Secrets),
    Images(images::Images),
    Talosconfig(talosconfig::Talosconfig),
    Kubeconfig(kubeconfig::Kubeconfig),
    Status(status::Status),
    Deploy(deploy::Deploy),
    Approve(approve::Approve),
    Slot(slot::Slot),
    Reprovision(reprovision::Reprovision),
    Reset(reprovision::Reset),
    Remove(remove::Remove),
    Power(power::Power),
    Bootstrap(bootstrap::Bootstrap),
    Takeover(takeover::Takeover),
    Snapshot(snapshot::Snapshot),
    Recover(snapshot::Recover),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Ports(ports::Ports),
    Explain(explain::Explain),
    Reload(reload::Reload),
    Events(events::Events),
    Trace(trace::Trace),
    Doctor(doctor::Doctor),
    Handover(handover::Handover),
    Health(health::Health),
    Pack(pack::Pack),
    Gitops(gitops::Gitops),
    Plan(plan::Plan),
    Apply(apply::Apply),
    Maintain(maintain::Maintain),
    Upgrade(upgrade::Upgrade),
}

/// How the commands find the running daemon.
#[derive(Debug, Args)]
struct Socket {
    /// the daemon's admin socket
    #[arg(long, env = "ICHORD_SOCKET", default_value = "/run/ichord/ichord.sock", value_name = "PATH")]
    socket: PathBuf,
}

impl Socket {
    fn client(&self) -> api::Client {
        api::Client::new(&self.socket)
    }
}

/// A command that did not do what it was asked to.
#[derive(Debug)]
enum Failure {
    /// the site's files have faults; they were printed
    Faults,
    /// two things that were compared are not the same; how was printed
    Differs,
    /// the site would change something on its nodes; what was printed
    Changes,
    /// whoever read the output has gone
    Enough,
    /// anything else
    Other(anyhow::Error),
}

impl Failure {
    /// Prints what is wrong with the site: its faults as they are, for editors that jump to them.
    fn of_site(error: &LoadError) -> Self {
        match error {
            LoadError::Faults(findings) => eprintln!("{findings}"),
            LoadError::Secrets(error) => eprintln!("ichord: {}", sentence(error)),
        }
        Self::Faults
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Runs one command to its exit code.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Serve(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Render(command) => command.run(),
        Command::Secrets(command) => command.run(),
        Command::Images(command) => block_on(command.run()),
        Command::Talosconfig(command) => command.run(),
        Command::Kubeconfig(command) => command.run(),
        Command::Status(command) => block_on(command.run()),
        Command::Deploy(command) => block_on(command.run()),
        Command::Approve(command) => block_on(command.run()),
        Command::Ports(command) => block_on(command.run()),
        Command::Explain(command) => block_on(command.run()),
        Command::Slot(command) => block_on(command.run()),
        Command::Reprovision(command) => block_on(command.run()),
        Command::Reset(command) => block_on(command.run()),
        Command::Remove(command) => block_on(command.run()),
        Command::Power(command) => block_on(command.run()),
        Command::Bootstrap(command) => block_on(command.run()),
        Command::Takeover(command) => block_on(command.run()),
        Command::Snapshot(command) => block_on(command.run()),
        Command::Recover(command) => block_on(command.run()),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Reload(command) => block_on(command.run()),
        Command::Events(command) => block_on(command.run()),
        Command::Trace(command) => block_on(command.run()),
        Command::Doctor(command) => block_on(command.run()),
        Command::Handover(command) => block_on(command.run()),
        Command::Health(command) => block_on(command.run()),
        Command::Pack(command) => command.run(),
        Command::Gitops(command) => block_on(command.run()),
        Command::Plan(command) => block_on(command.run()),
        Command::Apply(command) => block_on(command.run()),
        Command::Maintain(command) => block_on(command.run()),
        Command::Upgrade(command) => block_on(command.run()),
    };
    match result {
        Ok(()) | Err(Failure::Enough) => ExitCode::SUCCESS,
        Err(Failure::Faults) => ExitCode::from(2),
        Err(Failure::Differs) => ExitCode::FAILURE,
        Err(Failure::Changes) => ExitCode::from(3),
        Err(Failure::Other(error)) => {
            eprintln!("ichord: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// Who gives an order, for the journal.
fn whoever_asks() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "somebody".into())
}

/// Writes to standard output, all of it or an error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `ichord events | head`: the reader has what it wanted
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Enough),
        written => Ok(written.context("cannot write to standard output")?),
    }
}

/// The time of day of a moment in milliseconds since the Unix epoch; nobody looks for a conversation of yesterday.
fn time_of_day(at: u64) -> String {
    let (seconds, milliseconds) = (at / 1000 % 86_400, at % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{milliseconds:03}Z", seconds % 60)
}

/// A node's name, typed once more by whoever wants what cannot be taken back.
fn typed(node: &str, what: &str) -> anyhow::Result<()> {
    let mut asks = io::stderr().lock();
    write!(asks, "{what}. Its name: ").and_then(|()| asks.flush()).ok();
    let mut line = String::new();
    io::BufRead::read_line(&mut io::stdin().lock(), &mut line).context("what was typed cannot be read")?;
    anyhow::ensure!(line.trim() == node, "that is not {node}: nothing is done");
    Ok(())
}

/// Gives an order and prints what was done.
async fn give(socket: &Socket, order: lifecycle::Order) -> Result<(), Failure> {
    let ordered = socket.client().order(&api::ClaimOrder { order, by: whoever_asks() }).await?;
    print(&format!("{}\n", ordered.done))
}

/// The small runtime of a command that only calls the daemon.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
