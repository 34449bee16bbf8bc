//! What befalls a cluster that was handed over: machines die and are exchanged, and people have nodes taken out.

use lifecycle::{Cluster, Event, Guards, NodeName, NodeState, Order};
use machine::model::{BootOrder, Storage};

use crate::{
    invariants::Violation,
    run::{Due, Simulation},
    scenario::Mishap,
};

/// So long a mishap waits for its cluster, and a person for an order to be possible.
const PATIENCE: u64 = 9 * 60_000;

impl<G: Guards> Simulation<G> {
    pub(crate) fn second_day(&mut self, mishap: Mishap) -> Result<(), Violation> {
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

    /// Where the site leaves it to people, a person lets the machine in a dead one's port have its place.
    pub(crate) fn admit_rivals(&mut self) -> Result<(), Violation> {
        let asks =
            self.scenario.mishaps.iter().any(|mishap| mishap.is_of_day_two()) && !self.scenario.same_port;
        for node in self.names.clone().into_iter().filter(|_| asks) {
            let order = Order::Admit { node: node.clone() };
            let may = self.core.departure(&node).is_none() && self.core.weigh(&order).is_ok();
            if may && self.ledger.admitted.contains(&node) {
                self.hear(Event::Ordered { order, by: "a person".into() })?;
            }
        }
        Ok(())
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
}
