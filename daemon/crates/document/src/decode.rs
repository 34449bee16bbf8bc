//! Tree to serde types, without stopping at the first fault.
//!
//! serde itself gives up at the first error. Two things let the reading go on: unknown keys are noted and
//! skipped, and a field of type [`Checked`] swallows its own fault after noting it.

use std::{cell::RefCell, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{self, DeserializeOwned, DeserializeSeed, SeqAccess, Visitor},
};

use crate::{
    finding::{Finding, Findings, Position},
    nearest::nearest,
    node::{Entry, Node},
    parse::Document,
    reader::{Fault, Others, Reader},
};

/// How to treat what the types do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Unknown keys are errors. For files of our own.
    Strict,
    /// As Go's yaml.v3 without `KnownFields`: unknown keys have no effect (here they are warned about), an
    /// empty value is an absent one, booleans may be written `yes` or `off`, and whole numbers with a leading
    /// zero are octal. For files of Go tools.
    Go,
}

/// A value that may have been faulty: `None` means that a finding tells why, and the rest was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<T>(pub Option<T>);

/// A mapping read as two types, each taking the keys that are its own. What serde's `flatten` is for, with
/// positions, spellings and the report of unknown keys kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Both<A, B>(pub A, pub B);

/// Text, or something larger that text is short for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextOr<T> {
    /// only a text, a number or a boolean, as it was written
    Text(String),
    /// all of it
    Whole(T),
}

/// The names by which the reader knows them.
pub(crate) const CHECKED: &str = "$checked";
pub(crate) const TEXT_OR: &str = "$text-or";
pub(crate) const BOTH: &str = "$both";

impl<T> Default for Checked<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Checked<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CheckedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for CheckedVisitor<T> {
            type Value = Checked<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            // our own deserializer: a list of the value, or of nothing after a fault
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                access.next_element().map(Checked)
            }

            // any other: the fault goes on upwards
            fn visit_newtype_struct<D: de::Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Self::Value, D::Error> {
                T::deserialize(deserializer).map(|value| Checked(Some(value)))
            }
        }

        deserializer.deserialize_newtype_struct(CHECKED, CheckedVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a mapping")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_newtype_struct<D: de::Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Self::Value, D::Error> {
                T::deserialize(deserializer).map(TextOr::Whole)
            }
        }

        deserializer.deserialize_newtype_struct(TEXT_OR, TextOrVisitor(PhantomData))
    }
}

impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Deserialize<'de> for Both<A, B> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BothVisitor<A, B>(PhantomData<(A, B)>);

        impl<'de, A: Deserialize<'de>, B: Deserialize<'de>> Visitor<'de> for BothVisitor<A, B> {
            type Value = Both<A, B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut access: S) -> Result<Self::Value, S::Error> {
                let missing =
                    || <S::Error as de::Error>::custom("only two structs can be read from one mapping");
                // the first round tells the reader which keys the second type has
                access.next_element::<FieldsOf<B>>()?;
                let first = access.next_element()?.ok_or_else(missing)?;
                let second = access.next_element()?.ok_or_else(missing)?;
                Ok(Both(first, second))
            }
        }

        deserializer.deserialize_tuple_struct(BOTH, 3, BothVisitor(PhantomData))
    }
}

/// Reads nothing; only shows the deserializer the field names of a struct.
struct FieldsOf<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FieldsOf<T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // the reader's element for this round fails after noting the fields; the failure is the answer
        T::deserialize(deserializer).map(|_| Self(PhantomData))
    }
}

impl Document {
    /// Reads the document into a type. `None` when a fault lies outside every [`Checked`]; the findings
    /// tell all faults either way.
    pub fn decode<T: DeserializeOwned>(&self, keys: Keys) -> (Option<T>, Findings) {
        self.decode_node(self.root(), keys)
    }

    /// Reads one value of the document into a type.
    pub fn decode_node<T: DeserializeOwned>(&self, node: &Node, keys: Keys) -> (Option<T>, Findings) {
        let notes = Notes { file: self.file(), keys, findings: RefCell::default() };
        let value = notes.read(Reader { node, notes: &notes, others: Others::None }, PhantomData);
        (value, notes.findings.into_inner())
    }
}

/// What is written down while reading goes on.
pub(crate) struct Notes<'a> {
    file: &'a str,
    pub(crate) keys: Keys,
    findings: RefCell<Findings>,
}

impl Notes<'_> {
    pub(crate) fn read<'de, S: DeserializeSeed<'de>>(
        &self,
        reader: Reader<'de>,
        seed: S,
    ) -> Option<S::Value> {
        let at = reader.node.position;
        seed.deserialize(reader).map_err(|fault| self.note(fault, at)).ok()
    }

    fn note(&self, fault: Fault, fallback: Position) {
        let mut finding = Finding::error(self.file, fault.at.unwrap_or(fallback), fault.rule, fault.message);
        finding.fix = fault.fix;
        self.findings.borrow_mut().push(finding);
    }

    /// Reports keys no field takes, and gives the entries that some field does.
    pub(crate) fn known<'a>(
        &self,
        entries: &'a [Entry],
        fields: &'static [&'static str],
        others: Others,
    ) -> Vec<&'a Entry> {
        let (known, unknown): (Vec<&Entry>, Vec<&Entry>) =
            entries.iter().partition(|entry| fields.contains(&entry.key.as_str()));
        let others = match others {
            Others::None => &[][..],
            Others::Report(others) => others,
            Others::Silent => return known,
        };
        let fields: Vec<&str> = fields.iter().chain(others).copied().collect();
        for entry in unknown.into_iter().filter(|entry| !others.contains(&entry.key.as_str())) {
            let absent =
                fields.iter().copied().filter(|field| !entries.iter().any(|entry| entry.key == *field));
            let message = match self.keys {
                Keys::Strict => format!("unknown key `{}`", entry.key),
                Keys::Go => format!("unknown key `{}` has no effect", entry.key),
            };
            let fix = match nearest(&entry.key, absent) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("remove it; the keys known here are {}", listed(&fields)),
            };
            let finding = Finding::error(self.file, entry.key_position, "key-unknown", message).fix(fix);
            self.findings.borrow_mut().push(match self.keys {
                Keys::Strict => finding,
                Keys::Go => finding.warning(),
            });
        }
        known
    }
}

pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    struct Rack {
        name: String,
        #[serde(default)]
        version: Option<String>,
        #[serde(default)]
        mode: Mode,
        #[serde(default)]
        machines: BTreeMap<String, Checked<Machine>>,
        #[serde(default)]
        open: bool,
        #[serde(default)]
        size: u32,
        #[serde(default)]
        free: serde_json::Value,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Proxy,
        Off,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Machine {
        port: u16,
    }

    fn read(text: &str, keys: Keys) -> (Option<Rack>, Vec<String>) {
        let (rack, findings) = Document::parse("f.yaml", text).unwrap().decode::<Rack>(keys);
        (rack, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_good_file_is_read_with_its_spellings() {
        let text = "name: 1.10\nversion: 1.30\nmode: off\nmachines: {a: {port: 7}}\nfree: {x: [1, ~]}\n";
        let (rack, findings) = read(text, Keys::Strict);
        assert_eq!(findings, [""; 0]);
        let rack = rack.unwrap();
        assert_eq!(
            (rack.name.as_str(), rack.version.as_deref(), rack.mode),
            ("1.10", Some("1.30"), Mode::Off)
        );
        assert_eq!(rack.machines["a"], Checked(Some(Machine { port: 7 })));
        assert_eq!(rack.free, serde_json::json!({"x": [1, null]}));
    }

    #[test]
    fn every_fault_is_reported_and_the_rest_is_read() {
        let text = "name: x\nmahcines: {}\nmachines:\n  a: {port: 70000}\n  b: {port: 1, prot: 2}\n  c: {}\n  d: [1]\n";
        let (rack, findings) = read(text, Keys::Strict);
        assert_eq!(rack.unwrap().machines["b"], Checked(Some(Machine { port: 1 })));
        assert_eq!(
            findings,
            [
                "f.yaml:2:1: error[key-unknown]: unknown key `mahcines`\n  fix: remove it; the keys known here are `name`, `version`, `mode`, `machines`, `open`, `size`, `free`",
                "f.yaml:4:13: error[value]: `port`: invalid value: integer `70000`, expected u16",
                "f.yaml:5:16: error[key-unknown]: unknown key `prot`\n  fix: remove it; the keys known here are `port`",
                "f.yaml:6:6: error[key-missing]: the key `port` is missing\n  fix: add `port:`",
                "f.yaml:7:6: error[type]: expected a mapping, found a list",
            ]
        );
    }

    #[test]
    fn slips_name_the_key_or_word_that_was_meant() {
        let (_, findings) = read("name: x\nmdoe: off\n", Keys::Strict);
        assert_eq!(
            findings,
            ["f.yaml:2:1: error[key-unknown]: unknown key `mdoe`\n  fix: did you mean `mode`?"]
        );
        let (rack, findings) = read("name: x\nmode: prxoy\n", Keys::Strict);
        assert!(rack.is_none());
        assert_eq!(
            findings,
            ["f.yaml:2:7: error[value]: `prxoy` is not one of `proxy`, `off`\n  fix: did you mean `proxy`?"]
        );
        let (_, findings) = read("name: x\nopen: yes\n", Keys::Strict);
        assert_eq!(
            findings,
            [
                "f.yaml:2:7: error[type]: `open`: expected true or false, found a text (yes)\n  fix: write true"
            ]
        );
        let (_, findings) = read("name:\n", Keys::Strict);
        assert_eq!(findings, ["f.yaml:1:1: error[type]: `name`: expected a text, found nothing"]);
    }

    #[test]
    fn files_of_go_tools_are_read_as_go_reads_them() {
        let (rack, findings) = read("name: x\nversion:\nopen: on\nsize: 0644\ncolour: red\n", Keys::Go);
        let rack = rack.unwrap();
        assert_eq!((rack.version, rack.open, rack.size), (None, true, 0o644));
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].starts_with("f.yaml:5:1: warning[key-unknown]: unknown key `colour` has no effect"),
            "{findings:?}"
        );
    }

    #[test]
    fn what_came_from_a_variable_is_not_repeated() {
        let environment = [("S".to_owned(), "hunter2".to_owned())].into();
        for text in ["name: x\nopen: ${S}\n", "name: x\nmode: ${S}\n", "name: x\nsize: ${S}\n"] {
            let mut document = Document::parse("f", text).unwrap();
            assert!(document.substitute(&environment).is_empty());
            let (_, findings) = document.decode::<Rack>(Keys::Strict);
            let shown = findings.to_string();
            assert!(shown.contains("f:2:") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn two_types_share_one_mapping() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Slot {
            #[serde(default)]
            label: String,
        }
        let both = |text: &str| {
            let (value, findings) =
                Document::parse("f", text).unwrap().decode::<Vec<Both<Machine, Slot>>>(Keys::Strict);
            (value, findings.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (value, findings) = both("- {label: 1.10, port: 3, lable: x}\n");
        assert_eq!(value.unwrap(), [Both(Machine { port: 3 }, Slot { label: "1.10".into() })]);
        assert_eq!(
            findings,
            [
                "f:1:26: error[key-unknown]: unknown key `lable`\n  fix: remove it; the keys known here are `port`, `label`"
            ]
        );
        assert_eq!(
            both("- {label: x}\n").1,
            ["f:1:3: error[key-missing]: the key `port` is missing\n  fix: add `port:`"]
        );
        assert_eq!(both("- [1]\n").1, ["f:1:3: error[type]: expected a mapping, found a list"]);
    }
}
