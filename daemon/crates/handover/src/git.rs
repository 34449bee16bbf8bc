//! Whether Git owns an object already, through Flux. What Git owns is looked at and never written again.

use std::fmt;

use serde_json::Value;

/// Who in Flux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitOwner {
    /// `Kustomization`, `HelmRelease`, `FluxInstance`, or the field manager where only that tells.
    pub kind: String,
    /// Its namespace; empty where it is not told.
    pub namespace: String,
    /// Its name; empty where it is not told.
    pub name: String,
}

/// The labels by which Flux marks what it applied, without `/name` and `/namespace`.
const LABELS: [(&str, &str); 3] = [
    ("HelmRelease", "helm.toolkit.fluxcd.io"),
    ("Kustomization", "kustomize.toolkit.fluxcd.io"),
    ("FluxInstance", "fluxcd.controlplane.io"),
];

/// The field managers of Flux's controllers.
pub const MANAGERS: [&str; 3] = ["helm-controller", "kustomize-controller", "flux-operator"];

/// Who in Flux applied this object, if anybody.
pub fn owner(object: &Value) -> Option<GitOwner> {
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (kind, prefix) in LABELS {
        let label = |name: &str| text(&metadata["labels"][format!("{prefix}/{name}")]);
        if !label("name").is_empty() {
            return Some(GitOwner {
                kind: kind.to_owned(),
                namespace: label("namespace"),
                name: label("name"),
            });
        }
    }
    // What External Secrets writes comes from Git's ExternalSecret.
    let mut references = metadata["ownerReferences"].as_array().into_iter().flatten();
    if let Some(reference) = references.find(|reference| reference["kind"] == "ExternalSecret") {
        return Some(GitOwner {
            kind: "ExternalSecret".to_owned(),
            namespace: text(&metadata["namespace"]),
            name: text(&reference["name"]),
        });
    }
    // A controller that only touched the status, or an annotation by Update, owns nothing.
    let entries = metadata["managedFields"].as_array().into_iter().flatten();
    let manager = entries
        .filter(|entry| {
            entry["operation"] == "Apply" && entry["subresource"].as_str().is_none_or(str::is_empty)
        })
        .find_map(|entry| entry["manager"].as_str().filter(|manager| MANAGERS.contains(manager)))?;
    Some(GitOwner { kind: manager.to_owned(), namespace: String::new(), name: String::new() })
}

impl fmt::Display for GitOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.namespace.as_str(), self.name.as_str()) {
            (_, "") => f.write_str(&self.kind),
            ("", name) => write!(f, "{} {name}", self.kind),
            (namespace, name) => write!(f, "{} {namespace}/{name}", self.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_labels_of_flux_tell_and_so_do_its_managers() {
        let labelled = |prefix: &str| json!({ "metadata": { "labels": { format!("{prefix}/name"): "cilium", format!("{prefix}/namespace"): "kube-system" } } });
        for (prefix, shown) in [
            ("helm.toolkit.fluxcd.io", "HelmRelease kube-system/cilium"),
            ("kustomize.toolkit.fluxcd.io", "Kustomization kube-system/cilium"),
            ("fluxcd.controlplane.io", "FluxInstance kube-system/cilium"),
        ] {
            assert_eq!(owner(&labelled(prefix)).unwrap().to_string(), shown);
        }
        let managed = |manager: &str, operation: &str, subresource: &str| json!({ "metadata": { "managedFields": [{ "manager": manager, "operation": operation, "subresource": subresource }] } });
        assert_eq!(owner(&managed("helm-controller", "Apply", "")).unwrap().to_string(), "helm-controller");
        assert_eq!(owner(&managed("helm-controller", "Update", "")), None);
        assert_eq!(owner(&managed("kustomize-controller", "Apply", "status")), None);
        assert_eq!(owner(&managed("ichord", "Apply", "")), None);
        assert_eq!(owner(&json!({})), None);
        let external = json!({ "metadata": { "namespace": "a", "ownerReferences": [{ "kind": "ExternalSecret", "name": "b" }] } });
        assert_eq!(owner(&external).unwrap().to_string(), "ExternalSecret a/b");
    }
}
