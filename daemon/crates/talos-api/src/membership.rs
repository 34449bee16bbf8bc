//! Who belongs to the etcd cluster: what takes a member away, or the lead from it (talos.md §9.4).
//!
//! None of these calls looks at the quorum; that is the caller's duty. None is sent twice here.

use tonic::Code;

use crate::{CallError, Client, proto::machine};

impl Client {
    /// Takes the member with this id out of the cluster; to be asked of a healthy member, not of the one that goes.
    /// `false` when there is no such member, which after a lost reply means that it is gone. Other refusals of
    /// etcd, such as an unhealthy cluster, come with the code `Unknown`.
    pub async fn etcd_remove_member(&self, id: u64) -> Result<bool, CallError> {
        let mut machine = self.machine();
        let request = machine::EtcdRemoveMemberByIdRequest { member_id: id };
        match self.messages("EtcdRemoveMemberByID", machine.etcd_remove_member_by_id(request)).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Code::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// This machine's own member leaves the cluster. Fails on the last member.
    pub async fn etcd_leave(&self) -> Result<(), CallError> {
        let mut machine = self.machine();
        let request = machine::EtcdLeaveClusterRequest {};
        self.messages("EtcdLeaveCluster", machine.etcd_leave_cluster(request)).await?;
        Ok(())
    }

    /// This machine's member hands the lead to another one, whose name is returned; `None` when it did not lead.
    pub async fn etcd_forfeit_leadership(&self) -> Result<Option<String>, CallError> {
        let mut machine = self.machine();
        let request = machine::EtcdForfeitLeadershipRequest {};
        let reply = self.message("EtcdForfeitLeadership", machine.etcd_forfeit_leadership(request)).await?;
        Ok(Some(reply.member).filter(|leader| !leader.is_empty()))
    }
}
