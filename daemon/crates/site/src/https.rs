//! The boot server's HTTPS: whose certificate vouches for it. The authority's key is a secret and stands in a file or a
//! reference.

use std::{fmt, path::Path};

use document::{Document, Findings};
use talos_config::{
    pem::CertificateAndKey,
    pki::{PkiError, boot},
};
use zeroize::Zeroizing;

use crate::{load::Files, wire};

/// The site's authority for its boot server.
#[derive(Clone, PartialEq, Eq)]
pub struct Https {
    /// certificate and key
    pub authority: CertificateAndKey,
    /// whether the site's iPXE trusts it, too
    pub ipxe: bool,
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").field("ipxe", &self.ipxe).finish_non_exhaustive()
    }
}

/// Reads the authority; `None` when there is none or it is not usable.
pub(crate) fn read(
    wire: Option<wire::Https>,
    document: &Document,
    directory: &Path,
    files: &dyn Files,
    findings: &mut Findings,
) -> Option<Https> {
    let wire = wire?;
    let root = document.place().key("https");
    let mut file = |key: &str, reference: &str| {
        let path = match reference.starts_with("op://") {
            true => reference.into(),
            false => directory.join(reference),
        };
        match files.read(&path) {
            Ok(text) => Some(Zeroizing::new(text)),
            Err(error) => {
                let message = format!("`{reference}` cannot be read: {error}");
                let finding = root.key(key).error("https-authority", message);
                findings.push(finding.fix("name a file beside this one, or `op://VAULT/ITEM/FIELD`"));
                None
            }
        }
    };
    let (certificate, key) = (file("certificate", &wire.certificate), file("key", &wire.key));
    let authority = CertificateAndKey { certificate: certificate?.to_string(), key: key?.into() };
    if let Err(error) = boot::check(&authority) {
        let fix = match error {
            PkiError::Mismatch => "name the key that the certificate was made with",
            _ => "both are PEM: the certificate of an authority, and its private key without a passphrase",
        };
        findings.push(root.error("https-authority", error.to_string()).fix(fix));
        return None;
    }
    Some(Https { authority, ipxe: wire.ipxe.0.unwrap_or(false) })
}
