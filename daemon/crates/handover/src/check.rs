//! What is wrong with a manifest before the API server sees it, told at its line.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use document::{Findings, Place};
use kubernetes::{ObjectError, ObjectId};
use serde_json::Value;

/// Which object it is, or a finding.
pub(crate) fn identity(place: Place<'_>, object: &Value, findings: &mut Findings) -> Option<ObjectId> {
    let finding = match ObjectId::try_from(object) {
        Ok(id) => return Some(id),
        Err(ObjectError::Missing("metadata.name")) if !object["metadata"]["generateName"].is_null() => place
            .key("metadata")
            .name("generateName")
            .error("manifest-name", "an object with a generated name would be created anew in every run")
            .fix("give it a `name`"),
        Err(error @ ObjectError::Missing(_)) => place
            .error("manifest", format!("this is not a Kubernetes object: {error}"))
            .fix("complete it, or take it out"),
        Err(error @ ObjectError::Unsafe { field: "apiVersion", .. }) => {
            place.key("apiVersion").error("manifest", error.to_string()).fix("write it as `apps/v1`")
        }
        Err(error @ ObjectError::Unsafe { field, .. }) => {
            let key = field.trim_start_matches("metadata.");
            let place = place.key("metadata").key(key);
            place.error("manifest-name", error.to_string()).fix("use letters, digits, `-` and `.`")
        }
    };
    findings.push(finding);
    None
}

/// What people get wrong in the object itself.
pub(crate) fn contents(place: Place<'_>, id: &ObjectId, findings: &mut Findings) {
    if place.node().is_some_and(|node| node.get("sops").is_some()) {
        let finding = place.name("sops").error("manifest-encrypted", format!("{id} is encrypted with SOPS"));
        findings.push(finding.fix("decrypt it for the hand-over, and leave the encrypted one to Git"));
        return;
    }
    let metadata = place.key("metadata");
    texts(metadata.key("labels"), "a label", findings);
    texts(metadata.key("annotations"), "an annotation", findings);
    match id.kind.as_str() {
        "ConfigMap" => texts(place.key("data"), "a value of a ConfigMap", findings),
        "Secret" => {
            texts(place.key("stringData"), "a value of a Secret", findings);
            base64(place.key("data"), findings);
        }
        _ => {}
    }
}

/// `enabled: true` is not text to YAML; the API server refuses it.
fn texts(place: Place<'_>, what: &str, findings: &mut Findings) {
    for entry in place.node().map(document::Node::entries).unwrap_or_default() {
        if !matches!(entry.node.value, document::Value::Text(..) | document::Value::Null) {
            let message = format!("{what} must be text, `{}` is not", entry.key);
            findings.push(place.key(&entry.key).error("manifest-text", message).fix("put it in quotes"));
        }
    }
}

fn base64(place: Place<'_>, findings: &mut Findings) {
    for entry in place.node().map(document::Node::entries).unwrap_or_default() {
        let text = entry.node.text().unwrap_or_default();
        // Never the value: it is meant to be secret.
        if BASE64_STANDARD.decode(text).is_err() {
            let message = format!("the value of `{}` is not base64", entry.key);
            let finding = place.key(&entry.key).error("manifest-base64", message);
            findings.push(finding.fix("encode it, or write it under `stringData`"));
        }
    }
}
