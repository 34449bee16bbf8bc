//! A server behind TLS: an admission webhook, or something in front of the API server.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

/// Certificates and key in PEM.
pub(crate) struct Identity<'a> {
    pub(crate) certificates: &'a str,
    pub(crate) key: &'a str,
}

/// Answers on an address with what `answer` makes of each request; where that is nothing, the connection ends.
pub(crate) async fn serve<A, F>(
    address: SocketAddr,
    identity: Identity<'_>,
    answer: A,
) -> Result<(SocketAddr, JoinHandle<()>)>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Option<Response<String>>> + Send + 'static,
{
    let certificates = CertificateDer::pem_slice_iter(identity.certificates.as_bytes());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            certificates.collect::<Result<_, _>>()?,
            PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
        )?;
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, answer) = (tls.clone(), answer.clone());
            tokio::spawn(async move {
                // whoever does not trust us goes away here, and that is theirs to tell
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { answer.await.ok_or_else(|| std::io::Error::other("the server is gone")) }
                });
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    Ok((address, task))
}
