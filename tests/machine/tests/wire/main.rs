//! Simulated machines on a real network, spoken to as the daemon does: a control plane and a worker boot,
//! get their configs, become a cluster, and come back after a power cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod provisioner;
mod rack;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::StreamExt;
use hardware::Firmware;
use net::{
    frame::{FrameSocket, LLDP_GROUPS},
    namespace::{self, Namespace},
};
use provisioner::{Answer, Provisioner};
use rack::{PATIENCE, Powered, SCHEMATIC, VIRTUAL, config, place, until};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{ServerName, pem::PemObject};
use talos_api::{ApplyMode, Authority, Change, Client, Credentials, Peer, observe::MACHINE_STATUSES, probe};
use talos_config::{generate::MachineType, secrets::SecretsBundle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Lab {
    secrets: SecretsBundle,
    credentials: Credentials,
    ours: Authority,
}

impl Lab {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let secrets = SecretsBundle::generate(now).unwrap();
        let admin = secrets.talos_admin(now).unwrap();
        let key = admin.key.expose();
        let credentials = Credentials::from_pem(&secrets.os.certificate, &admin.certificate, key).unwrap();
        let ours = Authority::from_pem(&secrets.os.certificate).unwrap();
        Self { secrets, credentials, ours }
    }

    async fn seen(&self, address: SocketAddr) -> Option<Peer> {
        probe(address, &self.ours, Duration::from_secs(2)).await.ok()
    }

    async fn in_maintenance(&self, address: SocketAddr) -> Client {
        let fingerprint = until("maintenance", async || match self.seen(address).await {
            Some(Peer::Maintenance { fingerprint }) => Some(fingerprint),
            _ => None,
        });
        Client::maintenance(address, &fingerprint.await).await.unwrap()
    }

    async fn configured(&self, address: SocketAddr) -> Client {
        until("our certificate", async || (self.seen(address).await == Some(Peer::Ours)).then_some(())).await;
        Client::configured(address, &self.credentials).await.unwrap()
    }
}

fn talos_port(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, last], 50000))
}

/// One plain request to the API server with the certificates of a kubeconfig.
async fn kubernetes_get(kubeconfig: &str, path: &str) -> std::io::Result<String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let value: serde_json::Value = serde_saphyr::from_str(kubeconfig).unwrap();
    let pem = |pointer: &str| STANDARD.decode(value.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
    let certificate = |pem: &[u8]| rustls_pki_types::CertificateDer::from_pem_slice(pem).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&pem("/clusters/0/cluster/certificate-authority-data"))).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(&pem("/users/0/user/client-key-data")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&pem("/users/0/user/client-certificate-data"))], key)
        .unwrap();
    let address: IpAddr = VIRTUAL.parse().unwrap();
    let stream = tokio::net::TcpStream::connect((address, 6443)).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::IpAddress(address.into()), stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {VIRTUAL}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok();
    Ok(answer)
}

async fn hears_lldp_of(port: &str, name: &str) {
    let socket = FrameSocket::open(port, 0x88cc, &LLDP_GROUPS).unwrap();
    until(&format!("LLDP of {name}"), async || {
        let frame = tokio::time::timeout(PATIENCE, socket.recv()).await.unwrap().unwrap();
        String::from_utf8_lossy(&frame).contains(name).then_some(())
    })
    .await;
}

async fn road(folder: &Path) {
    let places = [Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap()];
    let ports = place(&places).await;
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let provisioner = Provisioner::start("br0", &ports, SCHEMATIC).await;
    let lab = Lab::new();
    let disks = ["1", "2", "3"].map(|name| folder.join(name));
    let one = Powered::on(&places[0], 1, Firmware::UefiX64Http, disks[0].clone());
    let two = Powered::on(&places[1], 2, Firmware::Bios, disks[1].clone());
    let three = Powered::on(&places[2], 3, Firmware::UefiX64, disks[2].clone());

    // maintenance: the machine is known by its port before any system ran, and shows what it is made of
    let waiting = lab.in_maintenance(talos_port(101)).await;
    assert!(provisioner.asked().iter().any(|query| query.contains("mac=52-54-00-77-00-01")
        && query.contains("&lldp=52-54-00-77-00-01,04020000000001,057031,")
        && query.contains("platform=efi")));
    assert!(
        provisioner.asked().iter().any(|query| query.contains("platform=pcbios") && !query.contains("lldp="))
    );
    let inventory = waiting.inventory().await.unwrap();
    assert_eq!(inventory.serial.as_deref(), Some("S1"));
    assert_eq!(inventory.disks[0].dev_path, "/dev/nvme0n1");
    assert_eq!(inventory.links[0].name, "eth1");
    assert_eq!(waiting.lldp_neighbors().await.unwrap(), [], "this release does not listen");
    let first_boot = waiting.boot_id().await.unwrap().unwrap();
    assert!(waiting.bootstrap().await.is_err(), "a stranger may not");
    let control_plane = config(MachineType::ControlPlane, "mini01", "eth1", &lab.secrets);
    waiting.apply_configuration(&control_plane, ApplyMode::Auto, false).await.unwrap();

    // configured: our certificate, etcd waits for its bootstrap
    let node = lab.configured(talos_port(101)).await;
    assert_ne!(node.boot_id().await.unwrap().unwrap(), first_boot);
    assert_eq!(node.hostname().await.unwrap().as_deref(), Some("mini01"));
    until("etcd prepares", async || {
        let services = node.services().await.unwrap();
        services.iter().any(|service| service.id == "etcd" && service.state == "Preparing").then_some(())
    })
    .await;
    assert!(node.etcd_members(false).await.is_err());
    hears_lldp_of("p1", "mini01").await;
    // the cabling of a machine that is configured, by a capture on its card
    let is_the_switch_s = |frame: &[u8]| frame.get(6..12) == Some(&[2, 0, 0, 0, 0, 1]);
    let heard = node.captured_frame("eth1", 0x88cc, PATIENCE, is_the_switch_s).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&heard).contains("sw1"));
    assert!(node.captured_frame("eth9", 0x88cc, PATIENCE, |_| true).await.is_err(), "there is no such card");

    // the worker has its config and no certificate until a control plane's trustd is there
    let waiting = lab.in_maintenance(talos_port(102)).await;
    let worker = config(MachineType::Worker, "worker1", "eth2", &lab.secrets);
    waiting.apply_configuration(&worker, ApplyMode::Auto, false).await.unwrap();
    until("the worker's port closes", async || lab.seen(talos_port(102)).await.is_none().then_some(())).await;

    // a watch tells first what is, then what changes
    let mut watch = node.watch(MACHINE_STATUSES).await.unwrap();
    let mut next = async || tokio::time::timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(next().await, Change::Created(status) if status.yaml.contains("stage: booting")));
    assert_eq!(next().await, Change::Bootstrapped);
    node.bootstrap().await.unwrap();
    until("the watch says running", async || match next().await {
        Change::Updated(status) => status.yaml.contains("stage: running").then_some(()),
        other => panic!("{other:?}"),
    })
    .await;
    until("one member", async || node.etcd_members(false).await.ok().filter(|members| members.len() == 1))
        .await;
    let kubeconfig = node.kubeconfig().await.unwrap();
    until("the API server behind the virtual address", async || {
        let answer = kubernetes_get(kubeconfig.text(), "/readyz").await.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    let worker = lab.configured(talos_port(102)).await;
    assert_eq!(worker.hostname().await.unwrap().as_deref(), Some("worker1"));
    until("both nodes", async || {
        let nodes = kubernetes_get(kubeconfig.text(), "/api/v1/nodes").await.ok()?;
        (nodes.contains("mini01") && nodes.contains("worker1")).then_some(())
    })
    .await;

    // another control plane finds the first by the virtual address, and gets its vote
    let waiting = lab.in_maintenance(talos_port(103)).await;
    let second = config(MachineType::ControlPlane, "mini02", "eth3", &lab.secrets);
    waiting.apply_configuration(&second, ApplyMode::Auto, false).await.unwrap();
    let joined = lab.configured(talos_port(103)).await;
    until("two voters", async || {
        let members = joined.etcd_members(false).await.ok()?;
        (members.len() == 2 && members.iter().all(|member| !member.learner)).then_some(())
    })
    .await;

    // a power cut: the firmware asks, is sent to its own disk, and the cluster is there again
    one.off();
    assert_eq!(lab.seen(talos_port(101)).await, None);
    provisioner.answer(Answer::LocalDisk);
    let one = Powered::on(&places[0], 1, Firmware::UefiX64Http, disks[0].clone());
    let node = lab.configured(talos_port(101)).await;
    until("etcd from its data directory", async || node.etcd_members(false).await.ok()).await;
    assert!(node.bootstrap().await.is_err(), "the data directory is not empty");
    for machine in [one, two, three] {
        machine.off();
    }
    let disk: serde_json::Value = serde_json::from_slice(&std::fs::read(&disks[0]).unwrap()).unwrap();
    assert_eq!(disk["counters"]["installs"], 1);
    assert_eq!(disk["counters"]["bootstraps"], 1);
    assert_eq!(disk["counters"]["network_boots"], 1);
}

#[test]
fn machines_boot_from_the_network_become_a_cluster_and_survive_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    namespace::test(move || async move { road(&path).await }).unwrap();
}

/// From the frame on the cable to the words of our client: a Talos that listens by itself tells the switch's port.
async fn hears_its_switch(folder: &Path) {
    let places = [Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap()];
    let ports = place(&places).await;
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let lab = Lab::new();
    let _provisioner = Provisioner::with("br0", &ports, SCHEMATIC, "v1.15.0").await;
    let one = Powered::on(&places[0], 1, Firmware::UefiX64Http, folder.join("disk"));
    let waiting = lab.in_maintenance(talos_port(101)).await;
    let neighbor = until("a neighbour", async || waiting.lldp_neighbors().await.unwrap().pop()).await;
    assert_eq!((neighbor.link.as_str(), neighbor.port_id.as_str()), ("eth1", "p1"));
    assert_eq!(neighbor.chassis_id, "02:00:00:00:00:01");
    assert_eq!(neighbor.system_name, "sw1");
    one.off();
}

#[test]
fn talos_tells_the_switch_port_that_it_hears_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    namespace::test(move || async move { hears_its_switch(&path).await }).unwrap();
}
