//! What a node says in the main document.

use serde_json::{Map, Value, json};

use super::{append, change, put};
use crate::{
    secrets::SecretsBundle,
    talconfig::{Install, Node, TalConfig, wire::MachineFile},
    template::Template,
};

impl TalConfig {
    /// What goes into `machine` of the main document.
    pub(super) fn machine_keys(&self, node: &Node, machine: &mut Map<String, Value>) {
        let configs = &node.configs;
        append(machine, "certSANs", &self.machine_cert_sans);
        append(machine, "certSANs", configs.cert_sans.as_deref().unwrap_or_default());
        change(machine, "install", |install| {
            match &node.install {
                Install::Disk(path) => put(install, "disk", json!(path)),
                Install::Selector(_, written) => put(install, "diskSelector", written.clone()),
            }
            if !self.has_network_documents() && !configs.machine_spec.use_uki {
                // from 1.12 on the arguments are in the image, and Talos refuses them here
                append(install, "extraKernelArgs", node.schematic.kernel_args());
            }
        });
        if let Some(disks) = configs.machine_disks.as_ref().filter(|disks| !disks.is_empty()) {
            put(machine, "disks", json!(disks));
        }
        if let Some(modules) = configs.kernel_modules.as_ref().filter(|modules| !modules.is_empty()) {
            put(machine, "kernel", json!({"modules": modules}));
        }
        for (key, map) in [
            ("nodeLabels", &configs.node_labels),
            ("nodeAnnotations", &configs.node_annotations),
            ("nodeTaints", &configs.node_taints),
        ] {
            let Some(map) = map else { continue };
            // templates are filled in when all the rest is there
            let is_plain = |value: &str| key == "nodeTaints" || !Template::is_one(value);
            let plain: Map<String, Value> = map
                .iter()
                .filter(|(_, value)| is_plain(value))
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            // the node's replace the generated ones, even where it has none
            machine.remove(key);
            if !plain.is_empty() {
                put(machine, key, Value::Object(plain));
            }
        }
        if let Some(files) = configs.machine_files.as_ref().filter(|files| !files.is_empty()) {
            put(machine, "files", files.iter().map(machine_file).collect());
        }
        if !self.has_network_documents() {
            change(machine, "network", |network| legacy_network(node, network));
        }
    }

    /// What goes into `cluster` of the main document.
    pub(super) fn cluster_keys(
        &self,
        node: &Node,
        secrets: &SecretsBundle,
        cluster: &mut Map<String, Value>,
    ) {
        if node.control_plane {
            change(cluster, "apiServer", |server| append(server, "certSANs", &self.api_server_cert_sans));
            // talhelper gives it to workers as well, which have no etcd to encrypt
            if let Some(secret) = &secrets.aescbc_encryption_secret {
                put(cluster, "aescbcEncryptionSecret", json!(secret.expose()));
            }
        }
        if let Some(cni) = &self.cni {
            change(cluster, "network", |network| put(network, "cni", json!(cni)));
        }
        if !self.inline_manifests.is_empty() {
            let manifests = self.inline_manifests.iter();
            let manifests = manifests.map(|(name, contents)| json!({"name": name, "contents": contents}));
            put(cluster, "inlineManifests", manifests.collect());
        }
    }
}

fn legacy_network(node: &Node, network: &mut Map<String, Value>) {
    if !node.ignore_hostname {
        put(network, "hostname", json!(node.hostname));
    }
    if let Some(nameservers) = node.configs.nameservers.as_ref().filter(|servers| !servers.is_empty()) {
        put(network, "nameservers", json!(nameservers));
    }
    if node.configs.disable_search_domain {
        put(network, "disableSearchDomain", json!(true));
    }
    if !node.devices().is_empty() {
        put(network, "interfaces", json!(node.devices()));
    }
}

fn machine_file(file: &MachineFile) -> Value {
    json!({"content": file.content, "permissions": file.permissions, "path": file.path, "op": file.op})
}
