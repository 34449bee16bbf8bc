//! etcd as one control plane sees it.

use crate::{CallError, Client, proto::machine};

/// A member of the etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    /// etcd writes it as 16 hexadecimal digits
    pub id: u64,
    /// empty until the member has started
    pub hostname: String,
    /// `https://10.0.0.11:2380`
    pub peer_urls: Vec<String>,
    /// empty until the member has started
    pub client_urls: Vec<String>,
    /// still catching up, without a vote
    pub learner: bool,
}

/// The state of the member on the machine that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdStatus {
    /// this member
    pub member_id: u64,
    /// the member that leads; 0 without a quorum
    pub leader: u64,
    /// still catching up, without a vote
    pub learner: bool,
    /// the last entry this member knows
    pub raft_index: u64,
    /// the last entry this member has applied
    pub raft_applied_index: u64,
    /// grows with every election
    pub raft_term: u64,
    /// bytes on disk
    pub db_size: i64,
    /// what etcd complains about
    pub errors: Vec<String>,
}

impl Client {
    /// The members of the cluster; `local` asks this machine's member alone. Fails while etcd does not run here, and, as of
    /// Talos 1.13 and 1.14, where it has no leader.
    pub async fn etcd_members(&self, local: bool) -> Result<Vec<EtcdMember>, CallError> {
        let mut machine = self.machine();
        let request = machine::EtcdMemberListRequest { query_local: local };
        let reply = self.message("EtcdMemberList", machine.etcd_member_list(request)).await?;
        Ok(reply.members.into_iter().map(EtcdMember::from).collect())
    }

    /// The member on this machine. Fails while etcd does not run here.
    pub async fn etcd_status(&self) -> Result<EtcdStatus, CallError> {
        const CALL: &str = "EtcdStatus";
        let mut machine = self.machine();
        let reply = self.message(CALL, machine.etcd_status(())).await?;
        let status = reply.member_status.ok_or_else(|| self.unusable(CALL, "it names no member"))?;
        Ok(EtcdStatus {
            member_id: status.member_id,
            leader: status.leader,
            learner: status.is_learner,
            raft_index: status.raft_index,
            raft_applied_index: status.raft_applied_index,
            raft_term: status.raft_term,
            db_size: status.db_size,
            errors: status.errors,
        })
    }
}

impl From<machine::EtcdMember> for EtcdMember {
    fn from(member: machine::EtcdMember) -> Self {
        Self {
            id: member.id,
            hostname: member.hostname,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            learner: member.is_learner,
        }
    }
}
