//! The keys of one node.

use std::net::IpAddr;

use document::{Findings, Place, nearest};
use hardware::Architecture;

use super::{is_name, is_prefix, template};
use crate::{
    talconfig::{
        device::Device,
        wire::{IngressFirewall, MachineSpec, NodeConfigs, NodeFile},
    },
    template::Template,
    versions::{Contract, TalosVersion},
};

/// The effects of a Kubernetes taint.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The keys of one node, inherited ones among them; `written` finds where a key stands.
pub(in crate::talconfig) fn node<'a>(
    own: &NodeFile,
    configs: &NodeConfigs,
    talos: Option<&TalosVersion>,
    place: Place<'a>,
    written: &dyn Fn(&str) -> Place<'a>,
    findings: &mut Findings,
) {
    identity(own, place, findings);
    spec(&configs.machine_spec, written("machineSpec"), findings);
    templates(configs, written, findings);
    for (key, value) in configs.node_taints.iter().flatten() {
        let effect = value.rsplit(':').next().unwrap_or_default();
        if !EFFECTS.contains(&effect) {
            let place = written("nodeTaints").key(key);
            let finding = place.error("taint", format!("`{effect}` is not the effect of a taint"));
            let meant = nearest(effect, EFFECTS).unwrap_or("NoSchedule");
            findings.push(finding.fix(format!("one of {}; perhaps `{meant}`", EFFECTS.join(", "))));
        }
    }
    for (index, text) in configs.nameservers.iter().flatten().enumerate() {
        if text.parse::<IpAddr>().is_err() {
            let message = format!("`{text}` is not the address of a name server");
            findings.push(written("nameservers").item(index).error("nameserver", message));
        }
    }
    for (index, file) in configs.machine_files.iter().flatten().enumerate() {
        let place = written("machineFiles").item(index);
        if !["create", "append", "overwrite"].contains(&file.op.as_str()) {
            let message = format!("`{}` is not what can be done with a file", file.op);
            let finding = place.key("op").error("machine-file", message);
            findings.push(finding.fix("one of create, append, overwrite"));
        }
        if !file.path.starts_with('/') {
            findings
                .push(place.key("path").error("machine-file", "the path of a machine file must be absolute"));
        }
    }
    if let Some(firewall) = &configs.ingress_firewall {
        ingress(firewall, written("ingressFirewall"), findings);
    }
    for (index, service) in configs.extension_services.iter().flatten().enumerate() {
        let place = written("extensionServices").item(index);
        if service.name.is_empty() {
            findings.push(place.error("extension-service", "an extension service needs a `name`"));
        }
        if service.config_files.is_empty() && service.environment.is_empty() {
            let message = format!("`{}` has neither `configFiles` nor `environment`", service.name);
            let finding = place.error("extension-service", message);
            findings.push(finding.fix("Talos refuses an empty one; remove it or give it content"));
        }
    }
    names(configs, written, findings);
    image(&configs.talos_image_url, written("talosImageURL"), findings);
    for (index, device) in configs.network_interfaces.iter().flatten().enumerate() {
        self::device(device, own, written("networkInterfaces").item(index), findings);
    }
    if configs.extra_manifests.as_ref().is_some_and(|manifests| !manifests.is_empty()) {
        let finding = written("extraManifests").warning("deprecated", "`extraManifests` is deprecated");
        findings.push(finding.fix("write the documents as `patches`"));
    }
    if configs.machine_disks.is_some() && talos.is_some_and(|talos| talos.contract >= Contract::new(1, 10)) {
        let finding = written("machineDisks").warning("deprecated", "`machineDisks` is deprecated");
        findings.push(finding.fix("use `userVolumes`"));
    }
}

/// Each document of a kind has a name of its own.
fn names<'a>(configs: &NodeConfigs, written: &dyn Fn(&str) -> Place<'a>, findings: &mut Findings) {
    let services = configs.extension_services.iter().flatten().map(|service| &service.name);
    let volumes = configs.volumes.iter().flatten().map(|volume| &volume.name);
    let user_volumes = configs.user_volumes.iter().flatten().map(|volume| &volume.name);
    let rules = configs.ingress_firewall.iter().flat_map(|firewall| &firewall.rules).map(|rule| &rule.name);
    for (list, names) in [
        (written("extensionServices"), services.collect::<Vec<_>>()),
        (written("volumes"), volumes.collect()),
        (written("userVolumes"), user_volumes.collect()),
        (written("ingressFirewall").key("rules"), rules.collect()),
    ] {
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|other| other == name) {
                let place = list.item(index).key("name");
                let finding = place.error("name-twice", format!("there is another `{name}` in this list"));
                findings.push(finding.fix("give it a name of its own, or remove one of the two"));
            }
        }
    }
}

/// An image's name, to which the version is added.
fn image(url: &str, place: Place<'_>, findings: &mut Findings) {
    if url.is_empty() {
        return;
    }
    let (host, rest) = url.split_once('/').unwrap_or(("", url));
    if url.contains('@') || rest.contains(':') {
        let finding = place.error("image", "`talosImageURL` has a version or digest of its own");
        findings.push(finding.fix("leave it out; `talosVersion` is added"));
    } else if !(host.contains(['.', ':']) || host == "localhost") {
        let finding = place.error("image", format!("`{url}` does not begin with the name of a registry"));
        findings.push(finding.fix("write REGISTRY/IMAGE, for example factory.talos.dev/metal-installer/…"));
    }
}

fn identity(own: &NodeFile, place: Place<'_>, findings: &mut Findings) {
    if own.hostname.is_empty() {
        let finding = place.error("node-hostname", "the node has no `hostname`");
        findings.push(finding.fix("add `hostname:`; it is also the name of its slot in ichord.yaml"));
    } else if !is_name(&own.hostname, 253) {
        let message = format!("`{}` is not a host name", own.hostname);
        let finding = place.key("hostname").error("node-hostname", message);
        findings.push(finding.fix("use letters, digits, dashes and dots"));
    }
    let address = place.key("ipAddress");
    if own.ip_address.is_empty() {
        findings.push(address.error("node-address", "the node has no `ipAddress`").fix("add `ipAddress:`"));
    }
    for text in own.ip_address.split(',').map(str::trim).filter(|_| !own.ip_address.is_empty()) {
        if text.parse::<IpAddr>().is_err() {
            let finding = address.error("node-address", format!("`{text}` is not an IP address"));
            findings.push(finding.fix("write the address; a name is no help before the cluster exists"));
        }
    }
    match (own.install_disk.is_empty(), &own.install_disk_selector) {
        (true, None) => {
            let finding =
                place.error("install-disk", "the node does not say which disk Talos is installed to");
            findings.push(finding.fix("add `installDisk: /dev/…` or `installDiskSelector:`"));
        }
        // of a selector that selects nothing is said where it is read
        (false, Some(selector)) if selector.as_object().is_none_or(|selector| !selector.is_empty()) => {
            let message = "`installDiskSelector` is used, `installDisk` is not";
            let finding = place.key("installDisk").warning("install-disk", message);
            findings.push(finding.fix("keep one of the two"));
        }
        _ => {}
    }
}

fn spec(spec: &MachineSpec, place: Place<'_>, findings: &mut Findings) {
    if architecture(&spec.arch).is_none() {
        let finding =
            place.key("arch").error("architecture", format!("there is no Talos for `{}`", spec.arch));
        findings.push(finding.fix("write amd64 or arm64"));
    }
    if !spec.mode.is_empty() && spec.mode != "metal" {
        let message =
            format!("what is installed is an image for `{}`, what is netbooted one for `metal`", spec.mode);
        let finding = place.key("mode").warning("platform", message);
        findings.push(finding.fix("remove it, or write `mode: metal`, for machines that ichord boots"));
    }
}

/// The architecture of an image; the default when empty.
pub(in crate::talconfig) fn architecture(text: &str) -> Option<Architecture> {
    match text {
        "" | "amd64" => Some(Architecture::Amd64),
        "arm64" => Some(Architecture::Arm64),
        _ => None,
    }
}

fn templates<'a>(configs: &NodeConfigs, written: &dyn Fn(&str) -> Place<'a>, findings: &mut Findings) {
    for (key, values) in
        [("nodeLabels", &configs.node_labels), ("nodeAnnotations", &configs.node_annotations)]
    {
        for (name, value) in values.iter().flatten().filter(|(_, value)| Template::is_one(value)) {
            if let Err(error) = Template::parse(value) {
                findings.push(template(written(key).key(name), error));
            }
        }
    }
    if let Err(error) = Template::parse(&configs.filename_tmpl) {
        findings.push(template(written("filenameTmpl"), error));
    }
}

fn ingress(firewall: &IngressFirewall, place: Place<'_>, findings: &mut Findings) {
    if firewall.default_action.is_empty() {
        let message = "without `defaultAction` everything is accepted, whatever the rules say";
        findings.push(place.warning("firewall", message).fix("write `defaultAction: block`, or `accept`"));
    } else if !["accept", "block"].contains(&firewall.default_action.as_str()) {
        let message = format!("`{}` is not a default action", firewall.default_action);
        findings.push(place.key("defaultAction").error("firewall", message).fix("write accept or block"));
    }
    for (index, rule) in firewall.rules.iter().enumerate() {
        let place = place.key("rules").item(index);
        if rule.name.is_empty() {
            findings.push(place.error("firewall", "a rule needs a `name`"));
        }
        let ports = rule.port_selector.get("ports").and_then(|ports| ports.as_array());
        if ports.is_none_or(Vec::is_empty) {
            findings.push(place.error("firewall", "a rule needs `portSelector.ports`"));
        }
    }
}

fn device(device: &Device, own: &NodeFile, place: Place<'_>, findings: &mut Findings) {
    match (device.interface.is_empty(), &device.device_selector) {
        (true, None) => {
            let message = "the network interface has neither `interface` nor `deviceSelector`";
            findings.push(place.error("link", message).fix("say which link is meant"));
        }
        (false, Some(_)) => {
            let message = "the network interface has both `interface` and `deviceSelector`";
            findings.push(place.error("link", message).fix("keep one of the two"));
        }
        _ => {}
    }
    if device.bond.is_some() && device.bridge.is_some() {
        findings.push(place.error("link", "the network interface is both a bond and a bridge"));
    }
    if device
        .bond
        .as_ref()
        .is_some_and(|bond| !bond.interfaces.is_empty() && !bond.device_selectors.is_empty())
    {
        findings
            .push(place.key("bond").error("link", "the bond has both `interfaces` and `deviceSelectors`"));
    }
    if !device.cidr.is_empty() && device.addresses.is_empty() {
        let finding =
            place.key("cidr").warning("deprecated", "`cidr` is deprecated, and talhelper refuses it");
        findings.push(finding.fix(format!("write `addresses: [{}]`", device.cidr)));
    } else if !device.cidr.is_empty() {
        let finding = place.key("cidr").error("link", "`cidr` and `addresses` exclude each other");
        findings.push(finding.fix("keep `addresses`"));
    }
    for (index, address) in device.addresses.iter().enumerate() {
        if !is_prefix(address) && address.parse::<IpAddr>().is_err() {
            let place = place.key("addresses").item(index);
            findings.push(place.error("link", format!("`{address}` is not an address with a prefix length")));
        }
    }
    for (index, route) in device.routes.iter().enumerate() {
        let place = place.key("routes").item(index);
        if route.network.is_empty() && route.gateway.is_empty() {
            findings.push(place.error("link", "a route needs `network` or `gateway`"));
        }
        if !route.network.is_empty() && !is_prefix(&route.network) {
            findings
                .push(place.key("network").error("link", format!("`{}` is not a network", route.network)));
        }
        if !route.gateway.is_empty() && route.gateway.parse::<IpAddr>().is_err() {
            findings
                .push(place.key("gateway").error("link", format!("`{}` is not an address", route.gateway)));
        }
    }
    for (index, vlan) in device.vlans.iter().enumerate() {
        if !(1..=4094).contains(&vlan.vlan_id) {
            let place = place.key("vlans").item(index);
            findings.push(place.error("link", format!("{} is not a VLAN id", vlan.vlan_id)).fix("1 to 4094"));
        }
    }
    let own_vip = device.vip.iter().map(|vip| (place.key("vip"), vip));
    let vlans = device.vlans.iter().enumerate();
    let vlan_vips = vlans
        .filter_map(|(index, vlan)| Some((place.key("vlans").item(index).key("vip"), vlan.vip.as_ref()?)));
    for (place, vip) in own_vip.chain(vlan_vips) {
        if !own.control_plane {
            let finding = place.error("vip", "a worker cannot hold the shared address");
            findings.push(finding.fix("remove `vip` from workers"));
        } else if !vip.ip.is_empty() && vip.ip.parse::<IpAddr>().is_err() {
            let finding = place.key("ip").error("vip", format!("`{}` is not an address", vip.ip));
            findings.push(finding.fix("write the address without a prefix length"));
        }
    }
}
