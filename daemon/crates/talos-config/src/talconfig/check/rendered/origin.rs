//! Where a value of a rendered config was written: the last patch that sets it, file, line and column.

use document::{Document, Node as Written, Position};

use crate::talconfig::{Node, Patch, TalConfig};

/// The place of a value of the main document, or of the document of a kind and name; nothing if no patch sets it.
///
/// Patches are read again for this. It is asked about faults, which are few.
pub(super) fn of(
    config: &TalConfig,
    node: &Node,
    document: Option<(&str, &str)>,
    path: &[&str],
) -> Option<(String, Position)> {
    let patches = node.patches.iter().chain(&config.patches).chain(&node.extra_manifests);
    let patches: Vec<&Patch> = patches.collect();
    patches.into_iter().rev().find_map(|patch| {
        let documents = documents(config, node, patch);
        let fitting = documents.iter().rev().filter(|own| is(own.root(), document));
        let place = fitting.filter_map(|own| place(own, path)).next()?;
        Some((patch.file.clone(), place))
    })
}

fn is(root: &Written, document: Option<(&str, &str)>) -> bool {
    let text = |key: &str| root.get(key).and_then(Written::text).unwrap_or_default();
    match document {
        None => text("kind").is_empty(),
        Some((kind, name)) => text("kind") == kind && text("name") == name,
    }
}

fn place(document: &Document, path: &[&str]) -> Option<Position> {
    let place = path.iter().try_fold(document.place(), |place, step| {
        let index = step.strip_prefix('[').and_then(|step| step.strip_suffix(']')?.parse().ok());
        let next = index.map_or_else(|| place.key(step), |index| place.item(index));
        next.node().is_some().then_some(next)
    })?;
    Some(place.position())
}

/// The documents of a patch with the positions of the file that it is written in.
fn documents(config: &TalConfig, node: &Node, patch: &Patch) -> Vec<Document> {
    let own = &config.document;
    if patch.file != own.file() {
        return Document::parse_stream(&patch.file, &patch.text).unwrap_or_default();
    }
    let group = if node.control_plane { "controlPlane" } else { "worker" };
    let lists = [
        own.place().key("patches"),
        own.place().key(group).key("patches"),
        config.place_of(node).key("patches"),
    ];
    let mut scalars = lists.into_iter().filter_map(|list| list.node()).flat_map(Written::items);
    // in the order of the file, and no two scalars begin at one place
    let scalar = scalars.find(|scalar| scalar.position == patch.at);
    scalar.and_then(|scalar| own.parse_inside(scalar).ok()).unwrap_or_default()
}
