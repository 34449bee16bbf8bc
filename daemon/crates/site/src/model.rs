//! The site as the program works with it, and what it tells others.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, path::PathBuf};

use hardware::{Architecture, LocalBoot};
use identity::{Ignored, Relay, Slot, Slots, SwitchNames};
use ipnet::Ipv4Net;
use lifecycle::{
    ClusterPlan, DeployPolicy, InstallDisk, LinkNeed, NodeName, NodePlan, ReplacePolicy, Role,
    Switch as PowerSwitch, Timing, Trust,
};
use talos_config::{
    schematic::Schematic,
    talconfig::{Install, Link, Node, TalConfig},
};

use crate::{handover::HandoverStep, https::Https, power::Power, snmp::Snmp};

/// One cluster on one provisioning network, checked.
#[derive(Debug, Clone)]
pub struct Site {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) cluster: TalConfig,
    pub(crate) cluster_id: String,
    pub(crate) secrets: PathBuf,
    pub(crate) networks: Vec<Network>,
    pub(crate) switches: Vec<Switch>,
    pub(crate) slots: Vec<Slot>,
    /// slot → its key under `machines`, where one line describes several
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) ignored: Ignored,
    pub(crate) relays: Vec<Relay>,
    pub(crate) trust: Trust,
    pub(crate) deploy: DeployPolicy,
    pub(crate) replace: ReplacePolicy,
    pub(crate) images: Option<PathBuf>,
    pub(crate) kernel_args: Vec<String>,
    pub(crate) local_boot: LocalBoots,
    /// by key under `machines`
    pub(crate) power: BTreeMap<String, Power>,
    pub(crate) https: Option<Https>,
    pub(crate) handover: Vec<HandoverStep>,
    pub(crate) snapshots: Snapshots,
    pub(crate) timing: Timing,
    pub(crate) listen: std::time::Duration,
}

/// Copies of etcd's data that are kept without anybody asking for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    /// so often one is taken
    pub every: std::time::Duration,
    /// so many are kept here
    pub keep: usize,
    /// a program with its arguments that copies one elsewhere; the file comes last
    pub copy: Vec<String>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { every: std::time::Duration::from_secs(6 * 60 * 60), keep: 28, copy: Vec::new() }
    }
}

/// A provisioning network the daemon has an interface on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// the daemon's interface: `eno1`
    pub interface: String,
    /// the network, without host bits
    pub subnet: Ipv4Net,
    /// what the daemon does there
    pub dhcp: DhcpMode,
    /// whether only relays bring its packets to the interface, which has another network
    pub relayed: bool,
    /// addresses for machines that are not yet known
    pub pool: Option<Pool>,
    /// whether everybody gets them, or only who netboots
    pub pool_for_any: bool,
    /// whether the daemon tells IPv6 hosts that there is nothing to wait for
    pub router_advertisement: bool,
    /// whether TFTP answers only from the port that is asked, for firewalls between
    pub tftp_single_port: bool,
    /// whether the daemon tells the switch by LLDP that it is there
    pub announce: bool,
    /// the router machines are told
    pub gateway: Option<Ipv4Addr>,
    /// name servers machines are told
    pub dns: Vec<Ipv4Addr>,
    /// time servers machines are told
    pub ntp: Vec<Ipv4Addr>,
}

/// How the daemon takes part in DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DhcpMode {
    /// another server gives the addresses, the daemon only says what to boot
    Proxy,
    /// the daemon gives the addresses
    Authoritative,
    /// not at all
    Off,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// the first
    pub first: Ipv4Addr,
    /// the last, which belongs to it
    pub last: Ipv4Addr,
}

impl Pool {
    /// Whether the address is one of the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// How machines that shall not netboot get to their own disks, where it is not what their firmware does best.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalBoots {
    /// by node
    pub nodes: BTreeMap<String, LocalBoot>,
    /// by pattern of manufacturer and product; `*` at the end stands for anything
    pub models: Vec<(String, LocalBoot)>,
}

/// A switch of which more is known than its ports' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// its name in port names: `sw1`
    pub name: String,
    /// the bridge device, when the daemon itself runs on the switch: a hypervisor, a router, the lab
    pub bridge: Option<String>,
    /// port name to local interface; when empty, every port of the bridge under its interface's name
    pub ports: BTreeMap<String, String>,
    /// what else it is called: an older system name, its chassis MAC, its management address
    pub also: Vec<String>,
    /// port → what the switch calls it on the wire
    pub aliases: BTreeMap<String, Vec<String>>,
    /// how its own tables are read, if they are
    pub snmp: Option<Snmp>,
}

/// The boot images of one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageSet {
    /// the factory's id of the image, 64 hexadecimal digits
    pub schematic: String,
    /// the Talos version with its `v`
    pub version: String,
    /// of the kernel
    pub architecture: Architecture,
}

impl Site {
    /// The site's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder it was read from.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// The cluster as its talconfig.yaml describes it.
    pub fn cluster(&self) -> &TalConfig {
        &self.cluster
    }

    /// Where the secrets bundle is kept; read by the caller.
    pub fn secrets(&self) -> &std::path::Path {
        &self.secrets
    }

    /// The same site for the cluster with this id (`cluster.id` of the secrets bundle), which
    /// [`Site::plan`] names. To be set once the secrets are read.
    #[must_use]
    pub fn for_cluster(self, cluster_id: impl Into<String>) -> Self {
        Self { cluster_id: cluster_id.into(), ..self }
    }

    /// What the core decides on.
    pub fn plan(&self) -> ClusterPlan {
        let nodes = self.cluster.nodes.iter().filter_map(|node| {
            let plan = NodePlan {
                role: if node.control_plane { Role::ControlPlane } else { Role::Worker },
                address: node.address()?,
                install_disk: match &node.install {
                    Install::Disk(path) => InstallDisk::Path(path.clone()),
                    Install::Selector(selector, _) => InstallDisk::Selector((**selector).clone()),
                },
                links: node.links().into_iter().map(link_need).collect(),
                signed: self.is_secure_boot_only(),
                ports: self
                    .slots
                    .iter()
                    .filter(|slot| slot.name == node.hostname)
                    .flat_map(|slot| slot.ports.clone())
                    .collect(),
                place: self.place(&node.hostname),
                power: self.power(&node.hostname).map(|power| match power {
                    Power::WakeOnLan => PowerSwitch::OnlyOn,
                    Power::Redfish(_) => PowerSwitch::Processor,
                    Power::Hook { .. } => PowerSwitch::Full,
                }),
            };
            Some((NodeName(node.hostname.clone()), plan))
        });
        ClusterPlan {
            cluster_id: self.cluster_id.clone(),
            nodes: nodes.collect(),
            virtual_address: self.virtual_address(),
            deploy: self.deploy,
            trust: self.trust,
            replace: self.replace,
            handover: self.handover.iter().map(|step| step.name.clone()).collect(),
            timing: self.timing,
        }
    }

    /// The shared address of the control planes: the one in the endpoint, else the first.
    pub fn virtual_address(&self) -> Option<std::net::IpAddr> {
        let addresses = self.cluster.virtual_addresses();
        let endpoint = self.cluster.endpoint_host.parse().ok();
        addresses
            .iter()
            .copied()
            .find(|address| Some(*address) == endpoint)
            .or_else(|| addresses.first().copied())
    }

    /// Whether Talos itself gives the cluster its network; else a hand-over step has to.
    pub fn brings_network(&self) -> bool {
        let first = self.cluster.nodes.iter().find(|node| node.control_plane);
        let patched =
            first.and_then(|node| self.cluster.patched(node, &["cluster", "network", "cni", "name"]));
        let written = self.cluster.cni.as_ref().map(|cni| cni.name.as_str());
        patched.as_ref().and_then(serde_json::Value::as_str).or(written) != Some("none")
    }

    /// Where machines are plugged in.
    pub fn slots(&self) -> Slots {
        let names = self.switches.iter().map(|switch| SwitchNames {
            name: switch.name.clone(),
            also: switch.also.clone(),
            ports: switch.aliases.clone(),
        });
        let slots = Slots::new(self.slots.clone(), names.collect(), self.ignored.clone());
        slots.with_relays(self.relays.clone())
    }

    /// The key under `machines` that describes a slot: its name, or a range with it.
    pub(crate) fn key_of<'a>(&'a self, slot: &'a str) -> &'a str {
        self.keys.get(slot).map_or(slot, String::as_str)
    }

    /// The provisioning networks.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The switches the daemon runs on.
    pub fn switches(&self) -> &[Switch] {
        &self.switches
    }

    /// What happens when another machine appears in a slot that is held.
    pub fn replace(&self) -> ReplacePolicy {
        self.replace
    }

    /// How often nodes whose port nothing else tells are asked which switch they hear.
    pub fn listen(&self) -> std::time::Duration {
        self.listen
    }

    /// How etcd's data are kept.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The directory of boot images, where the site names one.
    pub fn images(&self) -> Option<&std::path::Path> {
        self.images.as_deref()
    }

    /// The images a node is booted with.
    pub fn image_set(&self, node: &str) -> Option<ImageSet> {
        self.cluster.node(node).map(|node| self.image_set_of(node))
    }

    /// Every kind of images that some node is booted with, each once, in order.
    pub fn image_sets(&self) -> Vec<ImageSet> {
        let mut sets: Vec<ImageSet> = self.cluster.nodes.iter().map(|node| self.image_set_of(node)).collect();
        sets.sort();
        sets.dedup();
        sets
    }

    /// The text of a schematic by its id, where the site has more of it than the id.
    pub fn schematic(&self, id: &str) -> Option<String> {
        let nodes = self.cluster.nodes.iter();
        nodes
            .map(|node| &node.boot_schematic)
            .find(|schematic| schematic.id() == id)
            .map(Schematic::canonical)
    }

    /// Whether a node that boots these images has firmware that only starts signed files.
    pub fn is_secure_boot(&self, set: &ImageSet) -> bool {
        let mut nodes = self.cluster.nodes.iter();
        nodes.any(|node| node.configs.machine_spec.secureboot && self.image_set_of(node) == *set)
    }

    /// Whether every node's firmware starts only signed files. DHCP cannot tell which one does, so a site with both
    /// kinds boots by iPXE.
    pub fn is_secure_boot_only(&self) -> bool {
        self.cluster.nodes.iter().all(|node| node.configs.machine_spec.secureboot)
    }

    fn image_set_of(&self, node: &Node) -> ImageSet {
        ImageSet {
            schematic: node.boot_schematic_id(),
            version: self.cluster.talos.to_string(),
            architecture: node.architecture,
        }
    }

    /// Kernel arguments for every machine, after those of its image.
    pub fn kernel_args(&self) -> &[String] {
        &self.kernel_args
    }

    /// The ways to machines' own disks.
    pub fn local_boots(&self) -> LocalBoots {
        let way = |node: &str| self.local_boot.nodes.get(self.key_of(node)).copied();
        let nodes = self.slots.iter().filter_map(|slot| Some((slot.name.clone(), way(&slot.name)?)));
        LocalBoots { nodes: nodes.collect(), models: self.local_boot.models.clone() }
    }

    /// Who vouches for the boot server, where it speaks HTTPS, too.
    pub fn https(&self) -> Option<&Https> {
        self.https.as_ref()
    }

    /// The hand-over, in its order.
    pub fn handover(&self) -> &[HandoverStep] {
        &self.handover
    }
}

fn link_need(link: Link) -> LinkNeed {
    match link {
        Link::Name(name) => LinkNeed::Name(name),
        Link::Mac(mac) => LinkNeed::Mac(mac),
    }
}
