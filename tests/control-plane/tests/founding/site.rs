//! A site as a person keeps it, and the `ichord` program beside this test that is asked about it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const TALCONFIG: &str = "\
clusterName: founding
talosVersion: v1.13.9
kubernetesVersion: v1.36.3
endpoint: https://10.77.0.10:6443
allowSchedulingOnControlPlanes: true
clusterPodNets: [10.244.0.0/16, 'fd00:10:244::/56']
clusterSvcNets: [10.96.0.0/16, 'fd00:96::/112']
cniConfig: {name: none}
patches:
  - |-
    cluster:
      proxy:
        disabled: true
nodes:
";

const ICHORD: &str = "\
site: founding
network:
  - interface: br0
    subnet: 10.77.0.0/24
machines:
";

/// The nodes, their addresses, and whether they are control planes.
pub(crate) const NODES: [(&str, &str, bool); 4] = [
    ("cp1", "10.77.0.11", true),
    ("cp2", "10.77.0.12", true),
    ("cp3", "10.77.0.13", true),
    ("worker1", "10.77.0.21", false),
];

/// What a command printed and how it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) text: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            text: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// What it printed, where all went well.
    pub(crate) fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.text);
        self.out
    }
}

pub(crate) struct Site {
    folder: TempDir,
    program: PathBuf,
    helm: PathBuf,
}

/// The built `ichord`, which lies beside the folder of the tests.
pub(crate) fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("ichord");
    assert!(program.exists(), "{} is not built: cargo build --workspace --bins", program.display());
    program
}

impl Site {
    /// With secrets and without a step.
    pub(crate) fn new(helm: PathBuf) -> Site {
        let site = Site { folder: TempDir::new().unwrap(), program: program(), helm };
        let mut talconfig = TALCONFIG.to_owned();
        let mut ichord = ICHORD.to_owned();
        for (index, (name, address, control_plane)) in NODES.into_iter().enumerate() {
            talconfig += &format!(
                "  - {{hostname: {name}, ipAddress: {address}, controlPlane: {control_plane}, installDisk: /dev/sda, \
                 networkInterfaces: [{{interface: eth0, addresses: [{address}/24]}}]}}\n"
            );
            ichord += &format!("  {name}: {{ mac: '02:00:00:00:00:{index:02}' }}\n");
        }
        site.write("talconfig.yaml", &talconfig);
        site.write("ichord.yaml", &ichord);
        site.run(&["secrets", "new"], &[]).well();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Writes the hand-over.
    pub(crate) fn hand_over(&self, steps: &Value) {
        let head = self.read("ichord.yaml");
        let head = head.split("handover:\n").next().unwrap();
        self.write("ichord.yaml", &format!("{head}handover:\n  {steps}\n"));
    }

    /// `ichord WORDS SITE MORE`, with Helm on its path.
    pub(crate) fn command(&self, words: &[&str], more: &[&str]) -> Command {
        let bin = self.path("bin");
        fs::create_dir_all(&bin).unwrap();
        let helm = bin.join("helm");
        if !helm.exists() {
            std::os::unix::fs::symlink(&self.helm, &helm).unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(&self.program);
        command.args(words).arg(self.folder.path()).args(more);
        command.env("PATH", format!("{}:{path}", bin.display())).env("HOME", self.folder.path());
        command
    }

    pub(crate) fn run(&self, words: &[&str], more: &[&str]) -> Said {
        self.command(words, more).output().unwrap().into()
    }

    /// The same beside everything else that goes on.
    pub(crate) async fn ask(&self, words: &[&str], more: &[&str]) -> Said {
        let mut command = tokio::process::Command::from(self.command(words, more));
        command.kill_on_drop(true).output().await.unwrap().into()
    }
}
