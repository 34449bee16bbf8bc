//! What is on the machine's disks: it survives the power and is the only thing that does.

use super::{etcd::DataDirectory, hardware::Image};

/// The contents of the disks. Serialisable, so that a process can end and come back as a power cycle.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Storage {
    /// Talos on its system disk; `None` is a machine without it
    pub system: Option<SystemDisk>,
    /// the label of somebody's ext4 partition on the first disk, until Talos is installed over it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
}

/// A system disk: META is there, so Talos is installed (talos.md §7.5).
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SystemDisk {
    /// `/dev/nvme0n1`
    pub dev_path: String,
    /// what the boot loader starts
    pub image: Image,
    /// what ran before an upgrade, until the new one has come up: META names it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Image>,
    /// STATE: the machine config
    pub state: Option<String>,
    /// EPHEMERAL, as far as etcd wrote it
    pub etcd: Option<DataDirectory>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // STATE holds secrets
        match &self.system {
            None if self.used.is_some() => f.write_str("somebody's data"),
            None => f.write_str("blank"),
            Some(system) => write!(
                f,
                "Talos {} on {}{}{}",
                system.image.version,
                system.dev_path,
                if system.state.is_some() { ", configured" } else { "" },
                if system.etcd.is_some() { ", etcd data" } else { "" }
            ),
        }
    }
}
