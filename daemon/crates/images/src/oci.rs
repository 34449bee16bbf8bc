//! Which container images a cluster pulls while it is installed and bootstrapped: for a mirror, or a registry cache.
//!
//! What a machine config names stands in it; the rest are Talos's own defaults, which the catalogue lists.

use std::collections::BTreeSet;

use document::{Document, Finding};
use serde_json::Value;

use crate::sources::{Sources, minor_of};

/// The images of one site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullList {
    /// pulled by Talos: the installer, Kubernetes, etcd
    pub talos: BTreeSet<String>,
    /// named in manifests that the hand-over applies
    pub handover: BTreeSet<String>,
    /// whether Talos's own defaults for this version are known
    pub complete: bool,
}

/// What these machine configs (YAML) and manifests pull on this version of Talos.
pub fn pulled_images<'a>(
    sources: &Sources,
    version: &str,
    configs: impl IntoIterator<Item = &'a str>,
    manifests: impl IntoIterator<Item = &'a Value>,
) -> Result<PullList, Finding> {
    let defaults = sources.pulls.get(minor_of(version));
    let mut list = PullList { complete: defaults.is_some(), ..PullList::default() };
    for config in configs {
        for document in Document::parse_stream("machine config", config)? {
            let document = document.root().to_json();
            named(&document, &mut list.talos)?;
            let Some(kind) = document.pointer("/machine/type").and_then(Value::as_str) else { continue };
            let Some(defaults) = defaults else { continue };
            list.talos.insert(defaults.pause.clone());
            if kind != "controlplane" && kind != "init" {
                continue;
            }
            let says = |path: &str| document.pointer(path);
            if says("/cluster/etcd/image").is_none() {
                list.talos.insert(defaults.etcd.clone());
            }
            let off = says("/cluster/coreDNS/disabled").and_then(Value::as_bool) == Some(true);
            if !off && says("/cluster/coreDNS/image").is_none() {
                list.talos.insert(defaults.coredns.clone());
            }
            let network = says("/cluster/network/cni/name").and_then(Value::as_str);
            if network.is_none_or(|name| name == "flannel") {
                list.talos.insert(defaults.flannel.clone());
            }
        }
    }
    for manifest in manifests {
        named(manifest, &mut list.handover)?;
    }
    Ok(list)
}

/// Every `image` with a text, except of what is switched off; also in manifests within a config.
fn named(value: &Value, into: &mut BTreeSet<String>) -> Result<(), Finding> {
    match value {
        Value::Object(map) => {
            if map.get("disabled").and_then(Value::as_bool) == Some(true) {
                return Ok(());
            }
            for (key, value) in map {
                match value {
                    Value::String(image) if key == "image" && !image.is_empty() => {
                        into.insert(image.clone());
                    }
                    Value::String(text) if key == "contents" => {
                        // an inline manifest; anything else there is no YAML of ours to judge
                        for document in Document::parse_stream("inline manifest", text).unwrap_or_default() {
                            named(&document.root().to_json(), into)?;
                        }
                    }
                    value => named(value, into)?,
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| named(item, into)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONTROL_PLANE: &str = "\
machine:
  type: controlplane
  kubelet: { image: 'ghcr.io/siderolabs/kubelet:v1.36.3' }
  install: { image: 'factory.talos.dev/metal-installer/3765:v1.13.9' }
cluster:
  network: { cni: { name: none } }
  proxy: { disabled: true, image: 'registry.k8s.io/kube-proxy:v1.36.3' }
  apiServer: { image: 'registry.k8s.io/kube-apiserver:v1.36.3' }
  inlineManifests:
    - name: cilium
      contents: |
        spec: { containers: [{ image: quay.io/cilium/cilium:v1.18.2 }] }
---
apiVersion: v1alpha1
kind: HostnameConfig
";

    #[test]
    fn what_the_config_names_and_what_talos_adds() {
        let sources = Sources::built_in().unwrap();
        let manifest = json!({"spec": {"containers": [{"image": "flux:v2"}, {"image": "flux:v2"}]}});
        let list = pulled_images(&sources, "v1.13.9", [CONTROL_PLANE], [&manifest]).unwrap();
        let talos: Vec<&str> = list.talos.iter().map(String::as_str).collect();
        let expected = [
            "factory.talos.dev/metal-installer/3765:v1.13.9",
            "ghcr.io/siderolabs/kubelet:v1.36.3",
            "quay.io/cilium/cilium:v1.18.2",
            "registry.k8s.io/coredns/coredns:v1.14.6",
            "registry.k8s.io/etcd:v3.6.12",
            "registry.k8s.io/kube-apiserver:v1.36.3",
            "registry.k8s.io/pause:3.10.1",
        ];
        assert_eq!(talos, expected);
        assert_eq!((list.handover, list.complete), (["flux:v2".to_owned()].into(), true));
    }

    #[test]
    fn a_worker_pulls_no_etcd_and_flannel_only_where_it_is_the_network() {
        let sources = Sources::built_in().unwrap();
        let list = pulled_images(&sources, "v1.13.0", ["machine: { type: worker }\n"], []).unwrap();
        assert_eq!(list.talos, ["registry.k8s.io/pause:3.10.1".to_owned()].into());
        let plain = "machine: { type: controlplane }\n";
        let list = pulled_images(&sources, "v1.13.0", [plain], []).unwrap();
        assert!(list.talos.contains("ghcr.io/siderolabs/flannel:0.28.8"));
        assert!(!pulled_images(&sources, "v1.99.0", [plain], []).unwrap().complete);
    }
}
