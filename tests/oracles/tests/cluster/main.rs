//! The real `talosctl` with our talosconfig against simulated machines on a network of their own: everything that a
//! person does with it, from a blank machine to a healthy cluster and back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod etcd;
#[path = "../../../machine/tests/wire/provisioner.rs"]
#[allow(dead_code)] // not every test asks everything
mod provisioner;
#[path = "../../../machine/tests/wire/rack.rs"]
mod rack;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use hardware::Firmware;
use net::namespace::{self, Namespace};
use oracles::Tool;
use provisioner::Provisioner;
use rack::{PATIENCE, Powered, SCHEMATIC, VIRTUAL, config, place, until};
use talos_config::generate::MachineType;
use talos_config::secrets::SecretsBundle;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

const ONE: &str = "10.77.0.101";
const WORKER: &str = "10.77.0.102";
const TWO: &str = "10.77.0.103";

/// The tool with our talosconfig.
struct Talosctl {
    program: PathBuf,
    folder: TempDir,
}

impl Talosctl {
    fn new(program: PathBuf, secrets: &SecretsBundle, now: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoints = [ONE.parse().unwrap()];
        let text = secrets.talosconfig("lab", &endpoints, now).unwrap();
        std::fs::write(folder.path().join("talosconfig"), text.as_str()).unwrap();
        Self { program, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).current_dir(self.folder.path()).kill_on_drop(true);
        // nobody's own files
        command
            .env("HOME", self.folder.path())
            .env("TALOSCONFIG", self.file("talosconfig"))
            .env_remove("KUBECONFIG");
        command
    }

    /// What it says, whether it worked or not.
    async fn run(&self, line: &str) -> Result<String, String> {
        let mut command = self.command(line);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        let output = ended.unwrap_or_else(|_| panic!("talosctl {line}: no end")).unwrap();
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// What it says; it works at once.
    async fn does(&self, line: &str) -> String {
        self.run(line).await.unwrap_or_else(|said| panic!("talosctl {line}: {said}"))
    }

    /// Says something like this, sooner or later.
    async fn says(&self, line: &str, parts: &[&str]) -> String {
        let mut last = String::new();
        let good = async {
            loop {
                let said = self.run(line).await;
                if let Ok(said) = &said
                    && parts.iter().all(|part| said.contains(part))
                {
                    return said.clone();
                }
                last = format!("{said:?}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, good).await;
        ended.unwrap_or_else(|_| panic!("talosctl {line}: never {parts:?}, at last {last}"))
    }

    /// Runs until it has said a line with all of these.
    async fn tells(&self, line: &str, parts: &[&str]) -> String {
        let mut child = self.command(line).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = Vec::new();
        let good = async {
            while let Some(line) = said.next_line().await.unwrap() {
                lines.push(line);
                if parts.iter().all(|part| lines.last().is_some_and(|line| line.contains(part))) {
                    return true;
                }
            }
            false
        };
        let good = tokio::time::timeout(PATIENCE, good).await;
        assert_eq!(good, Ok(true), "talosctl {line}: never {parts:?} in a line of {lines:#?}");
        lines.join("\n")
    }

    /// What it says when it is refused.
    async fn refused(&self, line: &str) -> String {
        match self.run(line).await {
            Ok(said) => panic!("talosctl {line} worked: {said}"),
            Err(said) => said,
        }
    }
}

/// The fields of the table's line about something.
fn row<'a>(table: &'a str, about: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.contains(about));
    line.unwrap_or_else(|| panic!("nothing about {about}: {table}")).split_whitespace().collect()
}

async fn story(program: PathBuf, folder: &Path) {
    let places = [Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap()];
    let ports = place(&places).await;
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let _provisioner = Provisioner::start("br0", &ports, SCHEMATIC).await;
    let machines: Vec<Powered> = (1_u8..)
        .zip(&places)
        .map(|(number, place)| Powered::on(place, number, Firmware::UefiX64, folder.join(number.to_string())))
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let secrets = SecretsBundle::generate(now).unwrap();
    let talosctl = Talosctl::new(program, &secrets, now);
    for (file, kind, hostname, link) in [
        ("one.yaml", MachineType::ControlPlane, "mini01", "eth1"),
        ("worker.yaml", MachineType::Worker, "worker1", "eth2"),
        ("two.yaml", MachineType::ControlPlane, "mini02", "eth3"),
    ] {
        std::fs::write(talosctl.file(file), config(kind, hostname, link, &secrets)).unwrap();
    }

    // a blank machine: everybody may look and give it a config
    talosctl.says(&format!("get disks --insecure -n {ONE}"), &["nvme0n1"]).await;
    assert!(talosctl.does(&format!("get links --insecure -n {ONE}")).await.contains("eth1"));
    assert!(talosctl.does(&format!("version --insecure -n {ONE}")).await.contains("v1.13.9"));
    let dry = talosctl.does(&format!("apply-config --insecure -n {ONE} --file one.yaml --dry-run")).await;
    assert!(dry.contains("Dry run"), "{dry}");
    talosctl.does(&format!("apply-config --insecure -n {ONE} --file one.yaml")).await;

    // configured: only our certificate may
    let said = talosctl.says(&format!("version -n {ONE}"), &["Server:", "v1.13.9", "RBAC"]).await;
    assert_eq!(row(&said, "NODE:"), ["NODE:", ONE]);
    talosctl.refused(&format!("apply-config --insecure -n {ONE} --file one.yaml")).await;
    talosctl.says(&format!("services -n {ONE}"), &["etcd", "Preparing"]).await;

    // bootstrap, once; watches see what comes of it
    let (kinds, events) = (format!("get services --watch -n {ONE}"), format!("events -n {ONE}"));
    let watched = async {
        tokio::join!(
            talosctl.tells(&kinds, &[ONE, "etcd", "true"]),
            talosctl.tells(&events, &["etcd", "RUNNING"]),
        )
    };
    let bootstrapped = async {
        until("bootstrap", async || talosctl.run(&format!("bootstrap -n {ONE}")).await.ok()).await;
    };
    let ((kinds, _), ()) = tokio::join!(watched, bootstrapped);
    // what is there already comes first
    assert!(kinds.contains("machined") && kinds.contains("+"), "{kinds}");
    talosctl.says(&format!("service etcd -n {ONE}"), &["Running", "Health check successful"]).await;
    let again = talosctl.refused(&format!("bootstrap -n {ONE}")).await;
    assert!(again.contains("AlreadyExists") && again.contains("etcd data directory is not empty"), "{again}");

    // the others come in, and are reached through the first
    for (address, file) in [(WORKER, "worker.yaml"), (TWO, "two.yaml")] {
        let line = format!("apply-config --insecure -n {address} --file {file}");
        until(file, async || talosctl.run(&line).await.ok()).await;
        talosctl.says(&format!("version -n {address}"), &["Server:", "v1.13.9"]).await;
    }
    let all = talosctl.does(&format!("version -n {ONE},{WORKER},{TWO}")).await;
    assert!([ONE, WORKER, TWO].iter().all(|node| all.contains(&format!("NODE:        {node}"))), "{all}");
    let services = talosctl.says(&format!("services -n {ONE}"), &["etcd", "kubelet", "ext-lldpd"]).await;
    assert_eq!(row(&services, "etcd")[..4], [ONE, "etcd", "Running", "OK"]);

    // a worker passes nothing on, but answers for itself
    let refused = talosctl.refused(&format!("version -e {WORKER} -n {ONE}")).await;
    assert!(refused.contains("no request forwarding"), "{refused}");
    talosctl.does(&format!("version -e {WORKER} -n {WORKER}")).await;
    // a node that is not there is told inside the answer
    let missing = talosctl.run(&format!("version -n {ONE},10.77.0.99")).await.unwrap_or_else(|said| said);
    assert!(missing.contains("v1.13.9") && missing.contains("10.77.0.99"), "{missing}");

    // resources as tables, by the names people use; a worker's come through the control plane
    let members = talosctl.says(&format!("get members -n {ONE}"), &["mini01", "mini02"]).await;
    assert!(row(&members, "mini01").contains(&"controlplane"), "{members}");
    let disks = talosctl.does(&format!("get disks -n {WORKER}")).await;
    assert!(row(&disks, "nvme0n1").starts_with(&[WORKER, "runtime", "Disk"]), "{disks}");
    let links = talosctl.does(&format!("get links -n {WORKER},{TWO}")).await;
    assert!(row(&links, "eth2").starts_with(&[WORKER, "network", "LinkStatus"]), "{links}");
    assert!(row(&links, "eth3").contains(&"52:54:00:77:00:03"), "{links}");
    let services = talosctl.says(&format!("get services -n {TWO}"), &["kubelet"]).await;
    assert!(row(&services, "kubelet").contains(&"true"), "{services}");
    talosctl.says(&format!("get machinestatus -n {ONE} -o yaml"), &["stage: running"]).await;
    let config = talosctl.does(&format!("get machineconfig v1alpha1 -n {ONE} -o yaml")).await;
    assert!(config.contains("mini01"), "our certificate is an administrator's");
    let unknown = talosctl.refused(&format!("get nonsense -n {ONE}")).await;
    assert!(unknown.contains("is not registered"), "{unknown}");

    // etcd
    let members = format!("etcd members -n {ONE}");
    until("two voters", async || {
        let said = talosctl.run(&members).await.ok()?;
        (said.contains("mini02") && !said.contains("true")).then_some(())
    })
    .await;
    let status = talosctl.does(&format!("etcd status -n {ONE},{TWO}")).await;
    assert!(status.contains(ONE) && status.contains(TWO) && status.contains("3.6.4"), "{status}");
    let refused = talosctl.refused(&format!("etcd status -n {WORKER}")).await;
    assert!(refused.contains("only available on control plane nodes"), "{refused}");

    // the kubeconfig
    talosctl.does(&format!("kubeconfig kubeconfig -n {ONE} --merge=false")).await;
    let kubeconfig = std::fs::read_to_string(talosctl.file("kubeconfig")).unwrap();
    assert!(kubeconfig.contains(&format!("https://{VIRTUAL}:6443")) && kubeconfig.contains("admin@lab"));

    // health, to its end: with the nodes named, and with those that the machine knows
    let line = format!(
        "health -n {ONE} --control-plane-nodes {ONE},{TWO} --worker-nodes {WORKER} --wait-timeout 50s"
    );
    for line in [line, format!("health -n {ONE} --wait-timeout 50s")] {
        let said = talosctl.does(&line).await;
        assert!(said.starts_with("discovered nodes:"), "{said}");
        assert!(said.contains("waiting for etcd members to be control plane nodes: OK"), "{said}");
        assert!(said.trim_end().ends_with("waiting for all k8s nodes to report schedulable: OK"), "{said}");
    }
    // the first of the checks as talosctl makes them itself; then it asks for what this machine does not have
    let own = format!(
        "health --server=false --control-plane-nodes {ONE},{TWO} --worker-nodes {WORKER} --wait-timeout 5s"
    );
    let own = talosctl.refused(&own).await;
    for check in [
        "etcd to be healthy",
        "etcd members to be consistent across nodes",
        "etcd members to be control plane nodes",
        "apid to be ready",
    ] {
        assert!(own.contains(&format!("waiting for {check}: OK")), "{own}");
    }
    let early =
        format!("health -n {ONE} --control-plane-nodes {ONE} --worker-nodes {WORKER} --wait-timeout 1s");
    let early = talosctl.refused(&early).await;
    assert!(early.contains("are not the control planes") && early.contains("deadline"), "{early}");

    // another config for a running machine
    let applied = talosctl.does(&format!("apply-config -n {ONE} --file one.yaml --mode no-reboot")).await;
    assert!(applied.contains("Applied configuration without a reboot"), "{applied}");
    let wrong = talosctl.file("wrong.yaml");
    std::fs::write(wrong, "version: v1alpha1\nmachine: {type: nonsense}\n").unwrap();
    talosctl.refused(&format!("apply-config -n {ONE} --file wrong.yaml")).await;

    // and back: a control plane leaves etcd, a worker is blank again
    // waits until the machine is there again, blank
    let reset = talosctl.does(&format!("reset -n {TWO} --reboot")).await;
    assert!(reset.contains("post check passed"), "{reset}");
    until("one member", async || {
        let said = talosctl.run(&members).await.ok()?;
        (said.contains("mini01") && !said.contains("mini02")).then_some(())
    })
    .await;
    talosctl.says(&format!("get disks --insecure -n {TWO}"), &["nvme0n1"]).await;
    // waits until the machine tells that it goes down
    let reset = talosctl.does(&format!("reset -n {WORKER} --graceful=false")).await;
    assert!(reset.contains("events check condition met"), "{reset}");
    until("an empty disk", async || {
        let disk = std::fs::read(folder.join("2")).ok()?;
        let disk: serde_json::Value = serde_json::from_slice(&disk).ok()?;
        disk.pointer("/storage/system")?.is_null().then_some(())
    })
    .await;
    for machine in machines {
        machine.off();
    }
}

#[test]
fn a_cluster_is_made_looked_at_and_reset_with_the_real_talosctl() {
    let Some(program) = Tool::Talosctl.for_test() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    namespace::test(move || async move { story(program, &path).await }).unwrap();
}
