//! What a step waits for that is no object of its own: the API server, the nodes, DNS, the sync, the adoption.

use std::net::SocketAddr;

use kubernetes::{ApplyError, Client, ObjectId, Readiness, RequestError, WaitError, readiness};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    adoption::{self, Component},
    error::{Cause, Fault, StepError},
    gitops,
    manifest::Step,
};

/// One of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The API server says that it is ready, on every one of these control planes.
    Api(Vec<SocketAddr>),
    /// Every one of these nodes is there and Ready.
    Nodes {
        /// their names
        names: Vec<String>,
        /// how many ranges of pod addresses each has: one for each family
        families: usize,
    },
    /// The cluster's DNS answers.
    Dns,
    /// Flux has applied the repository.
    Synced {
        /// Flux's namespace, and the name of its objects
        name: String,
        /// whether everything that it brought must be ready, too
        healthy: bool,
    },
    /// Git has adopted what it owns. Reports, and never stops the hand-over.
    Adoption(Vec<Component>),
}

/// The label by which the DNS of every distribution is known.
const DNS: &str = "k8s-app=kube-dns";

/// What is in the way of a check, and why.
pub(crate) type Blocked = (ObjectId, String);

/// Waits for the step's check, and tells what else is worth knowing.
pub(crate) async fn wait(client: &Client, step: &Step, end: Instant) -> Result<Vec<String>, StepError> {
    let Some(check) = &step.check else { return Ok(Vec::new()) };
    if let Check::Adoption(components) = check {
        return adoption::wait(client, components, step.pace, end).await.map_err(|error| {
            let object = object("v1", "Namespace", None, "kube-system");
            stopped(step, object, Cause::Wait(WaitError::Ask(error)))
        });
    }
    loop {
        let (object, reason) = match look(client, check).await {
            Ok(None) => return Ok(notes(client, check).await),
            Ok(Some(blocked)) => blocked,
            Err(error) if error.transient() => {
                (object("v1", "Namespace", None, "kube-system"), error.to_string())
            }
            Err(error) => {
                let object = object("v1", "Namespace", None, "kube-system");
                return Err(stopped(step, object, Cause::Wait(WaitError::Ask(error))));
            }
        };
        if Instant::now() + step.pace.poll > end {
            let seconds = step.pace.timeout.as_secs();
            let late = WaitError::Late { object: object.clone(), seconds, reason };
            return Err(stopped(step, object, Cause::Wait(late)));
        }
        sleep(step.pace.poll).await;
    }
}

/// Whether a check is fulfilled now; else what is in its way.
pub(crate) async fn look(client: &Client, check: &Check) -> Result<Option<Blocked>, ApplyError> {
    match check {
        Check::Api(addresses) => api(client, addresses).await,
        Check::Nodes { names, families } => nodes(client, names, *families).await,
        Check::Dns => dns(client).await,
        Check::Synced { name, healthy } => synced(client, name, *healthy).await,
        Check::Adoption(_) => Ok(None),
    }
}

async fn notes(client: &Client, check: &Check) -> Vec<String> {
    let Check::Synced { .. } = check else { return Vec::new() };
    gitops::report(client).await.map(|report| vec![report.level().to_string()]).unwrap_or_default()
}

fn object(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
    ObjectId {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    }
}

fn stopped(step: &Step, object: ObjectId, cause: Cause) -> StepError {
    let (file, line) = step.origin.clone();
    StepError::new(&step.name, vec![Fault { object, file, line, cause }])
}

async fn api(client: &Client, addresses: &[SocketAddr]) -> Result<Option<Blocked>, ApplyError> {
    let blocked = |reason: String| Ok(Some((object("v1", "Namespace", None, "kube-system"), reason)));
    match client.ready().await {
        Ok(true) => {}
        Ok(false) => return blocked("the API server answers and is not ready yet".to_owned()),
        Err(error) => return blocked(error.to_string()),
    }
    for address in addresses {
        let Ok(one) = client.at(*address) else { continue };
        match one.ready().await {
            Ok(true) => {}
            Ok(false) => return blocked(format!("the API server of {address} is not ready yet")),
            Err(RequestError::Unreachable { detail, .. }) => {
                return blocked(format!("the API server of {address} does not answer: {detail}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

async fn nodes(client: &Client, names: &[String], families: usize) -> Result<Option<Blocked>, ApplyError> {
    let nodes = client.list("v1", "Node", None, "").await?;
    for name in names {
        let id = object("v1", "Node", None, name);
        let Some(node) = nodes.iter().find(|node| node["metadata"]["name"] == **name) else {
            return Ok(Some((id, "the node has not registered itself".to_owned())));
        };
        if let Some(reason) = unready(node, families) {
            return Ok(Some((id, reason)));
        }
    }
    Ok(None)
}

/// Why pods cannot run on a node and reach each other; nothing when they can.
fn unready(node: &Value, families: usize) -> Option<String> {
    let conditions = || node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions().find(|condition| condition["type"] == "Ready");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match ready {
        // `NotReady` has the word in it, and is not ready all the same
        Some(ready) if ready["status"] == "True" => {}
        Some(ready) => {
            let (status, reason, message) =
                (text(&ready["status"]), text(&ready["reason"]), text(&ready["message"]));
            return Some(format!("Ready is {status} ({reason}: {message})"));
        }
        None => return Some("its kubelet has not said that it is ready".to_owned()),
    }
    let without = conditions()
        .find(|condition| condition["type"] == "NetworkUnavailable" && condition["status"] == "True");
    if let Some(without) = without {
        return Some(format!("its network is not up ({})", text(&without["reason"])));
    }
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    if taints.any(|taint| taint["key"] == "node.cilium.io/agent-not-ready") {
        return Some("Cilium's agent there is not ready".to_owned());
    }
    let ranges = node["spec"]["podCIDRs"].as_array().map(Vec::len);
    // a network plugin that gives the ranges itself leaves this empty
    ranges
        .filter(|ranges| *ranges < families)
        .map(|ranges| format!("it has pod addresses of {ranges} families, and the cluster has {families}"))
}

async fn dns(client: &Client) -> Result<Option<Blocked>, ApplyError> {
    let id = object("apps/v1", "Deployment", Some("kube-system"), "coredns");
    let deployments = client.list("apps/v1", "Deployment", Some("kube-system"), DNS).await?;
    let Some(deployment) = deployments.first() else {
        return Ok(Some((id, format!("there is no Deployment with the label {DNS}"))));
    };
    let id = ObjectId::try_from(deployment)?;
    match readiness(deployment) {
        Readiness::Ready => {}
        Readiness::Waiting(reason) | Readiness::Failed(reason) => return Ok(Some((id, reason))),
    }
    let service = "kubernetes.io/service-name=kube-dns";
    let slices = client.list("discovery.k8s.io/v1", "EndpointSlice", Some("kube-system"), service).await?;
    let ready = |slice: &Value| {
        let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
        endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false)
    };
    if slices.iter().any(ready) {
        return Ok(None);
    }
    let service = object("v1", "Service", Some("kube-system"), "kube-dns");
    Ok(Some((service, "the Service has no pod that answers".to_owned())))
}

/// What Flux has fetched is what it has applied.
async fn synced(client: &Client, name: &str, healthy: bool) -> Result<Option<Blocked>, ApplyError> {
    let source = object("source.toolkit.fluxcd.io/v1", "GitRepository", Some(name), name);
    let applied = object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", Some(name), name);
    let mut revisions = Vec::new();
    for (id, revision) in [(&source, "/status/artifact/revision"), (&applied, "/status/lastAppliedRevision")]
    {
        let live = match client.object(id).await {
            // flux-operator brings the kinds only later
            Err(ApplyError::UnknownKind { .. }) => None,
            live => live?,
        };
        let Some(live) = live else { return Ok(Some((id.clone(), "it does not exist".to_owned()))) };
        match readiness(&live) {
            Readiness::Ready => {}
            Readiness::Waiting(reason) | Readiness::Failed(reason) => {
                return Ok(Some((id.clone(), reason)));
            }
        }
        revisions.push(live.pointer(revision).and_then(Value::as_str).unwrap_or_default().to_owned());
        if id == &applied && live["status"]["inventory"]["entries"].as_array().is_none_or(Vec::is_empty) {
            return Ok(Some((id.clone(), "it has applied nothing: is its path right?".to_owned())));
        }
    }
    if let [fetched, applied_revision] = revisions.as_slice()
        && (fetched.is_empty() || fetched != applied_revision)
    {
        let reason = format!("{fetched:?} was fetched, and {applied_revision:?} is applied");
        return Ok(Some((applied, reason)));
    }
    if healthy {
        let report = gitops::report(client).await?;
        if let Some(blocking) = report.entries.iter().find(|entry| !entry.healthy()) {
            return Ok(Some((blocking.object.clone(), blocking.reason.clone())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_ready_when_its_network_is() {
        let node = |status: &str, taint: &str, ranges: Value| {
            json!({ "spec": { "taints": [{ "key": taint }], "podCIDRs": ranges },
                "status": { "conditions": [{ "type": "Ready", "status": status, "reason": "KubeletNotReady", "message": "cni plugin not initialized" }] } })
        };
        let two = json!(["10.0.0.0/24", "fd00::/64"]);
        assert_eq!(unready(&node("True", "x", two.clone()), 2), None);
        assert_eq!(unready(&node("True", "x", Value::Null), 2), None);
        for (node, says) in [
            (node("False", "x", two.clone()), "cni plugin not initialized"),
            (node("True", "node.cilium.io/agent-not-ready", two), "agent there is not ready"),
            (node("True", "x", json!(["10.0.0.0/24"])), "1 families"),
            (json!({}), "has not said"),
            (
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" },
                    { "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated" }] } }),
                "NoRouteCreated",
            ),
        ] {
            let reason = unready(&node, 2).unwrap();
            assert!(reason.contains(says), "{reason}");
        }
    }
}
