//! A machine config: a stream of YAML documents, each known by its API version, kind and name.
//!
//! The generator makes one, patches change it, and its YAML is what a machine is given. The main document (`version:
//! v1alpha1`) has neither `apiVersion` nor `kind`; documents of kinds unknown here pass through untouched.

use std::fmt;

use document::Document;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::schema;
use crate::yaml::{self, YamlError};

/// Documents of one machine, the main one first if it is there.
///
/// Holds private keys for a control plane, so `Debug` shows only which documents there are.
#[derive(Clone, PartialEq, Default)]
pub struct MachineConfig {
    documents: Vec<Value>,
}

/// What makes a document the same one in a config and in a patch to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DocumentId {
    /// The main document, `version: v1alpha1`.
    V1Alpha1,
    /// Any other document.
    Other {
        /// `v1alpha1` for all documents so far.
        api_version: String,
        /// The kind, for example `HostnameConfig`.
        kind: String,
        /// The name; empty for kinds of which a machine has only one.
        name: String,
    },
}

/// Why a text or a list of documents is not a machine config. No value is repeated, only keys and names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not YAML.
    #[error("the machine config is not readable YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A document is a list or a scalar.
    #[error("document {0} of the machine config is not a map")]
    NotAMap(usize),
    /// A document is not the main one and does not say `apiVersion` and `kind`.
    #[error(
        "document {0} of the machine config has neither `machine` or `cluster` nor `apiVersion` and `kind`"
    )]
    NoKind(usize),
    /// Two documents have the same identity.
    #[error("the machine config has {0} twice")]
    Duplicate(Box<DocumentId>),
}

impl MachineConfig {
    /// Reads a stream of documents, each value as Talos reads it at its place.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        let documents = yaml::read(text)?;
        let values = documents.iter().enumerate().map(|(at, document)| read(document, at + 1));
        Self::from_documents(values.collect::<Result<_, _>>()?)
    }

    /// Takes documents as values; each identity may be there once.
    pub fn from_documents(documents: Vec<Value>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (at, document) in documents.into_iter().enumerate() {
            let id = identify(&document, at + 1)?;
            if config.position(&id).is_some() {
                return Err(ConfigError::Duplicate(Box::new(id)));
            }
            config.documents.push(document);
        }
        Ok(config)
    }

    /// The YAML for the machine, wiped when dropped.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, YamlError> {
        yaml::write(&self.documents)
    }

    /// All documents in their order.
    pub fn documents(&self) -> &[Value] {
        &self.documents
    }

    /// The identities of all documents, in their order.
    pub fn ids(&self) -> impl Iterator<Item = DocumentId> + '_ {
        self.documents.iter().enumerate().filter_map(|(at, document)| identify(document, at + 1).ok())
    }

    /// The main document.
    pub fn v1alpha1(&self) -> Option<&Map<String, Value>> {
        self.get(&DocumentId::V1Alpha1)
    }

    /// The main document as a value.
    pub(crate) fn main_value(&self) -> Option<&Value> {
        self.documents.get(self.position(&DocumentId::V1Alpha1)?)
    }

    /// The main document, to be changed.
    pub fn v1alpha1_mut(&mut self) -> Option<&mut Map<String, Value>> {
        let at = self.position(&DocumentId::V1Alpha1)?;
        self.documents.get_mut(at)?.as_object_mut()
    }

    /// Another document. `name` is empty for kinds of which a machine has only one.
    pub fn document(&self, kind: &str, name: &str) -> Option<&Map<String, Value>> {
        let mut documents = self.documents.iter().filter_map(Value::as_object);
        documents.find(|document| text(document, "kind") == kind && text(document, "name") == name)
    }

    /// All documents of one kind.
    pub fn documents_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.documents
            .iter()
            .filter_map(Value::as_object)
            .filter(move |document| text(document, "kind") == kind)
    }

    /// A document by its identity.
    pub fn get(&self, id: &DocumentId) -> Option<&Map<String, Value>> {
        self.documents.get(self.position(id)?)?.as_object()
    }

    /// A value in the main document, by keys: `["machine", "install", "image"]`.
    pub fn at(&self, keys: &[&str]) -> Option<&Value> {
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.v1alpha1()?.get(*first)?, |value, key| value.get(key))
    }

    /// Puts a document in: in the place of the one with the same identity, or at the end.
    pub fn insert(&mut self, document: Value) -> Result<(), ConfigError> {
        let id = identify(&document, self.documents.len() + 1)?;
        match self.position(&id).and_then(|at| self.documents.get_mut(at)) {
            Some(place) => *place = document,
            None => self.documents.push(document),
        }
        Ok(())
    }

    /// Takes a document out.
    pub fn remove(&mut self, id: &DocumentId) -> Option<Value> {
        let at = self.position(id)?;
        Some(self.documents.remove(at))
    }

    pub(crate) fn get_mut(&mut self, id: &DocumentId) -> Option<&mut Value> {
        let at = self.position(id)?;
        self.documents.get_mut(at)
    }

    fn position(&self, id: &DocumentId) -> Option<usize> {
        self.documents.iter().position(|document| identify(document, 0).as_ref() == Ok(id))
    }
}

/// The value of a document, read by the shape of its kind; `at` is its place in the stream, from 1.
pub(crate) fn read(document: &Document, at: usize) -> Result<Value, ConfigError> {
    let node = document.root();
    let plain = node.to_json();
    let id = identify(&plain, at)?;
    Ok(schema::value(node, schema::of(&id)))
}

/// The identity of a document; `at` is its place in the stream, from 1, for the error.
pub(crate) fn identify(document: &Value, at: usize) -> Result<DocumentId, ConfigError> {
    let map = document.as_object().ok_or(ConfigError::NotAMap(at))?;
    let kind = text(map, "kind");
    if kind.is_empty() {
        // Talos knows the main document by its sections; in patches `version` is usually missing
        let main =
            ["machine", "cluster", "debug", "persist"].iter().any(|section| map.contains_key(*section))
                || text(map, "version") == "v1alpha1"
                || text(map, "apiVersion") == "v1alpha1";
        return if main { Ok(DocumentId::V1Alpha1) } else { Err(ConfigError::NoKind(at)) };
    }
    let api_version = text(map, "apiVersion").to_owned();
    if api_version.is_empty() {
        return Err(ConfigError::NoKind(at));
    }
    Ok(DocumentId::Other { api_version, kind: kind.to_owned(), name: text(map, "name").to_owned() })
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V1Alpha1 => f.write_str("the v1alpha1 document"),
            Self::Other { kind, name, .. } if name.is_empty() => write!(f, "the document {kind}"),
            Self::Other { kind, name, .. } => write!(f, "the document {kind} `{name}`"),
        }
    }
}

impl fmt::Debug for MachineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineConfig ")?;
        f.debug_list().entries(self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "machine: {type: worker, token: abcdef.0123456789abcdef}\n---\napiVersion: v1alpha1\n\
                        kind: HostnameConfig\nhostname: a\n---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\n";

    #[test]
    fn documents_are_found_by_kind_and_name() {
        let mut config = MachineConfig::from_yaml(TEXT).expect("reads");
        assert_eq!(config.at(&["machine", "type"]), Some(&json!("worker")));
        assert_eq!(config.at(&["machine", "network", "hostname"]), None);
        assert_eq!(config.document("HostnameConfig", "").expect("there")["hostname"], "a");
        assert!(config.document("UserVolumeConfig", "").is_none());
        assert!(config.document("UserVolumeConfig", "data").is_some());
        config.insert(crate::documents::static_hostname("b")).expect("a document");
        assert_eq!(config.documents().len(), 3, "it takes the place of the old one");
        assert_eq!(config.document("HostnameConfig", "").expect("there")["hostname"], "b");
        config.insert(crate::documents::lldpd()).expect("a document");
        assert_eq!(config.documents_of("ExtensionServiceConfig").count(), 1);
        let ids: Vec<DocumentId> = config.ids().collect();
        assert_eq!(ids[3].to_string(), "the document ExtensionServiceConfig `lldpd`");
        assert!(config.remove(&ids[3]).is_some() && config.remove(&ids[3]).is_none());
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let config = MachineConfig::from_yaml(TEXT).expect("reads");
        assert!(MachineConfig::from_yaml(&config.to_yaml().expect("writes")).expect("reads") == config);
    }

    #[test]
    fn what_is_no_config_is_refused() {
        let error = |text: &str| MachineConfig::from_yaml(text).expect_err("refused");
        assert_eq!(error("- a\n"), ConfigError::NotAMap(1));
        assert_eq!(error("machine: {}\n---\nkind: HostnameConfig\n"), ConfigError::NoKind(2));
        assert_eq!(error("hostname: x\n"), ConfigError::NoKind(1));
        assert_eq!(
            error("machine: {}\n---\ncluster: {}\n"),
            ConfigError::Duplicate(Box::new(DocumentId::V1Alpha1))
        );
        assert!(matches!(error("a: [\n"), ConfigError::Yaml(_)));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", MachineConfig::from_yaml(TEXT).expect("reads"));
        assert!(!shown.contains("abcdef") && shown.contains("HostnameConfig"), "{shown}");
    }
}
