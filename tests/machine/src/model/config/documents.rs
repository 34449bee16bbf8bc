//! The documents of a machine config, strictly decoded (talos.md §2.1, Appendix A).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Code, Status};

/// A machine config's documents.
pub(super) struct Documents {
    /// the one without `kind`
    pub(super) main: Option<Value>,
    others: Vec<Value>,
}

impl Documents {
    pub(super) fn read(data: &[u8]) -> Result<Self, Status> {
        let invalid = |text: String| Status::new(Code::InvalidArgument, text);
        let text =
            std::str::from_utf8(data).map_err(|error| invalid(format!("failed to parse config: {error}")))?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .map_err(|error| invalid(format!("failed to parse config: {error}")))?;
        let mut read = Self { main: None, others: Vec::new() };
        let mut seen = BTreeSet::new();
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            match document.get("kind").and_then(Value::as_str) {
                None if document.get("version").and_then(Value::as_str) == Some("v1alpha1") => {
                    if read.main.replace(document).is_some() {
                        return Err(invalid(
                            "not allowed to have multiple v1alpha1 config documents".to_owned(),
                        ));
                    }
                }
                None => return Err(invalid("failed to parse config: missing kind".to_owned())),
                Some(kind) => {
                    let version = text_at(&document, "/apiVersion").unwrap_or_default();
                    if version != "v1alpha1" {
                        return Err(invalid(format!("\"{kind}\" \"{version}\": not registered")));
                    }
                    let name = text_at(&document, "/name").unwrap_or_default();
                    if !seen.insert((kind.to_owned(), name.clone())) {
                        return Err(invalid(format!("duplicate document: v1alpha1/{kind}/{name}")));
                    }
                    read.others.push(document);
                }
            }
        }
        Ok(read)
    }

    pub(super) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.others.iter().filter(move |document| document.get("kind").and_then(Value::as_str) == Some(kind))
    }
}

/// A text that is there and not empty.
pub(super) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

/// The texts of a list.
pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The keys Talos decodes in the sections that a provisioner writes.
const KNOWN: [(&str, &[&str]); 4] = [
    ("", &["version", "debug", "persist", "machine", "cluster"]),
    (
        "/machine",
        &[
            "type",
            "token",
            "ca",
            "acceptedCAs",
            "certSANs",
            "controlPlane",
            "kubelet",
            "pods",
            "network",
            "disks",
            "install",
            "files",
            "env",
            "time",
            "sysctls",
            "sysfs",
            "registries",
            "systemDiskEncryption",
            "features",
            "udev",
            "logging",
            "kernel",
            "seccompProfiles",
            "baseRuntimeSpecOverrides",
            "nodeLabels",
            "nodeAnnotations",
            "nodeTaints",
        ],
    ),
    (
        "/cluster",
        &[
            "id",
            "secret",
            "controlPlane",
            "clusterName",
            "network",
            "token",
            "aescbcEncryptionSecret",
            "secretboxEncryptionSecret",
            "ca",
            "acceptedCAs",
            "aggregatorCA",
            "serviceAccount",
            "apiServer",
            "controllerManager",
            "proxy",
            "scheduler",
            "discovery",
            "etcd",
            "coreDNS",
            "externalCloudProvider",
            "extraManifests",
            "extraManifestHeaders",
            "inlineManifests",
            "adminKubeconfig",
            "allowSchedulingOnMasters",
            "allowSchedulingOnControlPlanes",
        ],
    ),
    (
        "/machine/install",
        &[
            "disk",
            "diskSelector",
            "extraKernelArgs",
            "image",
            "extensions",
            "bootloader",
            "wipe",
            "legacyBIOSSupport",
            "grubUseUKICmdline",
        ],
    ),
];

/// Keys that Talos would not decode.
pub(super) fn unknown_keys(main: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (section, known) in KNOWN {
        let object = main.pointer(section).and_then(Value::as_object);
        for key in object.into_iter().flat_map(|object| object.keys()) {
            if !known.contains(&key.as_str()) {
                unknown.push(format!("{section}/{key}").trim_start_matches('/').replace('/', "."));
            }
        }
    }
    unknown
}

/// Kernel parameters by key; a repeated key keeps its last value.
pub(crate) fn kernel_parameters(cmdline: &str) -> std::collections::BTreeMap<&str, &str> {
    cmdline.split_ascii_whitespace().map(|word| word.split_once('=').unwrap_or((word, ""))).collect()
}
