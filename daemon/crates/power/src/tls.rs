//! TLS with a service processor, whose certificate nobody vouches for: whichever it shows is taken down here, and judged
//! before anything is said to it.

use std::sync::{Arc, Mutex, PoisonError};

use handshake::{Judge, judged};
use rustls::{ClientConfig, Error};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

/// A connection's settings, and what its peer showed.
pub(crate) fn config() -> Result<(ClientConfig, Arc<Seen>), Error> {
    let seen = Arc::<Seen>::default();
    Ok((judged(Arc::clone(&seen))?, seen))
}

/// Takes the certificate down.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    certificate: Mutex<Option<[u8; 32]>>,
}

impl Seen {
    /// SHA-256 of what was shown.
    pub(crate) fn certificate(&self) -> Option<[u8; 32]> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Judge for Seen {
    fn shown(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let digest: [u8; 32] = Sha256::digest(certificate.as_ref()).into();
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        Ok(())
    }
}
