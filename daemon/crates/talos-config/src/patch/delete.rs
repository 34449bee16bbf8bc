//! `$patch: delete`: what a patch takes away before it adds anything (talos.md §4.1 rule 7).

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::{self, Shape};

/// One thing to delete in a document.
#[derive(Clone, PartialEq)]
pub(super) struct Deletion {
    path: Vec<Step>,
    /// In a list: the first element that has this text under this key.
    element: Option<(String, String)>,
}

#[derive(Clone, PartialEq)]
enum Step {
    Key(String),
    /// Some element of a list.
    Element,
}

/// What was to be deleted is not there.
#[derive(Debug, PartialEq)]
pub(super) struct Nothing;

/// Takes the deletions out of a patch document. The second value says whether there is anything left to merge.
pub(super) fn take(document: &mut Value) -> Result<(Vec<Deletion>, bool), PatchError> {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (!text("apiVersion").is_empty(), !text("kind").is_empty());
    let mut found = Vec::new();
    let gone = walk(document, &mut Vec::new(), false, &mut found)?;
    for deletion in &found {
        let reason = match (deletion.path.is_empty(), api_version, kind) {
            (true, false, _) | (true, _, false) => "the main document cannot be deleted",
            (false, true, false) | (false, false, true) => "`apiVersion` and `kind` must both be there",
            _ => continue,
        };
        return Err(deletion.refused(reason));
    }
    let rest = document.as_object().is_some_and(|map| !is_bare(map));
    Ok((found, rest && !gone))
}

/// Whether a document only says what it is, so that there is nothing to merge.
fn is_bare(map: &Map<String, Value>) -> bool {
    map.iter().all(|(key, value)| {
        matches!(key.as_str(), "version" | "kind" | "name")
            && !matches!(value, Value::Object(_) | Value::Array(_))
    })
}

/// Finds deletions below a value; says whether the value itself goes away, because it is deleted or nothing is left of it.
fn walk(
    value: &mut Value,
    path: &mut Vec<Step>,
    in_list: bool,
    found: &mut Vec<Deletion>,
) -> Result<bool, PatchError> {
    match value {
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            for key in keys {
                let Some(child) = map.get_mut(&key) else { continue };
                if is_marker(&key, child) {
                    let deletion = Deletion { path: path.clone(), element: None };
                    found.push(match in_list {
                        true => Deletion { element: Some(selector(map, &deletion)?), ..deletion },
                        false if path.contains(&Step::Element) => {
                            let reason = "a part of a list's element cannot be deleted, only the element";
                            return Err(deletion.refused(reason));
                        }
                        false => deletion,
                    });
                    return Ok(true);
                }
                path.push(Step::Key(key.clone()));
                let gone = walk(child, path, false, found)?;
                path.pop();
                if gone {
                    map.shift_remove(&key);
                    if map.is_empty() {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        }
        Value::Array(items) => {
            let mut at = 0;
            while let Some(item) = items.get_mut(at) {
                path.push(Step::Element);
                let gone = walk(item, path, true, found)?;
                path.pop();
                if gone {
                    items.remove(at);
                    if items.is_empty() {
                        return Ok(true);
                    }
                } else {
                    at += 1;
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

fn is_marker(key: &str, value: &Value) -> bool {
    key == "$patch" && value == "delete"
}

/// The first other key of an element and its text.
fn selector(element: &Map<String, Value>, deletion: &Deletion) -> Result<(String, String), PatchError> {
    let Some((key, value)) = element.iter().find(|(key, value)| !is_marker(key, value)) else {
        let reason = "which element? give one of its keys and values";
        return Err(deletion.refused(reason));
    };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) | Value::Null => String::new(),
        other => other.to_string(),
    };
    Ok((key.clone(), text))
}

impl Deletion {
    /// Whether the whole document goes away.
    pub(super) fn is_document(&self) -> bool {
        self.path.is_empty()
    }

    fn refused(&self, reason: &'static str) -> PatchError {
        let path = if self.is_document() { "the top".to_owned() } else { format!("`{}`", self.path()) };
        PatchError::Deletion { path, reason }
    }

    /// The keys that lead to the place, for a message.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.extend([".", key]),
                Step::Element => {}
            }
        }
        if let Some((key, value)) = &self.element {
            path.extend(["[", key, ": ", value, "]"]);
        }
        path
    }

    /// Deletes in a document.
    pub(super) fn apply(&self, document: &mut Value, shape: &Shape) -> Result<(), Nothing> {
        self.within(Some(document), shape, &self.path)
    }

    fn within(&self, place: Option<&mut Value>, shape: &Shape, path: &[Step]) -> Result<(), Nothing> {
        let place = place.filter(|place| !place.is_null());
        let Some((step, rest)) = path.split_first() else { return Err(Nothing) };
        match (shape, step) {
            (Shape::Pointer(inner), _) => self.within(Some(place.ok_or(Nothing)?), inner, path),
            (Shape::Struct { name, .. }, Step::Key(key)) => {
                let map = place.and_then(Value::as_object_mut);
                let Some(field) = schema::fields(name).get(key) else {
                    return map.and_then(|map| map.shift_remove(key)).map(drop).ok_or(Nothing);
                };
                if rest.is_empty() {
                    // a field always exists in Go, whether it is set or not
                    map.map(|map| map.shift_remove(key));
                    return Ok(());
                }
                self.within(map.and_then(|map| map.get_mut(key)), &field.shape, rest)
            }
            (Shape::Map(_) | Shape::Any | Shape::Unknown, Step::Key(key)) => {
                let map = place.and_then(Value::as_object_mut).ok_or(Nothing)?;
                if rest.is_empty() {
                    return match map.shift_remove(key) {
                        Some(_) => Ok(()),
                        None if *shape == Shape::Unknown => Ok(()),
                        None => Err(Nothing),
                    };
                }
                let inner = if let Shape::Map(inner) = shape { inner } else { shape };
                self.within(Some(map.get_mut(key).ok_or(Nothing)?), inner, rest)
            }
            (Shape::List { element, .. }, Step::Element) if rest.is_empty() => self.element(place, element),
            (Shape::Unknown, Step::Element) if rest.is_empty() => self.element(place, shape),
            _ => Err(Nothing),
        }
    }

    /// Deletes the first element of a list that has the text.
    fn element(&self, place: Option<&mut Value>, shape: &Shape) -> Result<(), Nothing> {
        let (Some(Value::Array(items)), Some((key, text))) = (place, &self.element) else {
            return Err(Nothing);
        };
        let mut shape = shape;
        while let Shape::Pointer(inner) = shape {
            shape = inner;
        }
        let comparable = match shape {
            Shape::Unknown => true,
            Shape::Struct { name, .. } => {
                schema::fields(name).get(key).is_some_and(|field| is_text(&field.shape))
            }
            _ => false,
        };
        let found =
            items.iter().position(|item| item.get(key).and_then(Value::as_str).unwrap_or_default() == text);
        match found {
            Some(at) if comparable => {
                items.remove(at);
                Ok(())
            }
            _ => Err(Nothing),
        }
    }
}

/// Whether Talos compares the field with the text that the patch gives.
fn is_text(shape: &Shape) -> bool {
    matches!(shape, Shape::Text | Shape::Word(_) | Shape::Opaque | Shape::Url | Shape::Duration)
}
