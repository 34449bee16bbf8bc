//! Whether the cluster is well: what `talosctl health` asserts, in its order and words (talos.md §9.6), and what a cluster
//! of ours must be besides. Each assertion is judged from what was told at one moment; nothing is waited for here.

mod kubernetes;
mod machines;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{ClusterPlan, EtcdMember, NodeName};

pub use kubernetes::{KubernetesFacts, KubernetesNode, MadeCertificate, StaticPod, Workload, ending};

/// Everything that was told.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthFacts {
    /// by every node of the plan, or why it told nothing
    pub nodes: BTreeMap<NodeName, Result<NodeFacts, String>>,
    /// by the API server, or why it told nothing
    pub kubernetes: Result<KubernetesFacts, String>,
    /// nodes whose image has the LLDP extension, as the site says
    pub lldpd: Vec<NodeName>,
    /// whether somebody has brought the cluster's network; until then nodes are not ready, and that is right
    pub has_network: bool,
}

/// What one machine told.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeFacts {
    /// its services
    pub services: Vec<ServiceFacts>,
    /// etcd's members as it knows them, or why it tells none; asked of control planes only
    pub members: Result<Vec<EtcdMember>, String>,
    /// how far its boot is, in Talos's word
    pub stage: String,
    /// bytes of memory, or why it tells none
    pub memory: Result<u64, String>,
    /// bytes of the disk it is installed on; `None` where it is on none
    pub disk: Option<u64>,
    /// what it complains of itself
    pub diagnostics: Vec<String>,
    /// whether it has the virtual address
    pub holds_virtual_address: bool,
}

/// One service of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// `etcd`, `kubelet`, `ext-lldpd`
    pub id: String,
    /// in Talos's word
    pub state: String,
    /// by its own check, if it has one
    pub healthy: Option<bool>,
    /// what it says last
    pub message: String,
}

/// Something that is so in a cluster that is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// its place in Talos's list; ours come after them
    pub number: u8,
    /// what should be, in Talos's words
    pub name: String,
    /// whether it is
    pub verdict: Verdict,
}

/// How an assertion ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "is", content = "reason")]
pub enum Verdict {
    /// it is so
    Ok,
    /// there is nothing of the kind here; why
    Skipped(String),
    /// it is not so; who or what is not, and how
    Not(String),
}

impl Verdict {
    /// Of what is wrong; nothing is.
    fn of(wrong: Vec<String>) -> Self {
        if wrong.is_empty() { Self::Ok } else { Self::Not(wrong.join("; ")) }
    }
}

/// Judges all of them.
pub fn assertions(plan: &ClusterPlan, facts: &HealthFacts) -> Vec<Assertion> {
    let verdicts = [
        ("etcd to be healthy", machines::etcd_is_healthy(plan, facts)),
        ("etcd members to be consistent across nodes", machines::members_agree(plan, facts)),
        ("etcd members to be control plane nodes", machines::members_are_control_planes(plan, facts)),
        ("apid to be ready", machines::everybody_answers(plan, facts)),
        ("all nodes memory sizes", machines::memory_is_enough(plan, facts)),
        ("all nodes disk sizes", machines::disks_are_enough(plan, facts)),
        ("no diagnostics", machines::nobody_complains(plan, facts)),
        ("kubelet to be healthy", machines::kubelet_is_healthy(plan, facts)),
        ("all nodes to finish boot sequence", machines::everybody_has_booted(plan, facts)),
        ("all k8s nodes to report", kubernetes::nodes_report(plan, facts)),
        ("all control plane static pods to be running", kubernetes::static_pods_run(plan, facts)),
        ("all control plane components to be ready", kubernetes::components_are_ready(plan, facts)),
        ("all k8s nodes to report ready", kubernetes::nodes_are_ready(plan, facts)),
        ("kube-proxy to report ready", kubernetes::proxy_is_ready(facts)),
        ("coredns to report ready", kubernetes::dns_is_ready(facts)),
        ("all k8s nodes to report schedulable", kubernetes::nodes_are_schedulable(plan, facts)),
        ("ext-lldpd to run on each node", machines::lldpd_runs(facts)),
        ("one control plane to have the virtual address", machines::one_has_the_virtual_address(plan, facts)),
        (
            "certificates made for the cluster to be valid for a month",
            kubernetes::certificates_are_valid(facts),
        ),
    ];
    (1..)
        .zip(verdicts)
        .map(|(number, (name, verdict))| Assertion { number, name: name.to_owned(), verdict })
        .collect()
}

/// The address as people look for it.
fn shown(address: Option<IpAddr>) -> String {
    address.map(|address| address.to_string()).unwrap_or_default()
}
