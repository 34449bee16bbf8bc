//! Maintenance: the machine waits for a config. It gets one only through the gate in this file.

use std::net::IpAddr;

use hardware::Inventory;

use super::{Facts, Limit, State};
use crate::{
    Claim, Content, Core, Effect, Guard, Guards, InstallDisk, LinkNeed, Machine, NodeName, NodeState,
    Progress, Role, Time, Trust,
};

pub(super) const FACTS: Facts = Facts {
    name: "maintenance",
    means: "it waits for a config",
    limit: Some(Limit {
        seconds: 60,
        hint: "it waits in maintenance mode, where anybody on its network can give it a config: mend what \
               is named above, or switch it off",
    }),
    next: &[
        (State::Applying, "the claimed machine, a permit, one disk, the links"),
        (State::Firmware, "it boots again"),
        (State::Configured, "it answers with our CA: somebody gave it its config"),
        (State::Fenced, "its evidence contradicts the claim"),
        (State::Leaving, "it answers with our CA, and should have forgotten that"),
        (State::Vacant, "released by a person, or replaced"),
    ],
};

/// What a machine in maintenance mode tells.
pub(crate) struct Waiting {
    pub(crate) address: IpAddr,
    pub(crate) fingerprint: String,
    pub(crate) boot_id: String,
    pub(crate) inventory: Inventory,
    pub(crate) contents: Vec<Content>,
}

impl<G: Guards> Core<G> {
    pub(crate) fn saw_maintenance(&mut self, name: &NodeName, seen: Waiting, now: Time) {
        let found = Machine::from(&seen.inventory);
        let claim = self.node(name).and_then(NodeState::claim);
        if claim.is_some_and(|claim| !found.is_same_as(&claim.machine)) {
            self.found_another(name, &found, seen.address, now);
        }
        let Some(slot) = self.slots.get(name) else { return };
        let (claim, permit, progress) = match slot.state.clone() {
            NodeState::Deploying { claim, permit, progress } => (claim, permit, progress),
            NodeState::Failed { claim, permit, until, reason, .. } => {
                if self.pauses_until(until, now) {
                    self.wait(name, reason);
                    return;
                }
                (claim, permit, Progress::Firmware { since: now })
            }
            NodeState::Fenced { reason, .. } => {
                self.wait(name, reason);
                return;
            }
            NodeState::Configured { .. } | NodeState::Member { .. } | NodeState::Ready { .. } => {
                if self.has_forgotten(name, &found) {
                    return;
                }
                let reason = "it waits in maintenance mode, without the config it once had";
                self.wait(name, reason.to_owned());
                return;
            }
            NodeState::Leaving { claim, permit, .. } => (claim, permit, Progress::Firmware { since: now }),
            NodeState::Vacant { .. } => return,
        };
        match &progress {
            Progress::Installing { boot_id: told, .. } if *told == seen.boot_id => {
                self.wait(name, "Talos has the config and goes on to install".to_owned());
                return;
            }
            Progress::Applying { boot_id: told, since, .. }
                if *told == seen.boot_id
                    && *since <= now
                    && now.since(*since) < self.plan.timing.apply_grace =>
            {
                self.wait(name, "the config was pushed; whether it arrived shows in a moment".to_owned());
                return;
            }
            _ => {}
        }
        if let Err(reason) = self.may_configure(name, &claim, &seen, now) {
            if !matches!(progress, Progress::Maintenance { .. }) && self.is_claimed(&claim, &seen.inventory) {
                let progress = Progress::Maintenance { since: now };
                let evidence = vec![format!("its machine API at {} offers to take a config", seen.address)];
                self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
            }
            self.wait(name, reason);
            return;
        }
        self.push(name, claim, seen, now);
    }

    fn push(&mut self, name: &NodeName, mut claim: Claim, seen: Waiting, now: Time) {
        let Some(permit) = self.slots.get(name).and_then(|slot| slot.state.permit().cloned()) else { return };
        claim.machine.learn(&Machine::from(&seen.inventory));
        claim.told = Some(seen.boot_id.clone());
        claim.kept = seen.contents.iter().any(|content| content.talos);
        let ticket = self.ticket();
        if let Some(slot) = self.slots.get_mut(name) {
            slot.in_flight = Some(ticket);
        }
        let Waiting { address, fingerprint, boot_id, .. } = seen;
        let arrived = vec![format!("its machine API at {address} offers to take a config")];
        if self.node(name).map(NodeState::state) != Some(State::Maintenance) {
            let state = NodeState::Deploying {
                claim: claim.clone(),
                permit: permit.clone(),
                progress: Progress::Maintenance { since: now },
            };
            self.move_node(name, state, arrived);
        }
        let evidence = vec![
            format!("waits in maintenance mode at {address}, boot {boot_id}"),
            format!("its hardware is the claimed machine {}", claim.machine),
        ];
        let progress = Progress::Applying { since: now, address, boot_id };
        self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
        self.start(Effect::Apply { node: name.clone(), ticket, address, fingerprint });
    }

    /// A control-plane config holds every key of the cluster: somebody else than the machine must vouch for it.
    fn is_vouched_for(&self, name: &NodeName, claim: &Claim, seen: &Waiting) -> Result<(), String> {
        let (claimed, fingerprint) = (&claim.machine, &seen.fingerprint);
        if claim.attested || claim.vouched.as_deref() == Some(fingerprint.to_lowercase().as_str()) {
            return Ok(());
        }
        if self.plan.trust == Trust::Attested {
            return Err(format!(
                "only {claimed} itself says that it is {name}; compare the key {fingerprint} with its console, then: \
                 `ichord approve {name} --fingerprint {fingerprint}`"
            ));
        }
        // what asked over HTTP and what answers here must be one machine in every respect
        let found = Machine::from(&seen.inventory);
        let same_uuid = claimed.uuid.is_none() || claimed.uuid == found.uuid;
        if claimed.macs.is_disjoint(&found.macs) || !same_uuid {
            return Err(format!("{found} answers, and is not in every respect the {claimed} that asked"));
        }
        Ok(())
    }

    fn is_claimed(&self, claim: &Claim, inventory: &Inventory) -> bool {
        Machine::from(inventory).is_same_as(&claim.machine)
    }

    /// The gate before a config leaves the house: the proven machine, a permit that lasts, one disk
    /// to install to with nothing of others on it, and the links that the config names.
    fn may_configure(&self, name: &NodeName, claim: &Claim, seen: &Waiting, now: Time) -> Result<(), String> {
        let on = |guard| self.guards.on(guard);
        let inventory = &seen.inventory;
        if on(Guard::SameMachine) && !self.is_claimed(claim, inventory) {
            let found = Machine::from(inventory);
            return Err(format!("{found} answers where {} was expected: it gets no config", claim.machine));
        }
        let plan = self.plan.nodes.get(name).ok_or_else(|| format!("{name} is not in the site"))?;
        if on(Guard::Witness) && plan.role == Role::ControlPlane {
            self.is_vouched_for(name, claim, seen)?;
        }
        if on(Guard::PermitEnds)
            && let Some(permit) = self.node(name).and_then(NodeState::permit)
            && let Some(reason) = permit.refusal(now)
        {
            return Err(format!("{reason}: `ichord deploy {name}` grants a new one"));
        }
        if let Some(other) = self.joins_before(name) {
            return Err(format!("{other} joins etcd first: one control plane at a time"));
        }
        let disk = match one_disk(&plan.install_disk, inventory) {
            Ok(disk) => Some(disk),
            Err(reason) if on(Guard::OneDisk) => return Err(reason),
            Err(_) => None,
        };
        if on(Guard::BlankDisk)
            && let Some(disk) = disk
        {
            let signed = plan.signed.then_some(seen.address);
            // a person's word took it out: what is left of it may go
            let is_leaving = self.ledger.departures.contains_key(name);
            blank(name, disk, claim, is_leaving, &seen.contents, signed)?;
        }
        match plan.links.iter().find(|need| !has_link(inventory, need)) {
            Some(need) if on(Guard::Links) => {
                let names: Vec<&str> = inventory.links.iter().map(|link| link.name.as_str()).collect();
                let wanted = match need {
                    LinkNeed::Name(name) => name.clone(),
                    LinkNeed::Mac(mac) => mac.to_string(),
                };
                Err(format!("the config names the link {wanted}, the machine has {}", names.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

fn has_link(inventory: &Inventory, need: &LinkNeed) -> bool {
    inventory.links.iter().any(|link| match need {
        LinkNeed::Name(name) => link.name == *name,
        LinkNeed::Mac(mac) => link.mac == *mac,
    })
}

/// What is on the install disk may be overwritten: nothing is, a person said so, or an installation of
/// ours began on this machine and may have left something. Where Talos is on
/// any disk it would go on with what it finds there, so that disk is wiped by a boot of its own first.
fn blank(
    name: &NodeName,
    disk: &str,
    claim: &Claim,
    is_leaving: bool,
    contents: &[Content],
    signed: Option<IpAddr>,
) -> Result<(), String> {
    if claim.told.is_some() || is_leaving {
        return Ok(());
    }
    let approved = |disk: &str| claim.erase.as_ref().is_some_and(|erase| erase.disk == disk);
    for content in contents.iter().filter(|content| content.talos || content.disk == disk) {
        let Content { disk, what, talos } = content;
        if !approved(disk) {
            return Err(format!(
                "{disk} is not empty ({what}): `ichord approve {name} --erase {disk}` allows overwriting it"
            ));
        }
        if *talos && let Some(address) = signed {
            let device = disk.trim_start_matches("/dev/");
            return Err(format!(
                "{disk} has Talos on it ({what}) and is to be erased. What this machine boots is signed, so that no netboot \
                 of ours can wipe it: `talosctl wipe disk {device} --insecure --nodes {address}` does it now"
            ));
        }
        if *talos {
            return Err(format!(
                "{disk} has Talos on it ({what}) and is to be erased: its next netboot wipes it once, so \
                 switch it off and on"
            ));
        }
    }
    Ok(())
}

/// The install disk must be exactly one: with several matches Talos would take the first and
/// overwrite it without asking.
fn one_disk<'a>(wanted: &InstallDisk, inventory: &'a Inventory) -> Result<&'a str, String> {
    let described = |wanted: &InstallDisk| match wanted {
        InstallDisk::Path(path) => path.clone(),
        InstallDisk::Selector(selector) => selector.to_string(),
    };
    let matching: Vec<&str> = inventory
        .disks
        .iter()
        .filter(|disk| match wanted {
            InstallDisk::Path(path) => disk.dev_path == *path || disk.symlinks.contains(path),
            InstallDisk::Selector(selector) => selector.matches(disk),
        })
        .map(|disk| disk.dev_path.as_str())
        .collect();
    match matching.as_slice() {
        [disk] => Ok(disk),
        [] => {
            let have: Vec<String> =
                inventory.disks.iter().map(|disk| format!("{} ({})", disk.dev_path, disk.model)).collect();
            Err(format!("no disk matches {}; the machine has {}", described(wanted), have.join(", ")))
        }
        several => Err(format!("{} matches several disks: {}", described(wanted), several.join(", "))),
    }
}
