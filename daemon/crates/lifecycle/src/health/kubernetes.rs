//! What the Kubernetes API tells, once it answers.

use std::{collections::BTreeSet, net::IpAddr};

use super::{HealthFacts, Verdict};
use crate::{ClusterPlan, NodeName};

/// What the control plane consists of.
const COMPONENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// What the API server told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubernetesFacts {
    /// every registered node
    pub nodes: Vec<KubernetesNode>,
    /// the pods of the control plane
    pub static_pods: Vec<StaticPod>,
    /// kube-proxy, where there is one
    pub proxy: Option<Workload>,
    /// CoreDNS, where it is there
    pub dns: Option<Workload>,
    /// certificates that were made for the cluster
    pub certificates: Vec<MadeCertificate>,
}

/// A certificate that the hand-over has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeCertificate {
    /// the Secret that it is in: `kube-system/hubble-server-certs`
    pub secret: String,
    /// how long it is still valid; negative when it is not; `None` where it cannot be read
    pub days: Option<i64>,
}

/// A node as Kubernetes knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesNode {
    /// its name
    pub name: String,
    /// its internal addresses
    pub addresses: Vec<IpAddr>,
    /// its condition
    pub ready: bool,
    /// nobody keeps pods off it
    pub schedulable: bool,
}

/// A pod of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticPod {
    /// `kube-apiserver`
    pub component: String,
    /// where it runs
    pub node: String,
    /// `Running`
    pub phase: String,
    /// its condition
    pub ready: bool,
}

/// A DaemonSet or a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// what it waits for; `None` when it is ready
    pub waits: Option<String>,
}

/// How long before its end a certificate is told of.
const MONTH: i64 = 30;

fn told(facts: &HealthFacts) -> Result<&KubernetesFacts, Verdict> {
    facts
        .kubernetes
        .as_ref()
        .map_err(|reason| Verdict::Not(format!("the Kubernetes API does not answer: {reason}")))
}

/// What is wrong with the node that each planned one should be.
fn each(
    plan: &ClusterPlan,
    facts: &HealthFacts,
    fault: impl Fn(&KubernetesNode) -> Option<&'static str>,
) -> Verdict {
    let told = match told(facts) {
        Ok(told) => told,
        Err(verdict) => return verdict,
    };
    let wrong = plan.nodes.keys().filter_map(|name| {
        let fault = match told.nodes.iter().find(|node| node.name == name.0) {
            Some(node) => fault(node)?,
            None => "is not registered",
        };
        Some(format!("{name}: {fault}"))
    });
    Verdict::of(wrong.collect())
}

pub(super) fn nodes_report(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    let told = match told(facts) {
        Ok(told) => told,
        Err(verdict) => return verdict,
    };
    let mut wrong = Vec::new();
    for (name, node) in &plan.nodes {
        match told.nodes.iter().find(|found| found.name == name.0) {
            Some(found) if found.addresses.contains(&node.address) => {}
            Some(found) => {
                let addresses =
                    found.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                wrong.push(format!("{name}: registered with {addresses} instead of {}", node.address));
            }
            None => wrong.push(format!("{name}: is not registered")),
        }
    }
    let planned: BTreeSet<&str> = plan.nodes.keys().map(|name| name.0.as_str()).collect();
    let foreign = told.nodes.iter().filter(|found| !planned.contains(found.name.as_str()));
    wrong.extend(foreign.map(|found| format!("{}: registered, and not in the site", found.name)));
    Verdict::of(wrong)
}

/// What is wrong with each component of each control plane.
fn components(
    plan: &ClusterPlan,
    facts: &HealthFacts,
    fault: impl Fn(&StaticPod) -> Option<String>,
) -> Verdict {
    let told = match told(facts) {
        Ok(told) => told,
        Err(verdict) => return verdict,
    };
    let of = |name: &NodeName, component: &str| {
        let pod = told.static_pods.iter().find(|pod| pod.node == name.0 && pod.component == component);
        let fault = match pod {
            Some(pod) => fault(pod)?,
            None => "is not there".to_owned(),
        };
        Some(format!("{name}: {component} {fault}"))
    };
    let wrong = plan.control_planes().flat_map(|name| COMPONENTS.map(|component| of(name, component)));
    Verdict::of(wrong.flatten().collect())
}

pub(super) fn static_pods_run(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    components(plan, facts, |pod| (pod.phase != "Running").then(|| format!("is {}", pod.phase)))
}

pub(super) fn components_are_ready(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    components(plan, facts, |pod| (!pod.ready).then(|| "is not ready".to_owned()))
}

/// Without a network there is nothing to be ready for.
fn no_network(facts: &HealthFacts) -> Option<Verdict> {
    (!facts.has_network).then(|| {
        Verdict::Skipped("Talos brings no network here, and no hand-over has brought one yet".to_owned())
    })
}

pub(super) fn nodes_are_ready(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    no_network(facts).unwrap_or_else(|| each(plan, facts, |node| (!node.ready).then_some("is not ready")))
}

pub(super) fn nodes_are_schedulable(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, |node| (!node.schedulable).then_some("is cordoned: nothing new is scheduled there"))
}

fn workload(name: &str, workload: Option<&Workload>) -> Verdict {
    match workload {
        None => Verdict::Skipped(format!("there is no {name} here")),
        Some(Workload { waits: None }) => Verdict::Ok,
        Some(Workload { waits: Some(reason) }) => Verdict::Not(format!("{name}: {reason}")),
    }
}

pub(super) fn proxy_is_ready(facts: &HealthFacts) -> Verdict {
    told(facts).map_or_else(|verdict| verdict, |told| workload("kube-proxy", told.proxy.as_ref()))
}

pub(super) fn dns_is_ready(facts: &HealthFacts) -> Verdict {
    let told =
        |facts| told(facts).map_or_else(|verdict| verdict, |told| workload("coredns", told.dns.as_ref()));
    no_network(facts).unwrap_or_else(|| told(facts))
}

/// Nothing renews them by itself: whoever uses one reads it when it starts.
pub(super) fn certificates_are_valid(facts: &HealthFacts) -> Verdict {
    let told = match told(facts) {
        Ok(told) => told,
        Err(verdict) => return verdict,
    };
    if told.certificates.is_empty() {
        return Verdict::Skipped("the hand-over has made none".to_owned());
    }
    Verdict::of(ending(&told.certificates))
}

/// Which of them end soon or cannot be read, and what to do about it.
pub fn ending(certificates: &[MadeCertificate]) -> Vec<String> {
    let wrong = certificates.iter().filter_map(|MadeCertificate { secret, days }| {
        let how = match days {
            None => "cannot be read".to_owned(),
            Some(days) if *days < 0 => format!("has not been valid for {} days", -days),
            Some(days) if *days < MONTH => format!("is valid for {days} more days"),
            Some(_) => return None,
        };
        Some(format!("the Secret {secret} {how}: delete it, and `ichord handover run` makes another one"))
    });
    wrong.collect()
}
