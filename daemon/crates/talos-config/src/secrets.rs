//! The secrets bundle: everything a cluster's machines must agree on and nobody else may know.
//!
//! It is made once (`ichord secrets new`), kept by the user as `talsecret.yaml` or `secrets.yaml` (the structure is the same),
//! and every machine config and every client certificate is derived from it. A new bundle is a new cluster.

mod placeholders;
mod read;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::keys::{self, Algorithm, KeyError};
use crate::pem::CertificateAndKey;
use crate::secret::Secret;
use crate::yaml::{self, YamlError};

pub use read::SecretsError;

/// Bytes in the cluster's id, secret and encryption key.
const KEY_BYTES: usize = 32;

/// The secrets of one cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretsBundle {
    /// Who the cluster is, for discovery. An opaque text: its alphabet changed in Talos 1.14.
    pub cluster_id: String,
    /// Encrypts what the nodes tell the discovery service; base64 of 32 bytes.
    pub cluster_secret: Secret,
    /// With it a kubelet joins, in kubeadm's form.
    pub bootstrap_token: Secret,
    /// Encrypts Kubernetes secrets in etcd (secretbox); base64 of 32 bytes.
    pub secretbox_encryption_secret: Option<Secret>,
    /// The same with AES-CBC, in clusters older than Talos 1.3.
    pub aescbc_encryption_secret: Option<Secret>,
    /// With it a worker gets its server certificate from a control plane.
    pub trustd_token: Secret,
    /// Authority of etcd's certificates.
    pub etcd: CertificateAndKey,
    /// Authority of Kubernetes's certificates.
    pub kubernetes: CertificateAndKey,
    /// Authority of the API aggregation layer.
    pub aggregator: CertificateAndKey,
    /// Signs service-account tokens; PEM.
    pub service_account: Secret,
    /// Authority of the Talos API: who holds its key commands every node.
    pub os: CertificateAndKey,
}

impl SecretsBundle {
    /// Makes the secrets of a new cluster for Talos 1.7 and later. `now` is in seconds since 1970.
    ///
    /// Takes a noticeable fraction of a second for the RSA key. The certificates are valid from `now` on, so `now` should not
    /// be ahead of the machines' clocks.
    pub fn generate(now: u64) -> Result<Self, KeyError> {
        Ok(Self {
            cluster_id: URL_SAFE.encode(random_key()?.as_slice()),
            cluster_secret: Secret::new(STANDARD.encode(random_key()?.as_slice())),
            bootstrap_token: token()?,
            secretbox_encryption_secret: Some(Secret::new(STANDARD.encode(random_key()?.as_slice()))),
            aescbc_encryption_secret: None,
            trustd_token: token()?,
            etcd: keys::authority(Algorithm::EcdsaP256, Some("etcd"), now)?,
            kubernetes: keys::authority(Algorithm::EcdsaP256, Some("kubernetes"), now)?,
            aggregator: keys::authority(Algorithm::EcdsaP256, None, now)?,
            service_account: keys::generate(Algorithm::Rsa4096)?,
            os: keys::authority(Algorithm::Ed25519, Some("talos"), now)?,
        })
    }

    /// Writes the bundle in the form that `talosctl` and `talhelper` read.
    pub fn to_yaml(&self) -> Result<Zeroizing<String>, YamlError> {
        let mut secrets = Map::new();
        secrets.insert("bootstraptoken".to_owned(), json!(self.bootstrap_token.expose()));
        if let Some(secret) = &self.aescbc_encryption_secret {
            secrets.insert("aescbcencryptionsecret".to_owned(), json!(secret.expose()));
        }
        if let Some(secret) = &self.secretbox_encryption_secret {
            secrets.insert("secretboxencryptionsecret".to_owned(), json!(secret.expose()));
        }
        yaml::write(&[json!({
            "cluster": {"id": self.cluster_id, "secret": self.cluster_secret.expose()},
            "secrets": secrets,
            "trustdinfo": {"token": self.trustd_token.expose()},
            "certs": {
                "etcd": pair(&self.etcd),
                "k8s": pair(&self.kubernetes),
                "k8saggregator": pair(&self.aggregator),
                "k8sserviceaccount": {"key": base64(self.service_account.expose())},
                "os": pair(&self.os),
            },
        })])
    }
}

impl fmt::Debug for SecretsBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsBundle").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// `{crt, key}` in base64, the form of the bundle and of the v1alpha1 machine config.
pub(crate) fn pair(pair: &CertificateAndKey) -> Value {
    json!({"crt": base64(&pair.certificate), "key": base64(pair.key.expose())})
}

/// The base64 of a PEM text, as configs carry it.
pub(crate) fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    keys::random(key.as_mut_slice())?;
    Ok(key)
}

/// A token like kubeadm's: six characters, a dot, sixteen characters.
fn token() -> Result<Secret, KeyError> {
    let mut text = Zeroizing::new(String::with_capacity(23));
    characters(&mut text, 6)?;
    text.push('.');
    characters(&mut text, 16)?;
    Ok(text.into())
}

/// Appends characters drawn evenly from `0-9a-z`.
fn characters(text: &mut Zeroizing<String>, count: usize) -> Result<(), KeyError> {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // 252 is the largest multiple of 36 in a byte: what lies above would make the first characters likelier
    const EVEN: u8 = 252;
    let end = text.len() + count;
    while text.len() < end {
        let mut byte = [0];
        keys::random(&mut byte)?;
        let [byte] = byte;
        if byte < EVEN
            && let Some(character) = ALPHABET.get(usize::from(byte) % ALPHABET.len())
        {
            text.push(char::from(*character));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use x509_parser::prelude::*;

    use super::*;

    /// 2026-11-23T00:00:00Z.
    const NOW: u64 = 1_795_392_000;

    static BUNDLE: LazyLock<SecretsBundle> =
        LazyLock::new(|| SecretsBundle::generate(NOW).expect("a bundle"));

    fn yaml() -> String {
        BUNDLE.to_yaml().expect("writes").to_string()
    }

    fn value(text: &str) -> Value {
        yaml::read_one(text).expect("reads").root().to_json()
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<SecretsBundle, SecretsError> {
        let mut value = value(&yaml());
        change(&mut value);
        SecretsBundle::from_yaml(&yaml::write(&[value]).expect("writes"))
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        assert!(SecretsBundle::from_yaml(&yaml()).expect("reads") == *BUNDLE);
    }

    #[test]
    fn the_file_has_the_keys_of_talosctl() {
        let value = value(&yaml());
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().expect("a map").keys().cloned().collect() };
        assert_eq!(keys(&value), ["cluster", "secrets", "trustdinfo", "certs"]);
        assert_eq!(keys(&value["cluster"]), ["id", "secret"]);
        assert_eq!(keys(&value["secrets"]), ["bootstraptoken", "secretboxencryptionsecret"]);
        assert_eq!(keys(&value["trustdinfo"]), ["token"]);
        assert_eq!(keys(&value["certs"]), ["etcd", "k8s", "k8saggregator", "k8sserviceaccount", "os"]);
        assert_eq!(keys(&value["certs"]["k8sserviceaccount"]), ["key"]);
        assert_eq!(keys(&value["certs"]["os"]), ["crt", "key"]);
    }

    #[test]
    fn tokens_and_keys_have_their_alphabet_and_length() {
        for token in [&BUNDLE.bootstrap_token, &BUNDLE.trustd_token] {
            let (id, rest) = token.expose().split_once('.').expect("a dot");
            assert_eq!((id.len(), rest.len()), (6, 16));
            assert!(id.chars().chain(rest.chars()).all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()));
        }
        assert_ne!(BUNDLE.bootstrap_token, BUNDLE.trustd_token);
        assert_eq!(URL_SAFE.decode(&BUNDLE.cluster_id).expect("base64").len(), 32);
        assert_eq!(STANDARD.decode(BUNDLE.cluster_secret.expose()).expect("base64").len(), 32);
    }

    #[test]
    fn every_private_key_has_the_label_and_size_of_talos() {
        let expected = [
            (&BUNDLE.os.key, "ED25519 PRIVATE KEY", 48..=48),
            (&BUNDLE.etcd.key, "EC PRIVATE KEY", 121..=121),
            (&BUNDLE.kubernetes.key, "EC PRIVATE KEY", 121..=121),
            (&BUNDLE.aggregator.key, "EC PRIVATE KEY", 121..=121),
            (&BUNDLE.service_account, "RSA PRIVATE KEY", 2_340..=2_360),
        ];
        for (key, label, sizes) in expected {
            let (found, der) = crate::pem::decode(key.expose()).expect("PEM");
            assert_eq!(found, label);
            assert!(sizes.contains(&der.len()), "{label}: {} bytes", der.len());
        }
    }

    #[test]
    fn every_authority_has_the_profile_of_talos() {
        let expected = [
            (&BUNDLE.etcd, "O=etcd", "1.2.840.10045.4.3.2"),
            (&BUNDLE.kubernetes, "O=kubernetes", "1.2.840.10045.4.3.2"),
            (&BUNDLE.aggregator, "", "1.2.840.10045.4.3.2"),
            (&BUNDLE.os, "O=talos", "1.3.101.112"),
        ];
        for (authority, subject, signature) in expected {
            let der = authority.certificate_der().expect("PEM");
            let (_, certificate) = X509Certificate::from_der(&der).expect("X.509");
            assert_eq!(certificate.version(), X509Version::V3);
            assert_eq!(certificate.subject().to_string(), subject);
            assert_eq!(certificate.issuer(), certificate.subject());
            assert_eq!(certificate.signature_algorithm.algorithm.to_id_string(), signature);
            assert_eq!(certificate.validity().not_before.timestamp(), NOW as i64);
            assert_eq!(certificate.validity().not_after.timestamp(), NOW as i64 + 87_600 * 3_600);
            let usage = certificate.key_usage().expect("well formed").expect("there");
            // bit 0 is digitalSignature, bit 5 keyCertSign (RFC 5280 section 4.2.1.3)
            assert_eq!((usage.critical, usage.value.flags), (true, 0b10_0001));
            let extended = certificate.extended_key_usage().expect("well formed").expect("there").value;
            assert!(
                extended.server_auth && extended.client_auth && !extended.any && extended.other.is_empty()
            );
            let basic = certificate.basic_constraints().expect("well formed").expect("there");
            assert!(basic.critical && basic.value.ca && basic.value.path_len_constraint.is_none());
            let identifiers: Vec<_> =
                certificate.extensions().iter().map(|extension| extension.oid.to_id_string()).collect();
            assert!(identifiers.contains(&"2.5.29.14".to_owned()), "there is a subject key identifier");
            assert!(!identifiers.contains(&"2.5.29.35".to_owned()), "there is no authority key identifier");
            certificate.verify_signature(None).expect("signed by itself");
        }
    }

    #[test]
    fn serial_numbers_differ() {
        let serial = |pair: &CertificateAndKey| {
            let der = pair.certificate_der().expect("PEM");
            X509Certificate::from_der(&der).expect("X.509").1.raw_serial_as_string()
        };
        assert_ne!(serial(&BUNDLE.etcd), serial(&BUNDLE.kubernetes));
    }

    #[test]
    fn a_faulty_bundle_is_refused_at_the_place_of_the_fault() {
        let message = |change: fn(&mut Value)| changed(change).expect_err("refused").to_string();
        assert!(message(|value| value["certs"]["oss"] = json!({})).contains("`certs.oss`"));
        assert!(message(|value| value["certs"]["os"]["crt"] = json!(null)).contains("no `certs.os.crt`"));
        assert!(message(|value| value["cluster"]["secret"] = json!("AAAA")).contains("base64 of 32 bytes"));
        assert!(
            message(|value| value["trustdinfo"]["token"] = json!("nodot")).contains("`trustdinfo.token`")
        );
        assert!(message(|value| value["secrets"] = json!([])).contains("`secrets`"));
        assert!(
            message(|value| value["certs"]["etcd"]["key"] = value["certs"]["etcd"]["crt"].clone())
                .contains("not a private key")
        );
        assert!(message(|value| value["cluster"]["secret"] = json!("******")).contains("redacted"));
        assert!(
            message(|value| value["secrets"]["secretboxencryptionsecret"] = json!("")).contains("secretbox")
        );
        assert!(message(|value| value["sops"] = json!({"version": "3.9.0"})).contains("SOPS"));
    }

    #[test]
    fn a_token_that_looks_like_a_number_stays_as_it_is_written() {
        let token = BUNDLE.trustd_token.expose();
        let plain = yaml().replace(&format!("'{token}'"), token).replace(token, "123456.0123456789012340");
        let bundle = SecretsBundle::from_yaml(&plain).expect("reads");
        assert_eq!(bundle.trustd_token.expose(), "123456.0123456789012340");
    }

    #[test]
    fn old_clusters_have_other_keys() {
        let bundle = changed(|value| {
            let secrets = value["secrets"].as_object_mut().expect("a map");
            let secret = secrets.remove("secretboxencryptionsecret").expect("there");
            secrets.insert("aescbcencryptionsecret".to_owned(), secret);
            // the service account of contracts before 1.7
            value["certs"]["k8sserviceaccount"]["key"] = value["certs"]["k8s"]["key"].clone();
        })
        .expect("reads");
        assert!(bundle.secretbox_encryption_secret.is_none() && bundle.aescbc_encryption_secret.is_some());
        assert_eq!(bundle.service_account, bundle.kubernetes.key);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?} {:?} {:?}", *BUNDLE, BUNDLE.os, BUNDLE.bootstrap_token);
        for secret in [&BUNDLE.bootstrap_token, &BUNDLE.cluster_secret] {
            assert!(!shown.contains(secret.expose()));
        }
        assert!(!shown.contains("PRIVATE"));
        let token = BUNDLE.trustd_token.expose();
        let broken = yaml().replace("trustdinfo:", "trustdinfo: [");
        let error = SecretsBundle::from_yaml(&broken).expect_err("broken").to_string();
        assert!(!error.contains(token), "{error}");
        let twice = yaml().replace("trustdinfo:\n", "trustdinfo:\n    token: x.y\n");
        let error = SecretsBundle::from_yaml(&twice).expect_err("twice").to_string();
        assert!(!error.contains(token), "{error}");
    }
}
