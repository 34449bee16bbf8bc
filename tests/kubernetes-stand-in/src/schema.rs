//! How values merge: which lists are keyed by some field, which are sets, what is replaced as a whole.
//!
//! Built-in kinds: the `+listType`, `+listMapKey` and `+structType` markers of k8s.io/api, by field name and,
//! where one name means two things, by the name around it. Custom kinds: `x-kubernetes-list-type` and its
//! relatives in the CRD's schema; without one a list is atomic and a mapping granular.

use serde_json::Value;

/// Where in an object a walk is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    field: &'a str,
    parent: &'a str,
    /// `Some` inside a custom resource (outside its metadata).
    schema: Option<&'a Value>,
    root: bool,
}

/// How a list merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List<'a> {
    Atomic,
    Set,
    /// Elements are mappings told apart by these fields.
    Keyed(Vec<&'a str>),
}

impl<'a> Cursor<'a> {
    pub(crate) fn root(custom: Option<&'a Value>) -> Self {
        Cursor { field: "", parent: "", schema: custom, root: true }
    }

    /// Into the field `name` of a mapping.
    pub(crate) fn field(self, name: &'a str) -> Self {
        let schema = match self.schema {
            // The server owns the schema of metadata, whatever the CRD says.
            Some(_) if self.root && name == "metadata" => None,
            Some(schema) => Some(match schema["properties"].get(name) {
                Some(property) => property,
                None => &schema["additionalProperties"],
            }),
            None => None,
        };
        Cursor { field: name, parent: self.field, schema, root: false }
    }

    /// Into an element of a list.
    pub(crate) fn item(self) -> Self {
        Cursor { schema: self.schema.map(|schema| &schema["items"]), root: false, ..self }
    }

    pub(crate) fn list(self) -> List<'a> {
        if let Some(schema) = self.schema {
            let keys = || schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            return match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => List::Set,
                Some("map") => List::Keyed(keys().filter_map(Value::as_str).collect()),
                _ => List::Atomic,
            };
        }
        let keys: &[&str] = match (self.parent, self.field) {
            (_, "finalizers" | "podCIDRs") => return List::Set,
            (_, "ownerReferences") => &["uid"],
            (_, "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env") => &["name"],
            (_, "imagePullSecrets") | ("", "secrets") => &["name"],
            (_, "volumeMounts") => &["mountPath"],
            (_, "volumeDevices") => &["devicePath"],
            (_, "hostAliases") => &["ip"],
            (_, "topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
            ("containers" | "initContainers", "ports") => &["containerPort", "protocol"],
            ("spec", "ports") => &["port", "protocol"],
            ("status", "conditions" | "addresses") => &["type"],
            _ => return List::Atomic,
        };
        List::Keyed(keys.to_vec())
    }

    /// Whether a mapping is replaced as a whole.
    pub(crate) fn atomic_mapping(self) -> bool {
        if let Some(schema) = self.schema {
            return schema["x-kubernetes-map-type"] == "atomic";
        }
        matches!(
            self.field,
            "selector"
                | "labelSelector"
                | "nodeSelector"
                | "roleRef"
                | "fieldRef"
                | "resourceFieldRef"
                | "secretKeyRef"
                | "configMapKeyRef"
        )
    }
}
