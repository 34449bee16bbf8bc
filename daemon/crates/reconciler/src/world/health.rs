//! The whole cluster asked once, for a person who wants to know whether it is well: every node itself, and the API server
//! of the first control plane that has one.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::future::join_all;
use handover::CERTIFICATE;
use kubernetes::{ApplyError, Readiness, readiness};
use lifecycle::{
    Assertion, EtcdMember, HealthFacts, KubernetesFacts, KubernetesNode, MadeCertificate, NodeFacts,
    NodeName, NodePlan, Role, ServiceFacts, StaticPod, Workload, assertions,
};
use serde_json::Value;
use talos_api::{CallError, Client, ConnectError, Service, Stage};

use super::{
    expiry::made,
    look::LOOK,
    step::api_server,
    talos::{Cluster, machine_api},
};

/// The extension whose service must run where it is.
const LLDPD: &str = "siderolabs/lldpd";

impl Cluster {
    /// Asks everybody and judges. `handed_over` says whether our steps, the network's among them, are in place.
    pub async fn health(&self, handed_over: bool) -> Vec<Assertion> {
        let plan = self.site.plan();
        let asked = plan.nodes.iter().map(|(name, node)| async move {
            (name.clone(), node_facts(self, node).await.map_err(|error| error.to_string()))
        });
        let (nodes, kubernetes) = tokio::join!(join_all(asked), kubernetes_facts(self));
        let planned = &self.site.cluster().nodes;
        let with_lldpd = planned.iter().filter(|node| node.schematic.has_extension(LLDPD));
        let facts = HealthFacts {
            nodes: nodes.into_iter().collect(),
            kubernetes,
            lldpd: with_lldpd.map(|node| NodeName(node.hostname.clone())).collect(),
            has_network: handed_over || self.site.brings_network(),
        };
        assertions(&plan, &facts)
    }
}

/// Why a node told nothing.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
}

async fn node_facts(cluster: &Cluster, node: &NodePlan) -> Result<NodeFacts, AskError> {
    let client =
        Client::configured(machine_api(node.address), &cluster.credentials()).await?.with_deadline(LOOK);
    client.version().await?;
    let services = client.services().await?.into_iter().map(service).collect();
    let members = match node.role {
        Role::ControlPlane => client.etcd_members(true).await,
        Role::Worker => Ok(Vec::new()),
    };
    let shared = cluster.site.virtual_address();
    let addresses = client.addresses().await?;
    Ok(NodeFacts {
        services,
        members: members.map(|all| all.into_iter().map(member).collect()).map_err(|error| error.to_string()),
        stage: word(client.machine_status().await?.stage).to_owned(),
        memory: client.memory().await.map(|memory| memory.total).map_err(|error| error.to_string()),
        disk: client.system_disk_size().await?,
        diagnostics: client.diagnostics().await?,
        holds_virtual_address: shared.is_some_and(|shared| addresses.contains(&shared)),
    })
}

fn service(service: Service) -> ServiceFacts {
    let Service { id, state, healthy, message } = service;
    ServiceFacts { id, state, healthy, message }
}

fn member(member: talos_api::EtcdMember) -> EtcdMember {
    EtcdMember { name: member.hostname, id: format!("{:016x}", member.id), learner: member.learner }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Unknown => "unknown",
        Stage::Booting => "booting",
        Stage::Installing => "installing",
        Stage::Maintenance => "maintenance",
        Stage::Running => "running",
        Stage::Rebooting => "rebooting",
        Stage::ShuttingDown => "shutting down",
        Stage::Resetting => "resetting",
        Stage::Upgrading => "upgrading",
    }
}

/// Each control plane is asked by its own address: the shared one may be what is wrong.
pub(super) async fn kubernetes_facts(cluster: &Cluster) -> Result<KubernetesFacts, String> {
    let mut reasons = Vec::new();
    for (name, node) in cluster.site.plan().nodes.iter().filter(|(_, node)| node.role == Role::ControlPlane) {
        match of_api_server(cluster, node.address).await {
            Ok(facts) => return Ok(facts),
            Err(reason) => reasons.push(format!("{name}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

async fn of_api_server(cluster: &Cluster, address: IpAddr) -> Result<KubernetesFacts, String> {
    let endpoint = &cluster.site.cluster().endpoint;
    let port = endpoint.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
    let address = SocketAddr::new(address, port.unwrap_or(443));
    let client = api_server(cluster, Some(address))?;
    match client.ready().await {
        Ok(true) => {}
        Ok(false) => return Err("it answers and is not ready yet".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let nodes = client.nodes().await.map_err(|error| error.to_string())?;
    let list = async |api, kind, labels| client.list(api, kind, Some("kube-system"), labels).await;
    let listed = async {
        let pods = list("v1", "Pod", "tier=control-plane").await?;
        let proxy = list("apps/v1", "DaemonSet", "k8s-app=kube-proxy").await?;
        let dns = list("apps/v1", "Deployment", "k8s-app=kube-dns").await?;
        let labels = CERTIFICATE.map(|(label, value)| format!("{label}={value}")).join(",");
        let made = client.list("v1", "Secret", None, &labels).await?;
        Ok::<_, ApplyError>((pods, proxy, dns, made))
    };
    let (pods, proxy, dns, made) = listed.await.map_err(|error| error.to_string())?;
    let node = |node: kubernetes::NodeStatus| KubernetesNode {
        name: node.name,
        addresses: node.addresses,
        ready: node.ready,
        schedulable: node.schedulable,
    };
    Ok(KubernetesFacts {
        nodes: nodes.into_iter().map(node).collect(),
        static_pods: pods.iter().map(static_pod).collect(),
        proxy: proxy.first().map(workload),
        dns: dns.first().map(workload),
        certificates: made.iter().flat_map(certificates).collect(),
    })
}

/// The certificates in a Secret.
fn certificates(secret: &Value) -> Vec<MadeCertificate> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &secret["metadata"];
    let name = format!("{}/{}", word(&metadata["namespace"]), word(&metadata["name"]));
    let text = |packed: &Value| String::from_utf8(BASE64_STANDARD.decode(packed.as_str()?).ok()?).ok();
    // whose key is there is whose certificate it is
    let pairs = [("tls.key", "tls.crt"), ("ca.key", "ca.crt")];
    let own = pairs.into_iter().filter(|(key, _)| !secret["data"][key].is_null());
    own.map(|(_, certificate)| made(name.clone(), text(&secret["data"][certificate]).as_deref())).collect()
}

fn static_pod(pod: &Value) -> StaticPod {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    StaticPod {
        component: text(&pod["metadata"]["labels"]["component"]),
        node: text(&pod["spec"]["nodeName"]),
        phase: text(&pod["status"]["phase"]),
        ready: conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
    }
}

fn workload(object: &Value) -> Workload {
    Workload {
        waits: match readiness(object) {
            Readiness::Ready => None,
            Readiness::Waiting(reason) | Readiness::Failed(reason) => Some(reason),
        },
    }
}
