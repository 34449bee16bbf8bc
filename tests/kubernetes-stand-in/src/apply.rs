//! Server-side apply: merge, take away what the manager no longer asks for, and refuse what is another's.
//!
//! The rules are those of sigs.k8s.io/structured-merge-diff: a field conflicts when the request would change
//! its value and another manager has it; an equal value is shared; `force` takes it from the others.

use serde_json::{Map, Value};

use crate::{
    fields::{self, Fields, Manager, Path, Step},
    schema::Cursor,
};

/// A field that belongs to somebody else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conflict {
    pub(crate) manager: String,
    pub(crate) path: Path,
}

/// What an apply would make of an object.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) object: Value,
    pub(crate) managers: Vec<Manager>,
}

/// Applies `wanted` as `manager` (whose fields are computed here) to `live`.
pub(crate) fn apply(
    live: Option<&Value>,
    managers: &[Manager],
    wanted: &Value,
    mut manager: Manager,
    force: bool,
    custom: Option<&Value>,
) -> Result<Merged, Vec<Conflict>> {
    manager.fields = fields::of(wanted, custom);
    let root = Cursor::root(custom);
    let mut object = match live {
        Some(live) => merge(live, wanted, root),
        None => wanted.clone(),
    };
    let same = |other: &Manager| {
        (&other.name, other.operation, other.subresource)
            == (&manager.name, manager.operation, manager.subresource)
    };
    let former =
        managers.iter().find(|other| same(other)).map(|former| former.fields.clone()).unwrap_or_default();
    let mut others: Vec<Manager> = managers.iter().filter(|other| !same(other)).cloned().collect();

    if let Some(live) = live {
        let mut conflicts = Vec::new();
        for other in &mut others {
            let lost: Vec<Path> = (other.fields.intersection(&manager.fields))
                .filter(|path| {
                    changed(
                        fields::find(live, path, root),
                        fields::find(&object, path, root),
                        fields::cursor(path, root),
                    )
                })
                .cloned()
                .collect();
            if force {
                other.fields.retain(|path| !lost.contains(path));
            } else {
                let manager = other.shown();
                conflicts.extend(lost.into_iter().map(|path| Conflict { manager: manager.clone(), path }));
            }
        }
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }

    // Given up: formerly the manager's, no longer asked for, and nobody else's (nor part of what is).
    let kept: Fields =
        others.iter().flat_map(|other| &other.fields).chain(&manager.fields).cloned().collect();
    let mut given_up: Vec<&Path> = Vec::new();
    for path in &former {
        // What is below something that goes anyway needs no look; an element without its key would not be found again.
        let goes_anyway = given_up.last().is_some_and(|above| path.starts_with(above));
        let is_kept = kept.range(path.clone()..).next().is_some_and(|next| next.starts_with(path));
        if !goes_anyway && !is_kept {
            given_up.push(path);
        }
    }
    for path in given_up {
        remove(&mut object, path, root);
    }
    others.push(manager);
    // Who asks for nothing is not mentioned.
    others.retain(|other| !other.fields.is_empty());
    Ok(Merged { object, managers: others })
}

/// Whether the field itself changed. A mapping or element that is only the parent of changed fields did not.
fn changed(before: Option<&Value>, after: Option<&Value>, at: Cursor<'_>) -> bool {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) if !at.atomic_mapping() => {
            before.is_empty() != after.is_empty()
        }
        (before, after) => before != after,
    }
}

fn merge(live: &Value, wanted: &Value, at: Cursor<'_>) -> Value {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) if !at.atomic_mapping() => {
            let mut merged = live.clone();
            for (name, value) in wanted {
                let value = match live.get(name) {
                    Some(live) => merge(live, value, at.field(name)),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Value::Array(live_items), Value::Array(items)) => {
            let steps = (fields::steps(live_items, at.list()), fields::steps(items, at.list()));
            let (Some(live_steps), Some(steps)) = steps else { return wanted.clone() };
            let mut merged = live_items.clone();
            for (item, step) in items.iter().zip(steps) {
                let place = live_steps.iter().position(|live| *live == step);
                match place.and_then(|index| merged.get_mut(index)) {
                    Some(live) => *live = merge(live, item, at.item()),
                    None => merged.push(item.clone()),
                }
            }
            Value::Array(merged)
        }
        _ => wanted.clone(),
    }
}

/// Takes the value at a path away, and parents that are empty afterwards.
fn remove(value: &mut Value, path: &[Step], at: Cursor<'_>) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step.strip_prefix("f:"), value) {
        (Some(name), Value::Object(map)) => {
            if let Some(child) = map.get_mut(name) {
                if !rest.is_empty() {
                    remove(child, rest, at.field(name));
                }
                if rest.is_empty() || is_empty(child) {
                    // Keeps the order of the other keys.
                    map.shift_remove(name);
                }
            }
        }
        (None, Value::Array(items)) => {
            let steps = fields::steps(items, at.list()).unwrap_or_default();
            let Some(index) = steps.iter().position(|found| found == step) else { return };
            if rest.is_empty() {
                items.remove(index);
            } else if let Some(item) = items.get_mut(index) {
                remove(item, rest, at.item());
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Drops nulls: to ask for null is not to ask.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
