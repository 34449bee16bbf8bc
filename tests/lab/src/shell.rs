//! What a child of the lab does before it becomes the program it was started for.
//!
//! Three forms: *hold* keeps a machine's network alive while the machine is switched off and on; *enter* joins such a
//! network (or stays in the lab's own), makes sure that the program dies with the lab, and becomes it; *darken* takes
//! down the card of a machine that was switched off.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use hardware::MacAddr;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::space;
use crate::wires::Wires;

/// Arguments of *darken*.
#[derive(Debug, Args)]
pub(crate) struct Darken {
    /// process that holds the network of the machine
    #[arg(long)]
    network: u32,
}

/// What *hold* writes once its network exists.
pub(crate) const HELD: &str = "held\n";

/// Arguments of *hold*.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// process id of the lab
    #[arg(long)]
    lab: i32,
}

/// Arguments of *enter*.
#[derive(Debug, Args)]
pub(crate) struct Enter {
    /// process id of the lab
    #[arg(long)]
    lab: i32,
    /// process that holds the network to join; without it, the lab's own
    #[arg(long)]
    network: Option<u32>,
    /// the address that the machine's card has
    #[arg(long)]
    card: Option<MacAddr>,
    /// the program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

/// Takes the card of a machine without power down: its kernel must say no more in its name, not even when the switch's end
/// of the cable comes up again for the next machine.
pub(crate) fn darken(darken: &Darken) -> Result<()> {
    space::join_network(darken.network)?;
    space::runtime()?.block_on(async { Wires::open()?.power_off_card().await })
}

/// Keeps a network until the lab closes our standard input.
pub(crate) fn hold(hold: &Hold) -> Result<()> {
    space::new_network()?;
    die_with(hold.lab)?;
    let mut out = std::io::stdout();
    out.write_all(HELD.as_bytes()).and_then(|()| out.flush()).context("the lab does not listen")?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).context("cannot wait for the lab")?;
    Ok(())
}

/// Becomes the program; returns only when that failed.
pub(crate) fn enter(enter: &Enter) -> Result<()> {
    if let Some(holder) = enter.network {
        space::join_network(holder)?;
        space::runtime()?.block_on(async { Wires::open()?.power_on_card(enter.card).await })?;
    }
    die_with(enter.lab)?;
    let Some((program, arguments)) = enter.program.split_first() else {
        bail!("no program to become");
    };
    let failed = Command::new(program).args(arguments).stdin(Stdio::null()).exec();
    Err(failed).with_context(|| format!("cannot start {program}"))
}

/// The kernel kills this process when the lab dies, however it dies.
fn die_with(lab: i32) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to the lab")?;
    if getppid() != Pid::from_raw(lab) {
        bail!("the lab ended before this process began");
    }
    Ok(())
}
