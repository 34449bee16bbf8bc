//! The client against Talos's own parts (`tests/oracles/apid`): its certificates and key labels, Go's TLS and gRPC,
//! the real state server, the YAML that real resources become, and every other call as Talos's own code reads it.

use std::{
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::mpsc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use hardware::{Disk, Link, MacAddr};
use serde::Deserialize;
use talos_api::{
    AlarmKind, ApplyMode, BlockDevice, Change, Client, ConnectError, Credentials, EtcdAlarm, Fingerprint,
    Happening, ImageNamespace, LLDP_NEIGHBORS, LayerProgress, LoadAverage, MachineStatus, Memory, Peer,
    RebootMode, RecoverError, Reset, Service, ShutdownMode, Stage, Step, SystemStat, Tail, Unmet, Wipe,
    WipeMethod, observe, probe,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, ReadBuf},
    sync::oneshot,
};
use tonic::Code;

const WITHIN: Duration = Duration::from_secs(10);
/// The oracle is compiled first, beside everything else that is tested.
const BUILT_WITHIN: Duration = Duration::from_secs(900);

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
struct Oracle {
    child: Child,
    told: mpsc::Receiver<String>,
}

impl Oracle {
    /// What it says next: its first word, or a request as it understood it, which is told before it is answered.
    fn says(&self, within: Duration) -> String {
        self.told.recv_timeout(within).expect("the oracle says nothing more")
    }

    fn understood(&self) -> String {
        self.says(WITHIN)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
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
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (say, told) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
    let oracle = Oracle { child, told };
    let line = oracle.says(BUILT_WITHIN);
    // JSON is YAML, and YAML is what this crate reads.
    let told =
        serde_saphyr::from_str(&line).unwrap_or_else(|error| panic!("the oracle said {line:?}: {error}"));
    Some((oracle, told))
}

// The oracle is listened to without giving way, while calls go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_talos_understand_us_and_we_them() {
    let Some((oracle, told)) = apid() else { return };
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
    let client = Client::configured(told.configured, &ours).await.unwrap();
    called(&client, &oracle).await;
    ordered(&client, &oracle).await;
    kept(&client, &oracle).await;
    given_up(&client, &oracle).await;
    learnt(&client, &oracle).await;
    worked(&client, &oracle).await;
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

    // the copy that watches keep is what is read otherwise; types of later releases are empty in it
    let mut kinds = observe::INVENTORY.to_vec();
    kinds.extend([observe::MACHINE_STATUSES, observe::NODE_ADDRESSES, LLDP_NEIGHBORS]);
    let mirror = client.mirror(&kinds).await.unwrap();
    let contents = mirror.contents();
    let [system, links, disks] = observe::INVENTORY.map(|kind| contents.of(kind));
    assert_eq!(observe::inventory(&system, &links, &disks), Ok(inventory));
    assert_eq!(observe::addresses(&contents.of(observe::NODE_ADDRESSES)), Ok(addresses));
    assert_eq!(observe::machine_status(&contents.of(observe::MACHINE_STATUSES)), Ok(expected));
    assert!(contents.of(LLDP_NEIGHBORS).is_empty());
}

async fn called(client: &Client, oracle: &Oracle) {
    let version = client.version().await.unwrap();
    assert_eq!((version.tag.as_str(), version.platform.as_str()), ("v1.13.9", "metal"));
    client.bootstrap().await.unwrap();
    assert!(client.bootstrap().await.unwrap_err().is_already_exists());
    assert_eq!(client.kubeconfig().await.unwrap().text(), "apiVersion: v1\nkind: Config\n");
    let error = client.apply_configuration("version: v1alpha1\n", ApplyMode::Auto, true).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let understood = [
        "Version {}",
        "Bootstrap {}",
        "Bootstrap {}",
        "Kubeconfig {}",
        r#"ApplyConfiguration {"data":"dmVyc2lvbjogdjFhbHBoYTEK","dry_run":true,"mode":"AUTO"}"#,
    ];
    for line in understood {
        // The whole call is `/machine.MachineService/Version`; the part after the last point is told.
        assert_eq!(oracle.understood(), format!("MachineService/{line}"));
    }
}

async fn ordered(client: &Client, oracle: &Oracle) {
    let partitions = Wipe::Partitions(vec!["STATE".to_owned(), "EPHEMERAL".to_owned()]);
    client.reset(Reset { graceful: true, reboot: true, wipe: partitions }).await.unwrap();
    client.reset(Reset { graceful: false, reboot: false, wipe: Wipe::SystemDisk }).await.unwrap();
    client.reboot(RebootMode::Default).await.unwrap();
    client.reboot(RebootMode::PowerCycle).await.unwrap();
    client.reboot(RebootMode::Force).await.unwrap();
    client.shutdown(ShutdownMode::Force).await.unwrap();
    client.upgrade("installer:v1", true).await.unwrap();
    let device = |device: &str, method, drop_partition| BlockDevice {
        device: device.to_owned(),
        method,
        drop_partition,
    };
    let devices =
        [device("/dev/sda", WipeMethod::Signatures, false), device("sdb1", WipeMethod::Zeroes, true)];
    client.wipe_block_devices(&devices).await.unwrap();
    client.meta_write(10, b"value").await.unwrap();
    assert!(client.meta_delete(10).await.unwrap());
    let understood = [
        concat!(
            r#"MachineService/Reset {"graceful":true,"mode":"SYSTEM_DISK","reboot":true,"#,
            r#""system_partitions_to_wipe":[{"label":"STATE","wipe":true},{"label":"EPHEMERAL","wipe":true}]}"#,
        ),
        r#"MachineService/Reset {"mode":"SYSTEM_DISK"}"#,
        "MachineService/Reboot {}",
        r#"MachineService/Reboot {"mode":"POWERCYCLE"}"#,
        r#"MachineService/Reboot {"mode":"FORCE"}"#,
        r#"MachineService/Shutdown {"force":true}"#,
        r#"MachineService/Upgrade {"image":"installer:v1","preserve":true,"stage":true}"#,
        concat!(
            r#"StorageService/BlockDeviceWipe {"devices":[{"device":"sda"},"#,
            r#"{"device":"sdb1","drop_partition":true,"method":"ZEROES"}]}"#,
        ),
        r#"MachineService/MetaWrite {"key":10,"value":"dmFsdWU="}"#,
        r#"MachineService/MetaDelete {"key":10}"#,
    ];
    for line in understood {
        assert_eq!(oracle.understood(), line);
    }
}

/// What keeps etcd, and brings it back.
async fn kept(client: &Client, oracle: &Oracle) {
    let members = client.etcd_members(true).await.unwrap();
    assert!(members[0].id == 1 && members[0].hostname == "mini01" && members[0].learner, "{members:?}");
    let status = client.etcd_status().await.unwrap();
    assert_eq!((status.member_id, status.leader, status.raft_index, status.db_size), (1, 2, 3, 4));
    assert!(client.etcd_remove_member(7).await.unwrap());
    client.etcd_leave().await.unwrap();
    assert_eq!(client.etcd_forfeit_leadership().await.unwrap().as_deref(), Some("mini02"));
    let alarm = |kind| vec![EtcdAlarm { member_id: 1, kind }];
    assert_eq!(client.etcd_alarms().await.unwrap(), alarm(AlarmKind::NoSpace));
    assert_eq!(client.etcd_disarm().await.unwrap(), alarm(AlarmKind::Corrupt));
    client.etcd_defragment().await.unwrap();
    let mut snapshot = Vec::new();
    client.etcd_snapshot(&mut snapshot).await.unwrap();
    assert_eq!(&snapshot[..8], b"database");
    client.etcd_recover(&b"database"[..]).await.unwrap();
    client.bootstrap_recovered(true).await.unwrap_err();
    let understood = [
        r#"EtcdMemberList {"query_local":true}"#,
        "EtcdStatus {}",
        r#"EtcdRemoveMemberByID {"member_id":"7"}"#,
        "EtcdLeaveCluster {}",
        "EtcdForfeitLeadership {}",
        "EtcdAlarmList {}",
        "EtcdAlarmDisarm {}",
        "EtcdDefragment {}",
        "EtcdSnapshot {}",
        r#"EtcdRecover {"bytes":"ZGF0YWJhc2U="}"#,
        r#"Bootstrap {"recover_etcd":true,"recover_skip_hash_check":true}"#,
    ];
    for line in understood {
        assert_eq!(oracle.understood(), format!("MachineService/{line}"));
    }
}

/// Fails when it is told to, and has nothing to read until then.
struct Fails(oneshot::Receiver<()>);

impl AsyncRead for Fails {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(context).map(|_| Err(io::Error::other("the disk is broken")))
    }
}

/// Part of a snapshot must not pass for the whole of it.
async fn given_up(client: &Client, oracle: &Oracle) {
    let (fail, fails) = oneshot::channel();
    let half = io::Cursor::new(vec![7; 100_000]).chain(Fails(fails));
    let client = client.clone();
    let call = tokio::spawn(async move { client.etcd_recover(half).await });
    let understood = oracle.understood();
    assert!(understood.starts_with("MachineService/EtcdRecover {"), "{understood}");
    fail.send(()).unwrap();
    let error = call.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, RecoverError::Read(error) if error.to_string() == "the disk is broken"),
        "{error}"
    );
    assert_eq!(oracle.understood(), "EtcdRecover was given up: Canceled");
}

/// What a machine tells about itself besides its resources.
async fn learnt(client: &Client, oracle: &Oracle) {
    let load = client.load_average().await.unwrap();
    assert_eq!(load, LoadAverage { one: 0.5, five: 1.5, fifteen: 2.5 });
    assert_eq!(client.memory().await.unwrap(), Memory { total: 2 << 20, available: 1 << 20 });
    let booted = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!(client.system_stat().await.unwrap(), SystemStat { booted, running: 3, blocked: 1 });
    let disk = Disk {
        dev_path: "/dev/nvme0n1".to_owned(),
        size: 6,
        model: "disk".to_owned(),
        transport: "nvme".to_owned(),
        ..Default::default()
    };
    assert_eq!(client.disks().await.unwrap(), [disk]);
    let text = client.logs("etcd", Some(5), false).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(text, [b"a line\n"]);
    let text = client.dmesg(false).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(text, [b"kern\n"]);

    let events = client.events(Tail::After("c1".to_owned())).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    assert!(events.iter().all(|event| event.actor.as_deref() == Some("somebody")), "{events:?}");
    assert_eq!(events[1].id, "1");
    let service = Service {
        id: "etcd".to_owned(),
        state: "Running".to_owned(),
        healthy: Some(true),
        message: "started".to_owned(),
    };
    let unmet = vec![Unmet { name: "time".to_owned(), reason: "not synced".to_owned() }];
    let error = Some("no disk".to_owned());
    let expected = [
        Happening::Sequence { name: "install".to_owned(), step: Step::Stop, error },
        Happening::Phase { name: "mountState".to_owned(), step: Step::Start },
        Happening::Task { name: "setupLogger".to_owned(), step: Step::Stop },
        Happening::Service(service),
        Happening::Restart,
        Happening::ConfigUnreadable("unreadable".to_owned()),
        Happening::ConfigInvalid("invalid".to_owned()),
        Happening::Addresses { hostname: "mini01".to_owned(), addresses: vec!["10.0.0.11".to_owned()] },
        Happening::Status(MachineStatus { stage: Stage::Booting, ready: false, unmet }),
    ];
    assert_eq!(events.into_iter().map(|event| event.happening).collect::<Vec<_>>(), expected);
    drop(client.events(Tail::All).await.unwrap());
    let understood = [
        "MachineService/LoadAvg {}",
        "MachineService/Memory {}",
        "MachineService/SystemStat {}",
        "StorageService/Disks {}",
        r#"MachineService/Logs {"id":"etcd","namespace":"system","tail_lines":5}"#,
        "MachineService/Dmesg {}",
        r#"MachineService/Events {"tail_id":"c1"}"#,
        r#"MachineService/Events {"tail_events":-1}"#,
    ];
    for line in understood {
        assert_eq!(oracle.understood(), line);
    }
}

/// What takes its time and tells how far it is.
async fn worked(client: &Client, oracle: &Oracle) {
    let mut layers = Vec::new();
    let pulled = client.pull_image(ImageNamespace::System, "installer:v1", |layer| layers.push(layer)).await;
    assert_eq!(pulled.unwrap(), "installer:v1");
    assert_eq!(layers, [LayerProgress { layer: "sha256:01".to_owned(), done: 3, total: 9 }]);
    let images = client.images(ImageNamespace::Kubernetes).await.unwrap();
    assert_eq!((images[0].name.as_str(), images[0].size), ("installer:v1", 5));
    assert_eq!(images[0].created, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)));

    let mut words = Vec::new();
    client.install("installer:v1", "/dev/sda", |said| words.push(said.to_owned())).await.unwrap();
    let failed =
        client.install_upgrade("installer:v2", |said| words.push(said.to_owned())).await.unwrap_err();
    assert_eq!(words, ["partitioning", "no space left"]);
    let told = failed.to_string();
    assert!(told.contains("code 1") && told.contains("no space left"), "{told}");

    let day = Duration::from_secs(86_400);
    let access = client.client_configuration(&["os:reader"], day).await.unwrap();
    assert_eq!((access.certificate.as_str(), access.key.as_str()), ("crt", "key"));
    assert_eq!((access.authority.as_str(), access.talosconfig.as_str()), ("ca", "context: mini"));
    let understood = [
        r#"ImageService/Pull {"containerd":{"namespace":"NS_SYSTEM"},"image_ref":"installer:v1"}"#,
        r#"ImageService/List {"containerd":{"driver":"CRI","namespace":"NS_CRI"}}"#,
        concat!(
            r#"LifecycleService/Install {"containerd":{"namespace":"NS_SYSTEM"},"#,
            r#""destination":{"disk":"/dev/sda"},"source":{"image_name":"installer:v1"}}"#,
        ),
        concat!(
            r#"LifecycleService/Upgrade {"containerd":{"namespace":"NS_SYSTEM"},"#,
            r#""source":{"image_name":"installer:v2"}}"#,
        ),
        r#"MachineService/GenerateClientConfiguration {"crt_ttl":"86400s","roles":["os:reader"]}"#,
    ];
    for line in understood {
        assert_eq!(oracle.understood(), line);
    }
}
