//! What a template works with: plain values, and parts of a config under the names of Go's fields.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::schema::{self, Shape};

/// Which Go field holds which key of the main document, from the same release as the table of types.
const NAMES: &str = include_str!("../schema/names-v1.13.json");

static FIELDS: LazyLock<HashMap<String, HashMap<String, String>>> = LazyLock::new(|| {
    // part of the program: a test reads it, so it cannot be broken here
    serde_json::from_str(NAMES).unwrap_or_default()
});

/// A value in a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// Nothing, or a pointer to nothing.
    Nil,
    /// A truth.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value<'a>>),
    /// A mapping.
    Map(BTreeMap<String, Value<'a>>),
    /// A struct of the config: its fields are looked up when they are asked for.
    Struct {
        /// Go's name of its type.
        name: &'static str,
        /// What the config says, which may be nothing.
        json: Option<&'a Json>,
    },
    /// Something whose form in Go is not known here: it can be tested, not printed.
    Opaque(bool),
}

impl<'a> Value<'a> {
    /// A part of a config with the shape Talos knows it by.
    pub(crate) fn document(json: Option<&'a Json>, shape: &'static Shape) -> Self {
        let json = json.filter(|json| !json.is_null());
        let text = || json.and_then(Json::as_str).unwrap_or_default().to_owned();
        match shape {
            Shape::Pointer(_) if json.is_none() => Self::Nil,
            Shape::Pointer(inner) => Self::document(json, inner),
            Shape::Text | Shape::Word(_) | Shape::Url => Self::Text(text()),
            Shape::Bool => Self::Bool(json.and_then(Json::as_bool).unwrap_or_default()),
            Shape::Integer => Self::Integer(json.and_then(Json::as_i64).unwrap_or_default()),
            Shape::Float => Self::Float(json.and_then(Json::as_f64).unwrap_or_default()),
            Shape::List { element, .. } => {
                let items = json.and_then(Json::as_array).into_iter().flatten();
                Self::List(items.map(|item| Self::document(Some(item), element)).collect())
            }
            Shape::Map(element) => {
                let entries = json.and_then(Json::as_object).into_iter().flatten();
                Self::Map(
                    entries.map(|(key, value)| (key.clone(), Self::document(Some(value), element))).collect(),
                )
            }
            Shape::Struct { name, .. } => Self::Struct { name, json },
            Shape::Any | Shape::Unknown => json.map_or(Self::Nil, Self::plain),
            Shape::Arguments
            | Shape::Bytes
            | Shape::Duration
            | Shape::Size
            | Shape::Opaque
            | Shape::Overwritten => Self::Opaque(json.is_some()),
        }
    }

    fn plain(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Self::Integer(number),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::plain).collect()),
            Json::Object(map) => {
                Self::Map(map.iter().map(|(key, value)| (key.clone(), Self::plain(value))).collect())
            }
        }
    }

    /// A mapping of texts and truths, for templates that are not about a config.
    pub(crate) fn of<const N: usize>(entries: [(&str, Value<'a>); N]) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A field of it.
    pub(super) fn field(&self, field: &str) -> Result<Self, String> {
        match self {
            Self::Struct { name, json } => {
                let key = FIELDS.get(*name).and_then(|fields| fields.get(field));
                let found = key.and_then(|key| Some((key, schema::fields(name).get(key)?)));
                match found {
                    Some((key, found)) => {
                        Ok(Self::document(json.and_then(|json| json.get(key)), &found.shape))
                    }
                    None => Err(format!("Talos's Go type {name} has no field `{field}`")),
                }
            }
            // one that is missing is printed as nothing, like the zero value of a map of texts
            Self::Map(map) => Ok(map.get(field).cloned().unwrap_or(Self::Nil)),
            Self::Nil => Err(format!("`{field}` is asked of something that the config does not have")),
            other => Err(format!("`{field}` is asked of {}", other.kind())),
        }
    }

    /// The fields that there are, to say what was meant.
    pub(super) fn fields(&self) -> Vec<&'static str> {
        match self {
            Self::Struct { name, .. } => {
                FIELDS.get(*name).into_iter().flatten().map(|(field, _)| field.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What `if` takes for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Integer(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Struct { .. } => true,
            Self::Opaque(there) => *there,
        }
    }

    /// What sprig takes for empty, for which `default` stands in.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Struct { .. } => false,
            other => !other.is_true(),
        }
    }

    /// What it is, for a person.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::Struct { .. } => "a section of the config",
            Self::Opaque(_) => "a value that templates cannot show",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_key_that_talos_knows() {
        assert!(FIELDS.len() > 50, "{}", FIELDS.len());
        for (name, fields) in FIELDS.iter().filter(|(name, _)| name.starts_with("v1alpha1.")) {
            for (field, key) in fields {
                assert!(schema::fields(name).contains_key(key), "{name}.{field} is {key}");
            }
        }
    }
}
