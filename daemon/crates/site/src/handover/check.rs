//! The files of the steps: there, and Kubernetes objects.

use document::{Document, Finding, Findings, Place};

use super::{HandoverStep, Source};
use crate::load::Files;

/// Checks what can be checked without other programs. The steps' places are looked up by their names, because they
/// are in the order in which they run.
pub(crate) fn check(steps: &[HandoverStep], list: Place<'_>, files: &dyn Files, findings: &mut Findings) {
    for step in steps {
        let items = list.node().map(document::Node::items).unwrap_or_default();
        let index = items.iter().position(|item| item.position == step.at).unwrap_or_default();
        let place = list.item(index);
        for (key, path) in (step.release.iter())
            .flat_map(|release| [("values", release.values.as_ref()), ("git", release.git.as_ref())])
        {
            let Some(Err(error)) = path.map(|path| files.read(path)) else { continue };
            let finding =
                place.key("release").key(key).error("release-file", format!("it cannot be read: {error}"));
            findings.push(finding.fix("create the file, or correct the path; it is relative to the site"));
        }
        for (index, source) in step.sources.iter().enumerate() {
            let Source::File(path) = source else { continue };
            let place = place.key("manifests").item(index);
            let name = path.display().to_string();
            match files.read(path) {
                Err(error) => {
                    let finding = place.error("manifest", format!("{name} cannot be read: {error}"));
                    findings.push(
                        finding.fix("create the file, or correct the path; it is relative to the site"),
                    );
                }
                Ok(text) => match Document::parse_stream(&name, &text) {
                    Err(finding) => findings.push(finding),
                    Ok(documents) => findings.extend(documents.iter().filter_map(manifest)),
                },
            }
        }
    }
}

/// A Kubernetes object says what it is.
fn manifest(document: &Document) -> Option<Finding> {
    let text = |key: &str| document.root().get(key).and_then(document::Node::text);
    let name = document.root().get("metadata").and_then(|metadata| metadata.get("name"));
    let is_list = text("kind").is_some_and(|kind| kind.ends_with("List"));
    if text("apiVersion").is_some() && text("kind").is_some() && (name.is_some() || is_list) {
        return None;
    }
    let finding = document.place().error("manifest", "this is not a Kubernetes object");
    Some(finding.fix("it needs `apiVersion`, `kind` and `metadata.name`"))
}
