//! A small site in a folder of its own: one control plane and one worker on a switch of one bridge.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Made by the site and by nobody else.
pub(crate) const BRIDGE: &str = "br0";
pub(crate) const VERSION: &str = "v1.13.0";

const ICHORD: &str = "\
site: small
network:
  - interface: br0
    subnet: 10.77.0.0/24
    dhcp: authoritative
    pool: 10.77.0.100-10.77.0.199
switches:
  - name: sw1
    bridge: br0
    ports: { Eth1/1: p1 }
machines:
  cp1: { port: sw1/Eth1/1 }
  worker1: { mac: \"02:00:00:00:00:02\" }
images: images
handover:
  - name: namespaces
    manifests: [handover/namespaces.yaml]
";

const TALCONFIG: &str = "\
clusterName: small
talosVersion: v1.13.0
kubernetesVersion: v1.36.0
endpoint: https://10.77.0.11:6443
nodes:
  - hostname: cp1
    ipAddress: 10.77.0.11
    controlPlane: true
    installDisk: /dev/sda
    networkInterfaces:
      - { interface: eth0, addresses: [10.77.0.11/24] }
  - hostname: worker1
    ipAddress: 10.77.0.12
    controlPlane: false
    installDisk: /dev/sda
    networkInterfaces:
      - { interface: eth0, addresses: [10.77.0.12/24] }
";

/// As the image factory names images without anything added.
pub(crate) const SCHEMATIC: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

/// The folder with everything that one daemon works on.
pub(crate) struct Site(TempDir);

impl Site {
    /// Complete: files, images, and the secrets that all sites share, because a key takes seconds to make.
    pub(crate) fn new() -> Self {
        static SECRETS: OnceLock<String> = OnceLock::new();
        let site = Self::without_secrets();
        let secrets = SECRETS.get_or_init(|| Self::of_another_cluster().read("talsecret.yaml"));
        site.write("talsecret.yaml", secrets);
        fs::set_permissions(site.path("talsecret.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
        site
    }

    /// As [`Site::new`], with secrets of its own.
    pub(crate) fn of_another_cluster() -> Self {
        let site = Self::without_secrets();
        let made = site.command(&["secrets", "new"]).arg(site.folder()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        site
    }

    pub(crate) fn without_secrets() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.write("ichord.yaml", ICHORD);
        site.write("talconfig.yaml", TALCONFIG);
        site.write(
            "handover/namespaces.yaml",
            "{ apiVersion: v1, kind: Namespace, metadata: { name: flux-system } }\n",
        );
        site.write_image(VERSION, "kernel");
        site.write_images("images/ipxe", &[("undionly.kpxe", "bios"), ("snponly.efi", "efi")]);
        site
    }

    /// The image of a Talos version, with its digests.
    pub(crate) fn write_image(&self, version: &str, kernel: &str) {
        let files =
            [("kernel-amd64", kernel), ("initramfs-amd64.xz", "initramfs"), ("cmdline-metal-amd64", "quiet")];
        self.write_images(&format!("images/{SCHEMATIC}/{version}"), &files);
    }

    /// The URL path of a version's kernel.
    pub(crate) fn kernel_url(version: &str) -> String {
        format!("/assets/{SCHEMATIC}/{version}/kernel-amd64")
    }

    fn write_images(&self, folder: &str, files: &[(&str, &str)]) {
        let mut sums = String::new();
        for (name, text) in files {
            self.write(&format!("{folder}/{name}"), text);
            sums += &format!("{}  {name}\n", hex::encode(Sha256::digest(text)));
        }
        self.write(&format!("{folder}/sha256sum.txt"), &sums);
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.0.path().join("site")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.path().join("ichord.sock")
    }

    pub(crate) fn notify(&self) -> PathBuf {
        self.0.path().join("notify")
    }

    /// A file of the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.path(&format!("images/{SCHEMATIC}/{VERSION}/kernel-amd64"))
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Replaces what must be there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// `ichord WORDS`, told where the daemon of this site is, and nothing of the tests' own surroundings.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ichord"));
        command.args(words);
        self.surroundings(&mut command);
        command
    }

    /// `ichord serve`.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command(&["serve"]);
        command.arg(self.folder()).arg("--state").arg(self.state());
        command
    }

    /// `ichord serve` as the argument of another program.
    pub(crate) fn serve_by(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).arg(env!("CARGO_BIN_EXE_ichord")).arg("serve").arg(self.folder());
        command.arg("--state").arg(self.state());
        self.surroundings(&mut command);
        command
    }

    fn surroundings(&self, command: &mut Command) {
        for name in ["CREDENTIALS_DIRECTORY", "ICHORD_CRASH_LEDGER", "JOURNAL_STREAM", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.env_remove("STATE_DIRECTORY");
        command.env("ICHORD_SOCKET", self.socket()).env("NOTIFY_SOCKET", self.notify());
    }
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
