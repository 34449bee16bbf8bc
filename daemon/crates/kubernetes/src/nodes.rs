//! The cluster's nodes as the API knows them.

use std::net::IpAddr;

use hyper::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    error::{ApplyError, RequestError},
    object::ObjectId,
};

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

/// Which boot of a machine a node stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBoot {
    /// As the kernel names it, if the kubelet has told.
    pub boot_id: Option<String>,
    /// Which object of that name it is.
    pub uid: String,
    /// Whether nobody keeps new pods off it.
    pub schedulable: bool,
}

impl Client {
    /// The boot that a node stands for; `None` where there is no such node.
    pub async fn node_boot(&self, name: &str) -> Result<Option<NodeBoot>, ApplyError> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(self.object(&id(name)).await?.map(|object| NodeBoot {
            boot_id: text(&object["status"]["nodeInfo"]["bootID"]),
            uid: text(&object["metadata"]["uid"]).unwrap_or_default(),
            schedulable: object["spec"]["unschedulable"] != true,
        }))
    }

    /// Deletes this very node, and no later one of its name. One that is gone already is no error.
    pub async fn delete_node(&self, name: &str, uid: &str) -> Result<(), RequestError> {
        let what = format!("the deletion of the node {name}");
        let body = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": { "uid": uid } });
        let request = hyper::Request::delete(format!("/api/v1/nodes/{name}"))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| RequestError::Unreadable { what: what.clone(), detail: error.to_string() })?;
        let Answer { code, body } = self.send(request).await?;
        match code {
            // another one of its name is there
            200 | 202 | 404 | 409 => Ok(()),
            _ => Err(RequestError::refused(what, code, &body, false)),
        }
    }

    /// Every registered node.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, RequestError> {
        let list = self.document("/api/v1/nodes").await?;
        Ok(list["items"].as_array().into_iter().flatten().map(node).collect())
    }
}

fn id(name: &str) -> ObjectId {
    ObjectId { api_version: "v1".to_owned(), kind: "Node".to_owned(), namespace: None, name: name.to_owned() }
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
