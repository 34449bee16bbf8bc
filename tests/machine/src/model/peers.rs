//! How a machine answers what another asks, and what it makes of the answers it gets.

use std::net::IpAddr;

use super::{
    config::Role,
    etcd::{Cluster, DataDirectory},
    exchange::{PeerAnswer, PeerCall, PeerRefusal},
    machine::{Happening, Machine},
    node::{Etcd, Leave},
};

/// How often a call follows a member's word about who leads, before it waits for the next attempt.
const HOPS: u8 = 3;

/// What an outgoing call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    Join { step: JoinStep, at: IpAddr, hops: u8 },
    Promote { hops: u8 },
    Beat { member: u64 },
    Campaign,
    Removal,
    Certificate,
    Report,
}

/// Where an attempt to join stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinStep {
    List,
    RemoveOld(u64),
    Add,
}

impl Machine {
    /// Another machine's call reached this one.
    ///
    /// # Errors
    /// What etcd or trustd would say, or that nobody listens.
    pub fn peer(&mut self, call: PeerCall, now: u64) -> Result<PeerAnswer, PeerRefusal> {
        let answer = match call {
            PeerCall::Certificate { token } => self.trustd(&token),
            PeerCall::Node(report) if self.has_api_server() => {
                let network = self.networks.contains(&report.name);
                self.say(Happening::NodeReported(report));
                Ok(PeerAnswer::Reported { network })
            }
            PeerCall::Node(_) => Err(PeerRefusal::Unreachable),
            call => self.etcd_call(call, now),
        };
        self.settle(now);
        answer
    }

    fn trustd(&self, token: &str) -> Result<PeerAnswer, PeerRefusal> {
        match self.node() {
            Some(node) if node.config.role == Role::ControlPlane && node.apid => {
                if node.config.token == token {
                    Ok(PeerAnswer::Certificate)
                } else {
                    Err(PeerRefusal::Refused("Unauthenticated: invalid token".to_owned()))
                }
            }
            _ => Err(PeerRefusal::Unreachable),
        }
    }

    fn etcd_call(&mut self, call: PeerCall, now: u64) -> Result<PeerAnswer, PeerRefusal> {
        let leader = self.leader(now);
        let runs = self.node().is_some_and(|node| matches!(node.etcd, Etcd::Running { .. }));
        let Some(data) = self.data().filter(|_| runs) else {
            return Err(PeerRefusal::Unreachable);
        };
        let me = data.me;
        if let PeerCall::Beat { from, name, view } = call {
            return self.hear(from, &name, view, now);
        }
        if data.cluster.members.get(&me).is_some_and(|member| member.learner) {
            return Err(PeerRefusal::Refused("etcdserver: rpc not supported for learner".to_owned()));
        }
        let Some(leader) = leader else {
            return Err(PeerRefusal::Refused("etcdserver: no leader".to_owned()));
        };
        if matches!(call, PeerCall::Members) {
            return Ok(PeerAnswer::Cluster(data.cluster.clone()));
        }
        if leader != me {
            let at = data.cluster.members.get(&leader).map(|member| member.address);
            return Err(at.map_or(PeerRefusal::Unreachable, PeerRefusal::NotLeader));
        }
        self.change_membership(call, now)
    }

    /// As leader.
    fn change_membership(&mut self, call: PeerCall, now: u64) -> Result<PeerAnswer, PeerRefusal> {
        let new_member = self.chance.next();
        let heartbeat = self.pace.heartbeat;
        let heard = |id: u64| match self.node().map(|node| &node.etcd) {
            Some(Etcd::Running { heard, .. }) => heard.get(&id).is_some_and(|at| at + 5 * heartbeat >= now),
            _ => false,
        };
        let in_sync = matches!(call, PeerCall::Promote { id } if heard(id));
        if let PeerCall::Remove { id } = call
            && !self.spares(id, now)
        {
            return Err(PeerRefusal::Refused("etcdserver: unhealthy cluster".to_owned()));
        }
        if matches!(call, PeerCall::AddLearner { .. }) && !self.hears_every_voter(now) {
            return Err(PeerRefusal::Refused("etcdserver: unhealthy cluster".to_owned()));
        }
        let Some(cluster) = self.cluster_mut() else {
            return Err(PeerRefusal::Unreachable);
        };
        let refused = PeerRefusal::Refused;
        match call {
            PeerCall::AddLearner { address } => {
                let id = cluster.add_learner(new_member, address).map_err(refused)?;
                return Ok(PeerAnswer::Added { id, cluster: cluster.clone() });
            }
            PeerCall::Remove { id } => cluster.remove(id).map_err(refused)?,
            PeerCall::Promote { id } => cluster.promote(id, in_sync).map_err(refused)?,
            PeerCall::Campaign { address, member } => cluster.elect(address, member),
            PeerCall::Members | PeerCall::Beat { .. } | PeerCall::Certificate { .. } | PeerCall::Node(_) => {}
        }
        Ok(PeerAnswer::Cluster(cluster.clone()))
    }

    /// etcd adds nobody while it has not heard a voter lately (its strict reconfiguration check).
    fn hears_every_voter(&self, now: u64) -> bool {
        let (Some(data), Some(node)) = (self.data(), self.node()) else { return false };
        let Etcd::Running { heard, .. } = &node.etcd else { return false };
        let lately = |id: &u64| heard.get(id).is_some_and(|at| at + 5 * self.pace.heartbeat >= now);
        let voters = data.cluster.members.iter().filter(|(_, member)| !member.learner);
        voters.map(|(id, _)| id).all(|id| *id == data.me || lately(id))
    }

    /// Whether more than half of the voters that are left are heard when this one goes, as etcd checks it where that one
    /// is well itself; taking a silent one away cannot make anything worse.
    pub(crate) fn spares(&self, id: u64, now: u64) -> bool {
        let Some(data) = self.data() else { return false };
        let heartbeat = self.pace.heartbeat;
        let heard = |id: u64| match self.node().map(|node| &node.etcd) {
            _ if id == data.me => true,
            Some(Etcd::Running { heard, .. }) => heard.get(&id).is_some_and(|at| at + 5 * heartbeat >= now),
            _ => false,
        };
        let left: Vec<u64> = data
            .cluster
            .members
            .iter()
            .filter(|(other, member)| **other != id && !member.learner)
            .map(|(&id, _)| id)
            .collect();
        let well = left.iter().filter(|id| heard(**id)).count();
        !heard(id)
            || data.cluster.members.get(&id).is_none_or(|member| member.learner)
            || well > left.len() / 2
    }

    fn cluster_mut(&mut self) -> Option<&mut Cluster> {
        self.storage.system.as_mut()?.etcd.as_mut().map(|data| &mut data.cluster)
    }

    /// A member's word: learn what it knows, remember that it lives, say what we know.
    fn hear(&mut self, from: u64, name: &str, view: Cluster, now: u64) -> Result<PeerAnswer, PeerRefusal> {
        if self.data().map(|data| data.cluster.id) != Some(view.id) {
            return Err(PeerRefusal::Refused("cluster ID mismatch".to_owned()));
        }
        self.adopt(view);
        let leads = self.leader(now).is_some_and(|leader| self.data().is_some_and(|data| data.me == leader));
        let Some(cluster) = self.cluster_mut() else {
            return Err(PeerRefusal::Unreachable);
        };
        let known = cluster.members.contains_key(&from);
        if leads {
            cluster.started(from, name);
        }
        let cluster = cluster.clone();
        if known {
            self.mark_heard(from, now);
        }
        Ok(PeerAnswer::Cluster(cluster))
    }

    fn mark_heard(&mut self, member: u64, now: u64) {
        if let Some(node) = self.node_mut()
            && let Etcd::Running { heard, .. } = &mut node.etcd
        {
            heard.insert(member, now);
        }
    }

    /// Takes a newer view of the own cluster; who is not in it any more stops.
    fn adopt(&mut self, view: Cluster) {
        let Some(data) = self.storage.system.as_mut().and_then(|system| system.etcd.as_mut()) else {
            return;
        };
        // a leader that was taken out ends when another one has heard of it
        let knows_it = data.cluster.revision == view.revision && !view.members.contains_key(&data.me);
        if data.cluster.id != view.id || data.cluster.revision >= view.revision && !knows_it {
            return;
        }
        data.cluster = view;
        let removed = !data.cluster.members.contains_key(&data.me);
        let leaves = self.node().is_some_and(|node| matches!(node.leaving, Some(Leave::Etcd { .. })));
        if removed && leaves {
            self.has_left_etcd();
        } else if let Some(node) = self.node_mut()
            && removed
        {
            node.generation += 1;
            let reason = "the member has been permanently removed from the cluster".to_owned();
            node.etcd = Etcd::Failed { reason };
        }
    }

    /// The result of a [`Happening::Peer`]; of a call that nobody waits for any more it is ignored.
    pub fn peer_answer(&mut self, ticket: u64, result: Result<PeerAnswer, PeerRefusal>, now: u64) {
        let Some(pending) = self.pending.remove(&ticket) else {
            return;
        };
        match (pending, result) {
            (Pending::Join { step, at, hops }, result) => self.join_goes_on(step, at, hops, result, now),
            (Pending::Certificate, Ok(_)) => self.api_opens(now),
            (Pending::Certificate, Err(_)) => self.certificate_later(now),
            (Pending::Beat { member }, Ok(PeerAnswer::Cluster(view))) => {
                self.mark_heard(member, now);
                self.adopt(view);
            }
            (Pending::Promote { hops }, Err(PeerRefusal::NotLeader(at))) if hops < HOPS => {
                if let Some(id) = self.data().map(|data| data.me) {
                    self.ask(at, PeerCall::Promote { id }, Pending::Promote { hops: hops + 1 });
                }
            }
            (
                Pending::Promote { .. } | Pending::Campaign | Pending::Removal,
                Ok(PeerAnswer::Cluster(view)),
            ) => self.adopt(view),
            (Pending::Report, Ok(PeerAnswer::Reported { network: true })) => self.cni_installed(now),
            // promotion, campaign and report are tried again by their timers; who asked for a removal looks again
            _ => {}
        }
        self.settle(now);
    }

    fn join_goes_on(
        &mut self,
        step: JoinStep,
        at: IpAddr,
        hops: u8,
        result: Result<PeerAnswer, PeerRefusal>,
        now: u64,
    ) {
        let (Some(own), Some(name)) = (self.address(), self.hostname().map(str::to_owned)) else {
            return;
        };
        let (at, step, hops) = match (step, result) {
            (JoinStep::List, Ok(PeerAnswer::Cluster(cluster))) => {
                let old = cluster.members.iter().find(|(_, member)| member.name == name);
                (at, old.map_or(JoinStep::Add, |(&id, _)| JoinStep::RemoveOld(id)), hops)
            }
            (JoinStep::RemoveOld(_), Ok(_)) => (at, JoinStep::Add, hops),
            (JoinStep::Add, Ok(PeerAnswer::Added { id, cluster })) => {
                let until = now + self.pace.promote_for;
                self.start_etcd_on(DataDirectory { me: id, cluster }, Some(until), now);
                return;
            }
            (step, Err(PeerRefusal::NotLeader(at))) if hops < HOPS => (at, step, hops + 1),
            _ => {
                self.join_later(now);
                return;
            }
        };
        let call = match step {
            JoinStep::List => PeerCall::Members,
            JoinStep::RemoveOld(id) => PeerCall::Remove { id },
            JoinStep::Add => PeerCall::AddLearner { address: own },
        };
        self.ask(at, call, Pending::Join { step, at, hops });
    }
}
