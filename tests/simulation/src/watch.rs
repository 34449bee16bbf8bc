//! What a run is held to while it goes: what is stored, what was overheard, and what is really the case.

use lifecycle::{
    Cluster, EtcdMember, EtcdObservation, Event, Guards, NodeName, NodeState, Note, Observation, Write,
};

use crate::{
    invariants::{self, Violation},
    run::Simulation,
    world::is_claimed,
};

/// A bootstrap that is known to be lost is asked for again within so long.
const REPEATED_WITHIN: u64 = 10_000;

impl<G: Guards> Simulation<G> {
    /// What the daemon is told about etcd, for the ledger. A reply that comes again tells of what was once: of a boot that
    /// was asked before, for example, which is no news of a lost bootstrap.
    pub(crate) fn overhear(&mut self, event: &Event) {
        let Event::Observed {
            node,
            observation: Observation::Configured { boot_id, etcd, inventory, .. },
            ..
        } = event
        else {
            return;
        };
        let found = lifecycle::Machine::from(inventory);
        let claim = self.core.node(node).and_then(NodeState::claim);
        if claim.is_none_or(|claim| !claim.machine.is_same_as(&found)) {
            return;
        }
        if let EtcdObservation::Members { members, .. } = etcd {
            self.ledger.members.insert(node.clone(), members.clone());
            self.ledger.told.insert(node.clone(), self.as_wanted(members));
        }
        if let Cluster::Bootstrapping(intent) = self.core.cluster()
            && intent.node == *node
            && intent.boot_id != *boot_id
            && *etcd == EtcdObservation::Waiting
        {
            self.ledger.lost_since.get_or_insert(self.now);
        }
    }

    /// Whether etcd's members are what the site wants, or what is wrong with them.
    fn as_wanted(&self, members: &[EtcdMember]) -> Result<(), String> {
        let votes = |name: &NodeName| members.iter().any(|member| member.name == name.0 && !member.learner);
        if let Some(absent) = self.plan.control_planes().find(|name| !votes(name)) {
            return Err(format!("{absent} does not vote"));
        }
        match members.iter().find(|member| !self.names.iter().any(|name| name.0 == member.name)) {
            Some(stranger) => Err(format!("{} is a member", stranger.name)),
            None => Ok(()),
        }
    }

    pub(crate) fn persist(&mut self, writes: Vec<Write>, notes: &[Note]) -> Result<(), Violation> {
        self.records.is_older = false;
        self.moved = true;
        for write in writes {
            if let Some(name) = write.key.strip_prefix("node/") {
                let name = NodeName(name.to_owned());
                if let Ok(state) = serde_json::from_value::<NodeState>(write.value.clone()) {
                    self.is_truly(&name, &state)?;
                    self.stored.insert(name.clone(), state);
                }
                self.records.nodes.insert(name, write.value);
            } else {
                let before = self.stored_cluster.take();
                self.stored_cluster = serde_json::from_value(write.value.clone()).ok();
                self.records.cluster = Some(write.value);
                if matches!(before, Some(Cluster::Joining(_)))
                    && matches!(self.stored_cluster, Some(Cluster::HandingOver { .. }))
                {
                    self.is_whole()?;
                }
            }
        }
        for note in notes {
            self.tell(|| format!("  {}: {} {:?}", note.subject, note.what, note.evidence));
            if let Some(arrow) = invariants::declared(&note.what)? {
                self.outcome.arrows.insert(arrow);
            }
            for (index, mishap) in self.scenario.mishaps.iter().enumerate() {
                if note.evidence.iter().any(|text| mishap.names().iter().any(|words| text.contains(words))) {
                    self.named.insert(index, self.now);
                }
            }
        }
        self.ledger.holders_stay(&self.stored)
    }

    /// A slot that counts as configured has a machine with a config.
    fn is_truly(&self, name: &NodeName, state: &NodeState) -> Result<(), Violation> {
        let Some(claim) = state.claim().filter(|_| state.is_configured()) else { return Ok(()) };
        let machine = self.world.claimed(claim);
        let has_config = machine.is_some_and(|machine| {
            let system = machine.storage().system.as_ref();
            machine.counters().configs_applied > 0 || system.is_some_and(|system| system.state.is_some())
        });
        if has_config { Ok(()) } else { Err(Violation::NotConfigured { node: name.clone() }) }
    }

    /// Before Kubernetes is furnished, etcd is what the site wants, as every control plane told when it was asked last.
    /// Who joins between that and the decision is nobody's fault.
    fn is_whole(&self) -> Result<(), Violation> {
        for name in self.plan.control_planes() {
            match self.ledger.told.get(name) {
                Some(Ok(())) => {}
                Some(Err(missing)) => return Err(Violation::NotWhole { missing: missing.clone() }),
                None => return Err(Violation::NotWhole { missing: format!("{name} has not told") }),
            }
        }
        Ok(())
    }

    /// What must hold at every moment.
    pub(crate) fn check(&mut self) -> Result<(), Violation> {
        for (label, node) in &self.world.cabling {
            // another machine may stand in the port of the one that arrived
            let Some(NodeState::Ready { claim, .. }) = self.core.node(node) else { continue };
            let Some(machine) = self.world.rack.machines.get(label) else { continue };
            // who is taken out is installed anew
            if is_claimed(claim, machine) && self.core.departure(node).is_none() {
                let installs = machine.counters().installs;
                self.arrived.entry(label.clone()).or_insert(installs);
            }
        }
        if self.ledger.lost_since.is_some_and(|since| self.now > since + REPEATED_WITHIN) {
            return match self.core.cluster() {
                // in doubt it waits for a person
                Cluster::Bootstrapping(intent)
                    if intent.doubt.is_none() && self.now >= self.full_until + REPEATED_WITHIN =>
                {
                    Err(Violation::BootstrapForgotten)
                }
                _ => {
                    self.ledger.lost_since = None;
                    Ok(())
                }
            };
        }
        let under_way = self.names.iter().filter_map(|name| self.core.departure(name));
        if under_way.filter(|departure| departure.step < lifecycle::Going::Clear).count() > 1 {
            return Err(Violation::TwoDepartures);
        }
        let moved = std::mem::take(&mut self.moved);
        let found = [
            moved.then(|| invariants::one_slot_each(&self.core, &self.names)).flatten(),
            invariants::one_cluster(&self.world.rack),
            invariants::installed_once(&self.world.rack, &self.arrived),
        ];
        found.into_iter().flatten().next().map_or(Ok(()), Err)
    }
}
