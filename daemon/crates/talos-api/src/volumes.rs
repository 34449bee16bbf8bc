//! What is on a machine's disks, as Talos found it (talos.md §6.6). Works in maintenance mode.

use serde::Deserialize;

use crate::{CallError, Client, Kind, Resource, observe::or_default};

/// Everything found on block devices: tables, partitions, file systems; id `sda1`.
pub const DISCOVERED_VOLUMES: Kind = Kind { namespace: "runtime", name: "DiscoveredVolumes.block.talos.dev" };

/// Something that was found on a block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// `disk` or `partition`
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// `/dev/sda1`
    #[serde(deserialize_with = "or_default")]
    pub dev_path: String,
    /// the disk of a partition: `sda`
    #[serde(deserialize_with = "or_default")]
    pub parent: String,
    /// what it is: `gpt`, `ext4`, `xfs` …; empty on a blank disk
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// of the partition table: `EFI`, `META`, `STATE` …
    #[serde(deserialize_with = "or_default")]
    pub partition_label: String,
}

impl Volume {
    /// From a resource of [`DISCOVERED_VOLUMES`].
    pub fn from_resource(resource: &Resource) -> Result<Self, String> {
        resource.read()
    }
}

impl Client {
    /// What was found on every block device.
    pub async fn volumes(&self) -> Result<Vec<Volume>, CallError> {
        Ok(self.specs::<Volume>(DISCOVERED_VOLUMES).await?.into_iter().map(|(_, volume)| volume).collect())
    }
}
