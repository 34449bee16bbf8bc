//! Firmware: the boot script was handed out; next, the machine fetches the kernel.

use std::{net::IpAddr, time::Duration};

use super::{Facts, Limit, State};
use crate::{BootAnswer, Core, Erase, Guard, Guards, Machine, NodeName, NodeState, Progress, Time};

pub(super) const FACTS: Facts = Facts {
    name: "firmware",
    means: "the boot script was handed out",
    limit: Some(Limit {
        seconds: 30,
        hint: "no file request since the boot script was handed out: does the machine's iPXE reach this \
               host's HTTP port (cable, VLAN, firewall), and what does its console say?",
    }),
    next: &[
        (State::Kernel, "the boot files are fetched"),
        (State::Maintenance, "its machine API offers to take a config"),
        (State::Configured, "it answers with our CA: it had its config already"),
        (State::Fenced, "its evidence contradicts the claim"),
        (State::Leaving, "it answers with our CA, and should have forgotten that"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

/// Questions of one machine within this time are one boot whose answer got lost: no firmware comes
/// round again so fast.
const ONE_BOOT: Duration = Duration::from_secs(10);

impl<G: Guards> Core<G> {
    /// A machine that is being deployed boots again: its permit pays, and the deployment starts over.
    pub(crate) fn deploying_asks(
        &mut self,
        name: &NodeName,
        machine: &Machine,
        from: IpAddr,
        now: Time,
    ) -> BootAnswer {
        let Some(slot) = self.slots.get(name) else {
            return BootAnswer::LocalDisk { reason: "unknown slot".to_owned() };
        };
        let mut state = slot.state.clone();
        let same_boot = matches!(&state, NodeState::Deploying { progress: Progress::Firmware { since }, permit, .. }
            if *since <= now && now.since(*since) < ONE_BOOT && permit.refusal(now).is_none());
        let (Some(mut permit), Some(claim)) = (state.permit().cloned(), state.claim_mut()) else {
            return BootAnswer::LocalDisk { reason: format!("{name} is vacant") };
        };
        if !same_boot && let Err(reason) = self.spend(&mut permit, now) {
            let reason = format!("{reason}: `ichord deploy {name}` grants a new one");
            self.wait(name, reason.clone());
            return BootAnswer::LocalDisk { reason };
        }
        claim.machine.learn(machine);
        claim.netboot_address = Some(from);
        let once = self.guards.on(Guard::WipeOnce);
        let signed = self.plan.nodes.get(name).is_some_and(|plan| plan.signed);
        let wipe = match &mut claim.erase {
            Some(Erase { wiped, .. }) if !signed && (!*wiped || !once) => {
                *wiped = true;
                claim.old_disk = false;
                true
            }
            _ => false,
        };
        let claim = claim.clone();
        if let Some(slot) = self.slots.get_mut(name) {
            slot.address = Some(from);
            slot.next_look = now;
        }
        if same_boot && !wipe {
            return BootAnswer::Deploy { node: name.clone() };
        }
        let evidence = vec![format!("permit {} pays, {} boots left", permit.id, permit.boots_left)];
        let progress = Progress::Firmware { since: now };
        self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
        if wipe {
            self.note(&name.0, format!("boots the one wipe of {machine}'s disk"), Vec::new());
            return BootAnswer::Wipe { node: name.clone() };
        }
        self.note(&name.0, format!("boots Talos on {machine}"), Vec::new());
        BootAnswer::Deploy { node: name.clone() }
    }
}
