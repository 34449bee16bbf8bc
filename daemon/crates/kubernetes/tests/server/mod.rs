//! The stand-in behind real TLS: a CA of its own, a server certificate for a name, client certificates demanded.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use kubernetes::{Access, Client};
use kubernetes_stand_in::{State, router};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The name in the server's certificate; nothing resolves it.
pub(crate) const NAME: &str = "cluster.test";

/// A running API server and what a client needs for it. It runs until the test's runtime ends.
pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) address: SocketAddr,
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    issuer: Issuer<'static, KeyPair>,
    tls: TlsAcceptor,
}

impl Server {
    /// Listens on a port of loopback that was free.
    pub(crate) async fn start() -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
        let server_key = KeyPair::generate().unwrap();
        let server =
            CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![server.der().clone()],
                PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
            )
            .unwrap();

        let state = State::new();
        let tls = TlsAcceptor::from(Arc::new(config));
        let service = TowerToHyperService::new(router(state.clone()));
        let address = serve(tls.clone(), service).await;

        let (certificate, key) = client_of(&issuer);
        Server { state, address, authority: authority.pem(), certificate, key, issuer, tls }
    }

    /// Another address of the same server, which answers this many requests and then hangs up for good. The
    /// first that is not answered may still be done (`lose_answer`).
    #[allow(dead_code)] // not every test that includes this file needs it
    pub(crate) async fn failing(&self, requests: usize, lose_answer: bool) -> SocketAddr {
        let inner = TowerToHyperService::new(router(self.state.clone()));
        let count = Arc::new(AtomicUsize::new(0));
        let service = service_fn(move |request: Request<Incoming>| {
            let (inner, number) = (inner.clone(), count.fetch_add(1, Ordering::SeqCst));
            async move {
                let lost = || io::Error::other("the server is gone");
                if number > requests || (number == requests && !lose_answer) {
                    return Err(lost());
                }
                let Ok(answer) = inner.call(request).await;
                if number == requests { Err(lost()) } else { Ok(answer) }
            }
        });
        serve(self.tls.clone(), service).await
    }

    /// Access as an administrator has it, through the loopback address.
    pub(crate) fn access(&self) -> Access<'_> {
        Access {
            endpoint: "https://cluster.test:6443",
            authority: &self.authority,
            certificate: &self.certificate,
            key: &self.key,
            address: Some(self.address),
        }
    }

    /// A client that may do everything.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.access()).unwrap()
    }

    /// Another client certificate and its key.
    #[allow(dead_code)] // not every test that includes this file needs one
    pub(crate) fn another_client(&self) -> (String, String) {
        client_of(&self.issuer)
    }
}

/// Serves on a port of loopback that was free, until the test's runtime ends.
async fn serve<S, F>(tls: TlsAcceptor, service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<axum::body::Body>, Future = F> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Result<S::Response, S::Error>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, service) = (tls.clone(), service.clone());
            tokio::spawn(async move {
                // A client without our trust goes away here; that is what some tests want.
                let Ok(stream) = tls.accept(stream).await else { return };
                // So is an error of the service: the connection ends.
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    address
}

fn client_of(issuer: &Issuer<'static, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "admin");
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
