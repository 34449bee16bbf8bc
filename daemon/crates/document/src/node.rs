//! The tree of a YAML document: every key and value with its position.

use crate::{
    finding::{Finding, Position},
    parse::Document,
};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// what it is
    pub value: Value,
    /// where it begins; of an alias, where the alias stands
    pub position: Position,
    /// where its text begins, when that is one run of characters in the file (not of an alias)
    pub(crate) text_start: Option<Position>,
    /// a block scalar: its lines are lines of the file
    pub(crate) block: bool,
    /// came from a variable, so that it is not repeated in findings: it may be a password
    pub(crate) substituted: bool,
}

/// The kinds of value YAML knows. Scalars other than text keep their spelling, because `1.10` read into
/// a version must not become `1.1`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// nothing, `~` or `null`
    Null,
    /// `true` or `false`
    Bool(bool, String),
    /// a whole number within 64 bits, signed or not
    Integer(i128, String),
    /// any other number
    Float(f64, String),
    /// text; the flag says that it was written plain, without quotes or block
    Text(String, bool),
    /// a list
    List(Vec<Node>),
    /// a mapping in the order of the file
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// the key; keys that are not scalars are refused
    pub key: String,
    /// where the key stands
    pub key_position: Position,
    /// the value
    pub node: Node,
}

impl Value {
    /// What it is, for a person: `a list`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(..) => "a boolean",
            Self::Integer(..) => "a whole number",
            Self::Float(..) => "a number",
            Self::Text(..) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The key and value of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The spelling of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Bool(_, text) | Value::Integer(_, text) | Value::Float(_, text) | Value::Text(text, _) => {
                Some(text)
            }
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Where a place of a text inside this scalar stands in the file. Exact for block scalars and single
    /// lines; of any other text the place is where the scalar begins.
    pub fn inside(&self, inner: Position) -> Position {
        match self.text_start {
            Some(start) if self.block => Position {
                line: start.line + inner.line.saturating_sub(1),
                column: start.column + inner.column.saturating_sub(1),
            },
            Some(start) if inner.line == 1 => {
                Position { line: start.line, column: start.column + inner.column.saturating_sub(1) }
            }
            _ => self.position,
        }
    }

    /// The same value without positions. Spellings are lost: `1.10` is the number 1.1.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value, _) => (*value).into(),
            Value::Integer(value, text) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => text.as_str().into(),
            },
            Value::Float(value, _) => (*value).into(),
            Value::Text(text, _) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }
}

/// A place in a document, reached step by step. Steps that do not exist stay at the last one that does, so
/// that a finding about a missing key points at the mapping that lacks it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    document: &'a Document,
    node: Option<&'a Node>,
    position: Position,
}

impl<'a> Place<'a> {
    pub(crate) fn root(document: &'a Document) -> Self {
        Self { document, node: Some(document.root()), position: document.root().position }
    }

    /// The value under a key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        match self.node.and_then(|node| node.entry(key)) {
            // an empty value has no place of its own worth pointing at
            Some(entry) if entry.node.is_null() => {
                Self { node: Some(&entry.node), position: entry.key_position, ..self }
            }
            Some(entry) => Self { node: Some(&entry.node), position: entry.node.position, ..self },
            None => Self { node: None, ..self },
        }
    }

    /// The key itself, for findings about a name.
    #[must_use]
    pub fn name(self, key: &str) -> Self {
        match self.node.and_then(|node| node.entry(key)) {
            Some(entry) => Self { node: Some(&entry.node), position: entry.key_position, ..self },
            None => Self { node: None, ..self },
        }
    }

    /// An item of a list, from zero.
    #[must_use]
    pub fn item(self, index: usize) -> Self {
        match self.node.and_then(|node| node.items().get(index)) {
            Some(node) => Self { node: Some(node), position: node.position, ..self },
            None => Self { node: None, ..self },
        }
    }

    /// The value here; `None` after a step that does not exist.
    pub fn node(self) -> Option<&'a Node> {
        self.node
    }

    /// Where it stands.
    pub fn position(self) -> Position {
        self.position
    }

    /// An error here.
    pub fn error(self, rule: &'static str, message: impl Into<String>) -> Finding {
        Finding::error(self.document.file(), self.position, rule, message)
    }

    /// A warning here.
    pub fn warning(self, rule: &'static str, message: impl Into<String>) -> Finding {
        self.error(rule, message).warning()
    }
}
