//! The kubelets' side of a real API server elsewhere, behind which this control plane stands: their nodes, by its own
//! requests, and the way there for everybody else.
//!
//! What a node's condition is, is said there by whoever plays the rest of the kubelets; this only registers nodes, tells
//! in which boot they are, and looks whether they are ready, which without a network plugin none is.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::{
    pki,
    server::{self, Server},
};
use crate::model::{Authority, NodeReport, StaticPod};

/// For one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everybody who asks this machine's port of the API server is brought to the real one.
pub(super) async fn pass_on(port: u16, to: SocketAddr) -> anyhow::Result<Server> {
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?;
    Ok(Server::of(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((mut stream, _)) = accepted else { continue };
                    connections.spawn(async move {
                        // where nobody answers, the connection ends, as with a server that is not there
                        let Ok(mut there) = TcpStream::connect(to).await else { return };
                        tokio::io::copy_bidirectional(&mut stream, &mut there).await.ok();
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }))
}

/// A connection to the real API server, made when it is needed.
#[derive(Clone)]
pub(super) struct Kubelets {
    server: SocketAddr,
    connection: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

impl Kubelets {
    /// Not connected yet.
    pub(super) fn new(server: SocketAddr) -> Self {
        Self { server, connection: Arc::default() }
    }

    /// Where it is.
    pub(super) fn server(&self) -> SocketAddr {
        self.server
    }

    /// Takes in a node as its kubelet reports it; whether it is ready. `name` is one that the server's certificate has.
    pub(super) async fn report(
        &self,
        ca: &Authority,
        name: IpAddr,
        report: &NodeReport,
    ) -> anyhow::Result<bool> {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_none_or(SendRequest::is_closed) {
            *connection = Some(connect(self.server, ca, name).await?);
        }
        let Some(sender) = connection.as_mut() else { bail!("there is no connection") };
        let reported =
            tokio::time::timeout(PATIENCE, reported(sender, report)).await.context("no answer").flatten();
        if reported.is_err() {
            *connection = None;
        }
        reported
    }
}

async fn connect(
    server: SocketAddr,
    ca: &Authority,
    name: IpAddr,
) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let identity = pki::kubelets(ca)?;
    let mut roots = RootCertStore::empty();
    roots.add(pki::certificate(&ca.certificate)?)?;
    let config = ClientConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain, identity.key)?;
    let connecting = async {
        let stream = TcpStream::connect(server).await?;
        let name = ServerName::IpAddress(name.into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // ends when nobody holds the sender
        tokio::spawn(connection);
        anyhow::Ok(sender)
    };
    tokio::time::timeout(PATIENCE, connecting).await.context("no answer")?
}

type Sender = SendRequest<Full<Bytes>>;

async fn reported(sender: &mut Sender, report: &NodeReport) -> anyhow::Result<bool> {
    let path = format!("/api/v1/nodes/{}", report.name);
    let (code, node) = send(sender, "GET", &path, &Value::Null).await?;
    if code == 404 {
        must(send(sender, "POST", "/api/v1/nodes", &node_of(report)).await?, &path)?;
        for pod in &report.static_pods {
            let object = static_pod(pod, &report.name);
            must(
                send(sender, "POST", "/api/v1/namespaces/kube-system/pods", &object).await?,
                &pod.component,
            )?;
        }
        return Ok(false);
    }
    let node = must((code, node), &path)?;
    let info = &node["status"]["nodeInfo"];
    if info["bootID"] != report.boot_id || info["kubeletVersion"] != report.kubelet {
        let (boot, kubelet) = (&report.boot_id, &report.kubelet);
        let booted = json!({ "status": { "nodeInfo": { "bootID": boot, "kubeletVersion": kubelet } } });
        must(send(sender, "PATCH", &format!("{path}/status"), &booted).await?, &path)?;
        return Ok(false);
    }
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    Ok(conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

fn node_of(report: &NodeReport) -> Value {
    let mut labels = json!({ "kubernetes.io/hostname": report.name, "kubernetes.io/os": "linux" });
    if report.control_plane {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    let addresses: Vec<_> = (report.addresses.iter())
        .map(|address| json!({ "type": "InternalIP", "address": address }))
        .chain([json!({ "type": "Hostname", "address": report.name })])
        .collect();
    let room = json!({ "cpu": "8", "memory": "16Gi", "pods": "110" });
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": report.name, "labels": labels },
        "status": { "addresses": addresses, "capacity": room, "allocatable": room,
            "nodeInfo": { "bootID": report.boot_id, "kubeletVersion": report.kubelet } },
    })
}

/// What a kubelet shows of a pod that only it runs.
fn static_pod(pod: &StaticPod, node: &str) -> Value {
    let StaticPod { component, image, .. } = pod;
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{component}-{node}"), "namespace": "kube-system",
            "labels": { "component": component, "tier": "control-plane" },
            "annotations": { "kubernetes.io/config.mirror": component },
        },
        "spec": { "nodeName": node, "hostNetwork": true,
            "containers": [{ "name": component, "image": image }] },
    })
}

async fn send(sender: &mut Sender, method: &str, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "kubernetes")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(body))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((code, serde_json::from_slice(&body).unwrap_or_default()))
}

/// What was answered; there already is as good.
fn must((code, answer): (u16, Value), what: &str) -> anyhow::Result<Value> {
    match code {
        200..=299 | 409 => Ok(answer),
        code => bail!("{what}: {code} {}", answer["message"]),
    }
}
