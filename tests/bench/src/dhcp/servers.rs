//! Who is measured: ours, and the two that people use. Each with a state of its own that is empty at its start.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::perfdhcp::{self, Load};
use crate::{cable::Cable, ichord::Ichord, packages, process::Process};

/// Where the relay is, at the clients' end.
pub(crate) const RELAY: &str = "10.89.0.2";

/// The servers, by name.
pub(crate) struct Servers {
    ichord: Ichord,
    folder: PathBuf,
}

/// Puts the relay into a network of its own, to which the servers' end has a way.
pub(crate) fn put_relay(cable: &Cable) -> anyhow::Result<()> {
    let ip = |words: &[&str]| -> anyhow::Result<Command> {
        let mut ip = packages::installed("ip", "iproute2")?;
        ip.args(words);
        Ok(ip)
    };
    let mut way = cable.serve(ip(&["route", "add", "10.89.0.0/16", "dev", "srv"])?)?;
    ensure!(way.wait()?.success(), "the servers' end has no way to the relay");
    let mut address = ip(&["address", "add", &format!("{RELAY}/16"), "dev", "cli"])?;
    let status = cable.load(move || Ok(address.status()?))?;
    ensure!(status.success(), "the relay has no address");
    Ok(())
}

pub(crate) const NAMES: [&str; 3] = ["ichord", "kea", "dnsmasq"];

impl Servers {
    pub(crate) fn prepare(folder: &Path) -> anyhow::Result<Self> {
        let ichord = Ichord::build(folder, NETWORKS)?;
        Ok(Self { ichord, folder: folder.to_owned() })
    }

    /// Starts one of [`NAMES`] and waits until it gives addresses.
    pub(crate) fn start(&self, cable: &Cable, name: &str) -> anyhow::Result<Process> {
        let server = match name {
            "ichord" => self.ichord.start(cable)?,
            "kea" => Process::start(cable, self.kea()?)?,
            _ => Process::start(cable, self.dnsmasq()?)?,
        };
        let began = Instant::now();
        loop {
            // which takes more than a second
            let answered = cable.load(|| perfdhcp::run(Load::New, 10, Duration::from_secs(1), RELAY))?;
            if answered.exchanges > 0.0 {
                return Ok(server);
            }
            if began.elapsed() > Duration::from_secs(30) {
                bail!("{name} gives no addresses");
            }
        }
    }

    fn kea(&self) -> anyhow::Result<Command> {
        let folder = self.fresh("kea")?;
        let leases = folder.join("leases.csv");
        let config = KEA.replace("LEASES", &leases.display().to_string());
        fs::write(folder.join("kea.json"), config)?;
        // its libraries come with perfdhcp
        packages::installed("perfdhcp", "kea-admin")?;
        let mut kea = packages::Unpacked::of(&["kea-dhcp4-server"])?.program("usr/sbin/kea-dhcp4")?;
        kea.env("KEA_LOCKFILE_DIR", "none").env("KEA_PIDFILE_DIR", &folder);
        kea.arg("-c").arg(folder.join("kea.json")).stderr(Stdio::null());
        Ok(kea)
    }

    fn dnsmasq(&self) -> anyhow::Result<Command> {
        let folder = self.fresh("dnsmasq")?;
        let mut dnsmasq = packages::installed("dnsmasq", "dnsmasq-base")?;
        dnsmasq.args(["-k", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="]);
        dnsmasq.args(["--log-facility=/dev/null", "--interface=srv", "--bind-interfaces", "--no-ping"]);
        dnsmasq.args(["--dhcp-authoritative", "--dhcp-lease-max=1000000", "--quiet-dhcp"]);
        dnsmasq.arg("--dhcp-range=10.89.1.0,10.89.255.250,255.255.0.0,1h");
        dnsmasq.args(["--dhcp-option=3,10.89.0.254", "--dhcp-option=6,10.88.0.53"]);
        dnsmasq.arg(format!("--dhcp-leasefile={}", folder.join("leases").display()));
        dnsmasq.stderr(Stdio::null());
        Ok(dnsmasq)
    }

    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

/// Our own network, and the one that the relay stands in.
const NETWORKS: &str = "  - interface: srv
    subnet: 10.88.0.0/24
    dhcp: authoritative
    pool: 10.88.0.100-10.88.0.240
    pool-for: any
  - interface: srv
    subnet: 10.89.0.0/16
    dhcp: authoritative
    relayed: true
    pool: 10.89.1.0-10.89.255.250
    pool-for: any
    gateway: 10.89.0.254
    dns: [10.88.0.53]
";

const KEA: &str = r#"{ "Dhcp4": {
  "interfaces-config": { "interfaces": ["srv"], "dhcp-socket-type": "udp" },
  "lease-database": { "type": "memfile", "persist": true, "name": "LEASES", "lfc-interval": 0 },
  "valid-lifetime": 3600,
  "subnet4": [{ "id": 1, "subnet": "10.89.0.0/16", "pools": [{ "pool": "10.89.1.0-10.89.255.250" }],
    "option-data": [{ "name": "routers", "data": "10.89.0.254" }, { "name": "domain-name-servers", "data": "10.88.0.53" }] }],
  "loggers": [{ "name": "kea-dhcp4", "output_options": [{ "output": "/dev/null" }], "severity": "ERROR" }]
} }"#;
