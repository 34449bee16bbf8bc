//! Secrets that are put together from values which lie elsewhere.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// Keys and their values.
pub type SecretData = Vec<(String, Zeroizing<String>)>;

/// What Flux must not remove when Git drops a namespace's objects: the cluster's first secrets are in no repository.
const KEEP: &str = "kustomize.toolkit.fluxcd.io/prune";

/// The object.
pub fn secret(name: &str, namespace: &str, kind: &str, data: &SecretData) -> Value {
    let data: Map<String, Value> = (data.iter())
        .map(|(key, value)| (key.clone(), json!(BASE64_STANDARD.encode(value.as_bytes()))))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace, "annotations": { KEEP: "disabled" } },
        "type": kind,
        "data": data,
    })
}
