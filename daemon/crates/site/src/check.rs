//! What only shows when the site file, the talconfig and the files beside them are held together.

use std::collections::BTreeMap;

use document::{Document, Finding, Findings, Place, nearest};
use hardware::SwitchPort;
use identity::PortName;
use ipnet::IpNet;
use lifecycle::Trust;
use serde_json::Value;
use talos_config::{
    documents::LLDPD_EXTENSION,
    talconfig::{Node, TalConfig},
};

use crate::{handover, load::Files, model::Site, networks};

/// Where Talos answers.
const MACHINE_API: u16 = 50000;

/// Where lldpd reads its configuration in the extension (talos.md §8.1).
const LLDPD_CONF: &str = "/usr/local/etc/lldpd/lldpd.conf";

/// Every rule. `document` is the site file.
pub(crate) fn site(site: &Site, document: &Document, files: &dyn Files, findings: &mut Findings) {
    let root = document.place();
    slots(site, root.key("machines"), findings);
    twice(site, root.key("machines"), findings);
    switches(site, root, findings);
    networks::check(site, root, findings);
    for node in &site.cluster.nodes {
        lldp(&site.cluster, node, findings);
        disk(&site.cluster, node, findings);
        installer(&site.cluster, node, findings);
        if node.configs.machine_spec.secureboot {
            let place = site.cluster.place_of_key(node, "machineSpec").key("secureboot");
            let finding = place.warning(
                "secure-boot",
                "kernel and initramfs are not signed; Secure Boot will not start them",
            );
            findings.push(finding.fix("switch Secure Boot off for the installation"));
        }
    }
    proxy(&site.cluster, findings);
    control_planes(&site.cluster, findings);
    workloads(&site.cluster, findings);
    cilium(site, root.key("handover"), findings);
    firewall(site, findings);
    // what the files say wrong is said; a config rendered from it would say it again in other words
    if !findings.has_errors() {
        findings.extend(site.cluster.check_rendered());
    }
    handover::check(&site.handover, root.key("handover"), files, findings);
    if site.trust == Trust::Machine {
        let message = "what only the machine says about its switch port is enough for a control-plane config, \
                       which holds every key of the cluster";
        let finding = root.key("trust").warning("trust-machine", message);
        findings.push(finding.fix("keep the provisioning network to yourself, or write `trust: attested`"));
    }
    if !files.exists(&site.secrets) {
        let file = site.secrets.display().to_string();
        let finding =
            Finding::about_file(file, "secrets-missing", "the cluster has no secrets yet").warning();
        findings.push(finding.fix(format!("run `ichord secrets new {}`", site.directory.display())));
    }
}

fn slots(site: &Site, place: Place<'_>, findings: &mut Findings) {
    for slot in &site.slots {
        if site.cluster.node(&slot.name).is_none() {
            let finding = place
                .name(site.key_of(&slot.name))
                .error("slot-unknown", format!("the talconfig has no node `{}`", slot.name));
            let names: Vec<&str> = site.cluster.nodes.iter().map(|node| node.hostname.as_str()).collect();
            let fix = match nearest(&slot.name, names.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("its nodes are {}", names.join(", ")),
            };
            findings.push(finding.fix(fix));
        }
    }
    // a faulty entry counts: it was reported as what it is
    let is_written = |name: &str| {
        site.keys.contains_key(name) || place.node().is_some_and(|node| node.entry(name).is_some())
    };
    for node in site.cluster.nodes.iter().filter(|node| !is_written(&node.hostname)) {
        let name = &node.hostname;
        let finding = place.error("slot-missing", format!("nothing says where `{name}` is plugged in"));
        let finding = finding.fix(format!("add `{name}: {{ port: SWITCH/PORT }}`, or with `mac:`"));
        // without all control planes the cluster is never bootstrapped
        findings.push(if node.control_plane { finding } else { finding.warning() });
    }
}

/// The same mark in two slots would let one machine be two nodes.
fn twice(site: &Site, place: Place<'_>, findings: &mut Findings) {
    let mut seen: BTreeMap<(&str, String), &str> = BTreeMap::new();
    for slot in &site.slots {
        let ports = slot.ports.iter().map(|port| ("port", normal(port)));
        let macs = slot.macs.iter().map(|mac| ("mac", mac.to_string()));
        let uuid = slot.uuid.iter().map(|uuid| ("uuid", uuid.to_string()));
        let serial = slot.serial.iter().map(|serial| ("serial", serial.clone()));
        for (kind, mark) in ports.chain(macs).chain(uuid).chain(serial) {
            if let Some(other) = seen.insert((kind, mark.clone()), &slot.name)
                && other != slot.name
            {
                let message = format!("the {kind} {mark} is that of `{other}` already");
                let finding = place.key(site.key_of(&slot.name)).key(kind).error("slot-twice", message);
                findings.push(finding.fix("each machine has one slot; correct one of the two"));
            }
        }
    }
}

/// Switches and people spell the same port differently.
fn normal(port: &SwitchPort) -> String {
    format!("{}/{}", port.switch.to_lowercase(), PortName::normal(&port.port))
}

fn switches(site: &Site, root: Place<'_>, findings: &mut Findings) {
    let place = root.key("switches");
    let mut names: Vec<&str> = Vec::new();
    for (index, switch) in site.switches.iter().enumerate() {
        let place = place.item(index);
        if names.contains(&switch.name.as_str()) {
            let message = format!("there is another switch `{}`", switch.name);
            findings.push(
                place.key("name").error("switch-twice", message).fix("give each switch a name of its own"),
            );
        }
        names.push(&switch.name);
        let mut interfaces: BTreeMap<&str, &str> = BTreeMap::new();
        for (port, interface) in &switch.ports {
            if let Some(other) = interfaces.insert(interface, port) {
                let message = format!("{interface} is the port {other} already");
                findings.push(place.key("ports").key(port).error("switch-port-twice", message));
            }
        }
    }
    for slot in &site.slots {
        for (index, port) in slot.ports.iter().enumerate() {
            let place = root.key("machines").key(site.key_of(&slot.name)).key("port");
            let place = if place.item(index).node().is_some() { place.item(index) } else { place };
            findings.extend(unknown_port(site, port, place));
        }
    }
}

/// A port of a switch the daemon knows must be one of its ports. Other switches are not known by name.
fn unknown_port(site: &Site, port: &SwitchPort, place: Place<'_>) -> Option<Finding> {
    let switch = site.switches.iter().find(|switch| switch.name == port.switch)?;
    let name = PortName::normal(&port.port);
    if switch.ports.is_empty() || switch.ports.keys().any(|port| PortName::normal(port) == name) {
        return None;
    }
    let finding =
        place.error("port-unknown", format!("the switch {} has no port {}", port.switch, port.port));
    let ports: Vec<&str> = switch.ports.keys().map(String::as_str).collect();
    Some(match nearest(&port.port, ports.iter().copied()) {
        Some(meant) => finding.fix(format!("did you mean {}/{meant}?", port.switch)),
        None => finding.fix(format!("its ports are {}", ports.join(", "))),
    })
}

/// The LLDP extension without its document keeps a machine waiting until it reboots (talos.md §8.1). One is
/// added when none is written; what is written must be found by the service.
fn lldp(cluster: &TalConfig, node: &Node, findings: &mut Findings) {
    if !node.schematic.has_extension(LLDPD_EXTENSION) {
        return;
    }
    let services = node.configs.extension_services.as_deref().unwrap_or_default();
    let service = services.iter().position(|service| service.name == "lldpd");
    let patches = cluster.patch_documents(node, "ExtensionServiceConfig", "lldpd");
    let place = match service {
        Some(index) => cluster.place_of_key(node, "extensionServices").item(index),
        None => cluster.place_of_key(node, "schematic"),
    };
    if patches.last().is_some_and(|document| document.get("$patch").is_some_and(|patch| patch == "delete")) {
        let message =
            format!("a patch of `{}` removes the document without which lldpd never starts", node.hostname);
        let finding = place.error("lldpd-document", message);
        findings.push(finding.fix("remove the patch, or siderolabs/lldpd from the schematic"));
        return;
    }
    let mounted = |value: &Value| {
        let files = value.get("configFiles").and_then(Value::as_array);
        files.is_some_and(|files| {
            files.iter().any(|file| file.get("mountPath").is_some_and(|path| path == LLDPD_CONF))
        })
    };
    let in_service = service
        .and_then(|index| services.get(index))
        .is_some_and(|service| service.config_files.iter().any(|file| file.mount_path == LLDPD_CONF));
    if in_service || patches.iter().any(mounted) {
        return;
    }
    findings.push(if service.is_none() && patches.is_empty() {
        let message =
            "the image has siderolabs/lldpd, which waits for its configuration; a default one is added";
        place
            .warning("lldpd-document", message)
            .fix("write it under `extensionServices` to see and change it")
    } else {
        let finding = place
            .warning("lldpd-document", format!("lldpd reads {LLDPD_CONF}, which is not among its files"));
        finding.fix(format!("mount the configuration at {LLDPD_CONF}"))
    });
}

/// The disk is checked on the machine before the config goes there, so it must be the one in the config.
fn disk(cluster: &TalConfig, node: &Node, findings: &mut Findings) {
    for key in ["disk", "diskSelector"] {
        if cluster.patched(node, &["machine", "install", key]).is_some() {
            let message = format!("a patch of `{}` sets machine.install.{key}", node.hostname);
            let finding = cluster.place_of(node).error("install-disk", message);
            findings.push(finding.fix("write `installDisk` or `installDiskSelector` of the node instead"));
        }
    }
}

/// The installer decides which extensions the machine keeps, whatever it was booted with (talos.md §2.6).
fn installer(cluster: &TalConfig, node: &Node, findings: &mut Findings) {
    let Some(id) = node.installer_schematic_id().filter(|_| node.configs.schematic.is_some()) else { return };
    let own = node.schematic.id();
    if id != own {
        let message = format!("`talosImageURL` is of another schematic than `schematic`, whose id is {own}");
        let finding = cluster.place_of_key(node, "talosImageURL").warning("installer-differs", message);
        findings.push(finding.fix("remove `talosImageURL`, which wins, or bring the two together"));
    }
}

/// kube-proxy and what replaces it must not both be there, nor both be missing.
fn proxy(cluster: &TalConfig, findings: &mut Findings) {
    let Some(node) = cluster.nodes.iter().find(|node| node.control_plane) else { return };
    let disabled = cluster.patched(node, &["cluster", "proxy", "disabled"]) == Some(Value::Bool(true));
    let patched = cluster.patched(node, &["cluster", "network", "cni", "name"]);
    let written = cluster.cni.as_ref().map(|cni| cni.name.as_str());
    let cni = patched.as_ref().and_then(Value::as_str).or(written).unwrap_or("flannel");
    let place = cluster.place().key("cniConfig");
    match (cni, disabled) {
        ("none", false) => {
            let message = "there is no CNI from Talos, but kube-proxy; a CNI that replaces it (Cilium) would find it in its way";
            let finding = place.warning("kube-proxy", message);
            findings.push(finding.fix("if yours replaces it, patch `cluster: {proxy: {disabled: true}}`"));
        }
        ("flannel", true) => {
            let finding = place.warning(
                "kube-proxy",
                "kube-proxy is disabled, and flannel does not replace it: services would not answer",
            );
            findings.push(
                finding.fix("write `cniConfig: {name: none}` and bring a CNI that does, or keep kube-proxy"),
            );
        }
        _ => {}
    }
}

fn control_planes(cluster: &TalConfig, findings: &mut Findings) {
    let count = cluster.nodes.iter().filter(|node| node.control_plane).count();
    if count > 0 && count % 2 == 0 {
        let message = format!("{count} control planes survive no more failures than {}", count - 1);
        let finding = cluster.place().key("nodes").warning("control-planes-even", message);
        findings.push(finding.fix("have one, three or five"));
    }
}

/// What the hand-over brings must run somewhere.
fn workloads(cluster: &TalConfig, findings: &mut Findings) {
    let Some(node) = cluster.nodes.first() else { return };
    let by_patch =
        cluster.patched(node, &["cluster", "allowSchedulingOnControlPlanes"]) == Some(Value::Bool(true));
    if cluster.nodes.iter().all(|node| node.control_plane) && !cluster.allow_scheduling && !by_patch {
        let message = "all nodes are control planes, and workloads may not run on those";
        // a worker may be added later
        let finding = cluster.place().key("nodes").warning("nowhere-to-run", message);
        findings.push(finding.fix("write `allowSchedulingOnControlPlanes: true`, or add a worker"));
    }
}

/// Talos would own, and one day remove, what the hand-over has installed under the same name.
fn cilium(site: &Site, place: Place<'_>, findings: &mut Findings) {
    let is_cilium = |name: &str| name.to_lowercase().contains("cilium");
    let Some((name, _)) = site.cluster.inline_manifests.iter().find(|(name, _)| is_cilium(name)) else {
        return;
    };
    if let Some(index) = site.handover.iter().position(|step| is_cilium(&step.name)) {
        let message = format!(
            "Cilium is the inline manifest `{name}`, too: Talos and the hand-over would both manage it"
        );
        let finding = place.item(index).error("cilium-twice", message);
        findings
            .push(finding.fix("remove it from `inlineManifests` of the talconfig, or from the hand-over"));
    }
}

/// The daemon pushes configs and calls Bootstrap from its own address, which is in one of its networks.
fn firewall(site: &Site, findings: &mut Findings) {
    let cluster = &site.cluster;
    for node in &cluster.nodes {
        // a filter that opens the port to nobody has a finding of its own
        let Some(nets) = cluster.admitted(node, MACHINE_API).filter(|nets| !nets.is_empty()) else {
            continue;
        };
        let reaches = |net: &IpNet| {
            site.networks.iter().any(|network| {
                let own = IpNet::from(network.subnet);
                own.contains(&net.network()) || net.contains(&own.network())
            })
        };
        if !site.networks.is_empty() && !nets.iter().any(reaches) {
            let own: Vec<String> = site.networks.iter().map(|network| network.subnet.to_string()).collect();
            let message = format!(
                "the packet filter opens port {MACHINE_API}, but not to {}, where the daemon is",
                own.join(" or ")
            );
            let finding = cluster.place_of_key(node, "ingressFirewall").error("firewall-daemon", message);
            findings.push(
                finding.fix("add the daemon's network to the rule; else it is locked out by its own config"),
            );
        }
    }
}
