//! Keys without an effect whose author relies on one: of older talhelpers, and in the wrong place.

use document::{Document, Findings, Place};

/// What talhelper 1 knew, and what took its place.
const RETIRED: [(&str, &str); 3] = [
    ("configPatches", "write them as one item of `patches`: `- |-` and the list below it"),
    ("inlinePatch", "write it as an item of `patches`: `- |-` and the mapping below it"),
    ("extensions", "name them in `schematic.customization.systemExtensions.officialExtensions`"),
];

/// What nodes and groups have; `patches` is at home in both.
const OF_NODES: [&str; 20] = [
    "certSANs",
    "disableSearchDomain",
    "extensionServices",
    "extraManifests",
    "imageSchematic",
    "ingressFirewall",
    "installDisk",
    "installDiskSelector",
    "kernelModules",
    "machineDisks",
    "machineFiles",
    "machineSpec",
    "nameservers",
    "networkInterfaces",
    "nodeAnnotations",
    "nodeLabels",
    "nodeTaints",
    "schematic",
    "talosImageURL",
    "userVolumes",
];

/// Says more about unknown keys than that they are unknown.
pub(in crate::talconfig) fn explain(document: &Document, findings: Findings) -> Findings {
    let root = document.place();
    let nodes = root.key("nodes");
    let count = nodes.node().map_or(0, |nodes| nodes.items().len());
    let groups = [root.key("controlPlane"), root.key("worker")];
    let mut explained = Findings::new();
    for section in groups.into_iter().chain((0..count).map(|index| nodes.item(index))) {
        for (key, fix) in RETIRED.iter().filter(|(key, _)| has(section, key)) {
            let message = format!("`{key}` has no effect: talhelper 2 gave it up");
            explained.push(section.name(key).warning("key-retired", message).fix(*fix));
        }
    }
    for key in OF_NODES.iter().filter(|key| has(root, key)) {
        let finding = root.name(key).warning("key-misplaced", format!("`{key}` has no effect here"));
        explained.push(finding.fix("move it into `controlPlane`, `worker` or a node"));
    }
    let is_explained =
        |line, column| explained.iter().any(|known| (known.line, known.column) == (line, column));
    let mut result = Findings::new();
    for finding in findings.iter().filter(|finding| !is_explained(finding.line, finding.column)) {
        result.push(finding.clone());
    }
    result.extend(explained);
    result
}

fn has(place: Place<'_>, key: &str) -> bool {
    place.node().is_some_and(|node| node.entry(key).is_some())
}
