//! Which fields of an object are ours, and how they become somebody else's.
//!
//! Two managers that both own a field keep it for ever: when Git drops the field, ours would hold it. So what Flux has
//! adopted gets our fields as well, by the same merge that kustomize-controller does for kubectl's. Applying an empty
//! object would do the opposite: it deletes what only we own.

use kubernetes::FIELD_MANAGER;
use serde_json::{Value, json};

use crate::git;

/// A JSON Patch that gives our fields to the adopter, guarded by the object's version; nothing when we own nothing
/// there or nobody has adopted it.
pub(crate) fn handed_over(object: &Value) -> Option<Value> {
    let version = object["metadata"]["resourceVersion"].as_str()?;
    let entries = object["metadata"]["managedFields"].as_array()?;
    let is_apply = |entry: &&Value| {
        entry["operation"] == "Apply" && entry["subresource"].as_str().is_none_or(str::is_empty)
    };
    let is_ours = |entry: &Value| is_apply(&entry) && entry["manager"] == FIELD_MANAGER;
    let ours = entries.iter().find(|entry| is_ours(entry))?;
    let adopter = entries
        .iter()
        .filter(is_apply)
        .find(|entry| entry["manager"].as_str().is_some_and(|name| git::MANAGERS.contains(&name)))?;
    // sets of fields of different versions cannot be merged; then ours only end
    let merge = adopter["apiVersion"] == ours["apiVersion"];
    let entries: Vec<Value> = (entries.iter())
        .filter(|entry| !is_ours(entry))
        .map(|entry| {
            let mut entry = entry.clone();
            if merge && entry["manager"] == adopter["manager"] && is_apply(&&entry) {
                union(&mut entry["fieldsV1"], &ours["fieldsV1"]);
            }
            entry
        })
        .collect();
    Some(json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": version },
        { "op": "replace", "path": "/metadata/managedFields", "value": entries },
    ]))
}

/// The union of two sets of fields, which are trees of keys.
fn union(set: &mut Value, other: &Value) {
    let Some(other) = other.as_object() else { return };
    if !set.is_object() {
        *set = json!({});
    }
    for (key, below) in other {
        union(&mut set[key.as_str()], below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({ "manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields })
    }

    fn object(entries: Value) -> Value {
        json!({ "metadata": { "resourceVersion": "7", "managedFields": entries } })
    }

    #[test]
    fn our_fields_become_the_adopters() {
        let ours = entry("ichord", "Apply", json!({ "f:data": { "f:a": {}, "f:b": {} } }));
        let flux = entry("helm-controller", "Apply", json!({ "f:data": { "f:a": {}, "f:c": {} } }));
        let other = entry("kubelet", "Update", json!({ "f:status": {} }));
        let patch = handed_over(&object(json!([ours, flux, other]))).unwrap();
        assert_eq!(patch[0]["value"], "7");
        let merged =
            entry("helm-controller", "Apply", json!({ "f:data": { "f:a": {}, "f:c": {}, "f:b": {} } }));
        assert_eq!(patch[1]["value"], json!([merged, other]));
    }

    #[test]
    fn nothing_is_handed_to_nobody() {
        let ours = entry("ichord", "Apply", json!({ "f:data": {} }));
        for entries in [
            json!([ours]),
            json!([ours, entry("helm-controller", "Update", json!({}))]),
            json!([ours, entry("kubectl", "Apply", json!({}))]),
            json!([entry("helm-controller", "Apply", json!({}))]),
        ] {
            assert_eq!(handed_over(&object(entries.clone())), None, "{entries}");
        }
    }
}
