//! Pods read most of a Secret when they start. What uses a Secret that the hand-over brings has its digest in its pods' template,
//! so that Kubernetes makes the pods anew when the Secret changes; of what is Git's, a person is told.

use std::collections::{BTreeMap, BTreeSet};

use kubernetes::{ApplyError, Client, ObjectId, Outcome};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    manifest::{Owner, Step},
    run::ObjectOutcome,
};

/// Where the digest stands in a template.
const ANNOTATION: &str = "ichord/secrets";

/// What has pods and makes them anew.
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// How many digits of a digest there are.
const DIGITS: usize = 32;

/// Puts the digests of the steps' Secrets into the templates of what ichord owns and uses them. With `key` in them nobody can try
/// values out against a digest.
pub fn restart_with_secrets(steps: &mut [Step], key: &[u8]) {
    let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
    for manifest in steps.iter().flat_map(|step| &step.manifests) {
        // what is made once does not change
        if manifest.id.kind == "Secret" && !manifest.once {
            let data = manifest.object["data"].to_string();
            known.insert((namespace(&manifest.id), manifest.id.name.clone()), digest(key, &[&data]));
        }
    }
    for step in steps.iter_mut().filter(|step| step.owner == Owner::Us) {
        for manifest in &mut step.manifests {
            let namespace = namespace(&manifest.id);
            let used: Vec<String> = (used(&manifest.object).into_iter())
                .filter_map(|name| known.get(&(namespace.clone(), name)).cloned())
                .collect();
            if !used.is_empty() {
                let parts: Vec<&str> = used.iter().map(String::as_str).collect();
                manifest.object["spec"]["template"]["metadata"]["annotations"][ANNOTATION] =
                    json!(digest(key, &parts));
            }
        }
    }
}

fn namespace(id: &ObjectId) -> String {
    id.namespace.clone().unwrap_or_else(|| "default".to_owned())
}

fn digest(key: &[u8], parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [key].into_iter().chain(parts.iter().map(|part| part.as_bytes())) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hex::encode(hash.finalize());
    hash.get(..DIGITS).unwrap_or(&hash).to_owned()
}

/// The Secrets that a workload's pods read, in its namespace.
fn used(object: &Value) -> BTreeSet<String> {
    if !object["kind"].as_str().is_some_and(|kind| WORKLOADS.contains(&kind)) {
        return BTreeSet::new();
    }
    let pods = &object["spec"]["template"]["spec"];
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut add = |name: &Value| names.extend(name.as_str().map(str::to_owned));
    for volume in items(&pods["volumes"]) {
        add(&volume["secret"]["secretName"]);
        items(&volume["projected"]["sources"]).iter().for_each(|source| add(&source["secret"]["name"]));
    }
    for container in ["initContainers", "containers"].into_iter().flat_map(|list| items(&pods[list])) {
        items(&container["envFrom"]).iter().for_each(|from| add(&from["secretRef"]["name"]));
        items(&container["env"]).iter().for_each(|one| add(&one["valueFrom"]["secretKeyRef"]["name"]));
    }
    names
}

/// What goes on with the Secrets that were there before these were changed: a line each, with what to do.
pub(crate) async fn stale(client: &Client, written: &[ObjectOutcome]) -> Result<Vec<String>, ApplyError> {
    let mut lines = Vec::new();
    let changed = |outcome: &&ObjectOutcome| {
        outcome.object.kind == "Secret" && matches!(outcome.outcome, Outcome::Changed(_))
    };
    for ObjectOutcome { object: secret, .. } in written.iter().filter(changed) {
        let namespace = namespace(secret);
        for kind in WORKLOADS {
            for mut object in client.list("apps/v1", kind, Some(&namespace), "").await? {
                // the items of a list do not say what they are
                object["kind"] = json!(kind);
                let restarts = !object["spec"]["template"]["metadata"]["annotations"][ANNOTATION].is_null();
                if restarts || !used(&object).contains(&secret.name) {
                    continue;
                }
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                lines.push(format!(
                    "{kind} {namespace}/{name} goes on with what the Secret {} was: `kubectl -n {namespace} rollout restart {}/{name}`",
                    secret.name,
                    kind.to_lowercase()
                ));
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: &str = "
apiVersion: v1
kind: Secret
metadata: {name: credentials, namespace: a}
stringData: {key: VALUE}
---
apiVersion: v1
kind: Secret
metadata: {name: other, namespace: a}
stringData: {key: OTHER}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: connect, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: c}}
  template:
    metadata: {labels: {app: c}}
    spec: {containers: [{name: c, image: i}], volumes: [{name: v, secret: {secretName: credentials}}]}
";

    fn annotation(value: &str, other: &str, namespace: &str, owner: Owner, key: &[u8]) -> Value {
        let text = CONNECT.replace("VALUE", value).replace("OTHER", other).replace("NAMESPACE", namespace);
        let step = Step::parse("connect", &[("connect.yaml".to_owned(), text)]).unwrap();
        let mut steps = [Step { owner, ..step }];
        restart_with_secrets(&mut steps, key);
        let deployment = steps[0].manifests.iter().find(|manifest| manifest.id.kind == "Deployment").unwrap();
        deployment.object["spec"]["template"]["metadata"]["annotations"][ANNOTATION].clone()
    }

    #[test]
    fn a_template_changes_with_the_secret_that_it_names_and_with_no_other() {
        let of = |value, other| annotation(value, other, "a", Owner::Us, b"key");
        let first = of("hunter2", "x");
        assert_eq!(first.as_str().unwrap().len(), DIGITS);
        assert_eq!(of("hunter2", "y"), first);
        assert_ne!(of("hunter3", "x"), first);
        // who does not know the key cannot try values out
        assert_ne!(annotation("hunter2", "x", "a", Owner::Us, b"other"), first);
    }

    #[test]
    fn what_is_gits_or_elsewhere_is_as_it_was() {
        assert_eq!(annotation("hunter2", "x", "a", Owner::Git, b"key"), Value::Null);
        assert_eq!(annotation("hunter2", "x", "b", Owner::Us, b"key"), Value::Null);
    }

    #[test]
    fn pods_read_secrets_in_four_ways() {
        let pods = json!({
            "volumes": [{ "secret": { "secretName": "a" } }, { "projected": { "sources": [{ "secret": { "name": "b" } }, { "configMap": { "name": "x" } }] } }],
            "initContainers": [{ "env": [{ "name": "E", "valueFrom": { "secretKeyRef": { "name": "c" } } }, { "name": "F", "value": "x" }] }],
            "containers": [{ "envFrom": [{ "secretRef": { "name": "d" } }, { "configMapRef": { "name": "x" } }] }],
            "imagePullSecrets": [{ "name": "x" }],
        });
        for (kind, expected) in [("Deployment", vec!["a", "b", "c", "d"]), ("Job", Vec::new())] {
            let object = json!({ "kind": kind, "spec": { "template": { "spec": pods } } });
            assert_eq!(used(&object).into_iter().collect::<Vec<_>>(), expected, "{kind}");
        }
    }
}
