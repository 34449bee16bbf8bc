//! serde's deserializer over the tree: every fault leaves with the place of the innermost value it is in.

use std::fmt;

use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::{
    decode::{BOTH, CHECKED, Keys, Notes, TEXT_OR, listed},
    finding::Position,
    nearest::nearest,
    node::{Entry, Node, Value},
};

/// A fault on its way up; the innermost value that knows its place gives it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
    pub(crate) at: Option<Position>,
}

impl Fault {
    fn new(rule: &'static str, message: String) -> Self {
        Self { rule, message, fix: None, at: None }
    }

    fn or_at(mut self, position: Position) -> Self {
        self.at.get_or_insert(position);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("value", message.to_string())
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let fix = nearest(variant, expected.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        Self { fix, ..Self::new("value", format!("`{variant}` is not one of {}", listed(expected))) }
    }

    fn missing_field(field: &'static str) -> Self {
        let fix = Some(format!("add `{field}:`"));
        Self { fix, ..Self::new("key-missing", format!("the key `{field}` is missing")) }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) node: &'a Node,
    pub(crate) notes: &'a Notes<'a>,
    pub(crate) others: Others,
}

/// Who else reads the keys of this very mapping.
#[derive(Clone, Copy)]
pub(crate) enum Others {
    None,
    /// a type with these fields; keys of neither are unknown
    Report(&'static [&'static str]),
    /// somebody who has reported the unknown keys already
    Silent,
}

impl<'a> Reader<'a> {
    fn unexpected(self, expected: &str) -> Fault {
        let kind = self.node.value.kind();
        let found = match self.node.text() {
            _ if self.node.substituted => format!("{kind} from a variable"),
            Some(text) if text.chars().count() <= 60 && !text.contains('\n') => format!("{kind} ({text})"),
            _ => kind.to_owned(),
        };
        Fault::new("type", format!("expected {expected}, found {found}")).or_at(self.node.position)
    }

    /// Gives a fault its place, if nobody further inside has.
    fn place<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| match fault.at {
            None if self.node.substituted && self.node.text().is_some() => {
                Fault::new(fault.rule, "the value of the variable does not fit here".into())
                    .or_at(self.node.position)
            }
            _ => fault.or_at(self.node.position),
        })
    }

    fn entries(self, entries: Vec<&'a Entry>) -> Entries<'a> {
        let keys = self.notes.keys;
        let entries = entries.into_iter().filter(|entry| keys == Keys::Strict || !entry.node.is_null());
        Entries { entries: entries.collect::<Vec<_>>().into_iter(), value: None, notes: self.notes }
    }

    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text, true) if self.notes.keys == Keys::Go => match go_octal(text) {
                Some(value) => self.place(visitor.visit_u64(value)),
                None => Err(self.unexpected("a whole number")),
            },
            Value::Integer(..) | Value::Float(..) => de::Deserializer::deserialize_any(self, visitor),
            _ => Err(self.unexpected("a whole number")),
        }
    }
}

/// Booleans as Go's yaml.v3 takes them for a field that is one.
fn go_boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// `0644`, which Go's yaml.v3 takes for an octal number.
fn go_octal(text: &str) -> Option<u64> {
    let digits =
        text.strip_prefix('0').filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
    u64::from_str_radix(digits, 8).ok()
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                self.number(visitor)
            }
        )*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.place(match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value, _) => visitor.visit_bool(*value),
            Value::Integer(value, text) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_str(text),
            },
            Value::Float(value, _) => visitor.visit_f64(*value),
            Value::Text(text, _) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), notes: self.notes }),
            Value::Map(entries) => {
                let entries = entries.iter().collect::<Vec<_>>().into_iter();
                visitor.visit_map(Entries { entries, value: None, notes: self.notes })
            }
        })
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Bool(value, _) => self.place(visitor.visit_bool(*value)),
            Value::Text(text, _) => match go_boolean(text) {
                Some(value) if self.notes.keys == Keys::Go => self.place(visitor.visit_bool(value)),
                Some(value) => {
                    Err(Fault { fix: Some(format!("write {value}")), ..self.unexpected("true or false") })
                }
                None => Err(self.unexpected("true or false")),
            },
            _ => Err(self.unexpected("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.text() {
            Some(text) => self.place(visitor.visit_str(text)),
            // nothing in a list or mapping of texts is Go's zero value
            None if self.node.is_null() && self.notes.keys == Keys::Go => self.place(visitor.visit_str("")),
            None => Err(self.unexpected("a text")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_none() } else { self.place(visitor.visit_some(self)) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.node.is_null() { visitor.visit_unit() } else { Err(self.unexpected("nothing")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == CHECKED {
            return visitor.visit_seq(Swallow(Some(self)));
        }
        self.place(match self.node.text() {
            Some(text) if name == TEXT_OR => visitor.visit_str(text),
            _ => visitor.visit_newtype_struct(self),
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(items) => {
                self.place(visitor.visit_seq(Items { items: items.iter(), notes: self.notes }))
            }
            _ => Err(self.unexpected("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match (name, &self.node.value) {
            (BOTH, Value::Map(_) | Value::Null) => {
                self.place(visitor.visit_seq(Rounds { reader: self, round: 0, fields: &[] }))
            }
            (BOTH, _) => Err(self.unexpected("a mapping")),
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            // a key of a person's own is there, even with nothing behind it
            Value::Map(entries) => {
                let entries = entries.iter().collect::<Vec<_>>().into_iter();
                self.place(visitor.visit_map(Entries { entries, value: None, notes: self.notes }))
            }
            _ => Err(self.unexpected("a mapping")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => {
                let known = self.notes.known(entries, fields, self.others);
                self.place(visitor.visit_map(self.entries(known)))
            }
            // an empty section is a section of defaults
            Value::Null => self.place(visitor.visit_map(self.entries(Vec::new()))),
            _ => Err(self.unexpected("a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) if entries.len() == 1 => {
                let access = self.entries(entries.iter().collect());
                let map = de::value::MapAccessDeserializer::new(access);
                self.place(map.deserialize_enum(name, variants, visitor))
            }
            _ => match self.node.text() {
                Some(text) => {
                    self.place(visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(text)))
                }
                None => Err(self.unexpected(&format!("one of {}", listed(variants)))),
            },
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { f32 f64 bytes byte_buf }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
    notes: &'a Notes<'a>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let next = self.items.next();
        next.map(|node| seed.deserialize(Reader { node, notes: self.notes, others: Others::None }))
            .transpose()
    }
}

struct Entries<'a> {
    entries: std::vec::IntoIter<&'a Entry>,
    value: Option<&'a Entry>,
    notes: &'a Notes<'a>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.value = self.entries.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key = seed.deserialize(IntoDeserializer::<Fault>::into_deserializer(entry.key.as_str()));
        key.map(Some).map_err(|fault| fault.or_at(entry.key_position))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let entry = self
            .value
            .take()
            .ok_or_else(|| Fault::new("value", "a value was asked for before its key".into()))?;
        let place = if entry.node.is_null() { entry.key_position } else { entry.node.position };
        let reader = Reader { node: &entry.node, notes: self.notes, others: Others::None };
        seed.deserialize(reader).map_err(|mut fault| {
            if fault.at.is_none_or(|at| at == entry.node.position) {
                fault.at = Some(place);
                // the fault is in this very value: its key tells the person which
                if fault.rule != "key-missing" && !fault.message.starts_with('`') {
                    fault.message = format!("`{}`: {}", entry.key, fault.message);
                }
            }
            fault
        })
    }
}

/// The list of one that [`Checked`](crate::Checked) reads: a fault inside is noted and leaves it empty.
struct Swallow<'a>(Option<Reader<'a>>);

impl<'de> SeqAccess<'de> for Swallow<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        Ok(self.0.take().and_then(|reader| reader.notes.read(reader, seed)))
    }
}

/// The three rounds of [`Both`](crate::Both): the fields of the second type, the first type, the second type.
struct Rounds<'a> {
    reader: Reader<'a>,
    round: u8,
    fields: &'static [&'static str],
}

impl<'de> SeqAccess<'de> for Rounds<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.round += 1;
        let others = match self.round {
            1 => {
                let _ = seed.deserialize(Probe(&mut self.fields));
                return Ok(None);
            }
            2 => Others::Report(self.fields),
            _ => Others::Silent,
        };
        seed.deserialize(Reader { others, ..self.reader }).map(Some)
    }
}

/// Notes the fields of the struct that is asked for, and fails.
struct Probe<'a>(&'a mut &'static [&'static str]);

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
        Err(Fault::new("value", "only the fields were asked for".into()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
