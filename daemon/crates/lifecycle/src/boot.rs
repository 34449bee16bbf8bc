//! What a firmware is told, and how a slot gets its machine.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use hardware::MacAddr;

use crate::{
    BootAnswer, Claim, Core, DeployPolicy, Identity, Machine, NodeName, NodeState, Progress, ReplacePolicy,
    Time,
};

/// How often an unidentified machine is asked to ask again before it boots its own disk.
const ATTEMPTS: u32 = 60;

/// Seconds between two questions of one machine.
const PAUSE: u32 = 5;

/// Machines outside of which it is remembered what was said.
const OUTSIDE: usize = 1024;

/// Questions of one machine within this time are one boot whose answer got lost: no firmware comes
/// round again so fast.
const ONE_BOOT: Duration = Duration::from_secs(10);

impl Core {
    /// Decides what a machine boots. The only way to [`BootAnswer::Deploy`] leads through a permit.
    pub(crate) fn boot_asked(
        &mut self,
        machine: Machine,
        from: IpAddr,
        attempt: u32,
        identity: Identity,
        now: Time,
    ) -> BootAnswer {
        if let Some(answer) = self.fenced(&machine) {
            return answer;
        }
        let held = self.held_by(&machine);
        let identity = match held {
            Some(_) => identity,
            None => self.with_approval(&machine, identity),
        };
        match (held, identity) {
            (Some(held), Identity::Slot { node, evidence, .. }) if held != node => {
                let reason = wrong_cable(&machine, &held, &node);
                self.warn(&held, Some(reason.clone()), evidence);
                BootAnswer::Refused { reason }
            }
            (Some(held), _) => self.boot_claimed(&held, &machine, from, now),
            (None, Identity::Slot { node, port, attested, evidence }) => {
                let claim = Claim {
                    machine,
                    port,
                    attested,
                    vouched: None,
                    evidence,
                    netboot_address: Some(from),
                    since: now,
                };
                self.boot_unclaimed(&node, claim, attempt, now)
            }
            (None, Identity::Unknown { .. }) if !self.looks_for_machines() => {
                BootAnswer::LocalDisk { reason: "every slot has its machine".to_owned() }
            }
            (None, Identity::Unknown { reason }) if attempt < ATTEMPTS => {
                BootAnswer::Identify { seconds: PAUSE, reason }
            }
            (None, Identity::Unknown { reason }) => BootAnswer::LocalDisk { reason },
            (None, Identity::Refused { reason }) => {
                self.note("cluster", format!("refused to boot {machine}"), vec![reason.clone()]);
                BootAnswer::Refused { reason }
            }
        }
    }

    /// A person who gave a machine a slot is a witness for it.
    fn with_approval(&self, machine: &Machine, identity: Identity) -> Identity {
        let Some((name, approval)) = self.approved_for(machine) else { return identity };
        let word = format!("{} gave {name} to {}", approval.by, approval.machine);
        match identity {
            Identity::Slot { node, port, evidence, .. } if node == *name => {
                Identity::Slot { node, port, attested: true, evidence: [evidence, vec![word]].concat() }
            }
            _ => Identity::Slot { node: name.clone(), port: None, attested: true, evidence: vec![word] },
        }
    }

    /// A machine that holds a slot boots again: with a permit the deployment starts over, without one
    /// the machine boots its own disk.
    fn boot_claimed(&mut self, name: &NodeName, machine: &Machine, from: IpAddr, now: Time) -> BootAnswer {
        let Some(slot) = self.slots.get_mut(name) else {
            return BootAnswer::LocalDisk { reason: "unknown slot".to_owned() };
        };
        (slot.heard, slot.silent) = (true, None);
        match slot.state.clone() {
            NodeState::Deploying { progress: Progress::Netbooting { since }, permit, .. }
                if since <= now && now.since(since) < ONE_BOOT && permit.refusal(now).is_none() =>
            {
                slot.address = Some(from);
                BootAnswer::Deploy { node: name.clone() }
            }
            NodeState::Deploying { mut claim, mut permit, .. } => match permit.spend(now) {
                Ok(()) => {
                    claim.machine.learn(machine);
                    claim.netboot_address = Some(from);
                    slot.address = Some(from);
                    slot.next_look = now;
                    let evidence =
                        vec![format!("permit {} pays, {} boots left", permit.id, permit.boots_left)];
                    let progress = Progress::Netbooting { since: now };
                    self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
                    self.note(&name.0, format!("boots Talos on {machine}"), Vec::new());
                    BootAnswer::Deploy { node: name.clone() }
                }
                Err(reason) => {
                    let reason = format!("{reason}: `ichord deploy {name}` grants a new one");
                    self.wait(name, reason.clone());
                    BootAnswer::LocalDisk { reason }
                }
            },
            NodeState::Configured { .. } | NodeState::Ready { .. } => {
                BootAnswer::LocalDisk { reason: format!("{name} is installed") }
            }
            NodeState::Vacant { .. } => BootAnswer::LocalDisk { reason: format!("{name} is vacant") },
        }
    }

    /// A machine that holds nothing was identified: it gets the slot if the slot is free, permitted,
    /// and, for a control plane, if somebody else vouches for it.
    fn boot_unclaimed(&mut self, name: &NodeName, claim: Claim, attempt: u32, now: Time) -> BootAnswer {
        let planned = self.plan.nodes.contains_key(name);
        let Some(slot) = self.slots.get(name).filter(|_| planned) else {
            return BootAnswer::Refused { reason: format!("{name} is not in the site") };
        };
        let held_permit = match &slot.state {
            NodeState::Vacant { permit } => permit.clone(),
            _ => {
                return match self.contend(name, claim, now) {
                    Ok(answer) => answer,
                    // who waits for a dead machine's end must still be there then
                    Err(reason) if self.plan.replace != ReplacePolicy::Ask => retry(0, reason),
                    Err(reason) => retry(attempt, reason),
                };
            }
        };
        let permit = held_permit.filter(|permit| permit.refusal(now).is_none());
        let permit = match (permit, self.plan.deploy) {
            (Some(permit), _) => permit,
            (None, DeployPolicy::Auto) if !self.was_filled(name) => self.new_permit("site", now),
            (None, _) => {
                let reason = format!("{} is {name}, and waits for `ichord deploy {name}`", claim.machine);
                self.wait(name, reason.clone());
                return retry(attempt, reason);
            }
        };
        self.fill(name, claim, permit, now)
    }

    pub(crate) fn fill(
        &mut self,
        name: &NodeName,
        claim: Claim,
        mut permit: crate::Permit,
        now: Time,
    ) -> BootAnswer {
        if let Err(reason) = permit.spend(now) {
            return BootAnswer::LocalDisk { reason: reason.to_owned() };
        }
        if let Some(slot) = self.slots.get_mut(name) {
            slot.address = claim.netboot_address;
            slot.next_look = now;
            slot.approved = None;
            slot.rival = None;
        }
        let mut evidence = claim.evidence.clone();
        evidence.push(format!("permit {} of {}", permit.id, permit.by));
        self.note(&name.0, format!("claimed by {}", claim.machine), evidence.clone());
        let progress = Progress::Netbooting { since: now };
        self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
        BootAnswer::Deploy { node: name.clone() }
    }

    /// Somebody allows installing.
    pub(crate) fn permit_granted(&mut self, node: Option<NodeName>, by: &str, now: Time) {
        let chosen: BTreeSet<NodeName> = match node {
            Some(name) => BTreeSet::from([name]),
            None => {
                let vacant = |name: &&NodeName| {
                    self.slots.get(*name).is_some_and(|slot| matches!(slot.state, NodeState::Vacant { .. }))
                };
                self.plan.nodes.keys().filter(vacant).cloned().collect()
            }
        };
        for name in chosen {
            let permit = self.new_permit(by, now);
            let words = vec![format!("by {by}, permit {}", permit.id)];
            let Some(slot) = self.slots.get(&name) else { continue };
            let state = match slot.state.clone() {
                NodeState::Vacant { .. } => NodeState::Vacant { permit: Some(permit) },
                NodeState::Deploying { claim, progress, .. } => {
                    NodeState::Deploying { claim, permit, progress }
                }
                NodeState::Configured { .. } | NodeState::Ready { .. } => {
                    self.note(&name.0, "no permit granted: a machine is installed in this slot", words);
                    continue;
                }
            };
            self.note(&name.0, "install permit granted", words);
            self.move_node(&name, state, Vec::new());
        }
    }

    /// Evidence about a machine changed. A witness that comes later completes a claim; it never moves one.
    pub(crate) fn identified(&mut self, machine: &Machine, identity: Identity) {
        let Some(held) = self.held_by(machine) else { return };
        match identity {
            Identity::Slot { node, attested, port, evidence } if node == held => {
                self.warn(&held, None, evidence.clone());
                if !attested {
                    return;
                }
                let Some(mut state) = self.slots.get(&held).map(|slot| slot.state.clone()) else { return };
                if let Some(claim) = state.claim_mut().filter(|claim| !claim.attested) {
                    claim.attested = true;
                    claim.port = claim.port.take().or(port);
                    self.note(&held.0, "its place is attested", evidence);
                    self.move_node(&held, state, Vec::new());
                }
            }
            Identity::Slot { node, evidence, .. } => {
                let warning = wrong_cable(machine, &held, &node);
                self.warn(&held, Some(warning), evidence);
            }
            Identity::Refused { reason } => {
                let warning = format!("where {machine}, which holds {held}, is plugged in cannot be said");
                self.warn(&held, Some(warning), vec![reason]);
            }
            Identity::Unknown { .. } => {}
        }
    }

    /// A machine that waits in maintenance mode, started from an image that is not ours to give, gets a slot on the
    /// same grounds as one whose firmware asks, and goes on as if it had asked.
    pub(crate) fn found_waiting(&mut self, machine: Machine, address: IpAddr, identity: Identity, now: Time) {
        if self.held_by(&machine).is_some() {
            for mac in machine.macs {
                self.located(mac, address, now);
            }
            return;
        }
        let reason = match self.with_approval(&machine, identity.clone()) {
            Identity::Slot { .. } => match self.boot_asked(machine.clone(), address, 0, identity, now) {
                BootAnswer::Deploy { .. } => None,
                BootAnswer::Identify { reason, .. }
                | BootAnswer::Retry { reason, .. }
                | BootAnswer::LocalDisk { reason }
                | BootAnswer::Refused { reason } => Some(reason),
            },
            Identity::Unknown { reason } | Identity::Refused { reason } => Some(reason),
        };
        let who = machine.to_string();
        let Some(reason) = reason else {
            self.outside.remove(&who);
            return;
        };
        if self.outside.get(&who) == Some(&reason) {
            return;
        }
        // a table that a network of liars could fill; what is forgotten is said again
        if self.outside.len() >= OUTSIDE {
            self.outside.clear();
        }
        self.note("cluster", format!("{who} waits in maintenance mode at {address}"), vec![reason.clone()]);
        self.outside.insert(who, reason);
    }

    /// A claimed machine was seen at an address: look there at once.
    pub(crate) fn located(&mut self, mac: MacAddr, address: IpAddr, now: Time) {
        let holder = |slot: &&mut crate::core::Slot| {
            slot.state.claim().is_some_and(|claim| claim.machine.macs.contains(&mac))
        };
        if let Some(slot) = self.slots.values_mut().find(holder)
            && slot.address != Some(address)
        {
            slot.address = Some(address);
            slot.next_look = now;
        }
    }
}

fn wrong_cable(machine: &Machine, held: &NodeName, there: &NodeName) -> String {
    format!("wrong cable: {held} ({machine}) is plugged into the port of {there}")
}

/// Ask again, but not for ever: a machine that nobody claims goes on to its own disk.
fn retry(attempt: u32, reason: String) -> BootAnswer {
    if attempt < ATTEMPTS {
        BootAnswer::Retry { seconds: PAUSE, reason }
    } else {
        BootAnswer::LocalDisk { reason }
    }
}
