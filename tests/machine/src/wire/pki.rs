//! The certificates a Talos machine makes for itself: in maintenance from nothing, configured from the CA in
//! its config (talos.md §3.4, §6.7, §9.5). Not the daemon's code: both sides shall agree by the facts.

use std::net::IpAddr;

use anyhow::{Context, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::model::Authority;

/// A chain with its key, for rustls.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

fn identity(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Identity {
    Identity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
}

/// The bytes of the first PEM block, whatever its label: Talos has labels of its own.
fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
    let body = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = body.take_while(|line| !line.starts_with("-----END")).collect();
    STANDARD.decode(body.trim()).context("not PEM")
}

/// A CA's certificate.
pub(super) fn certificate(pem: &str) -> anyhow::Result<CertificateDer<'static>> {
    Ok(CertificateDer::from(der(pem)?))
}

fn issuer(authority: &Authority) -> anyhow::Result<Issuer<'static, KeyPair>> {
    let key = authority.key.as_deref().ok_or_else(|| anyhow!("this machine has no CA key"))?;
    let key = KeyPair::try_from(der(key)?.as_slice()).context("the CA key cannot be used")?;
    Issuer::from_ca_cert_der(&certificate(&authority.certificate)?, key).context("the CA cannot be used")
}

fn alternatives(names: &[String]) -> Vec<SanType> {
    let name = |name: &String| match name.parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.as_str().try_into().ok().map(SanType::DnsName),
    };
    names.iter().filter_map(name).collect()
}

fn parameters(
    names: &[String],
    subject: &[(DnType, &str)],
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, text) in subject {
        params.distinguished_name.push(kind.clone(), *text);
    }
    params.subject_alt_names = alternatives(names);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - Duration::minutes(1), now + Duration::hours(24));
    params
}

/// The identity of maintenance mode: an ephemeral CA with an empty subject, a server certificate under it.
pub(super) fn maintenance(names: &[String]) -> anyhow::Result<Identity> {
    let ca_key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut ca = parameters(&[], &[], ExtendedKeyUsagePurpose::ServerAuth);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let root = ca.self_signed(&ca_key)?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let subject = [(DnType::CommonName, "maintenance-service.talos.dev")];
    let params = parameters(names, &subject, ExtendedKeyUsagePurpose::ServerAuth);
    let certificate = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
    Ok(identity(vec![certificate.der().clone(), root.der().clone()], &key))
}

/// The identity of a control plane's apid and trustd, issued by itself.
pub(super) fn talos_server(os: &Authority, names: &[String]) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let params = parameters(names, &[], ExtendedKeyUsagePurpose::ServerAuth);
    let signed = params.signed_by(&key, &issuer(os)?)?;
    Ok(identity(vec![signed.der().clone(), certificate(&os.certificate)?], &key))
}

/// With which a control plane's apid calls other machines; for whom, it says in the call (§6.4).
pub(super) fn impersonator(os: &Authority, role: &str) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let subject = [(DnType::OrganizationName, role)];
    let params = parameters(&[], &subject, ExtendedKeyUsagePurpose::ClientAuth);
    let signed = params.signed_by(&key, &issuer(os)?)?;
    Ok(identity(vec![signed.der().clone()], &key))
}

/// The identity of a kube-apiserver.
pub(super) fn kubernetes_server(ca: &Authority, names: &[String]) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let subject = [(DnType::OrganizationName, "kube-master"), (DnType::CommonName, "kube-apiserver")];
    let params = parameters(names, &subject, ExtendedKeyUsagePurpose::ServerAuth);
    let signed = params.signed_by(&key, &issuer(ca)?)?;
    Ok(identity(vec![signed.der().clone()], &key))
}

/// With which a control plane speaks for the kubelets. Its name is an administrator's: which nodes a kubelet may touch is
/// not simulated.
pub(super) fn kubelets(ca: &Authority) -> anyhow::Result<Identity> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let subject = [(DnType::OrganizationName, "system:masters"), (DnType::CommonName, "kubelets")];
    let params = parameters(&[], &subject, ExtendedKeyUsagePurpose::ClientAuth);
    let signed = params.signed_by(&key, &issuer(ca)?)?;
    Ok(identity(vec![signed.der().clone()], &key))
}

/// A worker's request to trustd: its key stays with it.
pub(super) fn request(names: &[String]) -> anyhow::Result<(KeyPair, String)> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = alternatives(names);
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key, request))
}

/// trustd signs a request: the names are the asker's, everything else is decided here.
pub(super) fn sign(os: &Authority, request: &str) -> anyhow::Result<String> {
    let asked = CertificateSigningRequestParams::from_pem(request).context("the request cannot be read")?;
    let mut params = parameters(&[], &[], ExtendedKeyUsagePurpose::ServerAuth);
    params.subject_alt_names = asked.params.subject_alt_names;
    Ok(params.signed_by(&asked.public_key, &issuer(os)?)?.pem())
}

/// What the worker makes of trustd's answer.
pub(super) fn signed(key: &KeyPair, pem: &str, ca: &str) -> anyhow::Result<Identity> {
    Ok(identity(vec![certificate(pem)?, certificate(ca)?], key))
}

/// The administrator's kubeconfig (§9.5).
pub(super) fn kubeconfig(ca: &Authority, cluster: &str, endpoint: &str) -> anyhow::Result<String> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let subject = [(DnType::OrganizationName, "system:masters"), (DnType::CommonName, "admin")];
    let mut params = parameters(&[], &subject, ExtendedKeyUsagePurpose::ClientAuth);
    params.not_after = OffsetDateTime::now_utc() + Duration::hours(8760);
    let admin = params.signed_by(&key, &issuer(ca)?)?;
    let base64 = |text: &str| STANDARD.encode(text);
    let value = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": {
            "server": endpoint, "certificate-authority-data": base64(&ca.certificate) } }],
        "users": [{ "name": format!("admin@{cluster}"), "user": {
            "client-certificate-data": base64(&admin.pem()), "client-key-data": base64(&key.serialize_pem()) } }],
        "contexts": [{ "name": format!("admin@{cluster}"), "context": {
            "cluster": cluster, "namespace": "default", "user": format!("admin@{cluster}") } }],
        "current-context": format!("admin@{cluster}"),
    });
    Ok(serde_saphyr::to_string(&value)?)
}

/// base64(SHA-256(SubjectPublicKeyInfo)), as the console of a machine in maintenance shows it (§6.7).
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Option<String> {
    use sha2::Digest;
    use x509_parser::prelude::FromDer;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    Some(STANDARD.encode(sha2::Sha256::digest(parsed.public_key().raw)))
}
