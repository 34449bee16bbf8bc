//! The site of a run: control planes, then workers, on one /24.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use crate::scenario::{Mishap, Scenario};
use hardware::DiskSelector;
use lifecycle::{ClusterPlan, InstallDisk, LinkNeed, NodeName, NodePlan, ReplacePolicy, Role, Timing, Trust};

/// The shared address of the control planes.
pub(crate) const VIRTUAL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10));

pub(crate) fn plan(scenario: &Scenario) -> ClusterPlan {
    let (control_planes, workers) = (scenario.control_planes, scenario.workers);
    let mut nodes = BTreeMap::new();
    for index in 1..=control_planes + workers {
        let (role, name) = if index <= control_planes {
            (Role::ControlPlane, format!("cp-{index}"))
        } else {
            (Role::Worker, format!("worker-{}", index - control_planes))
        };
        let slot = usize::from(index - 1);
        let two_disks = scenario.has(|mishap| *mishap == Mishap::TwoDisks { slot });
        let two_links = scenario.has(|mishap| *mishap == Mishap::MissingLink { slot });
        let selector = DiskSelector { model: Some("APPLE*".into()), ..DiskSelector::default() };
        let plan = NodePlan {
            role,
            address: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10 + index)),
            install_disk: if two_disks {
                InstallDisk::Selector(selector)
            } else {
                InstallDisk::Path("/dev/nvme0n1".into())
            },
            signed: false,
            ports: Vec::new(),
            place: String::new(),
            power: scenario.switch(slot),
            links: if two_links { vec![LinkNeed::Name("eth1".into())] } else { Vec::new() },
        };
        nodes.insert(NodeName(name), plan);
    }
    ClusterPlan {
        cluster_id: "simulated".into(),
        nodes,
        virtual_address: Some(VIRTUAL_ADDRESS),
        deploy: scenario.policy,
        trust: Trust::Attested,
        replace: if scenario.same_port {
            ReplacePolicy::SamePort { after: Duration::from_secs(10), per_day: 3 }
        } else {
            ReplacePolicy::Ask
        },
        handover: ["namespaces", "network", "flux"].map(str::to_owned).to_vec(),
        timing: Timing {
            observe: Duration::from_secs(1),
            watch: Duration::from_secs(2),
            // longer than the model pulls the etcd image
            bootstrap_grace: Duration::from_secs(30),
            apply_grace: Duration::from_secs(1),
            retry: Duration::from_millis(500),
            ..Timing::default()
        },
    }
}
