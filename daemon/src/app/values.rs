//! The values of a HelmRelease as helm-controller puts them together: from ConfigMaps and Secrets of the repository in their
//! order, then its own. What a Secret has is told to nobody.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use document::{Document, Findings, Place};
use handover::helm::Composed;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// The key that helm-controller reads where a reference names none.
const KEY: &str = "values.yaml";

/// What SOPS leaves in an object that it has encrypted.
const SOPS: &str = "sops";

/// Shorter texts are no secrets: leaving them out of what a program says would make it unreadable.
const SHORTEST: usize = 4;

/// Values, and the texts that they come from beside the release's own.
pub(super) struct Values {
    pub(super) merged: Map<String, Value>,
    pub(super) texts: Vec<Document>,
    secrets: Vec<Zeroizing<String>>,
}

impl Values {
    /// Whether some of them come from Secrets.
    pub(super) fn are_secret(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// More that is told to nobody.
    pub(super) fn hide(&mut self, secrets: Vec<Zeroizing<String>>) {
        self.secrets.extend(secrets);
    }

    /// A text without what Secrets say.
    pub(super) fn redacted(&self, text: &str) -> String {
        let shown = |text: String, secret: &Zeroizing<String>| text.replace(secret.as_str(), "…");
        self.secrets.iter().filter(|secret| secret.len() >= SHORTEST).fold(text.to_owned(), shown)
    }
}

/// Puts them together from the release and the objects of the files beside it; `None` when some cannot be had.
pub(super) fn of(
    place: Place<'_>,
    release: &Value,
    objects: &[Value],
    findings: &mut Findings,
) -> Option<Values> {
    let before = findings.errors();
    let spec = &release["spec"];
    let empty = Map::new();
    let mut composed = Composed::of(spec["values"].as_object().unwrap_or(&empty));
    let mut values = Values { merged: Map::new(), texts: Vec::new(), secrets: Vec::new() };
    for (index, wire) in spec["valuesFrom"].as_array().into_iter().flatten().enumerate() {
        let place = place.key("spec").key("valuesFrom").item(index);
        let reference = match Reference::of(wire) {
            Ok(reference) => reference,
            Err(kind) => {
                let message = format!("values do not come from a {kind}");
                findings.push(
                    place.error("release-values", message).fix("it is `kind: ConfigMap` or `kind: Secret`"),
                );
                continue;
            }
        };
        let text = match reference.find(release, objects) {
            Ok(text) => text,
            Err(missing) if missing.may_be_absent && reference.optional => continue,
            Err(missing) => {
                findings.push(place.error("release-values", missing.message).fix(missing.fix));
                continue;
            }
        };
        if reference.secret {
            values.secrets.push(text.clone());
        }
        reference.take(&text, place, &mut composed, &mut values, findings);
    }
    values.merged = composed.values();
    (findings.errors() == before).then_some(values)
}

/// A reference to values.
struct Reference<'a> {
    secret: bool,
    name: &'a str,
    key: &'a str,
    path: Option<&'a str>,
    literal: bool,
    optional: bool,
}

/// Values that cannot be had.
struct Missing {
    message: String,
    fix: &'static str,
    /// whether `optional: true` makes it right
    may_be_absent: bool,
}

impl<'a> Reference<'a> {
    /// An error is the kind that cannot have values.
    fn of(wire: &'a Value) -> Result<Self, &'a str> {
        let text = |field: &str| wire[field].as_str().filter(|text| !text.is_empty());
        Ok(Reference {
            secret: match text("kind") {
                Some("Secret") => true,
                Some("ConfigMap") => false,
                other => return Err(other.unwrap_or("reference without a kind")),
            },
            name: text("name").unwrap_or_default(),
            key: text("valuesKey").unwrap_or(KEY),
            path: text("targetPath"),
            literal: wire["literal"] == true,
            optional: wire["optional"] == true,
        })
    }

    fn kind(&self) -> &'static str {
        if self.secret { "Secret" } else { "ConfigMap" }
    }

    /// What is under the key, from an object of the release's namespace.
    fn find(&self, release: &Value, objects: &[Value]) -> Result<Zeroizing<String>, Missing> {
        let Reference { name, key, .. } = self;
        let (kind, is_sealed) = (self.kind(), |object: &Value| object[SOPS].is_object());
        let meant: Vec<&Value> = (objects.iter())
            .filter(|object| {
                let metadata = &object["metadata"];
                let namespace = &metadata["namespace"];
                object["kind"] == kind
                    && metadata["name"] == **name
                    // a file of the repository often leaves the namespace to its Kustomization
                    && (namespace.is_null() || *namespace == release["metadata"]["namespace"])
            })
            .collect();
        let Some(object) = meant.iter().find(|object| !is_sealed(object)).or_else(|| meant.first()) else {
            return Err(self.absent(format!("there is no {kind} {name} among the files of this chart")));
        };
        if is_sealed(object) {
            return Err(Missing {
                message: format!(
                    "the Secret {name} is read through a kustomization, which leaves it encrypted"
                ),
                fix: "name its own file under `repositories:`, too, so that your `sops` opens it",
                may_be_absent: false,
            });
        }
        if self.secret
            && let Some(text) = object["stringData"][key].as_str()
        {
            return Ok(Zeroizing::new(text.to_owned()));
        }
        let Some(text) = object["data"][key].as_str() else {
            return Err(self.absent(format!("the {kind} {name} has no key {key}")));
        };
        if !self.secret {
            return Ok(Zeroizing::new(text.to_owned()));
        }
        let packed: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|sign| !sign.is_ascii_whitespace()).collect());
        let unpacked =
            BASE64_STANDARD.decode(packed.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        unpacked.map(Zeroizing::new).ok_or_else(|| Missing {
            message: format!("{key} of the Secret {name} is no text in base64"),
            fix: "write it under `stringData:`, or encode it with `base64`",
            may_be_absent: false,
        })
    }

    fn absent(&self, message: String) -> Missing {
        let fix = match self.secret {
            true => {
                "add the file that has it to `repositories:`, encrypted with SOPS or not; what only the cluster makes (by External Secrets, say) is not known before it runs: keep it in Git as well, or say `optional: true`"
            }
            false => {
                "add the file that has it to `repositories:`, or its folder where a kustomization makes it"
            }
        };
        Missing { message, fix, may_be_absent: true }
    }

    /// Takes the text as a whole file, or as one value.
    fn take(
        &self,
        text: &Zeroizing<String>,
        place: Place<'_>,
        composed: &mut Composed,
        values: &mut Values,
        findings: &mut Findings,
    ) {
        let Reference { name, key, .. } = self;
        let shown = format!("{key} of the {} {name}", self.kind());
        if let Some(path) = self.path {
            // whether the chart knows the path does not depend on what is put there
            let mut only = Composed::of(&Map::new());
            let set = composed.set(path, text, self.literal).and_then(|()| only.set(path, "", true));
            if let Err(error) = set {
                let message = format!("{shown} cannot be put at {path}: {error}");
                let fix = "correct `targetPath`; a value that is to be taken as it is needs `literal: true`";
                return findings.push(place.error("release-values", message).fix(fix));
            }
            let only = json!(only.values()).to_string();
            let named = format!("targetPath {path} of the {} {name}", self.kind());
            values.texts.extend(Document::parse(&named, &only));
            return;
        }
        // of several documents, helm-controller reads the first
        let first = Document::parse_stream(&shown, text).map(|documents| documents.into_iter().next());
        let problem = match first {
            Ok(None) => return,
            Ok(Some(document)) => match document.root().to_json() {
                Value::Null => return,
                Value::Object(file) => {
                    composed.add(&file);
                    if self.secret {
                        leaves(&Value::Object(file), &mut values.secrets);
                    }
                    return values.texts.push(document);
                }
                _ => format!("{shown} is not a mapping"),
            },
            // the finding may quote what it has found
            Err(_) if self.secret => format!("{shown} is not YAML"),
            Err(finding) => return findings.push(finding),
        };
        let fix = "write the values as in a values.yaml, or name the one that it is for with `targetPath`";
        findings.push(place.error("release-values", problem).fix(fix));
    }
}

/// Every text of a tree.
fn leaves(value: &Value, found: &mut Vec<Zeroizing<String>>) {
    match value {
        Value::String(text) => found.push(Zeroizing::new(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(entries) => entries.values().for_each(|entry| leaves(entry, found)),
        _ => {}
    }
}
