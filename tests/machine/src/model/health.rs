//! What the cluster's health check asserts, one after the other (talos.md §9.6), about what the nodes say.

use std::{collections::BTreeSet, net::IpAddr};

use super::request::Service;

/// What one node said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHealth {
    /// where it was asked
    pub address: IpAddr,
    /// whether it should be a control plane
    pub control_plane: bool,
    /// what it said, or why it did not
    pub said: Result<Said, String>,
}

/// The answers of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// ServiceList
    pub services: Vec<Service>,
    /// the members of etcd that a control plane knows: id and address
    pub members: BTreeSet<(u64, IpAddr)>,
    /// MachineStatus: the stage
    pub stage: String,
    /// MachineStatus: the names of the conditions that are not met
    pub unmet: BTreeSet<String>,
    /// how many diagnostics there are
    pub diagnostics: usize,
    /// its Kubernetes node: whether it is ready, whether it is schedulable
    pub kubernetes: Option<(bool, bool)>,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// it is so
    Ok,
    /// there is nothing of the kind in a simulated cluster
    Skip,
    /// not yet, and why
    Not(String),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ok => f.write_str("OK"),
            Self::Skip => f.write_str("SKIP"),
            Self::Not(why) => f.write_str(why),
        }
    }
}

/// A check: what it waits for, and how it judges.
pub type Check = (&'static str, fn(&[NodeHealth]) -> Verdict);

/// All of them, in their order.
pub const CHECKS: [Check; 16] = [
    ("etcd to be healthy", |nodes| service(nodes, "etcd")),
    ("etcd members to be consistent across nodes", consistent),
    ("etcd members to be control plane nodes", control_planes),
    ("apid to be ready", |nodes| each(nodes, false, |_| None)),
    ("all nodes memory sizes", |_| Verdict::Skip),
    ("all nodes disk sizes", |_| Verdict::Skip),
    ("no diagnostics", |nodes| {
        each(nodes, false, |said| (said.diagnostics > 0).then(|| format!("{} diagnostics", said.diagnostics)))
    }),
    ("kubelet to be healthy", |nodes| service(nodes, "kubelet")),
    ("all nodes to finish boot sequence", |nodes| {
        each(nodes, false, |said| (said.stage != "running").then(|| format!("stage {}", said.stage)))
    }),
    ("all k8s nodes to report", |nodes| {
        each(nodes, false, |said| said.kubernetes.is_none().then(|| "no Kubernetes node".to_owned()))
    }),
    ("all control plane static pods to be running", static_pods),
    ("all control plane components to be ready", static_pods),
    ("all k8s nodes to report ready", |nodes| {
        each(nodes, false, |said| {
            (!said.kubernetes.is_some_and(|(ready, _)| ready)).then(|| "not ready".to_owned())
        })
    }),
    ("kube-proxy to report ready", |_| Verdict::Skip),
    ("coredns to report ready", |_| Verdict::Skip),
    ("all k8s nodes to report schedulable", |nodes| {
        let cordoned = |said: &Said| !said.kubernetes.is_some_and(|(_, schedulable)| schedulable);
        each(nodes, false, |said| cordoned(said).then(|| "not schedulable".to_owned()))
    }),
];

/// Nodes that did not answer, or with which something is wrong.
fn each(nodes: &[NodeHealth], control_planes: bool, fault: impl Fn(&Said) -> Option<String>) -> Verdict {
    let asked = nodes.iter().filter(|node| node.control_plane || !control_planes);
    let faults: Vec<String> = asked
        .filter_map(|node| {
            let fault = match &node.said {
                Ok(said) => fault(said),
                Err(why) => Some(why.clone()),
            };
            fault.map(|fault| format!("{}: {fault}", node.address))
        })
        .collect();
    if faults.is_empty() { Verdict::Ok } else { Verdict::Not(faults.join(", ")) }
}

fn service(nodes: &[NodeHealth], id: &str) -> Verdict {
    each(nodes, true, |said| {
        let found = said.services.iter().find(|service| service.id == id);
        let good = found.is_some_and(|service| service.state == "Running" && service.healthy == Some(true));
        (!good).then(|| format!("service {id:?} is not running and healthy"))
    })
}

fn static_pods(nodes: &[NodeHealth]) -> Verdict {
    each(nodes, true, |said| {
        said.unmet.contains("staticPods").then(|| "static pods are not ready".to_owned())
    })
}

fn members(nodes: &[NodeHealth]) -> impl Iterator<Item = &BTreeSet<(u64, IpAddr)>> {
    let planes = nodes.iter().filter(|node| node.control_plane);
    planes.filter_map(|node| node.said.as_ref().ok().map(|said| &said.members))
}

fn consistent(nodes: &[NodeHealth]) -> Verdict {
    let mut lists = members(nodes);
    let first = lists.next();
    match lists.all(|list| Some(list) == first) {
        true => each(nodes, true, |_| None),
        false => Verdict::Not("the nodes list different etcd members".to_owned()),
    }
}

fn control_planes(nodes: &[NodeHealth]) -> Verdict {
    let wanted: BTreeSet<IpAddr> =
        nodes.iter().filter(|node| node.control_plane).map(|node| node.address).collect();
    let others = members(nodes).map(|list| list.iter().map(|&(_, address)| address).collect::<BTreeSet<_>>());
    match others.into_iter().find(|list| *list != wanted) {
        Some(list) => Verdict::Not(format!("etcd members {list:?} are not the control planes {wanted:?}")),
        None => Verdict::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(last: u8, control_plane: bool) -> NodeHealth {
        let running = |id: &str| Service {
            id: id.to_owned(),
            state: "Running".to_owned(),
            healthy: Some(true),
            message: String::new(),
        };
        let said = Said {
            services: vec![running("etcd"), running("kubelet")],
            members: [(1, [10, 0, 0, 1].into()), (2, [10, 0, 0, 2].into())].into(),
            stage: "running".to_owned(),
            kubernetes: Some((true, true)),
            ..Said::default()
        };
        NodeHealth { address: [10, 0, 0, last].into(), control_plane, said: Ok(said) }
    }

    fn failing(nodes: &[NodeHealth]) -> Vec<&'static str> {
        let bad = CHECKS.iter().filter(|(_, check)| matches!(check(nodes), Verdict::Not(_)));
        bad.map(|(name, _)| *name).collect()
    }

    #[test]
    fn each_check_sees_its_fault() {
        let good = [node(1, true), node(2, true), node(3, false)];
        assert!(failing(&good).is_empty());
        let with = |change: fn(&mut Said)| {
            let mut nodes = good.clone();
            change(nodes[1].said.as_mut().unwrap());
            failing(&nodes)
        };
        assert_eq!(with(|said| said.services.clear()), ["etcd to be healthy", "kubelet to be healthy"]);
        assert_eq!(
            with(|said| said.members.clear()),
            ["etcd members to be consistent across nodes", "etcd members to be control plane nodes"]
        );
        assert_eq!(with(|said| said.diagnostics = 1), ["no diagnostics"]);
        assert_eq!(with(|said| said.stage = "booting".to_owned()), ["all nodes to finish boot sequence"]);
        assert_eq!(with(|said| said.unmet = ["staticPods".to_owned()].into()).len(), 2);
        assert_eq!(with(|said| said.kubernetes = Some((false, true))), ["all k8s nodes to report ready"]);
        assert_eq!(
            with(|said| said.kubernetes = Some((true, false))),
            ["all k8s nodes to report schedulable"]
        );
        assert_eq!(with(|said| said.kubernetes = None).len(), 3);
        let mut silent = good.clone();
        silent[2].said = Err("connection refused".to_owned());
        assert!(failing(&silent).contains(&"apid to be ready"));
    }
}
