//! The calls of the machine API that go on to etcd, with Talos's own words around etcd's (Talos 1.13.9, `v1alpha1_server.go`
//! and `internal/pkg/etcd`).

use super::{
    etcd::{Cluster, DataDirectory},
    exchange::PeerCall,
    machine::Machine,
    node::{Etcd, Leave},
    peers::Pending,
    request::{Request, Response},
    status::{Caller, Code, Status},
};

/// How often a machine that is to leave etcd looks whether it is out, before it stays.
pub(super) const LEAVE_TRIES: u32 = 20;

/// etcd's words without a quorum.
pub(super) const NO_LEADER: &str = "etcdserver: no leader";

impl Machine {
    /// Kept beside where etcd's data will be; looked at when etcd begins from it.
    pub(super) fn keep_snapshot(&mut self, snapshot: Vec<u8>) -> Result<Response, Status> {
        self.control_plane_only("etcd recover")?;
        if let Some(node) = self.node_mut() {
            node.snapshot = Some(snapshot);
        }
        Ok(Response::Accepted)
    }

    /// The same checks as without a snapshot. That itself is only looked at when etcd begins.
    pub(super) fn bootstrap_recovered(&mut self, now: u64) -> Result<Response, Status> {
        self.call_bootstrap(now)?;
        let snapshot = self.node_mut().and_then(|node| node.snapshot.take());
        // a real etcd has a format of its own
        let before = match (&self.real, snapshot) {
            (Some(_), _) => Ok(Cluster::formed(0, 0, String::new(), [0, 0, 0, 0].into())),
            (None, Some(snapshot)) => Cluster::from_snapshot(&snapshot),
            (None, None) => Err("no such file or directory".to_owned()),
        };
        if let Some(node) = self.node_mut() {
            node.recovers = Some(before);
        }
        Ok(Response::Accepted)
    }

    /// The own member's data, leader or not.
    pub(super) fn snapshot(&self) -> Result<Response, Status> {
        self.control_plane_only("etcd snapshot")?;
        Ok(Response::Snapshot(self.running_etcd()?.cluster.snapshot()))
    }

    /// Removes a member; where this machine does not lead, the leader is asked to.
    pub(super) fn remove_member(&mut self, id: u64, now: u64) -> Result<Response, Status> {
        let refused = |text: &str| {
            Status::new(
                Code::Unknown,
                format!("failed to remove member: failed to remove member {id}: {text}"),
            )
        };
        let data = self.running_etcd()?;
        let leader = self.leader(now).ok_or_else(|| refused(NO_LEADER))?;
        let members = &data.cluster.members;
        if let Err(text) = data.cluster.may_remove(id) {
            return Err(match members.contains_key(&id) {
                true => refused(text),
                false => Status::new(Code::NotFound, format!("failed to remove member {id}: {text}")),
            });
        }
        let at = members.get(&leader).map(|member| member.address).filter(|_| leader != data.me);
        match at {
            Some(at) => self.ask(at, PeerCall::Remove { id }, Pending::Removal),
            None if !self.spares(id, now) => return Err(refused("etcdserver: unhealthy cluster")),
            None => {
                let etcd = self.storage.system.as_mut().and_then(|system| system.etcd.as_mut());
                etcd.map_or(Ok(()), |data| data.cluster.remove(id)).map_err(|text| refused(&text))?;
            }
        }
        Ok(Response::Accepted)
    }

    /// The own member leaves; once it is out, its data go and the service stays down.
    pub(super) fn leave_etcd(&mut self, now: u64) -> Result<Response, Status> {
        self.control_plane_only("etcd leave")?;
        let me = self.running_etcd()?.me;
        let refused = |status: Status| {
            let text = status.message.strip_prefix("failed to remove member: ").unwrap_or(&status.message);
            Status::new(Code::Unknown, format!("failed to leave cluster: {text}"))
        };
        self.remove_member(me, now).map_err(refused)?;
        self.leave_soon(Leave::Etcd { tries: LEAVE_TRIES }, now);
        Ok(Response::Accepted)
    }

    /// etcd cannot begin from the snapshot that it was told to begin from.
    pub(super) fn is_not_restored(&mut self, reason: &str) {
        if let Some(system) = &mut self.storage.system {
            system.etcd = None;
        }
        if let Some(node) = self.node_mut() {
            node.generation += 1;
            node.etcd = Etcd::Failed {
                reason: format!("Failed to run pre stage: error verifying snapshot: {reason}"),
            };
        }
    }

    /// It is out of etcd: nothing of its data is valid any more.
    pub(super) fn has_left_etcd(&mut self) {
        if let Some(system) = &mut self.storage.system {
            system.etcd = None;
        }
        if let Some(node) = self.node_mut() {
            node.generation += 1;
            node.etcd = Etcd::Finished;
            // there is nothing left to wait for
            node.leaving = node.leaving.take().filter(|how| !matches!(how, Leave::Etcd { .. }));
        }
    }

    /// The lead goes to the first other member, whoever that is.
    pub(super) fn forfeit(&mut self, now: u64) -> Result<Response, Status> {
        self.control_plane_only("etcd forfeit leadership")?;
        let refused =
            |text: &str| Err(Status::new(Code::Unknown, format!("failed to forfeit leadership: {text}")));
        let data = self.running_etcd()?;
        let Some(leader) = self.leader(now) else {
            return refused(&format!("failed to list etcd members: {NO_LEADER}"));
        };
        let members = &data.cluster.members;
        let Some((&other, next)) = members.iter().find(|(id, _)| **id != data.me) else {
            return refused("cannot forfeit leadership, only one member");
        };
        if leader != data.me {
            return Ok(Response::Forfeited(None));
        }
        if next.learner {
            return refused("etcdserver: bad leader transferee");
        }
        let name = next.name.clone();
        if let Some(data) = self.storage.system.as_mut().and_then(|system| system.etcd.as_mut()) {
            data.cluster.lead(other);
        }
        Ok(Response::Forfeited(Some(name)))
    }

    /// Whether a caller may ask this of the etcd that runs here: for a real one, which answers itself.
    ///
    /// # Errors
    /// The status of the machine API, without etcd having been asked.
    pub fn may_ask_etcd(&self, caller: &Caller, request: &Request) -> Result<(), Status> {
        self.admits(caller, request)?;
        self.control_plane_only(match request {
            Request::EtcdMemberList { .. } => "member list",
            Request::EtcdRemoveMember { .. } => "etcd remove member",
            Request::EtcdLeave => "etcd leave",
            Request::EtcdForfeit => "etcd forfeit leadership",
            Request::EtcdSnapshot => "etcd snapshot",
            _ => "etcd status",
        })?;
        self.running_etcd().map(drop)
    }

    pub(super) fn running_etcd(&self) -> Result<&DataDirectory, Status> {
        let runs = self.node().is_some_and(|node| matches!(node.etcd, Etcd::Running { .. }));
        // the text of the real thing is not in the reference; that the call fails is (§9.2)
        let text = "failed to create etcd client: error building etcd client: context deadline exceeded";
        self.data().filter(|_| runs).ok_or_else(|| Status::new(Code::Unknown, text))
    }
}
