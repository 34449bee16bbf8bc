//! What each place in a config asks for before it is another one: Talos's own rule for the main document, and what it does
//! not say because it takes everything and then does nothing, or harm.

use serde_json::Value;
use talos_config::config::DocumentId;

use crate::essentials::{Essential, Essentials};
use crate::plan::Class;
use crate::upgrade::Image;
use crate::versions::{Minor, Step, step};

/// Sections of `machine` that Talos takes without a reboot.
const LIVE: [&str; 18] = [
    "acceptedCAs",
    "ca",
    "certSANs",
    "controlPlane",
    "install",
    "kernel",
    "kubelet",
    "logging",
    "network",
    "nodeAnnotations",
    "nodeLabels",
    "nodeTaints",
    "pods",
    "registries",
    "seccompProfiles",
    "sysctls",
    "sysfs",
    "time",
];

/// The same of `machine.features`, when that section is there before and after.
const LIVE_FEATURES: [&str; 5] =
    ["hostDNS", "imageCache", "kubePrism", "kubernetesTalosAPIAccess", "nodeAddressSortAlgorithm"];

/// Whether a change at this place needs a reboot, by Talos's own rule up to 1.13. From 1.14 on Talos never reboots for a
/// config, and what it read at its start is what stays in force.
pub(crate) fn needs_reboot(document: &DocumentId, path: &[String]) -> bool {
    if *document != DocumentId::V1Alpha1 {
        return false;
    }
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    match keys.as_slice() {
        ["debug" | "cluster", ..] => false,
        ["machine", "features", feature, ..] => !LIVE_FEATURES.contains(feature),
        ["machine", section, ..] => !LIVE.contains(section),
        _ => true,
    }
}

/// One value that becomes another one.
pub(crate) struct Leaf<'a> {
    pub(crate) document: &'a DocumentId,
    pub(crate) path: &'a [String],
    pub(crate) old: Option<&'a Value>,
    pub(crate) new: Option<&'a Value>,
    /// the document is there before and after
    pub(crate) in_place: bool,
    /// the Talos that the node runs
    pub(crate) image: Option<&'a Image>,
}

/// A verdict of ours that Talos does not have, and the way.
type Verdict = Option<(Class, &'static str)>;

enum Rule {
    /// refused while this is another one; where it only stands in another place, Talos's rule is enough
    Is(Essential, &'static str),
    /// the cluster's keys
    Key,
    /// the image of a part of Kubernetes
    Kubernetes,
    /// read by Talos's installer only
    Installer(&'static str),
    /// a volume that is made once
    Volume,
    /// always this
    Always(Class, &'static str),
}

const ROLE: &str =
    "take the node out (`ichord slot release`, reset the machine) and let it be installed in its new role";
const HOSTNAME: &str =
    "etcd and Kubernetes know the node by its name: add a node of the new name, then take this one out";
const ENDPOINT: &str = "every node, kubeconfig and certificate has it: let the old name lead to the new address, or add the new one to `additionalApiServerCertSans`";
const CLUSTER: &str =
    "that is another cluster: bring the former value back, or reset every node and found it anew";
const SUBNET: &str =
    "Kubernetes cannot renumber a running cluster: bring the former value back, or found the cluster anew";
const ENCRYPTION: &str = "a disk is encrypted when its partitions are made: reset this node (STATE and EPHEMERAL), it comes back with the new config";
const KEY: &str = "these are the cluster's keys: bring the former secrets file back; keys are rotated with `talosctl rotate-ca`";
const ADDRESS: &str = "etcd's other members know this control plane by it: take the node out of etcd and reset it, then install it with the new address";
const VIRTUAL: &str = "the cluster's endpoint is this address: give the endpoint a name first";
const INSTALLER: &str = "Talos's installer has to run again, which `ichord upgrade talos` sees to; the config alone changes nothing";
const INSTALLED: &str = "the node runs this image already";
const DISK: &str =
    "it counts when the node is installed: reset it with its disk wiped, and let it be installed anew";
const VOLUME: &str = "a volume is made once: give the new one another name and move the data, or wipe it";
/// What the parts of Kubernetes are told apart by in a plan.
pub(crate) const NEXT_KUBERNETES: &str = "a minor version of Kubernetes, every API server before the first kubelet: `ichord upgrade kubernetes` brings it";
const MANIFESTS: &str = "what the former network plugin has made in Kubernetes stays there";

/// Places with a rule of their own: the kind of the document (none for the main one) and the keys that lead there, `*` for
/// any one of them.
fn rules() -> [(&'static str, &'static str, Rule); 55] {
    use Class::{Live, Refused, Reinstall};
    use Essential as E;
    use Rule::{Always, Installer, Is, Key, Kubernetes, Volume};
    [
        ("", "machine.type", Is(E::Role, ROLE)),
        ("", "machine.network.hostname", Is(E::Hostname, HOSTNAME)),
        ("", "machine.features.stableHostname", Is(E::Hostname, HOSTNAME)),
        ("HostnameConfig", "", Is(E::Hostname, HOSTNAME)),
        ("", "cluster.controlPlane.endpoint", Is(E::Endpoint, ENDPOINT)),
        ("KubeClusterConfig", "endpoint", Is(E::Endpoint, ENDPOINT)),
        ("", "cluster.id", Is(E::ClusterId, CLUSTER)),
        ("", "cluster.secret", Is(E::ClusterId, CLUSTER)),
        ("DiscoveryIdentityConfig", "", Is(E::ClusterId, CLUSTER)),
        ("", "cluster.network.podSubnets", Is(E::PodSubnets, SUBNET)),
        ("KubeNetworkConfig", "podSubnets", Is(E::PodSubnets, SUBNET)),
        ("", "cluster.network.serviceSubnets", Is(E::ServiceSubnets, SUBNET)),
        ("KubeNetworkConfig", "serviceSubnets", Is(E::ServiceSubnets, SUBNET)),
        ("", "cluster.network.dnsDomain", Is(E::DnsDomain, SUBNET)),
        ("KubeNetworkConfig", "dnsDomain", Is(E::DnsDomain, SUBNET)),
        ("KubeNetworkConfig", "nodeCIDRMaskSizeIPv4", Always(Refused, SUBNET)),
        ("KubeNetworkConfig", "nodeCIDRMaskSizeIPv6", Always(Refused, SUBNET)),
        ("", "cluster.network.cni.name", Always(Live, MANIFESTS)),
        ("", "cluster.etcd.subnet", Always(Refused, ADDRESS)),
        ("", "cluster.etcd.advertisedSubnets", Always(Refused, ADDRESS)),
        ("", "machine.systemDiskEncryption", Is(E::DiskEncryption, ENCRYPTION)),
        ("VolumeConfig", "encryption", Is(E::DiskEncryption, ENCRYPTION)),
        ("UserVolumeConfig", "encryption", Volume),
        ("RawVolumeConfig", "encryption", Volume),
        ("SwapVolumeConfig", "encryption", Volume),
        ("UserVolumeConfig", "provisioning", Volume),
        ("UserVolumeConfig", "filesystem", Volume),
        ("UserVolumeConfig", "volumeType", Volume),
        ("RawVolumeConfig", "provisioning", Volume),
        ("SwapVolumeConfig", "provisioning", Volume),
        ("LVMLogicalVolumeConfig", "", Volume),
        ("RAIDArrayConfig", "", Volume),
        ("VolumeConfig", "provisioning", Always(Reinstall, ENCRYPTION_OR_SIZE)),
        ("", "machine.token", Key),
        ("", "machine.ca", Key),
        ("", "cluster.token", Key),
        ("", "cluster.ca", Key),
        ("", "cluster.aggregatorCA", Key),
        ("", "cluster.serviceAccount", Key),
        ("", "cluster.etcd.ca", Key),
        ("", "cluster.aescbcEncryptionSecret", Key),
        ("", "cluster.secretboxEncryptionSecret", Key),
        ("KubeAPIServerCAConfig", "issuingCA", Key),
        ("KubeAggregatorCAConfig", "issuingCA", Key),
        ("KubeServiceAccountConfig", "issuer", Key),
        ("KubeEtcdEncryptionConfig", "", Key),
        ("", "machine.kubelet.image", Kubernetes),
        ("", "cluster.*.image", Kubernetes),
        ("KubeletConfig", "image", Kubernetes),
        ("", "machine.install.disk", Installer(DISK)),
        ("", "machine.install.diskSelector", Installer(DISK)),
        ("UnattendedInstallConfig", "provisioning", Installer(DISK)),
        ("", "machine.install.wipe", Always(Live, "it counts at the next installation")),
        ("UnattendedInstallConfig", "", Installer(INSTALLER)),
        ("", "machine.install", Installer(INSTALLER)),
    ]
}

const ENCRYPTION_OR_SIZE: &str =
    "Talos makes this volume when the node is installed, or after its partition was wiped";

/// The verdict on one value, and the way where there is something to be done.
pub(crate) fn judge(leaf: &Leaf<'_>, essentials: &Essentials) -> (Class, Option<&'static str>) {
    let by_talos = if needs_reboot(leaf.document, leaf.path) { Class::Reboot } else { Class::Live };
    match ours(leaf, essentials) {
        Some((class, way)) => (class.max(by_talos), Some(way)),
        None => (by_talos, None),
    }
}

fn ours(leaf: &Leaf<'_>, essentials: &Essentials) -> Verdict {
    if leaf.old.is_some_and(|old| essentials.loses(old)) && is_an_address_of_a_link(leaf) {
        return Some((Class::Refused, ADDRESS));
    }
    if essentials.leaves_the_endpoint_unanswered() && is_a_virtual_address(leaf) {
        return Some((Class::Refused, VIRTUAL));
    }
    let kind = kind_of(leaf.document);
    let rule = rules().into_iter().find(|(of, place, _)| *of == kind && leads_to(leaf.path, place))?.2;
    match rule {
        Rule::Is(essential, way) => essentials.changes(essential).then_some((Class::Refused, way)),
        Rule::Key => Some((Class::Refused, KEY)),
        Rule::Kubernetes => kubernetes(leaf),
        Rule::Installer(_) if has_been_installed(leaf) => Some((Class::Live, INSTALLED)),
        Rule::Installer(way) => Some((Class::Reinstall, way)),
        Rule::Volume if !leaf.in_place && leaf.old.is_none() => None,
        Rule::Volume if !leaf.in_place => Some((Class::Live, "its data stays on the disk")),
        Rule::Volume => Some((Class::Refused, VOLUME)),
        Rule::Always(class, way) => Some((class, way)),
    }
}

/// An upgrade does not write into the config which image it was.
fn has_been_installed(leaf: &Leaf<'_>) -> bool {
    let names = |value: &Value| Image::of_installer(value.as_str()?).ok();
    let is_image = leaf.path.last().is_some_and(|key| key == "image");
    let wanted = leaf.new.filter(|_| is_image).and_then(names);
    leaf.image.zip(wanted).is_some_and(|(runs, wanted)| runs.is(&wanted))
}

/// Kubernetes takes one minor version at a time and none back.
fn kubernetes(leaf: &Leaf<'_>) -> Verdict {
    let version = |value: Option<&Value>| Minor::of_image(value?.as_str()?);
    match step(version(leaf.old)?, version(leaf.new)?) {
        Step::Patch => None,
        Step::Next => Some((Class::Live, NEXT_KUBERNETES)),
        Step::Leap => {
            Some((Class::Refused, "Kubernetes goes up one minor version at a time: name the next one first"))
        }
        Step::Back => Some((Class::Refused, "Kubernetes does not go back: bring the newer version back")),
    }
}

fn is_an_address_of_a_link(leaf: &Leaf<'_>) -> bool {
    leaf.path.iter().any(|key| ["addresses", "cidr"].contains(&key.as_str()))
}

fn is_a_virtual_address(leaf: &Leaf<'_>) -> bool {
    ["Layer2VIPConfig", "HCloudVIPConfig"].contains(&kind_of(leaf.document))
        || leaf.path.iter().any(|key| key == "vip")
}

fn kind_of(document: &DocumentId) -> &str {
    match document {
        DocumentId::V1Alpha1 => "",
        DocumentId::Other { kind, .. } => kind,
    }
}

/// Whether a path begins with the keys of a place.
fn leads_to(path: &[String], place: &str) -> bool {
    let mut keys = path.iter();
    place
        .split('.')
        .filter(|key| !key.is_empty())
        .all(|wanted| keys.next().is_some_and(|key| wanted == "*" || key == wanted))
}
