//! Whom the client takes a server for, and to whom it sends nothing.

use std::{net::SocketAddr, time::Duration};

use rcgen::SanType;
use talos_api::{
    CallError, Client, ConnectError, Peer, ProbeError, probe,
    proto::{
        cosi::resource::{
            self as cosi,
            state_server::{State, StateServer},
        },
        machine::{
            self,
            machine_service_server::{MachineService, MachineServiceServer},
        },
    },
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::peer::{Ca, Leaf, MAINTENANCE, Server, Tls};

const WITHIN: Duration = Duration::from_secs(10);

struct Named;

#[tonic::async_trait]
impl MachineService for Named {
    async fn version(&self, _: Request<()>) -> Result<Response<machine::VersionResponse>, Status> {
        let version = Some(machine::VersionInfo { tag: "v1.13.9".to_owned(), ..Default::default() });
        let messages = vec![machine::Version { version, ..Default::default() }];
        Ok(Response::new(machine::VersionResponse { messages }))
    }
}

/// Talos 1.12 that waits for a config, or something that looks a little like it.
struct Elder {
    refusal: &'static str,
    stage: &'static str,
}

#[tonic::async_trait]
impl MachineService for Elder {
    async fn version(&self, _: Request<()>) -> Result<Response<machine::VersionResponse>, Status> {
        Err(Status::unimplemented(self.refusal))
    }
}

#[tonic::async_trait]
impl State for Elder {
    async fn get(&self, _: Request<cosi::GetRequest>) -> Result<Response<cosi::GetResponse>, Status> {
        let spec = cosi::Spec { proto_spec: vec![], yaml_spec: format!("stage: {}\n", self.stage) };
        let resource = cosi::Resource { metadata: None, spec: Some(spec) };
        Ok(Response::new(cosi::GetResponse { resource: Some(resource) }))
    }
}

const REFUSAL: &str = "API is not implemented in maintenance mode";

async fn serve_elder(tls: Tls, refusal: &'static str, stage: &'static str) -> Server {
    let mut routes = tonic::service::RoutesBuilder::default();
    routes.add_service(MachineServiceServer::new(Elder { refusal, stage }));
    routes.add_service(StateServer::new(Elder { refusal, stage }));
    Server::start(tls, routes.routes()).await
}

async fn serve(tls: Tls) -> Server {
    Server::start(tls, Routes::new(MachineServiceServer::new(Named))).await
}

async fn look(server: &Server, ours: &Ca) -> Result<Peer, ProbeError> {
    probe(server.address, ours.credentials().authority(), WITHIN).await
}

fn in_maintenance() -> Leaf {
    Ca::new().server(MAINTENANCE, |_| {})
}

#[tokio::test]
async fn a_configured_machine_is_ours_though_we_show_no_certificate() {
    let ours = Ca::new();
    let leaf = ours.server("mini01", |_| {});
    for tls in [Tls::mutual(&leaf, &ours), Tls::mutual_1_2(&leaf, &ours)] {
        let server = serve(tls).await;
        assert_eq!(look(&server, &ours).await, Ok(Peer::Ours));
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_machine_without_a_config_is_in_maintenance_under_its_fingerprint() {
    let leaf = in_maintenance();
    let server = serve(Tls::open(&leaf)).await;
    let fingerprint = leaf.fingerprint();
    assert_eq!(look(&server, &Ca::new()).await, Ok(Peer::Maintenance { fingerprint }));
}

#[tokio::test]
async fn everybody_else_is_foreign() {
    let theirs = Ca::new();
    let leaf = theirs.server("their-node", |_| {});
    for tls in [Tls::mutual(&leaf, &theirs), Tls::mutual_1_2(&leaf, &theirs), Tls::open(&leaf)] {
        let server = serve(tls).await;
        let peer = look(&server, &Ca::new()).await.unwrap();
        assert!(matches!(&peer, Peer::Foreign { subject } if subject.contains("CN=their-node")), "{peer:?}");
    }
}

#[tokio::test]
async fn an_elder_machine_is_in_maintenance_when_it_says_so_twice() {
    // Before 1.13 the certificate is signed by nobody and named by nothing.
    let leaf = Ca::new().server("talos-x", |_| {});
    let server = serve_elder(Tls::open(&leaf), REFUSAL, "maintenance").await;
    let fingerprint = leaf.fingerprint();
    assert_eq!(look(&server, &Ca::new()).await, Ok(Peer::Maintenance { fingerprint }));

    for (refusal, stage) in [(REFUSAL, "running"), ("unknown service", "maintenance"), (REFUSAL, "")] {
        let server = serve_elder(Tls::open(&leaf), refusal, stage).await;
        let peer = look(&server, &Ca::new()).await;
        assert!(matches!(peer, Ok(Peer::Foreign { .. })), "{refusal} {stage}: {peer:?}");
    }
}

#[tokio::test]
async fn who_wants_a_certificate_from_us_is_not_even_asked() {
    let theirs = Ca::new();
    let leaf = theirs.server("talos-x", |_| {});
    for tls in [Tls::mutual(&leaf, &theirs), Tls::mutual_1_2(&leaf, &theirs)] {
        let server = serve_elder(tls, REFUSAL, "maintenance").await;
        let peer = look(&server, &Ca::new()).await;
        assert!(matches!(peer, Ok(Peer::Foreign { .. })), "{peer:?}");
        assert_eq!((server.requests(), server.connections()), (0, 1));
    }
}

#[tokio::test]
async fn our_signature_beats_the_name_of_maintenance_mode() {
    let ours = Ca::new();
    let server = serve(Tls::open(&ours.server(MAINTENANCE, |_| {}))).await;
    assert_eq!(look(&server, &ours).await, Ok(Peer::Ours));
}

#[tokio::test]
async fn who_only_shows_our_certificate_is_not_ours() {
    let ours = Ca::new();
    let (stolen, own) = (ours.server("mini01", |_| {}), in_maintenance());
    let server = serve(Tls::impostor(&stolen, &own)).await;
    let error = look(&server, &ours).await.unwrap_err();
    assert!(matches!(error, ProbeError::NotTls { .. }), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_of_ours_is_ours_but_not_good_enough_to_talk() {
    let ours = Ca::new();
    let leaf = ours.server("mini01", |parameters| {
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 2);
    });
    let server = serve(Tls::mutual(&leaf, &ours)).await;
    assert_eq!(look(&server, &ours).await, Ok(Peer::Ours));
    let error = Client::configured(server.address, &ours.credentials()).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotTrusted { .. }), "{error}");
}

#[tokio::test]
async fn silence_refusal_and_noise_are_told_apart() {
    let ours = Ca::new().credentials();
    let bind = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    };
    let look =
        async |address: SocketAddr, within| probe(address, ours.authority(), within).await.unwrap_err();

    let (address, listener) = bind().await;
    drop(listener);
    assert_eq!(look(address, WITHIN).await, ProbeError::Refused { address });

    // The kernel accepts; nobody ever speaks.
    let (address, _listener) = bind().await;
    let within = Duration::from_millis(50);
    assert_eq!(look(address, within).await, ProbeError::TimedOut { address, within });

    let (address, listener) = bind().await;
    let noise = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (error, _stream) = tokio::join!(look(address, WITHIN), noise);
    assert!(matches!(error, ProbeError::NotTls { .. }), "{error}");

    let (address, listener) = bind().await;
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (error, ()) = tokio::join!(look(address, WITHIN), hang_up);
    assert!(matches!(error, ProbeError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn maintenance_mode_is_spoken_to_only_under_the_key_first_seen() {
    let leaf = in_maintenance();
    let server = serve(Tls::open(&leaf)).await;
    let other = in_maintenance().fingerprint();
    let error = Client::maintenance(server.address, &other).await.unwrap_err();
    let (address, expected, seen) = (server.address, other, leaf.fingerprint());
    assert_eq!(error, ConnectError::WrongFingerprint { address, expected, seen });
    assert_eq!(server.requests(), 0);

    let client = Client::maintenance(server.address, &leaf.fingerprint()).await.unwrap();
    assert_eq!(client.version().await.unwrap().tag, "v1.13.9");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_configured_machine_and_we_know_each_other() {
    let ours = Ca::new();
    let server = serve(Tls::mutual(&ours.server("mini01", |_| {}), &ours)).await;
    let client = Client::configured(server.address, &ours.credentials()).await.unwrap();
    assert_eq!(client.version().await.unwrap().tag, "v1.13.9");
}

#[tokio::test]
async fn a_certificate_from_elsewhere_or_for_elsewhere_is_not_trusted() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let elsewhere = ours.server("mini01", |parameters| {
        parameters.subject_alt_names =
            vec![SanType::IpAddress([192, 0, 2, 1].into()), SanType::DnsName("mini01".try_into().unwrap())];
    });
    for leaf in [elsewhere, theirs.server("mini01", |_| {})] {
        let server = serve(Tls::mutual(&leaf, &ours)).await;
        let error = Client::configured(server.address, &ours.credentials()).await.unwrap_err();
        assert!(matches!(error, ConnectError::NotTrusted { .. }), "{error}");
        assert!(!CallError::from(error).is_retryable());
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn a_machine_that_does_not_know_us_fails_the_call() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    // In TLS 1.3 the machine refuses us after our side of the handshake is done.
    let server = serve(Tls::mutual(&ours.server("mini01", |_| {}), &theirs)).await;
    let error = match Client::configured(server.address, &ours.credentials()).await {
        Ok(client) => client.version().await.unwrap_err(),
        Err(error) => error.into(),
    };
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("alert"), "{error}");
    assert_eq!(server.requests(), 0);
}
