//! Reading a secrets bundle strictly: a key that is missing or misspelt is a fault here and now, not a node that never joins.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use document::{Node, Value};
use zeroize::Zeroizing;

use super::{KEY_BYTES, SecretsBundle};
use crate::pem::{self, CertificateAndKey};
use crate::secret::Secret;
use crate::yaml::{self, YamlError};

/// What Talos prints in the place of a secret when it shows a config to somebody without the right to see it.
const REDACTED: &str = "******";

/// Why a text is not a usable secrets bundle. No value of the bundle is ever part of the message.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The text is not YAML.
    #[error("the secrets bundle is not readable YAML: {0}")]
    Yaml(#[from] YamlError),
    /// It is encrypted with SOPS.
    #[error("the secrets bundle is encrypted with SOPS and was not decrypted; `sops decrypt` does it")]
    Encrypted,
    /// A key is missing or empty.
    #[error("the secrets bundle has no `{0}`")]
    Missing(String),
    /// A key is not one of a secrets bundle.
    #[error("the secrets bundle has a key `{0}` that Talos does not know; is it misspelt?")]
    Unknown(String),
    /// A value has the wrong form.
    #[error("`{key}` in the secrets bundle is not {wanted}")]
    Form {
        /// Where it is.
        key: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The bundle was taken from a config that Talos had made unreadable.
    #[error(
        "`{0}` in the secrets bundle is `******`: it comes from a redacted config, the secret itself is not there"
    )]
    Redacted(String),
}

impl SecretsBundle {
    /// Reads a bundle. Unknown keys, missing keys and values of the wrong form are errors.
    pub fn from_yaml(text: &str) -> Result<Self, SecretsError> {
        let document = yaml::read_one(text)?;
        if document.root().get("sops").is_some() {
            return Err(SecretsError::Encrypted);
        }
        let root =
            Section::new(String::new(), document.root(), &["cluster", "secrets", "trustdinfo", "certs"])?;
        let cluster = root.section("cluster", &["id", "secret"])?;
        let secrets = root
            .section("secrets", &["bootstraptoken", "secretboxencryptionsecret", "aescbcencryptionsecret"])?;
        let trustd = root.section("trustdinfo", &["token"])?;
        let certs = root.section("certs", &["etcd", "k8s", "k8saggregator", "k8sserviceaccount", "os"])?;
        let bundle = Self {
            cluster_id: cluster.text("id")?.expose().to_owned(),
            cluster_secret: cluster.key("secret")?,
            bootstrap_token: secrets.token("bootstraptoken")?,
            secretbox_encryption_secret: secrets.optional("secretboxencryptionsecret", Section::key)?,
            aescbc_encryption_secret: secrets.optional("aescbcencryptionsecret", Section::text)?,
            trustd_token: trustd.token("token")?,
            etcd: certs.pair("etcd")?,
            kubernetes: certs.pair("k8s")?,
            aggregator: certs.pair("k8saggregator")?,
            service_account: certs.section("k8sserviceaccount", &["key"])?.private_key("key")?,
            os: certs.pair("os")?,
        };
        match (&bundle.secretbox_encryption_secret, &bundle.aescbc_encryption_secret) {
            (None, None) => Err(SecretsError::Missing("secrets.secretboxencryptionsecret".to_owned())),
            _ => Ok(bundle),
        }
    }
}

/// A map of the bundle, with its place for error messages.
struct Section<'a> {
    place: String,
    node: &'a Node,
}

impl<'a> Section<'a> {
    fn new(place: String, node: &'a Node, known: &[&str]) -> Result<Self, SecretsError> {
        let section = Self { place, node };
        if !matches!(node.value, Value::Map(_)) {
            let key = if section.place.is_empty() { "the top level".to_owned() } else { section.place };
            return Err(SecretsError::Form { key, wanted: "a map" });
        }
        match node.entries().iter().find(|entry| !known.contains(&entry.key.as_str())) {
            Some(entry) => Err(SecretsError::Unknown(section.place_of(&entry.key))),
            None => Ok(section),
        }
    }

    fn place_of(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    fn section(&self, key: &str, known: &[&str]) -> Result<Section<'a>, SecretsError> {
        let place = self.place_of(key);
        match self.node.get(key) {
            Some(node) if !node.is_null() => Section::new(place, node, known),
            _ => Err(SecretsError::Missing(place)),
        }
    }

    /// A scalar as it is spelt: a token of digits and one dot is no number.
    fn text(&self, key: &str) -> Result<Secret, SecretsError> {
        match self.node.get(key).map(|node| (node.is_null(), node.text())) {
            None | Some((true, _) | (_, Some(""))) => Err(SecretsError::Missing(self.place_of(key))),
            Some((_, Some(REDACTED))) => Err(SecretsError::Redacted(self.place_of(key))),
            Some((_, Some(text))) => Ok(Secret::new(text)),
            Some((_, None)) => Err(SecretsError::Form { key: self.place_of(key), wanted: "a text" }),
        }
    }

    fn optional(
        &self,
        key: &str,
        read: impl Fn(&Self, &str) -> Result<Secret, SecretsError>,
    ) -> Result<Option<Secret>, SecretsError> {
        match self.node.get(key) {
            None => Ok(None),
            Some(node) if node.is_null() || node.text() == Some("") => Ok(None),
            Some(_) => read(self, key).map(Some),
        }
    }

    /// Base64 of 32 bytes.
    fn key(&self, key: &str) -> Result<Secret, SecretsError> {
        let secret = self.text(key)?;
        match STANDARD.decode(secret.expose()).map(Zeroizing::new) {
            Ok(bytes) if bytes.len() == KEY_BYTES => Ok(secret),
            _ => Err(SecretsError::Form { key: self.place_of(key), wanted: "base64 of 32 bytes" }),
        }
    }

    fn token(&self, key: &str) -> Result<Secret, SecretsError> {
        let secret = self.text(key)?;
        // other lengths are in use in clusters that came from kubeadm
        let good = secret.expose().split_once('.').is_some_and(|(id, rest)| {
            [id, rest]
                .iter()
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        });
        if good {
            Ok(secret)
        } else {
            Err(SecretsError::Form {
                key: self.place_of(key),
                wanted: "a token of the form `abcdef.0123456789abcdef`",
            })
        }
    }

    /// Base64 of a text. Like Go's, this reader passes over line breaks.
    fn base64(&self, key: &str, wanted: &'static str) -> Result<Secret, SecretsError> {
        let form = || SecretsError::Form { key: self.place_of(key), wanted };
        let text: Zeroizing<String> =
            Zeroizing::new(self.text(key)?.expose().split_ascii_whitespace().collect());
        let bytes = Zeroizing::new(STANDARD.decode(text.as_bytes()).map_err(|_| form())?);
        std::str::from_utf8(&bytes).map(Secret::new).map_err(|_| form())
    }

    fn private_key(&self, key: &str) -> Result<Secret, SecretsError> {
        const WANTED: &str = "a private key";
        let text = self.base64(key, WANTED)?;
        match pem::private_key_der(text.expose()) {
            Ok(_) => Ok(text),
            Err(_) => Err(SecretsError::Form { key: self.place_of(key), wanted: WANTED }),
        }
    }

    fn certificate(&self, key: &str) -> Result<String, SecretsError> {
        const WANTED: &str = "a certificate";
        let text = self.base64(key, WANTED)?;
        match pem::certificate_der(text.expose()) {
            Ok(_) => Ok(text.expose().to_owned()),
            Err(_) => Err(SecretsError::Form { key: self.place_of(key), wanted: WANTED }),
        }
    }

    fn pair(&self, key: &str) -> Result<CertificateAndKey, SecretsError> {
        let section = self.section(key, &["crt", "key"])?;
        Ok(CertificateAndKey { certificate: section.certificate("crt")?, key: section.private_key("key")? })
    }
}
