//! Values that are handed on to Talos: read with the types Talos reads them with.
//!
//! A key such a type does not have has no effect in talhelper; here it is left out and warned about. What is written as a
//! number where a text belongs keeps its spelling.

use document::{Findings, Place, nearest};
use serde_json::Value;

use crate::schema::{self, Shape};

/// The value at a place, for a key of a Go struct. `None` when nothing is written there, or the struct has no such key.
pub(super) fn typed(place: Place<'_>, name: &str, key: &str, findings: &mut Findings) -> Option<Value> {
    let written = place.node().and_then(|node| node.get(key)).filter(|node| !node.is_null())?;
    match schema::fields(name).get(key) {
        Some(field) => {
            let value = schema::value(written, &field.shape);
            Some(known(value, &field.shape, place.key(key), findings))
        }
        None => {
            unknown(place, key, schema::fields(name).keys().map(String::as_str), findings);
            None
        }
    }
}

fn known(value: Value, shape: &'static Shape, place: Place<'_>, findings: &mut Findings) -> Value {
    match (shape, value) {
        (Shape::Pointer(inner), value) => known(value, inner, place, findings),
        (Shape::Struct { name, .. }, Value::Object(map)) => {
            let fields = schema::fields(name);
            let mut kept = serde_json::Map::new();
            for (key, value) in map {
                match fields.get(&key) {
                    Some(field) => {
                        let value = known(value, &field.shape, place.key(&key), findings);
                        kept.insert(key, value);
                    }
                    None => unknown(place, &key, fields.keys().map(String::as_str), findings),
                }
            }
            Value::Object(kept)
        }
        (Shape::Map(inner), Value::Object(map)) => {
            let entries = map.into_iter();
            let entries = entries.map(|(key, value)| {
                let value = known(value, inner, place.key(&key), findings);
                (key, value)
            });
            Value::Object(entries.collect())
        }
        (Shape::List { element, .. }, Value::Array(items)) => {
            let items = items.into_iter().enumerate();
            items.map(|(at, item)| known(item, element, place.item(at), findings)).collect()
        }
        (_, value) => value,
    }
}

fn unknown<'a>(place: Place<'_>, key: &str, known: impl Iterator<Item = &'a str>, findings: &mut Findings) {
    let finding = place.name(key).warning("key-unknown", format!("unknown key `{key}` has no effect"));
    // the document's own head is not written in talconfig
    let known: Vec<&str> = known.filter(|key| !["apiVersion", "kind"].contains(key)).collect();
    findings.push(match nearest(key, known.iter().copied()) {
        Some(meant) => finding.fix(format!("did you mean `{meant}`?")),
        None => finding.fix(format!("remove it; the keys known here are {}", known.join(", "))),
    });
}
