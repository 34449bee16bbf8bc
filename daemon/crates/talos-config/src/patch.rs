//! Config patches: strategic merge with all of Talos's exceptions, `$patch: delete`, and JSON 6902.
//!
//! What people write in talconfig's `patches` lands here, over the generated base config. The result equals what `talosctl
//! machineconfig patch` makes of the same input (talos.md §4); a test lets Talos's own patcher judge.

mod delete;
mod json;
mod merge;

use std::fmt;

use document::{Document, Value as Written};
use serde_json::Value;

use crate::config::{self, ConfigError, DocumentId, MachineConfig};
use crate::schema;
use crate::yaml::{self, YamlError};

use delete::Deletion;
use json::Operation;

/// One patch, read and ready to be applied to any number of configs.
///
/// Patches hold registry passwords and the like, so `Debug` shows only which documents it changes.
#[derive(Clone, PartialEq)]
pub struct Patch(Form);

#[derive(Clone, PartialEq)]
enum Form {
    Strategic(Vec<Part>),
    Json(Vec<Operation>),
}

/// What a strategic patch does to one document: deletions first, then the merge of what is left of it.
#[derive(Clone, PartialEq)]
struct Part {
    id: DocumentId,
    deletions: Vec<Deletion>,
    merge: Option<Value>,
}

/// Why a patch could not be read or applied. No value is repeated, only keys and names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The text is not YAML.
    #[error("the patch is not readable YAML: {0}")]
    Yaml(#[from] YamlError),
    /// Its documents are not documents of a machine config.
    #[error("the patch is not a machine config: {0}")]
    Config(#[from] ConfigError),
    /// A list that is not a list of JSON 6902 operations.
    #[error("operation {at} of the JSON patch {reason}")]
    Operation {
        /// Its place, from 1.
        at: usize,
        /// What is wrong.
        reason: String,
    },
    /// `$patch: delete` where it cannot be.
    #[error("`$patch: delete` at {path}: {reason}")]
    Deletion {
        /// The keys that lead there, or `the top`.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is nothing to delete.
    #[error("the patch deletes `{path}` in {document}, but there is no such thing")]
    Nothing {
        /// The document.
        document: Box<DocumentId>,
        /// The keys that lead there.
        path: String,
    },
    /// A map cannot be merged with a list, and so on.
    #[error("the patch has {patch} at `{path}` in {document}, where the config has {config}")]
    Clash {
        /// The document.
        document: Box<DocumentId>,
        /// The keys that lead there.
        path: String,
        /// What the patch has.
        patch: &'static str,
        /// What the config has.
        config: &'static str,
    },
    /// JSON 6902 knows one document only, and configs since Talos 1.12 have several.
    #[error(
        "JSON 6902 patches cannot be used on a config of several documents; write it as a strategic merge patch instead"
    )]
    SeveralDocuments,
}

/// Reads a patch and applies it to a config.
pub fn apply(mut config: MachineConfig, patch: &str) -> Result<MachineConfig, PatchError> {
    Patch::parse(patch)?.apply(&mut config)?;
    Ok(config)
}

impl Patch {
    /// Reads a patch: documents of a machine config, or a list of JSON 6902 operations in YAML or JSON.
    ///
    /// A text without any document changes nothing.
    pub fn parse(text: &str) -> Result<Self, PatchError> {
        Self::from_documents(&yaml::read(text)?)
    }

    /// The same from documents that are already read, for example inside talconfig.
    pub fn from_documents(documents: &[Document]) -> Result<Self, PatchError> {
        if let [document] = documents
            && matches!(document.root().value, Written::List(_))
        {
            return Ok(Self(Form::Json(json::read(&document.root().to_json())?)));
        }
        let values = documents.iter().enumerate().map(|(at, document)| config::read(document, at + 1));
        let values: Vec<Value> = values.collect::<Result<_, ConfigError>>()?;
        let mut parts: Vec<Part> = Vec::new();
        for (at, mut value) in values.into_iter().enumerate() {
            let id = config::identify(&value, at + 1)?;
            if parts.iter().any(|part| part.id == id) {
                return Err(ConfigError::Duplicate(Box::new(id)).into());
            }
            let (deletions, rest) = delete::take(&mut value)?;
            parts.push(Part { id, deletions, merge: rest.then_some(value) });
        }
        Ok(Self(Form::Strategic(parts)))
    }

    /// Applies the patch. On an error the config is as it was.
    pub fn apply(&self, config: &mut MachineConfig) -> Result<(), PatchError> {
        let mut patched = config.clone();
        match &self.0 {
            Form::Strategic(parts) => parts.iter().try_for_each(|part| part.apply(&mut patched))?,
            Form::Json(operations) => json::apply(operations, &mut patched)?,
        }
        *config = patched;
        Ok(())
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patch ")?;
        match &self.0 {
            Form::Strategic(parts) => f.debug_list().entries(parts.iter().map(|part| &part.id)).finish(),
            Form::Json(operations) => write!(f, "of {} JSON operations", operations.len()),
        }
    }
}

impl Part {
    fn apply(&self, config: &mut MachineConfig) -> Result<(), PatchError> {
        let shape = schema::of(&self.id);
        for deletion in &self.deletions {
            if deletion.is_document() {
                config.remove(&self.id);
                continue;
            }
            // deleting from a document that is not there is no fault
            let Some(document) = config.get_mut(&self.id) else { continue };
            deletion.apply(document, shape).map_err(|_| PatchError::Nothing {
                document: Box::new(self.id.clone()),
                path: deletion.path(),
            })?;
        }
        let Some(patch) = &self.merge else { return Ok(()) };
        match config.get_mut(&self.id) {
            Some(document) => merge::document(document, patch, shape).map_err(|clash| PatchError::Clash {
                document: Box::new(self.id.clone()),
                path: clash.path(),
                patch: clash.patch,
                config: clash.config,
            }),
            None => Ok(config.insert(patch.clone())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONFIG: &str = "machine:\n  token: secret\n  certSANs: [a]\n  network:\n    hostname: old\n    interfaces: \
                          [{interface: eth0, addresses: [10.0.0.1/24]}]\ncluster: {network: {podSubnets: [10.0.0.0/8]}}\n\
                          ---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n---\napiVersion: v1alpha1\n\
                          kind: FutureConfig\nname: one\nlist: [1]\ntext: a\n";

    fn config() -> MachineConfig {
        MachineConfig::from_yaml(CONFIG).expect("reads")
    }

    fn patched(patch: &str) -> MachineConfig {
        apply(config(), patch).unwrap_or_else(|error| panic!("{error}: {patch}"))
    }

    #[test]
    fn maps_merge_lists_append_and_exceptions_replace() {
        let config = patched(
            "machine: {certSANs: [b], network: {hostname: '', interfaces: [{interface: eth0, addresses: \
             [10.0.0.2/24]}]}}\ncluster: {network: {podSubnets: [10.1.0.0/16]}}\n",
        );
        assert_eq!(config.at(&["machine", "certSANs"]), Some(&json!(["a", "b"])));
        assert_eq!(config.at(&["machine", "network", "hostname"]), Some(&json!("old")));
        let interfaces = json!([{"interface": "eth0", "addresses": ["10.0.0.1/24", "10.0.0.2/24"]}]);
        assert_eq!(config.at(&["machine", "network", "interfaces"]), Some(&interfaces));
        assert_eq!(config.at(&["cluster", "network", "podSubnets"]), Some(&json!(["10.1.0.0/16"])));
    }

    #[test]
    fn several_documents_are_patched_and_new_ones_appended() {
        let config = patched(
            "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: \"off\"\nhostname: x\n---\napiVersion: v1alpha1\n\
             kind: FutureConfig\nname: two\nlist: [2]\n",
        );
        let hostname = config.document("HostnameConfig", "").expect("there");
        assert_eq!((&hostname["auto"], &hostname["hostname"]), (&json!("off"), &json!("x")));
        assert_eq!(config.documents().len(), 4);
    }

    #[test]
    fn unknown_kinds_pass_through_and_merge_by_general_rules() {
        let config = patched(
            "apiVersion: v1alpha1\nkind: FutureConfig\nname: one\nlist: [2]\ntext: b\nmore: {deep: 1}\n",
        );
        let future = Value::Object(config.document("FutureConfig", "one").expect("there").clone());
        assert_eq!((&future["list"], &future["text"]), (&json!([1, 2]), &json!("b")));
        let config = patched(
            "apiVersion: v1alpha1\nkind: FutureConfig\nname: one\nlist: {$patch: delete}\nabsent: {$patch: delete}\n",
        );
        assert!(config.document("FutureConfig", "one").expect("there").get("list").is_none());
    }

    #[test]
    fn deletions_come_first() {
        let config = patched(
            "machine: {network: {hostname: {$patch: delete}, interfaces: [{interface: eth0, $patch: delete}, \
             {interface: eth0, mtu: 9000}]}}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\n$patch: delete\n",
        );
        assert_eq!(
            config.at(&["machine", "network"]),
            Some(&json!({"interfaces": [{"interface": "eth0", "mtu": 9000}]}))
        );
        assert!(config.document("HostnameConfig", "").is_none());
    }

    #[test]
    fn a_patch_that_fails_changes_nothing_and_names_the_place() {
        for (patch, message) in [
            (
                "machine: {token: x}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: [1]\n",
                "the patch has a list at `auto` in the document HostnameConfig, where the config has a text",
            ),
            (
                "machine: {token: x, network: {interfaces: {eth0: {}}}}\n",
                "the patch has a map at `machine.network.interfaces` in the v1alpha1 document, where the config has a list",
            ),
            (
                "machine: {token: x, network: {interfaces: [{interface: eth5, $patch: delete}]}}\n",
                "the patch deletes `machine.network.interfaces[interface: eth5]` in the v1alpha1 document, but there \
                 is no such thing",
            ),
            (
                "machine: {}\n$patch: delete\n",
                "`$patch: delete` at the top: the main document cannot be deleted",
            ),
            (
                "- {op: remove, path: /machine}\n",
                "JSON 6902 patches cannot be used on a config of several documents; write it as a strategic merge \
                 patch instead",
            ),
            (
                "- {path: /machine}\n",
                "operation 1 of the JSON patch has no `op`, so this is neither a JSON patch nor a document of a \
                 machine config",
            ),
        ] {
            let mut changed = config();
            let error = Patch::parse(patch).and_then(|patch| patch.apply(&mut changed)).expect_err(patch);
            assert_eq!(error.to_string(), message);
            assert!(changed == config());
        }
    }

    #[test]
    fn json_operations_change_one_document() {
        let (main, _) = CONFIG.split_once("---").expect("documents");
        let config = MachineConfig::from_yaml(main).expect("reads");
        let config = apply(
            config,
            "[{op: add, path: /machine/certSANs/0, value: z}, {op: move, from: /machine/token, path: /machine/type}, \
             {op: test, path: /machine/type, value: secret}]",
        )
        .expect("applies");
        assert_eq!(config.at(&["machine", "certSANs"]), Some(&json!(["z", "a"])));
        assert_eq!(config.at(&["machine", "type"]), Some(&json!("secret")));
        assert_eq!(config.at(&["machine", "token"]), None);
    }

    #[test]
    fn an_empty_patch_changes_nothing_and_patches_do_not_show_what_they_hold() {
        assert!(patched("# nothing yet\n") == config());
        let patch = Patch::parse("machine: {token: secret}\n").expect("reads");
        assert_eq!(format!("{patch:?}"), "Patch [V1Alpha1]");
    }
}
