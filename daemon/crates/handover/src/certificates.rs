//! Certificates that a hand-over makes itself: what a network plugin's objects want of them.

use serde_json::Value;

/// The labels of Secrets with certificates that were made for a cluster, by which they are found when they grow old.
pub const CERTIFICATE: [(&str, &str); 2] =
    [("app.kubernetes.io/managed-by", "ichord"), ("app.kubernetes.io/component", "certificate")];

/// What Cilium calls a cluster where nobody says otherwise.
const CLUSTER: &str = "default";

/// Where Cilium runs with Hubble and TLS: its namespace, and what it calls the cluster. Reads what was rendered.
pub fn hubble_wants(objects: &[&Value]) -> Option<(String, String)> {
    let config = objects
        .iter()
        .find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == "cilium-config")?;
    let (data, text) = (&config["data"], |value: &Value| value.as_str().map(str::to_owned));
    if data["enable-hubble"] != "true" || data["hubble-disable-tls"] == "true" {
        return None;
    }
    let namespace = text(&config["metadata"]["namespace"]).unwrap_or_else(|| "kube-system".to_owned());
    Some((namespace, text(&data["cluster-name"]).unwrap_or_else(|| CLUSTER.to_owned())))
}
