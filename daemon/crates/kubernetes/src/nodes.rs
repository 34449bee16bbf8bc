//! The cluster's nodes as the API knows them.

use std::net::IpAddr;

use serde_json::Value;

use crate::{client::Client, error::RequestError};

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its internal addresses: what a site's node is recognised by.
    pub addresses: Vec<IpAddr>,
    /// Whether its condition Ready is True; a node without a network is registered and not ready.
    pub ready: bool,
    /// Whether nobody keeps new pods off it.
    pub schedulable: bool,
    /// Whether it carries the control plane's label.
    pub control_plane: bool,
}

impl Client {
    /// Every registered node.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, RequestError> {
        let list = self.document("/api/v1/nodes").await?;
        Ok(list["items"].as_array().into_iter().flatten().map(node).collect())
    }
}

fn node(object: &Value) -> NodeStatus {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    NodeStatus {
        name: metadata["name"].as_str().unwrap_or_default().to_owned(),
        addresses: (status["addresses"].as_array().into_iter().flatten())
            .filter(|address| address["type"] == "InternalIP")
            .filter_map(|address| address["address"].as_str()?.parse().ok())
            .collect(),
        ready: (status["conditions"].as_array().into_iter().flatten())
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
        schedulable: object["spec"]["unschedulable"] != true,
        control_plane: metadata["labels"].get("node-role.kubernetes.io/control-plane").is_some(),
    }
}
