//! What befalls a cluster that was handed over: machines die and are exchanged, and people have nodes taken out.

use lifecycle::{Cluster, ClusterPlan, Event, Guards, NodeName, NodeState, NodeView, Order, Time};
use machine::model::{BootOrder, Storage};

use crate::{
    invariants::Violation,
    run::{Due, Simulation},
    scenario::Mishap,
    site::plan,
    world::is_claimed,
};

/// So long a mishap waits for its cluster, and a person for an order to be possible.
const PATIENCE: u64 = 9 * 60_000;

impl<G: Guards> Simulation<G> {
    pub(crate) fn second_day(&mut self, mishap: Mishap) -> Result<(), Violation> {
        if let Mishap::Grows { slot } = mishap {
            return self.grow(mishap, slot);
        }
        if let Mishap::Shrinks { slot } = mishap {
            return self.shrink(mishap, slot);
        }
        let (Mishap::Dies { slot }
        | Mishap::OldDisk { slot }
        | Mishap::Reprovision { slot }
        | Mishap::Reset { slot }) = mishap
        else {
            return Ok(());
        };
        let node = self.name(slot);
        let arrived = matches!(self.core.node(&node), Some(NodeState::Ready { .. }))
            && matches!(self.core.cluster(), Cluster::HandedOver { .. });
        let old = self.world.boxed(&node).filter(|_| arrived);
        match (old, mishap) {
            (None, _) => self.not_now(mishap),
            (Some(old), Mishap::Dies { .. }) => self.exchange(slot, &node, &old, Storage::default()),
            (Some(old), Mishap::OldDisk { .. }) => {
                let storage = self.world.rack.machines.get(&old).map(|machine| machine.storage().clone());
                self.exchange(slot, &node, &old, storage.unwrap_or_default());
            }
            (Some(label), _) => return self.take_out(mishap, node, &label),
        }
        Ok(())
    }

    /// The site names one node more, and its machine is switched on.
    fn grow(&mut self, mishap: Mishap, slot: usize) -> Result<(), Violation> {
        let node = self.name(slot);
        if !matches!(self.core.cluster(), Cluster::HandedOver { .. }) {
            self.later(1_000, Due::Befall(mishap));
            return Ok(());
        }
        let mut wanted = self.plan.clone();
        if let Some(plan) = plan(&self.scenario).nodes.remove(&node) {
            wanted.nodes.insert(node, plan);
        }
        self.outstanding -= 1;
        let label = self.label(slot);
        self.later(1_000, Due::PowerOn { label });
        self.changes(wanted)
    }

    /// The site names one node less, if the daemon takes that; then a person has it taken out, as soon as that is possible.
    fn shrink(&mut self, mishap: Mishap, slot: usize) -> Result<(), Violation> {
        let node = self.name(slot);
        let order = Order::Remove { node: node.clone(), wipe: false, undrained: true };
        if self.plan.nodes.contains_key(&node) {
            let arrived = matches!(self.core.node(&node), Some(NodeState::Ready { .. }))
                && matches!(self.core.cluster(), Cluster::HandedOver { .. });
            if !arrived {
                self.not_now(mishap);
                return Ok(());
            }
            let mut wanted = self.plan.clone();
            wanted.nodes.remove(&node);
            if let Err(reason) = self.core.may_accept(&wanted) {
                self.tell(|| format!("refused: {reason}"));
                self.outstanding -= 1;
                return Ok(());
            }
            self.gone.insert(node);
            self.later(1_000, Due::Befall(mishap));
            return self.changes(wanted);
        }
        let Some(label) = self.world.boxed(&node) else { return Ok(()) };
        let is_gone = self.core.node(&node).is_none_or(|state| state.claim().is_none());
        if is_gone && self.core.departure(&node).is_none() {
            self.outstanding -= 1;
            return Ok(());
        }
        let refused = self.core.weigh(&order).is_err() && self.core.departure(&node).is_none();
        if refused && self.now >= PATIENCE {
            // the way out that the refusal names
            self.outstanding -= 1;
            self.gone.remove(&node);
            let mut wanted = self.plan.clone();
            wanted.nodes.extend(plan(&self.scenario).nodes.remove(&node).map(|plan| (node, plan)));
            return self.changes(wanted);
        }
        if self.core.departure(&node).is_none() {
            self.arrived.remove(&label);
            self.hear(Event::Ordered { order, by: "a person".into() })?;
        }
        self.later(1_000, Due::Befall(mishap));
        Ok(())
    }

    /// The files are other ones: also the next daemon reads them.
    fn changes(&mut self, wanted: ClusterPlan) -> Result<(), Violation> {
        self.tell(|| format!("the site names {:?}", wanted.nodes.keys().collect::<Vec<_>>()));
        self.plan = wanted.clone();
        self.hear(Event::PlanChanged(Box::new(wanted)))
    }

    fn not_now(&mut self, mishap: Mishap) {
        if self.now < PATIENCE {
            self.later(1_000, Due::Befall(mishap));
        } else {
            self.outstanding -= 1;
        }
    }

    /// The machine dies, and another one is plugged into its port.
    fn exchange(&mut self, slot: usize, node: &NodeName, old: &str, storage: Storage) {
        self.outstanding -= 1;
        self.world.power_off(old, self.now);
        self.world.cabling.remove(old);
        self.arrived.remove(old);
        let label = format!("box-new-{slot}");
        let number = u8::try_from(slot).unwrap_or(u8::MAX).saturating_add(100);
        self.world.rack_up(&label, number, storage, BootOrder::NetworkFirst);
        self.world.cabling.insert(label.clone(), node.clone());
        self.ledger.admitted.insert(node.clone());
        self.ledger.granted.insert(node.clone());
        self.later(1_000, Due::PowerOn { label });
    }

    /// A person has a node taken out, as soon as that is possible.
    fn take_out(&mut self, mishap: Mishap, node: NodeName, label: &str) -> Result<(), Violation> {
        let order = match mishap {
            Mishap::Reset { .. } => Order::Reset { node: node.clone(), undrained: false },
            _ => Order::Reprovision { node: node.clone(), undrained: false },
        };
        if self.core.departure(&node).is_some() {
            // it is under way, or the daemon died before it was stored
            self.outstanding -= 1;
            return Ok(());
        }
        if let Err(reason) = self.core.weigh(&order) {
            self.tell(|| format!("refused: {reason}"));
            // given all the same: nothing may come of it
            self.hear(Event::Ordered { order, by: "a person".into() })?;
            self.not_now(mishap);
            return Ok(());
        }
        self.ledger.granted.insert(node.clone());
        if matches!(mishap, Mishap::Reprovision { .. }) {
            *self.ledger.approved.entry(node.clone()).or_default() += 1;
        }
        self.arrived.remove(label);
        self.hear(Event::Ordered { order, by: "a person".into() })?;
        if self.core.departure(&node).is_some() {
            self.outstanding -= 1;
        } else {
            self.later(1_000, Due::Befall(mishap));
        }
        Ok(())
    }

    /// Where the site leaves it to people, or the status does, a person lets the machine in a dead one's port have its place.
    pub(crate) fn admit_rivals(&mut self) -> Result<(), Violation> {
        if !self.scenario.has(|mishap| mishap.is_of_day_two()) {
            return Ok(());
        }
        let view = self.core.view(Time(self.clock()));
        for node in self.names.clone() {
            let waiting = view.nodes.get(&node).and_then(|node| node.waiting.as_ref());
            let asked = waiting.is_some_and(|reason| reason.contains("`ichord slot approve"));
            if asked && self.is_exchanged(&node) {
                self.ledger.admitted.insert(node.clone());
                self.ledger.granted.insert(node.clone());
            } else if self.scenario.same_port {
                continue;
            }
            let order = Order::Admit { node: node.clone() };
            let may = self.core.departure(&node).is_none() && self.core.weigh(&order).is_ok();
            if may && self.ledger.admitted.contains(&node) {
                self.hear(Event::Ordered { order, by: "a person".into() })?;
            }
        }
        Ok(())
    }

    /// Another machine stands in the slot's port than the one that holds the slot: who looks at the rack sees it.
    fn is_exchanged(&self, node: &NodeName) -> bool {
        let holder = self.core.node(node).and_then(NodeState::claim);
        let there = self.world.boxed(node).and_then(|label| self.world.rack.machines.get(&label));
        holder.zip(there).is_some_and(|(claim, there)| !is_claimed(claim, there))
    }

    /// A drain that never ends: a person says that it is not waited for.
    pub(crate) fn without_drain(&mut self) -> Result<(), Violation> {
        for node in self.names.clone() {
            let orders = [
                Order::Reprovision { node: node.clone(), undrained: true },
                Order::Reset { node: node.clone(), undrained: true },
            ];
            let drains = self.core.departure(&node).is_some_and(|it| it.step == lifecycle::Going::Drain);
            let order = orders.into_iter().find(|order| drains && self.core.weigh(order).is_ok());
            if let Some(order) = order {
                self.hear(Event::Ordered { order, by: "a person".into() })?;
            }
        }
        Ok(())
    }

    /// The new machine has the dead one's disk in it: a person lets it be wiped, and boots it again.
    pub(crate) fn wipe_old_disk(&mut self, slot: usize) -> Result<(), Violation> {
        // that etcd cannot spare the dead one is no reason to wipe anything
        if !self.says(&["the disk of a node that was taken out", "answers with our CA at"]) {
            return Ok(());
        }
        let node = self.name(slot);
        let Some(label) = self.world.boxed(&node) else { return Ok(()) };
        let may_say = |claim: &lifecycle::Claim| {
            claim.told.is_none() && claim.erase.as_ref().is_none_or(|erase| erase.wiped)
        };
        let order = Order::Erase { node: node.clone(), disk: "/dev/nvme0n1".to_owned() };
        let fenced = matches!(self.core.node(&node), Some(NodeState::Fenced { .. }));
        if fenced
            && self.core.node(&node).and_then(NodeState::claim).is_some_and(may_say)
            && self.core.weigh(&order).is_ok()
        {
            *self.ledger.approved.entry(node).or_default() += 1;
            self.hear(Event::Ordered { order, by: "a person".into() })?;
        }
        self.world.power_off(&label, self.now);
        self.later(1_000, Due::PowerOn { label });
        Ok(())
    }

    /// Machines that were to come back from their own disks, as a life wanted that is forgotten: a person knows that what
    /// is on them is the site's own, lets it be wiped, and boots them again.
    pub(crate) fn wipe_forgotten_disks(&mut self) -> Result<(), Violation> {
        let view = self.core.view(Time(self.clock()));
        let asks = |node: &NodeView| {
            node.waiting.as_ref().is_some_and(|reason| reason.contains("is not empty (another Talos"))
        };
        let asked: Vec<NodeName> =
            view.nodes.iter().filter(|(_, node)| asks(node)).map(|(name, _)| name.clone()).collect();
        for node in asked {
            let label = self.world.boxed(&node);
            let machine = label.as_ref().and_then(|label| self.world.rack.machines.get(label));
            let Some(label) = label.filter(|_| machine.is_some_and(|it| it.counters().installs > 0)) else {
                continue;
            };
            let order = Order::Erase { node: node.clone(), disk: "/dev/nvme0n1".to_owned() };
            if self.core.weigh(&order).is_ok() {
                *self.ledger.approved.entry(node).or_default() += 1;
                self.hear(Event::Ordered { order, by: "a person".into() })?;
                self.world.power_off(&label, self.now);
                self.later(1_000, Due::PowerOn { label });
            }
        }
        Ok(())
    }
}
