//! A bundle of placeholders: to look at configs where the secrets are not, for example in a check of a pull request.

use super::{SecretsBundle, base64};
use crate::pem::CertificateAndKey;
use crate::secret::Secret;

impl SecretsBundle {
    /// A bundle that says in every place which secret belongs there. Configs made with it have the form of real ones, and no
    /// machine could use them: there is no key in it.
    pub fn placeholders() -> Self {
        let note = |place: &str| format!("PLACEHOLDER for {place}\n");
        // 32 bytes in base64 are asked for in some places
        let key = |place: &str| Secret::new(base64(&format!("{:.<32.32}", format!("PLACEHOLDER {place}"))));
        let pair = |place: &str| CertificateAndKey {
            certificate: note(&format!("certs.{place}.crt")),
            key: Secret::new(note(&format!("certs.{place}.key"))),
        };
        Self {
            cluster_id: "PLACEHOLDER-cluster.id".to_owned(),
            cluster_secret: key("cluster.secret"),
            bootstrap_token: Secret::new("place0.holderholderhold"),
            secretbox_encryption_secret: Some(key("secrets.secretbox")),
            aescbc_encryption_secret: None,
            trustd_token: Secret::new("place0.holderholderhold"),
            etcd: pair("etcd"),
            kubernetes: pair("k8s"),
            aggregator: pair("k8saggregator"),
            service_account: Secret::new(note("certs.k8sserviceaccount.key")),
            os: pair("os"),
        }
    }
}
