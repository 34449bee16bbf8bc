//! Which object: the four names that make its URL.

use std::fmt;

use serde_json::Value;

/// An object's type and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// `None` for kinds without one, and for objects that did not say it.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// The value is not an object that could be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A field that every object has is absent or not text.
    #[error("{0} is missing: every object has apiVersion, kind and metadata.name")]
    Missing(&'static str),
    /// A name that would lead to another URL.
    #[error("{field} {value:?} cannot be part of a URL")]
    Unsafe {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl TryFrom<&Value> for ObjectId {
    type Error = ObjectError;

    fn try_from(object: &Value) -> Result<Self, ObjectError> {
        let text = |pointer: &str, field: &'static str| {
            let text = object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or(ObjectError::Missing(field))
        };
        let id = ObjectId {
            api_version: text("/apiVersion", "apiVersion")?,
            kind: text("/kind", "kind")?,
            namespace: text("/metadata/namespace", "metadata.namespace").ok(),
            name: text("/metadata/name", "metadata.name")?,
        };
        for (field, value) in
            [("metadata.name", Some(&id.name)), ("metadata.namespace", id.namespace.as_ref())]
        {
            if let Some(value) = value.filter(|value| !segment(value)) {
                return Err(ObjectError::Unsafe { field, value: value.clone() });
            }
        }
        let parts: Vec<&str> = id.api_version.split('/').collect();
        if parts.len() > 2 || !parts.into_iter().all(segment) {
            return Err(ObjectError::Unsafe { field: "apiVersion", value: id.api_version });
        }
        Ok(id)
    }
}

/// Whether a text is one segment of a path as it is. RBAC allows colons in names; nothing allows more.
fn segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_shown_as_people_say_it() {
        let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "cilium-operator", "namespace": "kube-system" } });
        assert_eq!(
            ObjectId::try_from(&object).unwrap().to_string(),
            "Deployment kube-system/cilium-operator"
        );
    }

    #[test]
    fn what_would_lead_to_another_url_is_refused() {
        for name in ["..", "a/b", "a%2fb", "a?force=true", "a#b", "a b", "ä"] {
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
            assert!(matches!(ObjectId::try_from(&object), Err(ObjectError::Unsafe { .. })), "{name}");
        }
        for version in ["a/b/c", "../v1", "/v1"] {
            let object = json!({ "apiVersion": version, "kind": "ConfigMap", "metadata": { "name": "a" } });
            assert!(matches!(ObjectId::try_from(&object), Err(ObjectError::Unsafe { .. })), "{version}");
        }
        let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": "system:node" } });
        assert!(ObjectId::try_from(&role).is_ok());
    }

    #[test]
    fn what_is_missing_is_named() {
        for (object, missing) in [
            (json!({}), "apiVersion"),
            (json!({ "apiVersion": "v1" }), "kind"),
            (json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "" } }), "metadata.name"),
        ] {
            assert_eq!(ObjectId::try_from(&object), Err(ObjectError::Missing(missing)));
        }
    }
}
