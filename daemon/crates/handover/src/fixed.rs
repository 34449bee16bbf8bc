//! What the API server never lets anybody change. An object that differs there can only be deleted and made anew: of a network
//! plugin that is the end of the network, and where Flux tries, its upgrade fails for ever.

use std::fmt;

use futures_util::{StreamExt as _, stream};
use kubernetes::{ApplyError, Client, RequestError};
use serde_json::Value;

use crate::{
    error::{Cause, Fault, StepError},
    git,
    manifest::{Manifest, Owner, Step},
};

/// How many objects are asked about at the same time.
const AT_ONCE: usize = 8;

/// More of a value nobody reads.
const SHOWN: usize = 200;

/// A field that cannot be changed and differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedField {
    /// where: `.spec.selector`
    pub path: String,
    /// what is there and what is wanted; `None` where that may be secret
    pub values: Option<(String, String)>,
}

impl fmt::Display for FixedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Some((live, wanted)) => write!(f, "{} is {live}, and {wanted} is wanted", self.path),
            None => write!(f, "{} is another one", self.path),
        }
    }
}

/// How a field is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// all of it: nothing is filled in by the server
    Whole,
    /// what is wanted of it: the server fills in the rest
    Given,
}

/// The fields of the kinds that hand-overs bring. The server's own word for each is `field is immutable`, or one like it.
const FIELDS: [(&str, &str, How); 18] = [
    ("Deployment", "spec.selector", How::Whole),
    ("DaemonSet", "spec.selector", How::Whole),
    ("ReplicaSet", "spec.selector", How::Whole),
    ("StatefulSet", "spec.selector", How::Whole),
    ("StatefulSet", "spec.serviceName", How::Given),
    ("StatefulSet", "spec.podManagementPolicy", How::Given),
    ("Service", "spec.clusterIP", How::Given),
    ("Service", "spec.clusterIPs", How::Given),
    ("RoleBinding", "roleRef", How::Given),
    ("ClusterRoleBinding", "roleRef", How::Given),
    ("StorageClass", "provisioner", How::Given),
    ("StorageClass", "parameters", How::Given),
    ("StorageClass", "reclaimPolicy", How::Given),
    ("StorageClass", "volumeBindingMode", How::Given),
    ("PriorityClass", "value", How::Given),
    ("IngressClass", "spec.controller", How::Given),
    ("CustomResourceDefinition", "spec.scope", How::Given),
    ("Secret", "type", How::Given),
];

/// Where almost nothing can be changed, and much is filled in and written in another way: only the server can tell.
const ASKED: [&str; 2] = ["Job", "PersistentVolumeClaim"];

/// What both of these have when they say so.
const IMMUTABLE: [&str; 2] = ["ConfigMap", "Secret"];

/// What differs between an object and what it is to become, and cannot be changed.
pub fn fixed(live: &Value, wanted: &Value) -> Vec<FixedField> {
    let kind = wanted["kind"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for (_, field, how) in FIELDS.iter().filter(|(of, ..)| *of == kind) {
        let pointer = format!("/{}", field.replace('.', "/"));
        let null = Value::Null;
        let (live, wanted) =
            (live.pointer(&pointer).unwrap_or(&null), wanted.pointer(&pointer).unwrap_or(&null));
        // an address that is left to the server may be any
        let left_open = wanted.is_null() || *wanted == "";
        let same = match how {
            How::Whole => live == wanted,
            How::Given => left_open || given(live, wanted),
        };
        if !same {
            found.push(FixedField { path: format!(".{field}"), values: Some((shown(live), shown(wanted))) });
        }
    }
    if IMMUTABLE.contains(&kind) && live["immutable"] == true {
        let different = |field: &str| !wanted[field].is_null() && live[field] != wanted[field];
        let fields = ["data", "binaryData"].into_iter().filter(|field| different(field));
        found.extend(fields.map(|field| FixedField { path: format!(".{field}"), values: None }));
    }
    found
}

/// Whether everything that is wanted is there.
fn given(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| given(live, wanted)))
        }
        _ => live == wanted,
    }
}

/// The fields below which a tree has not what is wanted of it; never values.
fn missing(live: &Value, wanted: &Value, path: &str, found: &mut Vec<FixedField>) {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                missing(live.get(key).unwrap_or(&Value::Null), wanted, &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => {
            for (index, (live, wanted)) in live.iter().zip(wanted).enumerate() {
                missing(live, wanted, &format!("{path}[{index}]"), found);
            }
        }
        _ if live == wanted => {}
        _ => found.push(FixedField { path: path.to_owned(), values: None }),
    }
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        return "not there".to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn is_fixed(kind: &str) -> bool {
    FIELDS.iter().any(|(of, ..)| *of == kind) || ASKED.contains(&kind) || IMMUTABLE.contains(&kind)
}

/// Looks at everything of a step that cannot be changed, before any of it is written.
pub(crate) async fn refuse(client: &Client, step: &Step) -> Result<(), StepError> {
    let manifests = step.manifests.iter().filter(|manifest| !manifest.once && is_fixed(&manifest.id.kind));
    let looks: Vec<_> = manifests.map(|manifest| one(client, step, manifest)).collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    let mut faults = Vec::new();
    while let Some((manifest, found)) = looks.next().await {
        let cause = match found {
            Ok(fields) if fields.is_empty() => continue,
            Ok(fields) => Cause::Fixed(fields),
            Err(error) => Cause::Apply(error),
        };
        let (object, file) = (manifest.id.clone(), manifest.file.clone());
        faults.push(Fault { object, file, line: manifest.line, cause });
    }
    if faults.is_empty() { Ok(()) } else { Err(StepError::new(&step.name, faults)) }
}

async fn one<'a>(
    client: &Client,
    step: &Step,
    manifest: &'a Manifest,
) -> (&'a Manifest, Result<Vec<FixedField>, ApplyError>) {
    let live = match client.object(&manifest.id).await {
        Ok(Some(live)) => live,
        Ok(None) | Err(ApplyError::UnknownKind { .. }) => return (manifest, Ok(Vec::new())),
        Err(error) => return (manifest, Err(error)),
    };
    // what Git has adopted is only looked at
    let of_git = step.owner == Owner::Git && git::owner(&live).is_some();
    (manifest, if of_git { Ok(Vec::new()) } else { of(client, &live, manifest).await })
}

/// What of a live object cannot become as it is written.
pub(crate) async fn of(
    client: &Client,
    live: &Value,
    manifest: &Manifest,
) -> Result<Vec<FixedField>, ApplyError> {
    if !ASKED.contains(&manifest.id.kind.as_str()) {
        return Ok(fixed(live, &manifest.object));
    }
    match client.apply_over(Some(live), &manifest.object, true).await {
        Err(ApplyError::Request(RequestError::Refused { code: 422, .. })) => {
            let mut found = Vec::new();
            missing(&live["spec"], &manifest.object["spec"], ".spec", &mut found);
            let unnamed = || vec![FixedField { path: ".spec".to_owned(), values: None }];
            Ok(if found.is_empty() { unnamed() } else { found })
        }
        // conflicts and refusals of other kinds are told when it is its turn
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(live: Value, wanted: Value) -> Vec<String> {
        fixed(&live, &wanted).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_selector_is_compared_whole_and_the_rest_as_far_as_it_is_wanted() {
        let workload =
            |kind: &str, selector: Value| json!({ "kind": kind, "spec": { "selector": selector } });
        let old = json!({ "matchLabels": { "k8s-app": "kube-dns" } });
        let new =
            json!({ "matchLabels": { "k8s-app": "kube-dns", "app.kubernetes.io/instance": "coredns" } });
        for kind in ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"] {
            assert_eq!(
                told(workload(kind, old.clone()), workload(kind, new.clone())),
                [
                    r#".spec.selector is {"matchLabels":{"k8s-app":"kube-dns"}}, and {"matchLabels":{"k8s-app":"kube-dns","app.kubernetes.io/instance":"coredns"}} is wanted"#
                ]
            );
            assert_eq!(told(workload(kind, old.clone()), workload(kind, old.clone())), [""; 0]);
        }
        let service = |spec: Value| json!({ "kind": "Service", "spec": spec });
        let live = service(json!({ "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"] }));
        assert_eq!(told(live.clone(), service(json!({ "clusterIP": "" }))), [""; 0]);
        assert_eq!(told(live.clone(), service(json!({ "ports": [] }))), [""; 0]);
        assert_eq!(
            told(live, service(json!({ "clusterIP": "None" }))),
            [r#".spec.clusterIP is "10.96.0.10", and "None" is wanted"#]
        );
        let binding = |name: &str, group: Value| json!({ "kind": "RoleBinding", "roleRef": { "apiGroup": group, "name": name } });
        let (group, filled_in) = (
            json!("rbac.authorization.k8s.io"),
            json!({ "kind": "RoleBinding", "roleRef": { "name": "a" } }),
        );
        assert_eq!(told(binding("a", group.clone()), filled_in), [""; 0]);
        assert_eq!(told(binding("a", group.clone()), binding("b", group)).len(), 1);
    }

    #[test]
    fn secret_values_are_named_and_not_shown() {
        let secret = |value: &str, immutable: bool| json!({ "kind": "Secret", "type": "Opaque", "immutable": immutable, "data": { "a": value } });
        assert_eq!(told(secret("aHVudGVyMg==", true), secret("eA==", true)), [".data is another one"]);
        assert_eq!(told(secret("aHVudGVyMg==", false), secret("eA==", false)), [""; 0]);
        let mut found = Vec::new();
        let template = |value: &str| json!({ "template": { "containers": [{ "name": "a", "env": [{ "name": "P", "value": value }] }] } });
        let mut live = template("hunter2");
        live["template"]["containers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
        missing(&live, &template("other"), ".spec", &mut found);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told, [".spec.template.containers[0].env[0].value is another one"]);
    }
}
