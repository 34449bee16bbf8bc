//! What a server's certificate says about the machine behind it.

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::Fingerprint;

/// The name under which a machine without a config presents itself, from Talos 1.13 on (talos.md §6.7).
const MAINTENANCE: &str = "maintenance-service.talos.dev";

/// The parts of a certificate that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) fingerprint: Fingerprint,
    /// the subject as text; the issuer where the subject is empty
    pub(crate) subject: String,
    pub(crate) maintenance: bool,
    /// seconds since the Unix epoch; the middle of the certificate's validity
    pub(crate) good_at: u64,
}

impl Shown {
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let subject = certificate.subject();
        let validity = certificate.validity();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self {
            fingerprint: Fingerprint::of_public_key(certificate.public_key().raw),
            subject: if subject.iter().next().is_some() {
                subject.to_string()
            } else {
                format!("issued by {}", certificate.issuer())
            },
            maintenance: subject
                .iter_common_name()
                .any(|name| name.as_str().is_ok_and(|name| name == MAINTENANCE)),
            good_at: u64::try_from(from.midpoint(to)).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: Option<&str>) -> Shown {
        let mut parameters = rcgen::CertificateParams::new(["192.0.2.1".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = name {
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        Shown::read(parameters.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn only_the_whole_name_means_maintenance() {
        assert!(shown(Some("maintenance-service.talos.dev")).maintenance);
        for name in [None, Some("maintenance-service.talos.dev.example"), Some("node-1")] {
            assert!(!shown(name).maintenance, "{name:?}");
        }
    }

    #[test]
    fn a_stranger_is_named_by_what_there_is() {
        assert_eq!(shown(Some("node-1")).subject, "CN=node-1");
        assert_eq!(shown(None).subject, "issued by ");
    }

    #[test]
    fn bytes_that_are_no_certificate_are_an_error() {
        for bytes in [&b""[..], b"\x30\x80", b"hello"] {
            assert!(Shown::read(bytes).is_err());
        }
    }
}
