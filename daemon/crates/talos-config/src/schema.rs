//! What Talos knows from its Go types: which keys a document has, what each holds, and how patches merge it.
//!
//! The patch engine, the reader and the check for misspelt keys ask here. The table is read by reflection from one release of
//! Talos (`tests/oracles/schema`) and checked in; kinds that it does not have pass through with general rules.

mod read;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{DocumentId, MachineConfig};

pub(crate) use read::value;

/// The types of Talos 1.13.
const TABLE: &str = include_str!("schema/v1.13.json");

/// The name of the main document's type in the table.
const MAIN: &str = "";

/// What a place in a document holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A text; the empty one is no value.
    Text,
    /// A boolean.
    Bool,
    /// A whole number; 0 is no value.
    Integer,
    /// A number; 0 is no value.
    Float,
    /// Bytes in base64 or another text form; replaced as one.
    Bytes,
    /// A Go duration; zero is no value.
    Duration,
    /// A URL; the parts of a patch are merged into it.
    Url,
    /// A size in bytes or percent; Talos keeps both once both were there, and bytes win.
    Size,
    /// A text or number that Talos reads itself; replaced as one.
    Opaque,
    /// The same, but Talos takes the patch's value even where the patch has none.
    Overwritten,
    /// One of several words; the one given is Go's zero and no value.
    Word(String),
    /// Arguments of a program: texts or lists of texts by name, each replaced as one.
    Arguments,
    /// Anything.
    Any,
    /// Anything in a document of an unknown kind.
    Unknown,
    /// A map of fixed keys. A whole one is replaced as one.
    Struct { name: String, whole: bool },
    /// A map of any keys.
    Map(Box<Shape>),
    /// A list, appended to, unless its elements are matched by a key.
    List { element: Box<Shape>, key: Option<String> },
    /// Something that can be absent, and is replaced even by zero when it is there.
    Pointer(Box<Shape>),
}

/// A key of a struct.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    /// A patch replaces the value (of a keyed list: an element) instead of merging into it.
    pub(crate) replace: bool,
}

/// The keys of a struct.
pub(crate) type Fields = BTreeMap<String, Field>;

#[derive(Debug, Default)]
struct Schema {
    documents: HashMap<String, Shape>,
    structs: HashMap<String, Fields>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    #[derive(Default, Deserialize)]
    struct Table {
        documents: HashMap<String, String>,
        structs: HashMap<String, BTreeMap<String, String>>,
    }
    // part of the program: a test reads it, so it cannot be broken here
    let Table { documents, structs } = serde_json::from_str(TABLE).unwrap_or_default();
    let fields = |fields: BTreeMap<String, String>| {
        fields.into_iter().map(|(key, word)| (key, field(&word))).collect()
    };
    Schema {
        documents: documents.into_iter().map(|(kind, name)| (kind, shape(&name))).collect(),
        structs: structs.into_iter().map(|(name, table)| (name, fields(table))).collect(),
    }
});

/// The shape of a whole document.
pub(crate) fn of(id: &DocumentId) -> &'static Shape {
    static UNKNOWN: Shape = Shape::Unknown;
    match id {
        DocumentId::V1Alpha1 => of_kind(MAIN),
        DocumentId::Other { api_version, kind, .. } if api_version == "v1alpha1" => of_kind(kind),
        DocumentId::Other { .. } => None,
    }
    .unwrap_or(&UNKNOWN)
}

fn of_kind(kind: &str) -> Option<&'static Shape> {
    SCHEMA.documents.get(kind)
}

/// The keys of a struct; none of one that is not in the table.
pub(crate) fn fields(name: &str) -> &'static Fields {
    static NONE: Fields = Fields::new();
    SCHEMA.structs.get(name).unwrap_or(&NONE)
}

/// Reads a field's word of the table, see `tests/oracles/schema`.
fn field(word: &str) -> Field {
    match word.strip_suffix('!') {
        Some(word) => Field { shape: shape(word), replace: true },
        None => Field { shape: shape(word), replace: false },
    }
}

fn shape(word: &str) -> Shape {
    if let Some(rest) = word.strip_prefix('*') {
        return Shape::Pointer(Box::new(shape(rest)));
    }
    if let Some(rest) = word.strip_prefix("[]") {
        let (element, key) = match rest.split_once('@') {
            Some((element, key)) => (element, Some(key.to_owned())),
            None => (rest, None),
        };
        return Shape::List { element: Box::new(shape(element)), key };
    }
    if let Some(rest) = word.strip_prefix("{}") {
        return Shape::Map(Box::new(shape(rest)));
    }
    if let Some(zero) = word.strip_prefix("enum=") {
        return Shape::Word(zero.to_owned());
    }
    match word {
        "string" => Shape::Text,
        "bool" => Shape::Bool,
        "int" | "octal" => Shape::Integer,
        "float" => Shape::Float,
        "bytes" => Shape::Bytes,
        "duration" => Shape::Duration,
        "url" => Shape::Url,
        "size" => Shape::Size,
        "opaque" => Shape::Opaque,
        "overwritten" => Shape::Overwritten,
        "args" => Shape::Arguments,
        "any" => Shape::Any,
        _ => match word.strip_prefix('!') {
            Some(name) => Shape::Struct { name: name.to_owned(), whole: true },
            None => Shape::Struct { name: word.to_owned(), whole: false },
        },
    }
}

/// A key that Talos 1.13 does not know: it refuses the whole config for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKey {
    /// The document it is in.
    pub document: DocumentId,
    /// The keys that lead to it, places in lists as `[0]`.
    pub path: Vec<String>,
    /// The keys that could stand there.
    pub known: Vec<&'static str>,
}

/// Finds the keys in a config that Talos 1.13 would refuse. A newer Talos may know them.
pub fn unknown_keys(config: &MachineConfig) -> Vec<UnknownKey> {
    let mut found = Vec::new();
    for (id, document) in config.ids().zip(config.documents()) {
        let mut search = Search { id: &id, path: Vec::new(), found: &mut found };
        search.visit(document, of(&id));
    }
    found
}

struct Search<'a> {
    id: &'a DocumentId,
    path: Vec<String>,
    found: &'a mut Vec<UnknownKey>,
}

impl Search<'_> {
    fn visit(&mut self, value: &Value, shape: &'static Shape) {
        match (shape, value) {
            (Shape::Pointer(inner), _) => self.visit(value, inner),
            (Shape::Struct { name, .. }, Value::Object(map)) => {
                let fields = fields(name);
                for (key, value) in map {
                    self.path.push(key.clone());
                    match fields.get(key) {
                        Some(field) => self.visit(value, &field.shape),
                        None => self.found.push(UnknownKey {
                            document: self.id.clone(),
                            path: self.path.clone(),
                            known: fields.keys().map(String::as_str).collect(),
                        }),
                    }
                    self.path.pop();
                }
            }
            (Shape::Map(inner), Value::Object(map)) => {
                for (key, value) in map {
                    self.path.push(key.clone());
                    self.visit(value, inner);
                    self.path.pop();
                }
            }
            (Shape::List { element, .. }, Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.path.push(format!("[{at}]"));
                    self.visit(item, element);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(SCHEMA.documents.len(), 45);
        let mut visited = 0;
        for fields in SCHEMA.structs.values() {
            for Field { shape, .. } in fields.values() {
                let mut shape = shape;
                while let Shape::Pointer(inner) | Shape::Map(inner) | Shape::List { element: inner, .. } =
                    shape
                {
                    shape = inner;
                }
                if let Shape::Struct { name, .. } = shape {
                    assert!(SCHEMA.structs.contains_key(name), "{name} is not in the table");
                }
                visited += 1;
            }
        }
        assert!(visited > 700, "{visited}");
    }

    #[test]
    fn words_of_the_table_mean_what_they_say() {
        let list = field("[]string!");
        assert_eq!(list.shape, Shape::List { element: Box::new(Shape::Text), key: None });
        assert!(list.replace);
        let whole = Shape::Struct { name: "x509.PEMEncodedKey".to_owned(), whole: true };
        assert_eq!(shape("*!x509.PEMEncodedKey"), Shape::Pointer(Box::new(whole)));
        let vlans =
            Shape::List { element: Box::new(shape("*v1alpha1.Vlan")), key: Some("vlanId".to_owned()) };
        assert_eq!(shape("[]*v1alpha1.Vlan@vlanId"), vlans);
    }

    #[test]
    fn a_misspelt_key_is_found_at_its_place() {
        let text = "machine:\n  network:\n    interfaces:\n      - interface: eth0\n        adresses: [10.0.0.1/24]\n  \
                    kubelet: {extraConfig: {anything: 1}}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostnam: \
                    x\n---\napiVersion: v1alpha1\nkind: FutureConfig\nanything: 1\n";
        let config = MachineConfig::from_yaml(text).expect("reads");
        let found = unknown_keys(&config);
        let paths: Vec<String> = found.iter().map(|unknown| unknown.path.join(".")).collect();
        assert_eq!(paths, ["machine.network.interfaces.[0].adresses", "hostnam"]);
        assert!(found[0].known.contains(&"addresses"));
    }
}
