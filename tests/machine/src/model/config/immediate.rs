//! Whether a running machine takes another config without a boot: Talos's own rule up to 1.13 (`CanApplyImmediate`).
//! Written down a second time on purpose: a machine that asked the crate `rollout` would agree with whatever that says.

use serde_json::{Map, Value};

use super::{Config, Documents};

/// Sections of `machine` that are taken at once.
const LIVE: [&str; 18] = [
    "acceptedCAs",
    "ca",
    "certSANs",
    "controlPlane",
    "install",
    "kernel",
    "kubelet",
    "logging",
    "network",
    "nodeAnnotations",
    "nodeLabels",
    "nodeTaints",
    "pods",
    "registries",
    "seccompProfiles",
    "sysctls",
    "sysfs",
    "time",
];

/// The same of its `features`.
const LIVE_FEATURES: [&str; 5] =
    ["hostDNS", "imageCache", "kubePrism", "kubernetesTalosAPIAccess", "nodeAddressSortAlgorithm"];

impl Config {
    /// Whether it takes the place of the other one only with a boot.
    pub(crate) fn needs_boot_after(&self, before: &Self) -> bool {
        fixed(&self.text) != fixed(&before.text)
    }
}

/// What of the main document is read at the start alone.
fn fixed(text: &str) -> Map<String, Value> {
    let main = Documents::read(text.as_bytes()).ok().and_then(|documents| documents.main);
    let Some(Value::Object(mut main)) = main else { return Map::new() };
    main.retain(|key, _| !matches!(key.as_str(), "debug" | "cluster"));
    if let Some(Value::Object(machine)) = main.get_mut("machine") {
        machine.retain(|key, _| !LIVE.contains(&key.as_str()));
        if let Some(Value::Object(features)) = machine.get_mut("features") {
            features.retain(|key, _| !LIVE_FEATURES.contains(&key.as_str()));
        }
    }
    main
}
