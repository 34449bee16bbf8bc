//! Handshakes in memory, with servers that have their key, and with one that only shows somebody's certificate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::sync::Mutex;

use rcgen::{CertifiedKey as Made, KeyPair, generate_simple_self_signed};
use rustls::{
    CertificateError, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::PrivateKeyDer;

use super::*;

/// What a judge is told.
#[derive(Debug, Default)]
struct Record {
    refuses: bool,
    told: Mutex<Vec<String>>,
}

impl Judge for Record {
    fn shown(&self, certificate: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        self.told.lock().unwrap().push(format!("shown {} and {}", certificate.len(), others.len()));
        match self.refuses {
            true => Err(CertificateError::UnknownIssuer.into()),
            false => Ok(()),
        }
    }

    fn proved(&self) {
        self.told.lock().unwrap().push("proved".to_owned());
    }
}

/// Shows what it has, whoever asks.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn server(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    version: &'static SupportedProtocolVersion,
) -> ServerConnection {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider().key_provider.load_private_key(key).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], key)))));
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// How the client's side ended.
fn met(judge: &Arc<Record>, mut server: ServerConnection) -> Result<(), Error> {
    let config = Arc::new(judged(Arc::clone(judge)).unwrap());
    let mut client = ClientConnection::new(config, "bmc".try_into().unwrap()).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_certificate_is_judged_and_its_key_proved() {
    for version in [&TLS12, &TLS13] {
        let Made { cert, signing_key } = generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        let judge = Arc::new(Record::default());
        let shown = format!("shown {} and 0", cert.der().len());
        met(&judge, server(cert.der().clone(), &signing_key, version)).unwrap();
        assert_eq!(*judge.told.lock().unwrap(), [shown, "proved".to_owned()]);
    }
}

#[test]
fn who_only_shows_another_s_certificate_proves_nothing() {
    for version in [&TLS12, &TLS13] {
        let Made { cert, .. } = generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        let judge = Arc::new(Record::default());
        let error =
            met(&judge, server(cert.der().clone(), &KeyPair::generate().unwrap(), version)).unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::BadSignature)),
            "{version:?}: {error}"
        );
        assert_eq!(judge.told.lock().unwrap().len(), 1, "shown, and not proved");
    }
}

#[test]
fn what_the_judge_refuses_ends_the_handshake_before_anything_is_proved() {
    for version in [&TLS12, &TLS13] {
        let Made { cert, signing_key } = generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        let judge = Arc::new(Record { refuses: true, ..Record::default() });
        let error = met(&judge, server(cert.der().clone(), &signing_key, version)).unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            "{version:?}: {error}"
        );
        assert_eq!(judge.told.lock().unwrap().len(), 1);
    }
}
