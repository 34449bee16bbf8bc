//! The machine as a value: its state, its timers, what it says. `life` moves it from power to a config,
//! `node` and `membership` go on from there, `api` and `peers` let others talk to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    config::Config,
    disk::Storage,
    exchange::{NodeReport, PeerCall},
    hardware::{Factory, Hardware, Image},
    neighbors::Heard,
    node::Node,
    pace::{Chance, Pace},
    peers::Pending,
    status::ServerIdentity,
};

/// What the boot server said, or what became of asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// kernel and initramfs of Talos
    Talos {
        /// what was downloaded
        image: Image,
        /// the kernel command line
        cmdline: String,
        /// whether the bytes had the digests they should have; a wrong image is not booted
        intact: bool,
    },
    /// boot the own disk
    LocalDisk,
    /// ask again later
    Retry {
        /// milliseconds
        after: u64,
    },
    /// no offer, no answer, an error
    Nothing,
}

/// Where the machine is in its life. What Talos itself calls a stage is in the MachineStatus resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// no power
    Off,
    /// firmware, asking the network or waiting to
    Firmware,
    /// a kernel runs, the machine API does not yet
    Booting,
    /// the machine API is open to anybody
    Maintenance,
    /// a config was accepted and goes onto the disk
    Installing,
    /// between two kernels
    Rebooting,
    /// Talos runs with its config (the API opens when its certificate is there)
    Configured,
    /// stopped with Talos on disk because of `talos.halt_if_installed`
    Halted,
}

/// What the machine did; peers' requests are in here too and must be answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// the stage changed
    Stage(Stage),
    /// the firmware asks the network: answer with [`Machine::boot`]
    AsksTheNetwork {
        /// counts from 1 in one power-on
        attempt: u32,
    },
    /// a kernel started
    Booted {
        /// the kernel's boot id
        boot_id: String,
        /// over the network, not from the own disk
        from_network: bool,
    },
    /// a config was accepted in maintenance
    ConfigApplied,
    /// the installer starts
    Installing {
        /// the disk
        disk: String,
    },
    /// the installer is done
    Installed,
    /// another version of Talos is on the disk and boots next
    Upgraded {
        /// which
        version: String,
    },
    /// the system disk was wiped
    Wiped,
    /// the machine API answers with the config's certificates
    Configured {
        /// the node's name
        hostname: String,
    },
    /// a Bootstrap call was accepted: in memory only
    BootstrapAccepted,
    /// the data directory of a new etcd cluster was written
    BootstrapSucceeded {
        /// its id
        cluster: u64,
    },
    /// the same, from a snapshot
    EtcdRecovered {
        /// its id
        cluster: u64,
    },
    /// etcd runs as a member
    EtcdMember {
        /// member id
        id: u64,
        /// without a vote
        learner: bool,
    },
    /// a virtual address came to this machine or left it
    VirtualAddress {
        /// the address
        address: IpAddr,
        /// whether it is here now
        held: bool,
    },
    /// the Kubernetes API answers on port 6443, or stopped
    ApiServer(bool),
    /// a kubelet reported its node to the API server here
    NodeReported(NodeReport),
    /// the boot sequence is over: MachineStatus says `running`
    Running,
    /// MachineStatus says ready
    Ready,
    /// something fatal; the machine reboots or tries the next boot device
    Failed {
        /// for people
        reason: String,
    },
    /// a call to another machine: deliver it to [`Machine::peer`] of the one that has this address and
    /// bring the result to [`Machine::peer_answer`]
    Peer {
        /// names the call in the answer
        ticket: u64,
        /// the other machine
        to: IpAddr,
        /// what is asked
        call: PeerCall,
    },
}

/// What the invariants read. They count over the whole life of the machine, power cycles included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// kernels started
    pub boots: u32,
    /// kernels started over the network
    pub network_boots: u32,
    /// configs accepted in maintenance
    pub configs_applied: u32,
    /// installations finished
    pub installs: u32,
    /// Bootstrap calls answered with success
    pub bootstraps_accepted: u32,
    /// etcd clusters founded here: the number that must be one in the whole rack, for ever
    pub bootstraps: u32,
    /// those that began from a snapshot
    #[serde(default)]
    pub recoveries: u32,
}

/// A running kernel.
#[derive(Debug, Clone)]
pub(crate) struct Os {
    pub(crate) image: Image,
    pub(crate) extensions: BTreeSet<String>,
    pub(crate) boot_id: String,
    /// when it started
    pub(crate) since: u64,
    pub(crate) cmdline: String,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Off,
    Firmware { attempt: u32 },
    Booting { os: Os },
    Maintenance { os: Os, fingerprint: String, accepted: Option<Box<Config>> },
    Installing { os: Os, config: Box<Config> },
    Rebooting { through_firmware: bool },
    Configured(Box<Node>),
    Halted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Firmware,
    OsUp,
    ApplySettled,
    InstallDone,
    UpgradeDone,
    RebootDone,
    FailurePause,
    BootTimeout,
    Node(super::node::Timer),
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(crate) hardware: Hardware,
    pub(crate) pace: Pace,
    pub(crate) factory: Factory,
    /// its service processor was told that the next boot is from the network
    pub(crate) network_next: bool,
    /// versions of Talos that do not come up on it
    pub(crate) doomed: BTreeSet<String>,
    pub(crate) chance: Chance,
    pub(crate) storage: Storage,
    pub(crate) counters: Counters,
    /// the config that was read last: most boots find the same on the disk
    pub(crate) read_last: Option<Box<Config>>,
    /// what DHCP gave
    pub(crate) lease: Option<IpNet>,
    /// whether the kernel is Talos's own, which insists on some parameters
    pub(crate) own_kernel: bool,
    pub(crate) state: State,
    pub(crate) timers: BTreeMap<(u64, u64), Timer>,
    timers_set: u64,
    pub(crate) pending: BTreeMap<u64, Pending>,
    tickets: u64,
    pub(crate) happenings: Vec<Happening>,
    pub(crate) neighbors: Vec<Heard>,
    /// the nodes on which the network plugin runs, as far as the API server here knows
    pub(crate) networks: BTreeSet<String>,
    /// what a real etcd behind this machine says
    pub(crate) real: Option<super::real::Real>,
}

impl Machine {
    /// A blank machine without power.
    pub fn new(hardware: Hardware, pace: Pace, seed: u64) -> Self {
        Self {
            hardware,
            pace,
            factory: Factory::default(),
            network_next: false,
            doomed: BTreeSet::new(),
            chance: Chance::new(seed),
            storage: Storage::default(),
            counters: Counters::default(),
            read_last: None,
            lease: None,
            own_kernel: true,
            state: State::Off,
            timers: BTreeMap::new(),
            timers_set: 0,
            pending: BTreeMap::new(),
            tickets: 0,
            happenings: Vec::new(),
            neighbors: Vec::new(),
            networks: BTreeSet::new(),
            real: None,
        }
    }

    /// What the image factory knows; without it no image has extensions.
    #[must_use]
    pub fn with_factory(mut self, factory: Factory) -> Self {
        self.factory = factory;
        self
    }

    /// These versions of Talos do not come up on it.
    #[must_use]
    pub fn with_doomed(mut self, versions: BTreeSet<String>) -> Self {
        self.doomed = versions;
        self
    }

    /// The kernel below is another system's: the parameters that Talos's kernel insists on are not asked for.
    #[must_use]
    pub fn with_foreign_kernel(mut self) -> Self {
        self.own_kernel = false;
        self
    }

    /// The disks and counters of an earlier life.
    #[must_use]
    pub fn with_storage(mut self, storage: Storage, counters: Counters) -> Self {
        self.storage = storage;
        self.counters = counters;
        self
    }

    /// The box.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// The disks.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// What happened so far, in numbers.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sets the address that DHCP gives to the firmware and to the operating system.
    pub fn set_lease(&mut self, lease: Option<IpNet>) {
        self.lease = lease;
    }

    /// Where the machine is in its life.
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Off => Stage::Off,
            State::Firmware { .. } => Stage::Firmware,
            State::Booting { .. } => Stage::Booting,
            State::Maintenance { accepted: None, .. } => Stage::Maintenance,
            State::Maintenance { .. } | State::Installing { .. } => Stage::Installing,
            State::Rebooting { .. } => Stage::Rebooting,
            State::Configured(_) => Stage::Configured,
            State::Halted => Stage::Halted,
        }
    }

    /// What a TLS probe of port 50000 sees.
    pub fn server_identity(&self) -> ServerIdentity {
        match &self.state {
            State::Maintenance { fingerprint, .. } => {
                ServerIdentity::Maintenance { fingerprint: fingerprint.clone() }
            }
            State::Configured(node) if node.apid => {
                ServerIdentity::Issued { ca: node.config.os_ca.fingerprint.clone() }
            }
            _ => ServerIdentity::Closed,
        }
    }

    /// The config the machine runs with.
    pub fn config(&self) -> Option<&Config> {
        match &self.state {
            State::Configured(node) => Some(&node.config),
            _ => None,
        }
    }

    /// The boot id of the running kernel.
    pub fn boot_id(&self) -> Option<&str> {
        self.os().map(|os| os.boot_id.as_str())
    }

    pub(crate) fn os(&self) -> Option<&Os> {
        match &self.state {
            State::Booting { os } | State::Maintenance { os, .. } | State::Installing { os, .. } => Some(os),
            State::Configured(node) => Some(&node.os),
            _ => None,
        }
    }

    /// The own address: static from the config, otherwise what DHCP gave.
    pub fn address(&self) -> Option<IpAddr> {
        self.network().map(|net| net.addr())
    }

    /// The own address with its prefix length.
    pub fn network(&self) -> Option<IpNet> {
        let fixed = match &self.state {
            State::Configured(node) => node.config.addresses.first().map(|(_, net)| *net),
            _ => None,
        };
        fixed.or(self.lease)
    }

    /// Every address that reaches this machine now, virtual ones included.
    pub fn addresses(&self) -> Vec<IpAddr> {
        if self.os().is_none() {
            return Vec::new();
        }
        let held = match &self.state {
            State::Configured(node) => node.held.iter().copied().collect(),
            _ => Vec::new(),
        };
        self.address().into_iter().chain(held).collect()
    }

    /// Whether this address reaches this machine now.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.os().is_some()
            && (self.address() == Some(address)
                || matches!(&self.state, State::Configured(node) if node.held.contains(&address)))
    }

    /// When [`Machine::advance`] has something to do.
    pub fn next_deadline(&self) -> Option<u64> {
        if !self.happenings.is_empty() {
            return Some(0);
        }
        self.timers.keys().next().map(|&(at, _)| at)
    }

    /// Does what is due and says what happened since the last call, whoever caused it.
    pub fn advance(&mut self, now: u64) -> Vec<Happening> {
        while let Some(entry) = self.timers.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                break;
            }
            let timer = entry.remove();
            self.due(timer, at);
        }
        std::mem::take(&mut self.happenings)
    }

    /// Enters a state: what belonged to the old one (timers, calls to others) is over.
    pub(crate) fn enter(&mut self, state: State) {
        let before = self.stage();
        if let State::Configured(node) = &mut self.state {
            let held = std::mem::take(&mut node.held);
            let api_server = std::mem::take(&mut node.api_server);
            for address in held {
                self.say(Happening::VirtualAddress { address, held: false });
            }
            if api_server {
                self.say(Happening::ApiServer(false));
            }
        }
        self.timers.clear();
        self.pending.clear();
        self.state = state;
        if self.stage() != before {
            self.say(Happening::Stage(self.stage()));
        }
    }

    pub(crate) fn say(&mut self, happening: Happening) {
        self.happenings.push(happening);
    }

    /// Something that takes so long, more or less.
    pub(crate) fn after(&mut self, now: u64, delay: u64, timer: Timer) {
        let delay = self.chance.spread(delay);
        self.after_exactly(now, delay, timer);
    }

    /// A limit.
    pub(crate) fn after_exactly(&mut self, now: u64, delay: u64, timer: Timer) {
        self.timers_set += 1;
        self.timers.insert((now + delay, self.timers_set), timer);
    }

    /// A call to another machine.
    pub(crate) fn ask(&mut self, to: IpAddr, call: PeerCall, pending: Pending) {
        self.tickets += 1;
        self.pending.insert(self.tickets, pending);
        self.say(Happening::Peer { ticket: self.tickets, to, call });
    }
}
