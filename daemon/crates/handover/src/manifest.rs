//! Manifest files to objects, each with the place it came from.

use std::{fmt, fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use document::{Document, Finding, Findings, Node, Place, Position};
use kubernetes::ObjectId;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{check, checks::Check, order, release::StepRelease, run::Pace};

/// One part of the hand-over: objects that are applied and waited for together.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name in the site.
    pub name: String,
    /// What it applies, in the order of the kinds, and within a kind in that of the files.
    pub manifests: Vec<Manifest>,
    /// How patient it is.
    pub pace: Pace,
    /// The chart it stands in for, if any.
    pub release: Option<StepRelease>,
    /// Who owns its objects in the end.
    pub owner: Owner,
    /// What it waits for besides its objects.
    pub check: Option<Check>,
    /// Where the site describes it: file and line.
    pub origin: (String, u32),
}

/// Who owns a step's objects in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// Git: what Flux has adopted is only looked at.
    #[default]
    Git,
    /// Us: Flux adopting it as well is an error, because two hands would take turns.
    Us,
}

/// One object as it will be sent, and where a person wrote it.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    /// Which object.
    pub id: ObjectId,
    /// The object, without what only the server writes.
    pub object: Value,
    /// The file as the site names it.
    pub file: String,
    /// The line where the object begins, from one.
    pub line: u32,
    /// Whether it belongs to the step's release.
    pub in_release: bool,
    /// Whether it is made where it is not there, and never changed afterwards.
    pub once: bool,
}

impl fmt::Debug for Manifest {
    /// Without the object: it may be a Secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.id, self.file, self.line)
    }
}

impl Step {
    /// A step without objects, as one that only waits.
    pub fn empty(name: &str) -> Step {
        Step {
            name: name.to_owned(),
            manifests: Vec::new(),
            pace: Pace::default(),
            release: None,
            owner: Owner::default(),
            check: None,
            origin: (name.to_owned(), 0),
        }
    }

    /// Reads a step from the texts of its files, given with the names a person knows them by.
    /// Reports everything that is wrong, not only the first.
    pub fn parse(name: &str, files: &[(String, String)]) -> Result<Step, Findings> {
        let mut findings = Findings::new();
        let mut manifests: Vec<Manifest> = Vec::new();
        for (file, text) in files {
            let documents = match Document::parse_stream(file, text) {
                Ok(documents) => documents,
                Err(finding) => {
                    findings.push(finding);
                    continue;
                }
            };
            if documents.is_empty() {
                let finding =
                    Finding::about_file(file.as_str(), "manifest-empty", "there is no object in the file");
                findings.push(finding.fix("write one, or take the file out of the step"));
            }
            for document in &documents {
                for place in objects(document) {
                    let Some(manifest) = manifest(document, place, &mut findings) else { continue };
                    if let Some(former) = manifests.iter().find(|former| same(&former.id, &manifest.id)) {
                        let message = format!(
                            "{} is in this step twice, first at {}:{}",
                            manifest.id, former.file, former.line
                        );
                        findings.push(place.error("manifest-twice", message).fix("keep one of them"));
                    }
                    manifests.push(manifest);
                }
            }
        }
        if findings.has_errors() {
            return Err(findings);
        }
        manifests.sort_by_key(|manifest| order::rank(&manifest.id));
        Ok(Step { manifests, ..Step::empty(name) })
    }

    /// [`parse`](Self::parse) from the disk. Blocks while it reads.
    pub fn read(name: &str, paths: &[PathBuf]) -> Result<Step, Findings> {
        let mut findings = Findings::new();
        let mut files = Vec::new();
        for path in paths {
            let file = path.display().to_string();
            match fs::read_to_string(path) {
                Ok(text) => files.push((file, text)),
                Err(error) => {
                    let finding = Finding::about_file(
                        file,
                        "manifest-unreadable",
                        format!("the file cannot be read: {error}"),
                    );
                    findings.push(finding.fix("create it, or correct its path in the site"));
                }
            }
        }
        if findings.has_errors() {
            return Err(findings);
        }
        Step::parse(name, &files)
    }

    /// Adds an object that is in no file, made from what the site says at this place.
    pub fn add(&mut self, mut object: Value, file: &str, line: u32) -> Result<(), Finding> {
        let at = Position { line, column: 1 };
        let error = |message: String| Finding::error(file, at, "manifest", message);
        let id = ObjectId::try_from(&object).map_err(|fault| error(fault.to_string()))?;
        if let Some(former) = self.manifests.iter().find(|former| same(&former.id, &id)) {
            let message = format!("{id} is in this step twice, first at {}:{}", former.file, former.line);
            return Err(Finding::error(file, at, "manifest-twice", message).fix("keep one of them"));
        }
        normalise(&id, &mut object);
        self.manifests.push(Manifest {
            id,
            object,
            file: file.to_owned(),
            line,
            in_release: false,
            once: false,
        });
        self.manifests.sort_by_key(|manifest| order::rank(&manifest.id));
        Ok(())
    }

    /// [`add`](Self::add) of an object that is other whenever it is made, and must stay the one that was made first.
    pub fn add_once(&mut self, object: Value, file: &str, line: u32) -> Result<(), Finding> {
        let id = ObjectId::try_from(&object);
        self.add(object, file, line)?;
        for manifest in self.manifests.iter_mut().filter(|manifest| id.as_ref() == Ok(&manifest.id)) {
            manifest.once = true;
        }
        Ok(())
    }

    /// A digest of what the step applies (not of comments and layout), for the record of what was handed over.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        // what is made once is other in every life
        for manifest in self.manifests.iter().filter(|manifest| !manifest.once) {
            digest.update(manifest.object.to_string());
            digest.update(b"\n");
        }
        hex::encode(digest.finalize())
    }
}

/// The objects of a document: itself, or the items of a list.
pub(crate) fn objects(document: &Document) -> Vec<Place<'_>> {
    let place = document.place();
    let is_list = document.root().get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    match document.root().get("items") {
        Some(items) if is_list => {
            (0..items.items().len()).map(|index| place.key("items").item(index)).collect()
        }
        _ => vec![place],
    }
}

pub(crate) fn manifest(document: &Document, place: Place<'_>, findings: &mut Findings) -> Option<Manifest> {
    let node = place.node()?;
    let mut object = node.to_json();
    let id = check::identity(place, &object, findings)?;
    check::contents(place, &id, findings);
    normalise(&id, &mut object);
    let (file, line) = (document.file().to_owned(), place.position().line);
    Some(Manifest { id, object, file, line, in_release: false, once: false })
}

fn same(one: &ObjectId, other: &ObjectId) -> bool {
    // Another version of the same group is the same object.
    let group = |id: &ObjectId| id.api_version.split_once('/').map(|(group, _)| group.to_owned());
    (group(one), &one.kind, &one.namespace, &one.name)
        == (group(other), &other.kind, &other.namespace, &other.name)
}

/// What handover.md §7.3 asks for: nothing that only the server writes, and the defaults that are part of
/// a list's key, without which server-side apply finds the wrong element.
fn normalise(id: &ObjectId, object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in
            ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"]
        {
            metadata.shift_remove(field);
        }
    }
    if id.kind == "Secret" {
        string_data(object);
    }
    if id.kind == "Service" {
        protocols(object.pointer_mut("/spec/ports"));
    }
    for template in ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"] {
        for list in ["initContainers", "containers"] {
            let containers = object.pointer_mut(&format!("{template}/{list}"));
            for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
                protocols(container.get_mut("ports"));
            }
        }
    }
}

fn protocols(ports: Option<&mut Value>) {
    for port in ports.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.entry("protocol").or_insert_with(|| json!("TCP"));
        }
    }
}

/// `stringData` into `data`, as the server does: applied as it is, its fields would belong to nobody later.
fn string_data(object: &mut Value) {
    let texts = object.as_object_mut().and_then(|object| object.shift_remove("stringData"));
    let Some(Value::Object(texts)) = texts else { return };
    for (name, text) in texts {
        if let Some(text) = text.as_str() {
            object["data"][name] = json!(BASE64_STANDARD.encode(text));
        }
    }
}
