//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hardware::LocalBoot;

use crate::cabling::Cabling;
use crate::discovery::Discovery;
use crate::disks::Disks;
use crate::firmware::Firmware;
use crate::growing::Growing;
use crate::memory::Memory;
use crate::moving::Moving;
use crate::neighbours::Neighbours;
use crate::outage::Outage;
use crate::racing::Racing;
use crate::relay::Relay;
use crate::relay::agent::RelayAgent;
use crate::replacement::Replacement;
use crate::reprovision::Reprovision;
use crate::rolling::Rolling;
use crate::shell;
use crate::speed::Speed;

/// The lab: a provisioning network of namespaces with a switch, the daemon and the machines.
#[derive(Debug, Parser)]
#[command(name = "lab", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds the network, starts the daemon and the machines, and follows them until the cluster is handed over
    Up(Up),
    /// Boots virtual machines with all kinds of firmware in all kinds of networks, one after the other (needs root)
    Firmware(Firmware),
    /// Judges that the machine in a port becomes the node of that port: random cabling, swapped cables, a replacement
    Identity(Identity),
    /// Judges the same of virtual machines with real firmware behind a real lldpd (needs root)
    Cabling(Cabling),
    /// Judges that machines whose port nothing else tells find it out by the discovery image
    Discovery(Discovery),
    /// Judges that machines that wait in Talos already are placed by what Talos itself hears of the switch
    Neighbours(Neighbours),
    /// Measures how long the daemon takes from the last machine that it needed to the next thing that it does
    Speed(Speed),
    /// Judges that what is on a machine's disk is not touched before a person says so, and then goes away once
    Disks(Disks),
    /// Judges that another machine in the port of a dead control plane becomes the same node, hands off, and etcd keeps its
    /// quorum, again and again
    Replacement(Replacement),
    /// Judges that a cluster runs on, untouched, while its daemon's memory is lost, old, or another daemon's, and that etcd comes
    /// back from a snapshot
    Memory(Memory),
    /// Judges that a rack comes back when its power does, the daemon last, and nothing is installed
    Outage(Outage),
    /// Judges that a control plane is installed anew by a person's order, and that its service processor (sushy-tools') is told
    /// before that it boots from the network next
    Reprovision(Reprovision),
    /// Judges that what is done to a running cluster (a label, maintenance, another Talos, a reset) is done one node at a time,
    /// though whoever does it is killed at each step
    Rolling(Rolling),
    /// Judges that a cluster of one control plane becomes one of three, gets a worker, exchanges a control plane and loses the worker,
    /// and that what would cost it its safety is refused
    Growing(Growing),
    /// Judges that machines stay what they are, untouched, when one is plugged into another port, their switch gets another name, and
    /// another switch takes its place, and that a person is told each and how to accept it
    Moving(Moving),
    /// Judges that three control planes found one cluster, whether they come at once, late, never or as other machines
    Racing(Racing),
    /// Judges that machines behind a relay become the nodes of the ports that its option 82 names
    Relay(Relay),
    /// Relays DHCP as a switch does (the lab starts this itself)
    #[command(hide = true)]
    RelayAgent(RelayAgent),
    /// Keeps a machine's network alive (the lab starts this itself)
    #[command(hide = true)]
    Hold(shell::Hold),
    /// Takes the card of a machine that is switched off down (the lab starts this itself)
    #[command(hide = true)]
    Darken(shell::Darken),
    /// Becomes a program inside the lab (the lab starts this itself)
    #[command(hide = true)]
    Enter(shell::Enter),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Up {
    /// Machines that become control planes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) control_planes: u8,
    /// Machines that become workers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=40))]
    pub(crate) workers: u8,
    /// Leave everything running at the end, and say how to look inside
    #[arg(long)]
    pub(crate) keep: bool,
    /// One JSON object a line instead of a table; the last line is the summary
    #[arg(long)]
    pub(crate) json: bool,
    /// Seed of the moments of `--kill random`
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Real firmware under QEMU instead of simulated machines: UEFI by HTTP Boot and by PXE, and BIOS (needs root)
    #[arg(long, conflicts_with_all = ["control_planes", "workers"])]
    pub(crate) qemu: bool,
    /// With `--qemu`: the way to every machine's own disk (not-found, exit, sanboot, silent) instead of its firmware's usual
    /// one
    #[arg(long, value_name = "WAY", requires = "qemu")]
    pub(crate) local_boot: Option<LocalBoot>,
    /// Machines that never netboot, started from Talos's own ISO: `authoritative`, with addresses of ours, or `proxy`,
    /// with those of a dnsmasq on the same wire
    #[arg(long, value_name = "HOW", conflicts_with = "qemu")]
    pub(crate) iso: Option<Iso>,
    /// The real control plane behind the simulated machines, with the whole founding order to the real Flux; needs what
    /// `cargo run -p oracles` builds
    #[arg(long, conflicts_with_all = ["qemu", "iso"])]
    pub(crate) kubernetes: bool,
    /// With `--kubernetes`: in the middle of the hand-over the API server dies twice, and nodes are switched off and on
    #[arg(long, requires = "kubernetes", conflicts_with = "kill")]
    pub(crate) outages: bool,
    /// Kill the daemon: `points` (once before and after every commit and effect) or `random:N`
    #[arg(long, value_name = "HOW")]
    pub(crate) kill: Option<Kill>,
    /// Run the daemon as its systemd unit does, under a systemd of its own (needs root)
    #[arg(long, conflicts_with = "kill")]
    pub(crate) unit: bool,
    /// Give up after so many seconds without the end of the road (default: 180; 600 with --kill, 900 with --qemu and
    /// --kubernetes)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    pub(crate) no_build: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Identity {
    /// Rounds of random cabling
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// instead: no LLDP and no bridge are asked, only the switch's SNMP agent, which this snmpsim-command-responder is
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) snmp: Option<PathBuf>,
    /// Seed of the cablings
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Take `ichord` and `machine` from beside the lab's own program instead of building them
    #[arg(long)]
    pub(crate) no_build: bool,
}

impl Up {
    /// After how long the lab gives up.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(match (self.qemu || self.kubernetes, self.kill) {
            (true, _) => 900,
            (false, None) => 180,
            (false, Some(_)) => 600,
        }))
    }
}

/// Who gives addresses to machines that start from an ISO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Iso {
    /// the daemon, to anybody
    Authoritative,
    /// somebody else
    Proxy,
}

/// When the daemon is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// by itself, once at every checkpoint
    Points,
    /// by the lab, so many times
    Random(u32),
}

impl FromStr for Kill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "points" => Ok(Self::Points),
            Some(("random", count)) => count
                .parse()
                .ok()
                .filter(|count| (1..=1000).contains(count))
                .map(Self::Random)
                .ok_or_else(|| format!("{count:?} is not a number from 1 to 1000")),
            _ => Err("expected `points` or `random:N`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_kill() {
        assert_eq!("points".parse(), Ok(Kill::Points));
        assert_eq!("random:20".parse(), Ok(Kill::Random(20)));
        for wrong in ["random", "random:0", "random:many", "points:1", ""] {
            assert!(wrong.parse::<Kill>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
