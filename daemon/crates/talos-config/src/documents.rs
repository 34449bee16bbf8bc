//! Config documents beside the main one that the generator and the site write themselves.

use std::net::IpAddr;

use serde_json::{Value, json};

/// Kinds of documents that are a link each, and give it its addresses.
pub const LINKS: [&str; 8] = [
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "LinkConfig",
    "VLANConfig",
    "VRFConfig",
    "VethConfig",
    "WireguardConfig",
];

/// The name of the LLDP extension in a schematic.
pub const LLDPD_EXTENSION: &str = "siderolabs/lldpd";

/// What lldpd is told: announce interfaces by their names, and neither addresses nor capabilities (talos.md §8.1).
pub const LLDPD_CONF: &str = "\
configure lldp portidsubtype ifname
unconfigure lldp management-addresses-advertisements
unconfigure lldp capabilities-advertisements
configure system description \"Talos Node\"
";

/// The config without which the LLDP extension keeps the machine waiting for 70 minutes, and then makes it reboot.
pub fn lldpd() -> Value {
    json!({
        "apiVersion": "v1alpha1",
        "kind": "ExtensionServiceConfig",
        "name": "lldpd",
        "configFiles": [{"content": LLDPD_CONF, "mountPath": "/usr/local/etc/lldpd/lldpd.conf"}],
    })
}

/// The name a machine gives itself when nothing else names it, derived from its identity.
pub fn stable_hostname() -> Value {
    json!({"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "stable"})
}

/// A fixed name. `auto: off` is said so that it can be patched over a generated config, which says `auto: stable`.
pub fn static_hostname(name: &str) -> Value {
    json!({"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": name})
}

/// The WireGuard mesh between nodes.
pub fn kubespan(enabled: bool) -> Value {
    json!({"apiVersion": "v1alpha1", "kind": "KubeSpanConfig", "enabled": enabled})
}

/// Where the images of a registry are found instead.
pub fn registry_mirror(host: &str, urls: &[String]) -> Value {
    let endpoints: Vec<Value> = urls.iter().map(|url| json!({"url": url})).collect();
    json!({"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": host, "endpoints": endpoints})
}

/// An address that moves between the control planes, on the link or link alias of that name.
pub fn layer2_vip(address: IpAddr, link: &str) -> Value {
    json!({"apiVersion": "v1alpha1", "kind": "Layer2VIPConfig", "name": address.to_string(), "link": link})
}
