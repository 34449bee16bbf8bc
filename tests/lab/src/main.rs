//! The lab: a provisioning network of namespaces with a switch, the daemon and the machines.
//!
//! `lab up` builds what it starts, leaves the machine's network, lays the wires, starts everything, and follows the
//! machines down the whole road. It is the first of the two commands in the README.

mod access;
mod agent;
mod args;
mod boxes;
mod cabling;
mod daemon;
mod dice;
mod discovery;
mod disks;
mod evidence;
mod firmware;
mod folder;
mod growing;
mod identity;
mod kill;
mod kubernetes;
mod machines;
mod memory;
mod moving;
mod neighbours;
mod others;
mod outage;
mod owned;
mod part;
mod plan;
mod ports;
mod process;
mod programs;
mod qemu;
mod racing;
mod rack;
mod relay;
mod replacement;
mod report;
mod reprovision;
mod rolling;
mod shell;
mod site;
mod space;
mod speed;
mod story;
mod summary;
mod switch;
mod up;
mod wires;
mod witness;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Up(up) => up::run(&up),
        Command::Firmware(firmware) => firmware::run(&firmware),
        Command::Identity(identity) => identity::run(&identity),
        Command::Cabling(cabling) => cabling::run(&cabling),
        Command::Racing(racing) => racing::run(&racing),
        Command::Relay(relay) => relay::run(&relay),
        Command::Discovery(discovery) => discovery::run(&discovery),
        Command::Neighbours(neighbours) => neighbours::run(&neighbours),
        Command::Speed(speed) => speed::run(&speed),
        Command::Disks(disks) => disks::run(&disks),
        Command::Replacement(replacement) => replacement::run(&replacement),
        Command::Memory(memory) => memory::run(&memory),
        Command::Outage(outage) => outage::run(&outage),
        Command::Reprovision(reprovision) => reprovision::run(&reprovision),
        Command::Rolling(rolling) => rolling::run(&rolling),
        Command::Growing(growing) => growing::run(&growing),
        Command::Moving(moving) => moving::run(&moving),
        Command::RelayAgent(agent) => relay::agent::run(&agent).map(|()| true),
        Command::Hold(hold) => shell::hold(&hold).map(|()| true),
        Command::Darken(darken) => shell::darken(&darken).map(|()| true),
        Command::Enter(enter) => shell::enter(&enter).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}
