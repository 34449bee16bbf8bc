//! The types of resources that this machine has, as it lists them itself: the names people may use for them, and the
//! columns of a table (the type `ResourceDefinitions.meta.cosi.dev`). A client asks for these first.

use serde_json::{Value, json};

/// One type of resources.
pub(super) struct Definition {
    /// its full name
    pub(super) kind: &'static str,
    /// where its resources are
    pub(super) namespace: &'static str,
    /// names beside those that follow from the type's
    aliases: &'static [&'static str],
    /// a column's name, and where its value is in the spec
    columns: &'static [(&'static str, &'static str)],
    /// os:admin only
    pub(super) sensitive: bool,
    /// the minor release that brought it
    pub(super) since: (u32, u32),
}

const fn kind(
    kind: &'static str,
    namespace: &'static str,
    columns: &'static [(&'static str, &'static str)],
) -> Definition {
    Definition { kind, namespace, aliases: &[], columns, sensitive: false, since: (0, 0) }
}

impl Definition {
    const fn also(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn since(mut self, minor: u32) -> Self {
        self.since = (1, minor);
        self
    }

    const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
}

/// All of them.
pub(super) const DEFINITIONS: [Definition; 24] = [
    kind("BootIDs.runtime.talos.dev", "runtime", &[("BootID", "{.bootID}")]).since(14),
    kind(
        "DiscoveredVolumes.block.talos.dev",
        "runtime",
        &[
            ("Type", "{.type}"),
            ("Size", "{.pretty_size}"),
            ("Discovered", "{.name}"),
            ("Label", "{.label}"),
            ("PartitionLabel", "{.partition_label}"),
        ],
    ),
    kind(
        "Disks.block.talos.dev",
        "runtime",
        &[
            ("Size", "{.pretty_size}"),
            ("Read Only", "{.readonly}"),
            ("Transport", "{.transport}"),
            ("Rotational", "{.rotational}"),
            ("WWID", "{.wwid}"),
            ("Model", "{.model}"),
            ("Serial", "{.serial}"),
        ],
    ),
    kind("EtcdMembers.etcd.talos.dev", "etcd", &[("Member ID", "{.memberID}")]),
    kind(
        "ExtensionStatuses.runtime.talos.dev",
        "runtime",
        &[("Name", "{.metadata.name}"), ("Version", "{.metadata.version}")],
    )
    .also(&["extensions"]),
    kind(
        "HostnameStatuses.net.talos.dev",
        "network",
        &[("Hostname", "{.hostname}"), ("Domainname", "{.domainname}")],
    )
    .also(&["hostname"]),
    kind("KernelCmdlines.runtime.talos.dev", "runtime", &[("Cmdline", "{.cmdline}")]).also(&["cmdline"]),
    kind(
        "LinkStatuses.net.talos.dev",
        "network",
        &[
            ("Alias", "{.alias}"),
            ("Type", "{.type}"),
            ("Kind", "{.kind}"),
            ("Hw Addr", "{.hardwareAddr}"),
            ("Oper State", "{.operationalState}"),
            ("Link State", "{.linkState}"),
        ],
    )
    .also(&["link", "links"]),
    kind("LLDPNeighborStatuses.net.talos.dev", "network", &[("Neighbors", "{.neighbors[*].systemName}")])
        .also(&["lldp"])
        .since(15),
    kind("MachineConfigs.config.talos.dev", "config", &[]).sensitive(),
    kind(
        "MachineStatuses.runtime.talos.dev",
        "runtime",
        &[("Stage", "{.stage}"), ("Ready", "{.status.ready}")],
    ),
    kind("MachineTypes.config.talos.dev", "config", &[("Type", "{@}")]),
    kind("Manifests.kubernetes.talos.dev", "controlplane", &[]),
    kind(
        "Members.cluster.talos.dev",
        "cluster",
        &[
            ("Hostname", "{.hostname}"),
            ("Machine Type", "{.machineType}"),
            ("OS", "{.operatingSystem}"),
            ("Addresses", "{.addresses}"),
        ],
    ),
    kind(
        "NetworkStatuses.net.talos.dev",
        "network",
        &[
            ("Address", "{.addressReady}"),
            ("Connectivity", "{.connectivityReady}"),
            ("Hostname", "{.hostnameReady}"),
            ("Etc", "{.etcFilesReady}"),
        ],
    )
    .also(&["netstatus", "netstatuses"]),
    kind(
        "NodeAddresses.net.talos.dev",
        "network",
        &[("Addresses", "{.addresses}"), ("SortAlgorithm", "{.sortAlgorithm}")],
    ),
    kind(
        "NodeStatuses.kubernetes.talos.dev",
        "k8s",
        &[("Ready", "{.nodeReady}"), ("Unschedulable", "{.unschedulable}")],
    ),
    kind("ResourceDefinitions.meta.cosi.dev", "meta", &[("Aliases", "{.aliases[:]}")])
        .also(&["api-resources"]),
    kind(
        "Services.v1alpha1.talos.dev",
        "runtime",
        &[("Running", "{.running}"), ("Healthy", "{.healthy}"), ("Health Unknown", "{.unknown}")],
    )
    .also(&["svc"]),
    kind("SystemDisks.block.talos.dev", "runtime", &[("Disk", "{.diskID}")]),
    kind(
        "SystemInformations.hardware.talos.dev",
        "hardware",
        &[
            ("Manufacturer", "{.manufacturer}"),
            ("ProductName", "{.productName}"),
            ("Version", "{.version}"),
            ("SerialNumber", "{.serialnumber}"),
            ("UUID", "{.uuid}"),
            ("WakeUpType", "{.wakeUpType}"),
            ("SKUNumber", "{.skuNumber}"),
        ],
    )
    .also(&["systeminformation"]),
    kind("TimeStatuses.v1alpha1.talos.dev", "runtime", &[("Synced", "{.synced}")]),
    kind("Versions.runtime.talos.dev", "runtime", &[("Name", "{.name}"), ("Version", "{.version}")]),
    kind("Diagnostics.runtime.talos.dev", "runtime", &[("Message", "{.message}")]),
];

/// The type with this full name.
pub(super) fn definition(kind: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.kind == kind)
}

impl Definition {
    /// The id of its own resource.
    pub(super) fn id(&self) -> String {
        self.kind.to_lowercase()
    }

    /// Its own resource. The names follow from the type as COSI makes them: the singular, the capitals, and the name
    /// with more and more of its suffix.
    pub(super) fn spec(&self) -> Value {
        let (name, suffix) = self.kind.split_once('.').unwrap_or((self.kind, ""));
        let plural = if name.ends_with("sses") || name.ends_with("uses") { "es" } else { "s" };
        let display = name.strip_suffix(plural).unwrap_or(name);
        let mut aliases: Vec<String> = self.aliases.iter().map(|&alias| alias.to_owned()).collect();
        aliases.push(display.to_lowercase());
        let capitals: String = name.chars().filter(char::is_ascii_uppercase).collect();
        if capitals.len() > 1 {
            aliases.push(capitals.to_lowercase());
            if !capitals.ends_with('S') {
                aliases.push(format!("{}s", capitals.to_lowercase()));
            }
        }
        let mut all = vec![name.to_lowercase()];
        let parts: Vec<&str> = suffix.split('.').collect();
        all.extend(
            (1..parts.len()).filter_map(|count| {
                Some(format!("{}.{}", name.to_lowercase(), parts.get(..count)?.join(".")))
            }),
        );
        all.extend(aliases.iter().cloned());
        let columns: Vec<Value> =
            self.columns.iter().map(|(name, path)| json!({ "name": name, "jsonPath": path })).collect();
        let mut spec = json!({
            "type": self.kind,
            "displayType": display,
            "defaultNamespace": self.namespace,
            "aliases": aliases,
            "allAliases": all,
            "printColumns": columns,
        });
        if let (true, Some(object)) = (self.sensitive, spec.as_object_mut()) {
            object.insert("sensitivity".to_owned(), json!("sensitive"));
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_cosi_makes() {
        let spec = definition("LinkStatuses.net.talos.dev").unwrap().spec();
        assert_eq!(spec["displayType"], "LinkStatus");
        assert_eq!(spec["aliases"], json!(["link", "links", "linkstatus", "ls"]));
        assert_eq!(
            spec["allAliases"],
            json!([
                "linkstatuses",
                "linkstatuses.net",
                "linkstatuses.net.talos",
                "link",
                "links",
                "linkstatus",
                "ls"
            ])
        );
        let singular = |kind| definition(kind).unwrap().spec()["displayType"].clone();
        assert_eq!(singular("NodeAddresses.net.talos.dev"), "NodeAddress");
        assert_eq!(singular("Disks.block.talos.dev"), "Disk");
        assert_eq!(singular("BootIDs.runtime.talos.dev"), "BootID");
    }
}
