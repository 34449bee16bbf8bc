//! Packs: objects that were rendered before, with typed parameters over them, in one file that names its own digest.
//!
//! The first document of the file is the pack itself, the others are its objects. Nothing else is needed to apply it:
//! no chart, no network.

use std::{collections::BTreeMap, fmt};

use document::{Document, Finding, Findings, Keys};
use kubernetes::ObjectId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    Step,
    helm::{Chart, Identity},
    manifest::{Manifest, objects},
    release::StepRelease,
};

/// What the first document says it is.
const VERSION: &str = "ichord/v1";
const KIND: &str = "Pack";

/// A pack.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    header: Header,
    objects: Vec<Manifest>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: String,
    kind: String,
    name: String,
    version: String,
    /// `sha256:` of everything else
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<PackRelease>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, Parameter>,
}

/// The chart that the objects were rendered from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PackRelease {
    name: String,
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_namespace: Option<String>,
    chart: String,
    version: String,
    #[serde(default)]
    app_version: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    values: Map<String, Value>,
}

/// Something that may be chosen, and where it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// what is accepted
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// what it is good for
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// the least number
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i64>,
    /// the largest number
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<i64>,
    /// the only texts that are accepted
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<String>,
    /// where it goes
    pub set: Vec<Target>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    /// a whole number
    Integer,
    /// true or false
    Boolean,
    /// any text
    Text,
}

/// A field of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// the object's kind
    pub kind: String,
    /// its namespace, if it has one
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// its name
    pub name: String,
    /// where in it, as a JSON pointer: `/spec/replicas`
    pub path: String,
    /// whether the field is text although the value is none, as in a ConfigMap
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub text: bool,
}

/// One difference between two packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// only the second has it
    Added(ObjectId),
    /// only the first has it
    Removed(ObjectId),
    /// both have it, with other values in these fields
    Changed(ObjectId, Vec<String>),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Added(id) => write!(f, "+ {id}"),
            Difference::Removed(id) => write!(f, "- {id}"),
            Difference::Changed(id, fields) => write!(f, "~ {id}: {}", fields.join(", ")),
        }
    }
}

impl Pack {
    /// Freezes a step's objects. `parameters` is the text of a file with the parameters, as under `parameters:` of a pack.
    pub fn build(
        name: &str,
        version: &str,
        step: &Step,
        release: Option<&StepRelease>,
        parameters: Option<(&str, &str)>,
    ) -> Result<Pack, Findings> {
        let parameters = match parameters {
            None => BTreeMap::new(),
            Some((file, text)) => {
                let document = Document::parse(file, text)?;
                match document.decode::<BTreeMap<String, Parameter>>(Keys::Strict) {
                    (Some(parameters), findings) if !findings.has_errors() => parameters,
                    (_, findings) => return Err(findings),
                }
            }
        };
        let header = Header {
            api_version: VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            digest: None,
            release: release.map(|release| PackRelease {
                name: release.identity.name.clone(),
                namespace: release.identity.namespace.clone(),
                storage_namespace: Some(release.identity.storage.clone())
                    .filter(|storage| *storage != release.identity.namespace),
                chart: release.chart.name.clone(),
                version: release.chart.version.clone(),
                app_version: release.chart.app_version.clone(),
                values: release.values.clone(),
            }),
            parameters,
        };
        let mut pack = Pack { header, objects: step.manifests.clone() };
        let mut findings = Findings::new();
        for manifest in &pack.objects {
            let has_values = manifest.object["data"].as_object().is_some_and(|data| !data.is_empty());
            if manifest.id.kind == "Secret" && has_values {
                let message = format!(
                    "line {}: {} has values, and a pack goes to everybody who uses it",
                    manifest.line, manifest.id
                );
                let finding = Finding::about_file(manifest.file.as_str(), "pack-secret", message);
                findings.push(finding.fix(
                    "render the chart without it (hubble.tls.auto.method: cronJob, or hubble.enabled: false), and bring it by `secrets:`",
                ));
            }
        }
        let targets = pack.header.parameters.iter().flat_map(|(name, parameter)| {
            parameter.set.iter().filter(|target| pack.find(target).is_none()).map(move |target| {
                let message = format!(
                    "the parameter {name} sets {} {}, which is not in the pack",
                    target.kind, target.name
                );
                Finding::about_file(name.as_str(), "pack-target", message)
            })
        });
        findings.extend(targets);
        if findings.has_errors() {
            return Err(findings);
        }
        pack.header.digest = Some(pack.digest());
        Ok(pack)
    }

    /// Reads a pack; what does not have the digest that it names is none.
    pub fn parse(file: &str, text: &str) -> Result<Pack, Findings> {
        let documents = Document::parse_stream(file, text)?;
        let Some((first, rest)) = documents.split_first() else {
            return Err(Finding::about_file(file, "pack", "the pack is empty").into());
        };
        let (header, mut findings) = first.decode::<Header>(Keys::Strict);
        let Some(header) = header else { return Err(findings) };
        if header.api_version != VERSION || header.kind != KIND {
            let message =
                format!("this is no pack: its first document is {} of {}", header.kind, header.api_version);
            return Err(first.place().error("pack", message).fix("`ichord pack build` makes one").into());
        }
        let mut manifests = Vec::new();
        for document in rest {
            for place in objects(document) {
                manifests.extend(crate::manifest::manifest(document, place, &mut findings));
            }
        }
        if findings.has_errors() {
            return Err(findings);
        }
        let pack = Pack { header, objects: manifests };
        match &pack.header.digest {
            Some(digest) if *digest == pack.digest() => Ok(pack),
            Some(_) => {
                let message = "the pack is not what its digest says: it was changed, or cut off";
                let finding = first.place().key("digest").error("pack-digest", message);
                Err(finding
                    .fix("build or fetch it again; what shall be chosen belongs into `values:` of the step")
                    .into())
            }
            None => {
                let finding = first.place().error("pack-digest", "the pack names no digest");
                Err(finding.fix("build it with `ichord pack build`").into())
            }
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// The version of what is in it.
    pub fn version(&self) -> &str {
        &self.header.version
    }

    /// The digest of everything in it.
    pub fn digest(&self) -> String {
        let header = Header { digest: None, ..self.header.clone() };
        let mut digest = Sha256::new();
        digest.update(json!(header).to_string());
        for manifest in &self.objects {
            digest.update(b"\n");
            digest.update(manifest.object.to_string());
        }
        format!("sha256:{}", hex::encode(digest.finalize()))
    }

    /// What may be chosen.
    pub fn parameters(&self) -> &BTreeMap<String, Parameter> {
        &self.header.parameters
    }

    /// Its objects.
    pub fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.iter().map(|manifest| &manifest.id)
    }

    /// The container images that its objects name, in order.
    pub fn images(&self) -> Vec<String> {
        let mut images = Vec::new();
        for manifest in &self.objects {
            for template in ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/spec"] {
                for list in ["initContainers", "containers"] {
                    let containers = manifest.object.pointer(&format!("{template}/{list}"));
                    let containers = containers.and_then(Value::as_array).into_iter().flatten();
                    images.extend(containers.filter_map(|one| Some(one["image"].as_str()?.to_owned())));
                }
            }
        }
        images.sort();
        images.dedup();
        images
    }

    /// The chart that it stands for, if any.
    pub fn release(&self) -> Option<StepRelease> {
        let release = self.header.release.clone()?;
        Some(StepRelease {
            identity: Identity {
                storage: release.storage_namespace.unwrap_or_else(|| release.namespace.clone()),
                name: release.name,
                namespace: release.namespace,
            },
            chart: Chart { name: release.chart, version: release.version, app_version: release.app_version },
            values: release.values,
        })
    }

    /// The objects with values chosen, each with its line in the pack; or everything that is wrong with the values.
    pub fn with(&self, values: &BTreeMap<String, String>) -> Result<Vec<(Value, u32)>, Vec<String>> {
        let mut objects: Vec<(Value, u32)> =
            self.objects.iter().map(|manifest| (manifest.object.clone(), manifest.line)).collect();
        let mut problems = Vec::new();
        for (name, text) in values {
            let Some(parameter) = self.header.parameters.get(name) else {
                let meant = document::nearest(name, self.header.parameters.keys().map(String::as_str));
                let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                problems.push(format!("the pack {} has no parameter {name}{hint}", self.header.name));
                continue;
            };
            let value = match parameter.read(text) {
                Ok(value) => value,
                Err(reason) => {
                    problems.push(format!("{name}: {reason}"));
                    continue;
                }
            };
            for target in &parameter.set {
                let value = if target.text { json!(text) } else { value.clone() };
                let place = self.find(target).and_then(|index| objects.get_mut(index));
                if !place.is_some_and(|(object, _)| put(object, &target.path, value)) {
                    problems.push(format!("{name}: {} {} has no {}", target.kind, target.name, target.path));
                }
            }
        }
        if problems.is_empty() { Ok(objects) } else { Err(problems) }
    }

    /// What another pack has differently.
    pub fn differences(&self, other: &Pack) -> Vec<Difference> {
        let mut found = Vec::new();
        for manifest in &self.objects {
            match other.objects.iter().find(|its| its.id == manifest.id) {
                None => found.push(Difference::Removed(manifest.id.clone())),
                Some(its) => {
                    let fields = kubernetes::differences(&manifest.object, &its.object);
                    if !fields.is_empty() {
                        found.push(Difference::Changed(manifest.id.clone(), fields));
                    }
                }
            }
        }
        let added = other.objects.iter().filter(|its| !self.ids().any(|id| *id == its.id));
        found.extend(added.map(|its| Difference::Added(its.id.clone())));
        found
    }

    fn find(&self, target: &Target) -> Option<usize> {
        self.objects.iter().position(|Manifest { id, .. }| {
            (&id.kind, &id.namespace, &id.name) == (&target.kind, &target.namespace, &target.name)
        })
    }
}

impl fmt::Display for Pack {
    /// The file: a document each, in JSON, in which no text can be taken for a number or a date.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", json!(self.header))?;
        self.objects.iter().try_for_each(|manifest| write!(f, "---\n{}\n", manifest.object))
    }
}

impl Parameter {
    fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            ParameterType::Boolean => match text {
                "true" => Ok(json!(true)),
                "false" => Ok(json!(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
            ParameterType::Integer => {
                let number: i64 = text.parse().map_err(|_| format!("{text:?} is no whole number"))?;
                match (self.minimum, self.maximum) {
                    (Some(least), _) if number < least => Err(format!("{number} is less than {least}")),
                    (_, Some(most)) if number > most => Err(format!("{number} is more than {most}")),
                    _ => Ok(json!(number)),
                }
            }
            ParameterType::Text if self.one_of.is_empty() || self.one_of.iter().any(|one| one == text) => {
                Ok(json!(text))
            }
            ParameterType::Text => Err(format!("{text:?} is not one of {}", self.one_of.join(", "))),
        }
    }
}

/// Sets a field below something that is there.
fn put(object: &mut Value, path: &str, value: Value) -> bool {
    let Some((parent, key)) = path.rsplit_once('/') else { return false };
    let key = key.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(map)) => {
            map.insert(key, value);
            true
        }
        Some(Value::Array(list)) => match key.parse::<usize>().ok().and_then(|index| list.get_mut(index)) {
            Some(place) => {
                *place = value;
                true
            }
            None => false,
        },
        _ => false,
    }
}
