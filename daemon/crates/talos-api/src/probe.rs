//! Whom do we see there? One TLS handshake tells, without a certificate of ours and without a request: the server
//! shows its certificate first, and who signed it decides. Only a stranger who wants no certificate from us may be an
//! elder Talos that waits for its config; it is asked that.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use handshake::{Judge, judged, provider};
use rustls::{
    CertificateError, ClientConfig, Error, SignatureScheme,
    client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::{Authority, Fingerprint, ProbeError, certificate::Shown, dial::dial, elder};

/// Who answers at an address (talos.md §6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Its certificate is from our authority: a configured machine of this cluster. Whether the certificate is
    /// good today and names the address is not asked here; [`Client::configured`](crate::Client::configured)
    /// asks.
    Ours,
    /// A machine without a config. Nobody vouches for it.
    Maintenance {
        /// of its public key, to hold on to; new at every boot
        fingerprint: Fingerprint,
    },
    /// Anybody else, another cluster's machines among them: not to be touched.
    Foreign {
        /// of its certificate
        subject: String,
    },
}

/// Looks at who answers. `within` bounds the whole of it. A certificate of ours is never sent, and no request to a server
/// that asks for one, as every configured machine does.
pub async fn probe(address: SocketAddr, ours: &Authority, within: Duration) -> Result<Peer, ProbeError> {
    let deadline = Instant::now() + within;
    let stream = dial(address, within).await?;

    let observer = Arc::<Observer>::default();
    let config = observing(Arc::clone(&observer))
        .map_err(|error| ProbeError::NotTls { address, reason: error.to_string() })?;
    let name = ServerName::IpAddress(address.ip().into());
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let handshake =
        timeout_at(deadline, handshake).await.map_err(|_| ProbeError::TimedOut { address, within })?;

    // A configured machine may well end the handshake because we showed no certificate. Its own was shown and
    // proved before that, and that is all we came for.
    let judged = match (observer.proof(), handshake) {
        (Some(chain), _) => judge(&chain, ours).map_err(|reason| ProbeError::NotTls {
            address,
            reason: format!("unreadable certificate: {reason}"),
        }),
        (None, Err(error)) => Err(ProbeError::from_handshake(address, &error)),
        (None, Ok(_)) => {
            Err(ProbeError::NotTls { address, reason: "the server showed no certificate".to_owned() })
        }
    };
    Ok(match judged? {
        (Peer::Foreign { .. }, fingerprint)
            if !observer.wants_certificate() && elder::waits(address, &fingerprint, deadline).await =>
        {
            Peer::Maintenance { fingerprint }
        }
        (peer, _) => peer,
    })
}

fn judge(chain: &[CertificateDer<'static>], ours: &Authority) -> Result<(Peer, Fingerprint), String> {
    let (leaf, intermediates) = chain.split_first().ok_or("there is none")?;
    let shown = Shown::read(leaf)?;
    let algorithms = provider().signature_verification_algorithms;
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| error.to_string())?;
    let signed_by_us = |now| {
        verify_server_cert_signed_by_trust_anchor(&parsed, ours.roots(), intermediates, now, algorithms.all)
    };
    let signed = match signed_by_us(UnixTime::now()) {
        // Ours with a clock that is off, or one that was away too long, is still ours and no stranger.
        Err(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => signed_by_us(UnixTime::since_unix_epoch(Duration::from_secs(shown.good_at))),
        result => result,
    };
    let fingerprint = shown.fingerprint;
    let peer = match signed {
        Ok(()) => Peer::Ours,
        Err(_) if shown.maintenance => Peer::Maintenance { fingerprint },
        Err(_) => Peer::Foreign { subject: shown.subject },
    };
    Ok((peer, fingerprint))
}

/// No ALPN, so that a foreign server which speaks no HTTP/2 shows its certificate too.
fn observing(observer: Arc<Observer>) -> Result<ClientConfig, Error> {
    let mut config = judged(Arc::clone(&observer))?;
    config.client_auth_cert_resolver = observer;
    Ok(config)
}

/// Lets every certificate pass and remembers the one whose key signed the handshake; a certificate that is only
/// shown, by somebody without its key, does not count.
#[derive(Debug, Default)]
struct Observer {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    proved: bool,
    wants_certificate: bool,
}

impl Observer {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn proof(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.with(|seen| seen.proved.then(|| std::mem::take(&mut seen.chain)))
    }

    fn wants_certificate(&self) -> bool {
        self.with(|seen| seen.wants_certificate)
    }
}

impl Judge for Observer {
    fn shown(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let chain = std::iter::once(certificate).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        self.with(|seen| (seen.chain, seen.proved) = (chain, false));
        Ok(())
    }

    fn proved(&self) {
        self.with(|seen| seen.proved = true);
    }
}

/// Has no certificate to give, and remembers that one was asked for.
impl ResolvesClientCert for Observer {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.with(|seen| seen.wants_certificate = true);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
