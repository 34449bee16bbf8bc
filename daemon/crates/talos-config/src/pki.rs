//! Certificates made from the secrets bundle: who may command a node, and who a server is.
//!
//! The daemon holds the cluster's authorities, so it needs no `talosctl` and no running API server to get in: it issues its
//! own Talos client certificate and its own Kubernetes one, offline. The simulated machine of the tests is issued its server
//! certificates here too, from the same authorities.

pub mod boot;
pub mod hubble;
pub mod renew;

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};
use serde_json::{Map, json};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::keys::{self, Algorithm};
use crate::pem::{self, CertificateAndKey, PemError};
use crate::secrets::{self, SecretsBundle};
use crate::yaml::{self, YamlError};

pub use crate::keys::KeyError;

/// How long a client certificate for Talos or Kubernetes is valid unless somebody says otherwise: 8,760 hours.
pub const CLIENT_LIFETIME: Duration = Duration::from_secs(8_760 * 3_600);

/// How long a node's own server certificate is valid: 24 hours.
pub const SERVER_LIFETIME: Duration = Duration::from_secs(24 * 3_600);

/// By how much certificates are dated back: a machine whose clock runs behind ours must not refuse us before it has asked its
/// time server. Nothing compares this time with another.
const DATED_BACK: u64 = 300;

/// What the holder of a Talos client certificate may do (talos.md §3.3). A certificate carries one role here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything but secrets and what cannot be undone.
    Operator,
    /// Look only.
    Reader,
    /// Take a backup of etcd.
    EtcdBackup,
}

impl Role {
    /// The organization by which Talos knows the role.
    pub fn organization(self) -> &'static str {
        match self {
            Self::Admin => "os:admin",
            Self::Operator => "os:operator",
            Self::Reader => "os:reader",
            Self::EtcdBackup => "os:etcd:backup",
        }
    }
}

/// Why a certificate could not be issued. Keys are never part of the message.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A certificate or key of the bundle is not readable.
    #[error("the certificate authority is not readable: {0}")]
    Pem(#[from] PemError),
    /// A key or certificate could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate of the authority is not one.
    #[error("the certificate authority's certificate is not X.509")]
    Authority,
    /// The certificate may not sign others.
    #[error("the certificate is not one of a certificate authority (its basic constraints do not say CA)")]
    NoAuthority,
    /// The authority's key signs for another certificate.
    #[error("the certificate authority's key does not belong to its certificate")]
    Mismatch,
    /// A name cannot stand in a certificate.
    #[error("`{0}` is neither an address nor a name that a certificate can hold")]
    Name(String),
    /// The file could not be written.
    #[error(transparent)]
    Yaml(#[from] YamlError),
}

/// Issues a client certificate for the Talos API. `now` is in seconds since 1970.
///
/// Talos reads the role from the organization and refuses a certificate that may be used for anything but `clientAuth`.
pub fn talos_client(
    os: &CertificateAndKey,
    role: Role,
    now: u64,
    lifetime: Duration,
) -> Result<CertificateAndKey, PkiError> {
    issue(os, Algorithm::Ed25519, now, lifetime, |params| {
        params.distinguished_name = keys::subject(Some(role.organization()))?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(())
    })
}

/// Issues the server certificate of a node's Talos API, for the given addresses and names.
pub fn talos_server(
    os: &CertificateAndKey,
    names: &[&str],
    now: u64,
    lifetime: Duration,
) -> Result<CertificateAndKey, PkiError> {
    issue(os, Algorithm::Ed25519, now, lifetime, |params| {
        params.subject_alt_names = alternative_names(names)?;
        params.distinguished_name = keys::subject(None)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(())
    })
}

/// Issues the server certificate of a Kubernetes API server, for the given addresses and names.
pub fn kubernetes_server(
    kubernetes: &CertificateAndKey,
    names: &[&str],
    now: u64,
    lifetime: Duration,
) -> Result<CertificateAndKey, PkiError> {
    issue(kubernetes, Algorithm::EcdsaP256, now, lifetime, |params| {
        params.subject_alt_names = alternative_names(names)?;
        params.distinguished_name = keys::subject(Some("kube-master"))?;
        params.distinguished_name.push(DnType::CommonName, keys::text("kube-apiserver")?);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(())
    })
}

/// Issues the certificate of a cluster administrator for the Kubernetes API.
pub fn kubernetes_admin(
    kubernetes: &CertificateAndKey,
    now: u64,
    lifetime: Duration,
) -> Result<CertificateAndKey, PkiError> {
    issue(kubernetes, Algorithm::EcdsaP256, now, lifetime, |params| {
        params.distinguished_name = keys::subject(Some("system:masters"))?;
        params.distinguished_name.push(DnType::CommonName, keys::text("admin")?);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(())
    })
}

/// Until when a certificate is valid, in seconds since 1970.
pub fn valid_until(certificate: &str) -> Result<u64, PkiError> {
    let der = pem::certificate_der(certificate)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| PkiError::Authority)?;
    u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| PkiError::Authority)
}

/// The `talosconfig` with which `talosctl` reaches the cluster.
///
/// `endpoints` are the control planes' own addresses, never the virtual one, which needs etcd; `nodes` are asked when the user
/// names none.
pub fn talosconfig(
    cluster: &str,
    endpoints: &[IpAddr],
    nodes: &[IpAddr],
    os: &CertificateAndKey,
    client: &CertificateAndKey,
) -> Result<Zeroizing<String>, PkiError> {
    let mut context = Map::new();
    context.insert("endpoints".to_owned(), json!(endpoints));
    if !nodes.is_empty() {
        context.insert("nodes".to_owned(), json!(nodes));
    }
    context.insert("ca".to_owned(), json!(secrets::base64(&os.certificate)));
    context.insert("crt".to_owned(), json!(secrets::base64(&client.certificate)));
    context.insert("key".to_owned(), json!(secrets::base64(client.key.expose())));
    Ok(yaml::write(&[json!({"context": cluster, "contexts": {cluster: context}})])?)
}

/// The kubeconfig of an administrator, the same in effect as the one Talos hands out.
///
/// It can be made before the cluster exists; that it is made says nothing about the API server.
pub fn kubeconfig(
    cluster: &str,
    endpoint: &str,
    kubernetes: &CertificateAndKey,
    client: &CertificateAndKey,
) -> Result<Zeroizing<String>, PkiError> {
    let user = format!("admin@{cluster}");
    Ok(yaml::write(&[json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": cluster,
            "cluster": {"server": endpoint, "certificate-authority-data": secrets::base64(&kubernetes.certificate)},
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": secrets::base64(&client.certificate),
                "client-key-data": secrets::base64(client.key.expose()),
            },
        }],
        "contexts": [{"name": user, "context": {"cluster": cluster, "namespace": "default", "user": user}}],
        "current-context": user,
    })])?)
}

impl SecretsBundle {
    /// Issues an administrator's client certificate for the Talos API.
    pub fn talos_admin(&self, now: u64) -> Result<CertificateAndKey, PkiError> {
        talos_client(&self.os, Role::Admin, now, CLIENT_LIFETIME)
    }

    /// The `talosconfig` of an administrator, see [`talosconfig`].
    pub fn talosconfig(
        &self,
        cluster: &str,
        endpoints: &[IpAddr],
        now: u64,
    ) -> Result<Zeroizing<String>, PkiError> {
        talosconfig(cluster, endpoints, &[], &self.os, &self.talos_admin(now)?)
    }

    /// The kubeconfig of an administrator, see [`kubeconfig`].
    pub fn kubeconfig(&self, cluster: &str, endpoint: &str, now: u64) -> Result<Zeroizing<String>, PkiError> {
        let client = kubernetes_admin(&self.kubernetes, now, CLIENT_LIFETIME)?;
        kubeconfig(cluster, endpoint, &self.kubernetes, &client)
    }
}

fn issue(
    authority: &CertificateAndKey,
    algorithm: Algorithm,
    now: u64,
    lifetime: Duration,
    fill: impl FnOnce(&mut CertificateParams) -> Result<(), PkiError>,
) -> Result<CertificateAndKey, PkiError> {
    let issuer = issuer(authority)?;
    let key = keys::generate(algorithm)?;
    let mut params = CertificateParams::default();
    params.not_before = keys::instant(now.saturating_sub(DATED_BACK))?;
    params.not_after = keys::instant(now.saturating_add(lifetime.as_secs()))?;
    params.serial_number = Some(keys::serial()?);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    fill(&mut params)?;
    let certificate = params.signed_by(&keys::key_pair(&key)?, &issuer).map_err(KeyError::Certificate)?;
    let certificate = pem::encode(pem::CERTIFICATE, certificate.der()).to_string();
    Ok(CertificateAndKey { certificate, key })
}

fn issuer(authority: &CertificateAndKey) -> Result<Issuer<'static, KeyPair>, PkiError> {
    let der = authority.certificate_der()?;
    let pair = keys::key_pair(&authority.key)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| PkiError::Authority)?;
    if certificate.public_key().raw != pair.subject_public_key_info() {
        return Err(PkiError::Mismatch);
    }
    Issuer::from_ca_cert_der(&der, pair).map_err(|_| PkiError::Authority)
}

fn alternative_names(names: &[&str]) -> Result<Vec<SanType>, PkiError> {
    names
        .iter()
        .map(|&name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) if name.is_empty() => Err(PkiError::Name(name.to_owned())),
            Err(_) => name.try_into().map(SanType::DnsName).map_err(|_| PkiError::Name(name.to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests;
