//! What the machine reads from its config, and what it refuses (talos.md §2.1, §2.6, §2.9, §6.3).
//!
//! Only the rules that a provisioner can break are here; the texts that talos.md does not quote are
//! in the manner of Talos, one line a fault.

mod documents;
mod images;
mod immediate;
mod parts;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hardware::{Disk, DiskSelector};
use ipnet::IpNet;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::status::{Code, Status};
pub(crate) use documents::kernel_parameters;
use documents::{Documents, text_at, texts};
pub use images::Part;

/// `machine.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `controlplane`, or the old `init`
    ControlPlane,
    /// `worker`
    Worker,
}

/// A certificate authority as a config holds it: PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// the certificate
    pub certificate: String,
    /// the certificate's [`fingerprint`]
    pub fingerprint: String,
    /// the key; workers do not get it
    pub key: Option<String>,
}

/// Where `machine.install` wants Talos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallDisk {
    /// `disk`
    Path(String),
    /// `diskSelector`
    Selector(Box<DiskSelector>),
}

/// A config the machine accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// the text as it came
    pub text: String,
    /// `machine.type`
    pub role: Role,
    /// from HostnameConfig or `machine.network.hostname`; otherwise the machine makes one up
    pub hostname: Option<String>,
    /// `machine.token`, for trustd
    pub token: String,
    /// `machine.ca`
    pub os_ca: Authority,
    /// `cluster.ca`
    pub kubernetes_ca: Option<Authority>,
    /// whether `cluster.etcd.ca` is there
    pub has_etcd_ca: bool,
    /// `cluster.clusterName`
    pub cluster_name: String,
    /// the host of `cluster.controlPlane.endpoint`
    pub endpoint_host: String,
    /// its port
    pub endpoint_port: u16,
    /// `machine.install.disk` or `diskSelector`
    pub install: InstallDisk,
    /// `machine.install.image`
    pub installer: Option<String>,
    /// `machine.certSANs`
    pub certificate_names: Vec<String>,
    /// static addresses: link and address
    pub addresses: Vec<(String, IpNet)>,
    /// virtual addresses: link and address
    pub virtual_addresses: Vec<(String, IpAddr)>,
    /// whether Talos brings the CNI itself, so that nodes become Ready without us
    pub brings_cni: bool,
    /// whether Talos brings kube-proxy
    pub brings_proxy: bool,
    /// the images of what of Kubernetes runs on it
    pub images: BTreeMap<Part, String>,
    /// names of the ExtensionServiceConfig documents
    pub extension_services: BTreeSet<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the text holds every secret of the cluster
        f.debug_struct("Config")
            .field("role", &self.role)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// How a CA is named in this model: SHA-256 of the certificate's DER, in hexadecimal. A text without a
/// PEM body is hashed as it is.
pub fn fingerprint(pem: &str) -> String {
    let body: String =
        pem.lines().filter(|line| !line.starts_with("-----")).flat_map(|line| line.trim().chars()).collect();
    let der = STANDARD.decode(&body).unwrap_or_else(|_| pem.as_bytes().to_vec());
    hex::encode(Sha256::digest(&der))
}

/// A CA section: base64 of PEM (talos.md §2.1).
fn authority(main: &Value, pointer: &str) -> Option<Authority> {
    let decoded = |field: &str| {
        let text = text_at(main, &format!("{pointer}/{field}"))?;
        String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()
    };
    let certificate = decoded("crt").filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"))?;
    let key = decoded("key").filter(|pem| pem.contains("PRIVATE KEY-----"));
    Some(Authority { fingerprint: fingerprint(&certificate), certificate, key })
}

impl Config {
    /// Reads and validates a config, for a machine with these disks if given. `Ok(None)` is a legal config
    /// without the v1alpha1 document: it leaves the machine in maintenance (talos.md §2.1).
    pub(crate) fn read(data: &[u8], disks: Option<&[Disk]>) -> Result<Option<Self>, Status> {
        let documents = Documents::read(data)?;
        let Some(main) = &documents.main else {
            return Ok(None);
        };
        let unknown = documents::unknown_keys(main);
        if !unknown.is_empty() {
            let list = unknown.join("\n");
            let text = format!("unknown keys found during decoding:\n{list}\n");
            return Err(Status::new(Code::InvalidArgument, text));
        }
        let mut faults: Vec<String> = Vec::new();
        let config = Self::gather(data, main, &documents, &mut faults);
        if let Some(config) = &config
            && let InstallDisk::Selector(selector) = &config.install
            && faults.is_empty()
            && disks.is_some_and(|disks| !disks.iter().any(|disk| selector.matches(disk)))
        {
            faults.push("no disks matched for the specified disk selector".to_owned());
        }
        match config {
            Some(config) if faults.is_empty() => Ok(Some(config)),
            _ => {
                let count = faults.len();
                let plural = if count == 1 { "error" } else { "errors" };
                let list: String = faults.iter().map(|fault| format!("\t* {fault}\n")).collect();
                let text = format!("configuration validation failed: {count} {plural} occurred:\n{list}\n");
                Err(Status::new(Code::InvalidArgument, text))
            }
        }
    }

    fn gather(data: &[u8], main: &Value, documents: &Documents, faults: &mut Vec<String>) -> Option<Self> {
        for section in ["machine", "cluster"] {
            if !main.get(section).is_some_and(Value::is_object) {
                faults.push(format!("{section} instructions are required"));
                return None;
            }
        }
        let role = parts::role(main, faults);
        let (os_ca, kubernetes_ca) = (authority(main, "/machine/ca"), authority(main, "/cluster/ca"));
        parts::check_authorities(role, os_ca.as_ref(), kubernetes_ca.as_ref(), main, faults);
        let token = text_at(main, "/machine/token").unwrap_or_default();
        if !parts::is_token(&token) {
            faults.push(
                "trustd token is invalid: expected 6 and 16 characters with a dot between them".to_owned(),
            );
        }
        let endpoint =
            text_at(main, "/cluster/controlPlane/endpoint").and_then(|url| parts::host_and_port(&url));
        if endpoint.is_none() {
            faults.push("cluster controlplane endpoint is required".to_owned());
        }
        if main.get("persist").and_then(Value::as_bool) == Some(false) {
            faults.push("persist should be enabled".to_owned());
        }
        let install = parts::install_disk(main, faults);
        let (addresses, virtual_addresses) = parts::addresses(main, documents, faults);
        if role == Some(Role::Worker) && !virtual_addresses.is_empty() {
            faults.push("virtual (shared) IP is not allowed on non-controlplane nodes".to_owned());
        }
        let extension_services = parts::extension_services(documents, faults);
        let (endpoint_host, endpoint_port) = endpoint?;
        let cni = text_at(main, "/cluster/network/cni/name");
        Some(Self {
            text: String::from_utf8_lossy(data).into_owned(),
            role: role?,
            hostname: documents
                .of_kind("HostnameConfig")
                .find_map(|document| text_at(document, "/hostname"))
                .or_else(|| text_at(main, "/machine/network/hostname")),
            token,
            os_ca: os_ca?,
            kubernetes_ca,
            has_etcd_ca: authority(main, "/cluster/etcd/ca").is_some(),
            cluster_name: text_at(main, "/cluster/clusterName").unwrap_or_default(),
            endpoint_host,
            endpoint_port,
            install: install?,
            installer: text_at(main, "/machine/install/image"),
            certificate_names: texts(main.pointer("/machine/certSANs")),
            addresses,
            virtual_addresses,
            brings_cni: !matches!(cni.as_deref(), Some("none" | "custom")),
            brings_proxy: main.pointer("/cluster/proxy/disabled").and_then(Value::as_bool) != Some(true),
            images: images::images(main, documents),
            extension_services,
        })
    }

    /// The disk to install to: the first that matches, as Talos takes it (talos.md §2.6).
    pub(crate) fn install_target<'a>(&self, disks: &'a [Disk]) -> Option<&'a Disk> {
        disks.iter().find(|disk| match &self.install {
            InstallDisk::Path(path) => disk.dev_path == *path || disk.symlinks.contains(path),
            InstallDisk::Selector(selector) => selector.matches(disk),
        })
    }
}
