//! A real Kubernetes for tests: etcd and kube-apiserver on loopback, with Flux's controllers, as `tests/oracles` builds them.
//!
//! The stand-in serves most tests; this one says whether the stand-in tells the truth. Nothing listens outside of
//! loopback, everything lies in a temporary folder, and the processes end with whoever started them, even if that dies.

mod authority;
mod charts;
mod controllers;
mod flux;
pub mod founding;
mod git;
mod operators;
pub mod packs;
mod process;
mod proxy;
mod registry;
mod tls;
mod transcript;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use kube::{Config, client::Body};
use kubernetes::{Access, Client};
use oracles::Tool;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{authority::Authority, process::Process};

pub use charts::{Chart, Repository};
pub use controllers::Controllers;
pub use flux::Flux;
pub use git::Repository as GitRepository;
pub use operators::Operators;
pub use proxy::{Proxy, Until};
pub use transcript::{Exchange, Normaliser, Transcript, folder};

/// How long a part may take to answer, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(240);

/// The host that the server's certificate names; nothing resolves it.
const NAME: &str = "cluster.test";

/// A running etcd and API server.
pub struct ControlPlane {
    // Fields are dropped in this order: the server before what it needs.
    apiserver: Option<Process>,
    etcd: Option<Process>,
    authority: Authority,
    kube: kube::Client,
    address: SocketAddr,
    program: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
}

/// The built control plane, or `None` where nobody built it: that takes many minutes, so a test does not do it by
/// the way. `tests/run handover` does, and under `CI=true` nothing may be missing.
pub fn program() -> Result<Option<PathBuf>> {
    Ok(Tool::ControlPlane.if_built()?)
}

/// The cluster that a control plane is for, where that is not one of its own.
#[derive(Clone, Default)]
pub struct Cluster {
    /// Certificate and key of its Kubernetes authority, in PEM.
    pub authority: Option<(String, String)>,
    /// What clients call the API server, besides [`NAME`] and loopback.
    pub names: Vec<String>,
    /// Where it listens; a free port of loopback without it.
    pub listen: Option<SocketAddr>,
    /// What the API server is told besides.
    pub arguments: Vec<String>,
}

impl ControlPlane {
    /// Starts both on free ports of loopback and waits until the API server says that it is ready.
    pub async fn start(program: &Path) -> Result<ControlPlane> {
        ControlPlane::start_for(program, &Cluster::default()).await
    }

    /// The same as the control plane of a cluster.
    pub async fn start_for(program: &Path, cluster: &Cluster) -> Result<ControlPlane> {
        let folder = TempDir::new()?;
        let names: Vec<String> = [NAME.to_owned()].into_iter().chain(cluster.names.iter().cloned()).collect();
        let authority = match &cluster.authority {
            Some((certificate, key)) => Authority::of(certificate, key, &names, folder.path())?,
            None => Authority::new(&names, folder.path())?,
        };
        let (client, peer) = (process::free_port()?, process::free_port()?);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let etcd = Process::start(
            program,
            "etcd",
            &[
                format!("--data-dir={}", folder.path().join("etcd").display()),
                format!("--listen-client-urls={}", url(client)),
                format!("--advertise-client-urls={}", url(client)),
                format!("--listen-peer-urls={}", url(peer)),
                format!("--initial-advertise-peer-urls={}", url(peer)),
                format!("--initial-cluster=default={}", url(peer)),
                // what a test stores need not survive the machine
                "--unsafe-no-fsync".to_owned(),
                "--log-level=error".to_owned(),
            ],
            folder.path(),
        )?;
        let listen = match cluster.listen {
            Some(address) => address,
            None => SocketAddr::from(([127, 0, 0, 1], process::free_port()?)),
        };
        let arguments = authority.apiserver_arguments().into_iter().chain([
            format!("--etcd-servers={}", url(client)),
            format!("--secure-port={}", listen.port()),
            format!("--bind-address={}", listen.ip()),
            // loopback is refused; nobody will connect to what is advertised
            "--advertise-address=192.0.2.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112".to_owned(),
            // a network plugin's pods are privileged
            "--allow-privileged=true".to_owned(),
            // webhooks are asked at their pods' addresses: nothing here forwards a Service's
            "--enable-aggregator-routing=true".to_owned(),
        ]);
        let address = SocketAddr::from(([127, 0, 0, 1], listen.port()));
        let mut plane = ControlPlane {
            apiserver: None,
            etcd: Some(etcd),
            kube: any_client(&authority, address)?,
            authority,
            address,
            program: program.to_owned(),
            arguments: arguments.chain(cluster.arguments.iter().cloned()).collect(),
            folder,
        };
        plane.start_apiserver().await?;
        Ok(plane)
    }

    /// Starts the API server (again).
    pub async fn start_apiserver(&mut self) -> Result<()> {
        self.apiserver =
            Some(Process::start(&self.program, "apiserver", &self.arguments, self.folder.path())?);
        let client = self.client()?;
        let end = Instant::now() + PATIENCE;
        loop {
            if client.ready().await.unwrap_or(false) {
                return Ok(());
            }
            for part in [&mut self.etcd, &mut self.apiserver].into_iter().flatten() {
                part.alive()?;
            }
            if Instant::now() > end {
                bail!("the API server is not ready after {} s", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends the API server as a power cut does.
    pub fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// What an administrator has.
    pub fn access(&self) -> Access<'_> {
        Access {
            endpoint: "https://cluster.test:6443",
            authority: &self.authority.certificate,
            certificate: &self.authority.admin,
            key: &self.authority.admin_key,
            address: Some(self.address),
        }
    }

    /// A client of an administrator.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(self.access())?)
    }

    /// A client of somebody who may do less.
    pub fn client_of(&self, user: &str, group: &str) -> Result<Client> {
        let (certificate, key) = self.authority.client(user, group)?;
        Ok(Client::new(Access { certificate: &certificate, key: &key, ..self.access() })?)
    }

    /// Something that sends any request, for whoever does not hold the control plane.
    pub fn hands(&self) -> Hands {
        Hands(self.kube.clone())
    }

    /// Sends any request and tells the status code and what was answered, which is null when it was not JSON.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: String,
    ) -> Result<(u16, Value)> {
        self.hands().send(method, path, media_type, body).await
    }

    /// A kubeconfig for other people's programs.
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, self.authority.kubeconfig(self.address, NAME))?;
        Ok(path)
    }
}

/// An administrator who sends any request.
#[derive(Clone)]
pub struct Hands(kube::Client);

impl Hands {
    /// Sends one and tells the status code and what was answered, which is null when it was not JSON.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: String,
    ) -> Result<(u16, Value)> {
        let (code, text) = self.raw(method, path, media_type, body).await?;
        Ok((code, serde_json::from_str(&text).unwrap_or_default()))
    }

    /// The same with the answer as it came.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: String,
    ) -> Result<(u16, String)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, media_type)
            .header(ACCEPT, "application/json")
            .body(Body::from(body.into_bytes()))?;
        let answer = self.0.send(request).await?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    }

    /// What is there, or null.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (code, answer) = self.send("GET", path, "application/json", String::new()).await?;
        Ok(if code == 200 { answer } else { Value::Null })
    }

    /// Changes what is there; an error when it is refused.
    pub async fn merge(&self, path: &str, change: &Value) -> Result<Value> {
        let sent = self.send("PATCH", path, "application/merge-patch+json", change.to_string()).await?;
        accepted(path, sent)
    }

    /// Creates something; an error when it is refused.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let sent = self.send("POST", path, "application/json", object.to_string()).await?;
        accepted(path, sent)
    }
}

fn accepted(path: &str, (code, answer): (u16, Value)) -> Result<Value> {
    match code {
        200..=299 => Ok(answer),
        code => bail!("{path}: {code} {}", answer["message"]),
    }
}

/// A client that sends what no sensible client would.
fn any_client(authority: &Authority, address: SocketAddr) -> Result<kube::Client> {
    let mut config = Config::new(format!("https://{address}").parse()?);
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(authority.certificate.as_bytes())?.to_vec()]);
    config.tls_server_name = Some(NAME.to_owned());
    config.default_retry = false;
    config.auth_info.client_certificate_data = Some(BASE64_STANDARD.encode(&authority.admin));
    config.auth_info.client_key_data = Some(BASE64_STANDARD.encode(&authority.admin_key).into());
    Ok(kube::Client::try_from(config)?)
}
