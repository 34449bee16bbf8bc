//! The documents beside the main one: what this Talos knows, and what contradicts the main one.

use document::{Findings, nearest};
use serde_json::{Map, Value};

use super::{Look, name};
use crate::versions::Contract;

/// Every kind with the release of Talos 1 that first knew it (9: that or an older one).
const KINDS: [(u16, &[&str]); 6] = [
    (
        9,
        &[
            "EventSinkConfig",
            "ExtensionServiceConfig",
            "KmsgLogConfig",
            "KubeSpanEndpointsConfig",
            "NetworkDefaultActionConfig",
            "NetworkRuleConfig",
            "SideroLinkConfig",
            "TrustedRootsConfig",
            "VolumeConfig",
            "WatchdogTimerConfig",
        ],
    ),
    (10, &["EthernetConfig", "PCIDriverRebindConfig", "UserVolumeConfig"]),
    (11, &["ExistingVolumeConfig", "RawVolumeConfig", "SwapVolumeConfig", "ZswapConfig"]),
    (
        12,
        &[
            "BondConfig",
            "BridgeConfig",
            "DHCPv4Config",
            "DHCPv6Config",
            "DummyLinkConfig",
            "HCloudVIPConfig",
            "HostnameConfig",
            "Layer2VIPConfig",
            "LinkAliasConfig",
            "LinkConfig",
            "OOMConfig",
            "RegistryAuthConfig",
            "RegistryMirrorConfig",
            "RegistryTLSConfig",
            "ResolverConfig",
            "StaticHostConfig",
            "TimeSyncConfig",
            "VLANConfig",
            "WireguardConfig",
        ],
    ),
    (
        13,
        &[
            "BlackholeRouteConfig",
            "EnvironmentConfig",
            "ExternalVolumeConfig",
            "ImageVerificationConfig",
            "KubeSpanConfig",
            "RoutingRuleConfig",
            "TCPProbeConfig",
            "VRFConfig",
        ],
    ),
    (
        14,
        &[
            "BGPInstanceConfig",
            "CRIBaseRuntimeSpecConfig",
            "CRICustomizationConfig",
            "ContainerConfig",
            "DiscoveryIdentityConfig",
            "DiscoveryServiceConfig",
            "EtcFileConfig",
            "FilesystemScrubConfig",
            "FilesystemTrimConfig",
            "HTTPProbeConfig",
            "ImageCacheConfig",
            "KernelModuleConfig",
            "KubeAPIServerCAConfig",
            "KubeAPIServerConfig",
            "KubeAdmissionControlConfig",
            "KubeAggregatorCAConfig",
            "KubeAuditPolicyConfig",
            "KubeAuthenticationConfig",
            "KubeAuthorizerConfig",
            "KubeClusterConfig",
            "KubeControllerManagerConfig",
            "KubeCoreDNSConfig",
            "KubeCredentialProviderConfig",
            "KubeEtcdEncryptionConfig",
            "KubeExternalManifestConfig",
            "KubeFlannelCNIConfig",
            "KubeInlineManifestConfig",
            "KubeNetworkConfig",
            "KubeNodeConfig",
            "KubePrismConfig",
            "KubeProxyConfig",
            "KubeSchedulerConfig",
            "KubeServiceAccountConfig",
            "KubeStaticPodConfig",
            "KubeTalosAPIAccessConfig",
            "KubeletConfig",
            "LVMLogicalVolumeConfig",
            "LVMVolumeGroupConfig",
            "RAIDArrayConfig",
            "SecurityProfileConfig",
            "SysctlConfig",
            "SysfsConfig",
            "UdevRulesConfig",
            "UnattendedInstallConfig",
            "VethConfig",
        ],
    ),
];

/// A document and the older place of what it says; Talos refuses a config with both.
const CONFLICTS: [(&str, &[&str]); 23] = [
    ("HostnameConfig", &["machine", "network", "hostname"]),
    ("HostnameConfig", &["machine", "features", "stableHostname"]),
    ("ResolverConfig", &["machine", "network", "nameservers"]),
    ("ResolverConfig", &["machine", "network", "searchDomains"]),
    ("ResolverConfig", &["machine", "network", "disableSearchDomain"]),
    ("TimeSyncConfig", &["machine", "time"]),
    ("KubeSpanConfig", &["machine", "network", "kubespan"]),
    ("UnattendedInstallConfig", &["machine", "install"]),
    ("DiscoveryServiceConfig", &["cluster", "discovery"]),
    ("DiscoveryIdentityConfig", &["cluster", "id"]),
    ("KubeClusterConfig", &["cluster", "clusterName"]),
    ("KubeNetworkConfig", &["cluster", "network"]),
    ("KubeFlannelCNIConfig", &["cluster", "network"]),
    ("KubeletConfig", &["machine", "kubelet"]),
    ("KubePrismConfig", &["machine", "features", "kubePrism"]),
    ("KubeAPIServerConfig", &["cluster", "apiServer"]),
    ("KubeAPIServerCAConfig", &["cluster", "ca"]),
    ("KubeAggregatorCAConfig", &["cluster", "aggregatorCA"]),
    ("KubeServiceAccountConfig", &["cluster", "serviceAccount"]),
    ("KubeControllerManagerConfig", &["cluster", "controllerManager"]),
    ("KubeSchedulerConfig", &["cluster", "scheduler"]),
    ("KubeProxyConfig", &["cluster", "proxy"]),
    ("KubeCoreDNSConfig", &["cluster", "coreDNS"]),
];

/// The longest name of a volume; its partition's label has two characters more.
const VOLUME_NAME: usize = 34;

pub(super) fn check(look: &Look<'_>, findings: &mut Findings) {
    for document in look.machine.documents().iter().filter_map(Value::as_object) {
        let Some(kind) = document.get("kind").and_then(Value::as_str) else { continue };
        known(look, kind, document, findings);
        conflicts(look, kind, findings);
        match kind {
            "HostnameConfig" => hostname(look, document, findings),
            "UserVolumeConfig" | "RawVolumeConfig" | "ExistingVolumeConfig" | "SwapVolumeConfig" => {
                volume(look, kind, document, findings);
            }
            "ExtensionServiceConfig" => service(look, document, findings),
            "VolumeConfig" => encryption(look, document, findings),
            "Layer2VIPConfig" | "HCloudVIPConfig" if !look.node.control_plane => {
                let message = "a worker cannot hold the shared address";
                let finding = look.document(kind, name(document), &[], "networkInterfaces", "vip", message);
                findings.push(finding.fix("move it to `controlPlane: {patches: […]}`"));
            }
            _ => {}
        }
    }
}

/// A Talos that does not know a document refuses the whole config.
fn known(look: &Look<'_>, kind: &str, document: &Map<String, Value>, findings: &mut Findings) {
    let talos = look.config.talos.contract;
    let since = KINDS.iter().find(|(_, kinds)| kinds.contains(&kind)).map(|(minor, _)| *minor);
    let error = |rule, message| look.document(kind, name(document), &[], "patches", rule, message);
    match since {
        Some(minor) if talos < Contract::new(1, minor) => {
            let message =
                format!("{kind} is of Talos v1.{minor} and newer, the node runs {}", look.config.talos);
            findings.push(error("document-newer", message).fix("remove it, or raise `talosVersion`"));
        }
        Some(_) => {}
        None => {
            let message = format!("no Talos up to 1.14 has a document {kind}");
            let finding = error("document-unknown", message).warning();
            let all = KINDS.iter().flat_map(|(_, kinds)| kinds.iter().copied());
            findings.push(match nearest(kind, all) {
                Some(meant) => finding.fix(format!("did you mean {meant}?")),
                None => finding.fix("see that the Talos of this node knows it"),
            });
        }
    }
}

fn conflicts(look: &Look<'_>, kind: &str, findings: &mut Findings) {
    for (_, path) in CONFLICTS.iter().filter(|(own, _)| *own == kind) {
        // what is there without saying anything is no contradiction
        let says = look.main(path).is_some_and(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(value) => *value,
            Value::Number(_) => true,
        });
        if says {
            let message = format!("Talos refuses `{}` beside a {kind}, which says the same", path.join("."));
            // the one that a patch has brought is the one to go
            let finding = match look.patched(path, "document-conflict", message.clone()) {
                Some(finding) => finding.fix(format!("say it in the {kind}, with a patch to that document")),
                None => {
                    let finding = look.document(kind, "", &[], "patches", "document-conflict", message);
                    finding
                        .fix(format!("set `{}` instead; configs are made in that form here", path.join(".")))
                }
            };
            findings.push(finding);
        }
    }
}

fn hostname(look: &Look<'_>, document: &Map<String, Value>, findings: &mut Findings) {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    if !text("hostname").is_empty() && !["", "off"].contains(&text("auto")) {
        let message = "a HostnameConfig has either a `hostname` or `auto`";
        let finding = look.document("HostnameConfig", "", &[], "hostname", "hostname", message);
        findings.push(finding.fix("write `auto: off` beside the name"));
    }
    // who joins takes the place of the one that has its name
    let own = &look.node.hostname;
    let name = text("hostname");
    if !name.is_empty() && name != own && look.config.node(name).is_some() {
        let message = format!("a patch calls `{own}` by the name of another node, `{name}`");
        let finding = look.document("HostnameConfig", "", &["hostname"], "hostname", "node-twice", message);
        findings.push(finding.fix("give each node a name of its own"));
    }
}

fn volume(look: &Look<'_>, kind: &str, document: &Map<String, Value>, findings: &mut Findings) {
    let own = name(document);
    let fits = (1..=VOLUME_NAME).contains(&own.len())
        && own.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits {
        let message = format!("`{own}` is not a name for a volume");
        let finding = look.document(kind, own, &["name"], "userVolumes", "volume-name", message);
        findings.push(finding.fix(format!("1 to {VOLUME_NAME} letters, digits and dashes")));
    }
}

/// Encryption of Talos's own volumes has an older place, too.
fn encryption(look: &Look<'_>, document: &Map<String, Value>, findings: &mut Findings) {
    let own = name(document);
    let older = ["machine", "systemDiskEncryption", &own.to_lowercase()];
    if document.contains_key("encryption")
        && ["STATE", "EPHEMERAL"].contains(&own)
        && look.main(&older).is_some()
    {
        let message =
            format!("Talos refuses `{}` beside the encryption in the VolumeConfig {own}", older.join("."));
        let finding = look.error(&older, "patches", "document-conflict", message);
        findings.push(finding.fix("keep the VolumeConfig"));
    }
}

fn service(look: &Look<'_>, document: &Map<String, Value>, findings: &mut Findings) {
    let has = |key: &str| document.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !has("configFiles") && !has("environment") {
        let own = name(document);
        let message =
            format!("the ExtensionServiceConfig `{own}` has neither `configFiles` nor `environment`");
        let finding = look.document(
            "ExtensionServiceConfig",
            own,
            &[],
            "extensionServices",
            "extension-service",
            message,
        );
        findings.push(finding.fix("Talos refuses an empty one; remove it or give it content"));
    }
}
