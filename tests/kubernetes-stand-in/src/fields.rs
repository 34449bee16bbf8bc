//! Sets of fields, and who manages them: the `FieldsV1` form of `metadata.managedFields`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::schema::{Cursor, List};

/// One step of a path, in the words of FieldsV1: `f:name`, `k:{"name":"x"}` or `v:"x"`.
pub(crate) type Step = String;
/// A path from the object's root.
pub(crate) type Path = Vec<Step>;
/// Paths that are managed.
pub(crate) type Fields = BTreeSet<Path>;

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    /// `Apply` or `Update`.
    pub(crate) operation: &'static str,
    pub(crate) subresource: Option<&'static str>,
    pub(crate) api_version: String,
    /// RFC 3339; when the set of fields or a value in it changed last.
    pub(crate) time: String,
    pub(crate) fields: Fields,
}

impl Manager {
    /// How conflicts name the manager.
    pub(crate) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.name);
        if let Some(subresource) = self.subresource {
            shown += &format!(" with subresource {subresource:?}");
        }
        if self.operation == "Update" {
            shown += &format!(" using {} at {}", self.api_version, self.time);
        }
        shown
    }

    pub(crate) fn entry(&self) -> Value {
        let mut entry = json!({
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_v1(&self.fields),
        });
        if let Some(subresource) = self.subresource {
            entry["subresource"] = json!(subresource);
        }
        entry
    }
}

fn fields_v1(fields: &Fields) -> Value {
    fn insert(tree: &mut Map<String, Value>, path: &[Step], deeper: bool) {
        let Some((step, rest)) = path.split_first() else {
            // A member that has members below it says so with a dot.
            if deeper {
                tree.insert(".".to_owned(), json!({}));
            }
            return;
        };
        let child = tree.entry(step.clone()).or_insert_with(|| json!({}));
        if let Value::Object(child) = child {
            insert(child, rest, deeper);
        }
    }
    let mut tree = Map::new();
    for path in fields {
        // Paths sort parents first, so the next one tells whether this one has children.
        let deeper = fields.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
        insert(&mut tree, path, deeper);
    }
    Value::Object(tree)
}

/// The fields an applied object speaks about.
pub(crate) fn of(object: &Value, custom: Option<&Value>) -> Fields {
    let mut fields = Fields::new();
    collect(object, Cursor::root(custom), &mut Vec::new(), &mut fields);
    // What identifies the object is nobody's field.
    fields.retain(|path| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        !matches!(
            path.as_slice(),
            ["f:apiVersion" | "f:kind" | "f:metadata"]
                | [
                    "f:metadata",
                    "f:name"
                        | "f:namespace"
                        | "f:uid"
                        | "f:resourceVersion"
                        | "f:creationTimestamp"
                        | "f:generation"
                ]
        )
    });
    fields
}

fn collect(value: &Value, at: Cursor<'_>, path: &mut Path, fields: &mut Fields) {
    match value {
        Value::Object(map) if !at.atomic_mapping() && !map.is_empty() => {
            for (name, value) in map {
                path.push(format!("f:{name}"));
                collect(value, at.field(name), path, fields);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => match steps(items, at.list()) {
            None => {
                fields.insert(path.clone());
            }
            Some(steps) => {
                for (item, step) in items.iter().zip(steps) {
                    path.push(step);
                    fields.insert(path.clone());
                    if item.is_object() {
                        collect(item, at.item(), path, fields);
                    }
                    path.pop();
                }
            }
        },
        _ => {
            fields.insert(path.clone());
        }
    }
}

/// The steps that lead to the elements of a list; `None` when the list is one field as a whole.
pub(crate) fn steps(items: &[Value], list: List<'_>) -> Option<Vec<Step>> {
    match list {
        List::Atomic => None,
        List::Set => Some(items.iter().map(|item| format!("v:{item}")).collect()),
        List::Keyed(keys) => Some(items.iter().map(|item| format!("k:{}", key(item, &keys))).collect()),
    }
}

fn key(item: &Value, keys: &[&str]) -> Value {
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let value = |name: &&str| match item.get(*name) {
        Some(value) => Some(((*name).to_owned(), value.clone())),
        // The one key that has a default.
        None if *name == "protocol" => Some(((*name).to_owned(), json!("TCP"))),
        None => None,
    };
    Value::Object(sorted.iter().filter_map(value).collect())
}

/// The value at a path. An element of a list is found by its step.
pub(crate) fn find<'a>(object: &'a Value, path: &[Step], at: Cursor<'a>) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(object) };
    match (step.strip_prefix("f:"), object) {
        (Some(name), Value::Object(map)) => {
            let (name, value) = map.get_key_value(name)?;
            find(value, rest, at.field(name))
        }
        (None, Value::Array(items)) => {
            let index = steps(items, at.list())?.iter().position(|found| found == step)?;
            find(items.get(index)?, rest, at.item())
        }
        _ => None,
    }
}

/// Where a path leads in the schema.
pub(crate) fn cursor<'a>(path: &'a [Step], at: Cursor<'a>) -> Cursor<'a> {
    path.iter().fold(at, |at, step| match step.strip_prefix("f:") {
        Some(name) => at.field(name),
        None => at.item(),
    })
}

/// How conflicts print a path: `.spec.template.spec.containers[name="app"].image`.
pub(crate) fn printed(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step.split_once(':') {
            Some(("f", name)) => format!(".{name}"),
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            Some(("v", value)) => format!("[={value}]"),
            _ => step.clone(),
        })
        .collect()
}
