//! Private keys and the certificate authorities made from them, in the exact encodings of talos.md §3.2.
//!
//! The secrets bundle asks here for its authorities and its service-account key. The encodings matter: Go's loaders choose
//! the parser by the PEM label, and Talos has a label of its own.

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::pem::{self, CertificateAndKey};
use crate::secret::Secret;

/// How long a certificate authority is valid: 87,600 hours.
const AUTHORITY_LIFETIME: Duration = Duration::hours(87_600);

/// What stands before the 32-byte seed of an Ed25519 key in PKCS#8 version 1 (RFC 8410 section 7).
///
/// Version 2, which carries the public key too and which rcgen writes, is not read by OpenSSL 3.0.
const ED25519_PKCS8_V1: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why a key or a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
    /// The cryptographic library failed at this key.
    #[error("no {0} key could be made")]
    Key(&'static str),
    /// The certificate could not be written or signed.
    #[error("the certificate could not be made")]
    Certificate(#[source] rcgen::Error),
    /// The time is not one a certificate can hold.
    #[error("{0} seconds since 1970 is not a time a certificate can hold")]
    Time(u64),
}

/// The algorithms of the keys in Talos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Ed25519, everything of the Talos API.
    Ed25519,
    /// ECDSA on P-256, everything of Kubernetes and etcd.
    EcdsaP256,
    /// RSA with 2048 bits, the boot server's.
    Rsa2048,
    /// RSA with 4096 bits, the service-account key.
    Rsa4096,
}

/// Makes a private key as PEM under the label Talos uses for it.
pub(crate) fn generate(algorithm: Algorithm) -> Result<Secret, KeyError> {
    match algorithm {
        Algorithm::Ed25519 => {
            let mut der = Zeroizing::new([0_u8; 48]);
            let (head, seed) = der.split_at_mut(ED25519_PKCS8_V1.len());
            head.copy_from_slice(&ED25519_PKCS8_V1);
            random(seed)?;
            Ok(pem::encode(pem::ED25519_PRIVATE_KEY, der.as_slice()).into())
        }
        Algorithm::EcdsaP256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .map_err(|_| KeyError::Key("ECDSA"))?;
            let der = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&key.private_key())
                .map_err(|_| KeyError::Key("ECDSA"))?;
            Ok(pem::encode(pem::EC_PRIVATE_KEY, der.as_ref()).into())
        }
        Algorithm::Rsa2048 | Algorithm::Rsa4096 => {
            let size = if algorithm == Algorithm::Rsa2048 { KeySize::Rsa2048 } else { KeySize::Rsa4096 };
            let key = RsaKeyPair::generate(size).map_err(|_| KeyError::Key("RSA"))?;
            let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| KeyError::Key("RSA"))?;
            let pkcs1 = pkcs1_of(pkcs8.as_ref()).ok_or(KeyError::Key("RSA"))?;
            Ok(pem::encode(pem::RSA_PRIVATE_KEY, pkcs1).into())
        }
    }
}

/// Makes a certificate authority that signs itself.
///
/// `organization` is its whole subject; the aggregator's authority has none at all. `now` is in seconds since 1970.
pub(crate) fn authority(
    algorithm: Algorithm,
    organization: Option<&str>,
    now: u64,
) -> Result<CertificateAndKey, KeyError> {
    let key = generate(algorithm)?;
    let not_before = instant(now)?;
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_before + AUTHORITY_LIFETIME;
    params.serial_number = Some(serial()?);
    params.distinguished_name = subject(organization)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let pair = key_pair(&key)?;
    let certificate = params.self_signed(&pair).map_err(KeyError::Certificate)?;
    Ok(CertificateAndKey { certificate: pem::encode(pem::CERTIFICATE, certificate.der()).to_string(), key })
}

/// The key as the library that signs wants it. Every label of [`pem::private_key_der`] is read.
pub(crate) fn key_pair(key: &Secret) -> Result<KeyPair, KeyError> {
    let (_, der) = pem::decode(key.expose()).map_err(|_| KeyError::Key("usable"))?;
    KeyPair::try_from(der.as_slice()).map_err(KeyError::Certificate)
}

/// A name of one organization, or the empty name.
pub(crate) fn subject(organization: Option<&str>) -> Result<DistinguishedName, KeyError> {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, text(organization)?);
    }
    Ok(name)
}

/// A text of a name, as Go encodes it: `PrintableString` where the alphabet allows, so that names compare equal byte by byte.
pub(crate) fn text(value: &str) -> Result<DnValue, KeyError> {
    Ok(match value.try_into() {
        Ok(printable) => DnValue::PrintableString(printable),
        Err(_) => DnValue::Utf8String(value.to_owned()),
    })
}

/// A random serial number below 2^128.
pub(crate) fn serial() -> Result<SerialNumber, KeyError> {
    let mut bytes = [0_u8; 16];
    random(&mut bytes)?;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A point in time that certificates can hold, in whole seconds.
pub(crate) fn instant(seconds: u64) -> Result<OffsetDateTime, KeyError> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        // the authority made now must not outlive year 9999, the last one X.509 can name
        .filter(|instant| instant.year() < 9_900)
        .ok_or(KeyError::Time(seconds))
}

/// Fills `bytes` from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(KeyError::Random)
}

/// The PKCS#1 key inside a PKCS#8 one (RFC 5958: version, algorithm, then the key as an octet string).
fn pkcs1_of(pkcs8: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    let (content, _) = element(pkcs8, SEQUENCE)?;
    let (_version, rest) = element(content, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (key, _) = element(rest, OCTET_STRING)?;
    Some(key)
}

/// Splits one DER element of the given tag off: its content and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = digits
            .iter()
            .try_fold(0_usize, |length, &digit| length.checked_mul(256)?.checked_add(usize::from(digit)))?;
        (length, rest)
    };
    rest.split_at_checked(length)
}
