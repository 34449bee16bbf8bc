//! TLS with a service processor, whose certificate nobody vouches for: whichever it shows is taken down here, and judged
//! before anything is said to it.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

/// A connection's settings, and what its peer showed.
pub(crate) fn config() -> Result<(ClientConfig, Arc<Seen>), Error> {
    // given explicitly: a library must not rely on what a process installed
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let seen = Arc::new(Seen { algorithms, certificate: Mutex::new(None) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // a resumed session shows no certificate
    config.resumption = Resumption::disabled();
    Ok((config, seen))
}

/// Takes the certificate down. That the peer has its key is checked.
#[derive(Debug)]
pub(crate) struct Seen {
    algorithms: WebPkiSupportedAlgorithms,
    certificate: Mutex<Option<[u8; 32]>>,
}

impl Seen {
    /// SHA-256 of what was shown.
    pub(crate) fn certificate(&self) -> Option<[u8; 32]> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        Ok(ServerCertVerified::assertion())
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
