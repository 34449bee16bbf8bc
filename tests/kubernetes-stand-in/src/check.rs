//! What an object must look like before it is stored: the checks that people's manifests fail in practice.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    fields,
    kinds::Kind,
    schema::{Cursor, List},
    status::Status,
};

/// The request's own shape: lists whose elements are told apart by a key must have it, once.
pub(crate) fn typed(value: &Value, at: Cursor<'_>, path: &str) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = format!("{path}.{name}");
                if matches!(
                    path.as_str(),
                    ".metadata.labels" | ".metadata.annotations" | ".data" | ".stringData"
                ) {
                    strings(value, &path)?;
                }
                typed(value, at.field(name), &path)?;
            }
        }
        Value::Array(items) => {
            let list = at.list();
            if let List::Keyed(keys) = &list {
                for (index, item) in items.iter().enumerate() {
                    if let Some(key) =
                        keys.iter().find(|key| **key != "protocol" && item.get(**key).is_none())
                    {
                        return Err(format!(
                            "{path}: element {index}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                        ));
                    }
                }
            }
            let steps = fields::steps(items, list);
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let step = steps.as_ref().and_then(|steps| steps.get(index));
                let shown = match step {
                    Some(step) => fields::printed(std::slice::from_ref(step)),
                    None => format!("[{index}]"),
                };
                if step.is_some_and(|step| !seen.insert(step)) {
                    return Err(format!("{path}: duplicate entries for key {shown}"));
                }
                typed(item, at.item(), &format!("{path}{shown}"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn strings(value: &Value, path: &str) -> Result<(), String> {
    for (name, value) in value.as_object().into_iter().flatten() {
        if !value.is_string() {
            return Err(format!(
                "{path}.{name}: expected string, got &value.valueUnstructured{{Value:{value}}}"
            ));
        }
    }
    Ok(())
}

/// The object as it would be stored.
pub(crate) fn valid(kind: &Kind, live: Option<&Value>, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let invalid =
        |field: &str, message: &str| Err(Status::invalid(&kind.kind, &kind.group, name, field, message));
    let immutable = |field: &str, pointer: &str| match live {
        Some(live) if live.pointer(pointer) != object.pointer(pointer) => {
            let wanted = object.pointer(pointer).unwrap_or(&Value::Null);
            invalid(field, &format!("Invalid value: {wanted}: field is immutable"))
        }
        _ => Ok(()),
    };

    let named_freely = kind.group == "rbac.authorization.k8s.io";
    if !named_freely && !subdomain(name, kind.kind == "Namespace") {
        let message = format!(
            "Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        );
        return invalid("metadata.name", &message);
    }
    let spec = &object["spec"];
    match kind.kind.as_str() {
        "Deployment" | "DaemonSet" => {
            let selector = &spec["selector"]["matchLabels"];
            if selector.as_object().is_none_or(serde_json::Map::is_empty) {
                return invalid("spec.selector", "Required value");
            }
            let labels = &spec["template"]["metadata"]["labels"];
            if selector.as_object().into_iter().flatten().any(|(label, value)| labels[label] != *value) {
                let message = "Invalid value: `selector` does not match template `labels`";
                return invalid("spec.template.metadata.labels", message);
            }
            if spec["template"]["spec"]["containers"].as_array().is_none_or(Vec::is_empty) {
                return invalid("spec.template.spec.containers", "Required value");
            }
            immutable("spec.selector", "/spec/selector")
        }
        "Secret" => {
            for (key, value) in object["data"].as_object().into_iter().flatten() {
                if BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).is_err() {
                    return Err(Status::bad_request(format!(
                        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data in data.{key}"
                    )));
                }
            }
            immutable("type", "/type")
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            if !object["roleRef"].is_object() {
                return invalid("roleRef", "Required value");
            }
            if live.is_some_and(|live| live["roleRef"] != object["roleRef"]) {
                let role = &object["roleRef"];
                // The names that the server has for them itself.
                let shown =
                    json!({ "APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"] });
                return invalid("roleRef", &format!("Invalid value: {shown}: cannot change roleRef"));
            }
            Ok(())
        }
        "CustomResourceDefinition" => {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if name != format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"])) {
                let message = format!("Invalid value: {name:?}: must be spec.names.plural+\".\"+spec.group");
                return invalid("metadata.name", &message);
            }
            if !matches!(spec["scope"].as_str(), Some("Cluster" | "Namespaced")) {
                return invalid("spec.scope", "Required value");
            }
            let versions = spec["versions"].as_array().into_iter().flatten();
            if versions.filter(|version| version["storage"] == true).count() != 1 {
                let message = "Invalid value: must have exactly one version marked as storage version";
                return invalid("spec.versions", message);
            }
            immutable("spec.scope", "/spec/scope")
        }
        _ => Ok(()),
    }
}

fn subdomain(name: &str, label: bool) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    name.len() <= if label { 63 } else { 253 } && name.split('.').all(part) && !(label && name.contains('.'))
}

/// The values the server fills in itself. `serial` makes addresses different.
pub(crate) fn complete(kind: &Kind, object: &mut Value, serial: u64) {
    match kind.kind.as_str() {
        "Namespace" => {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = object["metadata"]["name"].clone();
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = json!("Active");
        }
        "Secret" if object["type"].is_null() => object["type"] = json!("Opaque"),
        "Service" => {
            if object["spec"]["type"].is_null() {
                object["spec"]["type"] = json!("ClusterIP");
            }
            if object["spec"]["clusterIP"].is_null() && object["spec"]["type"] != "ExternalName" {
                object["spec"]["clusterIP"] =
                    json!(format!("10.96.{}.{}", serial / 250 % 250, serial % 250 + 1));
            }
        }
        "Deployment" if object["spec"]["replicas"].is_null() => object["spec"]["replicas"] = json!(1),
        _ => {}
    }
}

/// Moves a Secret's `stringData` into `data`, as the server does on every write.
pub(crate) fn string_data(kind: &Kind, object: &mut Value) {
    if kind.kind != "Secret" {
        return;
    }
    let Some(Value::Object(texts)) =
        object.as_object_mut().and_then(|object| object.shift_remove("stringData"))
    else {
        return;
    };
    for (name, text) in texts {
        object["data"][name] = json!(BASE64_STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}
