//! The cluster's certificates, made anew for each.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};

pub(crate) struct Authority {
    pub(crate) certificate: String,
    pub(crate) admin: String,
    pub(crate) admin_key: String,
    key: String,
    folder: PathBuf,
}

impl Authority {
    /// A new one; writes what the API server reads into the folder.
    pub(crate) fn new(names: &[String], folder: &Path) -> Result<Authority> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.pem();
        Authority::issue(certificate, &Issuer::new(params, key), names, folder)
    }

    /// One that a site keeps among its secrets, in PEM.
    pub(crate) fn of(certificate: &str, key: &str, names: &[String], folder: &Path) -> Result<Authority> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("the authority's key")?;
        let key = KeyPair::try_from(&key).context("the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)?;
        Authority::issue(certificate.to_owned(), &issuer, names, folder)
    }

    fn issue(
        certificate: String,
        issuer: &Issuer<'_, KeyPair>,
        names: &[String],
        folder: &Path,
    ) -> Result<Authority> {
        let server_key = KeyPair::generate()?;
        // an address among the names becomes one of its own kind
        let mut server = CertificateParams::new(names)?;
        server.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        let server = server.signed_by(&server_key, issuer)?;

        let (admin, admin_key) = client(issuer, "admin", "system:masters")?;

        let accounts = KeyPair::generate()?;
        for (file, text) in [
            ("ca.crt", certificate.clone()),
            ("server.crt", server.pem()),
            ("server.key", server_key.serialize_pem()),
            ("accounts.key", accounts.serialize_pem()),
            ("accounts.pub", accounts.public_key_pem()),
        ] {
            fs::write(folder.join(file), text)?;
        }
        Ok(Authority {
            certificate,
            admin,
            admin_key,
            key: issuer.key().serialize_pem(),
            folder: folder.to_owned(),
        })
    }

    /// Certificate and key of somebody else.
    pub(crate) fn client(&self, user: &str, group: &str) -> Result<(String, String)> {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        client(&issuer, user, group)
    }

    /// How the API server is told about them.
    pub(crate) fn apiserver_arguments(&self) -> Vec<String> {
        let file = |option: &str, name: &str| format!("--{option}={}", self.folder.join(name).display());
        vec![
            file("client-ca-file", "ca.crt"),
            file("tls-cert-file", "server.crt"),
            file("tls-private-key-file", "server.key"),
            "--service-account-issuer=https://cluster.test".to_owned(),
            file("service-account-key-file", "accounts.pub"),
            file("service-account-signing-key-file", "accounts.key"),
        ]
    }

    pub(crate) fn kubeconfig(&self, address: SocketAddr, name: &str) -> String {
        let data = |text: &str| BASE64_STANDARD.encode(text);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://{address}', tls-server-name: {name}, \
             certificate-authority-data: {}}}}}]\n\
             users: [{{name: u, user: {{client-certificate-data: {}, client-key-data: {}}}}}]\n",
            data(&self.certificate),
            data(&self.admin),
            data(&self.admin_key),
        )
    }
}

fn client(issuer: &Issuer<'_, KeyPair>, user: &str, group: &str) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}
