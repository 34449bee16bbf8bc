//! Machine configs as texts: for the machines, and for people with `ichord render`.

use talos_config::{config::MachineConfig, secrets::SecretsBundle, talconfig::RenderError, yaml::YamlError};
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
    /// talhelper's name for the file: `<cluster>-<hostname>.yaml`
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
                let file = format!("{}-{name}.yaml", self.cluster.cluster_name);
                Ok(Rendered { node: name.clone(), file, text })
            })
            .collect()
    }
}
