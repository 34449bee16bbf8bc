//! A site of 1,000 nodes: read, checked and rendered into files, as `ichord render` does it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use site::{Files, Site};
use talos_config::secrets::SecretsBundle;

use crate::{
    child,
    measure::{Limit, Measure},
};

pub(crate) const NAME: &str = "render";
pub(crate) const ABOUT: &str = "reads, checks and renders a site of 1,000 nodes into files";

const NODES: usize = 1_000;

/// Of a processor: the work is done by one thread, so on a machine that does nothing else it is the time on the clock, and
/// on one that does it is still the work.
const SECONDS: f64 = 2.0;
const MEGABYTES: f64 = 200.0;

/// Prepares the site and has a child render it.
pub(crate) fn run() -> anyhow::Result<Vec<Measure>> {
    let folder = tempfile::tempdir()?;
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    fs::create_dir(folder.path().join("patches"))?;
    put("ichord.yaml", &ichord())?;
    put("talconfig.yaml", &talconfig())?;
    put("patches/all.yaml", PATCH)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    put("talsecret.yaml", &SecretsBundle::generate(now)?.to_yaml()?)?;
    let taken = child::measure(NAME, folder.path())?;
    let written = fs::read_dir(folder.path().join("out"))?.count();
    ensure!(written == NODES, "{written} configs were written");
    Ok(vec![
        Measure { what: "clock", value: taken.seconds, unit: "s", limit: Limit::None },
        Measure { what: "processor time", value: taken.processor, unit: "s", limit: Limit::Below(SECONDS) },
        Measure { what: "peak memory", value: taken.megabytes, unit: "MB", limit: Limit::Below(MEGABYTES) },
    ])
}

/// What is measured.
pub(crate) fn work(folder: &Path) -> anyhow::Result<()> {
    let (site, _) = match Site::load(folder, &Disk, &BTreeMap::new()) {
        Ok(loaded) => loaded,
        Err(findings) => anyhow::bail!("the site has faults: {findings}"),
    };
    let secrets = SecretsBundle::from_yaml(&fs::read_to_string(site.secrets())?)?;
    let out = folder.join("out");
    fs::create_dir(&out)?;
    for rendered in site.render(&secrets)? {
        fs::write(out.join(&rendered.file), rendered.text.as_bytes())
            .with_context(|| format!("{} cannot be written", rendered.file))?;
    }
    Ok(())
}

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// What a site of this size patches into every node.
const PATCH: &str = "\
machine:
  kubelet:
    nodeIP:
      validSubnets: [10.40.0.0/16]
    extraConfig:
      serializeImagePulls: false
      maxPods: 200
  sysctls:
    net.core.rmem_max: \"7500000\"
    net.core.wmem_max: \"7500000\"
    fs.inotify.max_user_watches: \"1048576\"
  files:
    - op: create
      path: /etc/cri/conf.d/20-customization.part
      permissions: 0o644
      content: |
        [plugins.\"io.containerd.cri.v1.images\"]
          discard_unpacked_layers = false
---
apiVersion: v1alpha1
kind: RegistryMirrorConfig
name: docker.io
endpoints:
  - url: https://mirror.example.org
---
apiVersion: v1alpha1
kind: WatchdogTimerConfig
device: /dev/watchdog0
timeout: 5m
";

/// Five control planes and workers in racks of forty, each with a rack's label and two links bonded.
fn talconfig() -> String {
    let mut text = String::from(
        "clusterName: big\ntalosVersion: v1.13.9\nkubernetesVersion: v1.36.3\nendpoint: https://10.40.0.10:6443\n\
         clusterPodNets: [10.128.0.0/13]\nclusterSvcNets: [10.96.0.0/16]\ncniConfig: { name: none }\n\
         patches:\n  - 'cluster: {proxy: {disabled: true}}'\n  - '@./patches/all.yaml'\nnodes:\n",
    );
    for number in 0..NODES {
        let (name, address) = (name(number), address(number));
        let control_plane = number < 5;
        let vip = if control_plane { "\n        vip: { ip: 10.40.0.10 }" } else { "" };
        let rack = number / 40;
        write!(
            text,
            "  - hostname: {name}\n    ipAddress: {address}\n    controlPlane: {control_plane}\n    \
             installDiskSelector: {{ model: 'SAMSUNG*', type: nvme }}\n    \
             nodeLabels: {{ topology.kubernetes.io/zone: rack{rack} }}\n    \
             networkInterfaces:\n      - interface: bond0\n        mtu: 9000\n        \
             bond: {{ mode: 802.3ad, lacpRate: fast, interfaces: [eno1, eno2] }}\n        \
             addresses: [{address}/16]\n        routes: [{{ network: 0.0.0.0/0, gateway: 10.40.0.1 }}]{vip}\n    \
             patches:\n      - |-\n        machine:\n          nodeAnnotations:\n            rack: r{rack}\n"
        )
        .ok();
    }
    for group in ["controlPlane", "worker"] {
        write!(
            text,
            "{group}:\n  nameservers: [10.40.0.1, 10.40.0.2]\n  kernelModules: [{{ name: br_netfilter }}]\n  \
             schematic: {{ customization: {{ systemExtensions: {{ officialExtensions: [siderolabs/iscsi-tools, siderolabs/lldpd] }} }} }}\n"
        )
        .ok();
    }
    text
}

/// Each on a port of its rack's switch.
fn ichord() -> String {
    let mut text = String::from(
        "site: big\nnetwork:\n  - interface: eno1\n    subnet: 10.40.0.0/16\n    dhcp: authoritative\n    \
         pool: 10.40.250.0-10.40.254.254\n    gateway: 10.40.0.1\nmachines:\n",
    );
    for number in 0..NODES {
        let (rack, port) = (number / 40, number % 40 + 1);
        writeln!(text, "  {}: {{ port: leaf{rack}/Ethernet{port} }}", name(number)).ok();
    }
    text
}

fn name(number: usize) -> String {
    if number < 5 { format!("control{number}") } else { format!("worker{number}") }
}

fn address(number: usize) -> String {
    format!("10.40.{}.{}", 1 + number / 200, 1 + number % 200)
}
