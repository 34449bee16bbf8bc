//! The stand-in behind real TLS: a CA of its own, a server certificate for a name, client certificates demanded.

use std::{net::SocketAddr, sync::Arc};

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
        let service = TowerToHyperService::new(router(state.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), service.clone());
                tokio::spawn(async move {
                    // A client without our trust goes away here; that is what some tests want.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let connection = hyper::server::conn::http1::Builder::new();
                    connection.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });

        let (certificate, key) = client_of(&issuer);
        Server { state, address, authority: authority.pem(), certificate, key, issuer }
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

fn client_of(issuer: &Issuer<'static, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "admin");
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
