//! Certificates that the steps need and that nobody may share: made for this cluster, and applied where there are none yet.

use std::time::{SystemTime, UNIX_EPOCH};

use document::Findings;
use handover::{CERTIFICATE, SecretData, Step, hubble_wants};
use serde_json::{Value, json};
use site::{HandoverStep, Site};
use talos_config::{pem::CertificateAndKey, pki, pki::PkiError, secrets::SecretsBundle};
use zeroize::Zeroizing;

/// What makes Hubble's certificates where the chart does: a job of that name.
const JOB: &str = "hubble-generate-certs";

/// An agent's certificate.
const SERVER: &str = "hubble-server-certs";

/// Certificates that nobody makes, or that nobody wants.
pub(super) fn check(wanted: &HandoverStep, step: &Step, findings: &mut Findings) {
    let objects: Vec<&Value> = step.manifests.iter().map(|manifest| &manifest.object).collect();
    let brought = objects.iter().any(|object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        name == SERVER || name.starts_with(JOB)
    });
    let (message, fix) = match (hubble_wants(&objects).is_some(), wanted.hubble, brought) {
        (true, false, false) => (
            "Hubble waits for certificates that nobody makes",
            "write `certificates: [hubble]` at the step, or render with hubble.tls.auto.method=cronJob",
        ),
        (true, true, true) => (
            "two make the certificates of Hubble",
            "render with hubble.tls.auto.enabled=false, or take out `certificates:`",
        ),
        (false, true, _) => (
            "nothing in the step wants certificates of Hubble",
            "render with hubble.enabled=true, or take out `certificates:`",
        ),
        _ => return,
    };
    findings.push(wanted.error("cilium-hubble", message).warning().fix(fix));
}

/// Adds them to the steps that want them.
pub(super) fn add(site: &Site, secrets: &SecretsBundle, steps: &mut [Step]) -> Result<(), PkiError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for step in steps {
        let wanted = site.handover().iter().find(|wanted| wanted.name == step.name && wanted.hubble);
        let objects: Vec<&Value> = step.manifests.iter().map(|manifest| &manifest.object).collect();
        let (Some(wanted), Some((namespace, cluster))) = (wanted, hubble_wants(&objects)) else { continue };
        for object in secrets_of(&secrets.kubernetes, &namespace, &cluster, now)? {
            // its name cannot be in the step twice unless two make it, which the check has told
            step.add_once(object, &wanted.file, wanted.at.line).ok();
        }
    }
    Ok(())
}

fn secrets_of(
    kubernetes: &CertificateAndKey,
    namespace: &str,
    cluster: &str,
    now: u64,
) -> Result<[Value; 3], PkiError> {
    let made = pki::hubble::hubble(kubernetes, cluster, now)?;
    let authority = vec![
        ("ca.crt".to_owned(), plain(&made.authority.certificate)),
        ("ca.key".to_owned(), plain(made.authority.key.expose())),
    ];
    let of = |pair: &CertificateAndKey| {
        vec![
            ("ca.crt".to_owned(), plain(&made.authority.certificate)),
            ("tls.crt".to_owned(), plain(&pair.certificate)),
            ("tls.key".to_owned(), plain(pair.key.expose())),
        ]
    };
    Ok([
        object("cilium-ca", namespace, "Opaque", &authority),
        object(SERVER, namespace, "kubernetes.io/tls", &of(&made.server)),
        object("hubble-relay-client-certs", namespace, "kubernetes.io/tls", &of(&made.relay)),
    ])
}

fn plain(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn object(name: &str, namespace: &str, kind: &str, data: &SecretData) -> Value {
    let mut object = handover::secret(name, namespace, kind, data);
    for (label, value) in CERTIFICATE {
        object["metadata"]["labels"][label] = json!(value);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_have_the_shape_of_the_charts() {
        let bundle = SecretsBundle::generate(1_790_000_000).unwrap();
        let made = secrets_of(&bundle.kubernetes, "kube-system", "home", 1_790_000_000).unwrap();
        let shown: Vec<String> = made
            .iter()
            .map(|secret| {
                let keys: Vec<&str> =
                    secret["data"].as_object().unwrap().keys().map(String::as_str).collect();
                let (name, kind) =
                    (secret["metadata"]["name"].as_str().unwrap(), secret["type"].as_str().unwrap());
                assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "ichord");
                format!("{name} {kind} {}", keys.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "cilium-ca Opaque ca.crt ca.key",
                "hubble-server-certs kubernetes.io/tls ca.crt tls.crt tls.key",
                "hubble-relay-client-certs kubernetes.io/tls ca.crt tls.crt tls.key",
            ]
        );
    }
}
