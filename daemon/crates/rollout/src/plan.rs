//! The changes of one node: the config it runs with and the one that the site wants, place by place.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use talos_config::config::{ConfigError, DocumentId, MachineConfig};
use talos_config::difference::{Difference, differences};

use crate::essentials::Essentials;
use crate::phase::{self, Phase};
use crate::rules::{self, Leaf};
use crate::upgrade::Image;
use crate::versions::Minor;

/// From this one on Talos does not boot again by itself when a config would need it.
pub const NEVER_REBOOTS: Minor = Minor { major: 1, minor: 14 };

/// How many characters of a value are shown.
const SHOWN: usize = 120;

/// What it takes until a change is in force, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Talos takes it while it runs
    Live,
    /// the machine boots again
    Reboot,
    /// Talos's installer has to run again
    Reinstall,
    /// it cannot be changed in place, and nothing is
    Refused,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Live => "live",
            Self::Reboot => "reboot",
            Self::Reinstall => "reinstall",
            Self::Refused => "refused",
        })
    }
}

/// One place that would be another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// the document it is in, in words
    pub document: String,
    /// the keys that lead to it, places in lists as `[0]`; empty for a whole document
    pub path: Vec<String>,
    /// what is there, as far as it may be shown
    pub old: Option<String>,
    /// what would be there
    pub new: Option<String>,
    /// what it takes
    pub class: Class,
    /// who it belongs to after the hand-over
    pub phase: Phase,
    /// Talos up to 1.13 reboots for it, whatever else it takes
    pub reboots: bool,
    /// what else is to be known or done
    pub way: Option<String>,
}

/// All changes of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// in the order of the documents; none when the node has what the site wants
    pub changes: Vec<Change>,
}

impl NodePlan {
    /// The worst class of all changes; nothing where there is none.
    pub fn class(&self) -> Option<Class> {
        self.changes.iter().map(|change| change.class).max()
    }

    /// Whether Kubernetes is to be another minor version, which is not a matter of one node.
    pub fn wants_another_kubernetes(&self) -> bool {
        self.changes.iter().any(|change| change.way.as_deref() == Some(rules::NEXT_KUBERNETES))
    }

    /// Whether Talos up to 1.13 reboots when it is given the config.
    pub fn reboots(&self) -> bool {
        self.changes.iter().any(|change| change.reboots)
    }
}

/// Compares what a node runs with and what the site wants. `image` is the Talos that it runs, which tells whether an installer
/// that is named has run already. Secrets are shown as hashes that `key` goes into, so that nobody who does not know it can
/// try out short ones.
pub fn plan(
    running: &MachineConfig,
    wanted: &MachineConfig,
    image: Option<&Image>,
    key: &[u8],
) -> Result<NodePlan, ConfigError> {
    let (running, wanted) = (meaningful(running)?, meaningful(wanted)?);
    let essentials = Essentials::between(&running, &wanted);
    let all = differences(&running, &wanted);
    let changes = all.iter().map(|difference| {
        let in_place = [&running, &wanted].iter().all(|config| config.get(&difference.document).is_some());
        change(difference, in_place, image, &essentials, key)
    });
    Ok(NodePlan { changes: changes.collect() })
}

/// A config without what says nothing: sections and lists that are empty, and nulls.
fn meaningful(config: &MachineConfig) -> Result<MachineConfig, ConfigError> {
    let pruned = |document: &Value| match document {
        Value::Object(map) => Value::Object(pruned_map(map)),
        other => other.clone(),
    };
    MachineConfig::from_documents(config.documents().iter().map(pruned).collect())
}

fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) => Some(pruned_map(map)).filter(|map| !map.is_empty()).map(Value::Object),
        Value::Array(items) if items.is_empty() => None,
        // in an element an empty section may be the whole word: a disk's key is `tpm: {}`
        scalar => Some(scalar.clone()),
    }
}

fn pruned_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().filter_map(|(key, value)| Some((key.clone(), pruned(value)?))).collect()
}

fn change(
    difference: &Difference,
    in_place: bool,
    image: Option<&Image>,
    essentials: &Essentials,
    key: &[u8],
) -> Change {
    let mut found = Change {
        document: difference.document.to_string(),
        path: difference.path.clone(),
        old: difference.old.as_ref().map(|value| shown(value, difference.is_secret(), key)),
        new: difference.new.as_ref().map(|value| shown(value, difference.is_secret(), key)),
        class: Class::Live,
        phase: phase_of(difference),
        reboots: false,
        way: None,
    };
    let mut path = difference.path.clone();
    let mut judge = |path: &[String], old: Option<&Value>, new: Option<&Value>| {
        let leaf = Leaf { document: &difference.document, path, old, new, in_place, image };
        let (class, way) = rules::judge(&leaf, essentials);
        found.reboots |= rules::needs_reboot(&difference.document, path);
        if class > found.class || (class == found.class && found.way.is_none()) {
            found.class = class;
            found.way = way.map(str::to_owned);
        }
    };
    let is_one = |side: &Option<Value>| side.as_ref().is_some_and(|it| !it.is_object() && !it.is_array());
    if !is_one(&difference.old) || !is_one(&difference.new) {
        // the two sides differ in kind here, so what lies beneath is on one side only
        each_leaf(difference.old.as_ref(), &mut path, &mut |path, old| judge(path, Some(old), None));
        each_leaf(difference.new.as_ref(), &mut path, &mut |path, new| judge(path, None, Some(new)));
    }
    if let (Some(old), Some(new)) = (&difference.old, &difference.new) {
        judge(&difference.path, Some(old), Some(new));
    }
    found
}

/// Everything below a value that is no section itself.
fn each_leaf(value: Option<&Value>, path: &mut Vec<String>, seen: &mut dyn FnMut(&[String], &Value)) {
    let below: Vec<(String, &Value)> = match value {
        None => return,
        Some(Value::Object(map)) if !map.is_empty() => {
            map.iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Some(Value::Array(items)) if !items.is_empty() => {
            items.iter().enumerate().map(|(at, item)| (format!("[{at}]"), item)).collect()
        }
        Some(value) => return seen(path, value),
    };
    for (key, value) in below {
        path.push(key);
        each_leaf(Some(value), path, seen);
        path.pop();
    }
}

/// Manifests that Talos applies are whoever's their objects are; everything else in a config needs access to the
/// operating system.
fn phase_of(difference: &Difference) -> Phase {
    let keys: Vec<&str> = difference.path.iter().map(String::as_str).collect();
    let is_manifests = match &difference.document {
        DocumentId::V1Alpha1 => {
            matches!(
                keys.as_slice(),
                ["cluster", "inlineManifests" | "extraManifests" | "extraManifestHeaders", ..]
            )
        }
        DocumentId::Other { kind, .. } => {
            ["KubeInlineManifestConfig", "KubeExternalManifestConfig"].contains(&kind.as_str())
        }
    };
    if !is_manifests {
        return Phase::Bootstrap;
    }
    let mut phase = Phase::GitOps;
    for side in [&difference.old, &difference.new] {
        each_leaf(side.as_ref(), &mut difference.path.clone(), &mut |path, value| {
            let is_text = path.last().is_some_and(|key| key == "contents" || key == "manifest");
            if let Some(text) = value.as_str().filter(|_| is_text) {
                phase = phase.min(phase::of_manifests(text));
            }
        });
    }
    phase
}

/// A value for people: sections by their size, secrets by a hash.
fn shown(value: &Value, secret: bool, key: &[u8]) -> String {
    match value {
        Value::Object(map) => format!("a section of {}", map.len()),
        Value::Array(items) => format!("a list of {}", items.len()),
        value if secret => {
            let mut hash = Sha256::new();
            hash.update((key.len() as u64).to_be_bytes());
            hash.update(key);
            hash.update(value.to_string());
            let hash = hex::encode(hash.finalize());
            format!("hash {}", hash.get(..12).unwrap_or(&hash))
        }
        value => {
            let text = value.to_string();
            match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
                None => text,
            }
        }
    }
}

impl fmt::Display for Change {
    /// `reboot    bootstrap  machine.token: hash … → hash …`, and the way on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Bootstrap => "bootstrap",
            Phase::GitOps => "git",
        };
        write!(f, "{:<9} {phase:<9} ", self.class)?;
        match self.document.strip_prefix("the document ") {
            Some(document) if self.path.is_empty() => write!(f, "{document}")?,
            Some(document) => write!(f, "{document} {}", self.path.join("."))?,
            None => write!(f, "{}", self.path.join("."))?,
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, ": {old} → {new}")?,
            (Some(old), None) => write!(f, ": {old} goes")?,
            (None, Some(new)) => write!(f, ": {new} comes")?,
            (None, None) => {}
        }
        match &self.way {
            Some(way) => write!(f, "\n{:20}└ {way}", ""),
            None => Ok(()),
        }
    }
}
