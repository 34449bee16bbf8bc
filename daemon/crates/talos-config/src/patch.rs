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
    #[error("`$patch: delete` at `{path}`: {reason}")]
    Deletion {
        /// The keys that lead there.
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
