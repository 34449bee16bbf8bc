//! The calls that keep a cluster, not make it: members, alarms, snapshots, META, logs, the way down and up.

use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use talos_api::{
    AlarmKind, CallError, Client, EtcdAlarm, ShutdownMode, SnapshotError,
    proto::{
        common,
        machine::{
            self,
            machine_service_server::{MachineService, MachineServiceServer},
        },
    },
};
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::peer::{Ca, MAINTENANCE, Server, Tls};

type Answer<T> = Result<Response<T>, Status>;
type Pieces = std::pin::Pin<Box<dyn Stream<Item = Result<common::Data, Status>> + Send>>;

/// Fails inside of its replies when it is told to; what it was asked is kept.
#[derive(Default)]
struct Machine {
    asked: Mutex<Vec<String>>,
    failing: bool,
    pieces: Vec<Vec<u8>>,
    then: Option<Status>,
}

impl Machine {
    fn metadata(&self) -> Option<common::Metadata> {
        let failure = || common::Metadata {
            hostname: "mini02".to_owned(),
            error: "etcd is not running".to_owned(),
            ..Default::default()
        };
        self.failing.then(failure)
    }

    fn asked(&self, what: impl std::fmt::Debug) {
        self.asked.lock().unwrap().push(format!("{what:?}"));
    }

    fn pieces(&self) -> Answer<Pieces> {
        let data = |bytes: &Vec<u8>| Ok(common::Data { metadata: self.metadata(), bytes: bytes.clone() });
        let mut pieces: Vec<_> = self.pieces.iter().map(data).collect();
        pieces.extend(self.then.clone().map(Err));
        Ok(Response::new(stream::iter(pieces).boxed()))
    }
}

struct Api(Arc<Machine>);

#[tonic::async_trait]
impl MachineService for Api {
    async fn etcd_remove_member_by_id(
        &self,
        request: Request<machine::EtcdRemoveMemberByIdRequest>,
    ) -> Answer<machine::EtcdRemoveMemberByIdResponse> {
        match request.into_inner().member_id {
            7 => {
                let messages = vec![machine::EtcdRemoveMemberById { metadata: self.0.metadata() }];
                Ok(Response::new(machine::EtcdRemoveMemberByIdResponse { messages }))
            }
            8 => Err(Status::unknown("etcdserver: unhealthy cluster")),
            _ => Err(Status::not_found("etcdserver: member not found")),
        }
    }

    async fn etcd_leave_cluster(
        &self,
        request: Request<machine::EtcdLeaveClusterRequest>,
    ) -> Answer<machine::EtcdLeaveClusterResponse> {
        self.0.asked(request.into_inner());
        let messages = vec![machine::EtcdLeaveCluster { metadata: self.0.metadata() }];
        Ok(Response::new(machine::EtcdLeaveClusterResponse { messages }))
    }

    async fn etcd_forfeit_leadership(
        &self,
        _: Request<machine::EtcdForfeitLeadershipRequest>,
    ) -> Answer<machine::EtcdForfeitLeadershipResponse> {
        // The first time it leads.
        let mut asked = self.0.asked.lock().unwrap();
        let member = if asked.is_empty() { "mini03".to_owned() } else { String::new() };
        asked.push("forfeit".to_owned());
        let messages = vec![machine::EtcdForfeitLeadership { metadata: self.0.metadata(), member }];
        Ok(Response::new(machine::EtcdForfeitLeadershipResponse { messages }))
    }

    async fn etcd_alarm_list(&self, _: Request<()>) -> Answer<machine::EtcdAlarmListResponse> {
        let alarm = |member_id, alarm| machine::EtcdMemberAlarm { member_id, alarm };
        let member_alarms = vec![alarm(1, 0), alarm(2, 1), alarm(3, 2), alarm(4, 9)];
        let messages = vec![machine::EtcdAlarm { metadata: self.0.metadata(), member_alarms }];
        Ok(Response::new(machine::EtcdAlarmListResponse { messages }))
    }

    async fn etcd_alarm_disarm(&self, _: Request<()>) -> Answer<machine::EtcdAlarmDisarmResponse> {
        let member_alarms = vec![machine::EtcdMemberAlarm { member_id: 2, alarm: 1 }];
        let messages = vec![machine::EtcdAlarmDisarm { metadata: self.0.metadata(), member_alarms }];
        Ok(Response::new(machine::EtcdAlarmDisarmResponse { messages }))
    }

    async fn etcd_defragment(&self, _: Request<()>) -> Answer<machine::EtcdDefragmentResponse> {
        self.0.asked("defragment");
        let messages = vec![machine::EtcdDefragment { metadata: self.0.metadata() }];
        Ok(Response::new(machine::EtcdDefragmentResponse { messages }))
    }

    async fn etcd_snapshot(&self, _: Request<machine::EtcdSnapshotRequest>) -> Answer<Pieces> {
        self.0.pieces()
    }

    async fn logs(&self, request: Request<machine::LogsRequest>) -> Answer<Pieces> {
        let request = request.into_inner();
        self.0.asked((request.namespace, request.id, request.driver, request.follow, request.tail_lines));
        self.0.pieces()
    }

    async fn dmesg(&self, request: Request<machine::DmesgRequest>) -> Answer<Pieces> {
        let request = request.into_inner();
        self.0.asked((request.follow, request.tail));
        self.0.pieces()
    }

    async fn meta_write(
        &self,
        request: Request<machine::MetaWriteRequest>,
    ) -> Answer<machine::MetaWriteResponse> {
        let request = request.into_inner();
        self.0.asked((request.key, request.value));
        let messages = vec![machine::MetaWrite { metadata: self.0.metadata() }];
        Ok(Response::new(machine::MetaWriteResponse { messages }))
    }

    async fn meta_delete(
        &self,
        request: Request<machine::MetaDeleteRequest>,
    ) -> Answer<machine::MetaDeleteResponse> {
        if request.into_inner().key != 10 {
            return Err(Status::not_found("no such key"));
        }
        let messages = vec![machine::MetaDelete { metadata: self.0.metadata() }];
        Ok(Response::new(machine::MetaDeleteResponse { messages }))
    }

    async fn shutdown(
        &self,
        request: Request<machine::ShutdownRequest>,
    ) -> Answer<machine::ShutdownResponse> {
        self.0.asked(request.into_inner().force);
        let messages = vec![machine::Shutdown { metadata: self.0.metadata(), ..Default::default() }];
        Ok(Response::new(machine::ShutdownResponse { messages }))
    }

    async fn upgrade(&self, request: Request<machine::UpgradeRequest>) -> Answer<machine::UpgradeResponse> {
        let request = request.into_inner();
        self.0.asked((request.image, request.preserve, request.stage, request.force));
        let messages = vec![machine::Upgrade { metadata: self.0.metadata(), ..Default::default() }];
        Ok(Response::new(machine::UpgradeResponse { messages }))
    }
}

/// The server must outlive the client's calls.
async fn dialled(machine: Machine) -> (Server, Client, Arc<Machine>) {
    let machine = Arc::new(machine);
    let routes = Routes::new(MachineServiceServer::new(Api(Arc::clone(&machine))));
    let leaf = Ca::new().server(MAINTENANCE, |_| {});
    let server = Server::start(Tls::open(&leaf), routes).await;
    let client = Client::maintenance(server.address, &leaf.fingerprint()).await.unwrap();
    (server, client, machine)
}

#[tokio::test]
async fn a_member_goes_once_and_a_refusal_is_no_success() {
    let (_server, client, machine) = dialled(Machine::default()).await;
    assert!(client.etcd_remove_member(7).await.unwrap());
    assert!(!client.etcd_remove_member(9).await.unwrap());
    let refused = client.etcd_remove_member(8).await.unwrap_err();
    assert!(refused.code() == Code::Unknown && refused.to_string().contains("unhealthy cluster"));

    assert_eq!(client.etcd_forfeit_leadership().await.unwrap().as_deref(), Some("mini03"));
    assert_eq!(client.etcd_forfeit_leadership().await.unwrap(), None);
    client.etcd_leave().await.unwrap();
    assert_eq!(*machine.asked.lock().unwrap(), ["forfeit", "forfeit", "EtcdLeaveClusterRequest"]);
}

#[tokio::test]
async fn alarms_have_their_names() {
    let (_server, client, machine) = dialled(Machine::default()).await;
    let alarm = |member_id, kind| EtcdAlarm { member_id, kind };
    let no_space = alarm(2, AlarmKind::NoSpace);
    let expected = [no_space, alarm(3, AlarmKind::Corrupt), alarm(4, AlarmKind::Other(9))];
    assert_eq!(client.etcd_alarms().await.unwrap(), expected);
    assert_eq!(client.etcd_disarm().await.unwrap(), [no_space]);
    client.etcd_defragment().await.unwrap();
    assert_eq!(*machine.asked.lock().unwrap(), ["\"defragment\""]);
}

#[tokio::test]
async fn orders_never_ask_for_more_than_was_meant() {
    let (_server, client, machine) = dialled(Machine::default()).await;
    client.shutdown(ShutdownMode::Drain).await.unwrap();
    client.shutdown(ShutdownMode::Force).await.unwrap();
    client.upgrade("factory/installer:v1", true).await.unwrap();
    assert!(matches!(client.upgrade("", false).await, Err(CallError::Reply { .. })));
    client.meta_write(10, b"value").await.unwrap();
    assert!(client.meta_delete(10).await.unwrap());
    assert!(!client.meta_delete(11).await.unwrap());
    let upgrade = "(\"factory/installer:v1\", true, true, false)";
    assert_eq!(*machine.asked.lock().unwrap(), ["false", "true", upgrade, "(10, [118, 97, 108, 117, 101])"]);
}

#[tokio::test]
async fn a_failure_inside_of_any_reply_is_a_failure() {
    let failing = Machine { failing: true, pieces: vec![b"half".to_vec()], ..Default::default() };
    let (_server, client, _machine) = dialled(failing).await;
    let mut failures = vec![
        client.etcd_remove_member(7).await.unwrap_err(),
        client.etcd_leave().await.unwrap_err(),
        client.etcd_forfeit_leadership().await.unwrap_err(),
        client.etcd_alarms().await.unwrap_err(),
        client.etcd_disarm().await.unwrap_err(),
        client.etcd_defragment().await.unwrap_err(),
        client.meta_write(10, b"").await.unwrap_err(),
        client.meta_delete(10).await.unwrap_err(),
        client.shutdown(ShutdownMode::Drain).await.unwrap_err(),
        client.upgrade("image", false).await.unwrap_err(),
        client.logs("etcd", None, false).await.unwrap().next().await.unwrap().unwrap_err(),
        client.dmesg(false).await.unwrap().next().await.unwrap().unwrap_err(),
    ];
    let mut written = Vec::new();
    match client.etcd_snapshot(&mut written).await {
        Err(SnapshotError::Call(error)) => failures.push(error),
        other => panic!("{other:?}"),
    }
    assert!(written.is_empty());
    for failure in failures {
        let in_reply = matches!(&failure, CallError::Node { node, message, .. }
            if node == "mini02" && message == "etcd is not running");
        assert!(in_reply, "{failure:?}");
    }
}

fn database() -> Vec<u8> {
    let database: Vec<u8> = (0..5000_u32).flat_map(u32::to_le_bytes).collect();
    let hash = Sha256::digest(&database);
    [database, hash.to_vec()].concat()
}

fn cut(bytes: &[u8], at: usize) -> Vec<Vec<u8>> {
    bytes.chunks(at).map(<[u8]>::to_vec).collect()
}

#[tokio::test]
async fn a_snapshot_is_whole_however_it_is_cut() {
    for at in [7, 32, 1000, 1 << 20] {
        let (_server, client, _) =
            dialled(Machine { pieces: cut(&database(), at), ..Default::default() }).await;
        let mut written = Vec::new();
        assert_eq!(client.etcd_snapshot(&mut written).await.unwrap(), database().len() as u64);
        assert_eq!(written, database());
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_is_an_error() {
    let whole = database();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    let nothing = Sha256::digest(b"").to_vec();
    for bytes in [&damaged[..], &whole[..whole.len() - 1], &whole[..1000], &nothing, b"short", b""] {
        let (_server, client, _) = dialled(Machine { pieces: cut(bytes, 1000), ..Default::default() }).await;
        let error = client.etcd_snapshot(&mut Vec::new()).await.unwrap_err();
        assert!(matches!(&error, SnapshotError::Call(CallError::Reply { .. })), "{error:?}");
    }
    let then = Some(Status::unavailable("going down"));
    let (server, client, _) =
        dialled(Machine { pieces: cut(&whole, 1000), then, ..Default::default() }).await;
    let error = client.etcd_snapshot(&mut Vec::new()).await.unwrap_err();
    assert!(matches!(&error, SnapshotError::Call(error) if error.code() == Code::Unavailable), "{error:?}");

    let mut full = [0; 100];
    let error = client.etcd_snapshot(&mut std::io::Cursor::new(&mut full[..])).await.unwrap_err();
    assert!(
        matches!(&error, SnapshotError::Write { address, .. } if *address == server.address),
        "{error:?}"
    );
}

#[tokio::test]
async fn logs_come_in_order_and_end_with_the_first_error() {
    let pieces = vec![b"one\n".to_vec(), b"two".to_vec()];
    let then = Some(Status::unavailable("going down"));
    let (_server, client, machine) = dialled(Machine { pieces, then, ..Default::default() }).await;
    let mut log = client.logs("etcd", Some(5), true).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), b"one\n");
    assert_eq!(log.next().await.unwrap().unwrap(), b"two");
    assert_eq!(log.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(log.next().await.is_none());
    drop(client.logs("kubelet", None, false).await.unwrap());
    client.dmesg(true).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(
        *machine.asked.lock().unwrap(),
        ["(\"system\", \"etcd\", 0, true, 5)", "(\"system\", \"kubelet\", 0, false, -1)", "(true, false)"]
    );
}
