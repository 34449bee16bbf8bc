//! What the machine API alone tells, asked of every node itself.

use std::collections::BTreeSet;

use super::{HealthFacts, NodeFacts, Verdict, shown};
use crate::{ClusterPlan, NodeName, Role};

/// What Talos asks for at least; 150 MiB are the kernel's own.
const MIB: u64 = 1 << 20;
const CONTROL_PLANE_MEMORY: u64 = (1848 - 150) * MIB;
const WORKER_MEMORY: u64 = (1024 - 150) * MIB;
const DISK: u64 = 6 << 30;

/// What is wrong with nodes, each named. Who does not answer is wrong in everything.
fn each(
    plan: &ClusterPlan,
    facts: &HealthFacts,
    role: Option<Role>,
    fault: impl Fn(&NodeName, Role, &NodeFacts) -> Option<String>,
) -> Verdict {
    let asked = plan.nodes.iter().filter(|(_, node)| role.is_none_or(|role| role == node.role));
    let wrong = asked.filter_map(|(name, node)| {
        let fault = match facts.nodes.get(name) {
            Some(Ok(said)) => fault(name, node.role, said)?,
            Some(Err(reason)) => format!("does not answer: {reason}"),
            None => "was not asked".to_owned(),
        };
        Some(format!("{name}: {fault}"))
    });
    Verdict::of(wrong.collect())
}

fn service(facts: &NodeFacts, id: &str, checked: bool) -> Option<String> {
    let Some(service) = facts.services.iter().find(|service| service.id == id) else {
        return Some(format!("has no service {id}"));
    };
    let says = match service.message.as_str() {
        "" => String::new(),
        message => format!(" ({message})"),
    };
    match (service.state.as_str(), service.healthy) {
        ("Running", Some(true)) => None,
        ("Running", None) if !checked => None,
        ("Running", None) => Some(format!("{id} runs, and its health is not known yet{says}")),
        ("Running", Some(false)) => Some(format!("{id} runs and is not healthy{says}")),
        (state, _) => Some(format!("{id} is {state}{says}")),
    }
}

pub(super) fn etcd_is_healthy(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, Some(Role::ControlPlane), |_, _, said| service(said, "etcd", true))
}

pub(super) fn members_agree(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    let told = each(plan, facts, Some(Role::ControlPlane), |_, _, said| {
        said.members.as_ref().err().map(|reason| format!("tells no members: {reason}"))
    });
    if told != Verdict::Ok {
        return told;
    }
    let lists = plan.control_planes().filter_map(|name| {
        let members = facts.nodes.get(name)?.as_ref().ok()?.members.as_ref().ok()?;
        let listed: BTreeSet<(&str, &str, bool)> =
            members.iter().map(|member| (member.id.as_str(), member.name.as_str(), member.learner)).collect();
        Some((name, listed))
    });
    let lists: Vec<_> = lists.collect();
    let first = lists.first().map(|(name, list)| (*name, list.clone()));
    let Some((witness, first)) = first else { return Verdict::Skipped("there is no control plane".into()) };
    let others = lists.into_iter().filter(|(_, list)| *list != first);
    Verdict::of(others.map(|(name, _)| format!("{name} lists other members than {witness}")).collect())
}

pub(super) fn members_are_control_planes(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    let wanted: BTreeSet<&str> = plan.control_planes().map(|name| name.0.as_str()).collect();
    each(plan, facts, Some(Role::ControlPlane), |_, _, said| {
        let members = match &said.members {
            Ok(members) => members,
            Err(reason) => return Some(format!("tells no members: {reason}")),
        };
        let named: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let listed = |names: Vec<&&str>| names.into_iter().copied().collect::<Vec<_>>().join(", ");
        let (missing, more) =
            (listed(wanted.difference(&named).collect()), listed(named.difference(&wanted).collect()));
        let learners: Vec<&str> =
            members.iter().filter(|member| member.learner).map(|member| member.name.as_str()).collect();
        let mut faults = Vec::new();
        if !missing.is_empty() {
            faults.push(format!("its etcd has no member {missing}"));
        }
        if !more.is_empty() {
            faults.push(format!("its etcd has members that are no control planes ({more})"));
        }
        if !learners.is_empty() {
            faults.push(format!("its etcd has members without a vote ({})", learners.join(", ")));
        }
        (!faults.is_empty()).then(|| faults.join(", "))
    })
}

pub(super) fn everybody_answers(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, None, |_, _, _| None)
}

pub(super) fn memory_is_enough(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, None, |_, role, said| {
        let least = match role {
            Role::ControlPlane => CONTROL_PLANE_MEMORY,
            Role::Worker => WORKER_MEMORY,
        };
        match &said.memory {
            Ok(memory) if *memory >= least => None,
            Ok(memory) => Some(format!("has {} MiB of memory, needs {}", memory / MIB, least / MIB)),
            Err(reason) => Some(format!("does not tell its memory: {reason}")),
        }
    })
}

pub(super) fn disks_are_enough(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, None, |_, _, said| match said.disk {
        Some(size) if size >= DISK => None,
        Some(size) => Some(format!("is installed on a disk of {} MiB, needs {}", size / MIB, DISK / MIB)),
        None => Some("is not installed on a disk".to_owned()),
    })
}

pub(super) fn nobody_complains(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, None, |_, _, said| (!said.diagnostics.is_empty()).then(|| said.diagnostics.join(", ")))
}

pub(super) fn kubelet_is_healthy(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, Some(Role::ControlPlane), |_, _, said| service(said, "kubelet", true))
}

pub(super) fn everybody_has_booted(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    each(plan, facts, None, |_, _, said| {
        (said.stage != "running").then(|| format!("its boot is not finished ({})", said.stage))
    })
}

pub(super) fn lldpd_runs(facts: &HealthFacts) -> Verdict {
    if facts.lldpd.is_empty() {
        return Verdict::Skipped("no node's image has the extension siderolabs/lldpd".to_owned());
    }
    let wrong = facts.lldpd.iter().filter_map(|name| {
        let fault = match facts.nodes.get(name) {
            Some(Ok(said)) => service(said, "ext-lldpd", false)?,
            Some(Err(reason)) => format!("does not answer: {reason}"),
            None => "was not asked".to_owned(),
        };
        Some(format!("{name}: {fault}"))
    });
    Verdict::of(wrong.collect())
}

/// By their own word: ARP shows only who answers last.
pub(super) fn one_has_the_virtual_address(plan: &ClusterPlan, facts: &HealthFacts) -> Verdict {
    if plan.virtual_address.is_none() {
        return Verdict::Skipped("the site has no virtual address".to_owned());
    }
    let silent = everybody_answers(plan, facts);
    let has = |name: &&NodeName| {
        let said = facts.nodes.get(*name).and_then(|said| said.as_ref().ok());
        said.is_some_and(|said| said.holds_virtual_address)
    };
    let holders: Vec<&str> = plan.nodes.keys().filter(has).map(|name| name.0.as_str()).collect();
    let workers: Vec<&str> = plan
        .nodes
        .iter()
        .filter(|(name, node)| node.role == Role::Worker && holders.contains(&name.0.as_str()))
        .map(|(name, _)| name.0.as_str())
        .collect();
    let address = shown(plan.virtual_address);
    match (holders.as_slice(), workers.as_slice(), silent) {
        (_, [_, ..], _) => Verdict::Not(format!("{} has {address} and is a worker", workers.join(", "))),
        ([_], ..) => Verdict::Ok,
        ([], _, Verdict::Not(silent)) => Verdict::Not(format!("nobody who answers has {address} ({silent})")),
        ([], ..) => Verdict::Not(format!("nobody has {address}")),
        (several, ..) => Verdict::Not(format!("several have {address}: {}", several.join(", "))),
    }
}
