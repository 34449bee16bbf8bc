use std::sync::{Arc, LazyLock};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;

const NOW: u64 = 1_795_392_000;

static BUNDLE: LazyLock<SecretsBundle> = LazyLock::new(|| SecretsBundle::generate(NOW).expect("a bundle"));

fn with_certificate<T>(pair: &CertificateAndKey, look: impl FnOnce(X509Certificate<'_>) -> T) -> T {
    let der = pair.certificate_der().expect("PEM");
    look(X509Certificate::from_der(&der).expect("X.509").1)
}

fn signed_by(pair: &CertificateAndKey, authority: &CertificateAndKey) {
    with_certificate(pair, |certificate| {
        with_certificate(authority, |authority| {
            certificate.verify_signature(Some(authority.public_key())).expect("signed by the authority");
            assert_eq!(certificate.issuer().as_raw(), authority.subject().as_raw(), "Go compares raw names");
            let identifier = |certificate: &X509Certificate<'_>, oid: &str| -> Vec<u8> {
                let all = certificate.extensions();
                let extension = all.iter().find(|extension| extension.oid.to_id_string() == oid);
                extension.expect("there").value.to_vec()
            };
            // the authority's own identifier is the tail of the reference to it
            let own = identifier(&authority, "2.5.29.14");
            assert!(identifier(&certificate, "2.5.29.35").ends_with(&own[2..]));
        });
    });
}

#[test]
fn the_talos_client_certificate_is_what_apid_accepts() {
    let client = BUNDLE.talos_admin(NOW).expect("issued");
    signed_by(&client, &BUNDLE.os);
    with_certificate(&client, |certificate| {
        assert_eq!(certificate.subject().to_string(), "O=os:admin");
        let usages = certificate.extended_key_usage().expect("well formed").expect("there").value;
        assert!(usages.client_auth && !usages.server_auth && !usages.any && usages.other.is_empty());
        let usage = certificate.key_usage().expect("well formed").expect("there");
        assert_eq!((usage.critical, usage.value.flags), (true, 1));
        assert!(certificate.basic_constraints().expect("well formed").is_none());
        assert_eq!(certificate.validity().not_after.timestamp(), (NOW + 8_760 * 3_600) as i64);
        assert_eq!(certificate.validity().not_before.timestamp(), (NOW - 300) as i64);
    });
    assert!(client.key.expose().starts_with("-----BEGIN ED25519 PRIVATE KEY-----\n"));
    assert_eq!(valid_until(&client.certificate).expect("reads"), NOW + 8_760 * 3_600);
}

#[test]
fn a_role_is_the_organization() {
    let reader = talos_client(&BUNDLE.os, Role::Reader, NOW, SERVER_LIFETIME).expect("issued");
    with_certificate(&reader, |certificate| assert_eq!(certificate.subject().to_string(), "O=os:reader"));
}

#[test]
fn the_kubernetes_administrator_is_in_the_masters_group() {
    let admin = kubernetes_admin(&BUNDLE.kubernetes, NOW, CLIENT_LIFETIME).expect("issued");
    signed_by(&admin, &BUNDLE.kubernetes);
    with_certificate(&admin, |certificate| {
        assert_eq!(certificate.subject().to_string(), "O=system:masters, CN=admin");
    });
    assert!(admin.key.expose().starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
}

#[test]
fn an_authority_with_an_empty_name_issues_too() {
    let client = talos_client(&BUNDLE.aggregator, Role::Reader, NOW, CLIENT_LIFETIME).expect("issued");
    signed_by(&client, &BUNDLE.aggregator);
}

#[test]
fn an_authority_whose_key_is_another_ones_is_refused() {
    let mixed =
        CertificateAndKey { certificate: BUNDLE.os.certificate.clone(), key: BUNDLE.etcd.key.clone() };
    let error = talos_client(&mixed, Role::Admin, NOW, CLIENT_LIFETIME).expect_err("refused");
    assert!(matches!(error, PkiError::Mismatch), "{error}");
}

#[test]
fn names_that_cannot_be_in_a_certificate_are_refused() {
    for name in ["", "bücher.example"] {
        assert!(talos_server(&BUNDLE.os, &[name], NOW, SERVER_LIFETIME).is_err(), "{name}");
    }
}

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

/// Lets a client and a server shake hands in memory; the message of whoever refuses.
fn shake_hands(
    authority: &CertificateAndKey,
    server: &CertificateAndKey,
    client: &CertificateAndKey,
    name: &str,
) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der().expect("PEM")).expect("an authority");
    let roots = Arc::new(roots);
    let chain = |pair: &CertificateAndKey| vec![pair.certificate_der().expect("PEM")];
    let key = |pair: &CertificateAndKey| pair.private_key_der().expect("PEM");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .expect("a verifier");
    let server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Fixed))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(server), key(server))
        .map_err(|error| error.to_string())?;
    let client = ClientConfig::builder_with_details(provider, Arc::new(Fixed))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(client), key(client))
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets().map_err(|error| format!("client: {error}"))?;
    }
    Ok(())
}

#[test]
fn both_sides_of_the_talos_api_accept_each_other() {
    let names = ["10.0.0.11", "fd00::11", "node-1.example"];
    let server = talos_server(&BUNDLE.os, &names, NOW, SERVER_LIFETIME).expect("issued");
    let client = BUNDLE.talos_admin(NOW).expect("issued");
    for name in names {
        assert_eq!(shake_hands(&BUNDLE.os, &server, &client, name), Ok(()));
    }
    let refused = shake_hands(&BUNDLE.os, &server, &client, "10.0.0.12").expect_err("another address");
    assert!(refused.starts_with("client: "), "{refused}");
    // a server certificate is no client certificate
    let refused = shake_hands(&BUNDLE.os, &server, &server, names[0]).expect_err("wrong usage");
    assert!(refused.starts_with("server: "), "{refused}");
}

#[test]
fn both_sides_of_the_kubernetes_api_accept_each_other() {
    let server = kubernetes_server(&BUNDLE.kubernetes, &["10.0.0.5"], NOW, SERVER_LIFETIME).expect("issued");
    let client = kubernetes_admin(&BUNDLE.kubernetes, NOW, CLIENT_LIFETIME).expect("issued");
    assert_eq!(shake_hands(&BUNDLE.kubernetes, &server, &client, "10.0.0.5"), Ok(()));
    let stranger = BUNDLE.talos_admin(NOW).expect("issued");
    assert!(shake_hands(&BUNDLE.kubernetes, &server, &stranger, "10.0.0.5").is_err());
}

#[test]
fn the_client_files_name_the_cluster_and_hold_the_pieces() {
    let read = |text: &str| yaml::read_one(text).expect("reads").root().to_json();
    let endpoints = ["10.0.0.11", "10.0.0.12"].map(|address| address.parse().expect("an address"));
    let value = read(&BUNDLE.talosconfig("home", &endpoints, NOW).expect("made"));
    assert_eq!(value["context"], "home");
    let context = &value["contexts"]["home"];
    assert_eq!(context["endpoints"], json!(["10.0.0.11", "10.0.0.12"]));
    assert_eq!(context["ca"], json!(secrets::base64(&BUNDLE.os.certificate)));
    let client = pem::CERTIFICATE;
    assert!(
        context["crt"]
            .as_str()
            .expect("text")
            .starts_with(&secrets::base64(&format!("-----BEGIN {client}"))[..20])
    );
    assert!(context["key"].as_str().expect("text").starts_with("LS0tLS1CRUdJTiBFRDI1NTE5IFBSSVZBVEUgS0VZ"));

    let value = read(&BUNDLE.kubeconfig("home", "https://10.0.0.5:6443", NOW).expect("made"));
    assert_eq!(value["current-context"], "admin@home");
    assert_eq!(value["clusters"][0]["cluster"]["server"], "https://10.0.0.5:6443");
    assert_eq!(value["contexts"][0]["context"]["user"], value["users"][0]["name"]);
}
