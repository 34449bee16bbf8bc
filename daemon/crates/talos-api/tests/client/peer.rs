//! The other end for the client's tests: authorities, certificates, and servers on loopback that speak the
//! generated server traits. What answers the calls is the test's own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{Request, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData as _,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use talos_api::{Credentials, Fingerprint};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

pub(crate) const MAINTENANCE: &str = "maintenance-service.talos.dev";

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
}

/// An OS authority as Talos makes it.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

pub(crate) struct Leaf {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Leaf {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_public_key(&self.key.subject_public_key_info())
    }
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::OrganizationName, "talos");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = key();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { der: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for a server at 127.0.0.1, changed as the test wants it.
    pub(crate) fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut parameters);
        self.signed(&parameters)
    }

    /// What opens machines of this authority.
    pub(crate) fn credentials(&self) -> Credentials {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::OrganizationName, "os:admin");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = self.signed(&parameters);
        Credentials::from_pem(&self.pem, &leaf.pem, &leaf.key.serialize_pem()).unwrap()
    }

    fn signed(&self, parameters: &CertificateParams) -> Leaf {
        let key = key();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Leaf { der: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

/// How a server presents itself.
pub(crate) struct Tls(ServerConfig);

impl Tls {
    /// As in maintenance mode: nobody is asked for a certificate.
    pub(crate) fn open(leaf: &Leaf) -> Self {
        Self::new(leaf, leaf, None, rustls::ALL_VERSIONS)
    }

    /// As a configured machine: only who was signed by `clients` comes in.
    pub(crate) fn mutual(leaf: &Leaf, clients: &Ca) -> Self {
        Self::new(leaf, leaf, Some(clients), rustls::ALL_VERSIONS)
    }

    /// The same in TLS 1.2, where the handshake itself fails without a client certificate.
    pub(crate) fn mutual_1_2(leaf: &Leaf, clients: &Ca) -> Self {
        Self::new(leaf, leaf, Some(clients), &[&rustls::version::TLS12])
    }

    /// Shows a certificate whose key it does not have.
    pub(crate) fn impostor(shown: &Leaf, owned: &Leaf) -> Self {
        Self::new(shown, owned, None, rustls::ALL_VERSIONS)
    }

    fn new(
        shown: &Leaf,
        owned: &Leaf,
        clients: Option<&Ca>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der.clone()).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(owned.key.serialize_der().into());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = CertifiedKey::new(vec![shown.der.clone()], key);
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self(config)
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl Server {
    /// How many requests came through the handshake.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many connections were made, handshake or not.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) async fn start(tls: Tls, routes: Routes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        let service = tower::ServiceExt::<Request<Incoming>>::map_request(
            routes.prepare(),
            move |request: Request<Incoming>| {
                counted.fetch_add(1, Ordering::SeqCst);
                request
            },
        );
        let acceptor = TlsAcceptor::from(Arc::new(tls.0));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, service) = (acceptor.clone(), service.clone());
                connections.spawn(async move {
                    // A client that was refused, or that only looked, is none of the server's business.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let builder = auto::Builder::new(TokioExecutor::new());
                    builder
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
                        .await
                        .ok();
                });
            }
        });
        Self { address, requests, connections, _accepting: accepting }
    }
}
