//! Talos running with its config: services, the worker's certificate, the virtual address, the API
//! server behind it (talos.md §2.5, §3.4, §8.1, §9.7).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    config::{Config, Part, Role},
    etcd::{Cluster, DataDirectory},
    exchange::{NodeReport, PeerCall},
    hardware::Image,
    kubernetes::Runs,
    machine::{Happening, Machine, Os, State},
    peers::Pending,
};

/// The configured machine's memory: all of it is lost with a reboot.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) os: Os,
    pub(crate) config: Config,
    /// the config before a TRY
    pub(crate) before_trial: Option<Config>,
    pub(crate) hostname: String,
    pub(crate) apid: bool,
    pub(crate) cri: bool,
    pub(crate) time_synced: bool,
    pub(crate) etcd: Etcd,
    /// a restart of the etcd service makes the timers and calls of the earlier run void
    pub(crate) generation: u32,
    pub(crate) api_server: bool,
    pub(crate) api_server_starts: bool,
    /// the kubelet and the static pods
    pub(crate) parts: BTreeMap<Part, Runs>,
    pub(crate) node_ready: bool,
    /// virtual addresses on the link
    pub(crate) held: BTreeSet<IpAddr>,
    pub(crate) is_running: bool,
    said_ready: bool,
    pub(crate) leaving: Option<Leave>,
    /// images in its containerd
    pub(crate) pulled: BTreeSet<String>,
    /// what the installer that runs puts on the disk
    pub(crate) upgrading: Option<Image>,
    /// a snapshot that was handed over
    pub(crate) snapshot: Option<Vec<u8>>,
    /// what etcd begins from, told to
    pub(crate) recovers: Option<Result<Cluster, String>>,
}

/// The etcd service.
#[derive(Debug, Clone)]
pub(crate) enum Etcd {
    /// a worker has none
    Absent,
    /// for cri and the clock
    Waiting,
    /// pulling the image, then joining, or bootstrapping when told so
    Preparing {
        bootstrap: bool,
    },
    /// on its data directory
    Starting {
        /// when this run added the learner: until when its promotion is tried
        promote_until: Option<u64>,
    },
    Running {
        since: u64,
        heard: BTreeMap<u64, u64>,
        promote_until: Option<u64>,
    },
    Failed {
        reason: String,
    },
    /// it left, and is not started again before the next boot
    Finished,
}

/// How a configured machine goes away when the API said so: after the reply is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leave {
    Reboot {
        through_firmware: bool,
    },
    PowerOff,
    /// its member alone, out of etcd; the machine stays
    Etcd {
        /// for which it is waited so many times more
        tries: u32,
    },
    /// by itself to another version
    Upgrade {
        image: Image,
    },
    /// wipes these partitions, or the whole system disk
    Reset {
        partitions: BTreeSet<String>,
        reboot: bool,
        /// its member must be out of etcd first, for which it is waited so many times more
        leaves_etcd: Option<u32>,
    },
}

/// Timers of a configured machine; those with a number belong to one run of the etcd service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Apid,
    CertificateTry,
    Cri,
    TimeSync,
    NodeReport,
    NodeReady,
    ApiServer,
    PartUp(Part),
    TrialOver,
    Leave,
    ImagePulled(u32),
    JoinTry(u32),
    JoinTimeout(u32),
    EtcdStarted(u32),
    PromoteTry(u32),
    Beat(u32),
}

impl Node {
    /// The leader, when etcd runs here and hears a quorum.
    pub(crate) fn leader(&self, data: Option<&DataDirectory>, heartbeat: u64, now: u64) -> Option<u64> {
        let (Etcd::Running { heard, .. }, Some(data)) = (&self.etcd, data) else {
            return None;
        };
        data.cluster.leader(|id| id == data.me || heard.get(&id).is_some_and(|at| at + 5 * heartbeat >= now))
    }

    /// Extension services of the running image, and whether each runs: one that needs a document waits for it (§8.1).
    pub(crate) fn extension_services(&self) -> Vec<(&'static str, bool)> {
        let has = |name: &str| {
            self.os.extensions.iter().any(|extension| extension.trim_start_matches("siderolabs/") == name)
        };
        let mut services = Vec::new();
        if has("iscsi-tools") {
            services.extend([("ext-iscsid", self.cri), ("ext-tgtd", self.cri)]);
        }
        if has("lldpd") {
            services.push(("ext-lldpd", self.cri && self.config.extension_services.contains("lldpd")));
        }
        services
    }
}

impl Machine {
    /// Starts the configured machine after its kernel.
    pub(crate) fn start_node(&mut self, os: Os, config: Config, now: u64) {
        let hostname = config.hostname.clone().unwrap_or_else(|| self.stable_hostname());
        let role = config.role;
        let parts = self.parts_of(&config);
        let node = Node {
            os,
            config,
            before_trial: None,
            hostname,
            apid: false,
            cri: false,
            time_synced: false,
            etcd: if role == Role::ControlPlane { Etcd::Waiting } else { Etcd::Absent },
            generation: 0,
            api_server: false,
            api_server_starts: false,
            parts,
            node_ready: false,
            held: BTreeSet::new(),
            is_running: false,
            said_ready: false,
            leaving: None,
            pulled: BTreeSet::new(),
            upgrading: None,
            snapshot: None,
            recovers: None,
        };
        self.enter(State::Configured(Box::new(node)));
        self.real = self.real.take().map(|_| super::real::Real::default());
        let pace = self.pace.clone();
        self.node_after(now, pace.cri, Timer::Cri);
        self.node_after(now, pace.time_sync, Timer::TimeSync);
        match role {
            Role::ControlPlane => self.node_after(now, pace.apid, Timer::Apid),
            // a worker's certificate comes from a control plane's trustd (§3.4)
            Role::Worker => self.node_after(now, pace.apid, Timer::CertificateTry),
        }
        self.after_exactly(now, pace.boot_timeout, super::machine::Timer::BootTimeout);
    }

    /// `HostnameConfig.auto: stable`: the same machine always gets the same name.
    fn stable_hostname(&self) -> String {
        let [a, b, c, ..] = self.hardware.uuid.0;
        format!("talos-{a:02x}{b:02x}{c:02x}")
    }

    pub(crate) fn node_after(&mut self, now: u64, delay: u64, timer: Timer) {
        self.after(now, delay, super::machine::Timer::Node(timer));
    }

    pub(crate) fn node(&self) -> Option<&Node> {
        match &self.state {
            State::Configured(node) => Some(node),
            _ => None,
        }
    }

    pub(crate) fn node_mut(&mut self) -> Option<&mut Node> {
        match &mut self.state {
            State::Configured(node) => Some(node),
            _ => None,
        }
    }

    pub(crate) fn node_due(&mut self, timer: Timer, now: u64) {
        let generation = self.node().map_or(0, |node| node.generation);
        match timer {
            Timer::Apid => self.api_opens(now),
            Timer::CertificateTry => self.ask_for_certificate(now),
            Timer::Cri => {
                self.set(|node| node.cri = true);
                self.etcd_may_start(now);
            }
            Timer::TimeSync => {
                self.set(|node| node.time_synced = true);
                self.etcd_may_start(now);
            }
            Timer::NodeReport => self.report_node(now),
            Timer::NodeReady => self.set(|node| node.node_ready = true),
            Timer::ApiServer => self.api_server_up(now),
            Timer::PartUp(part) => self.part_up(part),
            Timer::TrialOver => {
                self.set(|node| {
                    if let Some(before) = node.before_trial.take() {
                        node.config = before;
                    }
                });
                self.parts_follow(now);
            }
            Timer::Leave => self.leave(now),
            Timer::ImagePulled(run) if run == generation => self.image_pulled(now),
            Timer::JoinTry(run) if run == generation => self.join(now),
            Timer::JoinTimeout(run) if run == generation => self.join_timed_out(),
            Timer::EtcdStarted(run) if run == generation => self.etcd_started(now),
            Timer::PromoteTry(run) if run == generation => self.try_promotion(now),
            Timer::Beat(run) if run == generation => self.beat(now),
            // of an earlier run of the service
            _ => {}
        }
        self.settle(now);
    }

    /// Whether the node is on its way to a reboot, a reset or out.
    pub fn is_leaving(&self) -> bool {
        let leaving = self.node().and_then(|node| node.leaving.as_ref());
        leaving.is_some_and(|how| !matches!(how, Leave::Etcd { .. }))
    }

    /// The API said to go; the reply has a moment to go out.
    pub(crate) fn leave_soon(&mut self, how: Leave, now: u64) {
        self.set(|node| node.leaving = Some(how));
        let settle = self.pace.apply_settle;
        self.node_after(now, settle, Timer::Leave);
    }

    fn leave(&mut self, now: u64) {
        match self.node_mut().and_then(|node| node.leaving.take()) {
            Some(Leave::Reboot { through_firmware }) => self.reboot(through_firmware, now),
            Some(Leave::PowerOff) => self.enter(State::Off),
            Some(Leave::Etcd { tries }) if self.is_member() => {
                if let Some(tries) = tries.checked_sub(1) {
                    self.leave_soon(Leave::Etcd { tries }, now);
                }
            }
            Some(Leave::Etcd { .. }) => self.has_left_etcd(),
            Some(Leave::Upgrade { image }) => {
                self.put_beside(image);
                self.reboot(false, now);
            }
            Some(Leave::Reset { partitions, reboot, leaves_etcd: Some(tries) }) if self.is_member() => {
                // who cannot leave etcd stays as it is (§6.9)
                if let Some(tries) = tries.checked_sub(1) {
                    let again = Leave::Reset { partitions, reboot, leaves_etcd: Some(tries) };
                    self.leave_soon(again, now);
                }
            }
            Some(Leave::Reset { partitions, reboot, .. }) => {
                self.wipe(&partitions);
                if reboot {
                    // kexec only when the boot partition is kept (§6.9)
                    self.reboot(partitions.is_empty(), now);
                } else {
                    self.enter(State::Off);
                }
            }
            None => {}
        }
    }

    /// Whether etcd counts this machine, as far as it knows.
    fn is_member(&self) -> bool {
        self.data().is_some_and(|data| data.cluster.members.contains_key(&data.me))
    }

    fn set(&mut self, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.node_mut() {
            change(node);
        }
    }

    /// The machine API opens: its certificate is there.
    pub(crate) fn api_opens(&mut self, now: u64) {
        let Some(node) = self.node_mut() else {
            return;
        };
        node.apid = true;
        let (hostname, brings_cni) = (node.hostname.clone(), node.config.brings_cni);
        self.say(Happening::Configured { hostname });
        if brings_cni {
            let ready = self.pace.node_ready;
            self.node_after(now, ready, Timer::NodeReady);
        }
        let report = self.pace.node_report;
        self.node_after(now, report, Timer::NodeReport);
        self.settle(now);
    }

    /// Where control planes are looked for without a discovery service (§9.3): the endpoint's host and
    /// the virtual addresses.
    pub(crate) fn control_plane_addresses(&self) -> Vec<IpAddr> {
        let Some(node) = self.node() else {
            return Vec::new();
        };
        let endpoint = node.config.endpoint_host.parse().ok();
        let shared = node.config.virtual_addresses.iter().map(|&(_, address)| address);
        let own = self.address();
        let candidates: BTreeSet<IpAddr> = endpoint.into_iter().chain(shared).collect();
        candidates
            .into_iter()
            .filter(|address| Some(*address) != own && !node.held.contains(address))
            .collect()
    }

    fn ask_for_certificate(&mut self, now: u64) {
        let Some(node) = self.node() else {
            return;
        };
        let token = node.config.token.clone();
        match self.control_plane_addresses().first() {
            Some(&to) => self.ask(to, PeerCall::Certificate { token }, Pending::Certificate),
            None => self.certificate_later(now),
        }
    }

    pub(crate) fn certificate_later(&mut self, now: u64) {
        let every = self.pace.certificate_every;
        self.node_after(now, every, Timer::CertificateTry);
    }

    /// The kubelet reports its node by way of the endpoint, which may be this machine itself.
    fn report_node(&mut self, now: u64) {
        let every = self.pace.node_report;
        self.node_after(now, every, Timer::NodeReport);
        let (Some(node), Some(address)) = (self.node(), self.address()) else {
            return;
        };
        if !node.is_up(Part::Kubelet) {
            return;
        }
        let report = NodeReport {
            name: node.hostname.clone(),
            addresses: vec![address],
            boot_id: node.os.boot_id.clone(),
            control_plane: node.config.role == Role::ControlPlane,
            ready: node.node_ready,
            kubelet: node.kubelet_version(),
            static_pods: node.static_pods(),
        };
        let here =
            node.api_server && (!node.held.is_empty() || node.config.endpoint_host == address.to_string());
        match self.control_plane_addresses().first() {
            _ if here => {
                let network = self.networks.contains(&report.name);
                self.say(Happening::NodeReported(report));
                if network {
                    self.cni_installed(now);
                }
            }
            Some(&to) => self.ask(to, PeerCall::Node(report), Pending::Report),
            None => {}
        }
    }

    /// What follows from the state as it is: elections, the virtual address, the API server, readiness.
    pub(crate) fn settle(&mut self, now: u64) {
        let leader = self.leader(now);
        self.leader_duties(leader, now);
        let healthy = self.etcd_is_healthy(now);
        self.hold_addresses(healthy);
        let starts = self.node_mut().is_some_and(|node| {
            let starts = healthy && node.apid && !node.api_server_starts && node.is_up(Part::ApiServer);
            node.api_server_starts |= starts;
            starts
        });
        if starts {
            let delay = self.pace.api_server;
            self.node_after(now, delay, Timer::ApiServer);
        }
        let (running, ready) = (self.all_started(now), self.is_ready(now));
        let Some(node) = self.node_mut() else {
            return;
        };
        let newly_running = running && !node.is_running;
        node.is_running |= running;
        let newly_ready = ready && !node.said_ready;
        node.said_ready = ready;
        if newly_running {
            self.say(Happening::Running);
        }
        if newly_ready {
            self.say(Happening::Ready);
        }
        if running && ready {
            self.stays();
        }
    }

    /// A virtual address is on the link of its holder while that one's etcd is healthy (§2.5).
    fn hold_addresses(&mut self, healthy: bool) {
        let elected: BTreeSet<IpAddr> = self.data().filter(|_| healthy).map_or_else(BTreeSet::new, |data| {
            let mine = data.cluster.elections.iter().filter(|(_, holder)| **holder == data.me);
            mine.map(|(&address, _)| address).collect()
        });
        let Some(node) = self.node_mut() else {
            return;
        };
        let own: BTreeSet<IpAddr> =
            node.config.virtual_addresses.iter().map(|&(_, address)| address).collect();
        let should: BTreeSet<IpAddr> = elected.intersection(&own).copied().collect();
        let before = std::mem::replace(&mut node.held, should.clone());
        for &address in before.difference(&should) {
            self.say(Happening::VirtualAddress { address, held: false });
        }
        for &address in should.difference(&before) {
            self.say(Happening::VirtualAddress { address, held: true });
        }
    }

    fn api_server_up(&mut self, now: u64) {
        let healthy = self.etcd_is_healthy(now);
        let Some(node) = self.node_mut() else {
            return;
        };
        if healthy && node.is_up(Part::ApiServer) {
            node.api_server = true;
            self.say(Happening::ApiServer(true));
        } else {
            node.api_server_starts = false;
        }
    }

    /// The API server here knows of a node whether the network plugin runs on it; who reports that node is told.
    pub fn network_of(&mut self, node: &str, runs: bool) {
        if runs {
            self.networks.insert(node.to_owned());
        } else {
            self.networks.remove(node);
        }
    }

    /// The cluster got a CNI from outside: with `cni: none` the node becomes Ready only now.
    pub fn cni_installed(&mut self, now: u64) {
        let ready = self.pace.node_ready;
        if self.node().is_some_and(|node| !node.node_ready) {
            self.node_after(now, ready, Timer::NodeReady);
        }
    }

    /// The interface names on which ext-lldpd sends LLDP now, empty while the service does not run (§8.1).
    pub fn lldp_links(&self) -> Vec<String> {
        let runs = self.node().is_some_and(|node| node.extension_services().contains(&("ext-lldpd", true)));
        let covered = |name: &str| ["eth", "enp", "ens", "eno"].iter().any(|prefix| name.starts_with(prefix));
        let links = self.hardware.links.iter().filter(|link| runs && covered(&link.name));
        links.map(|link| link.name.clone()).collect()
    }

    /// Virtual addresses on this machine's link now.
    pub fn virtual_addresses(&self) -> Vec<IpAddr> {
        self.node().map(|node| node.held.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether the Kubernetes API server answers here.
    pub fn has_api_server(&self) -> bool {
        self.node().is_some_and(|node| node.api_server)
    }

    /// Whether the boot sequence is over: MachineStatus says `running`.
    pub fn is_running(&self) -> bool {
        self.node().is_some_and(|node| node.is_running)
    }

    /// The node's name.
    pub fn hostname(&self) -> Option<&str> {
        self.node().map(|node| node.hostname.as_str())
    }
}
