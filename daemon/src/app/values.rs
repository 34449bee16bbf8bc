//! The values of a HelmRelease as helm-controller puts them together: those of ConfigMaps in their order, then its own.

use document::{Document, Findings, Place};
use serde_json::{Map, Value};

/// The key that helm-controller reads where a reference names none.
const KEY: &str = "values.yaml";

/// Values, and the texts that they come from beside the release's own.
pub(super) struct Values {
    pub(super) merged: Map<String, Value>,
    pub(super) texts: Vec<Document>,
}

/// Puts them together from the release and the objects of the files beside it; `None` when some cannot be had.
pub(super) fn of(
    place: Place<'_>,
    release: &Value,
    objects: &[Value],
    findings: &mut Findings,
) -> Option<Values> {
    let before = findings.errors();
    let mut values = Values { merged: Map::new(), texts: Vec::new() };
    let spec = &release["spec"];
    for (index, reference) in spec["valuesFrom"].as_array().into_iter().flatten().enumerate() {
        let place = place.key("spec").key("valuesFrom").item(index);
        let text = |field: &str| reference[field].as_str();
        let (kind, name) = (text("kind").unwrap_or_default(), text("name").unwrap_or_default());
        let mut wrong = |message: String, fix: &str| {
            findings.push(place.error("release-values", message).fix(fix));
        };
        if kind != "ConfigMap" {
            wrong(
                format!("the values of the {kind} {name} would stand open in what is rendered and recorded"),
                "keep them in a Secret that the chart refers to, and write the others into a ConfigMap",
            );
            continue;
        }
        if text("targetPath").is_some() {
            wrong("a single value from a ConfigMap is not read".to_owned(), "write it under `values`");
            continue;
        }
        let key = text("valuesKey").unwrap_or(KEY);
        let is_meant = |object: &&Value| {
            let metadata = &object["metadata"];
            let namespace = &metadata["namespace"];
            object["kind"] == "ConfigMap"
                && metadata["name"] == name
                && (namespace.is_null() || *namespace == release["metadata"]["namespace"])
        };
        let found = objects.iter().find(is_meant).and_then(|object| object["data"][key].as_str());
        let Some(found) = found else {
            if reference["optional"] != true {
                wrong(
                    format!("there is no ConfigMap {name} with the key {key} among the files of this chart"),
                    "add the file that has it to `repositories:`",
                );
            }
            continue;
        };
        match Document::parse_stream(&format!("{key} of the ConfigMap {name}"), found) {
            Ok(documents) => {
                for document in documents {
                    merge(&mut values.merged, &document.root().to_json());
                    values.texts.push(document);
                }
            }
            Err(finding) => findings.push(finding),
        }
    }
    merge(&mut values.merged, &spec["values"]);
    (findings.errors() == before).then_some(values)
}

/// Later values win; mappings are put together key by key.
fn merge(values: &mut Map<String, Value>, later: &Value) {
    for (key, later) in later.as_object().into_iter().flatten() {
        match (values.get_mut(key), later) {
            (Some(Value::Object(values)), Value::Object(_)) => merge(values, later),
            _ => {
                values.insert(key.clone(), later.clone());
            }
        }
    }
}
