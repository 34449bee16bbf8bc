//! How we talk to a machine whose mode we know. In maintenance mode nobody vouches for the machine, so the public
//! key that it showed at first contact must stay the same; a configured machine must show a certificate from our
//! authority that names the address we dialled, and gets ours in return.
//!
//! Sessions are never resumed: a resumed session skips the certificate, and the certificate is all we go by.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::{Authority, Fingerprint, certificate::Shown};

/// What gRPC asks for in the handshake.
const ALPN: &[u8] = b"h2";

/// The one provider of this program, given explicitly: a library must not rely on what a process installed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// For a machine in maintenance mode: no client certificate, the server's public key pinned.
pub fn maintenance(pin: Fingerprint) -> Result<ClientConfig, Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { pin, algorithms }))
        .with_no_client_auth();
    Ok(finished(config))
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
    Ok(finished(config))
}

fn finished(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
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
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = Shown::read(end_entity).map_err(|_| CertificateError::BadEncoding)?.fingerprint;
        if seen == self.pin {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = Mismatch { expected: self.pin, seen };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
