//! The etcd service of a control plane: preparing, bootstrap in memory, joining as a learner, promotion,
//! heartbeats, elections (talos.md §9.1 to §9.3, §2.5).

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    etcd::{Cluster, DataDirectory},
    exchange::PeerCall,
    machine::{Happening, Machine, State},
    node::{Etcd, Timer},
    peers::{JoinStep, Pending},
};

impl Machine {
    pub(crate) fn data(&self) -> Option<&DataDirectory> {
        self.storage.system.as_ref()?.etcd.as_ref()
    }

    pub(crate) fn leader(&self, now: u64) -> Option<u64> {
        match self.real_leader() {
            Some(leader) => leader,
            None => self.node()?.leader(self.data(), self.pace.heartbeat, now),
        }
    }

    /// Talos's own health check is a linearizable read, which etcd refuses to a learner (§9.4).
    pub(crate) fn etcd_is_healthy(&self, now: u64) -> bool {
        let voter =
            |data: &DataDirectory| data.cluster.members.get(&data.me).is_some_and(|member| !member.learner);
        self.leader(now).is_some() && self.data().is_some_and(voter)
    }

    fn run(&self) -> u32 {
        self.node().map_or(0, |node| node.generation)
    }

    /// etcd waits for cri and the clock (§9.1); with a data directory it starts on it.
    pub(crate) fn etcd_may_start(&mut self, now: u64) {
        let has_data = self.data().is_some();
        let Some(node) = self.node_mut() else {
            return;
        };
        if !(node.cri && node.time_synced && matches!(node.etcd, Etcd::Waiting)) {
            return;
        }
        let run = node.generation;
        if has_data {
            node.etcd = Etcd::Starting { promote_until: None };
            let start = self.pace.etcd_start;
            self.node_after(now, start, Timer::EtcdStarted(run));
        } else {
            node.etcd = Etcd::Preparing { bootstrap: false };
            let (pull, timeout) = (self.pace.etcd_pull, self.pace.etcd_join_timeout);
            self.node_after(now, pull, Timer::ImagePulled(run));
            self.after_exactly(now, timeout, super::machine::Timer::Node(Timer::JoinTimeout(run)));
        }
    }

    /// An accepted Bootstrap: the service restarts in bootstrap mode, in memory (§9.2).
    pub(crate) fn bootstrap(&mut self, now: u64) {
        let Some(node) = self.node_mut() else {
            return;
        };
        node.generation += 1;
        node.etcd = Etcd::Preparing { bootstrap: true };
        let run = node.generation;
        self.pending.retain(|_, pending| !matches!(pending, Pending::Join { .. }));
        self.counters.bootstraps_accepted += 1;
        self.say(Happening::BootstrapAccepted);
        let pull = self.pace.etcd_pull;
        self.node_after(now, pull, Timer::ImagePulled(run));
    }

    pub(crate) fn image_pulled(&mut self, now: u64) {
        let address = self.address();
        let Some(node) = self.node() else {
            return;
        };
        match (&node.etcd, address) {
            (Etcd::Preparing { bootstrap: true }, Some(address)) => {
                let name = node.hostname.clone();
                let before = match self.node_mut().and_then(|node| node.recovers.take()) {
                    Some(Err(reason)) => return self.is_not_restored(&reason),
                    before => before.and_then(Result::ok),
                };
                let (cluster, me) = (self.chance.next(), self.chance.next());
                let mut data = DataDirectory { me, cluster: Cluster::formed(cluster, me, name, address) };
                if let Some(before) = before {
                    data.cluster.revision += before.revision;
                    self.counters.recoveries += 1;
                    self.say(Happening::EtcdRecovered { cluster });
                } else {
                    self.counters.bootstraps += 1;
                    self.say(Happening::BootstrapSucceeded { cluster });
                }
                self.start_etcd_on(data, None, now);
            }
            // not before the machine has an address
            (Etcd::Preparing { bootstrap: true }, None) => {
                let (run, every) = (self.run(), self.pace.etcd_join_every);
                self.node_after(now, every, Timer::ImagePulled(run));
            }
            (Etcd::Preparing { .. }, _) => self.join(now),
            _ => {}
        }
    }

    /// Writes the data directory and starts etcd on it.
    pub(crate) fn start_etcd_on(&mut self, data: DataDirectory, promote_until: Option<u64>, now: u64) {
        if let Some(system) = &mut self.storage.system {
            system.etcd = Some(data);
        }
        let Some(node) = self.node_mut() else {
            return;
        };
        node.etcd = Etcd::Starting { promote_until };
        let run = node.generation;
        let start = self.pace.etcd_start;
        self.node_after(now, start, Timer::EtcdStarted(run));
    }

    /// One attempt to join (§9.3): list the members, remove an old one of the own name, add a learner.
    pub(crate) fn join(&mut self, now: u64) {
        if !self.node().is_some_and(|node| matches!(node.etcd, Etcd::Preparing { bootstrap: false })) {
            return;
        }
        match self.control_plane_addresses().first() {
            Some(&at) => self.ask(at, PeerCall::Members, Pending::Join { step: JoinStep::List, at, hops: 0 }),
            None => self.join_later(now),
        }
    }

    pub(crate) fn join_later(&mut self, now: u64) {
        let (run, every) = (self.run(), self.pace.etcd_join_every);
        self.node_after(now, every, Timer::JoinTry(run));
    }

    pub(crate) fn join_timed_out(&mut self) {
        if let Some(node) = self.node_mut()
            && matches!(node.etcd, Etcd::Preparing { bootstrap: false })
        {
            // only a reboot or a Bootstrap helps now (§9.1)
            node.etcd = Etcd::Failed { reason: "failed to build initial etcd cluster".to_owned() };
        }
    }

    pub(crate) fn etcd_started(&mut self, now: u64) {
        let Some(data) = self.data().cloned() else {
            return;
        };
        let Some(node) = self.node_mut() else {
            return;
        };
        let Etcd::Starting { promote_until } = node.etcd else {
            return;
        };
        let run = node.generation;
        if self.awaits_real_etcd(run, now) {
            return;
        }
        let Some(node) = self.node_mut() else {
            return;
        };
        node.etcd = Etcd::Running { since: now, heard: BTreeMap::new(), promote_until };
        let learner = data.cluster.members.get(&data.me).is_some_and(|member| member.learner);
        self.say(Happening::EtcdMember { id: data.me, learner });
        self.node_after(now, 0, Timer::Beat(run));
        if promote_until.is_some() {
            let every = self.pace.promote_every;
            self.node_after(now, every, Timer::PromoteTry(run));
        }
    }

    /// The promotion of the own learner: tried only in the run that added it (§9.3).
    pub(crate) fn try_promotion(&mut self, now: u64) {
        let Some(data) = self.data().cloned() else {
            return;
        };
        let learner = data.cluster.members.get(&data.me).is_some_and(|member| member.learner);
        let in_time = self.node().is_some_and(
            |node| matches!(node.etcd, Etcd::Running { promote_until: Some(until), .. } if now < until),
        );
        if !learner || !in_time {
            return;
        }
        let voters = data.cluster.members.values().filter(|member| !member.learner);
        if let Some(voter) = voters.min_by_key(|member| member.joined) {
            self.ask(voter.address, PeerCall::Promote { id: data.me }, Pending::Promote { hops: 0 });
        }
        let (run, every) = (self.run(), self.pace.promote_every);
        self.node_after(now, every, Timer::PromoteTry(run));
    }

    /// A word to every other member.
    pub(crate) fn beat(&mut self, now: u64) {
        let (Some(data), Some(node)) = (self.data().cloned(), self.node()) else {
            return;
        };
        if self.real.is_some() || !matches!(node.etcd, Etcd::Running { .. }) {
            return;
        }
        let (run, name) = (node.generation, node.hostname.clone());
        for (&member, other) in data.cluster.members.iter().filter(|(id, _)| **id != data.me) {
            let call = PeerCall::Beat { from: data.me, name: name.clone(), view: data.cluster.clone() };
            self.ask(other.address, call, Pending::Beat { member });
        }
        self.campaign(now);
        let heartbeat = self.pace.heartbeat;
        self.node_after(now, heartbeat, Timer::Beat(run));
    }

    /// The leader frees addresses whose holder is gone and takes free ones itself.
    pub(crate) fn leader_duties(&mut self, leader: Option<u64>, now: u64) {
        let lease = self.pace.virtual_address_lease;
        let (Some(leader), State::Configured(node)) = (leader, &self.state) else {
            return;
        };
        if self.real.is_some() {
            return;
        }
        let Etcd::Running { since, heard, .. } = &node.etcd else {
            return;
        };
        let wanted: Vec<IpAddr> = node.config.virtual_addresses.iter().map(|&(_, address)| address).collect();
        let Some(data) = self.storage.system.as_mut().and_then(|system| system.etcd.as_mut()) else {
            return;
        };
        let me = data.me;
        if leader == me {
            let lost = |holder: u64| holder != me && heard.get(&holder).unwrap_or(since) + lease < now;
            let before = data.cluster.elections.len();
            data.cluster.elections.retain(|_, holder| !lost(*holder));
            data.cluster.revision += u64::from(data.cluster.elections.len() != before);
            data.cluster.started(me, &node.hostname);
            for address in wanted {
                data.cluster.elect(address, me);
            }
        }
    }

    /// A voter that does not lead asks the leader for addresses that nobody holds.
    fn campaign(&mut self, now: u64) {
        let (Some(leader), Some(node), Some(data)) = (self.leader(now), self.node(), self.data()) else {
            return;
        };
        let member = data.me;
        let voter = data.cluster.members.get(&member).is_some_and(|member| !member.learner);
        let Some(at) = data.cluster.members.get(&leader).map(|member| member.address) else {
            return;
        };
        let wanted = node.config.virtual_addresses.iter().map(|&(_, address)| address);
        let free: Vec<IpAddr> =
            wanted.filter(|address| !data.cluster.elections.contains_key(address)).collect();
        for address in free.into_iter().filter(|_| voter && leader != member) {
            self.ask(at, PeerCall::Campaign { address, member }, Pending::Campaign);
        }
    }
}
