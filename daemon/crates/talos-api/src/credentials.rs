//! Who we are to our machines: the cluster's OS authority, which tells our machines from strangers, and the
//! administrator's certificate and key, with which they let us in.

use std::{fmt, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use crate::tls;

/// Talos writes its Ed25519 keys under this label; what is inside is the PKCS#8 that everybody else labels
/// `PRIVATE KEY` (talos.md §3.2).
const TALOS_LABEL: &str = "ED25519 PRIVATE KEY";

/// The PEM text does not make a usable credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// no certificate in the text, or one that cannot be read
    #[error("the {what} is not a PEM certificate: {reason}")]
    Certificate {
        /// which of the three texts
        what: &'static str,
        /// what the reader said
        reason: String,
    },
    /// the key cannot be read; the reason never quotes it
    #[error("the client key is not a PEM private key: {reason}")]
    Key {
        /// what the reader said
        reason: String,
    },
    /// the certificate and the key do not belong together
    #[error("the client certificate and its key do not make a pair: {reason}")]
    Pair {
        /// what the TLS library said
        reason: String,
    },
}

/// The OS authority of one cluster: whoever it signed is one of ours.
#[derive(Clone)]
pub struct Authority {
    roots: Arc<RootCertStore>,
}

impl Authority {
    /// From PEM text with one certificate, or several while the authority is being rotated.
    pub fn from_pem(text: &str) -> Result<Self, CredentialsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("authority's certificate", text)? {
            roots.add(certificate).map_err(|error| CredentialsError::Certificate {
                what: "authority's certificate",
                reason: error.to_string(),
            })?;
        }
        Ok(Self { roots: Arc::new(roots) })
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({} certificates)", self.roots.len())
    }
}

/// What opens the machine API of a configured machine. The key is held by the TLS library alone.
#[derive(Clone)]
pub struct Credentials {
    authority: Authority,
    config: Arc<ClientConfig>,
}

impl Credentials {
    /// From the three PEM texts of a talosconfig context, already decoded from base64.
    pub fn from_pem(authority: &str, certificate: &str, key: &str) -> Result<Self, CredentialsError> {
        let authority = Authority::from_pem(authority)?;
        let chain = certificates("client certificate", certificate)?;
        let key = private_key(key)?;
        let config = tls::configured(&authority, chain, key)
            .map_err(|error| CredentialsError::Pair { reason: error.to_string() })?;
        Ok(Self { authority, config: Arc::new(config) })
    }

    /// The authority alone, for [`probe()`](crate::probe()).
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("authority", &self.authority).finish_non_exhaustive()
    }
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CredentialsError::Certificate { what, reason: error.to_string() })?;
    if found.is_empty() {
        return Err(CredentialsError::Certificate { what, reason: "there is none in the text".to_owned() });
    }
    Ok(found)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let text = Zeroizing::new(text.replace(TALOS_LABEL, "PRIVATE KEY"));
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| CredentialsError::Key {
        // The reader's own words may carry a piece of what it read.
        reason: match error {
            rustls_pki_types::pem::Error::NoItemsFound => "there is none in the text",
            _ => "it is damaged",
        }
        .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    struct Pem {
        certificate: String,
        key: String,
    }

    fn pem(name: &str) -> Pem {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate =
            rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
        Pem { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    #[test]
    fn a_key_under_the_label_of_talos_loads() {
        let ours = pem("ours");
        // Talos writes the first version of PKCS#8: a fixed prefix and the seed, without the public key.
        let second = PrivateKeyDer::from_pem_slice(ours.key.as_bytes()).unwrap();
        let mut first = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        first.extend(&second.secret_der()[16..48]);
        let labelled = format!(
            "-----BEGIN {TALOS_LABEL}-----\n{}\n-----END {TALOS_LABEL}-----\n",
            STANDARD.encode(first)
        );
        Credentials::from_pem(&ours.certificate, &ours.certificate, &labelled).unwrap();
    }

    #[test]
    fn what_is_not_a_credential_says_which_part() {
        let (ours, other) = (pem("ours"), pem("other"));
        let of = |authority: &str, certificate: &str, key: &str| {
            Credentials::from_pem(authority, certificate, key).unwrap_err()
        };
        assert!(matches!(
            of("", &ours.certificate, &ours.key),
            CredentialsError::Certificate { what: "authority's certificate", .. }
        ));
        assert!(matches!(
            of(&ours.certificate, &ours.key, &ours.key),
            CredentialsError::Certificate { what: "client certificate", .. }
        ));
        assert!(matches!(
            of(&ours.certificate, &ours.certificate, &ours.certificate),
            CredentialsError::Key { .. }
        ));
        assert!(matches!(
            of(&ours.certificate, &ours.certificate, &other.key),
            CredentialsError::Pair { .. }
        ));
    }

    #[test]
    fn nothing_of_the_key_is_shown() {
        let ours = pem("ours");
        let body: String = ours.key.lines().filter(|line| !line.starts_with("-----")).collect();
        let shown =
            format!("{:?}", Credentials::from_pem(&ours.certificate, &ours.certificate, &ours.key).unwrap());
        assert_eq!(shown, "Credentials { authority: Authority(1 certificates), .. }");
        let damaged = ours.key.replace("-----END", "!-----END");
        let error = Credentials::from_pem(&ours.certificate, &ours.certificate, &damaged).unwrap_err();
        assert!(!format!("{error:?} {error}").contains(&body[..16]));
    }
}
