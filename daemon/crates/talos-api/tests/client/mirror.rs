//! A copy that watches keep, and a client that talks over one connection only.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex};

use futures_util::{StreamExt as _, stream::BoxStream};
use talos_api::{
    Client, Mirror, Resource,
    observe::{DISKS, LINK_STATUSES, MACHINE_STATUSES},
    proto::cosi::resource::{
        self as cosi, EventType,
        state_server::{State, StateServer},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, UnboundedSender},
    task::JoinSet,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::peer::{Ca, MAINTENANCE, Server, Tls};

type Told = mpsc::UnboundedReceiver<Result<cosi::WatchResponse, Status>>;

/// Tells what the test says, by type; other types are not known.
struct Machine(Mutex<BTreeMap<String, Told>>);

#[tonic::async_trait]
impl State for Machine {
    async fn get(&self, _: Request<cosi::GetRequest>) -> Result<Response<cosi::GetResponse>, Status> {
        Err(Status::not_found("resource does not exist"))
    }

    async fn list(
        &self,
        _: Request<cosi::ListRequest>,
    ) -> Result<Response<BoxStream<'static, Result<cosi::ListResponse, Status>>>, Status> {
        Err(Status::unimplemented("only watched"))
    }

    async fn watch(
        &self,
        request: Request<cosi::WatchRequest>,
    ) -> Result<Response<BoxStream<'static, Result<cosi::WatchResponse, Status>>>, Status> {
        let asked = request.into_inner();
        assert!(asked.id.is_none() && asked.options.unwrap().bootstrap_contents && asked.api_version == 1);
        match self.0.lock().unwrap().remove(&asked.r#type) {
            Some(told) => Ok(Response::new(UnboundedReceiverStream::new(told).boxed())),
            None => Err(Status::permission_denied("resource type is not supported")),
        }
    }
}

struct Speaker(UnboundedSender<Result<cosi::WatchResponse, Status>>);

impl Speaker {
    fn says(&self, kind: EventType, id: &str, yaml: &str) {
        let metadata = cosi::Metadata { id: id.to_owned(), ..cosi::Metadata::default() };
        let spec = cosi::Spec { yaml_spec: yaml.to_owned(), ..cosi::Spec::default() };
        let resource = cosi::Resource { metadata: Some(metadata), spec: Some(spec) };
        let event =
            cosi::Event { event_type: kind.into(), resource: Some(resource), ..cosi::Event::default() };
        self.0.send(Ok(cosi::WatchResponse { event: vec![event] })).unwrap();
    }
}

/// A machine that knows links and statuses, and has told what there is.
async fn mirrored() -> (Server, Mirror, Speaker, Speaker) {
    let ((links, links_told), (statuses, statuses_told)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let told = [(LINK_STATUSES, links_told), (MACHINE_STATUSES, statuses_told)];
    let machine = Machine(Mutex::new(told.map(|(kind, told)| (kind.name.to_owned(), told)).into()));
    let (links, statuses) = (Speaker(links), Speaker(statuses));
    // as the real thing begins: with an empty word
    links.0.send(Ok(cosi::WatchResponse::default())).unwrap();
    links.says(EventType::Created, "eth0", "linkState: false\n");
    links.says(EventType::Created, "lo", "{}\n");
    links.says(EventType::Bootstrapped, "", "");
    statuses.says(EventType::Bootstrapped, "", "");
    let leaf = Ca::new().server(MAINTENANCE, |_| {});
    let server = Server::start(Tls::open(&leaf), Routes::new(StateServer::new(machine))).await;
    let client = Client::maintenance(server.address, &leaf.fingerprint()).await.unwrap();
    let mirror = client.mirror(&[LINK_STATUSES, MACHINE_STATUSES, DISKS]).await.unwrap();
    (server, mirror, links, statuses)
}

fn ids(resources: &[Resource]) -> Vec<&str> {
    resources.iter().map(|resource| resource.id.as_str()).collect()
}

#[tokio::test]
async fn the_copy_is_whole_from_the_beginning_and_follows_every_change() {
    let (server, mut mirror, links, statuses) = mirrored().await;
    let contents = mirror.contents();
    assert_eq!(ids(&contents.of(LINK_STATUSES)), ["eth0", "lo"]);
    assert!(contents.of(MACHINE_STATUSES).is_empty());
    assert!(contents.of(DISKS).is_empty(), "a kind that is not known has no resources");

    // written again as it was, which is no change; then with another value
    links.says(EventType::Updated, "eth0", "linkState: false\n");
    links.says(EventType::Updated, "eth0", "linkState: true\n");
    assert_eq!(mirror.changed().await.unwrap(), LINK_STATUSES);
    assert_eq!(contents.of(LINK_STATUSES)[0].yaml, "linkState: true\n");
    links.says(EventType::Destroyed, "lo", "{}\n");
    assert_eq!(mirror.changed().await.unwrap(), LINK_STATUSES);
    assert_eq!(ids(&contents.of(LINK_STATUSES)), ["eth0"]);
    statuses.says(EventType::Created, "machine", "stage: running\n");
    assert_eq!(mirror.changed().await.unwrap(), MACHINE_STATUSES);
    // three watches were opened, and nothing was asked since
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_watch_that_ends_ends_the_copy() {
    let (_server, mut mirror, links, _statuses) = mirrored().await;
    drop(links);
    let error = mirror.changed().await.unwrap_err();
    assert!(error.to_string().contains("LinkStatuses.net.talos.dev ended"), "{error}");

    let (_server, mut mirror, links, _statuses) = mirrored().await;
    links.0.send(Err(Status::unavailable("the machine goes down"))).unwrap();
    assert_eq!(mirror.changed().await.unwrap_err().code(), Code::Unavailable);
}

/// Passes connections on to a server, and cuts them.
struct Cable {
    address: SocketAddr,
    cut: UnboundedSender<()>,
    _passing: JoinSet<()>,
}

impl Cable {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, mut cuts) = mpsc::unbounded_channel();
        let mut passing = JoinSet::new();
        passing.spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cuts.recv() => {}
                }
            }
        });
        Self { address, cut, _passing: passing }
    }
}

#[tokio::test]
async fn what_was_learnt_over_one_connection_is_never_used_over_another() {
    let ca = Ca::new();
    let leaf = ca.server("mini01", |_| {});
    let machine = || Routes::new(StateServer::new(Machine(Mutex::default())));
    let server = Server::start(Tls::mutual(&leaf, &ca), machine()).await;
    for once in [false, true] {
        let cable = Cable::to(server.address).await;
        let credentials = ca.credentials();
        let client = match once {
            true => Client::configured_once(cable.address, &credentials).await.unwrap(),
            false => Client::configured(cable.address, &credentials).await.unwrap(),
        };
        assert_eq!(client.get(DISKS, "sda").await, Ok(None));
        cable.cut.send(()).unwrap();
        // the loss shows at one call or another; then the one reconnects, and the other never does
        let mut answers = Vec::new();
        for _ in 0..20 {
            answers.push(client.get(DISKS, "sda").await);
            if answers.last().is_some_and(Result::is_ok) != once && answers.len() > 2 {
                break;
            }
        }
        let last = answers.last().unwrap();
        assert_eq!(last.is_ok(), !once, "{answers:?}");
        if let Err(error) = last {
            assert!(error.code() == Code::Unavailable, "{error}");
        }
    }
}
