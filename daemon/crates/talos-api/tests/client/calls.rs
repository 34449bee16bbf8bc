//! What the client makes of replies, good and bad.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use futures_util::{Stream, StreamExt as _, stream};
use hardware::{Disk, Link, MacAddr};
use talos_api::{
    ApplyMode, CallError, Change, Client, EtcdMember, Kind, RebootMode, Reset, Stage, Unmet, Wipe, observe,
    proto::{
        common,
        cosi::resource::{
            self as cosi, EventType,
            state_server::{State, StateServer},
        },
        machine::{
            self,
            machine_service_server::{MachineService, MachineServiceServer},
        },
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::peer::{Ca, MAINTENANCE, Server, Tls};

/// What the generated traits want for replies that come in pieces.
type Pieces<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A control plane as far as these tests go. What it was told to do is kept.
#[derive(Default)]
struct Machine {
    applied: Mutex<Vec<machine::ApplyConfigurationRequest>>,
    bootstrapped: Mutex<bool>,
    orders: Mutex<Vec<String>>,
    resources: Vec<(&'static str, cosi::Resource)>,
    unsupported: Vec<&'static str>,
    watched: Mutex<Option<mpsc::UnboundedReceiver<Result<cosi::WatchResponse, Status>>>>,
    watches: Mutex<Vec<cosi::WatchRequest>>,
}

struct Api(Arc<Machine>);

#[tonic::async_trait]
impl MachineService for Api {
    async fn apply_configuration(
        &self,
        request: Request<machine::ApplyConfigurationRequest>,
    ) -> Result<Response<machine::ApplyConfigurationResponse>, Status> {
        let request = request.into_inner();
        if !request.data.starts_with(b"version: v1alpha1") {
            return Err(Status::invalid_argument("1 error occurred:\n\t* unknown keys found"));
        }
        self.0.applied.lock().unwrap().push(request);
        let mut message = machine::ApplyConfiguration {
            warnings: vec!["deprecated".to_owned()],
            mode_details: "Applied configuration without a reboot".to_owned(),
            ..Default::default()
        };
        message.set_mode(machine::apply_configuration_request::Mode::NoReboot);
        Ok(Response::new(machine::ApplyConfigurationResponse { messages: vec![message] }))
    }

    async fn bootstrap(
        &self,
        _: Request<machine::BootstrapRequest>,
    ) -> Result<Response<machine::BootstrapResponse>, Status> {
        if std::mem::replace(&mut *self.0.bootstrapped.lock().unwrap(), true) {
            return Err(Status::already_exists("etcd data directory is not empty"));
        }
        Ok(Response::new(machine::BootstrapResponse { messages: vec![machine::Bootstrap::default()] }))
    }

    async fn etcd_member_list(
        &self,
        request: Request<machine::EtcdMemberListRequest>,
    ) -> Result<Response<machine::EtcdMemberListResponse>, Status> {
        let members = machine::EtcdMembers {
            members: vec![machine::EtcdMember {
                id: 0xdead_beef,
                hostname: "mini01".to_owned(),
                peer_urls: vec!["https://10.0.0.11:2380".to_owned()],
                client_urls: vec![],
                is_learner: true,
            }],
            ..Default::default()
        };
        let failed = machine::EtcdMembers {
            metadata: Some(common::Metadata {
                hostname: "mini02".to_owned(),
                error: "etcd is not running".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        // Asked for the whole cluster, the second machine's failure comes inside the reply.
        let messages = if request.into_inner().query_local { vec![members] } else { vec![members, failed] };
        Ok(Response::new(machine::EtcdMemberListResponse { messages }))
    }

    async fn etcd_status(&self, _: Request<()>) -> Result<Response<machine::EtcdStatusResponse>, Status> {
        Ok(Response::new(machine::EtcdStatusResponse { messages: vec![] }))
    }

    async fn service_list(&self, _: Request<()>) -> Result<Response<machine::ServiceListResponse>, Status> {
        std::future::pending().await
    }

    async fn kubeconfig(&self, _: Request<()>) -> Result<Response<Pieces<common::Data>>, Status> {
        let text = b"apiVersion: v1\nkind: Config\n";
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, "kubeconfig", &text[..]).unwrap();
        let archive = tar.into_inner().unwrap().finish().unwrap();
        let piece = |bytes: &[u8]| Ok(common::Data { metadata: None, bytes: bytes.to_vec() });
        let pieces: Vec<_> = archive.chunks(20).map(piece).collect();
        assert!(pieces.len() > 2);
        Ok(Response::new(stream::iter(pieces).boxed()))
    }

    async fn reboot(
        &self,
        request: Request<machine::RebootRequest>,
    ) -> Result<Response<machine::RebootResponse>, Status> {
        self.0.orders.lock().unwrap().push(format!("reboot {:?}", request.into_inner().mode()));
        Ok(Response::new(machine::RebootResponse { messages: vec![machine::Reboot::default()] }))
    }

    async fn reset(
        &self,
        request: Request<machine::ResetRequest>,
    ) -> Result<Response<machine::ResetResponse>, Status> {
        self.0.orders.lock().unwrap().push(format!("reset {:?}", request.into_inner().mode()));
        Ok(Response::new(machine::ResetResponse { messages: vec![machine::Reset::default()] }))
    }
}

#[tonic::async_trait]
impl State for Api {
    async fn get(&self, request: Request<cosi::GetRequest>) -> Result<Response<cosi::GetResponse>, Status> {
        let request = request.into_inner();
        let found = self.0.resources.iter().find(|(kind, resource)| {
            let metadata = resource.metadata.as_ref().unwrap();
            *kind == request.r#type && metadata.id == request.id && metadata.namespace == request.namespace
        });
        match found {
            Some((_, resource)) => Ok(Response::new(cosi::GetResponse { resource: Some(resource.clone()) })),
            None if self.0.unsupported.contains(&request.r#type.as_str()) => {
                Err(Status::permission_denied("resource type is not supported"))
            }
            None => Err(Status::not_found("resource does not exist")),
        }
    }

    async fn list(
        &self,
        request: Request<cosi::ListRequest>,
    ) -> Result<Response<Pieces<cosi::ListResponse>>, Status> {
        let request = request.into_inner();
        let found = self.0.resources.iter().filter(|(kind, _)| *kind == request.r#type);
        let replies: Vec<_> =
            found.map(|(_, resource)| Ok(cosi::ListResponse { resource: Some(resource.clone()) })).collect();
        Ok(Response::new(stream::iter(replies).boxed()))
    }

    async fn watch(
        &self,
        request: Request<cosi::WatchRequest>,
    ) -> Result<Response<Pieces<cosi::WatchResponse>>, Status> {
        self.0.watches.lock().unwrap().push(request.into_inner());
        let events = self.0.watched.lock().unwrap().take().unwrap();
        Ok(Response::new(UnboundedReceiverStream::new(events).boxed()))
    }
}

fn resource(namespace: &str, id: &str, yaml: &str) -> cosi::Resource {
    cosi::Resource {
        metadata: Some(cosi::Metadata {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            version: "7".to_owned(),
            phase: "running".to_owned(),
            ..Default::default()
        }),
        spec: Some(cosi::Spec { proto_spec: vec![], yaml_spec: yaml.to_owned() }),
    }
}

/// The server must outlive the client's calls.
async fn dialled(machine: &Arc<Machine>) -> (Server, Client) {
    let routes = Routes::new(MachineServiceServer::new(Api(Arc::clone(machine))))
        .add_service(StateServer::new(Api(Arc::clone(machine))));
    let leaf = Ca::new().server(MAINTENANCE, |_| {});
    let server = Server::start(Tls::open(&leaf), routes).await;
    let client = Client::maintenance(server.address, &leaf.fingerprint()).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn a_config_is_applied_in_the_mode_we_ask_and_the_reply_says_in_which() {
    let machine = Arc::new(Machine::default());
    let (_server, client) = dialled(&machine).await;
    let applied = client.apply_configuration("version: v1alpha1\n", ApplyMode::Auto, true).await.unwrap();
    assert_eq!(applied.mode, ApplyMode::NoReboot);
    assert_eq!(applied.details, "Applied configuration without a reboot");
    assert_eq!(applied.warnings, ["deprecated"]);
    let sent = machine.applied.lock().unwrap().clone();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].mode(), machine::apply_configuration_request::Mode::Auto);
    assert!(sent[0].dry_run);
    assert_eq!(sent[0].data, b"version: v1alpha1\n");

    let error = client.apply_configuration("nonsense", ApplyMode::Auto, false).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("unknown keys found"), "{error}");
}

#[tokio::test]
async fn a_second_bootstrap_says_that_it_was_done() {
    let (_server, client) = dialled(&Arc::default()).await;
    client.bootstrap().await.unwrap();
    let error = client.bootstrap().await.unwrap_err();
    assert!(error.is_already_exists() && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_failure_inside_a_reply_is_a_failure() {
    let (server, client) = dialled(&Arc::default()).await;
    let members = client.etcd_members(true).await.unwrap();
    let expected = EtcdMember {
        id: 0xdead_beef,
        hostname: "mini01".to_owned(),
        peer_urls: vec!["https://10.0.0.11:2380".to_owned()],
        client_urls: vec![],
        learner: true,
    };
    assert_eq!(members, [expected]);
    assert_eq!(
        client.etcd_members(false).await.unwrap_err(),
        CallError::Node {
            address: server.address,
            call: "EtcdMemberList",
            node: "mini02".to_owned(),
            code: Code::Unknown,
            message: "etcd is not running".to_owned(),
        }
    );
}

#[tokio::test]
async fn a_reply_without_a_message_is_not_taken_for_one() {
    let (_server, client) = dialled(&Arc::default()).await;
    let error = client.etcd_status().await.unwrap_err();
    assert!(matches!(error, CallError::Reply { .. }), "{error}");
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let (server, client) = dialled(&Arc::default()).await;
    let within = Duration::from_millis(50);
    let error = client.with_deadline(within).services().await.unwrap_err();
    assert_eq!(error, CallError::Deadline { address: server.address, call: "ServiceList", within });
    assert_eq!(error.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_call_that_this_machine_does_not_have_says_so() {
    let (_server, client) = dialled(&Arc::default()).await;
    let error = client.version().await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_machine_that_went_away_may_come_back() {
    let (server, client) = dialled(&Arc::default()).await;
    client.etcd_members(true).await.unwrap();
    drop(server);
    let lost = client.etcd_members(true).await.unwrap_err();
    assert!(lost.is_retryable(), "{lost:?}");
    let refused = client.etcd_members(true).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.to_string().contains("refused the connection"), "{refused}");
}

#[tokio::test]
async fn the_kubeconfig_comes_out_of_its_archive() {
    let (_server, client) = dialled(&Arc::default()).await;
    assert_eq!(client.kubeconfig().await.unwrap().text(), "apiVersion: v1\nkind: Config\n");
}

#[tokio::test]
async fn orders_arrive_as_they_were_meant() {
    let machine = Arc::new(Machine::default());
    let (_server, client) = dialled(&machine).await;
    client.reboot(RebootMode::PowerCycle).await.unwrap();
    client.reset(Reset { graceful: false, reboot: true, wipe: Wipe::SystemDisk }).await.unwrap();
    let nothing = Reset { graceful: false, reboot: true, wipe: Wipe::Partitions(vec![]) };
    client.reset(nothing).await.unwrap_err();
    assert_eq!(*machine.orders.lock().unwrap(), ["reboot Powercycle", "reset SystemDisk"]);
}

const STATUS: &str = "\
stage: maintenance
status:
    ready: false
    unmetConditions:
        - name: time
          reason: not in sync
";
const CARD: &str = "\
index: 2
type: ether
hardwareAddr: 02:00:00:00:00:01
permanentAddr: 02:00:00:00:00:01
linkState: true
kind: \"\"
";
const SYSTEM: &str = "\
manufacturer: QEMU
uuid: 00112233-4455-6677-8899-aabbccddee01
serialnumber: \" S1 \"
";
const DISK: &str = "\
dev_path: /dev/vda
size: 10737418240
pretty_size: 11 GB
rotational: true
serial: d1
symlinks: null
";
const ADDRESSES: &str = "addresses:\n    - 10.0.0.11/24\n    - fd00::11/64\n";

#[tokio::test]
async fn a_machine_is_read_from_its_resources() {
    let resources = vec![
        ("MachineStatuses.runtime.talos.dev", resource("runtime", "machine", STATUS)),
        ("BootIDs.runtime.talos.dev", resource("runtime", "boot-id", "bootID: 4f0c\n")),
        (
            "HostnameStatuses.net.talos.dev",
            resource("network", "hostname", "hostname: mini01\ndomainname: \"\"\n"),
        ),
        ("NodeAddresses.net.talos.dev", resource("network", "current", ADDRESSES)),
        ("SystemInformations.hardware.talos.dev", resource("hardware", "systeminformation", SYSTEM)),
        ("LinkStatuses.net.talos.dev", resource("network", "enp1s0", CARD)),
        ("LinkStatuses.net.talos.dev", resource("network", "lo", "type: loopback\n")),
        ("Disks.block.talos.dev", resource("runtime", "vda", DISK)),
    ];
    let (_server, client) = dialled(&Arc::new(Machine { resources, ..Default::default() })).await;

    let status = client.machine_status().await.unwrap();
    let unmet = vec![Unmet { name: "time".to_owned(), reason: "not in sync".to_owned() }];
    assert_eq!((status.stage, status.ready, status.unmet), (Stage::Maintenance, false, unmet));
    assert_eq!(client.boot_id().await.unwrap().as_deref(), Some("4f0c"));
    assert_eq!(client.hostname().await.unwrap().as_deref(), Some("mini01"));
    let addresses = client.addresses().await.unwrap();
    assert_eq!(addresses, ["10.0.0.11".parse::<std::net::IpAddr>().unwrap(), "fd00::11".parse().unwrap()]);

    let inventory = client.inventory().await.unwrap();
    assert_eq!(inventory.uuid, Some("00112233-4455-6677-8899-aabbccddee01".parse().unwrap()));
    assert_eq!(inventory.serial.as_deref(), Some("S1"));
    let link = Link { name: "enp1s0".to_owned(), mac: MacAddr([2, 0, 0, 0, 0, 1]), up: true };
    assert_eq!(inventory.links, [link]);
    let disk = Disk {
        dev_path: "/dev/vda".to_owned(),
        size: 10_737_418_240,
        serial: "d1".to_owned(),
        rotational: true,
        ..Default::default()
    };
    assert_eq!(inventory.disks, [disk]);
}

#[tokio::test]
async fn a_boot_has_an_id_where_talos_has_none() {
    let boot = async |created: Option<prost_types::Timestamp>| {
        let mut status = resource("runtime", "machine", STATUS);
        status.metadata.as_mut().unwrap().created = created;
        let resources = vec![("MachineStatuses.runtime.talos.dev", status)];
        let unsupported = vec!["BootIDs.runtime.talos.dev"];
        let (_server, client) =
            dialled(&Arc::new(Machine { resources, unsupported, ..Default::default() })).await;
        client.boot_id().await.unwrap()
    };
    let at = |nanos| Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos });
    assert_eq!(boot(at(42)).await.as_deref(), Some("born-1790000000.000000042"));
    assert_ne!(boot(at(42)).await, boot(at(43)).await);
    assert_eq!(boot(None).await, None);
}

#[tokio::test]
async fn a_machine_that_has_told_nothing_yet_is_no_error() {
    let (_server, client) = dialled(&Arc::default()).await;
    assert_eq!(client.machine_status().await.unwrap().stage, Stage::Unknown);
    assert_eq!(client.boot_id().await.unwrap(), None);
    assert_eq!(client.inventory().await.unwrap(), hardware::Inventory::default());
}

#[tokio::test]
async fn the_config_in_force_is_one_text_of_several_documents() {
    const KIND: &str = "MachineConfigs.config.talos.dev";
    let with = async |yaml: &str| {
        let resources = vec![(KIND, resource("config", "v1alpha1", yaml))];
        let (_server, client) = dialled(&Arc::new(Machine { resources, ..Default::default() })).await;
        client.running_config().await
    };
    let yaml = "|\n  version: v1alpha1\n  machine: {}\n  ---\n  kind: HostnameConfig\n";
    let config = with(yaml).await.unwrap().unwrap();
    assert_eq!(config.as_str(), "version: v1alpha1\nmachine: {}\n---\nkind: HostnameConfig\n");
    let error = with("token: not-a-text").await.unwrap_err().to_string();
    assert!(error.contains("not told as a text") && !error.contains("not-a-text"), "{error}");
    let (_server, client) = dialled(&Arc::default()).await;
    assert!(client.running_config().await.unwrap().is_none());
}

#[tokio::test]
async fn what_we_may_not_see_is_not_taken_for_nothing() {
    let unsupported = vec!["OSRootSecrets.secrets.talos.dev"];
    let (_server, client) = dialled(&Arc::new(Machine { unsupported, ..Default::default() })).await;
    let kind = Kind { namespace: "secrets", name: "OSRootSecrets.secrets.talos.dev" };
    assert_eq!(client.get(kind, "os").await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_watch_tells_the_beginning_its_end_and_every_change() {
    let (events, watched) = mpsc::unbounded_channel();
    let machine = Arc::new(Machine { watched: Mutex::new(Some(watched)), ..Default::default() });
    let (_server, client) = dialled(&machine).await;

    let event = |event_type: EventType, stage: &str| cosi::Event {
        resource: Some(resource("runtime", "machine", &format!("stage: {stage}\n"))),
        event_type: event_type.into(),
        ..Default::default()
    };
    let send = |event: Vec<cosi::Event>| events.send(Ok(cosi::WatchResponse { event })).unwrap();
    let mut changes = client.watch(observe::MACHINE_STATUSES).await.unwrap();
    let request = machine.watches.lock().unwrap().remove(0);
    assert_eq!(request.api_version, 1);
    assert!(request.id.is_none() && request.options.unwrap().bootstrap_contents);

    let stage = |resource| observe::MachineStatus::from_resource(&resource).unwrap().stage;
    send(vec![
        event(EventType::Created, "booting"),
        cosi::Event { event_type: EventType::Bootstrapped.into(), ..Default::default() },
    ]);
    let Some(Ok(Change::Created(first))) = changes.next().await else { panic!("no beginning") };
    assert_eq!(stage(first), Stage::Booting);
    assert_eq!(changes.next().await, Some(Ok(Change::Bootstrapped)));

    // Neither a heartbeat nor a type of event from the future is a change.
    let unknown = cosi::Event { event_type: 99, ..event(EventType::Noop, "installing") };
    send(vec![event(EventType::Noop, "installing"), unknown, event(EventType::Updated, "running")]);
    let Some(Ok(Change::Updated(next))) = changes.next().await else { panic!("no change") };
    assert_eq!(stage(next), Stage::Running);
    send(vec![event(EventType::Destroyed, "running")]);
    assert!(matches!(changes.next().await, Some(Ok(Change::Destroyed(_)))));

    let error = Some("too slow".to_owned());
    send(vec![
        cosi::Event { event_type: EventType::Errored.into(), error, ..Default::default() },
        event(EventType::Updated, "running"),
    ]);
    let Some(Err(error)) = changes.next().await else { panic!("the error is lost") };
    assert!(error.to_string().contains("too slow"), "{error}");
    assert_eq!(changes.next().await, None);
}
