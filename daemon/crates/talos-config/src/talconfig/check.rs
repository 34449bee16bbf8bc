//! What talhelper's own validation refuses, and what cannot be rendered here yet.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use document::{Document, Finding, Findings, Place, Position, Value, nearest};
use hardware::Architecture;

use super::{
    Patch, TalConfig,
    device::Device,
    wire::{File, IngressFirewall, MachineSpec, NodeConfigs, NodeFile},
};
use crate::{
    config::MachineConfig,
    schema,
    versions::{Contract, KubernetesVersion, TalosVersion},
};

/// The effects of a Kubernetes taint.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The cluster-wide keys that stand for themselves.
pub(super) fn file(wire: &File, root: Place<'_>, findings: &mut Findings) {
    let mut required = |is_there: bool, key: &str, example: &str| {
        if !is_there {
            let finding = root.key(key).error("key-missing", format!("`{key}` is missing or empty"));
            findings.push(finding.fix(format!("add `{key}: {example}`")));
        }
    };
    required(!wire.cluster_name.is_empty(), "clusterName", "my-cluster");
    required(!wire.kubernetes_version.is_empty(), "kubernetesVersion", "v1.36.3");
    required(!wire.endpoint.is_empty(), "endpoint", "https://192.168.1.10:6443");
    required(!wire.nodes.is_empty(), "nodes", "[…]");
    if !wire.domain.is_empty() && !is_name(&wire.domain, 255) {
        findings.push(root.key("domain").error("domain", format!("`{}` is not a DNS domain", wire.domain)));
    }
    if let Some(cni) = &wire.cni_config {
        let place = root.key("cniConfig");
        let names = ["flannel", "custom", "none"];
        if !names.contains(&cni.name.as_str()) {
            let finding = place.key("name").error("cni", format!("there is no CNI `{}`", cni.name));
            let meant = nearest(&cni.name, names).unwrap_or("none");
            findings.push(finding.fix(format!("one of flannel, custom and none; perhaps `{meant}`")));
        } else if cni.name != "custom" && !cni.urls.is_empty() {
            let message = format!("`urls` go with `name: custom`, not with `{}`", cni.name);
            let finding = place.key("urls").error("cni", message);
            findings.push(finding.fix("remove `urls`, or write `name: custom`"));
        }
    }
    // the URL of an ISO has no meaning here, where images come from the site's own directory
    if !wire.image_factory.installer_url_tmpl.is_empty() {
        let place = root.key("imageFactory").key("installerURLTmpl");
        let finding = place.error("not-supported", "templates of installer URLs are not supported yet");
        findings.push(finding.fix("remove it: REGISTRY/metal-installer/SCHEMATIC:VERSION is used"));
    }
    let mut names = Vec::new();
    for (index, manifest) in wire.inline_manifests.iter().enumerate() {
        let place = root.key("inlineManifests").item(index);
        if manifest.name.is_empty() || manifest.contents.is_empty() {
            findings.push(place.error("inline-manifest", "an inline manifest needs `name` and `contents`"));
        } else if names.contains(&&manifest.name) {
            let message = format!("there is another inline manifest `{}`", manifest.name);
            findings.push(place.key("name").error("inline-manifest", message));
        }
        names.push(&manifest.name);
    }
}

/// The version of Talos, whose minor release must be one configs can be made for.
pub(super) fn talos(text: &str, place: Place<'_>, findings: &mut Findings) -> Option<TalosVersion> {
    let numbers = text.trim_start_matches('v').split('-').next().unwrap_or_default();
    let version = match text.parse::<TalosVersion>() {
        Ok(version) if numbers.split('.').count() == 3 => version,
        _ => {
            let finding = place.error("talos-version", format!("`{text}` is not a Talos version"));
            findings.push(finding.fix("write all three numbers, for example v1.13.9"));
            return None;
        }
    };
    match version.contract.to_generate() {
        Ok(_) => Some(version),
        Err(error) => {
            findings.push(place.error("talos-version", error.to_string()));
            None
        }
    }
}

/// The version of Kubernetes, which this Talos must run.
pub(super) fn kubernetes(
    text: &str,
    talos: Option<&TalosVersion>,
    root: Place<'_>,
    findings: &mut Findings,
) -> Option<KubernetesVersion> {
    let place = root.key("kubernetesVersion");
    if text.is_empty() {
        return None;
    }
    let Ok(version) = text.parse::<KubernetesVersion>() else {
        let finding = place.error("kubernetes-version", format!("`{text}` is not a Kubernetes version"));
        findings.push(finding.fix("write all three numbers, for example v1.36.3"));
        return None;
    };
    if let Some(Err(error)) = talos.map(|talos| talos.contract.check_kubernetes(version)) {
        let finding = place.error("versions-incompatible", error.to_string());
        findings.push(finding.fix("change `kubernetesVersion` or `talosVersion`"));
    }
    Some(version)
}

/// The endpoint; gives the host in it, IPv6 without brackets.
pub(super) fn endpoint(text: &str, root: Place<'_>, findings: &mut Findings) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let host = host_of(text);
    if host.is_none() {
        let message = format!("`{text}` is not the URL of a Kubernetes API");
        let finding = root.key("endpoint").error("endpoint", message);
        findings.push(finding.fix("write https://HOST:PORT, for example https://192.168.1.10:6443"));
    }
    host
}

fn host_of(endpoint: &str) -> Option<String> {
    let authority = endpoint.strip_prefix("https://")?.trim_end_matches('/');
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port)
        }
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let host_fits = host.parse::<IpAddr>().is_ok() || is_name(host, 255);
    (port_fits && host_fits).then(|| host.to_owned())
}

/// The keys of one node, inherited ones among them; `written` finds where a key stands.
pub(super) fn node<'a>(
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
        (false, Some(_)) => {
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
        let message = format!("machines of mode `{}` are not netbooted here", spec.mode);
        let finding = place.key("mode").error("not-supported", message);
        findings.push(finding.fix("remove it, or write `mode: metal`"));
    }
}

/// The architecture of an image; the default when empty.
pub(super) fn architecture(text: &str) -> Option<Architecture> {
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
        for (name, value) in values.iter().flatten() {
            if name.contains("{{") || value.contains("{{") {
                let finding = written(key).key(name).error("template", "Go templates are not supported yet");
                findings.push(finding.fix("write the value itself"));
            }
        }
    }
    if !configs.filename_tmpl.is_empty() {
        let finding = written("filenameTmpl").warning("not-supported", "`filenameTmpl` has no effect yet");
        findings.push(finding.fix("rendered files are named CLUSTER-HOSTNAME.yaml"));
    }
}

fn ingress(firewall: &IngressFirewall, place: Place<'_>, findings: &mut Findings) {
    if !["accept", "block"].contains(&firewall.default_action.as_str()) {
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
    if !device.cidr.is_empty() && !device.addresses.is_empty() {
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

/// One patch: no template, readable, and mergeable. `inline` is the scalar that holds it.
pub(super) fn patch(
    patch: &Patch,
    inline: Option<(&Document, &document::Node)>,
    contract: Option<Contract>,
    findings: &mut Findings,
) {
    if let Some(offset) = patch.text.find("{{") {
        let before = patch.text.get(..offset).unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let at = Position {
            line: number(before.matches('\n').count() + 1),
            column: number(before.rsplit('\n').next().unwrap_or_default().chars().count() + 1),
        };
        let at = inline.map_or(at, |(_, scalar)| scalar.inside(at));
        let finding =
            Finding::error(&patch.file, at, "template", "Go templates in patches are not supported yet");
        findings.push(finding.fix("write the value itself"));
        return;
    }
    let parsed = match inline {
        Some((document, scalar)) => document.parse_inside(scalar),
        None => Document::parse_stream(&patch.file, &patch.text),
    };
    let documents = match parsed {
        Ok(documents) => documents,
        Err(finding) => return findings.push(finding),
    };
    for document in &documents {
        let place = document.place();
        match &document.root().value {
            Value::Map(entries) if !entries.is_empty() => unknown_keys(document, contract, findings),
            Value::List(_) if contract.is_some_and(|contract| contract < Contract::new(1, 12)) => {}
            Value::List(_) => {
                let message = "a JSON patch (RFC 6902) cannot change a config of several documents, \
                               and from Talos 1.12 on it always has several";
                let finding = place.error("patch-json", message);
                findings.push(finding.fix("write the keys to change as they are in the config"));
            }
            _ => {
                let finding = place.error("patch", "the patch is not a mapping");
                findings.push(finding.fix("begin with `machine:`, `cluster:` or `apiVersion:`"));
            }
        }
    }
}

/// Talos refuses the whole config for one key it does not know; talhelper finds that out when it renders.
fn unknown_keys(document: &Document, contract: Option<Contract>, findings: &mut Findings) {
    let Ok(config) = MachineConfig::from_documents(vec![document.root().to_json()]) else {
        let finding = document
            .place()
            .error("patch", "this is neither a part of a machine config nor a document of a kind");
        findings.push(finding.fix("begin with `machine:` or `cluster:`, or give `apiVersion` and `kind`"));
        return;
    };
    for unknown in schema::unknown_keys(&config) {
        let Some((key, way)) = unknown.path.split_last() else { continue };
        // an instruction to the patch, not a key of the config
        if key == "$patch" {
            continue;
        }
        let place = way.iter().fold(document.place(), |place, step| {
            let index = step.strip_prefix('[').and_then(|step| step.strip_suffix(']'));
            match index.and_then(|index| index.parse().ok()) {
                Some(index) => place.item(index),
                None => place.key(step),
            }
        });
        let message = match way {
            [] => format!("Talos knows no key `{key}` in {}", unknown.document),
            way => format!("Talos knows no key `{key}` in `{}` of {}", way.join("."), unknown.document),
        };
        let finding = place.name(key).error("patch-key", message);
        let finding = match nearest(key, unknown.known.iter().copied()) {
            Some(meant) => finding.fix(format!("did you mean `{meant}`?")),
            None => finding.fix(format!("it knows {}", unknown.known.join(", "))),
        };
        // the table is that of 1.13
        let newer = contract.is_some_and(|contract| contract > Contract::new(1, 13));
        findings.push(if newer { finding.warning() } else { finding });
    }
}

/// What only all nodes together show.
pub(super) fn cluster(config: &TalConfig) -> Findings {
    let mut findings = Findings::new();
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, (&str, u32)> = BTreeMap::new();
    for node in &config.nodes {
        let place = config.place_of(node);
        let line = place.position().line;
        if let Some(first) = names.insert(&node.hostname, line) {
            let message = format!("there is another node `{}` in line {first}", node.hostname);
            let finding = place.key("hostname").error("node-twice", message);
            findings.push(finding.fix(
                "give each node a name of its own; a control plane that joins removes the etcd member of its name",
            ));
        }
        for address in &node.addresses {
            if let Some((other, first)) = addresses.insert(*address, (&node.hostname, line)) {
                let message = format!("`{other}` in line {first} has the address {address} already");
                findings.push(place.key("ipAddress").error("node-address", message));
            }
        }
    }
    if !config.nodes.is_empty() && !config.nodes.iter().any(|node| node.control_plane) {
        let finding = config.place().key("nodes").error("control-plane", "no node is a control plane");
        findings.push(finding.fix("write `controlPlane: true` on one, three or five nodes"));
    }
    findings
}

fn is_name(text: &str, longest: usize) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= longest && text.split('.').all(is_label)
}

fn is_prefix(text: &str) -> bool {
    text.parse::<ipnet::IpNet>().is_ok()
}
