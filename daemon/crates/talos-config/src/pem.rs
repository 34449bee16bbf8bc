//! PEM with the labels Talos uses, and certificates with their keys.
//!
//! Talos writes Ed25519 keys under a label of its own (`ED25519 PRIVATE KEY`), which `rustls-pki-types` and most other loaders
//! refuse although the content is ordinary PKCS#8. So reading is done here, and rustls gets DER.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Talos's own label for an Ed25519 key in PKCS#8 version 1 (talos.md §3.2).
pub const ED25519_PRIVATE_KEY: &str = "ED25519 PRIVATE KEY";
/// Label of an elliptic-curve key in SEC1 form.
pub const EC_PRIVATE_KEY: &str = "EC PRIVATE KEY";
/// Label of an RSA key in PKCS#1 form.
pub const RSA_PRIVATE_KEY: &str = "RSA PRIVATE KEY";
/// Label of any key in PKCS#8 form, the one label every loader knows.
pub const PRIVATE_KEY: &str = "PRIVATE KEY";

/// Characters of base64 in a line (RFC 7468 section 2).
const LINE: usize = 64;

/// Why a PEM text cannot be used. The text itself is never part of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no `-----BEGIN …-----` line.
    #[error("this is not PEM: there is no `-----BEGIN` line")]
    NoBegin,
    /// The block never ends, or ends under another label.
    #[error("the PEM block `{0}` has no matching `-----END` line")]
    NoEnd(String),
    /// The content is not base64.
    #[error("the PEM block `{0}` does not hold base64")]
    Base64(String),
    /// A block of another kind was needed.
    #[error("the PEM block is a `{found}`, but a {wanted} is needed here")]
    Label {
        /// What is needed.
        wanted: &'static str,
        /// The label in the text.
        found: String,
    },
}

/// Writes one PEM block, with a newline at its end.
pub fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut text =
        Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for (at, character) in body.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Reads the first block of a PEM text: its label and its content.
///
/// Text before the block is ignored, as OpenSSL does.
pub fn decode(text: &str) -> Result<(String, Zeroizing<Vec<u8>>), PemError> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(PemError::NoBegin)?;
    let (label, rest) = rest.split_once("-----").ok_or(PemError::NoBegin)?;
    let end = format!("-----END {label}-----");
    let (body, _) = rest.split_once(end.as_str()).ok_or_else(|| PemError::NoEnd(label.to_owned()))?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let der = STANDARD.decode(body.as_bytes()).map_err(|_| PemError::Base64(label.to_owned()))?;
    Ok((label.to_owned(), Zeroizing::new(der)))
}

/// Reads a certificate.
pub fn certificate_der(text: &str) -> Result<CertificateDer<'static>, PemError> {
    match decode(text)? {
        (label, der) if label == CERTIFICATE => Ok(CertificateDer::from(der.to_vec())),
        (found, _) => Err(PemError::Label { wanted: "certificate", found }),
    }
}

/// Reads a private key under any of the labels Talos writes or accepts.
pub fn private_key_der(text: &str) -> Result<PrivateKeyDer<'static>, PemError> {
    let (label, der) = decode(text)?;
    let der = der.to_vec();
    match label.as_str() {
        PRIVATE_KEY | ED25519_PRIVATE_KEY => Ok(PrivatePkcs8KeyDer::from(der).into()),
        EC_PRIVATE_KEY => Ok(PrivateSec1KeyDer::from(der).into()),
        RSA_PRIVATE_KEY => Ok(PrivatePkcs1KeyDer::from(der).into()),
        _ => Err(PemError::Label { wanted: "private key", found: label }),
    }
}

/// The same key under a label that generic PEM loaders know: `ED25519 PRIVATE KEY` becomes `PRIVATE KEY`, the others stay.
pub fn relabel(text: &str) -> Result<Secret, PemError> {
    let (label, der) = decode(text)?;
    let label = if label == ED25519_PRIVATE_KEY { PRIVATE_KEY } else { label.as_str() };
    Ok(encode(label, &der).into())
}

/// A certificate and the private key to it, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateAndKey {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM under the label Talos uses for this kind of key.
    pub key: Secret,
}

impl CertificateAndKey {
    /// The certificate for rustls.
    pub fn certificate_der(&self) -> Result<CertificateDer<'static>, PemError> {
        certificate_der(&self.certificate)
    }

    /// The private key for rustls.
    pub fn private_key_der(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        private_key_der(self.key.expose())
    }
}

impl fmt::Debug for CertificateAndKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAndKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_back_whatever_its_length() {
        for length in [0_usize, 1, 47, 48, 49, 96, 1_000] {
            let der: Vec<u8> = (0..length).map(|byte| (byte % 251) as u8).collect();
            let text = encode(ED25519_PRIVATE_KEY, &der);
            assert!(text.lines().all(|line| line.len() <= LINE));
            let (label, back) = decode(&text).expect("reads back");
            assert_eq!((label.as_str(), back.as_slice()), (ED25519_PRIVATE_KEY, der.as_slice()));
        }
    }

    #[test]
    fn what_is_not_a_block_is_refused_without_repeating_it() {
        assert_eq!(decode("hello"), Err(PemError::NoBegin));
        assert_eq!(
            decode("-----BEGIN X-----\naGVsbG8=\n-----END Y-----\n"),
            Err(PemError::NoEnd("X".to_owned()))
        );
        let error = decode("-----BEGIN X-----\nse!cret\n-----END X-----\n").expect_err("not base64");
        assert!(!error.to_string().contains("cret"));
    }

    #[test]
    fn only_the_label_changes_for_generic_loaders() {
        let text = encode(ED25519_PRIVATE_KEY, b"seed");
        assert_eq!(relabel(&text).expect("relabels").expose(), encode(PRIVATE_KEY, b"seed").as_str());
        let text = encode(EC_PRIVATE_KEY, b"scalar");
        assert_eq!(relabel(&text).expect("relabels").expose(), text.as_str());
    }

    #[test]
    fn a_certificate_is_not_taken_for_a_key() {
        let text = encode(CERTIFICATE, b"der");
        assert!(matches!(private_key_der(&text), Err(PemError::Label { wanted: "private key", .. })));
        assert!(matches!(certificate_der(&encode(PRIVATE_KEY, b"der")), Err(PemError::Label { .. })));
    }
}
