//! What a step's sources bring: files, folders, downloads, packs, and what the user's `kubectl` and `helm` print.
//!
//! Everything is read through [`Files`], also what a program prints: the daemon keeps what was read and starts again
//! with it, without the programs and without the network.

use std::path::{Path, PathBuf};

use document::{Document, Finding, Findings, Node};
use handover::{
    Pack, Step, StepRelease,
    helm::{self, ChartRef, Identity},
};
use serde_json::{Value, json};
use site::{Files, GitChart, HandoverStep, Site, Source, Sync};

use super::{
    built::{self, Built},
    values::{self, Values},
};

/// How the paths of what is no file begin.
pub(super) const KUSTOMIZE: &str = "kustomize:";
pub(super) const HELM: &str = "helm:";

/// Ends the path that lists a folder.
pub(super) const LIST: &str = "*";

/// What kustomize looks for.
pub(super) const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What the sources of a step bring.
#[derive(Default)]
pub(super) struct Brought {
    /// manifests by the names a person knows them by
    pub(super) texts: Vec<(String, String)>,
    /// objects that are in no file as they are, with the place they come from
    pub(super) objects: Vec<(Value, String, u32)>,
    /// definitions that a chart keeps apart: applied, and no part of the release
    pub(super) definitions: Vec<(String, String)>,
    /// the release that a chart or pack stands for
    pub(super) release: Option<StepRelease>,
    /// whether values of Secrets went into it
    pub(super) has_secret_values: bool,
}

/// Reads all sources of a step; `None` when one cannot be had.
pub(super) fn read(
    site: &Site,
    step: &HandoverStep,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Brought> {
    let mut brought = Brought::default();
    let before = findings.errors();
    for source in &step.sources {
        match source {
            Source::File(path) => match files.read(path) {
                Ok(text) => brought.texts.push((path.display().to_string(), text)),
                // the site's own check has told it at its place
                Err(_) => findings.push(unreadable(step, &source.shown(), "it cannot be read")),
            },
            Source::Folder(path) => brought.texts.extend(folder(path, step, files, findings)),
            Source::Url { url, sha256 } => {
                let path = format!("{url}#sha256={sha256}");
                match files.read(Path::new(&path)) {
                    Ok(text) => brought.texts.push((url.clone(), text)),
                    Err(error) => findings.push(unreadable(step, url, &error.to_string())),
                }
            }
            Source::Pack { file, values } => {
                let name = file.display().to_string();
                let text = match files.read(file) {
                    Ok(text) => text,
                    Err(error) => {
                        findings.push(unreadable(step, &name, &error.to_string()));
                        continue;
                    }
                };
                let pack = Pack::parse(&name, &text).and_then(|pack| {
                    let objects = pack.with(values).map_err(|problems| {
                        let at = problems.into_iter().map(|problem| {
                            step.error("pack-values", problem).fix("`ichord pack show` lists the parameters")
                        });
                        at.collect::<Findings>()
                    })?;
                    Ok((pack, objects))
                });
                match pack {
                    Ok((pack, objects)) => {
                        brought.release = pack.release();
                        let objects = objects.into_iter().map(|(object, line)| (object, name.clone(), line));
                        brought.objects.extend(objects);
                    }
                    Err(faults) => findings.extend(faults.iter().cloned()),
                }
            }
            Source::Helm { release, repositories, chart } => {
                let chart = Chart { site, step, files, release, repositories, chart: chart.as_deref() };
                chart.read(findings, &mut brought);
            }
        }
    }
    (findings.errors() == before).then_some(brought)
}

fn unreadable(step: &HandoverStep, name: &str, reason: &str) -> Finding {
    step.error("manifest", format!("{name}: {reason}")).fix("correct it, or take it out of the step")
}

/// The files of a folder, or what `kubectl kustomize` makes of it, by the names a person knows them by.
fn folder(
    path: &Path,
    step: &HandoverStep,
    files: &dyn Files,
    findings: &mut Findings,
) -> Vec<(String, String)> {
    let shown = path.display().to_string();
    let mut texts = Vec::new();
    let names = match files.read(&path.join(LIST)) {
        Ok(names) => names,
        Err(error) => {
            findings.push(unreadable(step, &shown, &error.to_string()));
            return texts;
        }
    };
    if names.lines().any(|name| KUSTOMIZATIONS.contains(&name)) {
        match files.read(Path::new(&format!("{KUSTOMIZE}{shown}"))) {
            Ok(text) => texts.push((shown, text)),
            Err(error) => findings.push(unreadable(step, &shown, &error.to_string())),
        }
        return texts;
    }
    if names.is_empty() {
        findings.push(unreadable(step, &shown, "there is no YAML file in it"));
    }
    for name in names.lines() {
        let path = path.join(name);
        match files.read(&path) {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(error) => findings.push(unreadable(step, &path.display().to_string(), &error.to_string())),
        }
    }
    texts
}

/// A chart and the HelmRelease by which Flux will find it.
struct Chart<'a> {
    site: &'a Site,
    step: &'a HandoverStep,
    files: &'a dyn Files,
    release: &'a Path,
    repositories: &'a [PathBuf],
    chart: Option<&'a Path>,
}

impl Chart<'_> {
    fn read(&self, findings: &mut Findings, brought: &mut Brought) {
        let Some(documents) = self.documents(self.release, findings) else { return };
        let of = |path: &Path, documents: &[Document]| -> Vec<(PathBuf, Value)> {
            documents.iter().map(|document| (path.to_owned(), document.root().to_json())).collect()
        };
        let mut read = of(self.release, &documents);
        for path in self.repositories {
            let Some(documents) = self.documents(path, findings) else { return };
            read.extend(of(path, &documents));
        }
        let before = findings.errors();
        let Built { objects: others, secrets } = built::build(&read, self.step, findings);
        if findings.errors() > before {
            return;
        }
        let is_release =
            |document: &Document| document.root().get("kind").and_then(Node::text) == Some("HelmRelease");
        let Some(index) = documents.iter().position(is_release) else {
            let name = self.release.display().to_string();
            let finding = Finding::about_file(name, "release-git", "there is no HelmRelease in it");
            return findings.push(finding.fix("name the file of the repository that has it"));
        };
        // as Flux has it; its place is that of the file
        let (object, place) = (&others[index], documents[index].place());
        let identity = match Identity::resolve(object) {
            Ok(identity) => identity,
            Err(error) => return findings.push(place.error("release-git", error.to_string())),
        };
        let chart = match self.chart {
            Some(path) => ChartRef {
                name: path.display().to_string(),
                repository: None,
                version: None,
                plain_http: false,
            },
            None => match ChartRef::resolve(object, &others) {
                Ok(chart) => chart,
                Err(message) => {
                    let finding = place.key("spec").error("release-chart", message);
                    return findings.push(
                        finding.fix("add the file of the repository to `repositories:`, or name a `chart:`"),
                    );
                }
            },
        };
        let Some(mut values) = values::of(place, object, &others, findings) else { return };
        values.hide(secrets);
        let Some(description) = self.helm("chart", &chart, None, findings) else { return };
        let Some(defaults) = self.helm("values", &chart, None, findings) else { return };
        let (description, defaults) = (mapping(&description), mapping(&defaults));
        let mut unknown = helm::unknown_values(place.key("spec").key("values"), &defaults, &description);
        for text in &values.texts {
            unknown.extend(helm::unknown_values(text.place(), &defaults, &description).iter().cloned());
        }
        let wrong = !unknown.is_empty();
        findings.extend(unknown);
        if wrong {
            return;
        }
        let rendered = (&identity, &values);
        let Some(text) = self.helm("template", &chart, Some(rendered), findings) else { return };
        let Some(definitions) = self.helm("crds", &chart, None, findings) else { return };
        let name = format!("{} rendered by helm", self.release.display());
        brought.texts.push((name.clone(), text));
        if !definitions.trim().is_empty() {
            brought.definitions.push((name, definitions));
        }
        brought.has_secret_values |= values.are_secret();
        let chart = helm::Chart::described(&description);
        brought.release = Some(StepRelease { identity, chart, values: values.merged });
    }

    /// The documents of a file, or of a folder as Flux reads it.
    fn documents(&self, path: &Path, findings: &mut Findings) -> Option<Vec<Document>> {
        let name = path.display().to_string();
        let texts = match name.ends_with('/') {
            true => {
                let before = findings.errors();
                let texts = folder(path, self.step, self.files, findings);
                if findings.errors() > before {
                    return None;
                }
                texts
            }
            false => match self.files.read(path) {
                Ok(text) => vec![(name, text)],
                Err(error) => {
                    findings.push(unreadable(self.step, &name, &error.to_string()));
                    return None;
                }
            },
        };
        let mut all = Vec::new();
        for (name, text) in &texts {
            match Document::parse_stream(name, text) {
                Ok(documents) => all.extend(documents),
                Err(finding) => {
                    findings.push(finding);
                    return None;
                }
            }
        }
        Some(all)
    }

    /// What helm prints: of a chart (`chart`, `values`, `crds`), or as the release (`template`).
    fn helm(
        &self,
        what: &str,
        chart: &ChartRef,
        rendered: Option<(&Identity, &Values)>,
        findings: &mut Findings,
    ) -> Option<String> {
        let mut arguments = match rendered {
            Some((identity, _)) => {
                let kubernetes = self.site.cluster().kubernetes.to_string();
                let kubernetes = format!("v{}", kubernetes.trim_start_matches('v'));
                let mut arguments = vec!["template".to_owned(), identity.name.clone(), chart.name.clone()];
                arguments.extend(["--namespace".to_owned(), identity.namespace.clone()]);
                arguments.extend([
                    "--kube-version".to_owned(),
                    kubernetes,
                    "--values".to_owned(),
                    "-".to_owned(),
                ]);
                arguments
            }
            None => vec!["show".to_owned(), what.to_owned(), chart.name.clone()],
        };
        for (option, value) in [("--repo", &chart.repository), ("--version", &chart.version)] {
            arguments.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        if chart.plain_http {
            arguments.push("--plain-http".to_owned());
        }
        let values = rendered.map(|(_, values)| values);
        let merged = values.map(|values| &values.merged);
        let path = format!("{HELM}{}", json!({ "arguments": arguments, "values": merged }));
        match self.files.read(Path::new(&path)) {
            Ok(text) => Some(text),
            Err(error) => {
                let what = format!("{}: {}", self.release.display(), error);
                // a template may quote what it was given
                let what = values.map_or_else(|| what.clone(), |values| values.redacted(&what));
                findings.push(self.step.error("release-helm", what).fix(
                    "see that `helm` of 3.17 or later is installed and reaches the chart, or freeze it with `ichord pack build`",
                ));
                None
            }
        }
    }
}

/// A mapping in YAML that a program printed; empty where it is none.
fn mapping(text: &str) -> Value {
    let documents = Document::parse_stream("helm", text).unwrap_or_default();
    documents.first().map_or_else(|| json!({}), |document| document.root().to_json())
}

/// What Git's HelmRelease in a file renders to, with the chart that it pins or one on disk.
pub(super) fn rendered(
    site: &Site,
    step: &HandoverStep,
    release: &Path,
    chart: &GitChart,
    files: &dyn Files,
) -> Result<Step, Findings> {
    let mut findings = Findings::new();
    let chart = match chart {
        GitChart::Pinned => None,
        GitChart::File(path) => Some(path.as_path()),
    };
    let mut brought = Brought::default();
    Chart { site, step, files, release, repositories: &[], chart }.read(&mut findings, &mut brought);
    let Some(release) = brought.release else { return Err(findings) };
    Step::parse(&step.name, &brought.texts).and_then(|step| step.into_release(release))
}

/// A clone of the repository that Flux will read may bring another Flux than the hand-over does.
pub(super) fn checkout(
    sync: &Sync,
    checkout: &Path,
    step: &HandoverStep,
    files: &dyn Files,
    findings: &mut Findings,
) {
    let folder = checkout.join(sync.path.trim_start_matches("./"));
    let kustomization = KUSTOMIZATIONS.iter().find_map(|name| files.read(&folder.join(name)).ok());
    // without a kustomization Flux takes every file below the path
    if kustomization.is_some_and(|text| !text.contains("flux-system")) {
        return;
    }
    let path = folder.join("flux-system/gotk-components.yaml");
    let Ok(text) = files.read(&path) else { return };
    let version = handover::gotk_version(&text).unwrap_or("another version");
    let message =
        format!("{} makes Flux install itself as {version} once it reads the repository", path.display());
    let finding = step.error("flux-version", message);
    findings.push(match sync.mode {
        site::SyncMode::Manifests => finding.warning().fix("install the same version in the step flux"),
        site::SyncMode::Operator { .. } => {
            finding.fix("remove it from the repository: the operator installs Flux")
        }
    });
}

/// A step's objects, for a pack.
pub(crate) fn frozen(
    site: &Site,
    name: &str,
    files: &dyn Files,
) -> Result<(Step, Option<StepRelease>), Findings> {
    let mut findings = Findings::new();
    let Some(wanted) = site.handover().iter().find(|step| step.name == name) else {
        let names: Vec<&str> = site.handover().iter().map(|step| step.name.as_str()).collect();
        let message = format!("the site has no step {name}; its steps are {}", names.join(", "));
        return Err(Finding::about_file(site.directory().display().to_string(), "step-needs", message).into());
    };
    let Some(brought) = read(site, wanted, files, &mut findings) else { return Err(findings) };
    if brought.has_secret_values {
        let message = "values of its chart come from a Secret, and a pack is for everybody";
        let fix = "leave it to `helm:`, or let the chart refer to a Secret of the cluster instead";
        return Err(wanted.error("pack-secret", message).fix(fix).into());
    }
    let texts: Vec<_> = brought.texts.into_iter().chain(brought.definitions).collect();
    let mut step = Step::parse(name, &texts)?;
    for (object, file, line) in brought.objects {
        step.add(object, &file, line)?;
    }
    Ok((step, brought.release))
}
