//! What a changed site would change in a running cluster, field by field, and whose matter each change is. Never writes.

use std::fmt;

use futures_util::{StreamExt as _, stream};
use kubernetes::{ApplyError, Client, ObjectId, compared};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Cause, Fault},
    fixed,
    git::{self, GitOwner},
    manifest::{Manifest, Owner, Step},
};

/// How many objects are asked about at the same time.
const AT_ONCE: usize = 8;

/// How many characters of a value are shown.
const SHOWN: usize = 120;

/// How many digits of a hash are.
const DIGITS: usize = 12;

/// What of a step would change.
#[derive(Debug)]
pub struct StepChanges {
    /// the step
    pub step: String,
    /// in the order in which they are written
    pub objects: Vec<ObjectChange>,
    /// what cannot be changed, or not be asked
    pub faults: Vec<Fault>,
}

/// An object that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    /// which
    pub object: ObjectId,
    /// what would; empty where it is not there yet
    pub fields: Vec<FieldChange>,
    /// who in Flux owns it: then it is changed by a commit and by nobody else
    pub owner: Option<GitOwner>,
}

/// A field that would have another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// `.data.mtu`
    pub path: String,
    /// what is there, as far as it may be shown
    pub old: String,
    /// what would be
    pub new: String,
}

impl ObjectChange {
    /// Whose matter it is, as `ichord plan` says it of machines.
    pub fn phase(&self) -> &'static str {
        if self.owner.is_some() { "git" } else { "bootstrap" }
    }
}

impl fmt::Display for ObjectChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {}", self.phase(), self.object)?;
        if self.fields.is_empty() {
            write!(f, " is made")?;
        }
        if let Some(owner) = &self.owner {
            write!(f, " (of {owner}: change it by a commit)")?;
        }
        for FieldChange { path, old, new } in &self.fields {
            write!(f, "\n{:<9}   {path}: {old} → {new}", "")?;
        }
        Ok(())
    }
}

impl Step {
    /// The part of a step that is changed by `ichord apply`: all of one that ichord owns, and of the others the Secrets whose
    /// values the site itself names, which no repository has. Nothing is pruned.
    pub fn owned(&self) -> Option<Step> {
        if self.owner == Owner::Us {
            return (!self.manifests.is_empty()).then(|| self.clone());
        }
        let ours = |manifest: &&Manifest| manifest.id.kind == "Secret" && manifest.file == self.origin.0;
        let manifests: Vec<Manifest> = self.manifests.iter().filter(ours).cloned().collect();
        let owned = Step { manifests, release: None, check: None, ..self.clone() };
        (!owned.manifests.is_empty()).then_some(owned)
    }
}

/// Holds every object of a step against the cluster. Values of Secrets are shown as hashes with `key` in them.
pub async fn changes(client: &Client, step: &Step, key: &[u8]) -> StepChanges {
    let mut found = StepChanges { step: step.name.clone(), objects: Vec::new(), faults: Vec::new() };
    let looks: Vec<_> = step.manifests.iter().map(|manifest| one(client, manifest, key)).collect();
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    while let Some((manifest, looked)) = looks.next().await {
        match looked {
            Ok(change) => found.objects.extend(change),
            Err(cause) => {
                let (object, file) = (manifest.id.clone(), manifest.file.clone());
                found.faults.push(Fault { object, file, line: manifest.line, cause });
            }
        }
    }
    found
}

async fn one<'a>(
    client: &Client,
    manifest: &'a Manifest,
    key: &[u8],
) -> (&'a Manifest, Result<Option<ObjectChange>, Cause>) {
    (manifest, look(client, manifest, key).await)
}

async fn look(client: &Client, manifest: &Manifest, key: &[u8]) -> Result<Option<ObjectChange>, Cause> {
    let change = |fields, owner| Some(ObjectChange { object: manifest.id.clone(), fields, owner });
    let live = match client.object(&manifest.id).await {
        Ok(Some(live)) => live,
        Ok(None) | Err(ApplyError::UnknownKind { .. }) => return Ok(change(Vec::new(), None)),
        Err(error) => return Err(Cause::Apply(error)),
    };
    if manifest.once {
        return Ok(None);
    }
    let owner = git::owner(&live);
    if owner.is_none() {
        let fields = fixed::of(client, &live, manifest).await.map_err(Cause::Apply)?;
        if !fields.is_empty() {
            return Err(Cause::Fixed(fields));
        }
    }
    // only to see: what Git owns is asked about as if it were taken from it
    let proposed = client.propose(&manifest.object, owner.is_some()).await.map_err(Cause::Apply)?;
    let secret = manifest.id.kind == "Secret";
    let fields: Vec<FieldChange> = (compared(&live, &proposed).into_iter())
        .map(|(path, old, new)| {
            let hidden = secret && (path.starts_with(".data") || path.starts_with(".stringData"));
            FieldChange { old: shown(old, hidden, key), new: shown(new, hidden, key), path }
        })
        .collect();
    Ok(if fields.is_empty() { None } else { change(fields, owner) })
}

fn shown(value: &Value, hidden: bool, key: &[u8]) -> String {
    if value.is_null() {
        return "nothing".to_owned();
    }
    let text = value.to_string();
    if hidden {
        let mut hash = Sha256::new();
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(text);
        let hash = hex::encode(hash.finalize());
        return format!("hash {}", hash.get(..DIGITS).unwrap_or(&hash));
    }
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
