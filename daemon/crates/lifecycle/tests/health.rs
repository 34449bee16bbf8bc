//! Each fault fails the assertions that it should, with a sentence that says who and what; everything else still holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{collections::BTreeMap, net::IpAddr};

use lifecycle::{
    Assertion, ClusterPlan, DeployPolicy, EtcdMember, HealthFacts, InstallDisk, KubernetesFacts,
    KubernetesNode, MadeCertificate, NodeFacts, NodeName, NodePlan, ReplacePolicy, Role, ServiceFacts,
    StaticPod, Timing, Trust, Verdict, Workload, assertions,
};

const NODES: [(&str, u8, Role); 4] = [
    ("cp1", 11, Role::ControlPlane),
    ("cp2", 12, Role::ControlPlane),
    ("cp3", 13, Role::ControlPlane),
    ("w1", 21, Role::Worker),
];

fn at(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn plan() -> ClusterPlan {
    let node = |&(name, last, role): &(&str, u8, Role)| {
        let disk = InstallDisk::Path("/dev/sda".into());
        (
            NodeName::from(name),
            NodePlan {
                role,
                address: at(last),
                install_disk: disk,
                links: Vec::new(),
                signed: false,
                ports: Vec::new(),
                place: String::new(),
                power: None,
            },
        )
    };
    ClusterPlan {
        cluster_id: "c1".into(),
        nodes: NODES.iter().map(node).collect(),
        virtual_address: Some(at(10)),
        deploy: DeployPolicy::Ask,
        trust: Trust::Attested,
        replace: ReplacePolicy::Ask,
        handover: Vec::new(),
        timing: Timing::default(),
    }
}

fn service(id: &str, healthy: Option<bool>) -> ServiceFacts {
    ServiceFacts { id: id.into(), state: "Running".into(), healthy, message: String::new() }
}

fn member(name: &str) -> EtcdMember {
    EtcdMember { name: name.into(), id: format!("id of {name}"), learner: false }
}

fn node(name: &str, role: Role) -> NodeFacts {
    let mut services = vec![service("kubelet", Some(true)), service("ext-lldpd", None)];
    let mut members = Err("etcd is only on control planes".to_owned());
    if role == Role::ControlPlane {
        services.push(service("etcd", Some(true)));
        members = Ok(["cp1", "cp2", "cp3"].map(member).to_vec());
    }
    NodeFacts {
        services,
        members,
        stage: "running".into(),
        memory: Ok(16 << 30),
        disk: Some(512 << 30),
        diagnostics: Vec::new(),
        holds_virtual_address: name == "cp2",
    }
}

/// A cluster that is well.
fn well() -> HealthFacts {
    let pods = NODES.iter().filter(|(_, _, role)| *role == Role::ControlPlane).flat_map(|(name, ..)| {
        ["kube-apiserver", "kube-controller-manager", "kube-scheduler"].map(|component| StaticPod {
            component: component.into(),
            node: (*name).into(),
            phase: "Running".into(),
            ready: true,
        })
    });
    let registered = NODES.iter().map(|&(name, last, _)| KubernetesNode {
        name: name.into(),
        addresses: vec![at(last)],
        ready: true,
        schedulable: true,
    });
    let ready = || Some(Workload { waits: None });
    HealthFacts {
        nodes: NODES.iter().map(|&(name, _, role)| (name.into(), Ok(node(name, role)))).collect(),
        kubernetes: Ok(KubernetesFacts {
            nodes: registered.collect(),
            static_pods: pods.collect(),
            proxy: ready(),
            dns: ready(),
            certificates: vec![MadeCertificate { secret: "kube-system/a".into(), days: Some(1_000) }],
        }),
        lldpd: NODES.iter().map(|(name, ..)| NodeName::from(*name)).collect(),
        has_network: true,
    }
}

fn of<'a>(facts: &'a mut HealthFacts, name: &str) -> &'a mut NodeFacts {
    facts.nodes.get_mut(&NodeName::from(name)).unwrap().as_mut().unwrap()
}

fn kubernetes(facts: &mut HealthFacts) -> &mut KubernetesFacts {
    facts.kubernetes.as_mut().unwrap()
}

fn of_service<'a>(facts: &'a mut HealthFacts, name: &str, id: &str) -> &'a mut ServiceFacts {
    of(facts, name).services.iter_mut().find(|service| service.id == id).unwrap()
}

fn of_certificate(facts: &mut HealthFacts, days: Option<i64>) {
    kubernetes(facts).certificates[0].days = days;
}

fn judged(facts: &HealthFacts) -> BTreeMap<u8, Verdict> {
    let all = assertions(&plan(), facts);
    assert_eq!(all.len(), 19);
    all.into_iter().map(|Assertion { number, verdict, .. }| (number, verdict)).collect()
}

#[test]
fn a_cluster_that_is_well_passes_everything() {
    let judged = judged(&well());
    assert!(judged.values().all(|verdict| *verdict == Verdict::Ok), "{judged:#?}");
}

#[test]
fn one_fault_fails_its_assertion_with_a_sentence() {
    type Fault = fn(&mut HealthFacts);
    let table: &[(Fault, &[(u8, &str)])] = &[
        (|f| of_service(f, "cp1", "etcd").healthy = Some(false), &[(1, "cp1: etcd runs and is not healthy")]),
        (
            |f| of_service(f, "cp1", "etcd").healthy = None,
            &[(1, "cp1: etcd runs, and its health is not known yet")],
        ),
        (
            |f| {
                let etcd = of_service(f, "cp3", "etcd");
                (etcd.state, etcd.message) = ("Failed".into(), "no space left".into());
            },
            &[(1, "cp3: etcd is Failed (no space left)")],
        ),
        (
            |f| of(f, "cp2").members.as_mut().unwrap()[2].id = "another".into(),
            &[(2, "cp2 lists other members than cp1")],
        ),
        (
            |f| {
                for name in ["cp1", "cp2", "cp3"] {
                    of(f, name).members.as_mut().unwrap().pop();
                }
            },
            &[(
                3,
                "cp1: its etcd has no member cp3; cp2: its etcd has no member cp3; cp3: its etcd has no member cp3",
            )],
        ),
        (
            |f| {
                for name in ["cp1", "cp2", "cp3"] {
                    of(f, name).members.as_mut().unwrap().push(member("old"));
                }
            },
            &[(3, "cp1: its etcd has members that are no control planes (old)")],
        ),
        (
            |f| {
                for name in ["cp1", "cp2", "cp3"] {
                    of(f, name).members.as_mut().unwrap()[1].learner = true;
                }
            },
            &[(3, "cp1: its etcd has members without a vote (cp2)")],
        ),
        (
            |f| of(f, "cp2").members = Err("etcd is down".into()),
            &[(2, "cp2: tells no members: etcd is down"), (3, "cp2: tells no members: etcd is down")],
        ),
        (
            |f| {
                f.nodes.insert("w1".into(), Err("connection refused".into()));
            },
            &[
                (4, "w1: does not answer: connection refused"),
                (5, "w1: does not answer"),
                (6, "w1: does not answer"),
                (7, "w1: does not answer"),
                (9, "w1: does not answer"),
                (17, "w1: does not answer"),
            ],
        ),
        (|f| of(f, "cp1").memory = Ok(1 << 30), &[(5, "cp1: has 1024 MiB of memory, needs 1698")]),
        (|f| of(f, "w1").memory = Err("refused".into()), &[(5, "w1: does not tell its memory: refused")]),
        (|f| of(f, "w1").disk = Some(4 << 30), &[(6, "w1: is installed on a disk of 4096 MiB, needs 6144")]),
        (|f| of(f, "w1").disk = None, &[(6, "w1: is not installed on a disk")]),
        (|f| of(f, "cp2").diagnostics.push("address overlap".into()), &[(7, "cp2: address overlap")]),
        (|f| of_service(f, "cp3", "kubelet").state = "Waiting".into(), &[(8, "cp3: kubelet is Waiting")]),
        (|f| of(f, "w1").stage = "booting".into(), &[(9, "w1: its boot is not finished (booting)")]),
        (
            |f| kubernetes(f).nodes[3].addresses = vec![at(99)],
            &[(10, "w1: registered with 10.0.0.99 instead of 10.0.0.21")],
        ),
        (
            |f| {
                let mut stray = kubernetes(f).nodes[0].clone();
                stray.name = "old".into();
                kubernetes(f).nodes.push(stray);
            },
            &[(10, "old: registered, and not in the site")],
        ),
        (
            |f| {
                kubernetes(f).nodes.pop();
            },
            &[(10, "w1: is not registered"), (13, "w1: is not registered"), (16, "w1: is not registered")],
        ),
        (
            |f| kubernetes(f).static_pods[1].phase = "Pending".into(),
            &[(11, "cp1: kube-controller-manager is Pending")],
        ),
        (
            |f| {
                kubernetes(f).static_pods.remove(5);
            },
            &[(11, "cp2: kube-scheduler is not there"), (12, "cp2: kube-scheduler is not there")],
        ),
        (|f| kubernetes(f).static_pods[6].ready = false, &[(12, "cp3: kube-apiserver is not ready")]),
        (|f| kubernetes(f).nodes[1].ready = false, &[(13, "cp2: is not ready")]),
        (
            |f| kubernetes(f).proxy = Some(Workload { waits: Some("3 of 4 pods are ready".into()) }),
            &[(14, "kube-proxy: 3 of 4 pods are ready")],
        ),
        (
            |f| kubernetes(f).dns = Some(Workload { waits: Some("1 of 2 replicas are available".into()) }),
            &[(15, "coredns: 1 of 2 replicas are available")],
        ),
        (
            |f| kubernetes(f).nodes[0].schedulable = false,
            &[(16, "cp1: is cordoned: nothing new is scheduled there")],
        ),
        (|f| of_service(f, "w1", "ext-lldpd").state = "Waiting".into(), &[(17, "w1: ext-lldpd is Waiting")]),
        (
            |f| of(f, "cp1").services.retain(|service| service.id != "ext-lldpd"),
            &[(17, "cp1: has no service ext-lldpd")],
        ),
        (|f| of(f, "cp2").holds_virtual_address = false, &[(18, "nobody has 10.0.0.10")]),
        (|f| of(f, "cp3").holds_virtual_address = true, &[(18, "several have 10.0.0.10: cp2, cp3")]),
        (|f| of(f, "w1").holds_virtual_address = true, &[(18, "w1 has 10.0.0.10 and is a worker")]),
        (
            |f| of_certificate(f, Some(29)),
            &[(19, "the Secret kube-system/a is valid for 29 more days: delete it")],
        ),
        (|f| of_certificate(f, Some(-2)), &[(19, "kube-system/a has not been valid for 2 days")]),
        (|f| of_certificate(f, None), &[(19, "kube-system/a cannot be read")]),
        (
            |f| f.kubernetes = Err("connection refused".into()),
            &[
                (10, "the Kubernetes API does not answer: connection refused"),
                (11, "the Kubernetes API does not answer"),
                (12, "the Kubernetes API does not answer"),
                (13, "the Kubernetes API does not answer"),
                (14, "the Kubernetes API does not answer"),
                (15, "the Kubernetes API does not answer"),
                (16, "the Kubernetes API does not answer"),
                (19, "the Kubernetes API does not answer"),
            ],
        ),
    ];
    for (number, (fault, expected)) in table.iter().enumerate() {
        let mut facts = well();
        fault(&mut facts);
        let judged = judged(&facts);
        for (assertion, verdict) in &judged {
            let wanted = expected.iter().find(|(number, _)| number == assertion);
            match (wanted, verdict) {
                (None, Verdict::Ok) => {}
                (Some((_, words)), Verdict::Not(reason)) if reason.contains(words) => {}
                _ => panic!("fault {number}, assertion {assertion}: {verdict:?}, wanted {wanted:?}"),
            }
        }
    }
}

#[test]
fn what_a_cluster_has_not_is_left_out_and_says_so() {
    let mut facts = well();
    (facts.has_network, facts.lldpd) = (false, Vec::new());
    kubernetes(&mut facts).proxy = None;
    kubernetes(&mut facts).certificates.clear();
    kubernetes(&mut facts).nodes.iter_mut().for_each(|node| node.ready = false);
    let judged = judged(&facts);
    let skipped: Vec<u8> = judged
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Skipped(_)))
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(skipped, [13, 14, 15, 17, 19]);
    assert!(judged.values().all(|verdict| !matches!(verdict, Verdict::Not(_))), "{judged:#?}");
    let mut plan = plan();
    plan.virtual_address = None;
    assert!(matches!(assertions(&plan, &well())[17].verdict, Verdict::Skipped(_)));
}

#[test]
fn who_was_silent_may_have_the_virtual_address() {
    let mut facts = well();
    facts.nodes.insert("cp2".into(), Err("timed out".into()));
    let Verdict::Not(reason) = &judged(&facts)[&18] else { panic!("somebody has it") };
    assert_eq!(reason, "nobody who answers has 10.0.0.10 (cp2: does not answer: timed out)");
}
