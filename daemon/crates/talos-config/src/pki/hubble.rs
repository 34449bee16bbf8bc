//! The certificates between Cilium's agents and Hubble, a cluster's own.
//!
//! A chart makes new ones whenever it is rendered, and a rendered chart has the same ones for everybody. Here the keys follow from the
//! key of the cluster's Kubernetes authority, whose holder may read every Secret anyhow: whoever makes them, and however often,
//! makes certificates that go together, and nothing has to be kept that could be lost or copied.

use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
};
use zeroize::Zeroizing;

use super::{DATED_BACK, PkiError, alternative_names};
use crate::keys::{self, KeyError};
use crate::pem::{self, CertificateAndKey};

/// As long as the chart's own.
const LIFETIME: Duration = Duration::from_secs(1_095 * 24 * 3_600);

/// Whoever signs outlives what is signed, also what is signed when it is old.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// Before the 32 octets of an Ed25519 key in PKCS#8 (RFC 8410 section 7).
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What agents and Hubble's relay show each other.
#[derive(Debug, Clone)]
pub struct Hubble {
    /// who signs
    pub authority: CertificateAndKey,
    /// an agent's, which the relay asks
    pub server: CertificateAndKey,
    /// the relay's, which asks the agents
    pub relay: CertificateAndKey,
}

/// Makes them for a cluster that Cilium knows by this name. `now` is in seconds since 1970.
pub fn hubble(kubernetes: &CertificateAndKey, cluster: &str, now: u64) -> Result<Hubble, PkiError> {
    let key = derived(kubernetes, "authority")?;
    let mut params = params(now, AUTHORITY_LIFETIME, "Cilium CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let pair = keys::key_pair(&key)?;
    let certificate = params.self_signed(&pair).map_err(KeyError::Certificate)?;
    let certificate = pem::encode(pem::CERTIFICATE, certificate.der()).to_string();
    let issuer = Issuer::new(params, pair);
    // dots separate the labels of the name, and a cluster's name may have some
    let server = format!("*.{}.hubble-grpc.cilium.io", cluster.replace('.', "-"));
    let issue = |label: &str, name: &str| -> Result<CertificateAndKey, PkiError> {
        let key = derived(kubernetes, label)?;
        let mut params = self::params(now, LIFETIME, name)?;
        params.subject_alt_names = alternative_names(&[name])?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&keys::key_pair(&key)?, &issuer).map_err(KeyError::Certificate)?;
        Ok(CertificateAndKey { certificate: pem::encode(pem::CERTIFICATE, signed.der()).to_string(), key })
    };
    let (server, relay) = (issue("server", &server)?, issue("relay", "*.hubble-relay.cilium.io")?);
    Ok(Hubble { authority: CertificateAndKey { certificate, key }, server, relay })
}

fn params(now: u64, lifetime: Duration, name: &str) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.not_before = keys::instant(now.saturating_sub(DATED_BACK))?;
    params.not_after = keys::instant(now.saturating_add(lifetime.as_secs()))?;
    params.serial_number = Some(keys::serial()?);
    params.distinguished_name = keys::subject(None)?;
    params.distinguished_name.push(DnType::CommonName, keys::text(name)?);
    Ok(params)
}

/// A key under Go's label for it, which follows from the authority's.
fn derived(kubernetes: &CertificateAndKey, label: &str) -> Result<crate::secret::Secret, PkiError> {
    struct Seed;
    impl KeyType for Seed {
        fn len(&self) -> usize {
            32
        }
    }
    let (_, secret) = pem::decode(kubernetes.key.expose())?;
    let failed = |_| KeyError::Key("derived");
    let info = [b"hubble ".as_slice(), label.as_bytes()];
    let mut der = Zeroizing::new([0_u8; 48]);
    let (head, seed) = der.split_at_mut(PKCS8.len());
    head.copy_from_slice(&PKCS8);
    let derived = Salt::new(HKDF_SHA256, b"ichord").extract(&secret);
    derived.expand(&info, Seed).map_err(failed)?.fill(seed).map_err(failed)?;
    Ok(pem::encode("PRIVATE KEY", der.as_slice()).into())
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;
    use crate::keys::Algorithm;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn certificates_of_two_runs_go_together_and_those_of_two_clusters_do_not() {
        let authority = || keys::authority(Algorithm::EcdsaP256, Some("kubernetes"), NOW).unwrap();
        let (ours, theirs) = (authority(), authority());
        let (first, later) =
            (hubble(&ours, "home.ops", NOW).unwrap(), hubble(&ours, "home.ops", NOW + 9).unwrap());
        let other = hubble(&theirs, "home.ops", NOW).unwrap();
        for (one, another) in [(&first.authority, &later.authority), (&first.server, &later.server)] {
            assert_eq!(one.key.expose(), another.key.expose());
            assert_ne!(one.certificate, another.certificate);
        }
        let keys = [&first.authority, &first.server, &first.relay, &other.authority];
        let mut keys: Vec<&str> = keys.iter().map(|pair| pair.key.expose()).collect();
        keys.dedup();
        assert_eq!(keys.len(), 4, "each key is another one");

        let signer = |hubble: &Hubble| hubble.authority.certificate_der().unwrap();
        let names = |pair: &CertificateAndKey, by: &[u8]| {
            let der = pair.certificate_der().unwrap();
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            let (_, by) = X509Certificate::from_der(by).unwrap();
            let names = certificate.subject_alternative_name().unwrap().unwrap();
            let names = names.value.general_names.iter().map(ToString::to_string).collect::<Vec<_>>();
            (names.join(" "), certificate.verify_signature(Some(by.public_key())).is_ok())
        };
        let name = |name: &str, signed| (format!("DNSName({name})"), signed);
        // an authority that was written before a crash, and a certificate that was made after it
        assert_eq!(names(&later.server, &signer(&first)), name("*.home-ops.hubble-grpc.cilium.io", true));
        assert_eq!(names(&first.relay, &signer(&later)), name("*.hubble-relay.cilium.io", true));
        assert_eq!(names(&first.relay, &signer(&other)), name("*.hubble-relay.cilium.io", false));
        assert_eq!(super::super::valid_until(&first.server.certificate).unwrap(), NOW + LIFETIME.as_secs());
    }
}
