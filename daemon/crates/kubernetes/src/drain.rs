//! Emptying a node before it is rebooted or taken away: no new pods, and each that is there asked to go.
//!
//! Pods go by eviction, so that whoever wants a number of them to run (a PodDisruptionBudget) is heard. Nothing is forced: a
//! drain that cannot end says which pods stay, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hyper::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::{Answer, Client},
    error::{ApplyError, RequestError},
    object::ObjectId,
};

/// A pod, by namespace and name.
pub type PodName = (String, String);

/// How patient a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often the node is looked at, and a refused pod asked again.
    pub poll: Duration,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// A node is not empty.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// Nobody would start these pods anew elsewhere; nothing was done.
    #[error("on {node} run pods that no controller would start anew: {}; delete them, or let them be made by a Deployment", names(.pods))]
    Unmanaged {
        /// The node.
        node: String,
        /// The pods.
        pods: Vec<PodName>,
    },
    /// Time is over, and these are still there. The node keeps new pods off.
    #[error("{node} is not empty after {seconds} s: {}", reasons(.left))]
    Late {
        /// The node.
        node: String,
        /// How long was waited.
        seconds: u64,
        /// The pods, each with what keeps it.
        left: BTreeMap<PodName, String>,
    },
    /// It cannot be asked.
    #[error(transparent)]
    Ask(#[from] ApplyError),
}

impl From<RequestError> for DrainError {
    fn from(error: RequestError) -> Self {
        DrainError::Ask(error.into())
    }
}

fn names(pods: &[PodName]) -> String {
    pods.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect::<Vec<_>>().join(", ")
}

fn reasons(left: &BTreeMap<PodName, String>) -> String {
    let told = left.iter().map(|((namespace, name), why)| format!("{namespace}/{name}: {why}"));
    told.collect::<Vec<_>>().join("; ")
}

/// What is done with a pod of a node that is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It belongs to the node: a DaemonSet's, or one that the kubelet starts by itself.
    Stays,
    /// Its controller starts another one elsewhere, or it has ended.
    Goes,
    /// Nobody would start it anew.
    Unmanaged,
}

fn fate(pod: &Value) -> Fate {
    let metadata = &pod["metadata"];
    if !metadata["annotations"]["kubernetes.io/config.mirror"].is_null() {
        return Fate::Stays;
    }
    let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    match owners.find(|owner| owner["controller"] == true) {
        Some(owner) if owner["kind"] == "DaemonSet" => Fate::Stays,
        Some(_) => Fate::Goes,
        None if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) => Fate::Goes,
        None => Fate::Unmanaged,
    }
}

impl Client {
    /// Keeps new pods off a node, or (`false`) lets them on it again.
    pub async fn cordon(&self, node: &str, off: bool) -> Result<(), ApplyError> {
        let id = ObjectId {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            namespace: None,
            name: node.to_owned(),
        };
        let change = json!([{ "op": "add", "path": "/spec/unschedulable", "value": off }]);
        self.patch_json(&id, &change).await.map(|_| ())
    }

    /// Cordons a node and evicts its pods until only those are left that belong to it; tells how many went.
    ///
    /// A pod whose budget allows no eviction now is asked again and again; so is an API server that is away.
    pub async fn drain(&self, node: &str, patience: Patience) -> Result<usize, DrainError> {
        let end = Instant::now() + patience.timeout;
        let unmanaged: Vec<PodName> =
            self.pods_of(node, Fate::Unmanaged).await?.into_iter().map(|pod| pod.0).collect();
        if !unmanaged.is_empty() {
            return Err(DrainError::Unmanaged { node: node.to_owned(), pods: unmanaged });
        }
        self.cordon(node, true).await?;
        let mut gone = BTreeSet::new();
        loop {
            let mut left = BTreeMap::new();
            match self.pods_of(node, Fate::Goes).await {
                Ok(pods) if pods.is_empty() => return Ok(gone.len()),
                Ok(pods) => {
                    for (name, going) in pods {
                        let why = match going {
                            true => "it is ending".to_owned(),
                            false => self.evict(&name).await?.unwrap_or_else(|| "it is ending".to_owned()),
                        };
                        gone.insert(name.clone());
                        left.insert(name, why);
                    }
                }
                Err(error) if error.transient() => {
                    left.insert((String::new(), "the pods".to_owned()), error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
            if Instant::now() + patience.poll > end {
                let seconds = patience.timeout.as_secs();
                return Err(DrainError::Late { node: node.to_owned(), seconds, left });
            }
            sleep(patience.poll).await;
        }
    }

    /// The node's pods of this fate, and whether each is ending already.
    async fn pods_of(&self, node: &str, wanted: Fate) -> Result<Vec<(PodName, bool)>, RequestError> {
        let list = self.document(&format!("/api/v1/pods?fieldSelector=spec.nodeName={node}")).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((list["items"].as_array().into_iter().flatten())
            .filter(|pod| fate(pod) == wanted)
            .map(|pod| {
                let metadata = &pod["metadata"];
                let name = (text(&metadata["namespace"]), text(&metadata["name"]));
                (name, !metadata["deletionTimestamp"].is_null())
            })
            .collect())
    }

    /// Asks a pod to go; what keeps it, where it may not now.
    async fn evict(&self, (namespace, name): &PodName) -> Result<Option<String>, DrainError> {
        self.may_write().await?;
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "namespace": namespace, "name": name } });
        let what = format!("the eviction of {namespace}/{name}");
        let unreadable = |error: hyper::http::Error| RequestError::Unreadable {
            what: what.clone(),
            detail: error.to_string(),
        };
        let request = hyper::Request::post(format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction"))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(eviction.to_string().into_bytes())
            .map_err(unreadable)?;
        let Answer { code, body } = match self.send(request).await {
            Ok(answer) => answer,
            Err(error) if error.transient() => return Ok(Some(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let refused = RequestError::refused(what, code, &body, false);
        match code {
            // it has gone by itself, or another one of its name is there
            200 | 201 | 404 => Ok(None),
            429 => Ok(Some(budget(&body))),
            _ if refused.transient() => Ok(Some(refused.to_string())),
            _ => Err(refused.into()),
        }
    }
}

/// What a PodDisruptionBudget says that does not let a pod go.
fn budget(body: &[u8]) -> String {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut said: Vec<String> = vec![status["message"].as_str().unwrap_or("it may not go now").to_owned()];
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    said.extend(causes.filter_map(|cause| cause["message"].as_str().map(str::to_owned)));
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_node_stays_and_one_that_nobody_starts_anew_is_told() {
        let owned =
            |kind: &str| json!({ "metadata": { "ownerReferences": [{ "kind": kind, "controller": true }] } });
        let mirror = json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" },
            "ownerReferences": [{ "kind": "Node", "controller": true }] } });
        for (pod, expected) in [
            (owned("DaemonSet"), Fate::Stays),
            (mirror, Fate::Stays),
            (owned("ReplicaSet"), Fate::Goes),
            (owned("Job"), Fate::Goes),
            (json!({ "status": { "phase": "Succeeded" } }), Fate::Goes),
            (json!({ "status": { "phase": "Running" } }), Fate::Unmanaged),
            // somebody who only uses it does not bring it back
            (json!({ "metadata": { "ownerReferences": [{ "kind": "X" }] } }), Fate::Unmanaged),
        ] {
            assert_eq!(fate(&pod), expected, "{pod}");
        }
    }
}
