//! HTTPS for firmware that takes nothing else: the certificate it is shown, and what is agreed on.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 only: what EDK2 and iPXE speak.

use std::sync::Arc;

use talos_config::pem::{CertificateAndKey, PemError};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig},
};

/// The certificate cannot be shown to anybody.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// not readable
    #[error("the boot server's certificate is not readable: {0}")]
    Pem(#[from] PemError),
    /// not usable
    #[error("the boot server's certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What the boot server shows to those who come by HTTPS.
#[derive(Clone)]
pub struct Secure(TlsAcceptor);

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").finish_non_exhaustive()
    }
}

impl Secure {
    /// The boot server's own certificate, and that of the authority that issued it.
    ///
    /// # Errors
    /// When they are no certificates, or the key is none.
    pub fn new(own: &CertificateAndKey, authority: &CertificateAndKey) -> Result<Self, TlsError> {
        let chain = vec![own.certificate_der()?, authority.certificate_der()?];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, own.private_key_der()?)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) fn acceptor(self) -> TlsAcceptor {
        self.0
    }
}
