//! Strategic merge of one document, as Talos does it on its Go types (talos.md §4.1).
//!
//! Its rules are those of Go's zero values: an empty text or a 0 in a patch says nothing, unless the type can be absent;
//! `false` always counts. Lists are appended to, with the exceptions that the schema names.

use std::mem;

use serde_json::{Map, Value};

use crate::schema::{self, Field, Fields, Shape};

/// The patch has something of another kind than the config.
#[derive(Debug, PartialEq)]
pub(super) struct Clash {
    keys: Vec<String>,
    pub(super) patch: &'static str,
    pub(super) config: &'static str,
}

impl Clash {
    fn new(patch: &Value, config: &Value) -> Self {
        Self { keys: Vec::new(), patch: kind(patch), config: kind(config) }
    }

    fn inside(mut self, key: &str) -> Self {
        self.keys.insert(0, key.to_owned());
        self
    }

    /// The keys that lead to the place.
    pub(super) fn path(&self) -> String {
        self.keys.join(".")
    }
}

/// Merges a patch into a document.
pub(super) fn document(config: &mut Value, patch: &Value, shape: &Shape) -> Result<(), Clash> {
    let merged = merge(Some(mem::take(config)), Some(patch), shape, Manner::default())?;
    *config = merged.unwrap_or_default();
    Ok(())
}

#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    /// Lists and maps are replaced, not merged.
    replace: bool,
    /// Zero counts as a value.
    overwrite: bool,
}

/// What is at a place after the merge. `None` and null both mean that nothing is there.
fn merge(
    config: Option<Value>,
    patch: Option<&Value>,
    shape: &Shape,
    manner: Manner,
) -> Result<Option<Value>, Clash> {
    let patch = patch.filter(|patch| !patch.is_null());
    if let Shape::Overwritten = shape {
        return Ok(patch.cloned());
    }
    if let Shape::Struct { name, whole: false } = shape
        && !manner.replace
    {
        return merge_struct(config, patch, schema::fields(name));
    }
    let Some(patch) = patch else { return Ok(config) };
    let config = match config {
        // the patch's own elements are matched with each other, too
        None | Some(Value::Null) if matches!(shape, Shape::List { key: Some(_), .. }) => {
            Value::Array(Vec::new())
        }
        None | Some(Value::Null) => return Ok(Some(patch.clone())),
        Some(config) => config,
    };
    match shape {
        Shape::Pointer(inner) => {
            merge(Some(config), Some(patch), inner, Manner { overwrite: true, ..manner })
        }
        Shape::List { element, key: Some(key) } => {
            keyed(config, patch, element, key, manner.replace).map(Some)
        }
        Shape::Map(_) | Shape::List { .. } | Shape::Struct { .. } if manner.replace => {
            Ok(Some(patch.clone()))
        }
        Shape::Struct { .. } | Shape::Bytes => Ok(Some(patch.clone())),
        Shape::List { .. } => append(config, patch).map(Some),
        Shape::Map(inner) => merge_map(config, patch, inner).map(Some),
        Shape::Arguments => merge_arguments(config, patch).map(Some),
        Shape::Any | Shape::Unknown => merge_any(config, patch, shape, manner).map(Some),
        Shape::Url => match (&config, patch) {
            (Value::String(config), Value::String(patch)) => Ok(Some(url(config, patch).into())),
            _ => Err(Clash::new(patch, &config)),
        },
        Shape::Size => {
            let percent = |size: &Value| size.as_str().is_some_and(|size| size.ends_with('%'));
            Ok(Some(if percent(patch) && !percent(&config) { config } else { patch.clone() }))
        }
        Shape::Bool
        | Shape::Text
        | Shape::Integer
        | Shape::Float
        | Shape::Duration
        | Shape::Opaque
        | Shape::Word(_)
        | Shape::Overwritten => {
            if matches!(patch, Value::Object(_) | Value::Array(_)) {
                return Err(Clash::new(patch, &config));
            }
            let says_nothing = !manner.overwrite && is_zero(patch, shape);
            Ok(Some(if says_nothing { config } else { patch.clone() }))
        }
    }
}

/// Merges maps of fixed keys. Some fields are touched even by a patch that does not have them.
fn merge_struct(
    config: Option<Value>,
    patch: Option<&Value>,
    fields: &Fields,
) -> Result<Option<Value>, Clash> {
    let mut config = match config {
        None | Some(Value::Null) => return Ok(patch.cloned()),
        Some(Value::Object(config)) => config,
        Some(other) => return patch.map_or(Ok(Some(other.clone())), |patch| Err(Clash::new(patch, &other))),
    };
    let none = Map::new();
    let patch = match patch {
        None => &none,
        Some(Value::Object(patch)) => patch,
        Some(other) => return Err(Clash::new(other, &Value::Object(config))),
    };
    let unknown = Field { shape: Shape::Any, replace: false };
    let silent =
        fields.iter().filter(|(key, field)| !patch.contains_key(*key) && touched_in_silence(&field.shape));
    for key in patch.keys().chain(silent.map(|(key, _)| key)) {
        let field = fields.get(key).unwrap_or(&unknown);
        let manner = Manner { replace: field.replace, overwrite: false };
        let old = config.get_mut(key).map(mem::take);
        match merge(old, patch.get(key), &field.shape, manner).map_err(|clash| clash.inside(key))? {
            Some(value) => config.insert(key.clone(), value),
            None => config.shift_remove(key),
        };
    }
    Ok(Some(Value::Object(config)))
}

/// Whether a field can change although the patch has nothing there: Talos's merge of sizes and selectors takes over their
/// emptiness, and so does that of the structs that hold them.
fn touched_in_silence(shape: &Shape) -> bool {
    match shape {
        Shape::Overwritten => true,
        Shape::Struct { name, whole: false } => {
            schema::fields(name).values().any(|field| touched_in_silence(&field.shape))
        }
        _ => false,
    }
}

fn merge_map(config: Value, patch: &Value, inner: &Shape) -> Result<Value, Clash> {
    let clash = Clash::new(patch, &config);
    let (Value::Object(mut map), Value::Object(patch)) = (config, patch) else { return Err(clash) };
    for (key, value) in patch {
        let merged = match map.get_mut(key).map(mem::take) {
            None | Some(Value::Null) => Some(value.clone()),
            old => merge(old, Some(value), inner, Manner::default()).map_err(|clash| clash.inside(key))?,
        };
        map.insert(key.clone(), merged.unwrap_or_default());
    }
    Ok(Value::Object(map))
}

fn merge_arguments(config: Value, patch: &Value) -> Result<Value, Clash> {
    let clash = Clash::new(patch, &config);
    let (Value::Object(mut map), Value::Object(patch)) = (config, patch) else { return Err(clash) };
    map.extend(patch.iter().map(|(key, value)| (key.clone(), value.clone())));
    Ok(Value::Object(map))
}

fn merge_any(config: Value, patch: &Value, shape: &Shape, manner: Manner) -> Result<Value, Clash> {
    match (&config, patch) {
        (Value::Object(_), Value::Object(_)) => merge_map(config, patch, shape),
        (Value::Array(_), Value::Array(_)) => append(config, patch),
        (Value::Bool(_), Value::Bool(_)) => Ok(patch.clone()),
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => {
            let says_nothing = !manner.overwrite && is_zero(patch, shape);
            Ok(if says_nothing { config } else { patch.clone() })
        }
        _ => Err(Clash::new(patch, &config)),
    }
}

fn append(config: Value, patch: &Value) -> Result<Value, Clash> {
    let clash = Clash::new(patch, &config);
    let (Value::Array(mut items), Value::Array(more)) = (config, patch) else { return Err(clash) };
    items.extend(more.iter().cloned());
    Ok(Value::Array(items))
}

/// Merges lists whose elements are known by a key.
fn keyed(config: Value, patch: &Value, element: &Shape, key: &str, replace: bool) -> Result<Value, Clash> {
    let clash = Clash::new(patch, &config);
    let (Value::Array(mut items), Value::Array(more)) = (config, patch) else { return Err(clash) };
    let before = items.len();
    for (at, new) in more.iter().enumerate() {
        let found = match replace {
            // only what the config had is replaced, and of two the later one
            true => items.iter().take(before).rposition(|old| same(old, new, key)),
            false => items.iter().position(|old| same(old, new, key)),
        };
        match found.and_then(|found| items.get_mut(found)) {
            Some(old) if replace => *old = new.clone(),
            Some(old) => {
                let merged = merge(Some(mem::take(old)), Some(new), element, Manner::default());
                *old = merged.map_err(|clash| clash.inside(&format!("[{at}]")))?.unwrap_or_default();
            }
            None => items.push(new.clone()),
        }
    }
    Ok(Value::Array(items))
}

/// Whether two elements are the same one. Network interfaces without a name are known by their selector.
fn same(old: &Value, new: &Value, key: &str) -> bool {
    let at = |value: &Value, key: &str| value.get(key).cloned().unwrap_or_default();
    let unset = |value: &Value| value.is_null() || is_zero(value, &Shape::Any);
    let wanted = at(new, key);
    if key != "interface" {
        let found = at(old, key);
        return found == wanted || (unset(&found) && unset(&wanted));
    }
    if !unset(&wanted) {
        return at(old, key) == wanted;
    }
    let selector = at(new, "deviceSelector");
    !selector.is_null() && at(old, "deviceSelector") == selector
}

/// Whether Go would take the value for the zero of its type.
fn is_zero(value: &Value, shape: &Shape) -> bool {
    match (shape, value) {
        (Shape::Bool, _) => false,
        (Shape::Word(zero), Value::String(word)) => word.is_empty() || word == zero,
        (Shape::Duration, Value::String(text)) => !text.bytes().any(|byte| matches!(byte, b'1'..=b'9')),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// The parts of a URL: scheme with its colon, authority with its slashes, path, query with `?`, fragment with `#`.
fn parts(url: &str) -> [&str; 5] {
    let (rest, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let (scheme, rest) = match rest.find(':') {
        Some(at) if !rest.starts_with(['/', ':']) && rest.find('/').is_none_or(|slash| at < slash) => {
            rest.split_at(at + 1)
        }
        _ => ("", rest),
    };
    let authority = match rest.strip_prefix("//") {
        Some(host) => 2 + host.find('/').unwrap_or(host.len()),
        None => 0,
    };
    let (authority, path) = rest.split_at(authority);
    [scheme, authority, path, query, fragment]
}

/// Merges URLs by their parts, because Talos merges Go's parsed URL: what the patch does not have stays.
fn url(config: &str, patch: &str) -> String {
    let mut merged = String::new();
    for (old, new) in parts(config).into_iter().zip(parts(patch)) {
        merged.push_str(if new.is_empty() { old } else { new });
    }
    merged
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_merge_by_their_parts() {
        assert_eq!(url("https://a:6443/path", "https://b"), "https://b/path");
        assert_eq!(url("https://a:6443", "https://b:443/x?y#z"), "https://b:443/x?y#z");
        assert_eq!(url("https://[fd00::1]:6443", "https://[fd00::2]:6443"), "https://[fd00::2]:6443");
        assert_eq!(url("tcp://a:1/", "udp://a:1/"), "udp://a:1/");
    }
}
