//! `talconfig.yaml`, talhelper's file: read, inherited, checked, and rendered into machine configs.
//!
//! People already have this file and it works unchanged. How strict it is read is talhelper's: Go's yaml.v3
//! without `KnownFields`, so that unknown keys have no effect (each is warned about here), empty values are
//! absent, booleans may be `yes`, and a duplicate key is an error. What talhelper renders differently from
//! Talos's own generator (talos.md §5.6) is rendered the same way here.
//!
//! Variables are substituted in the scalars of the parsed file, not in its text as talhelper does, so that
//! places stay those of the file; a variable cannot hold a list or mapping. In a file with templates they are
//! substituted around the actions, before these are run. Go templates are filled in when a config is rendered
//! (crate-internal module `template`). Files encrypted with SOPS are named for what they are at their place.

mod check;
mod device;
mod environment;
mod inherit;
mod load;
mod network;
mod passed;
mod patched;
mod render;
mod rules;
#[cfg(test)]
mod tests;
mod wire;

use std::{collections::BTreeMap, fmt, io, net::IpAddr, path::Path};

use document::{Document, Place, Position};
use hardware::{Architecture, DiskSelector, MacAddr};
use serde_json::Value;

pub use device::{
    Bond, Bridge, BridgeStp, BridgeVlan, Device, DeviceSelector, DhcpOptions, Route, Vip, Vlan, Wireguard,
    WireguardPeer,
};
pub use environment::{EnvironmentError, environment};
pub use load::load;
pub use render::RenderError;
pub use rules::RULES;
pub use wire::{
    CniConfig, ConfigFile, ExtensionService, IngressFirewall, KernelModule, MachineFile, MachineSpec,
    NetworkRule, NodeConfigs, Volume,
};

use crate::{
    schematic::Schematic,
    versions::{KubernetesVersion, TalosVersion},
};

/// What talhelper assumes when the file names no Talos version.
pub const DEFAULT_TALOS: &str = "v1.13.9";

/// What the file refers to and does not contain.
pub struct Sources<'a> {
    /// the directory of the file, against which `@file` is resolved
    pub directory: &'a Path,
    /// reads a text file
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// for `${VAR}`
    pub environment: &'a BTreeMap<String, String>,
}

/// A cluster as its talconfig.yaml describes it, groups and files resolved.
#[derive(Clone)]
pub struct TalConfig {
    /// the cluster's name
    pub cluster_name: String,
    /// the Talos to install; its minor release is the contract of the configs
    pub talos: TalosVersion,
    /// the Kubernetes to run
    pub kubernetes: KubernetesVersion,
    /// where clients find the Kubernetes API: `https://172.29.51.10:6443`
    pub endpoint: String,
    /// the host in it
    pub endpoint_host: String,
    /// the cluster's DNS domain, where it is not Talos's default
    pub domain: Option<String>,
    /// control planes run workloads too
    pub allow_scheduling: bool,
    /// more names in the certificates of the machine API, of all nodes
    pub machine_cert_sans: Vec<String>,
    /// more names in the certificate of the Kubernetes API
    pub api_server_cert_sans: Vec<String>,
    /// manifests Talos applies after the bootstrap: name and text
    pub inline_manifests: Vec<(String, String)>,
    /// one or two, Talos's default when empty
    pub pod_nets: Vec<String>,
    /// one or two, Talos's default when empty
    pub service_nets: Vec<String>,
    /// the pod network; Talos's default when absent
    pub cni: Option<CniConfig>,
    /// applied to every node, after its own
    pub patches: Vec<Patch>,
    /// in the order of the file
    pub nodes: Vec<Node>,
    /// the registry of installer images
    pub registry: String,
    /// a Go template for their names; talhelper's when empty
    pub installer_template: String,
    document: Document,
}

/// One node, with what it inherits from its group.
#[derive(Clone)]
pub struct Node {
    /// the name, unique in the cluster
    pub hostname: String,
    /// the first is the one the node is reached at; empty only beside an error
    pub addresses: Vec<IpAddr>,
    /// the same as it was written, for the names of files
    pub ip_address: String,
    /// or a worker
    pub control_plane: bool,
    /// where Talos is installed to
    pub install: Install,
    /// leave the name to Talos
    pub ignore_hostname: bool,
    /// what the group can give, too
    pub configs: NodeConfigs,
    /// of the group and the node, in the order of applying
    pub patches: Vec<Patch>,
    /// appended after patching, in their order
    pub extra_manifests: Vec<Patch>,
    /// what the installed image is made of
    pub schematic: Schematic,
    /// what the netbooted image is made of: `imageSchematic`, or the same
    pub boot_schematic: Schematic,
    /// of the image
    pub architecture: Architecture,
    /// links that its patches configure
    patched: Vec<Device>,
    index: usize,
}

/// The install disk of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Install {
    /// a device path
    Disk(String),
    /// what the disk must be like, and the same as it was written
    Selector(Box<DiskSelector>, Value),
}

/// A patch and where it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct Patch {
    /// YAML or JSON, variables substituted
    pub text: String,
    /// the file that contains it, for findings
    pub file: String,
    /// where it begins there
    pub at: Position,
    /// of an inline patch: where its first two lines begin
    inline: Option<[Position; 2]>,
}

/// A link a config relies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// by its kernel name
    Name(String),
    /// by its hardware address
    Mac(MacAddr),
}

impl Patch {
    /// A file of its own.
    fn of_file(file: String, text: String) -> Self {
        Self { text, file, at: Position::START, inline: None }
    }

    /// Where a place of its text stands in the file.
    fn inside(&self, inner: Position) -> Position {
        let Some([first, second]) = self.inline else { return inner };
        let column = first.column + inner.column.saturating_sub(1);
        if inner.line == 1 {
            Position { column, ..first }
        } else if second.line == first.line + 1 {
            Position { line: first.line + inner.line - 1, column }
        } else {
            self.at
        }
    }
}

impl fmt::Debug for Patch {
    /// Without the text, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.at.line, self.at.column)
    }
}

impl fmt::Debug for TalConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TalConfig")
            .field("cluster_name", &self.cluster_name)
            .field("talos", &self.talos)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("hostname", &self.hostname)
            .field("addresses", &self.addresses)
            .field("control_plane", &self.control_plane)
            .field("install", &self.install)
            .finish_non_exhaustive()
    }
}

impl TalConfig {
    /// Where to begin stepping to a place of the file, for findings.
    pub fn place(&self) -> Place<'_> {
        self.document.place()
    }

    /// A node by its name.
    pub fn node(&self, hostname: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.hostname == hostname)
    }

    /// Where a node is written.
    pub fn place_of(&self, node: &Node) -> Place<'_> {
        self.place().key("nodes").item(node.index)
    }

    /// Where a key of a node is written: in the node, or in its group.
    pub fn place_of_key(&self, node: &Node, key: &str) -> Place<'_> {
        let group = self.place().key(if node.control_plane { "controlPlane" } else { "worker" });
        let own = self.place_of(node).key(key);
        if own.node().is_some() || group.key(key).node().is_none() { own } else { group.key(key) }
    }

    /// The shared addresses of the control planes, as `networkInterfaces` and patches give them.
    pub fn virtual_addresses(&self) -> Vec<IpAddr> {
        let control_planes = self.nodes.iter().filter(|node| node.control_plane);
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in control_planes.flat_map(Node::vips).filter_map(|vip| vip.ip.parse().ok()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

impl Node {
    /// The address the node is reached at.
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.first().copied()
    }

    /// The id of the image the machine is netbooted with: of `imageSchematic`, else the one in
    /// `talosImageURL`, so that what is booted is what will be installed, else of `schematic`.
    pub fn boot_schematic_id(&self) -> String {
        match self.installer_schematic_id() {
            Some(id) if self.configs.image_schematic.is_none() => id.to_owned(),
            _ => self.boot_schematic.id(),
        }
    }

    /// The schematic id that `talosImageURL` ends in, if it is an image of a factory.
    pub fn installer_schematic_id(&self) -> Option<&str> {
        let id = self.configs.talos_image_url.rsplit('/').next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    }

    /// Its links in Talos's older form, without what patches add.
    pub fn devices(&self) -> &[Device] {
        self.configs.network_interfaces.as_deref().unwrap_or_default()
    }

    fn all_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices().iter().chain(&self.patched)
    }

    fn vips(&self) -> impl Iterator<Item = &Vip> {
        self.all_devices().flat_map(|device| {
            device.vip.iter().chain(device.vlans.iter().filter_map(|vlan| vlan.vip.as_ref()))
        })
    }

    /// The links the config relies on: kernel names of physical links, and hardware addresses. A selector
    /// with patterns gives none, because Talos alone can tell whether it matches.
    pub fn links(&self) -> Vec<Link> {
        let is_made = |device: &Device| {
            device.bond.is_some()
                || device.bridge.is_some()
                || device.wireguard.is_some()
                || device.dummy == Some(true)
        };
        let made: Vec<&str> = self
            .all_devices()
            .filter(|device| is_made(device))
            .map(|device| device.interface.as_str())
            .collect();
        let mut links: Vec<Link> = Vec::new();
        for device in self.all_devices() {
            let bond = device.bond.iter();
            let selectors =
                bond.clone().flat_map(|bond| &bond.device_selectors).chain(&device.device_selector);
            links.extend(selectors.filter_map(DeviceSelector::mac).map(Link::Mac));
            let own = (!device.interface.is_empty()).then_some(&device.interface);
            let members = bond.flat_map(|bond| &bond.interfaces);
            let ports = device.bridge.iter().flat_map(|bridge| &bridge.interfaces);
            // a bridge over a bond names the bond, which the config makes itself
            let names =
                own.into_iter().chain(members).chain(ports).filter(|name| !made.contains(&name.as_str()));
            links.extend(names.cloned().map(Link::Name));
        }
        let mut unique: Vec<Link> = Vec::new();
        for link in links {
            if !unique.contains(&link) {
                unique.push(link);
            }
        }
        unique
    }

    /// Whether an address of its own is written in the config, so that it does not depend on DHCP.
    pub fn has_static_address(&self) -> bool {
        let is_own = |text: &str| {
            let address = text.split('/').next().unwrap_or_default();
            address.parse().is_ok_and(|address: IpAddr| self.addresses.contains(&address))
        };
        self.all_devices().any(|device| {
            let vlans = device.vlans.iter().flat_map(|vlan| &vlan.addresses);
            device.addresses.iter().chain([&device.cidr]).chain(vlans).any(|text| is_own(text))
        })
    }
}
