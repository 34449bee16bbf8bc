//! How we talk to a machine whose mode we know. In maintenance mode nobody vouches for the machine, so the public
//! key that it showed at first contact must stay the same; a configured machine must show a certificate from our
//! authority that names the address we dialled, and gets ours in return.

use std::sync::Arc;

use handshake::{Judge, judged, provider, unresumed};
use rustls::{CertificateError, ClientConfig, Error, OtherError};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Authority, Fingerprint, certificate::Shown};

/// What gRPC asks for in the handshake.
const ALPN: &[u8] = b"h2";

/// For a machine in maintenance mode: no client certificate, the server's public key pinned.
pub fn maintenance(pin: Fingerprint) -> Result<ClientConfig, Error> {
    Ok(of_grpc(judged(Arc::new(Pinned { pin }))?))
}

/// For a configured machine: our authority alone is trusted, and we show our certificate.
pub fn configured(
    authority: &Authority,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(authority.roots()))
        .with_client_auth_cert(chain, key)?;
    Ok(of_grpc(unresumed(config)))
}

fn of_grpc(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// The key is not the one that was pinned.
#[derive(Debug, thiserror::Error)]
#[error("expected fingerprint {expected}, seen {seen}")]
pub(crate) struct Mismatch {
    pub(crate) expected: Fingerprint,
    pub(crate) seen: Fingerprint,
}

#[derive(Debug)]
struct Pinned {
    pin: Fingerprint,
}

impl Judge for Pinned {
    fn shown(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let seen = Shown::read(certificate).map_err(|_| CertificateError::BadEncoding)?.fingerprint;
        if seen == self.pin {
            return Ok(());
        }
        let mismatch = Mismatch { expected: self.pin, seen };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }
}
