//! The marks by which Helm knows its own objects; without them it refuses to take an object over.

use serde_json::{Value, json};

use super::Identity;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const RELEASE_NAME: &str = "meta.helm.sh/release-name";
const RELEASE_NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// Marks an object as one of the release's. What else is in its labels and annotations stays.
pub fn stamp(object: &mut Value, release: &Identity) {
    let Some(metadata) = object.get_mut("metadata").filter(|metadata| metadata.is_object()) else { return };
    metadata["labels"][MANAGED_BY] = json!("Helm");
    metadata["annotations"][RELEASE_NAME] = json!(release.name);
    metadata["annotations"][RELEASE_NAMESPACE] = json!(release.namespace);
}

/// Whether an object is marked as one of this release.
pub fn is_stamped(object: &Value, release: &Identity) -> bool {
    let metadata = &object["metadata"];
    metadata["labels"][MANAGED_BY] == "Helm"
        && metadata["annotations"][RELEASE_NAME] == *release.name
        && metadata["annotations"][RELEASE_NAMESPACE] == *release.namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_marked_and_keeps_what_it_had() {
        let release = Identity::of("cilium", "kube-system");
        let mut object = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "a", "labels": { "helm.sh/chart": "cilium-1.20.0" } } });
        assert!(!is_stamped(&object, &release));
        stamp(&mut object, &release);
        assert!(is_stamped(&object, &release));
        assert!(!is_stamped(&object, &Identity::of("cilium", "default")));
        assert_eq!(object["metadata"]["labels"]["helm.sh/chart"], "cilium-1.20.0");
    }
}
