//! The person who looks at the status now and then, permits, and mends what the status names.

use lifecycle::{Event, Guards, NodeName, NodeState, NodeView, Order, Sighted, Time};
use machine::model::{Caller, Request, Response, Stage, fingerprint};

use crate::{
    config::OUR_CA,
    invariants::Violation,
    run::{Due, Simulation},
    scenario::Mishap,
};

/// Between two looks at the status, in milliseconds.
const ROUND: u64 = 15_000;

/// The status says that this learner is never given its vote.
pub(crate) fn never_votes(node: &NodeView) -> bool {
    node.waiting.as_ref().is_some_and(|reason| reason.contains("does not vote yet"))
        && node.hint.as_ref().is_some_and(|hint| hint.contains("never given its vote"))
}

impl<G: Guards> Simulation<G> {
    pub(crate) fn operate(&mut self) -> Result<(), Violation> {
        if self.now < self.next_round {
            return Ok(());
        }
        self.next_round = self.now + ROUND;
        let view = self.core.view(Time(self.clock()));
        for (name, node) in &view.nodes {
            let asks = node.waiting.as_ref().is_some_and(|reason| reason.contains("`ichord deploy"));
            let spent = self.core.node(name).and_then(NodeState::permit).is_some() && !node.netboot;
            if asks || spent {
                self.permit(name.clone())?;
            }
        }
        if self.scenario.mended {
            // who runs already is let in before anything is taken for strange
            self.take_over()?;
            for mishap in self.scenario.mishaps.clone() {
                if self.is_named(mishap) {
                    self.mend(mishap)?;
                }
            }
            self.say_new()?;
            self.take_out_again()?;
            self.admit_rivals()?;
            self.switch_who_stands_still()?;
            self.boot_suspects();
            self.let_learners_join_anew();
            // whose machine has not been seen is switched off and on
            for (name, node) in &view.nodes {
                let words = ["no machine has been seen", "switch it off and on"];
                let unseen = node
                    .waiting
                    .as_ref()
                    .is_some_and(|reason| words.iter().any(|words| reason.contains(words)));
                if let Some(label) = self.world.boxed(name).filter(|_| unseen) {
                    // one that waits for a config that a forgotten life was to give it
                    let forgot = self.scenario.has(|mishap| matches!(mishap, Mishap::Forgets { .. }));
                    let runs =
                        self.world.rack.machines.get(&label).is_some_and(|machine| match machine.stage() {
                            Stage::Configured => true,
                            Stage::Maintenance => forgot,
                            _ => false,
                        });
                    if runs {
                        self.world.power_off(&label, self.now);
                        self.later(1_000, Due::PowerOn { label });
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn permit(&mut self, node: NodeName) -> Result<(), Violation> {
        self.ledger.granted.insert(node.clone());
        self.hear(Event::PermitGranted { node: Some(node), by: "a person".into() })
    }

    /// The status speaks of it.
    pub(crate) fn is_named(&self, mishap: Mishap) -> bool {
        let rival = || self.core.view(Time(self.clock())).nodes.values().any(|node| node.rival.is_some());
        self.says(mishap.names()) || matches!(mishap, Mishap::Intruder { .. }) && rival()
    }

    /// Some of these words stand in the status.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        let view = self.core.view(Time(self.clock()));
        let nodes =
            view.nodes.values().flat_map(|node| [&node.waiting, &node.hint, &node.warning, &node.leaving]);
        let said: Vec<&String> = nodes.chain([&view.cluster.waiting]).flatten().collect();
        words.iter().any(|words| said.iter().any(|text| text.contains(words)))
    }

    /// Nodes run that the daemon knows nothing of, or another machine than it thinks: it is told to take them over.
    fn take_over(&mut self) -> Result<(), Violation> {
        let forgot = |mishap: &Mishap| {
            matches!(mishap, Mishap::Forgets { .. } | Mishap::EmptyStore | Mishap::OldStore)
        };
        if !self.scenario.has(forgot) {
            return Ok(());
        }
        let view = self.core.view(Time(self.clock()));
        let asked = view.cluster.waiting.is_some_and(|reason| reason.contains("`ichord takeover`"));
        let found = self.world.survey(self.now);
        let strange = |(name, sighted): (&NodeName, &Sighted)| match sighted {
            Sighted::Ours(runner) => match self.core.node(name).and_then(NodeState::claim) {
                None => true,
                Some(claim) => !claim.machine.is_same_as(&runner.machine),
            },
            _ => false,
        };
        if !asked && !found.iter().any(strange) {
            return Ok(());
        }
        let order = Order::TakeOver { found: found.clone() };
        let taken = self.core.weigh(&order).is_ok();
        if !taken && !asked {
            return Ok(());
        }
        let strange: Vec<NodeName> =
            found.keys().filter(|name| strange((name, &found[*name]))).cloned().collect();
        for name in strange.into_iter().filter(|_| taken) {
            self.ledger.emptied(&name);
            // from now on it has arrived: it is not installed but by a permit
            let address = self.plan.nodes.get(&name).map(|plan| plan.address);
            let label = address.and_then(|address| self.world.rack.name_at(address));
            if let Some(machine) = label.as_ref().and_then(|label| self.world.rack.machines.get(label)) {
                self.arrived.insert(label.unwrap_or_default(), machine.counters().installs);
            }
        }
        self.hear(Event::Ordered { order, by: "a person".into() })
    }

    fn say_new(&mut self) -> Result<(), Violation> {
        let asked = self.core.view(Time(self.clock())).cluster.waiting;
        let asked = asked.is_some_and(|reason| reason.contains("`ichord bootstrap --new`"));
        // a person who says so has looked, and sees what is on disks, not what a machine was asked
        let exists = self.world.rack.machines.iter().any(|(label, machine)| {
            let data = machine.storage().system.as_ref().is_some_and(|system| system.etcd.is_some());
            label != "a-foreigner" && data
        });
        if asked && !exists {
            self.ledger.said_new = true;
            self.hear(Event::Ordered { order: Order::New {}, by: "a person".into() })?;
        }
        Ok(())
    }

    /// A store that was brought back holds a slot for a machine that was taken out since.
    fn take_out_again(&mut self) -> Result<(), Violation> {
        let nodes: Vec<NodeName> = self.broken.iter().map(|slot| self.name(*slot)).collect();
        for node in nodes {
            let holder =
                self.core.node(&node).and_then(NodeState::claim).and_then(|it| self.world.claimed(it));
            let holder = holder.map(|machine| machine.hardware().serial.clone());
            let there = self.world.boxed(&node).and_then(|label| self.world.rack.machines.get(&label));
            let there = there.map(|machine| machine.hardware().serial.clone());
            if holder.is_none() || there.is_none() || holder == there {
                continue;
            }
            let orders = [Order::Admit { node: node.clone() }, Order::Release { node: node.clone() }];
            if let Some(order) = orders.into_iter().find(|order| self.core.weigh(order).is_ok()) {
                if matches!(order, Order::Admit { .. }) {
                    self.ledger.admitted.insert(node.clone());
                    self.ledger.granted.insert(node);
                } else {
                    self.ledger.emptied(&node);
                }
                self.hear(Event::Ordered { order, by: "a person".into() })?;
            }
        }
        Ok(())
    }

    /// Control planes that may still do what a life that is forgotten asked of them are switched off and on.
    fn boot_suspects(&mut self) {
        let asked = self.core.view(Time(self.clock())).cluster.waiting;
        let Some(asked) = asked.filter(|reason| reason.contains("a boot ends that")) else { return };
        for name in self.names.clone().into_iter().filter(|name| asked.contains(&name.0)) {
            // wherever it is plugged in
            let claim = self.core.node(&name).and_then(NodeState::claim);
            let Some(label) = claim.and_then(|claim| self.world.label(claim)) else { continue };
            self.world.power_off(&label, self.now);
            self.later(1_000, Due::PowerOn { label });
        }
    }

    /// A learner whose machine lost the run that added it is taken out of etcd and its data wiped, as the hint says.
    fn let_learners_join_anew(&mut self) {
        let view = self.core.view(Time(self.clock()));
        for (name, _) in view.nodes.iter().filter(|(_, node)| never_votes(node)) {
            self.remove_member(&name.0);
            let Some(address) = self.plan.nodes.get(name).map(|plan| plan.address) else { continue };
            let partitions = ["EPHEMERAL".to_owned()].into();
            let reset = Request::Reset { graceful: false, reboot: true, partitions };
            if let Some(machine) = self.world.rack.at(address) {
                // who does not answer now is asked again at the next look
                machine.call(&Caller::admin(&fingerprint(OUR_CA)), reset, self.now).ok();
            }
        }
    }

    fn mend(&mut self, mishap: Mishap) -> Result<(), Violation> {
        let now = self.now;
        self.tell(|| format!("a person mends {mishap:?}"));
        match mishap {
            Mishap::StrangerInPlace { .. } => self.world.power_off("a-stranger", now),
            Mishap::TakenVirtualAddress => self.world.power_off("a-foreigner", now),
            Mishap::TwoDisks { slot } => {
                let label = self.label(slot);
                self.world.two_disks.remove(&label);
            }
            Mishap::MissingLink { slot } => {
                let label = self.label(slot);
                self.world.one_link.remove(&label);
            }
            Mishap::NoWitness { slot } => {
                let label = self.label(slot);
                self.world.unwitnessed.remove(&label);
                self.proves(&label);
                if let Some(event) = self.world.sighted(&label) {
                    return self.hear(event);
                }
            }
            Mishap::ForeignState { slot } | Mishap::UsedDisk { slot } => {
                let node = self.name(slot);
                // it may have been replaced meanwhile
                let Some(label) = self.world.boxed(&node) else { return Ok(()) };
                // a wipe that was handed out and did not arrive needs another word
                let may_say = |claim: &lifecycle::Claim| {
                    claim.erase.as_ref().is_none_or(|erase| erase.wiped && claim.told.is_none())
                };
                if self.core.node(&node).and_then(NodeState::claim).is_some_and(may_say) {
                    *self.ledger.approved.entry(node.clone()).or_default() += 1;
                    let order = Order::Erase { node, disk: "/dev/nvme0n1".to_owned() };
                    self.hear(Event::Ordered { order, by: "a person".into() })?;
                }
                if matches!(mishap, Mishap::ForeignState { .. }) {
                    self.world.power_off(&label, now);
                    self.later(1_000, Due::PowerOn { label });
                }
            }
            Mishap::MovedCable { slot, .. } => {
                let (label, node) = (self.label(slot), self.name(slot));
                self.recable(&label, node);
            }
            Mishap::Intruder { slot } => {
                self.world.power_off("z-intruder", now);
                self.world.cabling.remove("z-intruder");
                let (label, node) = (self.label(slot), self.name(slot));
                self.recable(&label, node);
            }
            Mishap::OldDisk { slot } => return self.wipe_old_disk(slot),
            Mishap::Forgets { .. } => return self.wipe_forgotten_disks(),
            Mishap::EndlessDrain => return self.without_drain(),
            Mishap::NeverComes { slot } => {
                let label = self.label(slot);
                self.later(1_000, Due::PowerOn { label });
            }
            // while it still votes: with it off, what is left may be no quorum
            Mishap::RogueMember => {
                let is_gone = !self.remove_member("old-9");
                if is_gone {
                    self.world.power_off("z-rogue", now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `talosctl etcd remove-member`, on whoever can. Whether there was such a member.
    fn remove_member(&mut self, name: &str) -> bool {
        let admin = Caller::admin(&fingerprint(OUR_CA));
        let mut was_there = false;
        for machine in self.world.rack.machines.values_mut() {
            let Ok(Response::Members(members)) =
                machine.call(&admin, Request::EtcdMemberList { local: true }, self.now)
            else {
                continue;
            };
            if let Some((id, _)) = members.into_iter().find(|(_, member)| member.name == name) {
                was_there = true;
                if machine.call(&admin, Request::EtcdRemoveMember { id }, self.now).is_ok() {
                    break;
                }
            }
        }
        was_there
    }
}
