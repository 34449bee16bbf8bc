//! Members of etcd that stand still are taken out: a learner that nobody promotes any more, and one that never started.

use super::{Cause, Departure, Going};
use crate::{Cluster, Core, EtcdObservation, Guards, NodeName, NodeState, Time};

/// A member of etcd that has not started for so long never will: what comes between the two takes seconds.
const UNSTARTED: std::time::Duration = std::time::Duration::from_secs(5 * 60);

impl<G: Guards> Core<G> {
    /// A member that never starts keeps others from joining, and a learner that its own run does not promote is never
    /// promoted (talos.md §9.3): both are taken out, and who is there begins anew.
    pub(super) fn repair_learners(&mut self, now: Time) {
        if self.ledger.departures.values().any(Departure::is_under_way)
            || matches!(self.cluster, Cluster::Assembling { .. } | Cluster::Bootstrapping(_))
        {
            return;
        }
        let stuck = |name: &&NodeName| {
            let Some(slot) = self.slots.get(name) else { return false };
            let late = slot.limit().is_some_and(|(passes, _)| now >= passes);
            // the etcd of a learner does not tell who the members are, so that whoever tells counts
            let learns = |witness: &NodeName| match self.fresh_look(witness, now).map(|look| &look.etcd) {
                Some(EtcdObservation::Members { members, .. }) => {
                    members.iter().any(|member| member.name == name.0 && member.learner)
                }
                _ => false,
            };
            matches!(slot.state, NodeState::Configured { .. })
                && late
                && self.fresh_look(name, now).is_some()
                && self.slots.control_planes().any(learns)
        };
        let stuck = self.slots.control_planes().find(stuck).cloned();
        if let Some(name) = stuck {
            self.begin(&name, Cause::Repair, Going::Remove, true, "ichord", now);
            return;
        }
        self.see_unstarted(now);
        let lasts = |(_, since): &(String, Time)| now.since(*since) >= UNSTARTED;
        if !self.unstarted.as_ref().is_some_and(lasts) {
            return;
        }
        let waits = |name: &&NodeName| {
            let look = self.fresh_look(name, now);
            matches!(self.node(name), Some(NodeState::Configured { .. }))
                && look.is_some_and(|look| look.etcd == EtcdObservation::Waiting)
        };
        let waits = self.slots.control_planes().find(waits).cloned();
        if let Some(name) = waits {
            self.begin(&name, Cause::Unstarted, Going::Remove, true, "ichord", now);
        }
    }

    /// Since when the same member that has not started is there.
    fn see_unstarted(&mut self, now: Time) {
        let unstarted = |name: &NodeName| match &self.fresh_look(name, now)?.etcd {
            EtcdObservation::Members { members, .. } => {
                Some(members.iter().find(|member| member.name.is_empty()).map(|member| member.id.clone()))
            }
            _ => None,
        };
        // nobody tells: that says nothing
        let Some(seen) = self.slots.control_planes().find_map(unstarted) else { return };
        let same = |(id, since): (String, Time)| (Some(&id) == seen.as_ref()).then_some((id, since));
        let known = self.unstarted.take().and_then(same);
        self.unstarted = known.or_else(|| seen.clone().map(|id| (id, now)));
    }
}
