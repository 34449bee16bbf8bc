//! The base config of a machine, as `talosctl gen config` makes it, before anybody's patches.
//!
//! Given the same secrets and options the result equals Talos's own output, structurally and without exceptions, for the
//! contracts 1.8 to 1.13 (talos.md §1.2, §2.2). The site patches it; a test compares it with Talos's generator. The shape of
//! 1.14, in documents, is there beside it (talos.md §2.3).

mod in_documents;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use serde_json::{Map, Value, json};

use crate::config::{ConfigError, MachineConfig};
use crate::documents;
use crate::pem::CertificateAndKey;
use crate::secrets::{self, SecretsBundle};
use crate::versions::{Contract, KubernetesVersion, VersionError};

/// Pods of an IPv4 cluster.
pub const POD_SUBNET: &str = "10.244.0.0/16";
/// Services of an IPv4 cluster.
pub const SERVICE_SUBNET: &str = "10.96.0.0/12";
/// Pods where the endpoint is a bare IPv6 address.
pub const POD_SUBNET_V6: &str = "fc00:db8:10::/56";
/// Services where the endpoint is a bare IPv6 address.
pub const SERVICE_SUBNET_V6: &str = "fc00:db8:20::/112";
/// The cluster's DNS domain.
pub const DNS_DOMAIN: &str = "cluster.local";
/// Where a node reaches the Kubernetes API on itself.
pub const KUBE_PRISM_PORT: u16 = 7445;

/// The first contract whose configs can be in documents altogether.
pub const DOCUMENTS: Contract = Contract::new(1, 14);

/// What a machine is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineType {
    /// Runs etcd and the Kubernetes control plane; its config holds the private keys of the cluster.
    ControlPlane,
    /// Runs workloads only.
    Worker,
}

/// What the generator is told. [`Input::new`] fills in what Talos would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The cluster's name.
    pub cluster_name: String,
    /// Where clients find the Kubernetes API: `https://host:6443`.
    pub endpoint: String,
    /// For which Talos the config is.
    pub contract: Contract,
    /// The Kubernetes to run.
    pub kubernetes: KubernetesVersion,
    /// More names and addresses for the certificates of both APIs.
    pub additional_sans: Vec<String>,
    /// The port of the Kubernetes API on the machine itself, where it is not the endpoint's.
    pub local_api_server_port: Option<u16>,
    /// The cluster's DNS domain.
    pub dns_domain: String,
    /// One or, with dual stack, two networks for pods.
    pub pod_subnets: Vec<String>,
    /// As many networks for services.
    pub service_subnets: Vec<String>,
    /// The pod network; nothing is Talos's default, flannel.
    pub cni: Option<Cni>,
    /// The disk to install on.
    pub install_disk: Option<String>,
    /// The installer. Without it Talos takes one of its own, without extensions.
    pub install_image: Option<String>,
    /// Kernel arguments of the installed system. From contract 1.12 on Talos refuses them beside `grubUseUKICmdline: true`,
    /// which the generator writes, like Talos's own; they belong into the schematic.
    pub extra_kernel_args: Vec<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Mirrors of image registries: host to endpoints.
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
    /// Whether control planes run workloads too.
    pub allow_scheduling_on_control_planes: bool,
    /// Whether nodes find each other through the discovery service.
    pub discovery: bool,
    /// Whether nodes build a WireGuard mesh; nothing leaves it unsaid.
    pub kubespan: Option<bool>,
    /// Whether Talos logs what it does in detail to the console.
    pub debug: bool,
}

/// The network plugin of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cni {
    /// `flannel`, `custom` or `none`.
    pub name: String,
    /// Manifests of a custom one.
    pub urls: Vec<String>,
}

/// Why no config could be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No configs are made for this Talos, or it does not run this Kubernetes.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The endpoint is not `https://host[:port]`.
    #[error("the cluster endpoint `{0}` is not of the form https://host:port")]
    Endpoint(String),
    /// Documents contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Input {
    /// The options of Talos's generator when only the cluster, the endpoint and the Talos are given.
    ///
    /// `endpoint` is an URL, or a bare IPv6 address which becomes one and makes an IPv6 cluster.
    pub fn new(cluster_name: &str, endpoint: &str, contract: Contract) -> Result<Self, GenerateError> {
        let generated = contract.to_generate()?;
        let kubernetes = contract.default_kubernetes().or_else(|| generated.default_kubernetes());
        let v6 = endpoint.parse::<Ipv6Addr>().is_ok();
        let (pods, services) =
            if v6 { (POD_SUBNET_V6, SERVICE_SUBNET_V6) } else { (POD_SUBNET, SERVICE_SUBNET) };
        Ok(Self {
            cluster_name: cluster_name.to_owned(),
            endpoint: if v6 { format!("https://[{endpoint}]:6443") } else { endpoint.to_owned() },
            contract,
            kubernetes: kubernetes.ok_or(VersionError::Unsupported { found: contract })?,
            additional_sans: Vec::new(),
            local_api_server_port: None,
            dns_domain: DNS_DOMAIN.to_owned(),
            pod_subnets: vec![pods.to_owned()],
            service_subnets: vec![services.to_owned()],
            cni: None,
            install_disk: None,
            install_image: None,
            extra_kernel_args: Vec::new(),
            sysctls: BTreeMap::new(),
            registry_mirrors: BTreeMap::new(),
            allow_scheduling_on_control_planes: false,
            discovery: true,
            kubespan: None,
            debug: false,
        })
    }

    /// Makes the base config in the shape of Talos 1.14, almost everything in documents of its own. Only Talos 1.14 and newer
    /// read it; they read what [`Input::generate`] makes, too. [`Input::extra_kernel_args`] has no place in it.
    pub fn generate_in_documents(
        &self,
        machine: MachineType,
        secrets: &SecretsBundle,
    ) -> Result<MachineConfig, GenerateError> {
        if self.contract < DOCUMENTS {
            return Err(VersionError::Unsupported { found: self.contract }.into());
        }
        Ok(MachineConfig::from_documents(self.draft(machine, secrets)?.documents())?)
    }

    fn draft<'a>(
        &'a self,
        machine: MachineType,
        secrets: &'a SecretsBundle,
    ) -> Result<Draft<'a>, GenerateError> {
        Ok(Draft {
            input: self,
            contract: self.contract.to_generate()?,
            host: host_of(&self.endpoint).ok_or_else(|| GenerateError::Endpoint(self.endpoint.clone()))?,
            secrets,
            control_plane: machine == MachineType::ControlPlane,
        })
    }

    /// Makes the base config.
    pub fn generate(
        &self,
        machine: MachineType,
        secrets: &SecretsBundle,
    ) -> Result<MachineConfig, GenerateError> {
        let draft = self.draft(machine, secrets)?;
        let mut documents = vec![json!({
            "version": "v1alpha1",
            "debug": self.debug,
            "persist": true,
            "machine": draft.machine(),
            "cluster": draft.cluster(),
        })];
        if draft.at_least(12) {
            documents.extend(
                self.registry_mirrors.iter().map(|(host, urls)| documents::registry_mirror(host, urls)),
            );
            documents.push(documents::stable_hostname());
        }
        if let (Some(enabled), true) = (self.kubespan, draft.at_least(13)) {
            documents.push(documents::kubespan(enabled));
        }
        Ok(MachineConfig::from_documents(documents)?)
    }
}

/// The host in `https://host[:port]`, IPv6 without its brackets.
fn host_of(endpoint: &str) -> Option<&str> {
    let rest = endpoint.strip_prefix("https://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_good = match port.strip_prefix(':') {
        Some(number) => number.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    (!host.is_empty() && port_good && !host.contains('@')).then_some(host)
}

/// One config in the making.
struct Draft<'a> {
    input: &'a Input,
    contract: Contract,
    host: &'a str,
    secrets: &'a SecretsBundle,
    control_plane: bool,
}

impl Draft<'_> {
    fn at_least(&self, minor: u16) -> bool {
        self.contract >= Contract::new(1, minor)
    }

    fn machine(&self) -> Value {
        let mut machine = Map::new();
        let mut put = |key: &str, value: Value| machine.insert(key.to_owned(), value);
        put("type", json!(if self.control_plane { "controlplane" } else { "worker" }));
        put("token", json!(self.secrets.trustd_token.expose()));
        put("ca", self.authority(&self.secrets.os));
        put("certSANs", json!(self.input.additional_sans));
        put(
            "kubelet",
            json!({
                "image": self.image("ghcr.io/siderolabs/kubelet"),
                "defaultRuntimeSeccompProfileEnabled": true,
                "disableManifestsDirectory": true,
            }),
        );
        if let Some(network) = self.network() {
            put("network", network);
        }
        put("install", self.install());
        if !self.input.sysctls.is_empty() {
            put("sysctls", json!(self.input.sysctls));
        }
        if !self.at_least(12) && !self.input.registry_mirrors.is_empty() {
            let mirrors = &self.input.registry_mirrors;
            let mirrors: Map<String, Value> =
                mirrors.iter().map(|(host, urls)| (host.clone(), json!({"endpoints": urls}))).collect();
            put("registries", json!({"mirrors": mirrors}));
        }
        put("features", self.features());
        if self.control_plane {
            put("nodeLabels", json!({"node.kubernetes.io/exclude-from-external-load-balancers": ""}));
        }
        Value::Object(machine)
    }

    /// Up to contract 1.12 the section is written even when it is empty.
    fn network(&self) -> Option<Value> {
        if self.at_least(13) {
            return None;
        }
        Some(match self.input.kubespan {
            Some(enabled) => json!({"kubespan": {"enabled": enabled}}),
            None => json!({}),
        })
    }

    fn install(&self) -> Value {
        let mut install = Map::new();
        if let Some(disk) = &self.input.install_disk {
            install.insert("disk".to_owned(), json!(disk));
        }
        if !self.input.extra_kernel_args.is_empty() {
            install.insert("extraKernelArgs".to_owned(), json!(self.input.extra_kernel_args));
        }
        if let Some(image) = &self.input.install_image {
            install.insert("image".to_owned(), json!(image));
        }
        install.insert("wipe".to_owned(), json!(false));
        if self.at_least(12) {
            install.insert("grubUseUKICmdline".to_owned(), json!(true));
        }
        Value::Object(install)
    }

    fn features(&self) -> Value {
        let mut features = Map::new();
        if !self.at_least(12) {
            for always_on in ["rbac", "stableHostname", "apidCheckExtKeyUsage"] {
                features.insert(always_on.to_owned(), json!(true));
            }
        }
        features.insert("diskQuotaSupport".to_owned(), json!(true));
        features.insert("kubePrism".to_owned(), json!({"enabled": true, "port": KUBE_PRISM_PORT}));
        features.insert("hostDNS".to_owned(), json!({"enabled": true, "forwardKubeDNSToHost": true}));
        Value::Object(features)
    }

    fn cluster(&self) -> Value {
        let mut cluster = Map::new();
        let mut put = |key: &str, value: Value| cluster.insert(key.to_owned(), value);
        let Self { input, secrets, .. } = self;
        put("id", json!(secrets.cluster_id));
        put("secret", json!(secrets.cluster_secret.expose()));
        put(
            "controlPlane",
            match input.local_api_server_port {
                Some(port) if self.control_plane => {
                    json!({"endpoint": input.endpoint, "localAPIServerPort": port})
                }
                _ => json!({"endpoint": input.endpoint}),
            },
        );
        put("clusterName", json!(input.cluster_name));
        put("network", self.cluster_network());
        put("token", json!(secrets.bootstrap_token.expose()));
        if let (Some(secret), true) = (&secrets.secretbox_encryption_secret, self.control_plane) {
            put("secretboxEncryptionSecret", json!(secret.expose()));
        }
        put("ca", self.authority(&secrets.kubernetes));
        if self.control_plane {
            put("aggregatorCA", self.authority(&secrets.aggregator));
            put("serviceAccount", json!({"key": secrets::base64(secrets.service_account.expose())}));
            put("apiServer", self.api_server());
            put("controllerManager", json!({"image": self.image("registry.k8s.io/kube-controller-manager")}));
            put("proxy", json!({"image": self.image("registry.k8s.io/kube-proxy")}));
            put("scheduler", json!({"image": self.image("registry.k8s.io/kube-scheduler")}));
        }
        let registries = json!({"kubernetes": {"disabled": true}, "service": {}});
        put("discovery", json!({"enabled": input.discovery, "registries": registries}));
        if self.control_plane {
            put("etcd", json!({"ca": self.authority(&secrets.etcd)}));
            if input.allow_scheduling_on_control_planes {
                put("allowSchedulingOnControlPlanes", json!(true));
            }
        }
        Value::Object(cluster)
    }

    fn cluster_network(&self) -> Value {
        let mut network = Map::new();
        if let Some(Cni { name, urls }) = &self.input.cni {
            let cni =
                if urls.is_empty() { json!({"name": name}) } else { json!({"name": name, "urls": urls}) };
            network.insert("cni".to_owned(), cni);
        }
        network.insert("dnsDomain".to_owned(), json!(self.input.dns_domain));
        network.insert("podSubnets".to_owned(), json!(self.input.pod_subnets));
        network.insert("serviceSubnets".to_owned(), json!(self.input.service_subnets));
        Value::Object(network)
    }

    fn api_server(&self) -> Value {
        let mut server = Map::new();
        let mut put = |key: &str, value: Value| server.insert(key.to_owned(), value);
        put("image", self.image("registry.k8s.io/kube-apiserver"));
        let mut sans: Vec<&str> = Vec::new();
        if !self.at_least(12) {
            // later ones add the endpoint to the certificate themselves
            sans.push(self.host);
        }
        sans.extend(self.input.additional_sans.iter().map(String::as_str));
        if !sans.is_empty() {
            put("certSANs", json!(sans));
        }
        if !self.at_least(12) {
            put("disablePodSecurityPolicy", json!(true));
        }
        put("admissionControl", json!([pod_security()]));
        put("auditPolicy", audit_policy());
        Value::Object(server)
    }

    /// A worker is given the certificate alone, with the key there but empty, as Talos writes it.
    fn authority(&self, authority: &CertificateAndKey) -> Value {
        if self.control_plane {
            secrets::pair(authority)
        } else {
            json!({"crt": secrets::base64(&authority.certificate), "key": ""})
        }
    }

    fn image(&self, repository: &str) -> Value {
        json!(format!("{repository}:v{}", self.input.kubernetes))
    }
}

/// Pods are held to the baseline, and whoever goes beyond what is restricted is warned.
fn pod_security() -> Value {
    let configuration = json!({
        "apiVersion": "pod-security.admission.config.k8s.io/v1alpha1",
        "defaults": {
            "audit": "restricted",
            "audit-version": "latest",
            "enforce": "baseline",
            "enforce-version": "latest",
            "warn": "restricted",
            "warn-version": "latest",
        },
        "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": [], "usernames": []},
        "kind": "PodSecurityConfiguration",
    });
    json!({"name": "PodSecurity", "configuration": configuration})
}

/// Who asked for what is written down, not what it held.
fn audit_policy() -> Value {
    json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]})
}

#[cfg(test)]
mod tests;
