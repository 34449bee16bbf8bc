//! One node's machine config: the generated base, the node's keys, its documents, patches (talos.md §5.6).

use serde_json::{Map, Value, json};

use super::{Install, Node, Patch, TalConfig, network, wire::MachineFile};
use crate::{
    config::{ConfigError, MachineConfig},
    documents,
    generate::{GenerateError, Input, MachineType},
    patch::{self, PatchError},
    secrets::SecretsBundle,
    versions::Contract,
};

/// The first contract in which the network is configured by documents.
const NETWORK_DOCUMENTS: Contract = Contract::new(1, 12);

/// Why a node's config could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// the base config
    #[error("the config of {node} could not be generated: {source}")]
    Generate {
        /// whose
        node: String,
        /// why
        source: GenerateError,
    },
    /// a patch that does not fit
    #[error("{file}:{line}: the patch could not be applied to the config of {node}: {source}")]
    Patch {
        /// whose
        node: String,
        /// where the patch is written
        file: String,
        /// its first line
        line: u32,
        /// why
        source: Box<PatchError>,
    },
    /// documents that contradict each other
    #[error("the config of {node} is not consistent: {source}")]
    Config {
        /// whose
        node: String,
        /// why
        source: ConfigError,
    },
}

impl TalConfig {
    /// The machine config of a node, as talhelper would write it, with one addition: a node whose image has
    /// the LLDP extension is given the extension's configuration, without which Talos waits for it until it
    /// reboots (talos.md §8.1).
    pub fn machine_config(&self, node: &Node, secrets: &SecretsBundle) -> Result<MachineConfig, RenderError> {
        let generate = |source| RenderError::Generate { node: node.hostname.clone(), source };
        let inconsistent = |source| RenderError::Config { node: node.hostname.clone(), source };
        let machine = if node.control_plane { MachineType::ControlPlane } else { MachineType::Worker };
        let mut config = self.input(node).map_err(generate)?.generate(machine, secrets).map_err(generate)?;
        if let Some(main) = config.v1alpha1_mut() {
            change(main, "machine", |machine| self.machine_keys(node, machine));
            change(main, "cluster", |cluster| self.cluster_keys(node, secrets, cluster));
        }
        for document in self.node_documents(node) {
            config.insert(document).map_err(inconsistent)?;
        }
        for patch in node.patches.iter().chain(&self.patches) {
            apply(&mut config, patch, node)?;
        }
        for manifest in &node.extra_manifests {
            let more = MachineConfig::from_yaml(&manifest.text).map_err(inconsistent)?;
            for document in more.documents() {
                config.insert(document.clone()).map_err(inconsistent)?;
            }
        }
        Ok(config)
    }

    /// The installer image of a node: always one of the factory, with the node's extensions.
    pub fn installer_image(&self, node: &Node) -> String {
        if node.configs.talos_image_url.is_empty() {
            let secure_boot = node.configs.machine_spec.secureboot;
            node.schematic.installer_image_of(&self.registry, &self.talos, secure_boot)
        } else {
            format!("{}:{}", node.configs.talos_image_url, self.talos)
        }
    }

    fn input(&self, node: &Node) -> Result<Input, GenerateError> {
        let mut input = Input::new(&self.cluster_name, &self.endpoint, self.talos.contract)?;
        input.kubernetes = self.kubernetes;
        input.install_image = Some(self.installer_image(node));
        input.allow_scheduling_on_control_planes = self.allow_scheduling;
        if let Some(domain) = &self.domain {
            input.dns_domain.clone_from(domain);
        }
        if !self.pod_nets.is_empty() {
            input.pod_subnets.clone_from(&self.pod_nets);
        }
        if !self.service_nets.is_empty() {
            input.service_subnets.clone_from(&self.service_nets);
        }
        Ok(input)
    }

    fn has_network_documents(&self) -> bool {
        self.talos.contract >= NETWORK_DOCUMENTS
    }

    /// What goes into `machine` of the main document.
    fn machine_keys(&self, node: &Node, machine: &mut Map<String, Value>) {
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
        if let Some(disks) = &configs.machine_disks {
            put(machine, "disks", json!(disks));
        }
        if let Some(modules) = &configs.kernel_modules {
            put(machine, "kernel", json!({"modules": modules}));
        }
        for (key, map) in [
            ("nodeLabels", &configs.node_labels),
            ("nodeAnnotations", &configs.node_annotations),
            ("nodeTaints", &configs.node_taints),
        ] {
            if let Some(map) = map {
                put(machine, key, json!(map));
            }
        }
        if let Some(files) = &configs.machine_files {
            put(machine, "files", files.iter().map(machine_file).collect());
        }
        if !self.has_network_documents() {
            change(machine, "network", |network| legacy_network(node, network));
        }
    }

    /// What goes into `cluster` of the main document.
    fn cluster_keys(&self, node: &Node, secrets: &SecretsBundle, cluster: &mut Map<String, Value>) {
        if node.control_plane {
            change(cluster, "apiServer", |server| append(server, "certSANs", &self.api_server_cert_sans));
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

    /// What goes into documents of its own, in talhelper's order.
    fn node_documents(&self, node: &Node) -> Vec<Value> {
        let configs = &node.configs;
        let mut documents = Vec::new();
        if self.has_network_documents() {
            let nameservers = configs.nameservers.as_deref().unwrap_or_default();
            if !nameservers.is_empty() || configs.disable_search_domain {
                let nameservers: Vec<Value> =
                    nameservers.iter().map(|address| json!({"address": address})).collect();
                documents.push(json!({
                    "apiVersion": "v1alpha1",
                    "kind": "ResolverConfig",
                    "nameservers": nameservers,
                    "searchDomains": {"disableDefault": configs.disable_search_domain},
                }));
            }
            documents.push(if node.ignore_hostname {
                documents::stable_hostname()
            } else {
                documents::static_hostname(&node.hostname)
            });
        }
        if let Some(firewall) = &configs.ingress_firewall {
            let action = &firewall.default_action;
            documents.push(
                json!({"apiVersion": "v1alpha1", "kind": "NetworkDefaultActionConfig", "ingress": action}),
            );
            documents.extend(firewall.rules.iter().map(|rule| {
                let mut document = named("NetworkRuleConfig", &rule.name);
                put(&mut document, "portSelector", rule.port_selector.clone());
                put(&mut document, "ingress", rule.ingress.clone());
                Value::Object(document)
            }));
        }
        let services = configs.extension_services.as_deref().unwrap_or_default();
        for service in services {
            let mut document = named("ExtensionServiceConfig", &service.name);
            if !service.config_files.is_empty() {
                put(&mut document, "configFiles", json!(service.config_files));
            }
            if !service.environment.is_empty() {
                put(&mut document, "environment", json!(service.environment));
            }
            documents.push(Value::Object(document));
        }
        if node.schematic.has_extension(documents::LLDPD_EXTENSION)
            && !services.iter().any(|service| service.name == "lldpd")
        {
            documents.push(documents::lldpd());
        }
        for (kind, volumes) in
            [("VolumeConfig", &configs.volumes), ("UserVolumeConfig", &configs.user_volumes)]
        {
            for volume in volumes.iter().flatten() {
                let mut document = named(kind, &volume.name);
                for (key, value) in [
                    ("volumeType", &volume.volume_type),
                    ("provisioning", &volume.provisioning),
                    ("filesystem", &volume.filesystem),
                    ("encryption", &volume.encryption),
                ] {
                    if let Some(value) = value {
                        put(&mut document, key, value.clone());
                    }
                }
                documents.push(Value::Object(document));
            }
        }
        if self.has_network_documents() {
            documents.extend(network::documents(node.devices()));
        }
        documents
    }
}

fn apply(config: &mut MachineConfig, patch: &Patch, node: &Node) -> Result<(), RenderError> {
    let applied = patch::Patch::parse(&patch.text).and_then(|parsed| parsed.apply(config));
    applied.map_err(|source| RenderError::Patch {
        node: node.hostname.clone(),
        file: patch.file.clone(),
        line: patch.at.line,
        source: Box::new(source),
    })
}

fn legacy_network(node: &Node, network: &mut Map<String, Value>) {
    if !node.ignore_hostname {
        put(network, "hostname", json!(node.hostname));
    }
    if let Some(nameservers) = &node.configs.nameservers {
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

fn named(kind: &str, name: &str) -> Map<String, Value> {
    let mut document = Map::new();
    for (key, value) in [("apiVersion", "v1alpha1"), ("kind", kind), ("name", name)] {
        put(&mut document, key, json!(value));
    }
    document
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

/// Changes a section of the config, which is made if it is not there.
fn change(map: &mut Map<String, Value>, key: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let value = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(section) = value {
        change(section);
    }
}

/// Adds to a list, without repeating what it has.
fn append(map: &mut Map<String, Value>, key: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let list = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        for item in items.iter().map(|item| json!(item)) {
            if !list.contains(&item) {
                list.push(item);
            }
        }
    }
}
