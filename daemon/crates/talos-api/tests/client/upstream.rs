//! The client against Talos's own parts (`tests/oracles/apid`): its certificates and key labels, Go's TLS and gRPC,
//! the real state server, and the YAML that real resources become.

use std::{
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::StreamExt as _;
use hardware::{Disk, Link, MacAddr};
use serde::Deserialize;
use talos_api::{
    ApplyMode, Change, Client, ConnectError, Credentials, Fingerprint, MachineStatus, Peer, Stage, Unmet,
    observe, probe,
};
use tonic::Code;

const WITHIN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Told {
    configured: SocketAddr,
    maintenance: SocketAddr,
    fingerprint: Fingerprint,
    authority: String,
    certificate: String,
    key: String,
}

/// Ends when it is dropped: the oracle reads its standard input to the end.
struct Oracle(Child);

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// `None`, with a word why, where there is no Go.
fn apid() -> Option<(Oracle, Told)> {
    if let Err(error) = Command::new("go").arg("version").stdout(Stdio::null()).status() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI must run Talos's parts, but go cannot: {error}"
        );
        println!("skipped: go cannot be run: {error}");
        return None;
    }
    let flags = format!("{} -p=1", std::env::var("GOFLAGS").unwrap_or_default());
    let mut child = Command::new("nice")
        .args(["go", "run", "./apid"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/oracles"))
        .env("GOFLAGS", flags.trim())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let oracle = Oracle(child);
    // JSON is YAML, and YAML is what this crate reads.
    let told =
        serde_saphyr::from_str(&line).unwrap_or_else(|error| panic!("the oracle said {line:?}: {error}"));
    Some((oracle, told))
}

#[tokio::test]
async fn the_parts_of_talos_understand_us_and_we_them() {
    let Some((_oracle, told)) = apid() else { return };
    assert!(told.key.starts_with("-----BEGIN ED25519 PRIVATE KEY-----"));
    let ours = Credentials::from_pem(&told.authority, &told.certificate, &told.key).unwrap();

    let fingerprint = told.fingerprint;
    assert_eq!(
        probe(told.maintenance, ours.authority(), WITHIN).await,
        Ok(Peer::Maintenance { fingerprint })
    );
    assert_eq!(probe(told.configured, ours.authority(), WITHIN).await, Ok(Peer::Ours));

    let wrong = Fingerprint::of_public_key(b"another");
    let refused = Client::maintenance(told.maintenance, &wrong).await;
    assert!(matches!(refused, Err(ConnectError::WrongFingerprint { .. })), "{refused:?}");
    let refused = Client::configured(told.maintenance, &ours).await;
    assert!(matches!(refused, Err(ConnectError::NotTrusted { .. })), "{refused:?}");
    // A configured machine lets nobody in without a certificate, though TLS 1.3 says so only at the first call.
    let refused = match Client::maintenance(told.configured, &wrong).await {
        Err(ConnectError::WrongFingerprint { seen, .. }) => Client::maintenance(told.configured, &seen).await,
        other => panic!("{other:?}"),
    };
    if let Ok(client) = refused {
        assert_eq!(client.version().await.unwrap_err().code(), Code::Unavailable);
    }

    observed(&Client::maintenance(told.maintenance, &fingerprint).await.unwrap()).await;
    called(&Client::configured(told.configured, &ours).await.unwrap()).await;
}

async fn observed(client: &Client) {
    let unmet = vec![Unmet { name: "time".to_owned(), reason: "time is not synced".to_owned() }];
    let expected = MachineStatus { stage: Stage::Maintenance, ready: false, unmet };
    assert_eq!(client.machine_status().await.unwrap(), expected);
    assert_eq!(client.hostname().await.unwrap().as_deref(), Some("mini01"));
    let addresses = client.addresses().await.unwrap();
    assert_eq!(addresses, ["10.0.0.11".parse::<IpAddr>().unwrap(), "fd00::11".parse().unwrap()]);

    // Talos 1.13 has no boot id; the stand-in is there, and stays.
    let boot = client.boot_id().await.unwrap();
    assert!(boot.as_ref().is_some_and(|id| id.starts_with("born-")), "{boot:?}");
    assert_eq!(client.boot_id().await.unwrap(), boot);

    let inventory = client.inventory().await.unwrap();
    assert_eq!(inventory.uuid, Some("00112233-4455-6677-8899-aabbccddee01".parse().unwrap()));
    assert_eq!(inventory.serial.as_deref(), Some("S1"));
    assert_eq!(
        inventory.links,
        [Link { name: "enp1s0".to_owned(), mac: MacAddr([2, 0, 0, 0, 0, 2]), up: true }]
    );
    let disk = Disk {
        dev_path: "/dev/vda".to_owned(),
        size: 10 << 30,
        serial: "0123456789".to_owned(),
        rotational: true,
        symlinks: vec!["/dev/disk/by-id/virtio-0123456789".to_owned()],
        ..Default::default()
    };
    assert_eq!(inventory.disks, [disk]);

    let mut changes = client.watch(observe::LINK_STATUSES).await.unwrap();
    let mut names = Vec::new();
    loop {
        match changes.next().await.unwrap().unwrap() {
            Change::Created(link) => names.push(link.id),
            Change::Bootstrapped => break,
            other => panic!("{other:?}"),
        }
    }
    names.sort();
    assert_eq!(names, ["bond0", "enp1s0", "lo"]);
}

async fn called(client: &Client) {
    let version = client.version().await.unwrap();
    assert_eq!((version.tag.as_str(), version.platform.as_str()), ("v1.13.9", "metal"));
    client.bootstrap().await.unwrap();
    assert!(client.bootstrap().await.unwrap_err().is_already_exists());
    assert_eq!(client.kubeconfig().await.unwrap().text(), "apiVersion: v1\nkind: Config\n");
    let error = client.apply_configuration("version: v1alpha1\n", ApplyMode::Auto, false).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}
