//! The objects of a repository's files as Flux has them once it has built them: with the variables of the Kustomization that builds
//! their folder, where that is among the files, too.

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use document::Findings;
use handover::{ExpressionError, PostBuildError, Variables};
use serde_json::Value;
use site::HandoverStep;
use zeroize::Zeroizing;

/// What SOPS leaves in an object that it has encrypted.
const SOPS: &str = "sops";

/// What came of the files.
#[derive(Default)]
pub(super) struct Built {
    /// their objects, in the same order
    pub(super) objects: Vec<Value>,
    /// values of variables that come from Secrets
    pub(super) secrets: Vec<Zeroizing<String>>,
}

/// Builds them. What cannot be had is told at the step.
pub(super) fn build(read: &[(PathBuf, Value)], step: &HandoverStep, findings: &mut Findings) -> Built {
    let builders: Vec<Builder<'_>> = read.iter().filter_map(|(_, object)| Builder::of(object)).collect();
    let mut built = Built::default();
    let mut known: Vec<(&str, Option<Variables>)> = Vec::new();
    for (path, object) in read {
        let builder =
            builders.iter().filter(|builder| builder.builds(path)).max_by_key(|builder| builder.depth());
        let Some(builder) = builder.filter(|builder| !std::ptr::eq(builder.object, object)) else {
            if object["kind"] == "HelmRelease" && !builders.is_empty() {
                let names: Vec<&str> = builders.iter().map(|builder| builder.name).collect();
                let message = format!(
                    "{} is in no folder that {} builds, so no variables are put into it",
                    path.display(),
                    names.join(" or ")
                );
                let fix = "name the file with the Kustomization whose `spec.path` leads to it";
                findings.push(step.error("release-variables", message).warning().fix(fix));
            }
            built.objects.push(object.clone());
            continue;
        };
        if !known.iter().any(|(name, _)| *name == builder.name) {
            known.push((builder.name, builder.variables(read, step, &mut built.secrets, findings)));
        }
        let variables =
            known.iter().find(|(name, _)| *name == builder.name).and_then(|(_, found)| found.as_ref());
        // without them it has been told why
        let Some(variables) = variables else {
            built.objects.push(object.clone());
            continue;
        };
        built.objects.push(builder.put(variables, object, path, step, findings));
    }
    built
}

/// A Kustomization of Flux that puts variables in.
struct Builder<'a> {
    name: &'a str,
    object: &'a Value,
    folder: Vec<&'a str>,
}

impl<'a> Builder<'a> {
    fn of(object: &'a Value) -> Option<Self> {
        let api = object["apiVersion"].as_str()?;
        let is_flux = object["kind"] == "Kustomization" && api.starts_with("kustomize.toolkit.fluxcd.io/");
        (is_flux && object["spec"]["postBuild"].is_object()).then_some(())?;
        let path = object["spec"]["path"].as_str().unwrap_or_default();
        let folder = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        Some(Builder { name: object["metadata"]["name"].as_str().unwrap_or_default(), object, folder })
    }

    /// Whether a file is below its folder, wherever the clone of the repository lies.
    fn builds(&self, file: &Path) -> bool {
        let parts: Vec<String> =
            file.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        self.folder.is_empty() || parts.windows(self.folder.len()).any(|parts| parts == self.folder)
    }

    fn depth(&self) -> usize {
        self.folder.len()
    }

    /// Its variables: from ConfigMaps and Secrets in their order, then its own.
    fn variables(
        &self,
        read: &[(PathBuf, Value)],
        step: &HandoverStep,
        secrets: &mut Vec<Zeroizing<String>>,
        findings: &mut Findings,
    ) -> Option<Variables> {
        let before = findings.errors();
        let mut variables = Variables::of(self.object, false);
        let post_build = &self.object["spec"]["postBuild"];
        let mut set = |name: &str, value: &str, findings: &mut Findings| {
            if let Err(error) = variables.set(name, value) {
                let message = format!("the Kustomization {}: {error}", self.name);
                findings.push(step.error("release-variables", message).fix("rename it"));
            }
        };
        for reference in post_build["substituteFrom"].as_array().into_iter().flatten() {
            match self.data(reference, read) {
                Ok(data) => {
                    for (name, value) in data {
                        set(&name, &value, findings);
                        if reference["kind"] == "Secret" {
                            secrets.push(value);
                        }
                    }
                }
                Err(Lacking { absent: true, .. }) if reference["optional"] == true => {}
                Err(Lacking { message, fix, .. }) => {
                    let message = format!("the Kustomization {} takes variables from {message}", self.name);
                    findings.push(step.error("release-variables", message).fix(fix));
                }
            }
        }
        for (name, value) in post_build["substitute"].as_object().into_iter().flatten() {
            set(name, value.as_str().unwrap_or_default(), findings);
        }
        (findings.errors() == before).then_some(variables)
    }

    /// What a ConfigMap or Secret has.
    fn data(
        &self,
        reference: &Value,
        read: &[(PathBuf, Value)],
    ) -> Result<Vec<(String, Zeroizing<String>)>, Lacking> {
        let (kind, name) = (reference["kind"].as_str().unwrap_or_default(), reference["name"].as_str());
        let shown = format!("the {kind} {}", name.unwrap_or_default());
        let meant: Vec<&Value> = (read.iter().map(|(_, object)| object))
            .filter(|object| {
                let namespace = &object["metadata"]["namespace"];
                object["kind"] == kind
                    && object["metadata"]["name"].as_str() == name
                    // a file of the repository often leaves the namespace to its Kustomization
                    && (namespace.is_null() || *namespace == self.object["metadata"]["namespace"])
            })
            .collect();
        let is_sealed = |object: &Value| object[SOPS].is_object();
        let Some(object) = meant.iter().find(|object| !is_sealed(object)).or_else(|| meant.first()) else {
            let fix = "add the file that has it to `repositories:`, encrypted with SOPS or not";
            return Err(Lacking {
                message: format!("{shown}, which is not among the files"),
                fix,
                absent: true,
            });
        };
        if is_sealed(object) {
            let fix = "name its own file under `repositories:`, so that your `sops` opens it";
            return Err(Lacking { message: format!("{shown}, which is encrypted"), fix, absent: false });
        }
        let mut data = Vec::new();
        let plain = if kind == "Secret" { "stringData" } else { "data" };
        for (key, value) in object[plain].as_object().into_iter().flatten() {
            data.push((key.clone(), Zeroizing::new(value.as_str().unwrap_or_default().to_owned())));
        }
        let packed = if kind == "Secret" { object["data"].as_object() } else { None };
        for (key, value) in
            packed.into_iter().flatten().filter(|(key, _)| object[plain][key.as_str()].is_null())
        {
            let bytes = value.as_str().and_then(|text| BASE64_STANDARD.decode(text.trim()).ok());
            let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                let message = format!("{shown}, whose {key} is no text in base64");
                let fix = "write it under `stringData:`, or encode it with `base64`";
                return Err(Lacking { message, fix, absent: false });
            };
            data.push((key.clone(), Zeroizing::new(text)));
        }
        Ok(data)
    }

    /// The object with the variables in it; as it is where they cannot be put in, which is told.
    fn put(
        &self,
        variables: &Variables,
        object: &Value,
        path: &Path,
        step: &HandoverStep,
        findings: &mut Findings,
    ) -> Value {
        let named = |text: String| {
            let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
            let (kind, name) = (kind.as_str().unwrap_or_default(), name.as_str().unwrap_or_default());
            format!("{}: {kind} {name}: {text}", path.display())
        };
        if let Err(PostBuildError::Expression { at, error: ExpressionError::Unset(name) }) =
            variables.strictly().put_into(object)
        {
            let message = format!(
                "{at}: {name} is no variable of the Kustomization {}: Flux puts nothing there",
                self.name
            );
            let fix = "set it in `postBuild`, write a default (`${NAME:=default}`), or `$${NAME}` for the text itself";
            findings.push(step.error("release-variables", named(message)).warning().fix(fix));
        }
        match variables.put_into(object) {
            Ok(built) => built,
            Err(error) => {
                let fix = "correct it in the repository: Flux fails there, too";
                findings.push(step.error("release-variables", named(error.to_string())).fix(fix));
                object.clone()
            }
        }
    }
}

/// Variables that cannot be had.
struct Lacking {
    message: String,
    fix: &'static str,
    /// whether `optional: true` makes it right
    absent: bool,
}
