//! What differs between two machine configs, place by place, without showing secrets.
//!
//! Order of keys, comments and indentation carry no meaning in a config, so that a difference of texts says little; and most
//! people look at one where others can see the screen.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::config::{DocumentId, MachineConfig};

/// Keys whose values are secrets wherever they stand in a config.
const SECRET: [&str; 21] = [
    "aescbcEncryptionSecret",
    "auth",
    "bootstrapToken",
    "certificates",
    "clusterSecret",
    "content",
    "contents",
    "env",
    "environment",
    "extraManifestHeaders",
    "headers",
    "identityToken",
    "key",
    "manifest",
    "passphrase",
    "password",
    "presharedKey",
    "privateKey",
    "secret",
    "secretboxEncryptionSecret",
    "variables",
];

/// How many characters of a value are shown.
const SHOWN: usize = 120;

/// One place where two configs differ.
#[derive(Clone, PartialEq)]
pub struct Difference {
    /// The document it is in.
    pub document: DocumentId,
    /// The keys that lead to it, places in lists as `[0]`; empty for a whole document.
    pub path: Vec<String>,
    /// What the first config has there.
    pub old: Option<Value>,
    /// What the second config has there.
    pub new: Option<Value>,
}

/// All places where two configs differ, in the order of the documents.
pub fn differences(old: &MachineConfig, new: &MachineConfig) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut ids: Vec<DocumentId> = old.ids().collect();
    ids.extend(new.ids().filter(|id| old.get(id).is_none()));
    for id in ids {
        let value = |config: &MachineConfig| config.get(&id).cloned().map(Value::Object);
        let (old, new) = (value(old), value(new));
        let mut search = Search { id: &id, path: Vec::new(), found: &mut found };
        search.visit(old.as_ref(), new.as_ref());
    }
    found
}

struct Search<'a> {
    id: &'a DocumentId,
    path: Vec<String>,
    found: &'a mut Vec<Difference>,
}

impl Search<'_> {
    fn visit(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (old, new) if old == new => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    self.step(key.clone(), old.get(key), new.get(key));
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) => {
                for at in 0..old.len().max(new.len()) {
                    self.step(format!("[{at}]"), old.get(at), new.get(at));
                }
            }
            (old, new) => self.found.push(Difference {
                document: self.id.clone(),
                path: self.path.clone(),
                old: old.cloned(),
                new: new.cloned(),
            }),
        }
    }

    fn step(&mut self, key: String, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(key);
        self.visit(old, new);
        self.path.pop();
    }
}

impl Difference {
    /// Whether a value here is nobody's business: secrets, and texts that may hold one.
    pub fn is_secret(&self) -> bool {
        let is = |key: &str| SECRET.contains(&key) || key.to_ascii_lowercase().ends_with("token");
        self.path.iter().any(|key| is(key))
    }
}

impl fmt::Display for Difference {
    /// `- the v1alpha1 document machine.install.disk: "/dev/sda"`, and `+ …` for what takes its place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.path.as_slice() {
            [] => self.document.to_string(),
            path => format!("{}: {}", self.document, path.join(".")),
        };
        let secret = self.is_secret();
        let sides = [('-', &self.old), ('+', &self.new)];
        let mut first = true;
        for (sign, value) in sides.into_iter().filter_map(|(sign, value)| Some((sign, value.as_ref()?))) {
            if !first {
                writeln!(f)?;
            }
            first = false;
            // what lies under a section that is there on one side only may be a secret, too
            let shown = match value {
                Value::Object(_) | Value::Array(_) => String::new(),
                _ if secret => ": (not shown)".to_owned(),
                value => {
                    let text = value.to_string();
                    match text.char_indices().nth(SHOWN) {
                        Some((end, _)) => format!(": {}…", text.get(..end).unwrap_or_default()),
                        None => format!(": {text}"),
                    }
                }
            };
            write!(f, "{sign} {place}{shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> Vec<String> {
        let read = |text: &str| MachineConfig::from_yaml(text).expect(text);
        differences(&read(old), &read(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn differences_are_named_by_their_place() {
        let old = "machine: {type: worker, certSANs: [a, b], install: {disk: /dev/sda}}\n---\napiVersion: v1alpha1\nkind: \
                   LinkConfig\nname: eth0\nmtu: 1500\n";
        let new = "machine: {type: worker, certSANs: [a], install: {disk: /dev/sdb, wipe: false}}\n---\napiVersion: v1alpha1\n\
                   kind: HostnameConfig\nhostname: a\n";
        assert_eq!(
            shown(old, new),
            [
                "- the v1alpha1 document: machine.certSANs.[1]: \"b\"",
                "- the v1alpha1 document: machine.install.disk: \"/dev/sda\"\n+ the v1alpha1 document: machine.install.disk: \"/dev/sdb\"",
                "+ the v1alpha1 document: machine.install.wipe: false",
                "- the document LinkConfig `eth0`",
                "+ the document HostnameConfig",
            ]
        );
        assert_eq!(shown(old, old), [""; 0]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let old = "machine: {token: one, ca: {crt: a, key: two}, files: [{content: three, path: /x}]}";
        let new = "machine: {token: 1ONE, ca: {crt: a, key: 2TWO}, files: [{content: 3THREE, path: /x}], env: {A: four}}";
        let all = shown(old, new).concat();
        for secret in ["one", "two", "three", "1ONE", "2TWO", "3THREE", "four"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    }
}
