//! trustd on port 50001: a control plane signs the certificates of workers that have the token (talos.md §3.4).

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use talos_api::proto::securityapi::{
    CertificateRequest, CertificateResponse, security_service_client::SecurityServiceClient,
    security_service_server::SecurityService,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{Request, Response, Status, transport::Endpoint};

use super::{
    pki::{self, Identity},
    world::World,
};
use crate::model::{PeerCall, PeerRefusal};

/// The metadata key of the token.
const TOKEN: &str = "token";
/// For the whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server.
#[derive(Clone)]
pub(super) struct Trustd(pub(super) Arc<World>);

#[tonic::async_trait]
impl SecurityService for Trustd {
    async fn certificate(
        &self,
        request: Request<CertificateRequest>,
    ) -> Result<Response<CertificateResponse>, Status> {
        let token = request.metadata().get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let call = PeerCall::Certificate { token: token.to_owned() };
        match self.0.with(|machine, now| machine.peer(call, now)) {
            Ok(_) => {}
            Err(PeerRefusal::Refused(why)) => return Err(Status::unauthenticated(why)),
            Err(_) => return Err(Status::unavailable("trustd is not running")),
        }
        let authority = self.0.look(|machine| machine.config().map(|config| config.os_ca.clone()));
        let authority = authority.ok_or_else(|| Status::unavailable("trustd is not running"))?;
        let csr = String::from_utf8(request.into_inner().csr)
            .map_err(|_| Status::invalid_argument("the request is not PEM"))?;
        let crt =
            pki::sign(&authority, &csr).map_err(|error| Status::invalid_argument(format!("{error:#}")))?;
        Ok(Response::new(CertificateResponse {
            ca: authority.certificate.into_bytes(),
            crt: crt.into_bytes(),
        }))
    }
}

/// Asks a control plane's trustd for a certificate for these names. Only a server of the own CA gets the token.
pub(super) async fn ask(at: IpAddr, token: &str, ca: &str, names: &[String]) -> anyhow::Result<Identity> {
    let (key, csr) = pki::request(names)?;
    let mut roots = RootCertStore::empty();
    roots.add(pki::certificate(ca)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let asked = async {
        let stream = TcpStream::connect((at, 50001)).await?;
        let mut stream = Some(connector.connect(ServerName::IpAddress(at.into()), stream).await?);
        // the address is only a name here: the connection stands already
        let channel = Endpoint::from_static("http://trustd")
            .connect_with_connector(tower::service_fn(move |_| {
                let stream = stream.take();
                async move {
                    stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the connection ended"))
                }
            }))
            .await?;
        let mut request = Request::new(CertificateRequest { csr: csr.into_bytes() });
        request.metadata_mut().insert(TOKEN, token.parse().context("the token is no header value")?);
        let answer = SecurityServiceClient::new(channel).certificate(request).await?.into_inner();
        pki::signed(&key, &String::from_utf8(answer.crt)?, ca)
    };
    tokio::time::timeout(PATIENCE, asked).await.context("trustd does not answer")?
}
