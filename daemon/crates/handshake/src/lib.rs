//! TLS with a server that no public authority vouches for. What its certificate is worth the caller judges; that the server
//! has the certificate's key is always proved here.
//!
//! Sessions are never resumed: a resumed session shows no certificate, and the certificate is all we go by.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Says what a certificate is worth.
pub trait Judge: fmt::Debug + Send + Sync + 'static {
    /// This one is shown, with those that are to lead to its authority. Whether the server has its key is not known yet.
    ///
    /// # Errors
    /// The handshake ends with it.
    fn shown(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error>;

    /// The server has the key of the one that was shown.
    fn proved(&self) {}
}

/// The one provider of this program, given explicitly: a library must not rely on what a process installed.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A connection's settings: no certificate of ours, and the server's goes to the judge.
///
/// # Errors
/// Never with our provider, which speaks both versions of TLS.
pub fn judged(judge: Arc<impl Judge>) -> Result<ClientConfig, Error> {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { judge, algorithms }))
        .with_no_client_auth();
    Ok(unresumed(config))
}

/// The same settings without resumption.
pub fn unresumed(mut config: ClientConfig) -> ClientConfig {
    config.resumption = Resumption::disabled();
    config
}

#[derive(Debug)]
struct Verifier<J> {
    judge: Arc<J>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl<J: Judge> Verifier<J> {
    fn heard(
        &self,
        signature: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signature.is_ok() {
            self.judge.proved();
        }
        signature
    }
}

impl<J: Judge> ServerCertVerifier for Verifier<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.shown(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.heard(verify_tls12_signature(message, certificate, signed, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.heard(verify_tls13_signature(message, certificate, signed, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
