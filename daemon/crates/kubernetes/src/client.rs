//! The connection: TLS with the cluster's own CA and our client certificate, and what the API serves.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::BodyExt as _;
use hyper::{Request, Uri};
use kube::{Config, client::Body};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    alone::Guard,
    apply::FIELD_MANAGER,
    error::{AccessError, ApplyError, RequestError},
    object::ObjectId,
};

/// How long a connection may take: the API server is on the next switch.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take. The API server itself gives up after 60 s; nothing we ask for is slow.
const ANSWER: Duration = Duration::from_secs(30);

/// What a client needs: the pieces of a kubeconfig.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// Such as `https://172.29.51.10:6443`. The server must prove that it is this host.
    pub endpoint: &'a str,
    /// The cluster's Kubernetes CA in PEM.
    pub authority: &'a str,
    /// Our certificate in PEM.
    pub certificate: &'a str,
    /// Its key in PEM: PKCS#8, SEC1, PKCS#1, or Talos's `ED25519 PRIVATE KEY`.
    pub key: &'a str,
    /// Connect here instead of to the endpoint, for instance to one control plane before the shared
    /// address is up; the certificate is still held against the endpoint.
    pub address: Option<SocketAddr>,
}

/// A client of one cluster; clones share its connections.
#[derive(Clone)]
pub struct Client {
    kube: kube::Client,
    endpoint: String,
    papers: Arc<Papers>,
    resources: Arc<Mutex<BTreeMap<(String, String), Resource>>>,
    /// Where it writes only while nobody else does.
    guard: Option<Arc<Guard>>,
    /// By whom the fields that it writes are managed.
    manager: &'static str,
}

/// What it takes to connect again.
struct Papers {
    authority: String,
    certificate: String,
    key: Zeroizing<String>,
}

/// How the URLs of a kind are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

/// An HTTP answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares a client; connects only when something is asked. Needs a tokio runtime around it.
    pub fn new(access: Access<'_>) -> Result<Client, AccessError> {
        let endpoint = || AccessError::Endpoint(access.endpoint.to_owned());
        let uri: Uri = access.endpoint.parse().map_err(|_| endpoint())?;
        if uri.scheme_str() != Some("https") {
            return Err(endpoint());
        }
        let host = uri.host().ok_or_else(endpoint)?.trim_matches(['[', ']']).to_owned();
        let url = match access.address {
            Some(address) => format!("https://{address}").parse().map_err(|_| endpoint())?,
            None => uri,
        };
        let authority: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(access.authority.as_bytes())
            .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| AccessError::Authority)?;
        if authority.is_empty() {
            return Err(AccessError::Authority);
        }

        let mut config = Config::new(url);
        config.root_cert = Some(authority);
        config.tls_server_name = Some(host);
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        config.write_timeout = Some(ANSWER);
        // Without it the time a connection was idle counts as waiting for an answer.
        config.reset_reader_on_write = true;
        // Whoever asks decides whether and when to ask again.
        config.default_retry = false;
        config.auth_info.client_certificate_data = Some(BASE64_STANDARD.encode(access.certificate));
        // Talos labels its PKCS#8 keys by algorithm, which PEM readers do not know.
        let key = Zeroizing::new(access.key.replace("ED25519 PRIVATE KEY", "PRIVATE KEY"));
        config.auth_info.client_key_data = Some(BASE64_STANDARD.encode(key.as_bytes()).into());
        let kube = kube::Client::try_from(config).map_err(|error| AccessError::Identity(error.into()))?;
        let papers = Papers {
            authority: access.authority.to_owned(),
            certificate: access.certificate.to_owned(),
            key: Zeroizing::new(access.key.to_owned()),
        };
        let (endpoint, papers) = (access.endpoint.to_owned(), Arc::new(papers));
        Ok(Client { kube, endpoint, papers, resources: Arc::default(), guard: None, manager: FIELD_MANAGER })
    }

    pub(crate) fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
    }

    pub(crate) fn guarded(&self, guard: Option<Arc<Guard>>) -> Client {
        Client { guard, ..self.clone() }
    }

    /// The same client, which applies objects in the name of somebody else whose they are.
    #[must_use]
    pub fn managing_as(&self, manager: &'static str) -> Client {
        Client { manager, ..self.clone() }
    }

    pub(crate) fn manager(&self) -> &'static str {
        self.manager
    }

    /// The same cluster through one of its control planes.
    pub fn at(&self, address: SocketAddr) -> Result<Client, AccessError> {
        Client::new(Access {
            endpoint: &self.endpoint,
            authority: &self.papers.authority,
            certificate: &self.papers.certificate,
            key: &self.papers.key,
            address: Some(address),
        })
    }

    /// Whether the API server says that it is ready; an error when it does not answer at all.
    pub async fn ready(&self) -> Result<bool, RequestError> {
        Ok(self.get("/readyz").await?.code == 200)
    }

    /// The server's version, such as `v1.36.3`.
    pub async fn version(&self) -> Result<String, RequestError> {
        let document = self.document("/version").await?;
        Ok(document["gitVersion"].as_str().unwrap_or_default().to_owned())
    }

    /// What tells this cluster from any other with the same names: the UID of its namespace kube-system.
    pub async fn cluster_uid(&self) -> Result<String, RequestError> {
        let document = self.document("/api/v1/namespaces/kube-system").await?;
        Ok(document["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether a kind is served now.
    pub async fn serves(&self, api_version: &str, kind: &str) -> Result<bool, RequestError> {
        match self.resource(api_version, kind).await {
            Ok(_) => Ok(true),
            Err(ApplyError::Request(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// The object as it is, or `None`.
    pub async fn object(&self, id: &ObjectId) -> Result<Option<Value>, ApplyError> {
        let path = self.path(id).await?;
        let answer = self.get(&path).await?;
        match answer.code {
            200 => Ok(Some(self.json(&id.to_string(), &answer.body)?)),
            404 => Ok(None),
            code => {
                let secret = id.kind == "Secret";
                Err(RequestError::refused(id.to_string(), code, &answer.body, secret).into())
            }
        }
    }

    /// Where an object lives.
    pub(crate) async fn path(&self, id: &ObjectId) -> Result<String, ApplyError> {
        Ok(format!("{}/{}", self.collection(id).await?, id.name))
    }

    /// Where the objects of its kind live, in its namespace.
    pub(crate) async fn collection(&self, id: &ObjectId) -> Result<String, ApplyError> {
        let Resource { plural, namespaced } = self.resource(&id.api_version, &id.kind).await?;
        let root = root(&id.api_version);
        Ok(if namespaced {
            // kubectl's default, and what the object itself would get.
            let namespace = id.namespace.as_deref().unwrap_or("default");
            format!("{root}/namespaces/{namespace}/{plural}")
        } else {
            format!("{root}/{plural}")
        })
    }

    /// How the URLs of a kind are made, asked once per kind. A kind that was not there is asked for again.
    pub(crate) async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, ApplyError> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.known().get(&key) {
            return Ok(known.clone());
        }
        let unknown =
            || ApplyError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let path = root(api_version);
        let answer = self.get(&path).await?;
        let list = match answer.code {
            200 => self.json(&path, &answer.body)?,
            404 => return Err(unknown()),
            code => return Err(RequestError::refused(path, code, &answer.body, false).into()),
        };
        let found = (list["resources"].as_array().into_iter().flatten()).find_map(|resource| {
            // `deployments/status` and the like are of the same kind.
            let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
            let namespaced = resource["namespaced"].as_bool()?;
            (resource["kind"] == kind).then(|| Resource { plural: plural.to_owned(), namespaced })
        });
        let found = found.ok_or_else(unknown)?;
        self.known().insert(key, found.clone());
        Ok(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Resource>> {
        // Nothing can be half-done in there.
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A document that must be there.
    pub(crate) async fn document(&self, path: &str) -> Result<Value, RequestError> {
        let answer = self.get(path).await?;
        match answer.code {
            200 => self.json(path, &answer.body),
            code => Err(RequestError::refused(path.to_owned(), code, &answer.body, false)),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, RequestError> {
        let request = Request::get(path).body(Vec::new());
        self.send(request.map_err(|error| self.unreachable(error))?).await
    }

    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, RequestError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer =
            self.kube.send(request.map(Body::from)).await.map_err(|error| self.unreachable(error))?;
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|error| self.unreachable(error))?;
        tracing::trace!(%method, path, code, "asked the Kubernetes API");
        Ok(Answer { code, body: body.to_bytes().to_vec() })
    }

    pub(crate) fn json(&self, what: &str, body: &[u8]) -> Result<Value, RequestError> {
        serde_json::from_slice(body).map_err(|error| RequestError::Unreadable {
            what: what.to_owned(),
            // Line and column only: the text itself may be secret.
            detail: format!("not JSON at line {} column {}", error.line(), error.column()),
        })
    }

    fn unreachable(&self, error: impl std::error::Error) -> RequestError {
        RequestError::unreachable(&self.endpoint, &error)
    }
}

/// `/api/v1` or `/apis/apps/v1`.
pub(crate) fn root(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}
