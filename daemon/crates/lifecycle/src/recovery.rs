//! etcd from a snapshot, where its quorum is lost for ever: once, on the node that a person names (talos.md §9.2).
//!
//! Such a bootstrap makes a new cluster, so it is only begun where the old one cannot come back: where so many control
//! planes show that they hold no data of etcd that the others are no majority. It is stored before it is done, and only the
//! same node is ever asked again.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    BootstrapOutcome, Cluster, Core, Effect, EtcdObservation, Guard, Guards, Intent, NodeName, Ticket, Time,
    slot::Look,
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
    /// how often it was
    pub calls: u32,
}

/// What is only known now of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecoveryWork {
    in_flight: Option<Ticket>,
    waiting: Option<String>,
}

impl<G: Guards> Core<G> {
    /// What recovering etcd on this node would do, or why it is not done.
    pub(crate) fn may_recover(&self, node: &NodeName, snapshot: &str) -> Result<String, String> {
        self.planned(node)?;
        if let Some(recovery) = &self.ledger.recovery {
            return Err(format!(
                "etcd is being recovered on {} already, from {}: nobody else is asked before that has ended",
                recovery.node, recovery.snapshot
            ));
        }
        if let Cluster::Bootstrapping(Intent { doubt: None, node, .. }) = &self.cluster {
            return Err(format!("the cluster is being founded on {node}: there is nothing to recover yet"));
        }
        if !self.slots.control_planes().any(|name| name == node) {
            return Err(format!("{node} is a worker: etcd runs on control planes"));
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
        by: &str,
        words: Vec<String>,
        now: Time,
    ) {
        let Ok(look) = self.empty(&node, now) else { return };
        let (address, boot_id) = (look.address, look.boot_id.clone());
        self.note("cluster", "etcd is recovered from a snapshot", words);
        let recovery = Recovery { node, snapshot, address, boot_id, by: by.to_owned(), at: now, calls: 0 };
        self.call_recovery(recovery, now);
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
            _ => self.recovery_waits(format!("etcd begins on {} from {}", recovery.node, recovery.snapshot)),
        }
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
        Some(format!("etcd is recovered on {} (by {}): {waiting}", recovery.node, recovery.by))
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
            BootstrapOutcome::NotYet { reason } if recovery.calls == 1 => {
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
