//! What patches set, without applying them: for checks before there are secrets to render with.

use document::Document;
use serde_json::Value;

use super::{Node, Patch, TalConfig};

impl TalConfig {
    /// The value that the last of a node's patches sets at a place of the main document, by keys:
    /// `["cluster", "proxy", "disabled"]`.
    pub fn patched(&self, node: &Node, keys: &[&str]) -> Option<Value> {
        let documents = self.all_patches(node).flat_map(parsed);
        documents
            .filter(|document| document.get("kind").is_none())
            .filter_map(|document| at(&document, keys))
            .last()
    }

    /// The documents of one kind and name in a node's patches and extra manifests, in their order.
    pub fn patch_documents(&self, node: &Node, kind: &str, name: &str) -> Vec<Value> {
        let is = |document: &Value, key: &str, value: &str| {
            document.get(key).and_then(Value::as_str) == Some(value)
        };
        let texts = self.all_patches(node).chain(&node.extra_manifests);
        texts
            .flat_map(parsed)
            .filter(|document| is(document, "kind", kind) && is(document, "name", name))
            .collect()
    }

    fn all_patches<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Patch> {
        node.patches.iter().chain(&self.patches)
    }
}

/// The documents of a patch; faults are reported when it is loaded.
fn parsed(patch: &Patch) -> Vec<Value> {
    let documents = Document::parse_stream(&patch.file, &patch.text).unwrap_or_default();
    documents.iter().map(|document| document.root().to_json()).collect()
}

fn at(document: &Value, keys: &[&str]) -> Option<Value> {
    keys.iter().try_fold(document, |value, key| value.get(key)).cloned()
}
