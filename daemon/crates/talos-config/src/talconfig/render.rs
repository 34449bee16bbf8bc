//! One node's machine config: the generated base, the node's keys, its documents, patches (talos.md §5.6).
//!
//! What talhelper makes, made the same way. What is decided to be otherwise stands in the test against the real talhelper
//! (`tests/oracle/talhelper.rs`) with its reasons: encryption of etcd's secrets is no business of workers, `dummy` links are not
//! lost on the way into documents, lldpd is given a configuration, and values and files behind `@` stay as they are written.

mod documents;
mod main_document;

use std::path::{Component, Path};

use document::{Finding, Findings, Place};
use serde_json::{Map, Value};

use super::{Node, Patch, TalConfig, check};
use crate::{
    config::{ConfigError, MachineConfig},
    generate::{GenerateError, Input, MachineType},
    patch::{self, PatchError},
    secrets::SecretsBundle,
    template::{self, TemplateError},
    versions::Contract,
};

/// The first contract in which the network is configured by documents.
const NETWORK_DOCUMENTS: Contract = Contract::new(1, 12);

/// How talhelper names the files, unless the node says otherwise.
const FILE_NAME: &str = "{{ .ClusterName }}-{{ .Hostname }}.yaml";

/// How talhelper names the installer, unless the file says otherwise.
const INSTALLER: &str =
    "{{.RegistryURL}}/{{.Mode}}-installer{{if .Secureboot}}-secureboot{{end}}/{{.ID}}:{{.Version}}";

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
    /// a template that cannot be filled in
    #[error("the config of {node} has a template that cannot be filled in: {finding}")]
    Template {
        /// whose
        node: String,
        /// where, why, and what would be right
        finding: Box<Finding>,
    },
    /// documents that contradict each other
    #[error("the config of {node} is not consistent: {source}")]
    Config {
        /// whose
        node: String,
        /// why
        source: ConfigError,
    },
    /// a file name that leads elsewhere
    #[error("`filenameTmpl` gives {node} the name `{name}`, which is not the name of a file")]
    FileName {
        /// whose
        node: String,
        /// what came out
        name: String,
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
        let mut config = self.input(node)?.generate(machine, secrets).map_err(generate)?;
        if let Some(main) = config.v1alpha1_mut() {
            change(main, "machine", |machine| self.machine_keys(node, machine));
            change(main, "cluster", |cluster| self.cluster_keys(node, secrets, cluster));
        }
        self.templated_keys(node, &mut config)?;
        for document in self.node_documents(node) {
            config.insert(document).map_err(inconsistent)?;
        }
        apply(&mut config, &node.patches, node)?;
        apply(&mut config, &self.patches, node)?;
        let mut documents = config.documents().to_vec();
        for manifest in &node.extra_manifests {
            let text = filled(manifest, &config, node)?;
            let more = MachineConfig::from_yaml(&text).map_err(inconsistent)?;
            // the one document that was not asked for makes room for the one that is
            if more.document("ExtensionServiceConfig", "lldpd").is_some() {
                documents.retain(|document| *document != crate::documents::lldpd());
            }
            documents.extend(more.documents().iter().cloned());
        }
        MachineConfig::from_documents(documents).map_err(inconsistent)
    }

    /// What only filling in the templates shows: fields that there are not, values of the wrong kind.
    pub(super) fn template_faults(&self) -> Findings {
        let is_template = |patch: &Patch| template::Template::is_one(&patch.text);
        let secrets = SecretsBundle::placeholders();
        let mut findings = Findings::new();
        for node in &self.nodes {
            let patches = node.patches.iter().chain(&self.patches).chain(&node.extra_manifests);
            let labels = [&node.configs.node_labels, &node.configs.node_annotations];
            let mut values = labels.into_iter().flatten().flat_map(|map| map.values());
            let in_config = patches.into_iter().any(is_template)
                || values.any(|value| template::Template::is_one(value))
                || !self.installer_template.is_empty();
            let config = if in_config { self.machine_config(node, &secrets).map(drop) } else { Ok(()) };
            // any other fault is about the patches, not about the templates
            for result in [config, self.file_name(node).map(drop)] {
                match result {
                    Err(RenderError::Template { finding, .. }) => findings.push(*finding),
                    Err(error @ RenderError::FileName { .. }) => {
                        let place = self.place_of_key(node, "filenameTmpl");
                        findings.push(place.error("file-name", error.to_string()));
                    }
                    _ => {}
                }
            }
        }
        findings.sort();
        findings
    }

    /// The name of the file with a node's config, as talhelper writes it.
    pub fn file_name(&self, node: &Node) -> Result<String, RenderError> {
        let template = match node.configs.filename_tmpl.as_str() {
            "" => FILE_NAME,
            template => template,
        };
        let text = |text: &str| template::Value::Text(text.to_owned());
        let data = template::Value::of([
            ("ClusterName", text(&self.cluster_name)),
            ("Hostname", text(&node.hostname)),
            ("IPAddress", text(&node.ip_address)),
            ("Role", text(if node.control_plane { "controlplane" } else { "worker" })),
        ]);
        let name = template::fill(template, &data).map_err(|error| {
            let place = self.place_of_key(node, "filenameTmpl");
            of_value(node, place, error)
        })?;
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if name.is_empty() || name.contains('\0') || !Path::new(&name).components().all(is_plain) {
            return Err(RenderError::FileName { node: node.hostname.clone(), name });
        }
        Ok(name)
    }

    /// The installer image of a node: always one of the factory, with the node's extensions.
    pub fn installer_image(&self, node: &Node) -> Result<String, RenderError> {
        let spec = &node.configs.machine_spec;
        if !node.configs.talos_image_url.is_empty() {
            return Ok(format!("{}:{}", node.configs.talos_image_url, self.talos));
        }
        let template = match self.installer_template.as_str() {
            "" => INSTALLER,
            template => template,
        };
        let mode = if spec.mode.is_empty() { "metal" } else { &spec.mode };
        let data = template::Value::of([
            ("RegistryURL", template::Value::Text(self.registry.clone())),
            ("ID", template::Value::Text(node.schematic.id())),
            ("Version", template::Value::Text(self.talos.to_string())),
            ("Mode", template::Value::Text(mode.to_owned())),
            ("Secureboot", template::Value::Bool(spec.secureboot)),
        ]);
        template::fill(template, &data)
            .map_err(|error| of_value(node, self.place().key("imageFactory").key("installerURLTmpl"), error))
    }

    fn input(&self, node: &Node) -> Result<Input, RenderError> {
        let mut input = Input::new(&self.cluster_name, &self.endpoint, self.talos.contract)
            .map_err(|source| RenderError::Generate { node: node.hostname.clone(), source })?;
        input.kubernetes = self.kubernetes;
        input.install_image = Some(self.installer_image(node)?);
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

    /// Labels and annotations that are templates: filled in last, so that they may tell of all the rest.
    fn templated_keys(&self, node: &Node, config: &mut MachineConfig) -> Result<(), RenderError> {
        let configs = &node.configs;
        let mut filled = Vec::new();
        {
            let data = template::data(config);
            for (key, map) in
                [("nodeLabels", &configs.node_labels), ("nodeAnnotations", &configs.node_annotations)]
            {
                let templates = map.iter().flatten().filter(|(_, value)| template::Template::is_one(value));
                for (name, value) in templates {
                    let value = template::fill(value, &data)
                        .map_err(|error| of_value(node, self.place_of_key(node, key).key(name), error))?;
                    filled.push((key, name, value));
                }
            }
        }
        if let Some(main) = config.v1alpha1_mut() {
            for (key, name, value) in filled {
                change(main, "machine", |machine| {
                    change(machine, key, |map| put(map, name, Value::String(value)));
                });
            }
        }
        Ok(())
    }
}

fn of_value(node: &Node, place: Place<'_>, error: TemplateError) -> RenderError {
    let finding = Box::new(check::template(place, error));
    RenderError::Template { node: node.hostname.clone(), finding }
}

/// The text of a patch with its templates filled in.
fn filled(patch: &Patch, config: &MachineConfig, node: &Node) -> Result<String, RenderError> {
    template::fill(&patch.text, &template::data(config)).map_err(|error| {
        let mut finding = Finding::error(&patch.file, patch.inside(error.at), "template", error.message);
        finding.fix = error.fix;
        RenderError::Template { node: node.hostname.clone(), finding: Box::new(finding) }
    })
}

/// Applies patches in their order. All of them see the config as it was before the first in their templates.
fn apply(config: &mut MachineConfig, patches: &[Patch], node: &Node) -> Result<(), RenderError> {
    let texts = patches.iter().map(|patch| filled(patch, config, node)).collect::<Result<Vec<_>, _>>()?;
    for (patch, text) in patches.iter().zip(texts) {
        let applied = patch::Patch::parse(&text).and_then(|parsed| parsed.apply(config));
        applied.map_err(|source| RenderError::Patch {
            node: node.hostname.clone(),
            file: patch.file.clone(),
            line: patch.at.line,
            source: Box::new(source),
        })?;
    }
    Ok(())
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

/// Adds to a list. What is there twice stays there twice: talhelper adds what it is told to.
fn append(map: &mut Map<String, Value>, key: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let list = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.extend(items.iter().map(|item| Value::String(item.clone())));
    }
}
