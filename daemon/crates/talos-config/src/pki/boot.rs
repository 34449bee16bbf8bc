//! The certificate of the boot server, from an authority that is the site's own and none of the cluster's.
//!
//! Its key is RSA, the one kind that every firmware and every build of iPXE reads. It is made anew at each start and never
//! leaves the process, and it is valid as long as the authority is: a machine out of its box may have any clock, and
//! what made it from the authority's key once can do so again.

use std::net::IpAddr;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, issuer};
use crate::keys::{self, Algorithm, KeyError};
use crate::pem::{self, CertificateAndKey};

/// Whether this can vouch for a boot server: a certificate that may sign others, with its key.
pub fn check(authority: &CertificateAndKey) -> Result<(), PkiError> {
    issuer(authority)?;
    let der = authority.certificate_der()?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| PkiError::Authority)?;
    if !certificate.is_ca() {
        return Err(PkiError::NoAuthority);
    }
    Ok(())
}

/// Issues the certificate for the address at which machines reach the boot server.
///
/// Firmware and iPXE hold the address in the URL against the certificate's alternative names.
pub fn server(authority: &CertificateAndKey, address: IpAddr) -> Result<CertificateAndKey, PkiError> {
    check(authority)?;
    let der = authority.certificate_der()?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| PkiError::Authority)?;
    let instant = |seconds| OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| PkiError::Authority);
    let key = keys::generate(Algorithm::Rsa2048)?;
    let mut params = CertificateParams::default();
    params.not_before = instant(certificate.validity().not_before.timestamp())?;
    params.not_after = instant(certificate.validity().not_after.timestamp())?;
    params.serial_number = Some(keys::serial()?);
    params.distinguished_name = keys::subject(Some("ichord boot server"))?;
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let pair = keys::key_pair(&key)?;
    let certificate = params.signed_by(&pair, &issuer(authority)?).map_err(KeyError::Certificate)?;
    let certificate = pem::encode(pem::CERTIFICATE, certificate.der()).to_string();
    Ok(CertificateAndKey { certificate, key })
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::GeneralName;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn the_certificate_is_for_the_address_and_as_long_as_its_authority() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Rsa2048] {
            is_right(&keys::authority(algorithm, Some("home"), NOW).unwrap());
        }
    }

    fn is_right(authority: &CertificateAndKey) {
        let address = IpAddr::from([10, 77, 0, 1]);
        let server = server(authority, address).unwrap();
        let der = server.certificate_der().unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names, [GeneralName::IPAddress(&[10, 77, 0, 1])]);
        let ca = authority.certificate_der().unwrap();
        let (_, ca) = X509Certificate::from_der(&ca).unwrap();
        assert_eq!(certificate.validity(), ca.validity());
        certificate.verify_signature(Some(ca.public_key())).unwrap();
        assert!(server.key.expose().contains("RSA PRIVATE KEY"));
        assert!(!certificate.is_ca());
    }

    #[test]
    fn what_may_not_sign_vouches_for_nobody() {
        let authority = keys::authority(Algorithm::EcdsaP256, Some("home"), NOW).unwrap();
        check(&authority).unwrap();
        let leaf = server(&authority, IpAddr::from([10, 77, 0, 1])).unwrap();
        assert!(matches!(check(&leaf), Err(PkiError::NoAuthority)));
        let other = keys::authority(Algorithm::EcdsaP256, Some("other"), NOW).unwrap();
        let mixed = CertificateAndKey { key: other.key, ..authority.clone() };
        assert!(matches!(check(&mixed), Err(PkiError::Mismatch)));
        let nonsense = CertificateAndKey { certificate: "nothing".to_owned(), ..authority };
        assert!(matches!(check(&nonsense), Err(PkiError::Pem(_))));
    }
}
