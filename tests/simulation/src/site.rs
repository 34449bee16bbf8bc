//! The site of a run: control planes, then workers, on one /24.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lifecycle::{
    ClusterPlan, DeployPolicy, InstallDisk, NodeName, NodePlan, ReplacePolicy, Role, Timing, Trust,
};

pub(crate) fn plan(control_planes: u8, workers: u8) -> ClusterPlan {
    let mut nodes = BTreeMap::new();
    for index in 1..=control_planes + workers {
        let (role, name) = if index <= control_planes {
            (Role::ControlPlane, format!("cp-{index}"))
        } else {
            (Role::Worker, format!("worker-{}", index - control_planes))
        };
        let plan = NodePlan {
            role,
            address: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10 + index)),
            install_disk: InstallDisk::Path("/dev/nvme0n1".into()),
            links: Vec::new(),
        };
        nodes.insert(NodeName(name), plan);
    }
    ClusterPlan {
        cluster_id: "simulated".into(),
        nodes,
        virtual_address: Some(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10))),
        deploy: DeployPolicy::Auto,
        trust: Trust::Attested,
        replace: ReplacePolicy::Ask,
        handover: vec!["namespaces".into()],
        timing: Timing {
            observe: Duration::from_millis(200),
            watch: Duration::from_secs(2),
            // longer than the model pulls the etcd image
            bootstrap_grace: Duration::from_secs(3),
            apply_grace: Duration::from_secs(1),
            retry: Duration::from_millis(500),
            ..Timing::default()
        },
    }
}
