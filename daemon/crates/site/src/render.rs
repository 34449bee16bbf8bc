//! Machine configs as texts: for the machines, and for people with `ichord render`.

use std::net::IpAddr;

use talos_config::{
    config::MachineConfig,
    pki::{self, PkiError},
    secrets::SecretsBundle,
    talconfig::{Node, RenderError},
    yaml::YamlError,
};
use zeroize::Zeroizing;

use crate::model::Site;

/// Why a node has no config.
#[derive(Debug, thiserror::Error)]
pub enum NodeConfigError {
    /// there is no such node
    #[error("there is no node `{0}` in the talconfig")]
    NoNode(String),
    /// its config cannot be rendered
    #[error(transparent)]
    Render(#[from] RenderError),
    /// its config cannot be written
    #[error("the config of {node} could not be written: {source}")]
    Write {
        /// whose
        node: String,
        /// why
        source: YamlError,
    },
}

/// A rendered config.
pub struct Rendered {
    /// the node's name
    pub node: String,
    /// talhelper's name for the file: `<cluster>-<hostname>.yaml`, unless the node has a `filenameTmpl`
    pub file: String,
    /// YAML with every key of the node in it
    pub text: Zeroizing<String>,
}

impl Site {
    /// The machine config of a node.
    pub fn machine_config(
        &self,
        node: &str,
        secrets: &SecretsBundle,
    ) -> Result<MachineConfig, NodeConfigError> {
        let found = self.cluster.node(node).ok_or_else(|| NodeConfigError::NoNode(node.to_owned()))?;
        Ok(self.cluster.machine_config(found, secrets)?)
    }

    /// The `talosconfig` that talhelper writes beside the configs: the control planes' addresses as endpoints, and every
    /// node's for those who name none. Valid for a year from `now` on.
    pub fn talosconfig(&self, secrets: &SecretsBundle, now: u64) -> Result<Zeroizing<String>, PkiError> {
        let of = |wanted: fn(&Node) -> bool| -> Vec<IpAddr> {
            let nodes = self.cluster.nodes.iter().filter(|node| wanted(node));
            nodes.flat_map(|node| &node.addresses).copied().collect()
        };
        let admin = secrets.talos_admin(now)?;
        let name = &self.cluster.cluster_name;
        pki::talosconfig(name, &of(|node| node.control_plane), &of(|_| true), &secrets.os, &admin)
    }

    /// The config of every node, in the order of the talconfig.
    pub fn render(&self, secrets: &SecretsBundle) -> Result<Vec<Rendered>, NodeConfigError> {
        self.cluster
            .nodes
            .iter()
            .map(|node| {
                let name = &node.hostname;
                let config = self.cluster.machine_config(node, secrets)?;
                let text = config
                    .to_yaml()
                    .map_err(|source| NodeConfigError::Write { node: name.clone(), source })?;
                let file = self.cluster.file_name(node)?;
                Ok(Rendered { node: name.clone(), file, text })
            })
            .collect()
    }
}
