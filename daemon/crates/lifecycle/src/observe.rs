//! Looks at machines: when one is due, where it looks, and which state hears what it shows.

use std::net::IpAddr;

use hardware::Inventory;

use crate::{
    Cluster, Core, Effect, Guard, Guards, Machine, NodeName, NodeState, Observation, State, Ticket, Time,
    Watch, slot::Look, slots::Key, states::maintenance::Waiting,
};

/// A machine that tells by itself what changes is looked at so many times more rarely: to see that it still answers.
/// Looks must not get too old to prove anything in between.
const WATCHED_INTERVALS: u32 = 5;

impl<G: Guards> Core<G> {
    /// Starts a look at every machine that is due and not busy.
    pub(crate) fn look_where_due(&mut self, now: Time) {
        self.look_sooner_at_etcd(now);
        for node in self.slots.due(Key::Look, now) {
            let ticket = self.ticket();
            let candidates = self.candidates(&node);
            if let Some(slot) = self.slots.get_mut(&node) {
                slot.in_flight = Some(ticket);
            }
            self.start(Effect::Observe { node, ticket, candidates });
        }
    }

    /// Where a slot's machine can be, most likely first.
    fn candidates(&self, name: &NodeName) -> Vec<IpAddr> {
        let (Some(plan), Some(slot)) = (self.plan.nodes.get(name), self.slots.get(name)) else {
            return Vec::new();
        };
        let netboot = slot.state.claim().and_then(|claim| claim.netboot_address);
        // who took the config is next heard of at its own address: whoever has its lease now is not waited for
        let has_config = slot.state.is_configured() || slot.state.state() == State::Installing;
        let candidates = if has_config {
            [Some(plan.address), slot.address, netboot]
        } else {
            [slot.address, netboot, Some(plan.address)]
        };
        // a look ends at the first address that answers: where others answered is asked last
        let strange = |address: &IpAddr| slot.strangers.iter().position(|strange| strange == address);
        let mut ordered: Vec<IpAddr> = candidates.into_iter().flatten().collect();
        ordered.sort_by_key(strange);
        let mut distinct = Vec::new();
        for address in ordered {
            // the shared address belongs to no machine
            if !distinct.contains(&address) && Some(address) != self.plan.virtual_address {
                distinct.push(address);
            }
        }
        distinct
    }

    /// Whether this reply answers the effect that is under way; late replies of older ones do not.
    pub(crate) fn takes_reply(&mut self, node: &NodeName, ticket: Ticket) -> bool {
        let own = !self.guards.on(Guard::OwnReply);
        match self.slots.get_mut(node) {
            Some(slot) if slot.in_flight == Some(ticket) || own => {
                slot.in_flight = None;
                true
            }
            _ => false,
        }
    }

    /// The same for what is under way for the cluster.
    pub(crate) fn takes_cluster_reply(&mut self, ticket: Ticket) -> bool {
        let takes = self.work.in_flight == Some(ticket) || !self.guards.on(Guard::OwnClusterReply);
        if takes {
            self.work.in_flight = None;
        }
        takes
    }

    pub(crate) fn observed(&mut self, name: &NodeName, ticket: Ticket, observation: Observation, now: Time) {
        if !self.takes_reply(name, ticket) {
            return;
        }
        let timing = self.plan.timing;
        let settled = matches!(self.cluster, Cluster::HandedOver { .. });
        if let Some(slot) = self.slots.get_mut(name) {
            let resting = settled && matches!(slot.state, NodeState::Ready { .. });
            slot.watched &= !matches!(observation, Observation::Silent { .. } | Observation::Foreign { .. });
            let pause = match slot.watched {
                _ if resting => timing.watch,
                true => timing.observe.saturating_mul(WATCHED_INTERVALS),
                false => timing.observe,
            };
            let stirred = std::mem::take(&mut slot.stirred);
            slot.next_look = if stirred { now } else { now + pause };
        }
        match observation {
            Observation::Silent { detail } => {
                self.missed(name, now);
                self.saw_silence(name, &detail, now);
            }
            Observation::Foreign { address, subject } => {
                self.missed(name, now);
                self.forget_look(name);
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.met_stranger(address);
                }
                let way = match self.plan.nodes.get(name) {
                    Some(plan) if plan.signed => format!(
                        "what it boots is signed, so that no netboot of ours can wipe it: `talosctl reset` with that \
                         cluster's talosconfig does, or any system that clears its disk, and `ichord approve {name} \
                         --erase DISK` allows installing over what is left"
                    ),
                    _ => format!(
                        "`ichord approve {name} --erase DISK` lets its next netboot wipe that disk once"
                    ),
                };
                let foreign = format!(
                    "the machine at {address} belongs to another cluster ({subject}) and is not touched: if it is the \
                     machine of this slot, {way}"
                );
                match self.node(name) {
                    // the cable comes first
                    Some(NodeState::Fenced { reason, .. }) => self.wait(name, format!("{reason}; {foreign}")),
                    _ => self.wait(name, foreign),
                }
            }
            Observation::Maintenance { address, fingerprint, boot_id, inventory, contents } => {
                self.forget_look(name);
                if self.heard(name, &inventory, now) {
                    self.saw_boot(name, &boot_id);
                    if let Some(slot) = self.slots.get_mut(name) {
                        slot.address = Some(address);
                        slot.fingerprint = Some(fingerprint.clone());
                    }
                }
                self.saw_maintenance(
                    name,
                    Waiting { address, fingerprint, boot_id, inventory, contents },
                    now,
                );
            }
            Observation::Configured {
                address,
                boot_id,
                stage,
                inventory,
                etcd,
                holds_virtual_address,
                unwell,
            } => {
                if self.heard(name, &inventory, now) {
                    self.saw_boot(name, &boot_id);
                }
                let look = Look { at: now, address, boot_id, stage, etcd, holds_virtual_address, unwell };
                self.saw_configured(name, look, &inventory, now);
            }
        }
    }

    /// A machine said that something about it changed, or nothing will be heard of it any more.
    pub(crate) fn watched(&mut self, name: &NodeName, watch: Watch, now: Time) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        // of a machine that is asked as often as it needs there is nothing to miss
        let was_watched = std::mem::replace(&mut slot.watched, watch != Watch::Ended);
        if watch == Watch::Ended && !was_watched {
            return;
        }
        if watch != Watch::Began {
            slot.stirred = slot.in_flight.is_some();
            slot.next_look = slot.next_look.min(now);
        }
    }

    /// Nobody tells when etcd's members or their votes change, as there is no watch for them: while something is waited for
    /// there, control planes are asked as often as if they told nothing.
    fn look_sooner_at_etcd(&mut self, now: Time) {
        if let Some(name) = self.looked_at_for_departure() {
            let soon = now + self.plan.timing.observe;
            for name in self.slots.control_planes().cloned().chain([name]).collect::<Vec<_>>() {
                if let Some(slot) = self.slots.get_mut(&name).filter(|slot| slot.next_look > soon) {
                    slot.next_look = soon;
                }
            }
        }
        let founding = matches!(self.cluster, Cluster::Bootstrapping(_) | Cluster::Joining(_));
        let founded = !matches!(self.cluster, Cluster::Assembling { .. });
        let soon = now + self.plan.timing.observe;
        let waits = |name: &&NodeName| {
            self.slots.get(name).is_some_and(|slot| {
                let waits = founding || founded && matches!(slot.state, NodeState::Configured { .. });
                slot.watched && waits && slot.next_look > soon
            })
        };
        for name in self.slots.control_planes().filter(waits).cloned().collect::<Vec<_>>() {
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.next_look = soon;
            }
        }
    }

    /// What is waited for there shows nowhere but in etcd's members.
    pub(crate) fn look_soon_at(&mut self, name: &NodeName, now: Time) {
        let soon = now + self.plan.timing.observe;
        if let Some(slot) = self.slots.get_mut(name).filter(|slot| slot.next_look > soon) {
            slot.next_look = soon;
        }
    }

    /// Whether it is the holder who answers; a stranger at its address is its silence.
    fn heard(&mut self, name: &NodeName, inventory: &Inventory, now: Time) -> bool {
        let Some(slot) = self.slots.get_mut(name) else { return false };
        slot.fingerprint = None;
        let found = Machine::from(inventory);
        let is_holder = slot.state.claim().is_some_and(|claim| claim.machine.is_same_as(&found));
        if is_holder {
            (slot.heard, slot.silent) = (true, None);
        } else {
            slot.silent.get_or_insert(now);
        }
        is_holder
    }

    /// The first boot that is seen after a store was brought back is one of which it does not know everything.
    fn saw_boot(&mut self, name: &NodeName, boot_id: &str) {
        if self.ledger.unsure {
            self.suspect_boot(name, boot_id);
        }
    }

    fn missed(&mut self, name: &NodeName, now: Time) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.fingerprint = None;
            slot.silent.get_or_insert(now);
        }
    }

    /// Addresses of the pool move. A machine that answers where another was expected has said where it is itself,
    /// and that the other one is elsewhere.
    pub(crate) fn found_another(&mut self, expected: &NodeName, found: &Machine, address: IpAddr, now: Time) {
        if let Some(slot) = self.slots.get_mut(expected) {
            slot.met_stranger(address);
        }
        if let Some(slot) = self.held_by(found).and_then(|holder| self.slots.get_mut(&holder)) {
            slot.address = Some(address);
            slot.strangers.retain(|strange| *strange != address);
            slot.next_look = slot.next_look.min(now);
        }
    }

    pub(crate) fn forget_look(&mut self, name: &NodeName) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.look = None;
        }
    }

    /// A claimed machine was seen at an address: look there at once.
    pub(crate) fn located(&mut self, mac: hardware::MacAddr, address: IpAddr, now: Time) {
        let holder = self.slots.all_that_are(Key::Mac(mac)).min().cloned();
        if let Some(slot) = holder.and_then(|holder| self.slots.get_mut(&holder))
            && (slot.address != Some(address) || slot.strangers.contains(&address))
        {
            slot.address = Some(address);
            slot.strangers.retain(|strange| *strange != address);
            // a look that is under way may be elsewhere
            slot.stirred |= slot.in_flight.is_some();
            slot.next_look = now;
        }
    }
}
