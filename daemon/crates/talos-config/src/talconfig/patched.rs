//! What patches set, without applying them: for checks before there are secrets to render with.

use document::Document;
use serde::Deserialize;
use serde_json::Value;

use super::{Device, Node, Patch, TalConfig, device::Vip};

impl TalConfig {
    /// The value that the last of a node's patches sets at a place of the main document, by keys:
    /// `["cluster", "proxy", "disabled"]`.
    pub fn patched(&self, node: &Node, keys: &[&str]) -> Option<Value> {
        let documents = self.all_patches(node).flat_map(parsed);
        documents
            .filter(|document| document.get("kind").is_none())
            .filter_map(|document| at(&document, keys))
            .last()
    }

    /// The documents of one kind and name in a node's patches and extra manifests, in their order.
    pub fn patch_documents(&self, node: &Node, kind: &str, name: &str) -> Vec<Value> {
        let is = |document: &Value, key: &str, value: &str| {
            document.get(key).and_then(Value::as_str) == Some(value)
        };
        let texts = self.all_patches(node).chain(&node.extra_manifests);
        texts
            .flat_map(parsed)
            .filter(|document| is(document, "kind", kind) && is(document, "name", name))
            .collect()
    }

    fn all_patches<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Patch> {
        node.patches.iter().chain(&self.patches)
    }
}

/// The network interfaces that patches configure, in either form, as far as it matters which links, own
/// addresses and shared addresses there are. The names of links that patches make themselves are left out.
pub(super) fn devices<'a>(patches: impl Iterator<Item = &'a Patch>) -> Vec<Device> {
    let documents: Vec<Value> = patches.flat_map(parsed).collect();
    let text = |document: &Value, key: &str| {
        document.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let of = |kind: &'static str| {
        documents.iter().filter(move |document| document.get("kind").is_some_and(|own| own == kind))
    };
    let made: Vec<String> =
        ["LinkAliasConfig", "BondConfig", "BridgeConfig", "VLANConfig", "DummyLinkConfig"]
            .into_iter()
            .flat_map(of)
            .map(|document| text(document, "name"))
            .collect();
    let physical = |name: String| if made.contains(&name) { String::new() } else { name };

    let mut devices = Vec::new();
    for document in documents.iter().filter(|document| document.get("kind").is_none()) {
        let interfaces = at(document, &["machine", "network", "interfaces"]);
        devices.extend(
            interfaces
                .and_then(|interfaces| Vec::<Device>::deserialize(interfaces).ok())
                .into_iter()
                .flatten(),
        );
    }
    for document in of("Layer2VIPConfig") {
        let vip = Vip { ip: text(document, "name"), ..Vip::default() };
        devices.push(Device {
            interface: physical(text(document, "link")),
            vip: Some(vip),
            ..Device::default()
        });
    }
    for kind in ["LinkConfig", "BondConfig", "BridgeConfig", "VLANConfig"] {
        for document in of(kind) {
            let addresses = document.get("addresses").and_then(Value::as_array).into_iter().flatten();
            devices.push(Device {
                interface: if kind == "LinkConfig" {
                    physical(text(document, "name"))
                } else {
                    String::new()
                },
                addresses: addresses.map(|address| text(address, "address")).collect(),
                ..Device::default()
            });
        }
    }
    for document in of("DHCPv4Config").chain(of("DHCPv6Config")) {
        devices.push(Device { interface: physical(text(document, "name")), ..Device::default() });
    }
    devices
}

/// The documents of a patch; faults are reported when it is loaded.
fn parsed(patch: &Patch) -> Vec<Value> {
    let documents = Document::parse_stream(&patch.file, &patch.text).unwrap_or_default();
    documents.iter().map(|document| document.root().to_json()).collect()
}

fn at(document: &Value, keys: &[&str]) -> Option<Value> {
    keys.iter().try_fold(document, |value, key| value.get(key)).cloned()
}
