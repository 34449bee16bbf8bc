//! Which kinds exist: the built-in ones, and those that applied CRDs define.

use serde_json::Value;

/// A kind and how its URLs are made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kind {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether `metadata.generation` counts changes of the specification.
    pub(crate) generation: bool,
    /// `None` for built-in kinds; the OpenAPI schema (or null) for those of a CRD.
    pub(crate) custom: Option<Value>,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// How error messages call the resource: `deployments.apps`, but `namespaces`.
    pub(crate) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// Group, version, kind, plural, namespaced, generation.
#[rustfmt::skip]
const BUILT_IN: &[(&str, &str, &str, &str, bool, bool)] = &[
    ("", "v1", "ConfigMap", "configmaps", true, false),
    ("", "v1", "Event", "events", true, false),
    ("", "v1", "Namespace", "namespaces", false, false),
    ("", "v1", "Node", "nodes", false, false),
    ("", "v1", "Pod", "pods", true, false),
    ("", "v1", "Secret", "secrets", true, false),
    ("", "v1", "Service", "services", true, false),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, false),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false, true),
    ("apps", "v1", "DaemonSet", "daemonsets", true, true),
    ("apps", "v1", "Deployment", "deployments", true, true),
    ("coordination.k8s.io", "v1", "Lease", "leases", true, false),
    (RBAC, "v1", "ClusterRole", "clusterroles", false, false),
    (RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", false, false),
    (RBAC, "v1", "Role", "roles", true, false),
    (RBAC, "v1", "RoleBinding", "rolebindings", true, false),
];

pub(crate) fn built_in() -> impl Iterator<Item = Kind> {
    BUILT_IN.iter().map(|&(group, version, kind, plural, namespaced, generation)| Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced,
        generation,
        custom: None,
    })
}

/// The kinds of a CRD, one per served version; none before it is Established.
pub(crate) fn defined_by(crd: &Value) -> Vec<Kind> {
    let established = (crd["status"]["conditions"].as_array().into_iter().flatten())
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    if !established {
        return Vec::new();
    }
    let spec = &crd["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (spec["versions"].as_array().into_iter().flatten())
        .filter(|version| version["served"] == true)
        .map(|version| Kind {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
            generation: true,
            custom: Some(version["schema"]["openAPIV3Schema"].clone()),
        })
        .collect()
}
