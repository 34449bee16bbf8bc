//! The base config in the shape of Talos 1.14: almost everything in documents of its own (talos.md §2.3).
//!
//! What is switched off has no document: flannel where another CNI comes, discovery, an installation without a disk. Keys and
//! certificates are plain PEM here, not base64. Kernel arguments have no place; they belong into the image.

use serde_json::{Map, Value, json};

use super::{Draft, KUBE_PRISM_PORT};
use crate::{documents, pem::CertificateAndKey};

/// Where nodes find each other.
const DISCOVERY: &str = "https://discovery.talos.dev/";

/// How often unused blocks are given back to the disk.
const TRIM: &str = "168h0m0s";

/// The mark of a control plane, a label and a taint.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Keeps load balancers of a cloud away from control planes.
const NO_LOAD_BALANCER: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

impl Draft<'_> {
    /// All documents, the main one first.
    pub(super) fn documents(&self) -> Vec<Value> {
        let mut documents = vec![self.main()];
        documents.extend(self.machine_documents());
        documents.extend(self.node_documents());
        if self.control_plane {
            documents.extend(self.control_plane_documents());
        }
        documents
    }

    fn main(&self) -> Value {
        let mut cluster = Map::new();
        cluster.insert("token".to_owned(), json!(self.secrets.bootstrap_token.expose()));
        if self.control_plane {
            cluster.insert("etcd".to_owned(), json!({"ca": self.authority(&self.secrets.etcd)}));
        }
        json!({
            "version": "v1alpha1",
            "debug": self.input.debug,
            "persist": true,
            "machine": {
                "type": if self.control_plane { "controlplane" } else { "worker" },
                "token": self.secrets.trustd_token.expose(),
                "ca": self.authority(&self.secrets.os),
                "certSANs": self.input.additional_sans,
                "features": {"diskQuotaSupport": true},
            },
            "cluster": cluster,
        })
    }

    /// What the operating system is told.
    fn machine_documents(&self) -> Vec<Value> {
        let input = self.input;
        let mut documents = Vec::new();
        if input.discovery {
            documents
                .push(document("DiscoveryServiceConfig", json!({"name": "default", "endpoint": DISCOVERY})));
        }
        let (id, secret) = (&self.secrets.cluster_id, self.secrets.cluster_secret.expose());
        documents
            .push(document("DiscoveryIdentityConfig", json!({"clusterID": id, "clusterSecret": secret})));
        if let Some(disk) = &input.install_disk {
            let installer =
                input.install_image.as_ref().map_or_else(|| json!({}), |image| json!({"image": image}));
            // a disk's path in quotes, as both languages write texts
            let selector = json!({"match": format!("disk.dev_path == {}", json!(disk))});
            let provisioning = json!({"diskSelector": selector, "wipe": false});
            let content = json!({"installer": installer, "provisioning": provisioning});
            documents.push(document("UnattendedInstallConfig", content));
        }
        let dns = json!({"hostDNS": {"enabled": true, "forwardKubeDNSToHost": true}});
        documents.push(document("ResolverConfig", dns));
        if !input.sysctls.is_empty() {
            documents.push(document("SysctlConfig", json!({"params": input.sysctls})));
        }
        documents.push(document("VolumeConfig", json!({"name": "EPHEMERAL", "mount": {"secure": true}})));
        documents.push(document("FilesystemTrimConfig", json!({"interval": TRIM})));
        documents.push(document("SecurityProfileConfig", json!({"workloadIsolation": true})));
        documents
            .extend(input.registry_mirrors.iter().map(|(host, urls)| documents::registry_mirror(host, urls)));
        documents.push(documents::stable_hostname());
        documents.extend(input.kubespan.map(documents::kubespan));
        documents
    }

    /// What every node is told about Kubernetes.
    fn node_documents(&self) -> Vec<Value> {
        let input = self.input;
        let mut node = Map::new();
        node.insert("nodeIP".to_owned(), json!({}));
        if self.control_plane {
            node.insert("labels".to_owned(), json!({CONTROL_PLANE: "", NO_LOAD_BALANCER: ""}));
            if !input.allow_scheduling_on_control_planes {
                node.insert("taints".to_owned(), json!({CONTROL_PLANE: "NoSchedule"}));
            }
        }
        let authority = &self.secrets.kubernetes;
        let authority = if self.control_plane {
            json!({"issuingCA": plain(authority)})
        } else {
            json!({"acceptedCAs": [authority.certificate]})
        };
        vec![
            document(
                "KubeClusterConfig",
                json!({"clusterName": input.cluster_name, "endpoint": input.endpoint}),
            ),
            document("KubeNodeConfig", Value::Object(node)),
            document(
                "KubeletConfig",
                json!({
                    "image": self.image("ghcr.io/siderolabs/kubelet"),
                    "config": {},
                    "defaultRuntimeSeccompProfileEnabled": true,
                }),
            ),
            document(
                "KubeNetworkConfig",
                json!({
                    "dnsDomain": input.dns_domain,
                    "podSubnets": input.pod_subnets,
                    "serviceSubnets": input.service_subnets,
                }),
            ),
            document("KubeAPIServerCAConfig", authority),
            document("KubePrismConfig", json!({"port": KUBE_PRISM_PORT})),
        ]
    }

    /// What runs on control planes only.
    fn control_plane_documents(&self) -> Vec<Value> {
        let paths = json!([{"path": "/livez"}, {"path": "/readyz"}, {"path": "/healthz"}]);
        let authentication = json!({"anonymous": {"enabled": true, "conditions": paths}, "jwt": []});
        let mut documents = vec![
            document("KubeAggregatorCAConfig", json!({"issuingCA": plain(&self.secrets.aggregator)})),
            document("KubeAdmissionControlConfig", super::pod_security()),
            document("KubeAuditPolicyConfig", json!({"configuration": super::audit_policy()})),
            document("KubeAuthenticationConfig", json!({"configuration": authentication})),
            document("KubeAuthorizerConfig", json!({"name": "node", "type": "Node"})),
            document("KubeAuthorizerConfig", json!({"name": "rbac", "type": "RBAC"})),
            document("KubeEtcdEncryptionConfig", json!({"config": self.encryption()})),
            document(
                "KubeServiceAccountConfig",
                json!({"issuer": {
                    "privateKey": self.secrets.service_account.expose(),
                    "issuerURL": self.input.endpoint,
                }}),
            ),
            document("KubeAPIServerConfig", self.api_server_document()),
            document(
                "KubeControllerManagerConfig",
                json!({"image": self.image("registry.k8s.io/kube-controller-manager")}),
            ),
            document(
                "KubeSchedulerConfig",
                json!({"image": self.image("registry.k8s.io/kube-scheduler"), "config": {}}),
            ),
            document(
                "KubeProxyConfig",
                json!({"image": self.image("registry.k8s.io/kube-proxy"), "config": {}}),
            ),
        ];
        let cni = self.input.cni.as_ref();
        if cni.is_none_or(|cni| cni.name == "flannel") {
            documents
                .push(document("KubeFlannelCNIConfig", json!({"backendType": "vxlan", "backendPort": 4789})));
        }
        documents.push(document("KubeCoreDNSConfig", json!({"enabled": true})));
        for (index, url) in cni.iter().flat_map(|cni| &cni.urls).enumerate() {
            let name = if index == 0 { "custom-cni".to_owned() } else { format!("custom-cni-{}", index + 1) };
            documents.push(document("KubeExternalManifestConfig", json!({"name": name, "url": url})));
        }
        documents
    }

    fn api_server_document(&self) -> Value {
        let mut server = Map::new();
        server.insert("image".to_owned(), self.image("registry.k8s.io/kube-apiserver"));
        if let Some(port) = self.input.local_api_server_port {
            server.insert("apiPort".to_owned(), json!(port));
        }
        if !self.input.additional_sans.is_empty() {
            server.insert("certExtraSANs".to_owned(), json!(self.input.additional_sans));
        }
        Value::Object(server)
    }

    /// Kubernetes encrypts with the first key and reads with all; an old cluster still has its old one.
    fn encryption(&self) -> Value {
        let provider = |kind: &str, name: &str, secret: &str| json!({kind: {"keys": [{"name": name, "secret": secret}]}});
        let new = self.secrets.secretbox_encryption_secret.as_ref();
        let old = self.secrets.aescbc_encryption_secret.as_ref();
        let new = new.map(|secret| provider("secretbox", "key2", secret.expose()));
        let old = old.map(|secret| provider("aescbc", "key1", secret.expose()));
        let providers: Vec<Value> = new.into_iter().chain(old).collect();
        json!({"resources": [{"providers": providers, "resources": ["secrets"]}]})
    }
}

fn document(kind: &str, content: Value) -> Value {
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), json!("v1alpha1"));
    document.insert("kind".to_owned(), json!(kind));
    if let Value::Object(content) = content {
        document.extend(content);
    }
    Value::Object(document)
}

/// A certificate and its key as the documents of 1.14 carry them.
fn plain(pair: &CertificateAndKey) -> Value {
    json!({"cert": pair.certificate, "key": pair.key.expose()})
}
