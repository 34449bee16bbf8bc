//! The real daemon for a measurement: built as this program was, on a site that serves everybody.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    cable::Cable,
    process::{Process, pause},
};

/// Longer than the start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The built daemon and a folder for its site and state.
pub(crate) struct Ichord {
    program: PathBuf,
    folder: PathBuf,
}

impl Ichord {
    /// Builds the daemon beside this program, and writes a site with these networks.
    pub(crate) fn build(folder: &Path, networks: &str) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("this program's own path is not known")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--package", "ichord"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let folder_of_source = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let status = build.current_dir(folder_of_source).status().context("cargo does not start")?;
        ensure!(status.success(), "the daemon does not build");
        let program = own.with_file_name("ichord");
        ensure!(program.is_file(), "{} was not built", program.display());
        let this = Self { program, folder: folder.to_owned() };
        this.write_site(networks).context("the site cannot be written")?;
        let mut secrets = Command::new(&this.program);
        secrets.args(["secrets", "new"]).arg(folder.join("site")).stdout(Stdio::null());
        ensure!(secrets.status()?.success(), "there are no secrets");
        Ok(this)
    }

    fn write_site(&self, networks: &str) -> anyhow::Result<()> {
        const SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        let site = self.folder.join("site");
        fs::create_dir_all(&site)?;
        let ichord = format!(
            "site: bench\nnetwork:\n{networks}machines:\n  one: {{ mac: \"02:00:00:00:00:01\" }}\nimages: images\n"
        );
        fs::write(site.join("ichord.yaml"), ichord)?;
        fs::write(site.join("talconfig.yaml"), TALCONFIG)?;
        let images = site.join("images").join(SCHEMATIC).join("v1.13.0");
        let ipxe = site.join("images/ipxe");
        put(
            &images,
            &[
                ("kernel-amd64", "kernel"),
                ("initramfs-amd64.xz", "initramfs"),
                ("cmdline-metal-amd64", "quiet"),
            ],
        )?;
        put(&ipxe, &[("snponly.efi", "iPXE")])
    }

    /// Starts it with an empty state, or goes on with the last one, and waits until it answers.
    pub(crate) fn start(&self, cable: &Cable) -> anyhow::Result<Process> {
        let (state, socket) = (self.folder.join("state"), self.folder.join("socket"));
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        let mut serve = Command::new(&self.program);
        serve
            .arg("serve")
            .arg(self.folder.join("site"))
            .arg("--state")
            .arg(&state)
            .arg("--socket")
            .arg(&socket);
        let log = fs::File::create(self.folder.join("ichord.log"))?;
        serve.stderr(log);
        let server = Process::start(cable, serve)?;
        let began = Instant::now();
        loop {
            let mut status = Command::new(&self.program);
            status.arg("status").arg("--socket").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
            if status.status()?.success() {
                return Ok(server);
            }
            if began.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.join("ichord.log")).unwrap_or_default();
                bail!("the daemon does not start: {log}");
            }
            pause(Duration::from_millis(100));
        }
    }
}

fn put(folder: &Path, files: &[(&str, &str)]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, content) in files {
        fs::write(folder.join(name), content)?;
    }
    let mut sums = Command::new("sha256sum");
    sums.args(files.iter().map(|(name, _)| name)).current_dir(folder);
    fs::write(folder.join("sha256sum.txt"), sums.output().context("sha256sum does not start")?.stdout)?;
    Ok(())
}

const TALCONFIG: &str = "\
clusterName: bench
talosVersion: v1.13.0
kubernetesVersion: v1.36.0
endpoint: https://10.88.0.11:6443
allowSchedulingOnControlPlanes: true
nodes:
  - hostname: one
    ipAddress: 10.88.0.11
    controlPlane: true
    installDisk: /dev/sda
    networkInterfaces:
      - { interface: eth0, addresses: [10.88.0.11/24] }
";
