//! A TLS server as a task: accepts, shakes hands, serves; with its drop every connection ends.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use rustls::{
    RootCertStore, ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::pki::{self, Identity};

/// Who may connect.
pub(super) enum Clients {
    /// nobody is asked for a certificate
    Anybody,
    /// only holders of a certificate of this CA (PEM)
    Of(String),
}

/// What is spoken inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/2, for gRPC
    Http2,
    /// HTTP/1.1
    Http1,
}

/// A running server; dropping it closes the port and cuts every connection.
pub(super) struct Server(tokio::task::JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Ends the server and waits until its port is free.
    pub(super) async fn stop(mut self) {
        self.0.abort();
        // ended by the abort, which is what was wanted
        (&mut self.0).await.ok();
    }

    /// Runs a task that is the server.
    pub(super) fn of(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn tls(identity: Identity, clients: Clients, speaks: Speaks) -> anyhow::Result<ServerConfig> {
    let verifier: Option<Arc<dyn ClientCertVerifier>> = match clients {
        Clients::Anybody => None,
        Clients::Of(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(pki::certificate(&ca)?).context("the CA cannot be used")?;
            Some(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
        }
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = match speaks {
        Speaks::Http2 => vec![b"h2".to_vec()],
        Speaks::Http1 => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// Opens the port and serves; `route` makes the router of one connection, or refuses it.
pub(super) async fn serve(
    port: u16,
    identity: Identity,
    clients: Clients,
    speaks: Speaks,
    route: impl Fn(&TlsStream<tokio::net::TcpStream>) -> Option<Router> + Send + Sync + 'static,
) -> anyhow::Result<Server> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(identity, clients, speaks)?));
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let route = Arc::new(route);
    Ok(Server::of(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // a connection that died in the queue is no reason to stop
                    let Ok((stream, _)) = accepted else { continue };
                    // as every server that is written in Go: an answer does not wait for the one before to be heard
                    if stream.set_nodelay(true).is_err() {
                        continue;
                    }
                    let (acceptor, route) = (acceptor.clone(), Arc::clone(&route));
                    connections.spawn(async move {
                        // a probe that only wants to see the certificate ends here
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let Some(router) = route(&stream) else { return };
                        let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
                        match speaks {
                            Speaks::Http2 => {
                                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                                http.serve_connection(io, service).await.ok();
                            }
                            Speaks::Http1 => {
                                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok();
                            }
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }))
}
