//! A hand-over step held against the rest of the site: the chart it stands in for, the release that Git will look for,
//! and for Cilium the machines' own configs.

use std::path::Path;

use document::{Document, Finding, Findings, Position};
use handover::{
    Step, StepRelease, cilium,
    helm::{Chart, Identity},
};
use serde_json::{Map, Value};
use site::{Files, HandoverStep, Site};

use super::{sources, values};

/// The port of KubePrism where a machine config does not say another.
const KUBE_PRISM: u16 = 7445;

/// The step as it will run; `None` when it has faults.
pub(super) fn complete(
    site: &Site,
    wanted: &HandoverStep,
    named: Option<StepRelease>,
    step: Step,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Step> {
    let objects: Vec<&Value> = step.manifests.iter().map(|manifest| &manifest.object).collect();
    let agent = step.manifests.iter().find(|manifest| manifest.id.kind == "DaemonSet");
    let file = agent.map(|manifest| manifest.file.clone()).unwrap_or_default();
    for problem in cilium::check(&objects, &machines(site)) {
        let finding = Finding::about_file(file.as_str(), problem.rule, problem.message).fix(problem.fix);
        findings.push(if problem.fatal { finding } else { finding.warning() });
    }
    let Some(release) = &wanted.release else {
        // a chart or a pack has brought its own
        return match named {
            Some(release) => into_release(step, release, findings),
            None => Some(step),
        };
    };
    let identity = Identity {
        name: release.name.clone(),
        namespace: release.namespace.clone(),
        storage: release.storage_namespace.clone(),
    };
    let values = match &release.values {
        Some(path) => values_of(path, files, findings)?,
        None => Map::new(),
    };
    if let Some(path) = &release.git {
        git(path, &identity, &release.version, &values, files, findings);
    }
    let chart = Chart {
        name: release.chart.clone(),
        version: release.version.clone(),
        app_version: release.app_version.clone(),
    };
    let step = into_release(step, StepRelease { identity, chart, values }, findings)?;
    if let (Some(path), Some(chart)) = (&release.git, &release.git_chart) {
        match sources::rendered(site, wanted, path, chart, files) {
            Ok(of_git) => fixed(&step, &of_git, findings),
            Err(faults) => findings.extend(faults.iter().cloned()),
        }
    }
    Some(step)
}

/// What cannot be changed must be as Git's chart has it: Flux could only fail to make it so.
fn fixed(step: &Step, of_git: &Step, findings: &mut Findings) {
    for ours in &step.manifests {
        let Some(theirs) = of_git.manifests.iter().find(|theirs| theirs.id == ours.id) else { continue };
        for field in handover::fixed(&ours.object, &theirs.object) {
            let message = format!("{}: {field} by Git's chart, which cannot be changed later", ours.id);
            let at = Position { line: ours.line, column: 1 };
            let finding = Finding::error(ours.file.as_str(), at, "release-fixed", message);
            findings.push(finding.fix("install what Git's chart renders, or Flux's upgrade fails for ever"));
        }
    }
}

fn into_release(step: Step, release: StepRelease, findings: &mut Findings) -> Option<Step> {
    step.into_release(release).map_err(|faults| findings.extend(faults.iter().cloned())).ok()
}

/// What the machine configs say, as far as it can be known without the cluster's secrets.
fn machines(site: &Site) -> cilium::Machines {
    let cluster = site.cluster();
    let nodes = &cluster.nodes;
    let set = |keys: &[&str], value: bool| {
        nodes.iter().any(|node| cluster.patched(node, keys).is_some_and(|found| found == value))
    };
    let port =
        nodes.iter().find_map(|node| cluster.patched(node, &["machine", "features", "kubePrism", "port"]));
    let port = port.and_then(|port| port.as_u64()).and_then(|port| port.try_into().ok());
    cilium::Machines {
        nodes: nodes.len(),
        kube_prism: (!set(&["machine", "features", "kubePrism", "enabled"], false))
            .then_some(port.unwrap_or(KUBE_PRISM)),
        kube_proxy: !set(&["cluster", "proxy", "disabled"], true),
        dns_to_host: !set(&["machine", "features", "hostDNS", "forwardKubeDNSToHost"], false),
        ipv6: cluster.pod_nets.iter().any(|net| net.contains(':')),
        inline_manifests: cluster.inline_manifests.iter().map(|(name, _)| name.clone()).collect(),
    }
}

fn documents(path: &Path, files: &dyn Files, findings: &mut Findings) -> Option<Vec<Document>> {
    let name = path.display().to_string();
    // What cannot be read was told where the site names it.
    let text = files.read(path).ok()?;
    match Document::parse_stream(&name, &text) {
        Ok(documents) => Some(documents),
        Err(finding) => {
            findings.push(finding);
            None
        }
    }
}

fn values_of(path: &Path, files: &dyn Files, findings: &mut Findings) -> Option<Map<String, Value>> {
    let documents = documents(path, files, findings)?;
    match documents.as_slice() {
        [] => Some(Map::new()),
        [document] => match document.root().to_json() {
            Value::Object(values) => Some(values),
            Value::Null => Some(Map::new()),
            _ => {
                findings
                    .push(document.place().error("release-values", "values are a mapping, and this is none"));
                None
            }
        },
        [_, second, ..] => {
            findings
                .push(second.place().error("release-values", "values are one document, and here is another"));
            None
        }
    }
}

/// What Git has of the release must be what Git will find.
fn git(
    path: &Path,
    identity: &Identity,
    version: &str,
    values: &Map<String, Value>,
    files: &dyn Files,
    findings: &mut Findings,
) {
    let Some(documents) = documents(path, files, findings) else { return };
    let is = |document: &&Document, kind: &str| {
        document.root().get("kind").and_then(document::Node::text) == Some(kind)
    };
    let Some(document) = documents.iter().find(|document| is(document, "HelmRelease")) else {
        let finding =
            Finding::about_file(path.display().to_string(), "release-git", "there is no HelmRelease in it");
        findings.push(finding.fix("name the file of the repository that has it"));
        return;
    };
    let place = document.place();
    let object = document.root().to_json();
    match Identity::resolve(&object) {
        Err(error) => findings.push(place.error("release-git", error.to_string())),
        Ok(git) => {
            for difference in identity.differences(&git) {
                let finding = place.key("spec").error("release-names", difference.to_string());
                findings.push(finding.fix(
                    "make them the same with releaseName, targetNamespace and storageNamespace, or Flux installs a second one over it",
                ));
            }
        }
    }
    let tags = documents.iter().filter(|document| is(document, "OCIRepository"));
    let tag = tags.filter_map(|document| document.root().get("spec")?.get("ref")?.get("tag")?.text()).next();
    let pinned = object["spec"]["chart"]["spec"]["version"].as_str().or(tag);
    if let Some(pinned) =
        pinned.filter(|pinned| pinned.trim_start_matches('v') != version.trim_start_matches('v'))
    {
        let message = format!("Git pins the chart {pinned}, and the hand-over installs {version}");
        let finding = place.key("spec").warning("release-version", message);
        findings.push(finding.fix("install what Git pins, so that the adoption changes nothing"));
    }
    let objects: Vec<Value> = documents.iter().map(|document| document.root().to_json()).collect();
    let mut unknown = Findings::new();
    let Some(of_git) = values::of(place, &object, &objects, &mut unknown) else {
        let message = "values that come from other files are not compared with those of the hand-over";
        let place = place.key("spec").key("valuesFrom");
        findings.push(
            place
                .warning("release-values", message)
                .fix("put them into the file of the HelmRelease, or render with `helm:`"),
        );
        return;
    };
    let different = kubernetes::differences(&Value::Object(values.clone()), &Value::Object(of_git.merged));
    if !different.is_empty() {
        let message = format!("the values of Git are others: {}", different.join(", "));
        let finding = place.key("spec").key("values").warning("release-values", message);
        findings.push(finding.fix("render with the values of Git, so that the adoption changes nothing"));
    }
}
