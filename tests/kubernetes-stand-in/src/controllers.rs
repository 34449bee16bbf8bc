//! What controllers would do: they set the status of CRDs and workloads, between two requests of a client.
//!
//! There are no pods. A DaemonSet has a pod on every node, whatever its node selector says; a Deployment's
//! pods run as soon as one node is Ready, or is there at all where they bring the network.
//! [`State::hold`](crate::State::hold) keeps the pods of one from starting.

use serde_json::{Value, json};

use crate::{
    fields::{Fields, Manager},
    state::Inner,
    time,
};

pub(crate) fn settle(inner: &mut Inner) {
    let nodes: Vec<bool> = (inner.objects.values())
        .filter(|stored| stored.kind.kind == "Node")
        .map(|stored| stored.object["status"]["conditions"][0]["status"] == "True")
        .collect();
    let ready = nodes.contains(&true);

    let mut changes = Vec::new();
    for (key, stored) in &inner.objects {
        let (_, _, namespace, name) = key;
        let held = inner.held.contains(&(stored.kind.kind.clone(), namespace.clone(), name.clone()));
        let status = match stored.kind.kind.as_str() {
            "CustomResourceDefinition" => crd(&stored.object),
            "Deployment" => {
                let runs = ready || (!nodes.is_empty() && needs_no_network(&stored.object));
                deployment(&stored.object, runs && !held)
            }
            "DaemonSet" => daemon_set(&stored.object, nodes.len(), if held { 0 } else { nodes.len() }),
            _ => continue,
        };
        if stored.object["status"] != status {
            changes.push((key.clone(), status));
        }
    }
    for (key, status) in changes {
        let version = inner.next();
        let Some(stored) = inner.objects.get_mut(&key) else { continue };
        let name = if key.0 == "apps" { "kube-controller-manager" } else { "kube-apiserver" };
        let fields: Fields = (status.as_object().into_iter().flatten())
            .map(|(field, _)| vec!["f:status".to_owned(), format!("f:{field}")])
            .collect();
        stored.object["status"] = status;
        stored.object["metadata"]["resourceVersion"] = json!(version);
        stored.managers.retain(|manager| manager.subresource.is_none());
        stored.managers.push(Manager {
            name: name.to_owned(),
            operation: "Update",
            subresource: Some("status"),
            api_version: stored.kind.api_version(),
            time: time::now(),
            fields,
        });
    }
}

/// Whether the pods run on a node that has no network yet: those that bring it, and what belongs to them.
fn needs_no_network(object: &Value) -> bool {
    let pods = &object["spec"]["template"]["spec"];
    let tolerations = pods["tolerations"].as_array().into_iter().flatten();
    let everything = |toleration: &Value| toleration["operator"] == "Exists" && toleration["key"].is_null();
    pods["hostNetwork"] == true && tolerations.into_iter().any(everything)
}

/// Whether the pods put a network's configuration where the node's container runtime looks for it.
pub(crate) fn brings_network(object: &Value) -> bool {
    let mut volumes = object["spec"]["template"]["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.any(|volume| volume["hostPath"]["path"] == "/etc/cni/net.d") && needs_no_network(object)
}

fn crd(object: &Value) -> Value {
    let stored: Vec<_> = (object["spec"]["versions"].as_array().into_iter().flatten())
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    json!({
        "acceptedNames": object["spec"]["names"],
        "conditions": [
            { "type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found" },
            {
                "type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
            },
        ],
        "storedVersions": stored,
    })
}

fn deployment(object: &Value, running: bool) -> Value {
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    let ready = if running { wanted } else { 0 };
    let (available, available_reason, progressing_reason) = if ready == wanted {
        ("True", "MinimumReplicasAvailable", "NewReplicaSetAvailable")
    } else {
        ("False", "MinimumReplicasUnavailable", "ReplicaSetUpdated")
    };
    let mut status = json!({
        "observedGeneration": object["metadata"]["generation"],
        "replicas": wanted,
        "updatedReplicas": wanted,
        "conditions": [
            { "type": "Available", "status": available, "reason": available_reason },
            { "type": "Progressing", "status": "True", "reason": progressing_reason },
        ],
    });
    // Zero is left out, as everywhere in the API.
    if ready > 0 {
        status["readyReplicas"] = json!(ready);
        status["availableReplicas"] = json!(ready);
    }
    status
}

fn daemon_set(object: &Value, wanted: usize, ready: usize) -> Value {
    let mut status = json!({
        "observedGeneration": object["metadata"]["generation"],
        "desiredNumberScheduled": wanted,
        "currentNumberScheduled": wanted,
        "numberMisscheduled": 0,
        "numberReady": ready,
    });
    if wanted > 0 {
        status["updatedNumberScheduled"] = json!(wanted);
    }
    if ready > 0 {
        status["numberAvailable"] = json!(ready);
    }
    status
}
