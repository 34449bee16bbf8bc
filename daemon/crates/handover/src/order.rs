//! In which order objects are written: what others refer to comes first, what may refuse others comes last.

use kubernetes::ObjectId;

/// Kinds in the order in which they are written; a kind that is not here comes between the two lists.
const FIRST: [&str; 20] = [
    "ClusterRole",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "IngressClass",
    "GatewayClass",
    "ClusterRoleBinding",
    "ResourceQuota",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    // An agent reads its configuration when it starts.
    "ConfigMap",
    "Secret",
    "Service",
    "LimitRange",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "CronJob",
    "PodDisruptionBudget",
];

/// A webhook that is registered before its pods run refuses everything.
const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// The place of an object among those of its phase.
pub(crate) fn rank(id: &ObjectId) -> usize {
    let place = |list: &[&str]| list.iter().position(|kind| *kind == id.kind);
    match (place(&FIRST), place(&LAST)) {
        (Some(rank), _) => rank,
        (_, Some(rank)) => FIRST.len() + 1 + rank,
        _ => FIRST.len(),
    }
}

/// Built-in kinds whose objects lie in a namespace.
const NAMESPACED: [&str; 20] = [
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "HorizontalPodAutoscaler",
    "Ingress",
    "Job",
    "LimitRange",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "ReplicaSet",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
];

/// Whether an object of a chart goes into the release's namespace when it does not name one.
pub(crate) fn namespaced(id: &ObjectId) -> bool {
    NAMESPACED.contains(&id.kind.as_str()) || matches!(id.kind.as_str(), "ServiceAccount" | "StatefulSet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(kind: &str) -> ObjectId {
        ObjectId {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: None,
            name: "a".to_owned(),
        }
    }

    #[test]
    fn what_others_need_comes_before_them() {
        for (first, second) in [
            ("ClusterRole", "ClusterRoleBinding"),
            ("ServiceAccount", "RoleBinding"),
            ("ConfigMap", "DaemonSet"),
            ("Secret", "Deployment"),
            ("Deployment", "ClusterSecretStore"),
            ("ClusterSecretStore", "MutatingWebhookConfiguration"),
            ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
        ] {
            assert!(rank(&id(first)) < rank(&id(second)), "{first} before {second}");
        }
    }
}
