//! Configs and patches made by chance out of Talos's types. `tests/oracles` asks the real tool about such ones, too.

use seeded::Numbers;
use serde_json::{Map, Value, json};

/// Talos's types.
pub(crate) const TABLE: &str = include_str!("../../src/schema/v1.13.json");

/// What comes of a seed.
struct Chance(Numbers);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0.below(below)
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.next(words.len())]
    }
}

/// Makes documents.
pub(crate) struct Maker<'a> {
    table: &'a Value,
    chance: Chance,
    /// Whether there may be deletions: in patches.
    deletes: bool,
}

impl<'a> Maker<'a> {
    /// The same seed makes the same documents, at first without deletions.
    pub(crate) fn new(table: &'a Value, seed: u64) -> Self {
        Self { table, chance: Chance(Numbers::new(seed)), deletes: false }
    }

    /// From now on there may be deletions: in patches.
    pub(crate) fn may_delete(&mut self) {
        self.deletes = true;
    }

    /// Any number below.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.chance.next(end)
    }

    /// A document of a kind; the main document's kind is the empty text.
    pub(crate) fn document(&mut self, kind: &str) -> Value {
        let name = self.table["documents"][kind].as_str().expect("a kind").to_owned();
        let mut document = self.structure(&name, 0);
        let map = document.as_object_mut().expect("a map");
        map.remove("$patch");
        if kind.is_empty() {
            map.insert("version".to_owned(), json!("v1alpha1"));
            map.entry("machine").or_insert(json!({"type": "worker"}));
        } else {
            map.insert("apiVersion".to_owned(), json!("v1alpha1"));
            map.insert("kind".to_owned(), json!(kind));
            if self.table["structs"][&name].get("name").is_some() {
                map.insert("name".to_owned(), json!("one"));
            }
        }
        document
    }

    fn structure(&mut self, name: &str, depth: usize) -> Value {
        let fields = self.table["structs"][name].as_object().expect("a struct").clone();
        let mut map = Map::new();
        // the larger ones get a part of their keys, so that documents stay small
        let likely = if fields.len() > 8 { 4 } else { 2 };
        for (key, word) in &fields {
            if self.chance.next(likely) != 0 {
                continue;
            }
            let value = match word.as_str().expect("a word") {
                "overwritten" => self.overwritten(name),
                word => self.value(word, depth + 1),
            };
            if let Some(value) = value {
                map.insert(key.clone(), value);
            }
        }
        Value::Object(map)
    }

    /// Sizes and selectors, of which each kind has a language of its own.
    fn overwritten(&mut self, name: &str) -> Option<Value> {
        let words: &[&str] = match name {
            "block.ProvisioningSpec" => &["10GB", "5GiB"],
            "block.DiskSelector" => &["system_disk", "!system_disk"],
            "block.VolumeSelector" => &["volume.name == 'a'", "volume.name == 'b'"],
            "network.LinkSelector" => &["link.kind == 'a'", "link.kind == 'b'"],
            _ => return None,
        };
        Some(json!(self.chance.one_of(words)))
    }

    /// Some value of a type; nothing where only special texts are read.
    fn value(&mut self, word: &str, depth: usize) -> Option<Value> {
        let word = word.trim_end_matches('!');
        if self.deletes && depth > 1 && self.chance.next(25) == 0 {
            return Some(json!({"$patch": "delete"}));
        }
        if let Some(inner) = word.strip_prefix('*') {
            return if self.chance.next(8) == 0 { Some(Value::Null) } else { self.value(inner, depth) };
        }
        if let Some(rest) = word.strip_prefix("[]") {
            let element = rest.split('@').next().expect("a word");
            let items: Option<Vec<Value>> =
                (0..self.chance.next(3)).map(|_| self.element(element, depth + 1)).collect();
            return items.map(Value::Array);
        }
        if let Some(inner) = word.strip_prefix("{}") {
            let mut map = Map::new();
            for key in ["a", "b", "c"] {
                if self.chance.next(2) == 0 {
                    map.insert(key.to_owned(), self.value(inner, depth + 1)?);
                }
            }
            return Some(Value::Object(map));
        }
        Some(match word {
            "string" => json!(self.chance.one_of(&["", "a", "b", "yes", "0755"])),
            "bool" => json!(self.chance.next(2) == 0),
            "int" | "octal" => json!(self.chance.next(3)),
            "bytes" => return None,
            "duration" => json!(self.chance.one_of(&["0s", "1m0s", "5m"])),
            "url" => json!(self.chance.one_of(&["https://a/x", "https://b", "tcp://c:1/?q"])),
            "size" => json!(self.chance.one_of(&["10GB", "20GB", "50%"])),
            "args" => {
                json!({self.chance.one_of(&["v", "w"]): self.chance.one_of(&["1", "2"]), "list": ["x"]})
            }
            "any" => self.anything(depth),
            "opaque" | "overwritten" | "float" => return None,
            _ if word.starts_with("enum=") => match word.trim_start_matches("enum=") {
                "" => return None,
                zero => json!(zero),
            },
            _ if word.starts_with('!') => match word.contains("AndKey") {
                true => {
                    json!({"crt": self.chance.one_of(&["YQ==", "Yg=="]), "key": self.chance.one_of(&["", "YQ=="])})
                }
                false => return None,
            },
            _ if depth > 7 => return None,
            name => self.structure(name, depth),
        })
    }

    fn element(&mut self, word: &str, depth: usize) -> Option<Value> {
        let mut element = self.value(word, depth)?;
        if self.deletes
            && self.chance.next(6) == 0
            && let Value::Object(map) = &mut element
        {
            map.insert("$patch".to_owned(), json!("delete"));
        }
        (!element.is_null()).then_some(element)
    }

    fn anything(&mut self, depth: usize) -> Value {
        match self.chance.next(if depth > 6 { 3 } else { 5 }) {
            0 => json!(self.chance.one_of(&["", "a", "b"])),
            1 => json!(self.chance.next(3)),
            2 => json!(self.chance.next(2) == 0),
            3 => Value::Array((0..self.chance.next(3)).map(|_| self.anything(depth + 1)).collect()),
            _ => {
                let keys = ["x", "y"].into_iter().filter(|_| self.chance.next(2) == 0).collect::<Vec<_>>();
                Value::Object(
                    keys.into_iter().map(|key| (key.to_owned(), self.anything(depth + 1))).collect(),
                )
            }
        }
    }
}
