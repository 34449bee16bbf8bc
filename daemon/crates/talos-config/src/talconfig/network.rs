//! `networkInterfaces` as the documents Talos has for them since 1.12, named and ordered as talhelper does
//! (talos.md §5.6).
//!
//! A selector becomes a link alias, and everything else refers to the alias. Talos stops its DHCP on *all*
//! links as soon as one link or DHCP document exists, so `dhcp: true` always becomes a document.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::device::{Bond, Device, DeviceSelector, DhcpOptions, Route, Vip, Vlan};

/// A bond's keys in the document, where they differ from those in the older form. `primary` and
/// `adActorSystem` have none.
const BOND_KEYS: [(&str, Option<&str>); 9] = [
    ("interfaces", None),
    ("deviceSelectors", None),
    ("primary", None),
    ("adActorSystem", None),
    ("mode", Some("bondMode")),
    ("arpIPTarget", Some("arpIpTargets")),
    ("resendIgmp", Some("resendIGMP")),
    ("tlbDynamicLb", Some("tlbLogicalLb")),
    ("peerNotifyDelay", Some("peerNotifDelay")),
];

/// The documents for a node's interfaces.
pub(super) fn documents(devices: &[Device]) -> Vec<Value> {
    let names = names(devices);
    let named = || devices.iter().zip(&names);
    let mut documents = Vec::new();
    for (device, name) in named() {
        documents.extend(device.device_selector.as_ref().and_then(|selector| alias(name, selector)));
    }
    for (device, name) in named() {
        let selectors = device.bond.iter().flat_map(|bond| bond.device_selectors.iter().enumerate());
        documents.extend(selectors.filter_map(|(index, selector)| alias(&member(name, index), selector)));
    }
    for (device, name) in named() {
        documents.extend(device.bond.as_ref().map(|bond| self::bond(device, name, bond)));
    }
    for (device, name) in named().filter(|(device, _)| device.dhcp == Some(true)) {
        documents.extend(dhcp(name, device.dhcp_options.as_ref()));
    }
    for (device, name) in named() {
        documents.extend(device.vip.as_ref().and_then(|vip| self::vip(name, vip)));
    }
    for (device, name) in named().filter(|(device, _)| !is_made(device)) {
        let body = common(device);
        if !body.is_empty() {
            documents.push(document("LinkConfig", name, body));
        }
    }
    for (device, name) in named() {
        documents.extend(device.vlans.iter().flat_map(|vlan| self::vlan(name, vlan)));
    }
    for (device, name) in named() {
        documents.extend(device.wireguard.as_ref().map(|wireguard| {
            let mut body = object(json!(wireguard));
            body.extend(common(device));
            document("WireguardConfig", name, body)
        }));
    }
    for (device, name) in named() {
        documents.extend(bridge(device, name));
    }
    for (device, name) in named().filter(|(device, _)| device.dummy == Some(true)) {
        documents.push(document("DummyLinkConfig", name, common(device)));
    }
    documents
}

/// The name of each device: its interface, or an alias that no interface has.
fn names(devices: &[Device]) -> Vec<String> {
    let mut used: Vec<String> = devices.iter().map(|device| device.interface.clone()).collect();
    let mut names = Vec::new();
    for device in devices {
        let name = if !device.interface.is_empty() || device.device_selector.is_none() {
            device.interface.clone()
        } else {
            let stem = match device {
                Device { bond: Some(_), .. } => "bond",
                Device { bridge: Some(_), .. } => "br",
                Device { wireguard: Some(_), .. } => "wg",
                _ => "ethSel",
            };
            let mut numbered = (0_u32..).map(|number| format!("{stem}{number}"));
            numbered.find(|name| !used.contains(name)).unwrap_or_default()
        };
        used.push(name.clone());
        names.push(name);
    }
    names
}

fn member(bond: &str, index: usize) -> String {
    format!("{bond}-m{index}")
}

/// Whether the config makes the link itself.
fn is_made(device: &Device) -> bool {
    device.bond.is_some()
        || device.wireguard.is_some()
        || device.bridge.is_some()
        || device.dummy == Some(true)
}

/// A link alias; `None` when the selector asks for nothing.
fn alias(name: &str, selector: &DeviceSelector) -> Option<Value> {
    let globs = [
        (&selector.hardware_addr, "mac(link.hardware_addr)"),
        (&selector.permanent_addr, "mac(link.permanent_addr)"),
        (&selector.bus_path, "link.bus_path"),
        (&selector.driver, "link.driver"),
        (&selector.pci_id, "link.pciid"),
    ];
    let mut conditions: Vec<String> = globs
        .iter()
        .filter(|(pattern, _)| !pattern.is_empty())
        .map(|(pattern, field)| {
            format!("glob(\"{}\", {field})", pattern.replace('\\', "\\\\").replace('"', "\\\""))
        })
        .collect();
    // 1 is Ethernet (ARPHRD_ETHER)
    let physical =
        selector.physical.map(|physical| if physical { "link.type == 1" } else { "link.type != 1" });
    conditions.extend(physical.map(str::to_owned));
    if conditions.is_empty() {
        return None;
    }
    let body = object(json!({"selector": {"match": conditions.join(" && ")}}));
    Some(document("LinkAliasConfig", name, body))
}

fn bond(device: &Device, name: &str, bond: &Bond) -> Value {
    let mut links: Vec<String> = bond.interfaces.clone();
    links.extend((0..bond.device_selectors.len()).map(|index| member(name, index)));
    let mut body = object(json!({"links": links}));
    // zero is no value in Go
    for (key, value) in object(json!(bond)).into_iter().filter(|(_, value)| *value != json!(0)) {
        match BOND_KEYS.iter().find(|(older, _)| *older == key) {
            None => body.insert(key, value),
            Some((_, Some(newer))) => body.insert((*newer).to_owned(), value),
            Some((_, None)) => None,
        };
    }
    body.extend(common(device));
    document("BondConfig", name, body)
}

fn bridge(device: &Device, name: &str) -> Option<Value> {
    let bridge = device.bridge.as_ref()?;
    let mut body = object(json!({"links": bridge.interfaces}));
    if let Some(enabled) = bridge.stp.as_ref().and_then(|stp| stp.enabled) {
        body.insert("stp".to_owned(), json!({"enabled": enabled}));
    }
    if bridge.vlan.as_ref().and_then(|vlan| vlan.vlan_filtering) == Some(true) {
        body.insert("vlan".to_owned(), json!({"filtering": true}));
    }
    body.extend(common(device));
    Some(document("BridgeConfig", name, body))
}

fn vlan(parent: &str, vlan: &Vlan) -> Vec<Value> {
    let name = format!("{parent}.{}", vlan.vlan_id);
    let mut body = object(json!({"vlanID": vlan.vlan_id, "parent": parent}));
    let addresses: Vec<&str> = vlan.addresses.iter().map(String::as_str).collect();
    body.extend(link_body(vlan.mtu, &addresses, &vlan.routes));
    let mut documents = vec![document("VLANConfig", &name, body)];
    if vlan.dhcp == Some(true) {
        documents.extend(dhcp(&name, vlan.dhcp_options.as_ref()));
    }
    documents.extend(vlan.vip.as_ref().and_then(|vip| self::vip(&name, vip)));
    documents
}

fn dhcp(link: &str, options: Option<&DhcpOptions>) -> Vec<Value> {
    let metric = options.and_then(|options| options.route_metric).filter(|&metric| metric > 0);
    let body = || metric.map_or_else(Map::new, |metric| object(json!({"routeMetric": metric})));
    let v4 = options.and_then(|options| options.ipv4).unwrap_or(true);
    let v6 = options.and_then(|options| options.ipv6).unwrap_or(false);
    let kinds = [(v4, "DHCPv4Config"), (v6, "DHCPv6Config")];
    kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| document(kind, link, body())).collect()
}

fn vip(link: &str, vip: &Vip) -> Option<Value> {
    let address = vip.ip.parse().ok()?;
    Some(crate::documents::layer2_vip(address, link))
}

fn common(device: &Device) -> Map<String, Value> {
    let cidr = (!device.cidr.is_empty()).then_some(device.cidr.as_str());
    let addresses: Vec<&str> = device.addresses.iter().map(String::as_str).chain(cidr).collect();
    link_body(device.mtu, &addresses, &device.routes)
}

fn link_body(mtu: Option<u32>, addresses: &[&str], routes: &[Route]) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(mtu) = mtu.filter(|&mtu| mtu > 0) {
        body.insert("mtu".to_owned(), json!(mtu));
    }
    if !addresses.is_empty() {
        let addresses = addresses.iter().map(|address| json!({"address": with_prefix(address)}));
        body.insert("addresses".to_owned(), addresses.collect());
    }
    if !routes.is_empty() {
        body.insert("routes".to_owned(), routes.iter().map(route).collect());
    }
    body
}

/// An address alone is one of a network of its own.
fn with_prefix(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("{address}/32"),
        Ok(IpAddr::V6(_)) => format!("{address}/128"),
        Err(_) => address.to_owned(),
    }
}

fn route(route: &Route) -> Value {
    let mut body = Map::new();
    // the default route has no destination, its gateway tells the family
    if !route.network.is_empty() && !matches!(route.network.as_str(), "0.0.0.0/0" | "::/0") {
        body.insert("destination".to_owned(), json!(route.network));
    }
    for (key, value) in [("gateway", &route.gateway), ("source", &route.source)] {
        if !value.is_empty() {
            body.insert(key.to_owned(), json!(value));
        }
    }
    for (key, value) in [("metric", route.metric), ("mtu", route.mtu)] {
        if let Some(value) = value.filter(|&value| value > 0) {
            body.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(body)
}

fn document(kind: &str, name: &str, body: Map<String, Value>) -> Value {
    let mut document = object(json!({"apiVersion": "v1alpha1", "kind": kind, "name": name}));
    document.extend(body);
    Value::Object(document)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(yaml: &str) -> Vec<Value> {
        let document = document::Document::parse("f", yaml).unwrap();
        let (devices, findings) = document.decode::<Vec<Device>>(document::Keys::Go);
        assert!(findings.is_empty(), "{findings}");
        documents(&devices.unwrap())
    }

    fn head(document: &Value) -> (&str, &str) {
        (document["kind"].as_str().unwrap(), document["name"].as_str().unwrap())
    }

    #[test]
    fn a_control_plane_with_dhcp_and_a_shared_address() {
        assert_eq!(
            render("- {interface: eno1, dhcp: true, vip: {ip: 172.29.51.10}}"),
            [
                json!({"apiVersion": "v1alpha1", "kind": "DHCPv4Config", "name": "eno1"}),
                json!({"apiVersion": "v1alpha1", "kind": "Layer2VIPConfig", "name": "172.29.51.10", "link": "eno1"}),
            ]
        );
    }

    #[test]
    fn a_selector_becomes_an_alias_that_the_rest_refers_to() {
        let documents = render(
            "- deviceSelector: {hardwareAddr: 'aa:bb:*', driver: ixgbe}\n  addresses: [10.0.0.5/24, 10.0.0.6]\n  \
             mtu: 9000\n  routes: [{network: 0.0.0.0/0, gateway: 10.0.0.1}, \
             {network: 10.9.0.0/16, gateway: 10.0.0.2, metric: 5}]\n\
             - {interface: ethSel0, dhcp: off}\n\
             - {deviceSelector: {physical: true}, dhcp: true, dhcpOptions: {ipv6: true, routeMetric: 10}}",
        );
        let selector = "glob(\"aa:bb:*\", mac(link.hardware_addr)) && glob(\"ixgbe\", link.driver)";
        assert_eq!(
            documents,
            [
                json!({"apiVersion": "v1alpha1", "kind": "LinkAliasConfig", "name": "ethSel1",
                    "selector": {"match": selector}}),
                json!({"apiVersion": "v1alpha1", "kind": "LinkAliasConfig", "name": "ethSel2",
                    "selector": {"match": "link.type == 1"}}),
                json!({"apiVersion": "v1alpha1", "kind": "DHCPv4Config", "name": "ethSel2", "routeMetric": 10}),
                json!({"apiVersion": "v1alpha1", "kind": "DHCPv6Config", "name": "ethSel2", "routeMetric": 10}),
                json!({"apiVersion": "v1alpha1", "kind": "LinkConfig", "name": "ethSel1", "mtu": 9000,
                    "addresses": [{"address": "10.0.0.5/24"}, {"address": "10.0.0.6/32"}],
                    "routes": [{"gateway": "10.0.0.1"},
                        {"destination": "10.9.0.0/16", "gateway": "10.0.0.2", "metric": 5}]}),
            ]
        );
    }

    #[test]
    fn a_bond_of_selectors_with_vlans_over_it() {
        let documents = render(
            "- interface: bond0\n  bond: {mode: 802.3ad, lacpRate: fast, resendIgmp: 2, primary: x, deviceSelectors: \
             [{permanentAddr: '00:00:00:00:00:01'}, {permanentAddr: '00:00:00:00:00:02'}]}\n  \
             vlans: [{vlanId: 7, addresses: [10.7.0.2/24], vip: {ip: 10.7.0.1}}]",
        );
        assert_eq!(
            documents.iter().map(head).collect::<Vec<_>>(),
            [
                ("LinkAliasConfig", "bond0-m0"),
                ("LinkAliasConfig", "bond0-m1"),
                ("BondConfig", "bond0"),
                ("VLANConfig", "bond0.7"),
                ("Layer2VIPConfig", "10.7.0.1"),
            ]
        );
        assert_eq!(
            documents[2],
            json!({"apiVersion": "v1alpha1", "kind": "BondConfig", "name": "bond0",
                "links": ["bond0-m0", "bond0-m1"], "bondMode": "802.3ad", "lacpRate": "fast", "resendIGMP": 2})
        );
        assert_eq!(documents[3]["parent"], "bond0");
    }

    #[test]
    fn a_bridge_is_made_once() {
        let yaml = "- interface: br0\n  bridge: {interfaces: [eth0], stp: {enabled: true}}\n  addresses: [10.0.0.2/24]";
        let documents = render(yaml);
        assert_eq!(documents.iter().map(head).collect::<Vec<_>>(), [("BridgeConfig", "br0")]);
        assert_eq!(documents[0]["stp"], json!({"enabled": true}));
    }
}
