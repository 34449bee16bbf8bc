//! etcd from a snapshot, where its quorum is lost for ever: once, on the node that a person names (talos.md §9.2).
//!
//! Such a bootstrap makes a new cluster, so it is only begun where the old one cannot come back: where so many control
//! planes show that they hold no data of etcd that the others are no majority. It is stored before it is done, and only the
//! same node is ever asked again.
//!
//! Where the control planes are to be installed anew first, a person says that their disks are lost, which is stored, too, and
//! proves nothing: it lets them be installed. A disk that is there after all is left as it is, and shows what it holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use crate::{
    BootstrapOutcome, Cluster, Core, Effect, EtcdObservation, Guard, Guards, Intent, Machine, NodeName,
    NodeState, Ticket, Time, claims::Retired, slot::Look,
};

/// A recovery under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// the one node that is asked
    pub node: NodeName,
    /// the file, as the daemon finds it
    pub snapshot: String,
    /// where it is asked
    pub address: IpAddr,
    /// the boot that is asked
    pub boot_id: String,
    /// who had it done
    pub by: String,
    /// when the call was last allowed
    pub at: Time,
    /// how often it was; not once while the node is still to show that it is empty
    pub calls: u32,
    /// control planes that a person gave up, and the machines that held them
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<NodeName, Machine>,
}

/// What is only known now of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecoveryWork {
    in_flight: Option<Ticket>,
    waiting: Option<String>,
}

impl<G: Guards> Core<G> {
    /// What recovering etcd on this node would do, or why it is not done.
    pub(crate) fn may_recover(
        &self,
        node: &NodeName,
        snapshot: &str,
        disks_lost: bool,
    ) -> Result<String, String> {
        self.planned(node)?;
        match &self.ledger.recovery {
            Some(recovery) if recovery.node == *node && recovery.snapshot != snapshot => {
                return Ok(format!(
                    "where {node} has not begun, it does so from {snapshot} in its next boot"
                ));
            }
            Some(recovery) => {
                return Err(format!(
                    "etcd is being recovered on {} already, from {}: nobody else is asked before that has ended",
                    recovery.node, recovery.snapshot
                ));
            }
            None => {}
        }
        if let Cluster::Bootstrapping(Intent { doubt: None, node, .. }) = &self.cluster {
            return Err(format!("the cluster is being founded on {node}: there is nothing to recover yet"));
        }
        if !self.slots.control_planes().any(|name| name == node) {
            return Err(format!("{node} is a worker: etcd runs on control planes"));
        }
        if disks_lost {
            return self.may_give_up(node, snapshot);
        }
        self.quorum_is_lost(self.last)?;
        self.empty(node, self.last)?;
        let suspects = self.suspects();
        if !suspects.is_empty() {
            return Err(format!(
                "{} may have been asked to bootstrap by what this store knows nothing of, and may still do it; a boot ends \
                 that: switch it off and on",
                suspects.join(", ")
            ));
        }
        Ok(format!(
            "{node} begins etcd anew from {snapshot}; what was written after that snapshot is lost. The other control planes \
             join it by themselves"
        ))
    }

    /// What letting the control planes that do not answer be installed anew would do, or why they are not.
    fn may_give_up(&self, node: &NodeName, snapshot: &str) -> Result<String, String> {
        self.founded()?;
        if let Some((other, _)) = self.ledger.departures.iter().find(|(_, it)| it.is_under_way()) {
            return Err(format!("{other} is being taken out: one thing at a time"));
        }
        let (mut all, mut may_hold) = (0, Vec::new());
        for name in self.slots.control_planes() {
            all += 1;
            let look = self.fresh_look(name, self.last).map(|look| &look.etcd);
            match look {
                Some(EtcdObservation::Members { health, .. }) if health.leader.is_some() => {
                    return Err(format!(
                        "etcd on {name} follows a leader: it has its quorum, and nothing is recovered over it"
                    ));
                }
                Some(EtcdObservation::Waiting) => {}
                Some(_) => may_hold.push(name.0.as_str()),
                None if self.was_looked_for(name) => {}
                None => return Err(format!("whether {name} answers shows in a moment: say this again then")),
            }
        }
        if may_hold.len() > all / 2 {
            return Err(format!(
                "{} answer and may hold etcd's data, which is a majority: etcd is not lost. `ichord status` says what they wait \
                 for",
                may_hold.join(", ")
            ));
        }
        if may_hold.contains(&node.0.as_str()) {
            return Err(format!(
                "{node} may still hold etcd's data, and begins nothing anew over them: name another control plane"
            ));
        }
        let lost: Vec<String> = self.given_up(self.last).into_iter().map(|name| name.0).collect();
        if lost.is_empty() {
            return Err("every control plane answers: none is to be installed anew first".to_owned());
        }
        Ok(format!(
            "{} may be installed anew, as they boot from the network; when most control planes have shown that they are empty, \
             {node} begins etcd anew from {snapshot}, and what was written after that snapshot is lost. A disk that is there \
             after all is left as it is",
            lost.join(", ")
        ))
    }

    /// Control planes that show nothing now.
    fn given_up(&self, now: Time) -> Vec<NodeName> {
        let all = self.slots.control_planes().cloned();
        all.filter(|name| self.fresh_look(name, now).is_none()).collect()
    }

    /// It was asked, or asked itself, since the daemon began.
    fn was_looked_for(&self, name: &NodeName) -> bool {
        self.slots.get(name).is_some_and(|slot| {
            slot.silent.is_some() || slot.heard || matches!(slot.state, NodeState::Vacant { .. })
        })
    }

    /// What ends a recovery before anybody was told of it.
    pub(crate) fn may_keep_etcd(&self) -> Result<String, String> {
        match &self.ledger.recovery {
            None => Err("etcd is not being recovered".to_owned()),
            Some(recovery) if recovery.calls > 0 => Err(format!(
                "{} was told to begin etcd anew, and may do it: nobody else is asked. Another snapshot is \
                 `ichord recover {} --from FILE`",
                recovery.node, recovery.node
            )),
            Some(recovery) => Ok(format!(
                "etcd does not begin anew on {}; control planes that may be installed are installed all the same",
                recovery.node
            )),
        }
    }

    pub(crate) fn keep_etcd(&mut self, words: Vec<String>) {
        self.ledger.recovery = None;
        self.recovering = RecoveryWork::default();
        self.note("cluster", "etcd is not recovered after all", words);
        self.write_cluster();
    }

    /// Nobody has been told to begin: there is no etcd yet that a control plane could join.
    pub(crate) fn recovers_later(&self) -> bool {
        self.ledger.recovery.as_ref().is_some_and(|recovery| recovery.calls == 0)
    }

    /// Whether this machine held the node when it was given up: what is on its disk is no other one's.
    pub(crate) fn held_when_lost(&self, name: &NodeName, machine: &Machine) -> bool {
        let lost = self.ledger.recovery.as_ref().and_then(|recovery| recovery.lost.get(name));
        lost.is_some_and(|held| held.is_same_as(machine))
    }

    /// A machine gets a node that was given up. Another one than held it must not find that one back beside it.
    pub(crate) fn succeeds_lost(&mut self, name: &NodeName, machine: &Machine, now: Time) {
        let Some(recovery) = &self.ledger.recovery else { return };
        let Some(held) = recovery.lost.get(name).filter(|held| !held.is_same_as(machine)) else { return };
        let retired = Retired { machine: held.clone(), node: name.clone(), by: recovery.by.clone(), at: now };
        if !self.ledger.retired.iter().any(|known| known.machine.is_same_as(&retired.machine)) {
            self.ledger.retired.push(retired);
            self.write_cluster();
        }
    }

    /// A control plane that answers and holds no data of etcd.
    fn empty(&self, node: &NodeName, now: Time) -> Result<&Look, String> {
        let Some(look) = self.fresh_look(node, now) else {
            return Err(format!("{node} does not answer with our CA now: etcd cannot begin there"));
        };
        match &look.etcd {
            EtcdObservation::Waiting => Ok(look),
            EtcdObservation::Members { .. } => Err(format!(
                "{node} still has etcd's data, and begins nothing anew over them: `talosctl reset --graceful=false --reboot \
                 --system-labels-to-wipe EPHEMERAL` with its address makes it forget them"
            )),
            EtcdObservation::None => Err(format!("{node} has no etcd")),
            EtcdObservation::Unknown { reason } => {
                Err(format!("{node} does not show that it holds no data: {reason}"))
            }
        }
    }

    /// Whether those that may hold etcd's data are too few to have a quorum, now or ever.
    fn quorum_is_lost(&self, now: Time) -> Result<(), String> {
        let mut voters = self.slots.control_planes().count();
        let mut may_hold = Vec::new();
        for name in self.slots.control_planes() {
            let look = self.fresh_look(name, now).map(|look| &look.etcd);
            match look {
                Some(EtcdObservation::Waiting) => continue,
                Some(EtcdObservation::Members { members, health }) => {
                    if let Some(leader) = &health.leader {
                        return Err(format!(
                            "etcd on {name} follows a leader ({leader}): it has its quorum, and nothing is recovered over it"
                        ));
                    }
                    voters = voters.max(members.iter().filter(|member| !member.learner).count());
                    may_hold.push(format!("{name} has data of it"));
                }
                Some(EtcdObservation::Unknown { reason }) => may_hold.push(format!("{name}: {reason}")),
                Some(EtcdObservation::None) | None => may_hold.push(format!("{name} does not answer")),
            }
        }
        if may_hold.len() > voters / 2 && self.guards.on(Guard::KeepsQuorum) {
            return Err(format!(
                "it is not proven that etcd has lost its quorum: of {voters} control planes {} may still hold it ({}). Bring \
                 them back first; where their disks are lost, install them anew, so that they show that they are empty",
                may_hold.len(),
                may_hold.join("; ")
            ));
        }
        Ok(())
    }

    /// A person's order, after it was weighed.
    pub(crate) fn recover(
        &mut self,
        node: NodeName,
        snapshot: String,
        disks_lost: bool,
        by: &str,
        words: Vec<String>,
        now: Time,
    ) {
        self.note("cluster", "etcd is recovered from a snapshot", words);
        if let Some(recovery) = &mut self.ledger.recovery {
            recovery.snapshot = snapshot;
            self.write_cluster();
            return;
        }
        let by = by.to_owned();
        if disks_lost {
            let Some(address) = self.plan.nodes.get(&node).map(|plan| plan.address) else { return };
            let lost = self.give_up(&by, now);
            self.ledger.recovery = Some(Recovery {
                node,
                snapshot,
                address,
                boot_id: String::new(),
                by,
                at: now,
                calls: 0,
                lost,
            });
            self.recovering = RecoveryWork::default();
            self.write_cluster();
            return;
        }
        let Ok(look) = self.empty(&node, now) else { return };
        let (address, boot_id) = (look.address, look.boot_id.clone());
        let lost = BTreeMap::new();
        self.call_recovery(Recovery { node, snapshot, address, boot_id, by, at: now, calls: 0, lost }, now);
    }

    /// Their slots are free for the machine that proves to be in them, which may be the one that was there.
    fn give_up(&mut self, by: &str, now: Time) -> BTreeMap<NodeName, Machine> {
        let mut lost = BTreeMap::new();
        for name in self.given_up(now) {
            let held = self.node(&name).and_then(NodeState::claim).map(|claim| claim.machine.clone());
            self.end_departure(&name);
            let permit = Some(self.new_permit(by, now));
            self.move_node(&name, NodeState::Vacant { permit }, vec![format!("{by} gave it up")]);
            self.forget(&name);
            lost.extend(held.map(|machine| (name, machine)));
        }
        lost
    }

    fn call_recovery(&mut self, recovery: Recovery, now: Time) {
        let recovery = Recovery { at: now, calls: recovery.calls + 1, ..recovery };
        let ticket = self.ticket();
        self.recovering = RecoveryWork { in_flight: Some(ticket), waiting: None };
        self.start(Effect::Recover {
            ticket,
            node: recovery.node.clone(),
            address: recovery.address,
            boot_id: recovery.boot_id.clone(),
            snapshot: recovery.snapshot.clone(),
        });
        self.ledger.recovery = Some(recovery);
        self.write_cluster();
    }

    /// Until etcd's members show that it began.
    pub(crate) fn advance_recovery(&mut self, now: Time) {
        let Some(recovery) = self.ledger.recovery.clone() else { return };
        self.look_soon_at(&recovery.node, now);
        if recovery.calls == 0 {
            self.begin_when_empty(recovery, now);
            return;
        }
        let Some(look) = self.fresh_look(&recovery.node, now).cloned() else {
            self.recovery_waits(format!("{} was told to recover etcd and does not answer", recovery.node));
            return;
        };
        match &look.etcd {
            EtcdObservation::Members { members, health } if health.leader.is_some() => {
                let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
                let told = names.into_iter().collect::<Vec<_>>().join(", ");
                self.ledger.recovery = None;
                self.recovering = RecoveryWork::default();
                self.note(
                    "cluster",
                    format!("etcd runs again on {}", recovery.node),
                    vec![format!("its members are {told}"), format!("from {}", recovery.snapshot)],
                );
                self.write_cluster();
            }
            EtcdObservation::Waiting
                if self.recovering.in_flight.is_none()
                    && look.at > recovery.at.min(now)
                    && (look.boot_id != recovery.boot_id
                        || now.since(recovery.at.min(now)) >= self.plan.timing.bootstrap_grace) =>
            {
                if let Err(reason) = self.quorum_is_lost(now) {
                    self.recovery_waits(reason);
                    return;
                }
                let evidence = vec!["etcd has not begun there: the same node is told again".to_owned()];
                self.note("cluster", format!("etcd is recovered on {}", recovery.node), evidence);
                let (address, boot_id) = (look.address, look.boot_id);
                self.call_recovery(Recovery { address, boot_id, ..recovery }, now);
            }
            EtcdObservation::Unknown { reason } => self.recovery_waits(format!(
                "etcd begins on {} from {} ({reason})",
                recovery.node, recovery.snapshot
            )),
            _ => self.recovery_waits(format!("etcd begins on {} from {}", recovery.node, recovery.snapshot)),
        }
    }

    /// Nobody is told before the node and most of the others have shown that they hold no data.
    fn begin_when_empty(&mut self, recovery: Recovery, now: Time) {
        let empty = match self.empty(&recovery.node, now) {
            Ok(look) => (look.address, look.boot_id.clone()),
            Err(reason) => {
                self.recovery_waits(format!("{} is installed anew first: {reason}", recovery.node));
                return;
            }
        };
        if let Err(reason) = self.quorum_is_lost(now) {
            self.recovery_waits(reason);
            return;
        }
        let suspects = self.suspects().join(", ");
        if !suspects.is_empty() {
            self.recovery_waits(format!(
                "{suspects} may have been asked to bootstrap by what this store knows nothing of: switch off and on"
            ));
            return;
        }
        let evidence = vec![format!("{} and most control planes hold no data", recovery.node)];
        self.note("cluster", format!("etcd begins anew on {}", recovery.node), evidence);
        let (address, boot_id) = empty;
        self.call_recovery(Recovery { address, boot_id, ..recovery }, now);
    }

    fn recovery_waits(&mut self, reason: String) {
        if self.recovering.waiting.as_ref() != Some(&reason) {
            self.note("cluster", "waiting", vec![reason.clone()]);
            self.recovering.waiting = Some(reason);
        }
    }

    /// What the recovery waits for, for people.
    pub(crate) fn recovery_in_words(&self) -> Option<String> {
        let recovery = self.ledger.recovery.as_ref()?;
        let waiting = self.recovering.waiting.as_deref().unwrap_or("it was told so");
        let way = match recovery.calls {
            0 => ". `ichord recover --cancel` ends it",
            _ => "",
        };
        Some(format!("etcd is recovered on {} (by {}): {waiting}{way}", recovery.node, recovery.by))
    }

    pub(crate) fn recovered(&mut self, ticket: Ticket, outcome: BootstrapOutcome) {
        if self.recovering.in_flight != Some(ticket) {
            return;
        }
        self.recovering.in_flight = None;
        let Some(recovery) = self.ledger.recovery.clone() else { return };
        match outcome {
            BootstrapOutcome::Accepted => {
                self.note("cluster", format!("{} took the snapshot", recovery.node), Vec::new());
            }
            // of one call that certainly did nothing there is nothing to wait for
            BootstrapOutcome::NotYet { reason } if recovery.calls == 1 && recovery.lost.is_empty() => {
                self.ledger.recovery = None;
                self.recovering = RecoveryWork::default();
                self.note("cluster", format!("etcd was not recovered on {}", recovery.node), vec![reason]);
                self.write_cluster();
            }
            BootstrapOutcome::NotYet { reason } | BootstrapOutcome::Unknown { reason } => {
                self.recovery_waits(format!(
                    "whether {} took the snapshot shows in etcd's members ({reason})",
                    recovery.node
                ));
            }
        }
    }
}
