//! Whether etcd is what the site wants, asked of every control plane itself (talos.md §9.4).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Bootstrapped, Cluster, Core, EtcdHealth, EtcdMember, EtcdObservation, Guard, Guards, NodeName, Time,
};

impl<G: Guards> Core<G> {
    /// Until etcd's voters are exactly the control planes, as each of them tells it.
    pub(crate) fn join(&mut self, bootstrapped: Bootstrapped, now: Time) {
        let missing = self.missing_for_quorum(now);
        if missing.is_empty() {
            let evidence = vec![
                "etcd's voters are the control planes, as each of them tells it".to_owned(),
                "they follow one leader, and one of them has the virtual address".to_owned(),
            ];
            self.move_cluster(Cluster::HandingOver { bootstrapped, done: Vec::new() }, evidence);
            self.advance_cluster(now);
        } else {
            self.wait_cluster(missing.join("; "));
        }
    }

    /// What keeps the control plane from being whole.
    fn missing_for_quorum(&self, now: Time) -> Vec<String> {
        let mut missing = Vec::new();
        let (mut leaders, mut holders) = (BTreeSet::new(), Vec::new());
        let mut told: BTreeMap<&NodeName, BTreeSet<&str>> = BTreeMap::new();
        let every = self.guards.on(Guard::EveryWitness);
        let witnesses =
            self.slots.control_planes().filter(|name| every || self.fresh_look(name, now).is_some());
        for name in witnesses.take(if every { usize::MAX } else { 1 }) {
            let Some(look) = self.fresh_look(name, now) else {
                missing.push(format!("{name} does not show etcd's members"));
                continue;
            };
            if look.holds_virtual_address {
                holders.push(name.0.as_str());
            }
            let (members, health) = match &look.etcd {
                EtcdObservation::Members { members, health } => (members, health),
                EtcdObservation::Unknown { reason } => {
                    missing.push(format!("{name} does not show etcd's members: {reason}"));
                    continue;
                }
                EtcdObservation::Waiting | EtcdObservation::None => {
                    missing.push(format!("{name} does not show etcd's members: it has not joined yet"));
                    continue;
                }
            };
            missing.extend(self.unexpected(name, members));
            missing.extend(unhealthy(name, health));
            leaders.extend(health.leader.as_deref().map(|leader| (leader, health.term)));
            told.insert(name, members.iter().map(|member| member.id.as_str()).collect());
        }
        let mut lists = told.values();
        if let Some(first) = lists.next()
            && lists.any(|other| other != first)
        {
            missing.push("the control planes tell different members".to_owned());
        }
        if leaders.len() > 1 {
            missing.push("the control planes do not follow one leader".to_owned());
        }
        match (self.plan.virtual_address, holders.as_slice()) {
            (None, _) | (Some(_), [_]) => {}
            (Some(address), []) => missing.push(format!("nobody has the virtual address {address} yet")),
            (Some(address), several) => {
                missing.push(format!("several have the virtual address {address}: {}", several.join(", ")));
            }
        }
        missing
    }

    /// Members that are no nodes of the site, as a control plane told when it was last asked: whoever they are, what
    /// is furnished now is theirs as well.
    pub(crate) fn strangers_in_etcd(&self) -> Option<String> {
        let told = |name: &NodeName| match &self.slots.get(name)?.look.as_ref()?.etcd {
            EtcdObservation::Members { members, .. } => {
                // who has no name yet has not started
                let strange = |member: &&EtcdMember| {
                    !member.name.is_empty() && !self.slots.control_planes().any(|name| name.0 == member.name)
                };
                let strangers: Vec<&str> =
                    members.iter().filter(strange).map(|it| it.name.as_str()).collect();
                (!strangers.is_empty()).then(|| not_in_the_site(name, &strangers))
            }
            _ => None,
        };
        self.slots.control_planes().find_map(told).filter(|_| self.guards.on(Guard::ExactMembers))
    }

    /// How a member list differs from the site.
    fn unexpected(&self, witness: &NodeName, members: &[EtcdMember]) -> Option<String> {
        let wanted: BTreeSet<&str> = self.slots.control_planes().map(|name| name.0.as_str()).collect();
        let voters: BTreeSet<&str> =
            members.iter().filter(|member| !member.learner).map(|member| member.name.as_str()).collect();
        let foreign: Vec<&str> =
            members.iter().map(|member| member.name.as_str()).filter(|name| !wanted.contains(name)).collect();
        if !foreign.is_empty() && self.guards.on(Guard::ExactMembers) {
            return Some(not_in_the_site(witness, &foreign));
        }
        let absent: Vec<&str> = wanted.difference(&voters).copied().collect();
        (!absent.is_empty()).then(|| format!("{witness} does not see the votes of {}", absent.join(", ")))
    }
}

fn not_in_the_site(witness: &NodeName, strangers: &[&str]) -> String {
    format!("etcd has members that are not in the site ({}), as {witness} tells", strangers.join(", "))
}

fn unhealthy(name: &NodeName, health: &EtcdHealth) -> Option<String> {
    if health.leader.is_none() {
        return Some(format!("etcd on {name} has no leader"));
    }
    (!health.errors.is_empty()).then(|| format!("etcd on {name} complains: {}", health.errors.join("; ")))
}
