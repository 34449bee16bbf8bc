//! The founding document's matrix: what is required for the cluster to start, for Git to take over, or needs access to the
//! operating system belongs to the bootstrap; everything else belongs to Git.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who a thing belongs to after the hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// ichord changes it
    Bootstrap,
    /// it is changed by a commit, and Flux carries it out
    GitOps,
}

/// Groups of Kubernetes APIs whose objects are Git's whatever they are called: certificates, ingress, storage,
/// monitoring, names.
const OF_GIT: [&str; 9] = [
    "acme.cert-manager.io",
    "cert-manager.io",
    "externaldns.k8s.io",
    "gateway.networking.k8s.io",
    "longhorn.io",
    "monitoring.coreos.com",
    "networking.k8s.io",
    "snapshot.storage.k8s.io",
    "storage.k8s.io",
];

/// Groups without whose objects no Git arrives in the cluster: its agents, and where secrets come from.
const OF_BOOTSTRAP: [&str; 7] = [
    "apiextensions.k8s.io",
    "external-secrets.io",
    "fluxcd.controlplane.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.toolkit.fluxcd.io",
    "rbac.authorization.k8s.io",
    "source.toolkit.fluxcd.io",
];

/// Namespaces whose workloads are the cluster itself or bring Git to it.
const NAMESPACES: [&str; 5] =
    ["external-secrets", "external-secrets-system", "flux-system", "kube-system", "onepassword-connect"];

/// The phase of a Kubernetes object. Of Cilium the core is bootstrap, its BGP and its address pools are Git's.
pub fn of_object(object: &Value) -> Phase {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (kind, api) = (text("/kind"), text("/apiVersion"));
    let group = api.split_once('/').map_or("", |(group, _)| group);
    if OF_GIT.contains(&group) {
        return Phase::GitOps;
    }
    if group == "cilium.io" {
        let is_core = !["CiliumBGP", "CiliumLoadBalancer", "CiliumL2"].iter().any(|it| kind.starts_with(it));
        return if is_core { Phase::Bootstrap } else { Phase::GitOps };
    }
    if OF_BOOTSTRAP.contains(&group)
        || kind == "Namespace"
        || NAMESPACES.contains(&text("/metadata/namespace"))
    {
        return Phase::Bootstrap;
    }
    Phase::GitOps
}

/// The phase of manifests in one text: Git's only when nothing in it is needed before. What is no YAML is nothing that a
/// cluster needs.
pub(crate) fn of_manifests(text: &str) -> Phase {
    let documents = talos_config::yaml::read(text).unwrap_or_default();
    let phases = documents.iter().map(|document| of_object(&document.root().to_json()));
    phases.min().unwrap_or(Phase::GitOps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_parted_as_the_matrix_says() {
        for (text, phase) in [
            ("{apiVersion: v1, kind: Namespace, metadata: {name: a}}", Phase::Bootstrap),
            (
                "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: cilium, namespace: kube-system}}",
                Phase::Bootstrap,
            ),
            (
                "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}}",
                Phase::GitOps,
            ),
            ("{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy}", Phase::Bootstrap),
            ("{apiVersion: cilium.io/v2alpha1, kind: CiliumBGPClusterConfig}", Phase::GitOps),
            ("{apiVersion: cilium.io/v2, kind: CiliumLoadBalancerIPPool}", Phase::GitOps),
            ("{apiVersion: networking.k8s.io/v1, kind: Ingress}", Phase::GitOps),
            ("{apiVersion: storage.k8s.io/v1, kind: StorageClass}", Phase::GitOps),
            ("{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor}", Phase::GitOps),
            ("{apiVersion: cert-manager.io/v1, kind: Certificate}", Phase::GitOps),
            ("{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository}", Phase::Bootstrap),
            ("{apiVersion: external-secrets.io/v1, kind: ClusterSecretStore}", Phase::Bootstrap),
        ] {
            assert_eq!(of_manifests(text), phase, "{text}");
        }
        let both =
            "{apiVersion: networking.k8s.io/v1, kind: Ingress}\n---\n{apiVersion: v1, kind: Namespace}\n";
        assert_eq!(of_manifests(both), Phase::Bootstrap);
        assert_eq!(of_manifests("a: ["), Phase::GitOps);
    }
}
