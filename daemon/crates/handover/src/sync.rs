//! How Flux is told about the repository: as `flux bootstrap` does it, or through a FluxInstance of the flux-operator.
//!
//! Both ways end in objects of the same names, so that one can follow the other. Nothing is written to Git.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::secret::{SecretData, secret};

/// Where Flux finds the key for what SOPS has encrypted.
const AGE: &str = "sops-age";

/// The repository and how it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Sync {
    /// `ssh://git@host/owner/name` or `https://host/owner/name`
    pub url: String,
    /// the branch
    pub branch: String,
    /// the folder in it
    pub path: String,
    /// Flux's namespace, and the name of its objects
    pub namespace: String,
    /// how often it looks
    pub interval: String,
    /// what the repository wants to see
    pub access: Access,
    /// the private key of age
    pub age_key: Option<Zeroizing<String>>,
    /// who makes Flux's objects, where it is not the hand-over
    pub operator: Option<Operator>,
}

/// What a repository wants to see.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// nothing
    Public,
    /// a deploy key
    Key {
        /// in PEM
        identity: Zeroizing<String>,
        /// the host's keys
        known_hosts: String,
    },
    /// a password or a personal token
    Password {
        /// whose
        username: String,
        /// the password
        password: Zeroizing<String>,
    },
    /// a token of its own
    Bearer(Zeroizing<String>),
}

/// What a FluxInstance says about Flux itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// a version or a range: `2.x`
    pub version: String,
    /// where the images are
    pub registry: String,
}

impl std::fmt::Debug for Sync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sync { url, branch, path, operator, .. } = self;
        f.debug_struct("Sync")
            .field("url", url)
            .field("branch", branch)
            .field("path", path)
            .field("operator", operator)
            .finish_non_exhaustive()
    }
}

impl Sync {
    /// The objects, secrets first.
    pub fn objects(&self) -> Vec<Value> {
        let Sync { url, branch, path, namespace, interval, .. } = self;
        let mut objects = Vec::new();
        if let Some(data) = self.login() {
            objects.push(secret(namespace, namespace, "Opaque", &data));
        }
        if let Some(key) = &self.age_key {
            let data = vec![("age.agekey".to_owned(), key.clone())];
            objects.push(secret(AGE, namespace, "Opaque", &data));
        }
        let public = self.access == Access::Public;
        if let Some(Operator { version, registry }) = &self.operator {
            let mut instance = json!({
                "apiVersion": "fluxcd.controlplane.io/v1",
                "kind": "FluxInstance",
                // The operator looks at no other name.
                "metadata": { "name": "flux", "namespace": namespace },
                "spec": {
                    "distribution": { "version": version, "registry": registry },
                    "components":
                        ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"],
                    "sync": {
                        "kind": "GitRepository", "url": url, "ref": format!("refs/heads/{branch}"), "path": path,
                        "interval": interval,
                    },
                },
            });
            if !public {
                instance["spec"]["sync"]["pullSecret"] = json!(namespace);
            }
            if self.age_key.is_some() {
                let decryption = format!(
                    "- op: add\n  path: /spec/decryption\n  value: {{provider: sops, secretRef: {{name: {AGE}}}}}\n"
                );
                instance["spec"]["kustomize"]["patches"] =
                    json!([{ "target": { "kind": "Kustomization" }, "patch": decryption }]);
            }
            objects.push(instance);
            return objects;
        }
        let metadata = json!({ "name": namespace, "namespace": namespace });
        let mut source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": metadata,
            "spec": { "interval": interval, "ref": { "branch": branch }, "url": url },
        });
        if !public {
            source["spec"]["secretRef"] = json!({ "name": namespace });
        }
        let mut applied = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": metadata,
            "spec": {
                "interval": "10m0s", "path": path, "prune": true,
                "sourceRef": { "kind": "GitRepository", "name": namespace },
            },
        });
        if self.age_key.is_some() {
            applied["spec"]["decryption"] = json!({ "provider": "sops", "secretRef": { "name": AGE } });
        }
        objects.extend([source, applied]);
        objects
    }

    /// What source-controller logs in with.
    fn login(&self) -> Option<SecretData> {
        let plain = |text: &str| Zeroizing::new(text.to_owned());
        Some(match &self.access {
            Access::Public => return None,
            Access::Key { identity, known_hosts } => vec![
                // OpenSSH's reader wants the last line to end
                ("identity".to_owned(), Zeroizing::new(format!("{}\n", identity.trim_end()))),
                ("known_hosts".to_owned(), plain(known_hosts)),
            ],
            Access::Password { username, password } => {
                vec![
                    ("username".to_owned(), plain(username)),
                    ("password".to_owned(), plain(password.trim())),
                ]
            }
            Access::Bearer(token) => vec![("bearerToken".to_owned(), plain(token.trim()))],
        })
    }
}

/// The version of Flux that a repository's own `gotk-components.yaml` would install over ours, from its first lines.
pub fn gotk_version(text: &str) -> Option<&str> {
    text.lines().take(10).find_map(|line| line.strip_prefix("# Flux Version:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(access: Access) -> Sync {
        Sync {
            url: "ssh://git@host.test/o/r".to_owned(),
            branch: "main".to_owned(),
            path: "./clusters/home".to_owned(),
            namespace: "flux-system".to_owned(),
            interval: "1m0s".to_owned(),
            access,
            age_key: Some(Zeroizing::new("AGE-SECRET-KEY-hunter2".to_owned())),
            operator: None,
        }
    }

    fn kinds(objects: &[Value]) -> Vec<String> {
        let name = |object: &Value| {
            format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
        };
        objects.iter().map(name).collect()
    }

    #[test]
    fn the_objects_have_the_names_that_bootstrap_gives_them() {
        let key = Access::Key {
            identity: Zeroizing::new("PEM".to_owned()),
            known_hosts: "host.test ssh-ed25519 A".to_owned(),
        };
        let mut sync = sync(key);
        let objects = sync.objects();
        assert_eq!(
            kinds(&objects),
            [
                "Secret flux-system",
                "Secret sops-age",
                "GitRepository flux-system",
                "Kustomization flux-system"
            ]
        );
        assert_eq!(objects[0]["data"]["identity"], BASE64_OF_PEM);
        assert_eq!(objects[2]["spec"]["secretRef"]["name"], "flux-system");
        assert_eq!(objects[3]["spec"]["decryption"]["secretRef"]["name"], "sops-age");
        assert!(!format!("{sync:?}").contains("hunter2"));

        sync.operator = Some(Operator { version: "2.x".to_owned(), registry: "ghcr.io/fluxcd".to_owned() });
        let objects = sync.objects();
        assert_eq!(kinds(&objects), ["Secret flux-system", "Secret sops-age", "FluxInstance flux"]);
        assert_eq!(objects[2]["spec"]["sync"]["pullSecret"], "flux-system");
        assert_eq!(objects[2]["spec"]["sync"]["ref"], "refs/heads/main");
    }

    const BASE64_OF_PEM: &str = "UEVNCg==";

    #[test]
    fn a_public_repository_needs_no_secret() {
        let public = Sync { age_key: None, ..sync(Access::Public) };
        let objects = public.objects();
        assert_eq!(kinds(&objects), ["GitRepository flux-system", "Kustomization flux-system"]);
        assert!(objects[0]["spec"]["secretRef"].is_null());
    }

    #[test]
    fn the_version_of_a_repository_stands_in_its_head() {
        let head = "---\n# This manifest was generated by flux. DO NOT EDIT.\n# Flux Version: v2.8.1\n# Components: x\n";
        assert_eq!(gotk_version(head), Some("v2.8.1"));
        assert_eq!(gotk_version("apiVersion: v1\n"), None);
    }
}
