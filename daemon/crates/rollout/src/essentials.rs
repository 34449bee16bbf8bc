//! What makes a node that node and a cluster that cluster. Two shapes of config say the same thing in different places (a
//! field of the main document, or a document of its own), so it is the values that are compared, not the places.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use talos_config::config::MachineConfig;
use talos_config::documents::LINKS;

/// Something without which it would be another node or another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Essential {
    Role,
    Hostname,
    Endpoint,
    ClusterId,
    PodSubnets,
    ServiceSubnets,
    DnsDomain,
    DiskEncryption,
}

/// What of a node and its cluster would become something else.
pub(crate) struct Essentials {
    changed: BTreeSet<Essential>,
    /// addresses of a control plane that it would not have any more
    lost: BTreeSet<IpAddr>,
    /// a virtual address that would go while the endpoint still names it
    endpoint_unanswered: bool,
}

impl Essentials {
    pub(crate) fn between(old: &MachineConfig, new: &MachineConfig) -> Self {
        use Essential::{
            ClusterId, DiskEncryption, DnsDomain, Endpoint, Hostname, PodSubnets, Role, ServiceSubnets,
        };
        let all =
            [Role, Hostname, Endpoint, ClusterId, PodSubnets, ServiceSubnets, DnsDomain, DiskEncryption];
        let changed = all.into_iter().filter(|it| it.of(old) != it.of(new)).collect();
        let votes = Role.of(old) != json!("worker");
        let lost: BTreeSet<IpAddr> = addresses(old).difference(&addresses(new)).copied().collect();
        let gone = virtual_addresses(old).difference(&virtual_addresses(new)).cloned().collect();
        Self {
            changed,
            lost: if votes { lost } else { BTreeSet::new() },
            endpoint_unanswered: names_one_of(&Endpoint.of(new), &gone),
        }
    }

    pub(crate) fn changes(&self, what: Essential) -> bool {
        self.changed.contains(&what)
    }

    /// Whether a value is an address that a control plane would lose.
    pub(crate) fn loses(&self, value: &Value) -> bool {
        address(value).is_some_and(|address| self.lost.contains(&address))
    }

    pub(crate) fn leaves_the_endpoint_unanswered(&self) -> bool {
        self.endpoint_unanswered
    }
}

impl Essential {
    /// The value that a config gives it, Talos's default where it says nothing.
    fn of(self, config: &MachineConfig) -> Value {
        let main = |keys: &[&str]| config.at(keys).cloned();
        let other = |kind: &str, key: &str| config.document(kind, "").and_then(|it| it.get(key)).cloned();
        let value = match self {
            Self::Role => main(&["machine", "type"]).map(|role| match role.as_str() {
                Some("worker") => role,
                // `init` of old times is one as well
                _ => json!("controlplane"),
            }),
            Self::Hostname => {
                other("HostnameConfig", "hostname").or_else(|| main(&["machine", "network", "hostname"]))
            }
            Self::Endpoint => other("KubeClusterConfig", "endpoint")
                .or_else(|| main(&["cluster", "controlPlane", "endpoint"]))
                .map(without_slash),
            Self::ClusterId => {
                let id = other("DiscoveryIdentityConfig", "clusterID").or_else(|| main(&["cluster", "id"]));
                let secret = other("DiscoveryIdentityConfig", "clusterSecret")
                    .or_else(|| main(&["cluster", "secret"]));
                Some(json!([id, secret]))
            }
            Self::PodSubnets => other("KubeNetworkConfig", "podSubnets")
                .or_else(|| main(&["cluster", "network", "podSubnets"]))
                .or_else(|| Some(json!(["10.244.0.0/16"]))),
            Self::ServiceSubnets => other("KubeNetworkConfig", "serviceSubnets")
                .or_else(|| main(&["cluster", "network", "serviceSubnets"]))
                .or_else(|| Some(json!(["10.96.0.0/12"]))),
            Self::DnsDomain => other("KubeNetworkConfig", "dnsDomain")
                .or_else(|| main(&["cluster", "network", "dnsDomain"]))
                .or_else(|| Some(json!("cluster.local"))),
            Self::DiskEncryption => Some(json!(disk_encryption(config))),
        };
        value.unwrap_or_default()
    }
}

/// How each of Talos's own volumes is encrypted.
fn disk_encryption(config: &MachineConfig) -> BTreeMap<String, Value> {
    let mut of_volume = BTreeMap::new();
    if let Some(Value::Object(sections)) = config.at(&["machine", "systemDiskEncryption"]) {
        of_volume.extend(sections.iter().map(|(name, how)| (name.to_uppercase(), how.clone())));
    }
    for document in config.documents_of("VolumeConfig") {
        let name = document.get("name").and_then(Value::as_str).unwrap_or_default();
        if let Some(how) = document.get("encryption") {
            of_volume.insert(name.to_owned(), how.clone());
        }
    }
    of_volume
}

/// The addresses that a config gives to links.
fn addresses(config: &MachineConfig) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let interfaces = config.at(&["machine", "network", "interfaces"]);
    for interface in interfaces.and_then(Value::as_array).into_iter().flatten() {
        let vlans = interface.get("vlans").and_then(Value::as_array).into_iter().flatten();
        for link in [interface].into_iter().chain(vlans) {
            let listed = link.get("addresses").and_then(Value::as_array).into_iter().flatten();
            found.extend(listed.chain(link.get("cidr")).filter_map(address));
        }
    }
    for kind in LINKS {
        for document in config.documents_of(kind) {
            let listed = document.get("addresses").and_then(Value::as_array).into_iter().flatten();
            found.extend(listed.filter_map(|it| address(it.get("address")?)));
        }
    }
    found
}

/// The addresses that move between control planes.
fn virtual_addresses(config: &MachineConfig) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let interfaces = config.at(&["machine", "network", "interfaces"]);
    for interface in interfaces.and_then(Value::as_array).into_iter().flatten() {
        let vlans = interface.get("vlans").and_then(Value::as_array).into_iter().flatten();
        let of = |link: &Value| link.pointer("/vip/ip").and_then(Value::as_str).map(str::to_owned);
        found.extend([interface].into_iter().chain(vlans).filter_map(of));
    }
    for kind in ["Layer2VIPConfig", "HCloudVIPConfig"] {
        let names = config.documents_of(kind).filter_map(|it| it.get("name").and_then(Value::as_str));
        found.extend(names.map(str::to_owned));
    }
    found
}

/// An address with or without the length of its network.
fn address(value: &Value) -> Option<IpAddr> {
    let text = value.as_str()?;
    text.split('/').next().unwrap_or(text).parse().ok()
}

/// A URL with and without a slash at its end is the same one.
fn without_slash(url: Value) -> Value {
    match url.as_str() {
        Some(text) => json!(text.trim_end_matches('/')),
        None => url,
    }
}

fn names_one_of(endpoint: &Value, addresses: &BTreeSet<String>) -> bool {
    let url = endpoint.as_str().unwrap_or_default();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => rest.split([':', '/']).next(),
    };
    addresses.contains(host.unwrap_or_default())
}
