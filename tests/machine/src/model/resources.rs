//! What the machine says about itself: COSI resources with Talos's own types, namespaces, ids and YAML
//! keys (talos.md §6.6, Appendix D).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    api::is_at_least,
    config::Role,
    definitions::{DEFINITIONS, Definition, definition},
    machine::{Machine, Stage},
    manifests::manifests,
    node::{Etcd, Leave},
    request::Resource,
    status::{Code, Status},
};

/// Id and spec.
type Entry = (String, Value);

fn all(list: impl IntoIterator<Item = Entry>) -> Option<Vec<Entry>> {
    Some(list.into_iter().collect())
}

fn one(id: &str, spec: Value) -> [Entry; 1] {
    [(id.to_owned(), spec)]
}

impl Machine {
    /// What Talos calls the stage.
    fn talos_stage(&self) -> &'static str {
        let leaving = self.node().and_then(|node| node.leaving.as_ref());
        if let Some(leaving) = leaving {
            return match leaving {
                Leave::Etcd { .. } => "running",
                Leave::Reboot { .. } => "rebooting",
                Leave::PowerOff => "shutting down",
                Leave::Upgrade { .. } => "upgrading",
                Leave::Reset { .. } => "resetting",
            };
        }
        match self.stage() {
            Stage::Maintenance => "maintenance",
            Stage::Installing => "installing",
            Stage::Rebooting => "rebooting",
            Stage::Configured if self.is_running() => "running",
            Stage::Configured | Stage::Booting => "booting",
            Stage::Off | Stage::Firmware | Stage::Halted => "unknown",
        }
    }

    /// The resources of a type, for a caller with these roles.
    pub(crate) fn resources(
        &self,
        namespace: &str,
        kind: &str,
        roles: &BTreeSet<String>,
        now: u64,
    ) -> Result<Vec<Resource>, Status> {
        let definition = definition(kind).filter(|definition| self.knows(definition));
        let (Some(definition), Some(contents)) = (definition, self.contents(kind, now)) else {
            let text = format!("resource type {kind:?} is not supported");
            return Err(Status::new(Code::PermissionDenied, text));
        };
        if definition.sensitive && !roles.contains("os:admin") {
            return Err(Status::not_authorized());
        }
        if namespace != definition.namespace {
            return Ok(Vec::new());
        }
        let created = self.os().map(|os| os.since).unwrap_or_default();
        let resource = |(id, spec)| Resource {
            namespace: namespace.to_owned(),
            kind: kind.to_owned(),
            id,
            created,
            spec,
        };
        Ok(contents.into_iter().map(resource).collect())
    }

    /// Whether the running Talos has this type.
    fn knows(&self, definition: &Definition) -> bool {
        let version = self.os().map(|os| os.image.version.as_str()).unwrap_or_default();
        is_at_least(version, definition.since)
    }

    /// Ids and specs of a type's resources; where they are says [`DEFINITIONS`].
    fn contents(&self, kind: &str, now: u64) -> Option<Vec<Entry>> {
        match kind {
            "MachineStatuses.runtime.talos.dev" => all(one("machine", self.machine_status(now))),
            "Services.v1alpha1.talos.dev" => {
                // one that does not run has no resource
                let running = self.services(now).into_iter().filter(|service| service.state == "Running");
                let list = running.map(|service| {
                    let spec = json!({
                        "running": true,
                        "healthy": service.healthy == Some(true),
                        "unknown": service.healthy.is_none(),
                    });
                    (service.id, spec)
                });
                all(list)
            }
            "SystemInformations.hardware.talos.dev" => {
                let spec = json!({
                    "manufacturer": self.hardware.manufacturer,
                    "productName": self.hardware.product,
                    "serialnumber": self.hardware.serial,
                    "uuid": self.hardware.uuid.to_string(),
                });
                all(one("systeminformation", spec))
            }
            "Disks.block.talos.dev" => {
                all(self.hardware.disks.iter().map(|disk| (name_of(&disk.dev_path), disk_spec(disk))))
            }
            "SystemDisks.block.talos.dev" => {
                let list = self.storage.system.iter().map(|system| {
                    let spec = json!({ "diskID": name_of(&system.dev_path), "devPath": system.dev_path });
                    ("system-disk".to_owned(), spec)
                });
                all(list)
            }
            "DiscoveredVolumes.block.talos.dev" => all(self.volumes()),
            "LinkStatuses.net.talos.dev" => all(self.links()),
            "LLDPNeighborStatuses.net.talos.dev" => all(self.lldp_neighbors(now)),
            "NodeAddresses.net.talos.dev" => all(self.node_addresses()),
            "HostnameStatuses.net.talos.dev" => {
                let spec = |name| json!({ "hostname": name, "domainname": "" });
                all(self.hostname().map(|name| ("hostname".to_owned(), spec(name))))
            }
            "NetworkStatuses.net.talos.dev" => {
                let has_address = self.address().is_some();
                let spec = json!({
                    "addressReady": has_address,
                    "connectivityReady": has_address,
                    "hostnameReady": self.hostname().is_some(),
                    "etcFilesReady": true,
                });
                all(one("status", spec))
            }
            "BootIDs.runtime.talos.dev" => {
                all(one("boot-id", json!({ "bootID": self.boot_id().unwrap_or_default() })))
            }
            "Versions.runtime.talos.dev" => {
                let version = self.os().map(|os| os.image.version.clone()).unwrap_or_default();
                all(one("version", json!({ "version": version })))
            }
            "KernelCmdlines.runtime.talos.dev" => {
                let cmdline = self.os().map(|os| os.cmdline.clone()).unwrap_or_default();
                all(one("cmdline", json!({ "cmdline": cmdline })))
            }
            "ExtensionStatuses.runtime.talos.dev" => all(self.extensions()),
            "MachineTypes.config.talos.dev" => {
                let kind = self.node().map(|node| role_name(node.config.role));
                all(kind.map(|kind| ("machine-type".to_owned(), json!(kind))))
            }
            "MachineConfigs.config.talos.dev" => {
                let list = self.node().map(|node| ("v1alpha1".to_owned(), json!(node.config.text)));
                all(list)
            }
            "TimeStatuses.v1alpha1.talos.dev" => {
                let synced = self.node().is_none_or(|node| node.time_synced);
                all(one("node", json!({ "synced": synced, "epoch": 0, "syncDisabled": false })))
            }
            "EtcdMembers.etcd.talos.dev" => {
                let runs = self.node().is_some_and(|node| matches!(node.etcd, Etcd::Running { .. }));
                let member = self.data().filter(|_| runs);
                let spec = |id: u64| json!({ "memberID": format!("{id:016x}") });
                all(member.map(|data| ("local".to_owned(), spec(data.me))))
            }
            "Members.cluster.talos.dev" => all(self.members()),
            "NodeStatuses.kubernetes.talos.dev" => {
                let node = self.node().filter(|node| node.api_server || node.node_ready);
                let list = node.map(|node| {
                    let (name, ready) = (node.hostname.clone(), node.node_ready);
                    let spec = json!({ "nodename": name, "nodeReady": ready, "unschedulable": false });
                    (name, spec)
                });
                all(list)
            }
            "Manifests.kubernetes.talos.dev" => {
                all(self.node().map(|node| manifests(&node.config)).unwrap_or_default())
            }
            // a simulated machine has nothing to complain about that a resource could say
            "Diagnostics.runtime.talos.dev" => all([]),
            "ResourceDefinitions.meta.cosi.dev" => {
                let known = DEFINITIONS.iter().filter(|definition| self.knows(definition));
                all(known.map(|definition| (definition.id(), definition.spec())))
            }
            _ => None,
        }
    }

    fn machine_status(&self, now: u64) -> Value {
        let unmet: Vec<Value> = self
            .unmet_conditions(now)
            .into_iter()
            .map(|(name, reason)| json!({ "name": name, "reason": reason }))
            .collect();
        let stage = self.talos_stage();
        let ready = unmet.is_empty() && matches!(stage, "running" | "maintenance");
        json!({ "stage": stage, "status": { "ready": ready, "unmetConditions": unmet } })
    }

    fn links(&self) -> Vec<Entry> {
        let spec = |(index, link): (usize, &hardware::Link)| {
            let spec = json!({
                "index": index + 2,
                "type": "ether",
                "hardwareAddr": link.mac.to_string(),
                "permanentAddr": link.mac.to_string(),
                "operationalState": if link.up { "up" } else { "down" },
                "linkState": link.up,
                "kind": "",
                "driver": "virtio_net",
                "busPath": format!("0000:01:{index:02x}.0"),
            });
            (link.name.clone(), spec)
        };
        self.hardware.links.iter().enumerate().map(spec).collect()
    }

    fn node_addresses(&self) -> Vec<Entry> {
        let own: Vec<String> = self.network().map(|net| net.to_string()).into_iter().collect();
        let shared = self.virtual_addresses().into_iter();
        let shared = shared.map(|address| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
        let all: Vec<String> = own.iter().cloned().chain(shared).collect();
        let lists = [("default", &own), ("current", &all), ("routed", &all), ("accumulative", &all)];
        lists.map(|(id, addresses)| (id.to_owned(), json!({ "addresses": addresses }))).to_vec()
    }

    /// Members as this machine knows them without a discovery service: itself, and on a control plane
    /// the other etcd members.
    fn members(&self) -> Vec<Entry> {
        let (Some(node), Some(address)) = (self.node(), self.address()) else {
            return Vec::new();
        };
        let member = |name: &str, addresses: Value, kind: &str| {
            let spec = json!({
                "nodeId": name,
                "addresses": addresses,
                "hostname": name,
                "machineType": kind,
                "operatingSystem": format!("Talos ({})", node.os.image.version),
            });
            (name.to_owned(), spec)
        };
        let mut members = vec![member(&node.hostname, json!([address]), role_name(node.config.role))];
        for other in self.data().into_iter().flat_map(|data| data.cluster.members.values()) {
            if other.name != node.hostname && !other.name.is_empty() {
                members.push(member(&other.name, json!([other.address]), "controlplane"));
            }
        }
        members
    }

    /// The schematic has an entry of its own beside its extensions (§6.6).
    fn extensions(&self) -> Vec<Entry> {
        let Some(os) = self.os() else {
            return Vec::new();
        };
        let short = |name: &String| (name.trim_start_matches("siderolabs/").to_owned(), String::new());
        let schematic = os.image.schematic.iter().map(|id| ("schematic".to_owned(), id.clone()));
        let spec = |(index, (name, version)): (usize, (String, String))| {
            let metadata = json!({ "name": name, "version": version });
            (index.to_string(), json!({ "image": format!("{index}.sqsh"), "metadata": metadata }))
        };
        os.extensions.iter().map(short).chain(schematic).enumerate().map(spec).collect()
    }

    /// The disks, the partitions of the system disk, and what somebody else left behind.
    fn volumes(&self) -> Vec<Entry> {
        let used = self.storage.used.as_deref();
        let disk = |(index, disk): (usize, &hardware::Disk)| {
            let mut spec = json!({ "type": "disk", "dev_path": disk.dev_path, "size": disk.size });
            if index == 0 && used.is_some() {
                spec["name"] = json!("gpt");
            }
            (name_of(&disk.dev_path), spec)
        };
        let mut volumes: Vec<Entry> = self.hardware.disks.iter().enumerate().map(disk).collect();
        if let Some(system) = &self.storage.system {
            for (index, label) in ["EFI", "BOOT", "META", "STATE", "EPHEMERAL"].iter().enumerate() {
                volumes.push(partition(&system.dev_path, index + 1, "", label));
            }
        }
        if let (Some(label), Some(disk)) = (used, self.hardware.disks.first()) {
            volumes.push(partition(&disk.dev_path, 1, "ext4", label));
        }
        volumes
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "controlplane",
        Role::Worker => "worker",
    }
}

fn name_of(path: &str) -> String {
    path.trim_start_matches("/dev/").to_owned()
}

fn partition(disk: &str, number: usize, filesystem: &str, label: &str) -> Entry {
    let separator = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    let path = format!("{disk}{separator}{number}");
    let mut spec = json!({
        "type": "partition",
        "dev_path": path,
        "parent": name_of(disk),
        "partition_label": label,
        "partition_index": number,
    });
    if !filesystem.is_empty() {
        spec["name"] = json!(filesystem);
    }
    (name_of(&path), spec)
}

/// Empty values are omitted, as Talos does.
fn disk_spec(disk: &hardware::Disk) -> Value {
    let mut spec = json!({
        "dev_path": disk.dev_path,
        "size": disk.size,
        "pretty_size": format!("{} GB", disk.size / 1_000_000_000),
        "sector_size": 512,
        "model": disk.model,
        "serial": disk.serial,
        "modalias": disk.modalias,
        "wwid": disk.wwid,
        "uuid": disk.uuid,
        "bus_path": disk.bus_path,
        "transport": disk.transport,
        "symlinks": disk.symlinks,
    });
    if let Some(object) = spec.as_object_mut() {
        object.retain(|_, value| !matches!(value, Value::String(text) if text.is_empty()));
        for (key, on) in [("rotational", disk.rotational), ("readonly", disk.readonly), ("cdrom", disk.cdrom)]
        {
            if on {
                object.insert(key.to_owned(), Value::Bool(true));
            }
        }
    }
    spec
}
