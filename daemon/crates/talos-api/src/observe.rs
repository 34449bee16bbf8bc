//! What a machine tells about itself through its resources (talos.md §6.6): how far it is, what it is made of,
//! where it can be reached. Works in maintenance mode. Fields that are missing, empty or new never fail it.

use std::{net::IpAddr, time::UNIX_EPOCH};

use hardware::{Disk, Inventory, Link, MacAddr};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tonic::Code;

use crate::{CallError, Client, Kind, Resource};

/// How far a machine is: [`MachineStatus`], id `machine`.
pub const MACHINE_STATUSES: Kind = Kind { namespace: "runtime", name: "MachineStatuses.runtime.talos.dev" };
/// Changes at every boot; id `boot-id`. Not in Talos 1.13; see [`Client::boot_id`].
pub const BOOT_IDS: Kind = Kind { namespace: "runtime", name: "BootIDs.runtime.talos.dev" };
/// SMBIOS; id `systeminformation`.
pub const SYSTEM_INFORMATIONS: Kind =
    Kind { namespace: "hardware", name: "SystemInformations.hardware.talos.dev" };
/// Every block device; id `sda`.
pub const DISKS: Kind = Kind { namespace: "runtime", name: "Disks.block.talos.dev" };
/// Every network link; id `enp1s0`.
pub const LINK_STATUSES: Kind = Kind { namespace: "network", name: "LinkStatuses.net.talos.dev" };
/// The machine's name; id `hostname`.
pub const HOSTNAME_STATUSES: Kind = Kind { namespace: "network", name: "HostnameStatuses.net.talos.dev" };
/// Sets of addresses; id `current`: those on links that are up now.
pub const NODE_ADDRESSES: Kind = Kind { namespace: "network", name: "NodeAddresses.net.talos.dev" };

/// Where Talos is installed; id `system-disk`.
pub const SYSTEM_DISKS: Kind = Kind { namespace: "runtime", name: "SystemDisks.block.talos.dev" };
/// What the machine complains of itself.
pub const DIAGNOSTICS: Kind = Kind { namespace: "runtime", name: "Diagnostics.runtime.talos.dev" };

/// Where a machine is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// not told yet, or a word that we do not know
    Unknown,
    /// coming up
    Booting,
    /// writing itself to its disk
    Installing,
    /// waiting for a config
    Maintenance,
    /// up
    Running,
    /// going down to come up
    Rebooting,
    /// going down
    ShuttingDown,
    /// erasing itself
    Resetting,
    /// writing another version of itself
    Upgrading,
}

impl Stage {
    fn from_text(text: &str) -> Self {
        match text {
            "booting" => Self::Booting,
            "installing" => Self::Installing,
            "maintenance" => Self::Maintenance,
            "running" => Self::Running,
            "rebooting" => Self::Rebooting,
            "shutting down" => Self::ShuttingDown,
            "resetting" => Self::Resetting,
            "upgrading" => Self::Upgrading,
            _ => Self::Unknown,
        }
    }
}

/// How far a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineStatus {
    /// where it is
    pub stage: Stage,
    /// Nothing is unmet. Stays false without a CNI, so it says nothing about provisioning.
    pub ready: bool,
    /// what it waits for
    pub unmet: Vec<Unmet>,
}

/// Something a machine waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unmet {
    /// `time`, `network`, `services`, `staticPods`, `nodeReady`
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// for people
    #[serde(default, deserialize_with = "or_default")]
    pub reason: String,
}

impl MachineStatus {
    /// From a resource of [`MACHINE_STATUSES`], for those who watch it.
    pub fn from_resource(resource: &Resource) -> Result<Self, String> {
        let spec: StatusSpec = resource.read()?;
        Ok(Self {
            stage: Stage::from_text(&spec.stage),
            ready: spec.status.ready,
            unmet: spec.status.unmet_conditions,
        })
    }
}

/// What an inventory is made of, in this order.
pub const INVENTORY: [Kind; 3] = [SYSTEM_INFORMATIONS, LINK_STATUSES, DISKS];

/// What a machine is made of, from its resources of the kinds of [`INVENTORY`].
pub fn inventory(system: &[Resource], links: &[Resource], disks: &[Resource]) -> Result<Inventory, String> {
    let system = system.iter().find(|resource| resource.id == "systeminformation");
    let system: SystemSpec = system.map(Resource::read).transpose()?.unwrap_or_default();
    let link = |resource: &Resource| Ok(resource.read::<LinkSpec>()?.link(resource.id.clone()));
    let links: Vec<Option<Link>> = links.iter().map(link).collect::<Result<_, String>>()?;
    let disk = |resource: &Resource| Ok(Disk::from(resource.read::<DiskSpec>()?));
    Ok(Inventory {
        uuid: system.uuid.parse().ok(),
        serial: Some(system.serialnumber.trim().to_owned()).filter(|serial| !serial.is_empty()),
        links: links.into_iter().flatten().collect(),
        disks: disks.iter().map(disk).collect::<Result<_, String>>()?,
    })
}

/// The addresses on the links that are up now, from the resources of [`NODE_ADDRESSES`].
pub fn addresses(sets: &[Resource]) -> Result<Vec<IpAddr>, String> {
    let current = sets.iter().find(|resource| resource.id == "current");
    Ok(current.map(Resource::read::<AddressSpec>).transpose()?.unwrap_or_default().plain())
}

/// How far a machine is, from the resources of [`MACHINE_STATUSES`]; stage `Unknown` when it does not say yet.
pub fn machine_status(resources: &[Resource]) -> Result<MachineStatus, String> {
    match resources.iter().find(|resource| resource.id == "machine") {
        Some(resource) => MachineStatus::from_resource(resource),
        None => Ok(MachineStatus { stage: Stage::Unknown, ready: false, unmet: Vec::new() }),
    }
}

impl Client {
    /// How far the machine is; stage `Unknown` when it does not say yet.
    pub async fn machine_status(&self) -> Result<MachineStatus, CallError> {
        match self.get(MACHINE_STATUSES, "machine").await? {
            Some(resource) => MachineStatus::from_resource(&resource)
                .map_err(|reason| self.unusable("MachineStatus", reason)),
            None => Ok(MachineStatus { stage: Stage::Unknown, ready: false, unmet: Vec::new() }),
        }
    }

    /// Another value means another boot; `None` when the machine does not tell yet.
    ///
    /// Talos 1.13 and older have no boot id to ask for. There the birth of a resource stands in for it: the machine
    /// keeps its resources in memory only and makes this one once, so that no two boots share the nanosecond.
    pub async fn boot_id(&self) -> Result<Option<String>, CallError> {
        match self.spec::<BootIdSpec>(BOOT_IDS, "boot-id").await {
            // The kind is not known. A kind that is known and empty gets no stand-in: the id is about to come, and a
            // change from one to the other would look like a boot.
            Err(error) if error.code() == Code::PermissionDenied => {
                let status = self.get(MACHINE_STATUSES, "machine").await?;
                let born = status.and_then(|status| status.created?.duration_since(UNIX_EPOCH).ok());
                Ok(born.map(|born| format!("born-{}.{:09}", born.as_secs(), born.subsec_nanos())))
            }
            spec => Ok(Some(spec?.boot_id).filter(|id| !id.is_empty())),
        }
    }

    /// The name the machine has given itself.
    pub async fn hostname(&self) -> Result<Option<String>, CallError> {
        let spec: HostnameSpec = self.spec(HOSTNAME_STATUSES, "hostname").await?;
        Ok(Some(spec.hostname).filter(|name| !name.is_empty()))
    }

    /// The addresses on the links that are up now.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, CallError> {
        let spec: AddressSpec = self.spec(NODE_ADDRESSES, "current").await?;
        Ok(spec.plain())
    }

    /// The bytes of the disk that Talos is installed on; `None` when it is on none.
    pub async fn system_disk_size(&self) -> Result<Option<u64>, CallError> {
        let system: SystemDiskSpec = self.spec(SYSTEM_DISKS, "system-disk").await?;
        let disks = self.specs::<DiskSpec>(DISKS).await?;
        let is_it = |(id, disk): &(String, DiskSpec)| {
            *id == system.disk_id || !system.dev_path.is_empty() && disk.dev_path == system.dev_path
        };
        Ok(disks.iter().find(|disk| is_it(disk)).map(|(_, disk)| disk.size))
    }

    /// What the machine complains of itself, in its words. Nothing on a Talos that does not.
    pub async fn diagnostics(&self) -> Result<Vec<String>, CallError> {
        match self.specs::<DiagnosticSpec>(DIAGNOSTICS).await {
            Ok(all) => Ok(all.into_iter().map(|(id, spec)| spec.told(&id)).collect()),
            // the type is not known there
            Err(error) if error.code() == Code::PermissionDenied => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What the machine is made of. Three reads, not one: a link that comes up in between is in or not.
    pub async fn inventory(&self) -> Result<Inventory, CallError> {
        let mut parts = Vec::new();
        for kind in INVENTORY {
            parts.push(self.list(kind).await?);
        }
        let [system, links, disks] = parts.as_slice() else { return Ok(Inventory::default()) };
        inventory(system, links, disks).map_err(|reason| self.unusable("Inventory", reason))
    }

    /// A resource's value; the empty one when there is none.
    async fn spec<T: DeserializeOwned + Default>(&self, kind: Kind, id: &str) -> Result<T, CallError> {
        match self.get(kind, id).await? {
            Some(resource) => resource.read().map_err(|reason| self.unusable(kind.name, reason)),
            None => Ok(T::default()),
        }
    }

    pub(crate) async fn specs<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<(String, T)>, CallError> {
        let read = |resource: Resource| {
            let spec = resource.read().map_err(|reason| self.unusable(kind.name, reason))?;
            Ok((resource.id, spec))
        };
        self.list(kind).await?.into_iter().map(read).collect()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StatusSpec {
    #[serde(deserialize_with = "or_default")]
    stage: String,
    #[serde(deserialize_with = "or_default")]
    status: ReadinessSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ReadinessSpec {
    #[serde(deserialize_with = "or_default")]
    ready: bool,
    #[serde(deserialize_with = "or_default")]
    unmet_conditions: Vec<Unmet>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BootIdSpec {
    #[serde(rename = "bootID", deserialize_with = "or_default")]
    boot_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HostnameSpec {
    #[serde(deserialize_with = "or_default")]
    hostname: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddressSpec {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<String>,
}

impl AddressSpec {
    fn plain(&self) -> Vec<IpAddr> {
        let plain = |text: &String| text.split('/').next().and_then(|address| address.parse().ok());
        self.addresses.iter().filter_map(plain).collect()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SystemDiskSpec {
    #[serde(rename = "diskID", deserialize_with = "or_default")]
    disk_id: String,
    #[serde(rename = "devPath", deserialize_with = "or_default")]
    dev_path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DiagnosticSpec {
    #[serde(deserialize_with = "or_default")]
    message: String,
    #[serde(deserialize_with = "or_default")]
    details: Vec<String>,
}

impl DiagnosticSpec {
    fn told(self, id: &str) -> String {
        let message = if self.message.is_empty() { id.to_owned() } else { self.message };
        if self.details.is_empty() { message } else { format!("{message} ({})", self.details.join(", ")) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SystemSpec {
    #[serde(deserialize_with = "or_default")]
    uuid: String,
    #[serde(deserialize_with = "or_default")]
    serialnumber: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LinkSpec {
    #[serde(rename = "type", deserialize_with = "or_default")]
    link_type: String,
    #[serde(deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    hardware_addr: String,
    #[serde(deserialize_with = "or_default")]
    permanent_addr: String,
    #[serde(deserialize_with = "or_default")]
    link_state: bool,
}

impl LinkSpec {
    /// `None` for what is not a network card: loopback, bonds, bridges and whatever else software makes.
    fn link(self, name: String) -> Option<Link> {
        let physical = self.kind.is_empty() && matches!(self.link_type.as_str(), "ether" | "");
        // A bond gives its members one common address, so the card's own is asked first.
        let address = |text: &String| text.parse::<MacAddr>().ok().filter(|mac| *mac != MacAddr([0; 6]));
        let mac = [&self.permanent_addr, &self.hardware_addr].into_iter().find_map(address)?;
        physical.then_some(Link { name, mac, up: self.link_state })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DiskSpec {
    #[serde(deserialize_with = "or_default")]
    dev_path: String,
    #[serde(deserialize_with = "or_default")]
    size: u64,
    #[serde(deserialize_with = "or_default")]
    model: String,
    #[serde(deserialize_with = "or_default")]
    serial: String,
    #[serde(deserialize_with = "or_default")]
    modalias: String,
    #[serde(deserialize_with = "or_default")]
    uuid: String,
    #[serde(deserialize_with = "or_default")]
    wwid: String,
    #[serde(deserialize_with = "or_default")]
    bus_path: String,
    #[serde(deserialize_with = "or_default")]
    transport: String,
    #[serde(deserialize_with = "or_default")]
    rotational: bool,
    #[serde(deserialize_with = "or_default")]
    readonly: bool,
    #[serde(deserialize_with = "or_default")]
    cdrom: bool,
    #[serde(deserialize_with = "or_default")]
    symlinks: Vec<String>,
}

impl From<DiskSpec> for Disk {
    fn from(spec: DiskSpec) -> Self {
        Self {
            dev_path: spec.dev_path,
            size: spec.size,
            model: spec.model,
            serial: spec.serial,
            modalias: spec.modalias,
            uuid: spec.uuid,
            wwid: spec.wwid,
            bus_path: spec.bus_path,
            transport: spec.transport,
            rotational: spec.rotational,
            readonly: spec.readonly,
            cdrom: spec.cdrom,
            symlinks: spec.symlinks,
        }
    }
}

/// Go writes an empty slice or pointer as `null`.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(yaml: &str) -> Resource {
        Resource {
            id: "eth0".to_owned(),
            version: "1".to_owned(),
            created: None,
            tearing_down: false,
            labels: Default::default(),
            yaml: yaml.to_owned(),
        }
    }

    fn link(yaml: &str) -> Option<Link> {
        resource(yaml).read::<LinkSpec>().unwrap().link("eth0".to_owned())
    }

    #[test]
    fn every_stage_has_its_word() {
        let words = [
            ("booting", Stage::Booting),
            ("installing", Stage::Installing),
            ("maintenance", Stage::Maintenance),
            ("running", Stage::Running),
            ("rebooting", Stage::Rebooting),
            ("shutting down", Stage::ShuttingDown),
            ("resetting", Stage::Resetting),
            ("upgrading", Stage::Upgrading),
            ("unknown", Stage::Unknown),
            ("dreaming", Stage::Unknown),
        ];
        for (word, stage) in words {
            let status = MachineStatus::from_resource(&resource(&format!("stage: {word}\n"))).unwrap();
            assert_eq!(status, MachineStatus { stage, ready: false, unmet: vec![] });
        }
    }

    #[test]
    fn nothing_unmet_may_be_null() {
        let yaml = "stage: running\nstatus:\n    ready: true\n    unmetConditions: null\n    news: 1\n";
        let status = MachineStatus::from_resource(&resource(yaml)).unwrap();
        assert_eq!(status, MachineStatus { stage: Stage::Running, ready: true, unmet: vec![] });
    }

    #[test]
    fn the_cards_own_address_comes_first() {
        let card = "type: ether\nhardwareAddr: 02:00:00:00:00:01\npermanentAddr: 02:00:00:00:00:02\nlinkState: true\n";
        let mac = MacAddr([2, 0, 0, 0, 0, 2]);
        assert_eq!(link(card), Some(Link { name: "eth0".to_owned(), mac, up: true }));

        let no_permanent = "type: ether\nhardwareAddr: 02:00:00:00:00:01\npermanentAddr: 00:00:00:00:00:00\n";
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        assert_eq!(link(no_permanent), Some(Link { name: "eth0".to_owned(), mac, up: false }));
    }

    #[test]
    fn what_is_no_card_is_left_out() {
        for yaml in [
            "type: loopback\nhardwareAddr: 02:00:00:00:00:01\n",
            "type: ether\nkind: bond\nhardwareAddr: 02:00:00:00:00:01\n",
            "type: ether\nhardwareAddr: \"\"\n",
            "type: ether\nhardwareAddr: 00:00:00:00:00:00\n",
            "{}",
        ] {
            assert_eq!(link(yaml), None, "{yaml}");
        }
    }
}
