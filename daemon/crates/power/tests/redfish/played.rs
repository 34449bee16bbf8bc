//! A service processor that can fail: TLS with a certificate of its own, sessions, one machine.

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use socket2::{Domain, Socket, Type};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// its machine is on at first, which is no fault
    On,
    NoSessions,
    NoRestart,
    WrongPassword,
    /// so many changes are answered with 409
    Busy(u32),
    /// so many systems
    Systems(usize),
    /// takes what it is told to boot, and forgets it
    Forgets,
    /// no JSON
    Garbage,
    /// ends the connection instead of answering
    HangsUp,
}

struct Machine {
    faults: Vec<Fault>,
    is_on: bool,
    busy: u32,
    boots: (String, String),
    told: Vec<String>,
}

pub(crate) struct Processor {
    pub(crate) port: u16,
    pub(crate) certificate: [u8; 32],
    machine: Arc<Mutex<Machine>>,
    task: JoinHandle<()>,
}

impl Drop for Processor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const SYSTEM: &str = "/redfish/v1/Systems/1";
const TOKEN: &str = "a-token";

impl Processor {
    pub(crate) async fn begin(faults: &[Fault]) -> Self {
        Self::begin_at(0, faults).await
    }

    /// Where another one was.
    pub(crate) async fn begin_at(port: u16, faults: &[Fault]) -> Self {
        let key = rcgen::generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        let certificate = CertificateDer::from(key.cert.der().to_vec());
        let digest = Sha256::digest(certificate.as_ref()).into();
        let private = PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        socket.listen(16).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let busy = faults.iter().find_map(|fault| match fault {
            Fault::Busy(times) => Some(*times),
            _ => None,
        });
        let machine = Arc::new(Mutex::new(Machine {
            faults: faults.to_vec(),
            is_on: faults.contains(&Fault::On),
            busy: busy.unwrap_or(0),
            boots: ("None".to_owned(), "Disabled".to_owned()),
            told: Vec::new(),
        }));
        let shared = Arc::clone(&machine);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (acceptor, machine) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let answer = service_fn(move |request| answered(Arc::clone(&machine), request));
                    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
                });
            }
        });
        Self { port, certificate: digest, machine, task }
    }

    /// It is gone, and its port free.
    pub(crate) async fn end(mut self) -> u16 {
        self.task.abort();
        (&mut self.task).await.ok();
        self.port
    }

    /// Every question, with how it proved who asks.
    pub(crate) fn told(&self) -> Vec<String> {
        self.machine.lock().unwrap().told.clone()
    }
}

async fn answered(
    machine: Arc<Mutex<Machine>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let login = match (header("x-auth-token"), header("authorization")) {
        (TOKEN, _) => "token",
        (_, "Basic YWRtaW46czNjcmV0") => "basic",
        _ => "nobody",
    };
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let mut machine = machine.lock().unwrap();
    let shown = if body["Password"].is_null() { body.to_string() } else { "(login)".to_owned() };
    machine.told.push(format!("{method} {path} {login} if-match={} {shown}", header("if-match")));
    if machine.faults.contains(&Fault::HangsUp) {
        return Err(std::io::Error::other("it hangs up"));
    }
    Ok(machine.answer(&method, &path, &body, login))
}

impl Machine {
    fn answer(&mut self, method: &Method, path: &str, body: &Value, login: &str) -> Response<Full<Bytes>> {
        let wrong = self.faults.contains(&Fault::WrongPassword);
        let systems = self.faults.iter().find_map(|fault| match fault {
            Fault::Systems(count) => Some(*count),
            _ => None,
        });
        let is_change = *method == Method::PATCH || *method == Method::POST;
        match (method.as_str(), path) {
            ("POST", "/redfish/v1/SessionService/Sessions") if self.faults.contains(&Fault::NoSessions) => {
                said(404, &json!({}))
            }
            ("POST", "/redfish/v1/SessionService/Sessions") => {
                let right = body["UserName"] == "admin" && body["Password"] == "s3cret" && !wrong;
                let mut answer = said(if right { 201 } else { 401 }, &json!({}));
                if right {
                    let headers = answer.headers_mut();
                    headers.insert("x-auth-token", TOKEN.parse().unwrap());
                    headers.insert(
                        "location",
                        "https://bmc/redfish/v1/SessionService/Sessions/7".parse().unwrap(),
                    );
                }
                answer
            }
            _ if login == "nobody" || wrong => said(401, &json!({})),
            ("DELETE", "/redfish/v1/SessionService/Sessions/7") => said(204, &json!({})),
            _ if self.faults.contains(&Fault::Garbage) => {
                Response::new(Full::new(Bytes::from_static(b"<html>welcome</html>")))
            }
            // some want the slash, and say so
            ("GET", "/redfish/v1/Systems") => {
                let mut answer = said(308, &json!({}));
                answer.headers_mut().insert("location", "/redfish/v1/Systems/".parse().unwrap());
                answer
            }
            ("GET", "/redfish/v1/Systems/") => {
                let system = |number| json!({ "@odata.id": format!("/redfish/v1/Systems/{number}") });
                let members: Vec<Value> = (1..=systems.unwrap_or(1)).map(system).collect();
                said(200, &json!({ "Members": members }))
            }
            ("GET", SYSTEM) => {
                let resets: &[&str] = match self.faults.contains(&Fault::NoRestart) {
                    true => &["On", "ForceOff"],
                    false => &["On", "ForceOff", "ForceRestart"],
                };
                let mut answer = said(
                    200,
                    &json!({
                        "PowerState": if self.is_on { "On" } else { "Off" },
                        "Boot": {
                            "BootSourceOverrideTarget": self.boots.0, "BootSourceOverrideEnabled": self.boots.1,
                        },
                        "Actions": { "#ComputerSystem.Reset": {
                            "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset"),
                            "ResetType@Redfish.AllowableValues": resets,
                        } },
                    }),
                );
                answer.headers_mut().insert("etag", "\"1\"".parse().unwrap());
                answer
            }
            _ if is_change && self.busy > 0 => {
                self.busy -= 1;
                let mut answer = said(
                    409,
                    &json!({ "error": { "message": "general", "@Message.ExtendedInfo": [
                    { "Message": "BMC is updating" },
                ] } }),
                );
                answer.headers_mut().insert("retry-after", "0".parse().unwrap());
                answer
            }
            ("PATCH", SYSTEM) => {
                let told = |key: &str| body["Boot"][key].as_str().unwrap_or_default().to_owned();
                if !self.faults.contains(&Fault::Forgets) {
                    self.boots = (told("BootSourceOverrideTarget"), told("BootSourceOverrideEnabled"));
                }
                said(200, &json!({}))
            }
            ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset") => {
                self.is_on = body["ResetType"] != "ForceOff";
                said(204, &json!({}))
            }
            _ => said(404, &json!({ "error": { "message": "there is no such thing" } })),
        }
    }
}

fn said(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder().status(status).body(body).unwrap()
}
