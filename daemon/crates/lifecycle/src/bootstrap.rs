//! Exactly one etcd cluster. Talos guards only a node's own disk, so the guard is here (talos.md §9.2).

use std::{net::IpAddr, time::Duration};

use crate::{
    BootstrapOutcome, Bootstrapped, Cluster, Core, Effect, EtcdMember, EtcdObservation, Guard, Guards,
    Intent, NodeName, NodeState, Ticket, Time, Word, slot::Look, slots::Key,
};

/// A look older than so many observation intervals proves nothing any more.
const FRESH_INTERVALS: u32 = 10;

/// Of many nodes so many are named.
const NAMED: usize = 9;

/// A person's word about newness is about now; after so long it must be said again.
const WORD_LASTS: Duration = Duration::from_secs(60 * 60);

impl<G: Guards> Core<G> {
    /// Moves the cluster as far as the latest looks allow.
    pub(crate) fn advance_cluster(&mut self, now: Time) {
        match self.cluster.clone() {
            Cluster::Assembling { doubt, word } => self.assemble(doubt, word, now),
            Cluster::Bootstrapping(intent) => self.bootstrap(intent, now),
            Cluster::Joining(bootstrapped) => self.join(bootstrapped, now),
            Cluster::HandingOver { bootstrapped, done } => self.hand_over(bootstrapped, done, now),
            Cluster::HandedOver { .. } => self.watch_members(),
        }
        self.look_around(now);
    }

    pub(crate) fn fresh_look(&self, name: &NodeName, now: Time) -> Option<&Look> {
        let patience = self.plan.timing.observe.saturating_mul(FRESH_INTERVALS).max(Duration::from_secs(5));
        self.slots.get(name)?.look.as_ref().filter(|look| now.since(look.at) <= patience)
    }

    /// etcd's members as any control plane tells them now.
    fn members_seen(&self, now: Time) -> Option<(NodeName, Vec<EtcdMember>)> {
        self.slots.control_planes().find_map(|name| match &self.fresh_look(name, now)?.etcd {
            EtcdObservation::Members { members, .. } if !members.is_empty() => {
                Some((name.clone(), members.clone()))
            }
            _ => None,
        })
    }

    /// A control plane was seen in a boot of which the store does not know what was asked of it. A bootstrap that was
    /// taken, or is on its way, shows nowhere before etcd has members, and ends with that boot.
    pub(crate) fn suspect_boot(&mut self, name: &NodeName, boot_id: &str) {
        let assembling = matches!(self.cluster, Cluster::Assembling { .. });
        if assembling
            && self.slots.control_planes().any(|control_plane| control_plane == name)
            && !self.ledger.boots.contains_key(name)
        {
            self.ledger.boots.insert(name.clone(), boot_id.to_owned());
            self.write_cluster();
        }
    }

    /// Control planes that still run in such a boot.
    pub(crate) fn suspects(&self) -> Vec<&str> {
        let in_that_boot = |name: &&NodeName| {
            let look = self.slots.get(name).and_then(|slot| slot.look.as_ref());
            look.is_some_and(|look| self.ledger.boots.get(*name) == Some(&look.boot_id))
        };
        self.slots.control_planes().filter(in_that_boot).map(|name| name.0.as_str()).collect()
    }

    /// What a person's word that the cluster is new would do, or why it cannot be taken.
    pub(crate) fn may_be_new(&self) -> Result<String, String> {
        match &self.cluster {
            Cluster::Assembling { .. } | Cluster::Bootstrapping(Intent { doubt: Some(_), .. }) => {}
            later => {
                return Err(format!(
                    "the cluster is {}: it was founded, and is never founded again",
                    later.name()
                ));
            }
        }
        match self.members_seen(self.last) {
            Some((node, members)) => Err(format!(
                "etcd on {node} has members ({}): the cluster exists, and is not founded again",
                names(&members)
            )),
            None => {
                let also = match self.suspects().as_slice() {
                    [] => String::new(),
                    suspects => format!(", and nothing is done before {} booted anew", suspects.join(", ")),
                };
                Ok(format!(
                    "the cluster counts as new for an hour; a sign of an existing one still stops the bootstrap{also}"
                ))
            }
        }
    }

    pub(crate) fn newness_confirmed(&mut self, by: &str, words: Vec<String>, now: Time) {
        self.note("cluster", "new, by a person's word", words);
        self.ledger.members = None;
        match self.cluster.clone() {
            Cluster::Assembling { doubt, .. } => {
                let word = Some(Word { by: by.to_owned(), at: now });
                self.move_cluster(Cluster::Assembling { doubt, word }, Vec::new());
            }
            Cluster::Bootstrapping(intent) => {
                self.move_cluster(Cluster::Bootstrapping(Intent { doubt: None, ..intent }), Vec::new());
            }
            Cluster::Joining(_) | Cluster::HandingOver { .. } | Cluster::HandedOver { .. } => {}
        }
    }

    /// Every control plane was configured by us and holds no etcd data: only then may one be chosen.
    /// A person's word stands in for control planes that are missing, as long as a majority is there,
    /// and for what the store does not know; it never outweighs a sign of a cluster.
    fn assemble(&mut self, doubt: Option<String>, word: Option<Word>, now: Time) {
        let word = word.filter(|word| holds(Some(word), now));
        if let Some((name, members)) = self.members_seen(now)
            && self.guards.on(Guard::NoEtcdData)
        {
            let seen = format!("{}, on {name}", names(&members));
            if self.ledger.members.as_ref() != Some(&seen) {
                self.ledger.members = Some(seen);
                self.write_cluster();
            }
        }
        match self.founder(doubt.as_deref(), word.as_ref(), now) {
            Err(reason) => self.wait_cluster(reason),
            Ok(_) if self.work.in_flight.is_some() || now < self.work.not_before => {}
            Ok(founder) => {
                let virtual_address =
                    self.plan.virtual_address.filter(|_| self.guards.on(Guard::VirtualAddress));
                let nodes = if word.is_none() { self.unknown_nodes() } else { Vec::new() };
                if virtual_address.is_none() && nodes.is_empty() {
                    self.intend(&founder, word.as_ref(), now);
                    return;
                }
                let ticket = self.ticket();
                self.work.in_flight = Some(ticket);
                self.start(Effect::SeekCluster { ticket, virtual_address, nodes });
            }
        }
    }

    /// Where nodes would answer that no machine is known to be: a store that was lost knows none of those that run.
    fn unknown_nodes(&self) -> Vec<IpAddr> {
        let vacant = self.slots.all_that_are(Key::Vacant).filter(|_| self.guards.on(Guard::Newness));
        vacant.filter_map(|name| Some(self.plan.nodes.get(name)?.address)).collect()
    }

    /// Nodes whose config this store did not give them: a life that is forgotten did. A few stand for many.
    fn adopted(&self) -> Vec<&str> {
        let adopted = self.slots.all_that_are(Key::Adopted);
        adopted.take(NAMED).map(|name| name.0.as_str()).collect()
    }

    /// The node that may be asked to found the cluster, or why none may.
    fn founder(&self, doubt: Option<&str>, word: Option<&Word>, now: Time) -> Result<NodeName, String> {
        let on = |guard| self.guards.on(guard);
        if on(Guard::NoEtcdData)
            && let Some((name, members)) = self.members_seen(now)
        {
            return Err(format!(
                "etcd on {name} already has members ({}) that ichord did not bootstrap: nothing is bootstrapped \
                 over them; if that is this site's cluster, `ichord takeover` takes it over as it is",
                names(&members)
            ));
        }
        if let Some(members) = self.ledger.members.as_ref().filter(|_| on(Guard::NoEtcdData)) {
            return Err(format!(
                "etcd had members that ichord did not bootstrap ({members}), and they do not answer now: nothing is \
                 bootstrapped over them, unless `ichord bootstrap --new` says that their data is gone"
            ));
        }
        let planned: Vec<&NodeName> = self.slots.control_planes().collect();
        let (mut there, mut missing, adopted) = (Vec::new(), Vec::new(), self.adopted());
        for &name in &planned {
            let look = self.fresh_look(name, now);
            let empty = look.is_some_and(|look| look.etcd == EtcdObservation::Waiting);
            match self.slots.get(name).map(|slot| &slot.state) {
                Some(NodeState::Configured { .. }) if empty || !on(Guard::NoEtcdData) => there.push(name),
                Some(NodeState::Configured { .. }) => {
                    missing.push(format!("{name} has not shown that it holds no etcd data"));
                }
                Some(state) => missing.push(format!("{name} is {}", state.name())),
                None => missing.push(format!("{name} is unknown")),
            }
        }
        // a life that is forgotten may have asked another node: where one of them is missing, too, a word is not enough
        let is_sure = doubt.is_none() && adopted.is_empty();
        let majority = is_sure && there.len() > planned.len() / 2;
        if !missing.is_empty() && on(Guard::EveryControlPlane) && !(majority && word.is_some()) {
            let way = if majority {
                "; `ichord bootstrap --new` goes on without, if you know that no cluster exists"
            } else {
                ""
            };
            let doubt = doubt.map(|doubt| format!("; {doubt}")).unwrap_or_default();
            return Err(format!(
                "every control plane must be configured first: {}{way}{doubt}",
                missing.join("; ")
            ));
        }
        if on(Guard::Newness) && word.is_none() {
            let reason = match doubt {
                Some(doubt) => doubt.to_owned(),
                None if !adopted.is_empty() => {
                    format!("{} had a config already that this store knows nothing of", adopted.join(", "))
                }
                None => String::new(),
            };
            if !reason.is_empty() {
                return Err(format!(
                    "{reason}, so a cluster may exist: `ichord bootstrap --new` says that none does"
                ));
            }
        }
        // what another node was asked by a life that is forgotten must not come about after this
        let suspects = self.suspects();
        if !suspects.is_empty() {
            return Err(format!(
                "{} may have been asked to bootstrap by what this store knows nothing of, and may still do it; a boot ends \
                 that: switch {} off and on",
                suspects.join(", "),
                if suspects.len() == 1 { "it" } else { "them" }
            ));
        }
        match there.first() {
            Some(first) => Ok((*first).clone()),
            None => Err("the site has no control plane".to_owned()),
        }
    }

    pub(crate) fn cluster_sought(
        &mut self,
        ticket: Ticket,
        owner: Option<String>,
        nodes: &[IpAddr],
        now: Time,
    ) {
        if !self.takes_cluster_reply(ticket) {
            return;
        }
        let Cluster::Assembling { doubt, word } = self.cluster.clone() else { return };
        let word = word.filter(|word| holds(Some(word), now));
        match owner {
            Some(owner) => {
                self.work.not_before = now + self.plan.timing.retry;
                self.wait_cluster(format!(
                    "somebody answers for the virtual address ({owner}): a cluster may already exist, nothing is bootstrapped"
                ));
            }
            // who was switched off and on meanwhile must not be forgotten over it
            None if !nodes.is_empty() && word.is_none() => {
                let at: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                let doubt = crate::takeover::unknown_answered(&at);
                self.note("cluster", "the store does not know everything", vec![doubt.clone()]);
                self.move_cluster(Cluster::Assembling { doubt: Some(doubt), word }, Vec::new());
            }
            // something may have changed while the network was asked
            None => match self.founder(doubt.as_deref(), word.as_ref(), now) {
                Ok(founder) => self.intend(&founder, word.as_ref(), now),
                Err(reason) => self.wait_cluster(reason),
            },
        }
    }

    /// Writes the intent down; the call leaves only after that is durable.
    fn intend(&mut self, name: &NodeName, word: Option<&Word>, now: Time) {
        let Some(look) = self.fresh_look(name, now) else { return };
        let intent = Intent {
            node: name.clone(),
            address: look.address,
            boot_id: look.boot_id.clone(),
            at: now,
            doubt: None,
        };
        let mut evidence = vec![match word {
            None => "every control plane was configured by us and holds no etcd data".to_owned(),
            Some(word) => format!("{} said that the cluster is new", word.by),
        }];
        if let Some(address) = self.plan.virtual_address {
            evidence.push(format!("nobody answers for {address}"));
        }
        evidence.push(format!("{name} is asked, and no other node ever"));
        self.call(intent, evidence);
    }

    fn call(&mut self, intent: Intent, evidence: Vec<String>) {
        let ticket = self.ticket();
        self.work.in_flight = Some(ticket);
        self.work.refused = false;
        let effect = Effect::Bootstrap {
            ticket,
            node: intent.node.clone(),
            address: intent.address,
            boot_id: intent.boot_id.clone(),
        };
        self.note("cluster", format!("Bootstrap is called on {}", intent.node), evidence.clone());
        self.move_cluster(Cluster::Bootstrapping(intent), evidence);
        self.start(effect);
    }

    fn bootstrap(&mut self, intent: Intent, now: Time) {
        if let Some((witness, members)) = self.members_seen(now) {
            let Some(member) = members.iter().find(|member| member.name == intent.node.0) else {
                self.wait_cluster(format!(
                    "etcd on {witness} has members ({}) and {} is not among them: this is not the cluster that \
                     it was asked to found",
                    names(&members),
                    intent.node
                ));
                return;
            };
            let bootstrapped =
                Bootstrapped { node: intent.node, member: member.id.clone(), at: now, taken_over: None };
            self.move_cluster(Cluster::Joining(bootstrapped), vec![format!("etcd on {witness} has members")]);
            return;
        }
        if let Some(doubt) = intent.doubt.as_ref().filter(|_| self.guards.on(Guard::Newness)) {
            self.wait_cluster(format!(
                "{doubt}, so a cluster may exist: `ichord bootstrap --new` says that none does"
            ));
            return;
        }
        if self.work.in_flight.is_some() || now < self.work.not_before {
            return;
        }
        let mut asked = intent.node.clone();
        if !self.guards.on(Guard::SameNode)
            && let Some(other) = self.slots.control_planes().find(|name| self.fresh_look(name, now).is_some())
        {
            asked = other.clone();
        }
        let Some(look) = self.fresh_look(&asked, now) else {
            self.wait_cluster(format!(
                "{asked} was asked to bootstrap and does not answer{}",
                self.way_out(&asked, now)
            ));
            return;
        };
        // an intent from the future is a clock that went back
        let asked_at = intent.at.min(now);
        if look.etcd != EtcdObservation::Waiting || (look.at <= asked_at && intent.at <= now) {
            return;
        }
        let (address, boot_id) = (look.address, look.boot_id.clone());
        let again = Intent { node: asked, address, boot_id, at: now, doubt: None };
        if look.boot_id != intent.boot_id && self.guards.on(Guard::LostBootstrap) {
            let evidence = vec![format!(
                "{} rebooted before etcd wrote its data; the same node is asked again",
                intent.node
            )];
            self.call(again, evidence);
        } else if self.work.refused {
            self.call(again, vec!["the last call certainly did nothing".to_owned()]);
        } else if intent.at > now || now.since(intent.at) >= self.plan.timing.bootstrap_grace {
            let evidence =
                vec![format!("no etcd members {} s after the call", now.since(intent.at).as_secs())];
            self.call(again, evidence);
        } else {
            self.wait_cluster(format!("etcd on {} has no members yet", intent.node));
        }
    }

    /// What a person can do where the founder is silent for so long that it may be gone. Nothing here can tell a dead one from one
    /// whose etcd is about to write its first data, so the store never lets go of it; only a person can.
    fn way_out(&self, founder: &NodeName, now: Time) -> &'static str {
        let silent = self.slots.get(founder).and_then(|slot| slot.silent);
        match silent.map(|since| now.since(since)) {
            Some(since) if since >= self.plan.timing.bootstrap_grace => {
                "; nobody else is ever asked while it may have founded the cluster, so bring it back with its disk. If that is \
                 lost for good: stop ichord, put its state directory aside, replace the machine, switch the other control \
                 planes off and on, and tell the new start that the cluster is new when it asks"
            }
            _ => "",
        }
    }

    pub(crate) fn bootstrap_answered(&mut self, ticket: Ticket, outcome: BootstrapOutcome, now: Time) {
        if !self.takes_cluster_reply(ticket) {
            return;
        }
        let Cluster::Bootstrapping(intent) = &self.cluster else { return };
        let node = intent.node.clone();
        if let Some(slot) = self.slots.get_mut(&node) {
            slot.next_look = now;
        }
        match outcome {
            BootstrapOutcome::Accepted => {
                self.note("cluster", format!("{node} accepted the bootstrap"), Vec::new())
            }
            BootstrapOutcome::NotYet { reason } => {
                self.work.refused = true;
                self.work.not_before = now + self.plan.timing.retry;
                self.wait_cluster(format!("{node} cannot bootstrap yet: {reason}"));
            }
            BootstrapOutcome::Unknown { reason } => {
                self.wait_cluster(format!(
                    "whether {node} took the bootstrap shows in etcd's members ({reason})"
                ));
            }
        }
    }
}

/// Whether a person's word that the cluster is new counts now.
pub(crate) fn holds(word: Option<&Word>, now: Time) -> bool {
    word.is_some_and(|word| word.at <= now && now.since(word.at) < WORD_LASTS)
}

fn names(members: &[EtcdMember]) -> String {
    members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
}
