//! JSON 6902 patches, which old configs of one document can be patched with.

use serde_json::Value;

use super::PatchError;
use crate::config::MachineConfig;

/// One operation of RFC 6902.
#[derive(Clone, PartialEq)]
pub(super) struct Operation {
    kind: Kind,
    path: Vec<String>,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Add(Value),
    Remove,
    Replace(Value),
    Move(Vec<String>),
    Copy(Vec<String>),
    Test(Value),
}

/// Reads a list of operations.
pub(super) fn read(list: &Value) -> Result<Vec<Operation>, PatchError> {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .enumerate()
        .map(|(at, item)| operation(item).map_err(|reason| PatchError::Operation { at: at + 1, reason }))
        .collect()
}

fn operation(item: &Value) -> Result<Operation, String> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    let pointer = |key: &str| match text(key) {
        Some(text) => pointer(text)
            .ok_or_else(|| format!("has a `{key}` that is not a JSON pointer like `/machine/type`")),
        None => Err(format!("has no `{key}`")),
    };
    let value = || item.get("value").cloned().ok_or_else(|| "has no `value`".to_owned());
    let kind = match text("op") {
        Some("add") => Kind::Add(value()?),
        Some("remove") => Kind::Remove,
        Some("replace") => Kind::Replace(value()?),
        Some("move") => Kind::Move(pointer("from")?),
        Some("copy") => Kind::Copy(pointer("from")?),
        Some("test") => Kind::Test(value()?),
        Some(_) => return Err("has an `op` that is not add, remove, replace, move, copy or test".to_owned()),
        None => {
            return Err(
                "has no `op`, so this is neither a JSON patch nor a document of a machine config".to_owned()
            );
        }
    };
    Ok(Operation { kind, path: pointer("path")? })
}

/// Reads a JSON pointer (RFC 6901).
fn pointer(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let rest = text.strip_prefix('/')?;
    Some(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// Applies operations to a config of one document.
pub(super) fn apply(operations: &[Operation], config: &mut MachineConfig) -> Result<(), PatchError> {
    let mut documents = config.documents().to_vec();
    let [document] = documents.as_mut_slice() else { return Err(PatchError::SeveralDocuments) };
    for (at, operation) in operations.iter().enumerate() {
        operation
            .apply(document)
            .map_err(|reason| PatchError::Operation { at: at + 1, reason: reason.to_owned() })?;
    }
    *config = MachineConfig::from_documents(documents)?;
    Ok(())
}

impl Operation {
    fn apply(&self, document: &mut Value) -> Result<(), &'static str> {
        match &self.kind {
            Kind::Add(value) => add(document, &self.path, value.clone()),
            Kind::Remove => remove(document, &self.path).map(drop),
            Kind::Replace(value) => replace(document, &self.path, value.clone()),
            Kind::Move(from) => {
                let value = remove(document, from)?;
                add(document, &self.path, value)
            }
            Kind::Copy(from) => {
                let value = find(document, from)?.clone();
                add(document, &self.path, value)
            }
            Kind::Test(value) => match find(document, &self.path)? == value {
                true => Ok(()),
                false => Err("tests for another value than there is"),
            },
        }
    }
}

const MISSING: &str = "names a path that is not in the config";

fn find<'a>(document: &'a mut Value, path: &[String]) -> Result<&'a mut Value, &'static str> {
    let mut place = document;
    for step in path {
        place = match place {
            Value::Object(map) => map.get_mut(step),
            Value::Array(items) => index(step, items.len()).and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or(MISSING)?;
    }
    Ok(place)
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), &'static str> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find(document, parents)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => match index(last, items.len() + 1) {
            Some(at) => {
                items.insert(at, value);
                Ok(())
            }
            None => Err(MISSING),
        },
        _ => Err(MISSING),
    }
}

/// Talos's library replaces a key of a map even where there is none.
fn replace(document: &mut Value, path: &[String], value: Value) -> Result<(), &'static str> {
    match find(document, path) {
        Ok(place) => {
            *place = value;
            Ok(())
        }
        Err(_) => {
            let Some((last, parents)) = path.split_last() else { return Err(MISSING) };
            let Value::Object(map) = find(document, parents)? else { return Err(MISSING) };
            map.insert(last.clone(), value);
            Ok(())
        }
    }
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, &'static str> {
    let Some((last, parents)) = path.split_last() else { return Err("would remove the whole document") };
    match find(document, parents)? {
        Value::Object(map) => map.shift_remove(last).ok_or(MISSING),
        Value::Array(items) => index(last, items.len()).map(|at| items.remove(at)).ok_or(MISSING),
        _ => Err(MISSING),
    }
}

/// A place in a list, below `end`.
fn index(step: &str, end: usize) -> Option<usize> {
    step.parse().ok().filter(|at| *at < end)
}
