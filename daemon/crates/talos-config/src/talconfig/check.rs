//! What talhelper's own validation refuses, and what cannot be rendered here yet.

mod keys;
mod node;
mod patch;
mod rendered;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use document::{Finding, Findings, Place, nearest};

use super::{TalConfig, wire::File};
use crate::{
    template::{Template, TemplateError},
    versions::{KubernetesVersion, TalosVersion},
};

pub(super) use keys::explain;
pub(super) use node::{architecture, node};
pub(super) use patch::patch;

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
    if let Err(error) = Template::parse(&wire.image_factory.installer_url_tmpl) {
        findings.push(template(root.key("imageFactory").key("installerURLTmpl"), error));
    }
    for (key, nets) in
        [("clusterPodNets", &wire.cluster_pod_nets), ("clusterSvcNets", &wire.cluster_svc_nets)]
    {
        for (index, net) in nets.iter().enumerate().filter(|(_, net)| !is_prefix(net)) {
            let finding = root.key(key).item(index).error("cidr", format!("`{net}` is not a network"));
            findings.push(finding.fix("write it with its prefix length, for example 10.244.0.0/16"));
        }
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

/// A fault in a template that is a value of its own.
pub(super) fn template(place: Place<'_>, error: TemplateError) -> Finding {
    let at = place.node().map_or_else(|| place.position(), |node| node.inside(error.at));
    let mut finding = place.error("template", error.message);
    (finding.line, finding.column) = (at.line, at.column);
    finding.fix = error.fix;
    finding
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
