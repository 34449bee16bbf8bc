//! What apid does beside serving: on a control plane it passes calls on to the machines that the metadata names, `node`
//! to one of them and untouched, `nodes` to several, whose answers become one with each machine's name in it
//! (talos.md §6.4). A worker passes nothing on.

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    middleware::Next,
    response::Response,
};
use futures_util::{StreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::{
    Message,
    encoding::{decode_varint, encode_varint},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use talos_api::proto::{common, google::rpc};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;

use super::{pki, server, world::World};
use crate::model::{Authority, Caller};

/// The port of the machine API.
const PORT: u16 = 50000;
/// For a machine to answer the telephone; Talos waits as long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Who calls for somebody else, and where it says for whom.
const IMPERSONATOR: &str = "os:impersonator";
const ROLES: &str = "talos-role";
/// Says that a call was passed on already.
const PASSED_ON: &str = "proxyfrom";
/// The services that can be asked at several machines at once.
const SERVICES: [&str; 3] =
    ["/machine.MachineService/", "/cluster.ClusterService/", "/storage.StorageService/"];
/// The calls whose answers come in pieces.
const STREAMS: [&str; 7] =
    ["/Kubeconfig", "/Read", "/Events", "/Logs", "/Dmesg", "/EtcdSnapshot", "/HealthCheck"];
/// The first field of a message, with a length.
const FIRST_FIELD: u8 = 0x0a;
/// Before each message: a flag and its length.
const PREFIX: usize = 5;

/// The roles of somebody for whom another machine calls.
pub(super) fn spoken_for(caller: Caller, headers: &HeaderMap) -> Caller {
    match caller {
        Caller::Client { ca, roles } if roles.contains(IMPERSONATOR) => {
            let roles =
                headers.get_all(ROLES).iter().filter_map(|role| role.to_str().ok().map(str::to_owned));
            Caller::Client { ca, roles: roles.collect() }
        }
        other => other,
    }
}

/// Where a call should go.
enum Way {
    Here,
    To(Passer, String),
    ToMany(Passer, Vec<String>),
    Nowhere(tonic::Status),
}

/// Counts a call by its name.
pub(super) async fn count(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    world.count(path.rsplit('/').next().unwrap_or(path));
    next.run(request).await
}

/// Serves a call here, or passes it on.
pub(super) async fn route(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    match way(&world, &request) {
        Way::Here => next.run(request).await,
        Way::Nowhere(status) => refuse(status),
        Way::To(passer, target) => {
            let (parts, body) = request.into_parts();
            passer.call(&target, &parts, body).await.map_or_else(refuse, |response| response.map(Body::new))
        }
        Way::ToMany(passer, targets) => passer.ask_all(targets, request).await,
    }
}

fn way(world: &World, request: &Request) -> Way {
    let texts = |name| {
        let values = request.headers().get_all(name).iter();
        values.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect::<Vec<String>>()
    };
    let (mut node, nodes) = (texts("node"), texts("nodes"));
    if request.headers().contains_key(PASSED_ON) || (node.is_empty() && nodes.is_empty()) {
        return Way::Here;
    }
    if node.len() > 1 {
        return Way::Nowhere(tonic::Status::invalid_argument("node metadata must be single-valued"));
    }
    let Some(passer) = Passer::of(world, request.extensions().get()) else {
        let named: Vec<&String> = node.iter().chain(&nodes).collect();
        let own = world.look(|machine| {
            let address = machine.address().map(|address| address.to_string());
            named.iter().all(|&name| Some(name) == address.as_ref() || machine.hostname() == Some(name))
        });
        return match own && named.len() == 1 {
            true => Way::Here,
            false => Way::Nowhere(tonic::Status::permission_denied("no request forwarding")),
        };
    };
    let path = request.uri().path();
    match node.pop() {
        _ if !nodes.is_empty() && !SERVICES.iter().any(|service| path.starts_with(service)) => {
            let text = format!("one-2-many proxying is not supported for method {path}");
            Way::Nowhere(tonic::Status::invalid_argument(text))
        }
        Some(node) if nodes.is_empty() => Way::To(passer, node),
        _ => Way::ToMany(passer, nodes),
    }
}

fn refuse(status: tonic::Status) -> Response {
    status.into_http()
}

/// The means to call other machines for somebody.
#[derive(Clone)]
pub(super) struct Passer {
    os: Authority,
    roles: Vec<String>,
}

impl Passer {
    /// A machine without the key of the CA has no certificate to call others with.
    pub(super) fn of(world: &World, caller: Option<&Caller>) -> Option<Self> {
        let os = world.look(|machine| machine.config().map(|config| config.os_ca.clone()))?;
        let roles = match caller? {
            Caller::Client { roles, .. } => roles.iter().cloned().collect(),
            Caller::Anonymous => return None,
        };
        os.key.is_some().then_some(Self { os, roles })
    }

    /// A connection to another machine.
    pub(super) async fn connect(&self, target: &str) -> anyhow::Result<SendRequest<Body>> {
        let connecting = async {
            let identity = pki::impersonator(&self.os, IMPERSONATOR)?;
            let mut roots = RootCertStore::empty();
            roots.add(pki::certificate(&self.os.certificate)?)?;
            let mut config = ClientConfig::builder_with_provider(server::provider())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(identity.chain, identity.key)?;
            config.alpn_protocols = vec![b"h2".to_vec()];
            let name = match target.parse::<IpAddr>() {
                Ok(address) => ServerName::IpAddress(address.into()),
                Err(_) => ServerName::try_from(target.to_owned())?,
            };
            let stream = TcpStream::connect((target, PORT)).await?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            // ends when nobody holds the sender
            tokio::spawn(connection);
            anyhow::Ok(sender)
        };
        tokio::time::timeout(PATIENCE, connecting)
            .await
            .unwrap_or_else(|_| Err(anyhow!("no answer")))
            .with_context(|| format!("cannot reach {target}"))
    }

    /// The headers of a call made for somebody.
    pub(super) fn sign(&self, headers: &mut HeaderMap) {
        for name in ["node", "nodes", ROLES] {
            headers.remove(name);
        }
        headers.insert(PASSED_ON, HeaderValue::from_static("apid"));
        for role in self.roles.iter().filter_map(|role| HeaderValue::from_str(role).ok()) {
            headers.append(ROLES, role);
        }
    }

    async fn call(
        &self,
        target: &str,
        parts: &Parts,
        body: Body,
    ) -> Result<Response<Incoming>, tonic::Status> {
        let unavailable = |error: anyhow::Error| tonic::Status::unavailable(format!("{error:#}"));
        let mut sender = self.connect(target).await.map_err(unavailable)?;
        let uri = format!("https://{}{}", authority(target), parts.uri.path());
        let mut request =
            Request::post(uri).body(body).map_err(|error| unavailable(anyhow::Error::from(error)))?;
        *request.headers_mut() = parts.headers.clone();
        self.sign(request.headers_mut());
        sender.send_request(request).await.map_err(|error| unavailable(error.into()))
    }

    /// Asks all, and makes one answer of theirs.
    async fn ask_all(self, targets: Vec<String>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let streaming = STREAMS.iter().any(|call| parts.uri.path().ends_with(call));
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return refuse(tonic::Status::unknown(error.to_string())),
        };
        let (sender, pieces) = mpsc::channel(16);
        let parts = Arc::new(parts);
        let asked = targets.into_iter().map(|target| {
            let (passer, parts, body, sender) =
                (self.clone(), Arc::clone(&parts), body.clone(), sender.clone());
            async move {
                let answer = passer.call(&target, &parts, Body::from(body)).await;
                let failed = match answer {
                    Ok(response) => named(&target, response, streaming, &sender).await,
                    Err(status) => Some(status),
                };
                if let Some(status) = failed {
                    // who asked is gone when this fails
                    sender.send(failure(&target, &status, streaming)).await.ok();
                }
            }
        });
        tokio::spawn(future::join_all(asked.collect::<Vec<_>>()));
        drop(sender);
        let pieces = ReceiverStream::new(pieces);
        // the answers of a simple call are one message: what repeats in them is simply written after each other
        let messages = match streaming {
            true => pieces.left_stream(),
            false => stream::iter([pieces.collect::<Vec<_>>().await.concat()]).right_stream(),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = messages.map(|message| Frame::data(framed(&message)));
        let frames =
            frames.chain(stream::iter([Frame::trailers(trailers)])).map(Ok::<_, std::convert::Infallible>);
        let mut response = Response::new(Body::new(StreamBody::new(frames)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

fn authority(target: &str) -> String {
    match target.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{PORT}"),
        _ => format!("{target}:{PORT}"),
    }
}

/// Sends on what a machine answered, with its name in every message; its status when that is not success.
async fn named(
    target: &str,
    response: Response<Incoming>,
    streaming: bool,
    sender: &mpsc::Sender<Vec<u8>>,
) -> Option<tonic::Status> {
    let (parts, mut body) = response.into_parts();
    // an answer that is only a status has it in the headers
    let mut status = tonic::Status::from_header_map(&parts.headers);
    let name = common::Metadata { hostname: target.to_owned(), ..common::Metadata::default() };
    let name = common::Data { metadata: Some(name), ..common::Data::default() }.encode_to_vec();
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Some(tonic::Status::unavailable(error.to_string())),
        };
        if let Some(trailers) = frame.trailers_ref() {
            status = tonic::Status::from_header_map(trailers);
        } else if let Ok(data) = frame.into_data() {
            buffer.extend_from_slice(&data);
            while let Some(message) = unframed(&mut buffer) {
                let message = match streaming {
                    true => [message, name.clone()].concat(),
                    false => with_name(&message, &name),
                };
                // who asked is gone when this fails
                sender.send(message).await.ok()?;
            }
        }
    }
    status.filter(|status| status.code() != tonic::Code::Ok)
}

/// Puts a name into the one element of an answer: its length changes, everything else stays.
fn with_name(answer: &[u8], name: &[u8]) -> Vec<u8> {
    let Some((&FIRST_FIELD, mut rest)) = answer.split_first() else { return answer.to_vec() };
    match decode_varint(&mut rest) {
        Ok(_) => element(&[rest, name].concat()),
        Err(_) => answer.to_vec(),
    }
}

fn element(bytes: &[u8]) -> Vec<u8> {
    let mut element = vec![FIRST_FIELD];
    encode_varint(bytes.len() as u64, &mut element);
    element.extend_from_slice(bytes);
    element
}

/// A machine's failure, told inside a successful answer.
fn failure(target: &str, status: &tonic::Status, streaming: bool) -> Vec<u8> {
    let metadata = common::Metadata {
        hostname: target.to_owned(),
        error: format!("rpc error: code = {:?} desc = {}", status.code(), status.message()),
        status: Some(rpc::Status {
            code: status.code() as i32,
            message: status.message().to_owned(),
            ..rpc::Status::default()
        }),
    };
    let message = common::Data { metadata: Some(metadata), ..common::Data::default() }.encode_to_vec();
    if streaming { message } else { element(&message) }
}

/// Takes the first whole message out of what came.
fn unframed(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = buffer.get(1..PREFIX)?.try_into().ok().map(u32::from_be_bytes)?;
    let end = PREFIX + usize::try_from(length).ok()?;
    let message = buffer.get(PREFIX..end)?.to_vec();
    buffer.drain(..end);
    Some(message)
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use talos_api::proto::machine::{Version, VersionInfo, VersionResponse};

    use super::*;

    fn answer(tag: &str) -> Vec<u8> {
        let version = VersionInfo { tag: tag.to_owned(), ..VersionInfo::default() };
        let message = Version { version: Some(version), ..Version::default() };
        VersionResponse { messages: vec![message] }.encode_to_vec()
    }

    fn name(target: &str) -> Vec<u8> {
        let name = common::Metadata { hostname: target.to_owned(), ..common::Metadata::default() };
        common::Data { metadata: Some(name), ..common::Data::default() }.encode_to_vec()
    }

    #[test]
    fn answers_after_each_other_are_one_answer_with_every_name() {
        // a tag that makes the length of the element longer than one byte
        let long = "v".repeat(200);
        let refused = tonic::Status::unavailable("no answer");
        let whole = [
            with_name(&answer("v1"), &name("10.0.0.1")),
            with_name(&answer(&long), &name("10.0.0.2")),
            failure("10.0.0.3", &refused, false),
        ];
        let read = VersionResponse::decode(whole.concat().as_slice()).unwrap().messages;
        let hostname = |at: usize| read[at].metadata.as_ref().unwrap().hostname.clone();
        assert_eq!([hostname(0), hostname(1), hostname(2)], ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(read[0].version.as_ref().unwrap().tag, "v1");
        assert_eq!(read[1].version.as_ref().unwrap().tag, long);
        let failed = read[2].metadata.as_ref().unwrap();
        assert_eq!(failed.error, "rpc error: code = Unavailable desc = no answer");
        assert_eq!(failed.status.as_ref().unwrap().code, 14);
    }

    #[test]
    fn messages_are_taken_out_only_when_they_are_whole() {
        let mut buffer = [framed(b"one"), framed(b""), framed(b"three")].concat();
        let rest = buffer.split_off(buffer.len() - 2);
        assert_eq!(unframed(&mut buffer).as_deref(), Some(b"one".as_slice()));
        assert_eq!(unframed(&mut buffer).as_deref(), Some(b"".as_slice()));
        assert_eq!(unframed(&mut buffer), None);
        buffer.extend_from_slice(&rest);
        assert_eq!(unframed(&mut buffer).as_deref(), Some(b"three".as_slice()));
        assert_eq!((unframed(&mut buffer), buffer.len()), (None, 0));
    }

    #[test]
    fn only_a_machine_may_speak_for_others() {
        let mut headers = HeaderMap::new();
        headers.append(ROLES, HeaderValue::from_static("os:reader"));
        let caller = |role: &str| Caller::Client { ca: "ca".to_owned(), roles: [role.to_owned()].into() };
        let roles = |caller| match spoken_for(caller, &headers) {
            Caller::Client { roles, .. } => roles,
            Caller::Anonymous => BTreeSet::new(),
        };
        assert_eq!(roles(caller("os:impersonator")), ["os:reader".to_owned()].into());
        assert_eq!(roles(caller("os:operator")), ["os:operator".to_owned()].into());
        let silent = spoken_for(caller("os:impersonator"), &HeaderMap::new());
        assert_eq!(silent, Caller::Client { ca: "ca".to_owned(), roles: BTreeSet::new() }, "nobody's rights");
        assert_eq!(roles(Caller::Anonymous), BTreeSet::new());
    }
}
