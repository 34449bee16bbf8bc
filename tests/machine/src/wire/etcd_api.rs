//! The calls of the machine API that go on to etcd: to the played one in the model, or to the real one behind this machine with
//! Talos's own words around what that says.
//!
//! Talos asks the cluster at any control plane, and its own member only where it says so. Here the cluster is the own member,
//! and one with a vote where that has none.

use std::{net::IpAddr, time::Duration};

use serde_json::json;
use talos_api::proto::{common, machine as pb};
use tonic::codegen::BoxStream;
use tonic::{Request as Grpc, Response as Reply};

use super::{
    etcd::{self, Fault},
    machine_api::{Api, caller, mismatch, refuse},
};
use crate::model::{Machine, Member, Request, Response};

/// Between two attempts to leave, and how many there are (Talos: every 10 s for 5 minutes).
const LEAVE_AGAIN: Duration = Duration::from_millis(500);
const LEAVE_TRIES: u32 = 60;

/// Of a snapshot, in bytes: smaller than etcd's own, so that it comes in several.
const REAL_PIECE: usize = 32 << 10;
const PLAYED_PIECE: usize = 100;

type Pieces = BoxStream<common::Data>;

impl Api {
    /// Where the real etcd of this machine answers, for a caller who may ask the model for the same.
    pub(super) fn real<T>(&self, grpc: &Grpc<T>, asks: Request) -> Result<Option<IpAddr>, tonic::Status> {
        if self.2.is_none() {
            return Ok(None);
        }
        let caller = caller(grpc);
        self.0.look(|machine| machine.may_ask_etcd(&caller, &asks)).map_err(refuse)?;
        Ok(self.0.look(Machine::address))
    }

    /// A change of the real one, noted like one of the model.
    fn noted<T>(&self, call: &str, done: Result<T, tonic::Status>) -> Result<T, tonic::Status> {
        let refused = done.as_ref().err().map(|status| status.message().to_owned());
        self.1.say("called", json!({ "call": call, "refused": refused }));
        done
    }

    /// Where a question to the cluster goes.
    async fn voter(&self, own: IpAddr) -> Result<IpAddr, tonic::Status> {
        if !etcd::status(own).await.map_err(Fault::into_status)?.learner {
            return Ok(own);
        }
        let known = self.0.look(Machine::real_etcd).map(|etcd| etcd.data.cluster.members);
        let voter = known.unwrap_or_default().into_values().find(|member| !member.learner);
        Ok(voter.map_or(own, |member| member.address))
    }

    pub(super) async fn list_members(
        &self,
        request: &Grpc<pb::EtcdMemberListRequest>,
    ) -> Result<Reply<pb::EtcdMemberListResponse>, tonic::Status> {
        let local = request.get_ref().query_local;
        if let Some(own) = self.real(request, Request::EtcdMemberList { local })? {
            let to = if local { own } else { self.voter(own).await? };
            let (_, members) = etcd::members_of_all(to).await.map_err(Fault::into_status)?;
            return Ok(Reply::new(member_list(members)));
        }
        let Response::Members(members) = self.ask(request, Request::EtcdMemberList { local })? else {
            return Err(mismatch());
        };
        Ok(Reply::new(member_list(members)))
    }

    pub(super) async fn remove_member(
        &self,
        request: &Grpc<pb::EtcdRemoveMemberByIdRequest>,
    ) -> Result<Reply<pb::EtcdRemoveMemberByIdResponse>, tonic::Status> {
        let id = request.get_ref().member_id;
        let asks = Request::EtcdRemoveMember { id };
        if let Some(own) = self.real(request, asks.clone())? {
            let removed = etcd::remove(self.voter(own).await?, id).await;
            let removed = removed.map_err(|fault| fault.around(&format!("failed to remove member {id}: ")));
            let removed = removed.map_err(|status| match status.code() {
                tonic::Code::NotFound => status,
                _ => tonic::Status::unknown(format!("failed to remove member: {}", status.message())),
            });
            self.noted("EtcdRemoveMemberByID", removed)?;
        } else {
            self.ask(request, asks)?;
        }
        Ok(Reply::new(pb::EtcdRemoveMemberByIdResponse {
            messages: vec![pb::EtcdRemoveMemberById::default()],
        }))
    }

    pub(super) async fn leave(
        &self,
        request: &Grpc<pb::EtcdLeaveClusterRequest>,
    ) -> Result<Reply<pb::EtcdLeaveClusterResponse>, tonic::Status> {
        if let Some(own) = self.real(request, Request::EtcdLeave)? {
            self.leaves_real(own).await?;
            self.0.with(Machine::etcd_left);
        } else {
            self.ask(request, Request::EtcdLeave)?;
        }
        Ok(Reply::new(pb::EtcdLeaveClusterResponse { messages: vec![pb::EtcdLeaveCluster::default()] }))
    }

    /// Takes the own member out of the real one. What passes is waited for, as Talos does it.
    pub(super) async fn leaves_real(&self, own: IpAddr) -> Result<(), tonic::Status> {
        let me = etcd::status(own).await.map_err(Fault::into_status)?.member;
        let leaving = async {
            let mut tries = 0;
            loop {
                match etcd::remove(self.voter(own).await?, me).await {
                    Err(Fault::Refused(words)) if words.contains("member not found") => return Ok(()),
                    Err(Fault::Refused(words))
                        if tries < LEAVE_TRIES
                            && (words.contains("unhealthy cluster") || words.contains("stopped")) =>
                    {
                        tries += 1;
                        tokio::time::sleep(LEAVE_AGAIN).await;
                    }
                    left => {
                        let words = format!("failed to leave cluster: failed to remove member {me}: ");
                        return left.map_err(|fault| fault.around(&words));
                    }
                }
            }
        };
        let left = leaving.await;
        self.noted("EtcdLeaveCluster", left)
    }

    pub(super) async fn snapshot(
        &self,
        request: &Grpc<pb::EtcdSnapshotRequest>,
    ) -> Result<Reply<Pieces>, tonic::Status> {
        let (snapshot, size) = if let Some(own) = self.real(request, Request::EtcdSnapshot)? {
            let snapshot = etcd::snapshot(own).await;
            let snapshot = snapshot.map_err(|fault| fault.around("failed reading etcd snapshot: "));
            (self.noted("EtcdSnapshot", snapshot)?, REAL_PIECE)
        } else {
            let Response::Snapshot(snapshot) = self.ask(request, Request::EtcdSnapshot)? else {
                return Err(mismatch());
            };
            (snapshot, PLAYED_PIECE)
        };
        let piece = |bytes: &[u8]| Ok(common::Data { bytes: bytes.to_vec(), ..common::Data::default() });
        let pieces: Vec<_> = snapshot.chunks(size).map(piece).collect();
        Ok(Reply::new(Box::pin(tokio_stream::iter(pieces))))
    }

    pub(super) async fn take_snapshot(
        &self,
        request: Grpc<tonic::Streaming<common::Data>>,
    ) -> Result<Reply<pb::EtcdRecoverResponse>, tonic::Status> {
        let (metadata, extensions, mut pieces) = request.into_parts();
        let mut snapshot = Vec::new();
        while let Some(piece) = pieces.message().await? {
            snapshot.extend(piece.bytes);
        }
        let asked = Grpc::from_parts(metadata, extensions, ());
        if let Some(etcd) = &self.2 {
            etcd.keep(&snapshot).map_err(|error| tonic::Status::internal(format!("{error:#}")))?;
        }
        self.ask(&asked, Request::EtcdRecover { snapshot })?;
        Ok(Reply::new(pb::EtcdRecoverResponse { messages: vec![pb::EtcdRecover::default()] }))
    }

    pub(super) async fn forfeit(
        &self,
        request: &Grpc<pb::EtcdForfeitLeadershipRequest>,
    ) -> Result<Reply<pb::EtcdForfeitLeadershipResponse>, tonic::Status> {
        let member = if let Some(own) = self.real(request, Request::EtcdForfeit)? {
            let forfeited = self.forfeits_real(own).await;
            self.noted("EtcdForfeitLeadership", forfeited)?
        } else {
            let Response::Forfeited(member) = self.ask(request, Request::EtcdForfeit)? else {
                return Err(mismatch());
            };
            member
        };
        let mut message = pb::EtcdForfeitLeadership::default();
        if let Some(member) = member {
            message.member = member;
        }
        Ok(Reply::new(pb::EtcdForfeitLeadershipResponse { messages: vec![message] }))
    }

    /// To the first other member, as Talos chooses it, if the own one leads.
    async fn forfeits_real(&self, own: IpAddr) -> Result<Option<String>, tonic::Status> {
        let words = "failed to forfeit leadership: ";
        let (_, members) = etcd::members_of_all(self.voter(own).await?)
            .await
            .map_err(|fault| fault.around(&format!("{words}failed to list etcd members: ")))?;
        let health = etcd::status(own).await.map_err(|fault| fault.around(words))?;
        let Some((&id, other)) = members.iter().find(|(id, _)| **id != health.member) else {
            return Err(tonic::Status::unknown(format!("{words}cannot forfeit leadership, only one member")));
        };
        if health.leader != health.member {
            return Ok(None);
        }
        etcd::transfer(own, id).await.map_err(|fault| fault.around(words))?;
        Ok(Some(other.name.clone()))
    }

    pub(super) async fn member_status(
        &self,
        request: &Grpc<()>,
    ) -> Result<Reply<pb::EtcdStatusResponse>, tonic::Status> {
        let Response::EtcdStatus { member, leader, learner, index } =
            self.ask(request, Request::EtcdStatus)?
        else {
            return Err(mismatch());
        };
        let status = if let Some(own) = self.real(request, Request::EtcdStatus)? {
            let health = etcd::status(own).await;
            let health = health.map_err(|fault| fault.around("failed to query etcd status: "))?;
            pb::EtcdMemberStatus {
                member_id: health.member,
                leader: health.leader,
                is_learner: health.learner,
                raft_index: health.index,
                raft_applied_index: health.applied,
                raft_term: health.term,
                db_size: health.size,
                errors: health.errors,
                protocol_version: "3.6.12".to_owned(),
                ..pb::EtcdMemberStatus::default()
            }
        } else {
            pb::EtcdMemberStatus {
                member_id: member,
                leader,
                is_learner: learner,
                raft_index: index,
                raft_applied_index: index,
                raft_term: 2,
                protocol_version: "3.6.4".to_owned(),
                ..pb::EtcdMemberStatus::default()
            }
        };
        let message = pb::EtcdStatus { member_status: Some(status), ..pb::EtcdStatus::default() };
        Ok(Reply::new(pb::EtcdStatusResponse { messages: vec![message] }))
    }
}

/// As the API tells it.
fn member_list(members: impl IntoIterator<Item = (u64, Member)>) -> pb::EtcdMemberListResponse {
    let member = |(id, member): (u64, Member)| pb::EtcdMember {
        id,
        peer_urls: vec![format!("https://{}:2380", member.address)],
        // who has not started has told none
        client_urls: match member.name.as_str() {
            "" => Vec::new(),
            _ => vec![format!("https://{}:2379", member.address)],
        },
        hostname: member.name,
        is_learner: member.learner,
    };
    let members = members.into_iter().map(member).collect();
    let message = pb::EtcdMembers { members, ..pb::EtcdMembers::default() };
    pb::EtcdMemberListResponse { messages: vec![message] }
}
