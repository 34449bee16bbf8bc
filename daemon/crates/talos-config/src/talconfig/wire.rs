//! The keys of `talconfig.yaml` as people write them (talos.md §5.1 to §5.3).
//!
//! Everything is optional here, because an empty value is an absent one in Go, and what is missing is a
//! check of its own. Parts that talhelper hands on to Talos as they are stay values. What can hold a
//! password has no `Debug`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::device::Device;

/// The whole file without its nodes, which are read one by one.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct File {
    pub cluster_name: String,
    pub talos_version: String,
    pub kubernetes_version: String,
    pub endpoint: String,
    pub domain: String,
    pub allow_scheduling_on_masters: bool,
    pub allow_scheduling_on_control_planes: bool,
    pub additional_machine_cert_sans: Vec<String>,
    pub additional_api_server_cert_sans: Vec<String>,
    pub inline_manifests: Vec<InlineManifest>,
    pub cluster_pod_nets: Vec<String>,
    pub cluster_svc_nets: Vec<String>,
    pub cni_config: Option<CniConfig>,
    pub patches: Vec<String>,
    pub nodes: Vec<serde::de::IgnoredAny>,
    pub image_factory: ImageFactory,
    pub control_plane: NodeConfigs,
    pub worker: NodeConfigs,
}

/// The keys of a node that its group cannot give.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeFile {
    pub hostname: String,
    pub ip_address: String,
    pub control_plane: bool,
    pub install_disk: String,
    pub install_disk_selector: Option<Value>,
    pub ignore_hostname: bool,
    pub override_patches: bool,
    pub override_extra_manifests: bool,
    #[serde(rename = "overrideMachineCertSANs")]
    pub override_machine_cert_sans: bool,
}

/// What a node and its group (`controlPlane:`, `worker:`) can both say.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeConfigs {
    /// replaces the labels Talos generates
    pub node_labels: Option<BTreeMap<String, String>>,
    /// annotations of the Kubernetes node
    pub node_annotations: Option<BTreeMap<String, String>>,
    /// `value:Effect` or only the effect
    pub node_taints: Option<BTreeMap<String, String>>,
    /// deprecated in favour of user volumes; handed on as they are
    pub machine_disks: Option<Vec<Value>>,
    /// files written by Talos
    pub machine_files: Option<Vec<MachineFile>>,
    /// no search domain from the host name
    pub disable_search_domain: bool,
    /// modules loaded at boot
    pub kernel_modules: Option<Vec<KernelModule>>,
    /// addresses of name servers
    pub nameservers: Option<Vec<String>>,
    /// links, in Talos's older form
    pub network_interfaces: Option<Vec<Device>>,
    /// deprecated; files appended to the config
    pub extra_manifests: Option<Vec<String>>,
    /// more names in the certificate of the machine API
    #[serde(rename = "certSANs")]
    pub cert_sans: Option<Vec<String>>,
    /// patches, inline or `@file`
    pub patches: Option<Vec<String>>,
    /// installer image without its tag
    #[serde(rename = "talosImageURL")]
    pub talos_image_url: String,
    /// for talhelper: don't compare the extension names with the factory's list
    pub no_schematic_validate: bool,
    /// what the installed image is made of
    pub schematic: Option<Value>,
    /// what the boot image is made of, where it differs
    pub image_schematic: Option<Value>,
    /// which image the machine needs
    pub machine_spec: MachineSpec,
    /// packet filter
    pub ingress_firewall: Option<IngressFirewall>,
    /// configuration of extension services
    pub extension_services: Option<Vec<ExtensionService>>,
    /// Talos's own volumes
    pub volumes: Option<Vec<Volume>>,
    /// volumes for workloads
    pub user_volumes: Option<Vec<Volume>>,
    /// a Go template for the name of the rendered file
    pub filename_tmpl: String,
}

impl fmt::Debug for NodeConfigs {
    /// Patches, files and volumes may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfigs").field("machine_spec", &self.machine_spec).finish_non_exhaustive()
    }
}

/// A manifest Talos applies after the bootstrap.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InlineManifest {
    pub name: String,
    pub contents: String,
    pub skip_envsubst: bool,
}

/// The pod network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CniConfig {
    /// `flannel`, `custom` or `none`
    pub name: String,
    /// manifests of a custom one
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// options of flannel, handed on as they are
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flannel: Option<Value>,
}

/// Where images come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ImageFactory {
    #[serde(rename = "registryURL")]
    pub registry_url: String,
    /// read to be known; the schematic id is computed here and images lie in the site's directory
    #[serde(rename = "schematicEndpoint")]
    pub _schematic_endpoint: String,
    #[serde(rename = "protocol")]
    pub _protocol: String,
    #[serde(rename = "installerURLTmpl")]
    pub installer_url_tmpl: String,
    #[serde(rename = "ISOURLTmpl")]
    pub _image_url_tmpl: String,
}

/// Which image a machine needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSpec {
    /// platform of the image; `metal` when empty
    pub mode: String,
    /// `amd64` (when empty) or `arm64`
    pub arch: String,
    /// Secure Boot images
    pub secureboot: bool,
    /// boot by a unified kernel image
    #[serde(rename = "useUKI")]
    pub use_uki: bool,
    /// `iso`, `disk-image` or `pxe`; has no meaning here, where every machine netboots
    pub boot_method: String,
    /// file name ending of the image; has no meaning here
    pub image_suffix: String,
}

/// A file on the machine.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineFile {
    /// the text, or `@file` until it is read
    pub content: String,
    /// mode bits
    pub permissions: u32,
    /// absolute path
    pub path: String,
    /// `create`, `append` or `overwrite`
    pub op: String,
    /// no variables in the file behind `@`
    pub skip_envsubst: bool,
}

/// A kernel module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct KernelModule {
    /// as modprobe takes it
    pub name: String,
    /// its options
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
}

/// Talos's packet filter.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressFirewall {
    /// `accept` or `block`
    pub default_action: String,
    /// what is let through, or not
    pub rules: Vec<NetworkRule>,
}

/// One rule of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkRule {
    /// unique
    pub name: String,
    /// ports and protocol, handed on as they are
    pub port_selector: Value,
    /// subnets, handed on as they are
    pub ingress: Value,
}

/// What an extension service is configured with.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionService {
    /// the service's name without `ext-`
    pub name: String,
    /// files in the service's root
    pub config_files: Vec<ConfigFile>,
    /// `KEY=value`
    pub environment: Vec<String>,
}

/// One file of it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigFile {
    /// its text
    pub content: String,
    /// absolute path in the service
    pub mount_path: String,
}

/// A volume of Talos or of a user; the parts are handed on as they are.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// `EPHEMERAL`, or a name of one's own
    pub name: String,
    /// user volumes only: partition, disk or directory
    pub volume_type: Option<Value>,
    /// where and how large
    pub provisioning: Option<Value>,
    /// user volumes only
    pub filesystem: Option<Value>,
    /// disk encryption
    pub encryption: Option<Value>,
}
