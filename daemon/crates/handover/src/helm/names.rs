//! Under which names Git will look for a release: helm-controller's rules.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The longest name that Helm allows.
const LONGEST: usize = 53;

/// How much of the digest ends a shortened name.
const DIGEST: usize = 12;

/// A release as Helm's storage knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// The namespace it installs into.
    pub namespace: String,
    /// The namespace its record lies in.
    pub storage: String,
}

/// The value is no HelmRelease that says its names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Something else.
    #[error("this is not a HelmRelease of helm.toolkit.fluxcd.io but {0}")]
    Kind(String),
    /// A name that is needed is not there.
    #[error("the HelmRelease has no {0}")]
    Missing(&'static str),
}

/// Two names that should be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What is named.
    pub what: &'static str,
    /// The hand-over's word.
    pub ours: String,
    /// Git's word.
    pub git: String,
}

impl Identity {
    /// A release whose record lies where it is installed, as with `helm install`.
    pub fn of(name: &str, namespace: &str) -> Self {
        let (namespace, storage) = (namespace.to_owned(), namespace.to_owned());
        Identity { name: name.to_owned(), namespace, storage }
    }

    /// What helm-controller makes of a HelmRelease.
    ///
    /// A target namespace without a release name goes into the name; the record does not follow the target, it
    /// lies with the HelmRelease. People who move a HelmRelease into `flux-system` get a new, empty release by that.
    pub fn resolve(release: &Value) -> Result<Self, NamesError> {
        let api_version = release["apiVersion"].as_str().unwrap_or_default();
        let kind = release["kind"].as_str().unwrap_or_default();
        if kind != "HelmRelease" || !api_version.starts_with("helm.toolkit.fluxcd.io/") {
            return Err(NamesError::Kind(format!("{kind} of {api_version}")));
        }
        let text = |pointer: &str| {
            release
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let name = text("/metadata/name").ok_or(NamesError::Missing("metadata.name"))?;
        let own = text("/metadata/namespace").ok_or(NamesError::Missing("metadata.namespace"))?;
        let target = text("/spec/targetNamespace");
        let name = match (text("/spec/releaseName"), &target) {
            (Some(name), _) => name,
            (None, Some(target)) => format!("{target}-{name}"),
            (None, None) => name,
        };
        Ok(Identity {
            name: shortened(name),
            storage: text("/spec/storageNamespace").unwrap_or_else(|| own.clone()),
            namespace: target.unwrap_or(own),
        })
    }

    /// How the release differs from what Git resolves to; nothing where Git will find it.
    pub fn differences(&self, git: &Identity) -> Vec<Difference> {
        [
            ("release name", &self.name, &git.name),
            ("release namespace", &self.namespace, &git.namespace),
            ("storage namespace", &self.storage, &git.storage),
        ]
        .into_iter()
        .filter(|(_, ours, git)| ours != git)
        .map(|(what, ours, git)| Difference { what, ours: ours.clone(), git: git.clone() })
        .collect()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} is {:?} here and {:?} in Git", self.what, self.ours, self.git)
    }
}

/// Too long a name ends in a digest of the whole.
fn shortened(name: String) -> String {
    if name.len() <= LONGEST {
        return name;
    }
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    let head: String = name.chars().take(LONGEST - DIGEST - 1).collect();
    format!("{head}-{}", digest.get(..DIGEST).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(namespace: &str, spec: &Value) -> Value {
        json!({ "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": { "name": "cilium", "namespace": namespace }, "spec": spec })
    }

    fn resolved(namespace: &str, spec: &Value) -> (String, String, String) {
        let Identity { name, namespace, storage } = Identity::resolve(&release(namespace, spec)).unwrap();
        (name, namespace, storage)
    }

    fn three(name: &str, namespace: &str, storage: &str) -> (String, String, String) {
        (name.to_owned(), namespace.to_owned(), storage.to_owned())
    }

    #[test]
    fn names_are_resolved_as_helm_controller_does() {
        for (namespace, spec, expected) in [
            ("kube-system", json!({}), three("cilium", "kube-system", "kube-system")),
            (
                "flux-system",
                json!({ "targetNamespace": "kube-system" }),
                three("kube-system-cilium", "kube-system", "flux-system"),
            ),
            (
                "flux-system",
                json!({ "targetNamespace": "kube-system", "releaseName": "cilium", "storageNamespace": "kube-system" }),
                three("cilium", "kube-system", "kube-system"),
            ),
            ("a", json!({ "releaseName": "" }), three("cilium", "a", "a")),
        ] {
            assert_eq!(resolved(namespace, &spec), expected, "{spec}");
        }
    }

    #[test]
    fn a_long_name_is_shortened_with_its_digest() {
        let (name, ..) = resolved("a", &json!({ "releaseName": "x".repeat(54) }));
        // sha256 of 54 times x begins so
        assert_eq!(
            name,
            format!("{}-{}", "x".repeat(40), &hex::encode(Sha256::digest("x".repeat(54)))[..12])
        );
        assert_eq!(name.len(), 53);
        let (name, ..) = resolved("a", &json!({ "releaseName": "x".repeat(53) }));
        assert_eq!(name, "x".repeat(53));
    }

    #[test]
    fn what_git_would_not_find_is_told() {
        let ours = Identity::of("cilium", "kube-system");
        let git =
            Identity::resolve(&release("flux-system", &json!({ "targetNamespace": "kube-system" }))).unwrap();
        let told: Vec<String> = ours.differences(&git).iter().map(Difference::to_string).collect();
        assert_eq!(
            told,
            [
                "the release name is \"cilium\" here and \"kube-system-cilium\" in Git",
                "the storage namespace is \"kube-system\" here and \"flux-system\" in Git"
            ]
        );
        assert_eq!(ours.differences(&ours.clone()), []);
    }

    #[test]
    fn what_is_no_helm_release_is_refused() {
        let error = Identity::resolve(&json!({ "apiVersion": "v1", "kind": "Secret" })).unwrap_err();
        assert_eq!(error, NamesError::Kind("Secret of v1".to_owned()));
        let nameless =
            json!({ "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {} });
        assert_eq!(Identity::resolve(&nameless), Err(NamesError::Missing("metadata.name")));
    }
}
