//! A client certificate that runs out is replaced in the file it is in; whatever else people keep in that file stays.
//!
//! The file must be of this very cluster: the authority in it must be ours. Comments do not survive, as with `talosctl` and
//! `kubectl`, which rewrite these files, too.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::PkiError;
use crate::pem::CertificateAndKey;
use crate::secrets;
use crate::yaml::{self, YamlError};

/// Why a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The file is not YAML.
    #[error("it is not readable YAML: {0}")]
    Yaml(#[from] YamlError),
    /// Nothing in the file is of this cluster.
    #[error("nothing in it has the authority of this cluster's {0}")]
    Stranger(&'static str),
    /// No certificate could be issued.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

/// The text of a `talosconfig` with a new certificate in every context that has this authority.
pub fn talosconfig(
    text: &str,
    os: &CertificateAndKey,
    client: &CertificateAndKey,
) -> Result<Zeroizing<String>, RenewError> {
    let mut file = yaml::read_one(text)?.root().to_json();
    let ours = json!(secrets::base64(&os.certificate));
    let mut found = false;
    let contexts = file.get_mut("contexts").and_then(Value::as_object_mut);
    for context in contexts.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        if context.get("ca") == Some(&ours) {
            context.insert("crt".to_owned(), json!(secrets::base64(&client.certificate)));
            context.insert("key".to_owned(), json!(secrets::base64(client.key.expose())));
            found = true;
        }
    }
    if found { Ok(yaml::write(&[file])?) } else { Err(RenewError::Stranger("Talos API")) }
}

/// The text of a kubeconfig with a new certificate for every user who reaches a cluster of this authority with one.
pub fn kubeconfig(
    text: &str,
    kubernetes: &CertificateAndKey,
    client: &CertificateAndKey,
) -> Result<Zeroizing<String>, RenewError> {
    let mut file = yaml::read_one(text)?.root().to_json();
    let ours = json!(secrets::base64(&kubernetes.certificate));
    let clusters =
        names(&file, "clusters", |cluster| cluster.get("certificate-authority-data") == Some(&ours));
    let contexts = file.get("contexts").and_then(Value::as_array).into_iter().flatten();
    let users: Vec<Value> = contexts
        .filter_map(|context| context.get("context"))
        .filter(|context| context.get("cluster").is_some_and(|cluster| clusters.contains(cluster)))
        .filter_map(|context| context.get("user").cloned())
        .collect();
    let mut found = false;
    let all = file.get_mut("users").and_then(Value::as_array_mut).into_iter().flatten();
    for user in all.filter(|user| user.get("name").is_some_and(|name| users.contains(name))) {
        // who logs in with a token or a program has no certificate to renew
        let Some(user) = user.get_mut("user").and_then(Value::as_object_mut) else { continue };
        if user.contains_key("client-certificate-data") {
            user.insert("client-certificate-data".to_owned(), json!(secrets::base64(&client.certificate)));
            user.insert("client-key-data".to_owned(), json!(secrets::base64(client.key.expose())));
            found = true;
        }
    }
    if found { Ok(yaml::write(&[file])?) } else { Err(RenewError::Stranger("Kubernetes API")) }
}

/// The names of the entries of a list of `{name, KIND: …}` for which something holds.
fn names(file: &Value, list: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
    let kind = list.trim_end_matches('s');
    let entries = file.get(list).and_then(Value::as_array).into_iter().flatten();
    let fitting = entries.filter(|entry| entry.get(kind).is_some_and(&holds));
    fitting.filter_map(|entry| entry.get("name").cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::pki::{self, CLIENT_LIFETIME};
    use crate::secrets::SecretsBundle;

    const NOW: u64 = 1_795_392_000;
    const LATER: u64 = NOW + 300 * 24 * 3_600;

    static BUNDLE: LazyLock<SecretsBundle> =
        LazyLock::new(|| SecretsBundle::generate(NOW).expect("a bundle"));

    fn value(text: &str) -> Value {
        yaml::read_one(text).expect("reads").root().to_json()
    }

    /// Until when the base64 certificate is valid.
    fn until(certificate: &Value) -> u64 {
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::STANDARD;
        let pem = engine.decode(certificate.as_str().expect("text")).expect("base64");
        pki::valid_until(std::str::from_utf8(&pem).expect("PEM")).expect("a certificate")
    }

    #[test]
    fn a_talosconfig_keeps_everything_but_the_certificate() {
        let addresses = ["10.0.0.11".parse().expect("an address")];
        let mut old = value(&BUNDLE.talosconfig("home", &addresses, NOW).expect("made"));
        old["contexts"]["home"]["nodes"] = json!(["10.0.0.12"]);
        let mut same = old["contexts"]["home"].clone();
        same["endpoints"] = json!(["vpn.example"]);
        old["contexts"]["through-vpn"] = same;
        old["contexts"]["other"] =
            json!({"endpoints": ["10.9.9.9"], "ca": "b3RoZXI=", "crt": "eA==", "key": "eQ=="});
        let text = yaml::write(&[old.clone()]).expect("writes");
        let client = BUNDLE.talos_admin(LATER).expect("issued");
        let new = value(&talosconfig(&text, &BUNDLE.os, &client).expect("renewed"));
        for name in ["home", "through-vpn"] {
            assert_eq!(until(&old["contexts"][name]["crt"]), NOW + CLIENT_LIFETIME.as_secs());
            assert_eq!(until(&new["contexts"][name]["crt"]), LATER + CLIENT_LIFETIME.as_secs());
            for key in ["endpoints", "nodes", "ca"] {
                assert_eq!(new["contexts"][name][key], old["contexts"][name][key]);
            }
        }
        assert_eq!(new["contexts"]["other"], old["contexts"]["other"]);
        assert_eq!(new["context"], old["context"]);
    }

    #[test]
    fn a_kubeconfig_keeps_everything_but_the_certificate() {
        let mut old = value(&BUNDLE.kubeconfig("home", "https://10.0.0.10:6443", NOW).expect("made"));
        let list =
            |file: &mut Value, key: &str, entry: Value| file[key].as_array_mut().expect("a list").push(entry);
        list(
            &mut old,
            "clusters",
            json!({"name": "other", "cluster": {"server": "https://x", "certificate-authority-data": "eA=="}}),
        );
        list(
            &mut old,
            "users",
            json!({"name": "other", "user": {"client-certificate-data": "eA==", "client-key-data": "eQ=="}}),
        );
        list(&mut old, "users", json!({"name": "oidc", "user": {"token": "t"}}));
        list(
            &mut old,
            "contexts",
            json!({"name": "other", "context": {"cluster": "other", "user": "other"}}),
        );
        list(&mut old, "contexts", json!({"name": "oidc", "context": {"cluster": "home", "user": "oidc"}}));
        let text = yaml::write(&[old.clone()]).expect("writes");
        let client = pki::kubernetes_admin(&BUNDLE.kubernetes, LATER, CLIENT_LIFETIME).expect("issued");
        let new = value(&kubeconfig(&text, &BUNDLE.kubernetes, &client).expect("renewed"));
        assert_eq!(
            until(&new["users"][0]["user"]["client-certificate-data"]),
            LATER + CLIENT_LIFETIME.as_secs()
        );
        assert_eq!((&new["users"][1], &new["users"][2]), (&old["users"][1], &old["users"][2]));
        for key in ["clusters", "contexts", "current-context"] {
            assert_eq!(new[key], old[key]);
        }
    }

    #[test]
    fn a_file_of_another_cluster_is_left_alone() {
        let client = BUNDLE.talos_admin(NOW).expect("issued");
        let text = BUNDLE.talosconfig("home", &[], NOW).expect("made");
        // an authority that is not the one in the file
        let error = talosconfig(&text, &BUNDLE.kubernetes, &client).expect_err("refused");
        assert!(matches!(error, RenewError::Stranger(_)), "{error}");
        let text = BUNDLE.kubeconfig("home", "https://10.0.0.10:6443", NOW).expect("made");
        assert!(kubeconfig(&text, &BUNDLE.os, &client).is_err());
        for text in ["", "[", "contexts: []", "contexts: {a: 1}", "users: 1"] {
            assert!(
                talosconfig(text, &BUNDLE.os, &client).is_err()
                    && kubeconfig(text, &BUNDLE.os, &client).is_err()
            );
        }
    }
}
