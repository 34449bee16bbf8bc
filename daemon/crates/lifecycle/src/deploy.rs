//! From maintenance mode to a machine that answers with our CA.

use std::net::IpAddr;

use hardware::Inventory;

use crate::{
    ApplyOutcome, Claim, Cluster, Core, Effect, EtcdObservation, InstallDisk, LinkNeed, Machine, NodeName,
    NodeState, Observation, Progress, Role, Stage, Ticket, Time, Trust, core::Look,
};

impl Core {
    /// Starts a look at every machine that is due and not busy.
    pub(crate) fn look_where_due(&mut self, now: Time) {
        let due: Vec<(NodeName, Vec<IpAddr>)> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.in_flight.is_none() && slot.next_look <= now)
            .filter_map(|(name, slot)| {
                let plan = self.plan.nodes.get(name)?;
                let claim = slot.state.claim()?;
                let netboot = claim.netboot_address;
                let candidates = if slot.state.is_configured() {
                    [Some(plan.address), slot.address, netboot]
                } else {
                    [slot.address, netboot, Some(plan.address)]
                };
                let mut distinct = Vec::new();
                for address in candidates.into_iter().flatten() {
                    // the shared address belongs to no machine
                    if !distinct.contains(&address) && Some(address) != self.plan.virtual_address {
                        distinct.push(address);
                    }
                }
                Some((name.clone(), distinct))
            })
            .collect();
        for (node, candidates) in due {
            let ticket = self.ticket();
            if let Some(slot) = self.slots.get_mut(&node) {
                slot.in_flight = Some(ticket);
            }
            self.start(Effect::Observe { node, ticket, candidates });
        }
    }

    /// Whether this reply answers the effect that is under way; late replies of older ones do not.
    fn takes_reply(&mut self, node: &NodeName, ticket: Ticket) -> bool {
        match self.slots.get_mut(node) {
            Some(slot) if slot.in_flight == Some(ticket) => {
                slot.in_flight = None;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn observed(&mut self, name: &NodeName, ticket: Ticket, observation: Observation, now: Time) {
        if !self.takes_reply(name, ticket) {
            return;
        }
        let timing = self.plan.timing;
        let settled = matches!(self.cluster, Cluster::HandedOver { .. });
        if let Some(slot) = self.slots.get_mut(name) {
            let resting = settled && matches!(slot.state, NodeState::Ready { .. });
            slot.next_look = now + if resting { timing.watch } else { timing.observe };
        }
        match observation {
            Observation::Silent { detail } => {
                self.missed(name, now);
                self.saw_silence(name, detail);
            }
            Observation::Foreign { address, subject } => {
                self.missed(name, now);
                self.forget_look(name);
                self.wait(
                    name,
                    format!("the machine at {address} belongs to somebody else ({subject}): not touched"),
                );
            }
            Observation::Maintenance { address, fingerprint, boot_id, inventory } => {
                self.forget_look(name);
                if self.heard(name, &inventory, now)
                    && let Some(slot) = self.slots.get_mut(name)
                {
                    slot.address = Some(address);
                    slot.fingerprint = Some(fingerprint.clone());
                }
                self.saw_maintenance(name, address, fingerprint, boot_id, &inventory, now);
            }
            Observation::Configured { address, boot_id, stage, inventory, etcd } => {
                self.heard(name, &inventory, now);
                let look = Look { at: now, address, boot_id, stage, etcd };
                self.saw_configured(name, look, &inventory, now);
            }
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

    fn missed(&mut self, name: &NodeName, now: Time) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.fingerprint = None;
            slot.silent.get_or_insert(now);
        }
    }

    fn forget_look(&mut self, name: &NodeName) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.look = None;
        }
    }

    fn saw_silence(&mut self, name: &NodeName, detail: String) {
        self.forget_look(name);
        match self.slots.get(name).map(|slot| &slot.state) {
            // rebooting into the disk: silence is how it goes
            Some(NodeState::Deploying { progress: Progress::Installing { .. }, .. }) => {
                self.wait(name, "installing, then the boot from its own disk".to_owned());
            }
            Some(NodeState::Deploying { permit, .. }) if permit.boots_left == 0 => {
                let reason = format!(
                    "its install permit has paid for all its boots, and the machine API does not answer ({detail}): \
                     `ichord deploy {name}` grants a new one"
                );
                self.wait(name, reason);
            }
            Some(_) => self.wait(name, format!("the machine API does not answer ({detail})")),
            None => {}
        }
    }

    fn saw_maintenance(
        &mut self,
        name: &NodeName,
        address: IpAddr,
        fingerprint: String,
        boot_id: String,
        inventory: &Inventory,
        now: Time,
    ) {
        let Some(slot) = self.slots.get(name) else { return };
        let NodeState::Deploying { claim, permit, progress } = slot.state.clone() else {
            self.wait(name, "it waits in maintenance mode, without the config it once had".to_owned());
            return;
        };
        match &progress {
            Progress::Installing { boot_id: told, .. } if *told == boot_id => {
                self.wait(name, "Talos has the config and goes on to install".to_owned());
                return;
            }
            Progress::Applying { boot_id: told, since, .. }
                if *told == boot_id && *since <= now && now.since(*since) < self.plan.timing.apply_grace =>
            {
                self.wait(name, "the config was pushed; whether it arrived shows in a moment".to_owned());
                return;
            }
            _ if now < slot.not_before => return,
            _ => {}
        }
        let mut claim = claim;
        let found = Machine::from(inventory);
        if !found.is_same_as(&claim.machine) {
            self.found_another(name, &found, address, now);
        }
        if let Err(reason) = self.may_configure(name, &claim, &fingerprint, inventory, now) {
            self.wait(name, reason);
            return;
        }
        claim.machine.learn(&found);
        let ticket = self.ticket();
        if let Some(slot) = self.slots.get_mut(name) {
            slot.in_flight = Some(ticket);
        }
        let evidence = vec![
            format!("waits in maintenance mode at {address}"),
            format!("its hardware is the claimed machine {}", claim.machine),
        ];
        let progress = Progress::Applying { since: now, address, boot_id };
        self.move_node(name, NodeState::Deploying { claim, permit, progress }, evidence);
        self.start(Effect::Apply { node: name.clone(), ticket, address, fingerprint });
    }

    /// The gate before a config leaves the house: the proven machine, a permit that lasts, one disk
    /// to install to, and the links that the config names.
    fn may_configure(
        &self,
        name: &NodeName,
        claim: &Claim,
        fingerprint: &str,
        inventory: &Inventory,
        now: Time,
    ) -> Result<(), String> {
        let (found, claimed) = (Machine::from(inventory), &claim.machine);
        if !found.is_same_as(claimed) {
            return Err(format!("{found} answers where {claimed} was expected: it gets no config"));
        }
        let vouched = claim.vouched.as_deref() == Some(fingerprint.to_lowercase().as_str());
        let plan = self.plan.nodes.get(name).ok_or_else(|| format!("{name} is not in the site"))?;
        if plan.role == Role::ControlPlane && !claim.attested && !vouched {
            if self.plan.trust == Trust::Attested {
                return Err(format!(
                    "only {claimed} itself says that it is {name}; compare the key {fingerprint} with its console, then: \
                     `ichord approve {name} --fingerprint {fingerprint}`"
                ));
            }
            // what asked over HTTP and what answers here must be one machine in every respect
            let same_uuid = claimed.uuid.is_none() || claimed.uuid == found.uuid;
            if claimed.macs.is_disjoint(&found.macs) || !same_uuid {
                return Err(format!("{found} answers, and is not in every respect the {claimed} that asked"));
            }
        }
        if let Some(NodeState::Deploying { permit, .. }) = self.node(name)
            && let Some(reason) = permit.refusal(now)
        {
            return Err(format!("{reason}: `ichord deploy {name}` grants a new one"));
        }
        one_disk(&plan.install_disk, inventory)?;
        for need in &plan.links {
            let there = inventory.links.iter().any(|link| match need {
                LinkNeed::Name(name) => link.name == *name,
                LinkNeed::Mac(mac) => link.mac == *mac,
            });
            if !there {
                let names: Vec<&str> = inventory.links.iter().map(|link| link.name.as_str()).collect();
                let wanted = match need {
                    LinkNeed::Name(name) => name.clone(),
                    LinkNeed::Mac(mac) => mac.to_string(),
                };
                return Err(format!(
                    "the config names the link {wanted}, the machine has {}",
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn saw_configured(&mut self, name: &NodeName, look: Look, inventory: &Inventory, now: Time) {
        let Some(slot) = self.slots.get(name) else { return };
        let state = slot.state.clone();
        let found = Machine::from(inventory);
        if let Some(claim) = state.claim()
            && !found.is_same_as(&claim.machine)
        {
            let reason = format!("{found} answers with our CA where {} was expected", claim.machine);
            self.forget_look(name);
            self.found_another(name, &found, look.address, now);
            self.wait(name, reason);
            return;
        }
        if let Some(slot) = self.slots.get_mut(name) {
            slot.address = Some(look.address);
        }
        match state {
            NodeState::Vacant { .. } => {}
            NodeState::Deploying { claim, progress, .. } => {
                let told = match &progress {
                    Progress::Netbooting { .. } => None,
                    Progress::Applying { boot_id, .. } | Progress::Installing { boot_id, .. } => {
                        Some(boot_id)
                    }
                };
                if told == Some(&look.boot_id) {
                    self.wait(
                        name,
                        "has the config; the boot that proves the installation is still to come".to_owned(),
                    );
                    return;
                }
                let evidence =
                    vec![format!("answers with our CA at {} in boot {}", look.address, look.boot_id)];
                let boot_id = look.boot_id.clone();
                self.remember(name, look);
                self.move_node(name, NodeState::Configured { claim, boot_id, since: now }, evidence);
                self.arrive(name, now);
            }
            NodeState::Configured { .. } => {
                self.remember(name, look);
                self.arrive(name, now);
            }
            NodeState::Ready { claim, boot_id, since } => {
                let rebooted = look.boot_id != boot_id;
                let boot_id = look.boot_id.clone();
                self.remember(name, look);
                if rebooted {
                    self.note(&name.0, "rebooted", vec![format!("boot {boot_id}")]);
                    self.move_node(name, NodeState::Ready { claim, boot_id, since }, Vec::new());
                } else if let Some(slot) = self.slots.get_mut(name) {
                    slot.wait_no_more();
                }
            }
        }
    }

    /// Addresses of the pool move. A machine that answers where another was expected has said where it is itself,
    /// and that the other one is elsewhere.
    fn found_another(&mut self, expected: &NodeName, found: &Machine, address: IpAddr, now: Time) {
        if let Some(slot) = self.slots.get_mut(expected).filter(|slot| slot.address == Some(address)) {
            slot.address = None;
        }
        if let Some(slot) = self.held_by(found).and_then(|holder| self.slots.get_mut(&holder)) {
            slot.address = Some(address);
            slot.next_look = slot.next_look.min(now);
        }
    }

    fn remember(&mut self, name: &NodeName, look: Look) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.look = Some(look);
        }
    }

    /// Configured → ready: a control plane votes in etcd, a worker has finished its boot.
    fn arrive(&mut self, name: &NodeName, now: Time) {
        let Some(plan) = self.plan.nodes.get(name) else { return };
        let Some(slot) = self.slots.get(name) else { return };
        let (NodeState::Configured { claim, boot_id, .. }, Some(look)) = (&slot.state, &slot.look) else {
            return;
        };
        let (arrived, waiting) = match plan.role {
            Role::Worker => (look.stage == Stage::Running, "its boot is not finished"),
            Role::ControlPlane => match &look.etcd {
                EtcdObservation::Members(members) => {
                    let votes = members.iter().any(|member| member.name == name.0 && !member.learner);
                    (votes, "it does not vote in etcd yet")
                }
                EtcdObservation::None | EtcdObservation::Waiting | EtcdObservation::Unknown { .. } => {
                    (false, "etcd waits for the cluster's bootstrap")
                }
            },
        };
        if arrived {
            let state = NodeState::Ready { claim: claim.clone(), boot_id: boot_id.clone(), since: now };
            self.move_node(name, state, Vec::new());
        } else {
            self.wait(name, waiting.to_owned());
        }
    }

    pub(crate) fn applied(&mut self, name: &NodeName, ticket: Ticket, outcome: ApplyOutcome, now: Time) {
        if !self.takes_reply(name, ticket) {
            return;
        }
        let retry = now + self.plan.timing.retry;
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.next_look = now + self.plan.timing.observe;
        let NodeState::Deploying { claim, permit, progress: Progress::Applying { boot_id, .. } } =
            slot.state.clone()
        else {
            return;
        };
        match outcome {
            ApplyOutcome::Accepted => {
                let progress = Progress::Installing { since: now, boot_id };
                self.move_node(
                    name,
                    NodeState::Deploying { claim, permit, progress },
                    vec!["Talos took the config".to_owned()],
                );
            }
            ApplyOutcome::Refused { reason } => {
                slot.not_before = retry;
                let progress = Progress::Netbooting { since: now };
                self.move_node(name, NodeState::Deploying { claim, permit, progress }, vec![reason.clone()]);
                self.wait(name, format!("Talos refused the config: {reason}"));
            }
            ApplyOutcome::Unknown { reason } => {
                self.wait(name, format!("the connection broke while the config was pushed ({reason})"));
            }
        }
    }
}

/// The install disk must be exactly one: with several matches Talos would take the first and
/// overwrite it without asking.
fn one_disk(wanted: &InstallDisk, inventory: &Inventory) -> Result<(), String> {
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
        [_] => Ok(()),
        [] => {
            let have: Vec<String> =
                inventory.disks.iter().map(|disk| format!("{} ({})", disk.dev_path, disk.model)).collect();
            Err(format!("no disk matches {}; the machine has {}", described(wanted), have.join(", ")))
        }
        several => Err(format!("{} matches several disks: {}", described(wanted), several.join(", "))),
    }
}
