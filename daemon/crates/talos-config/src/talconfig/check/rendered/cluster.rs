//! The cluster's own section, and what the nodes run for it.

use std::net::IpAddr;

use document::Findings;
use ipnet::IpNet;
use serde_json::Value;

use super::{Look, install::tagged};

/// What a kubelet's configuration may not change, because Talos relies on it.
const KUBELET: [&str; 13] = [
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kind",
    "kubeletCgroups",
    "port",
    "protectKernelDefaults",
    "resolvConf",
    "rotateCertificates",
    "systemCgroups",
    "staticPodPath",
    "seccompDefault",
];

/// Images that people replace, by their places.
const IMAGES: [&[&str]; 7] = [
    &["machine", "kubelet", "image"],
    &["cluster", "apiServer", "image"],
    &["cluster", "controllerManager", "image"],
    &["cluster", "scheduler", "image"],
    &["cluster", "proxy", "image"],
    &["cluster", "etcd", "image"],
    &["cluster", "coreDNS", "image"],
];

pub(super) fn check(look: &Look<'_>, findings: &mut Findings) {
    images(look, findings);
    cni(look, findings);
    etcd(look, findings);
    subnets(look, findings);
    kubelet(look, findings);
    discovery(look, findings);
    features(look, findings);
    inline_manifests(look, findings);
    repeated(look, findings);
    taints(look, findings);
}

/// From 1.11 on Talos refuses an image without a tag.
fn images(look: &Look<'_>, findings: &mut Findings) {
    for path in IMAGES.into_iter().filter(|_| look.at_least(11)) {
        let Some(image) = look.text(path) else { continue };
        if !image.contains('@') && tagged(image).1.is_none() {
            let finding = look.error(path, "patches", "image-tag", format!("the image `{image}` has no tag"));
            findings.push(finding.fix("add the version behind a colon"));
        }
    }
}

fn cni(look: &Look<'_>, findings: &mut Findings) {
    const PATH: [&str; 3] = ["cluster", "network", "cni"];
    if !look.node.control_plane {
        return;
    }
    let name = look.text(&["cluster", "network", "cni", "name"]).unwrap_or("flannel");
    let urls = look.texts(&["cluster", "network", "cni", "urls"]);
    let finding = if !["flannel", "custom", "none"].contains(&name) {
        look.patched(&PATH, "cni", format!("there is no CNI `{name}`"))
            .map(|finding| finding.fix("one of flannel, custom and none"))
    } else if name != "custom" && !urls.is_empty() {
        let message = format!("`urls` go with `name: custom`, not with `{name}`");
        look.patched(&PATH, "cni", message)
            .map(|finding| finding.fix("remove `urls`, or write `name: custom`"))
    } else {
        None
    };
    findings.extend(finding);
}

fn etcd(look: &Look<'_>, findings: &mut Findings) {
    const PATH: [&str; 2] = ["cluster", "etcd"];
    if !look.node.control_plane && look.main(&PATH).is_some() {
        let finding = look.error(
            &PATH,
            "patches",
            "etcd",
            "only a control plane has etcd; Talos refuses its section in a worker",
        );
        findings.push(finding.fix("move the patch to `controlPlane: {patches: […]}`"));
    }
    let subnet = ["cluster", "etcd", "subnet"];
    let both = look.text(&subnet).is_some_and(|subnet| !subnet.is_empty())
        && !look.texts(&["cluster", "etcd", "advertisedSubnets"]).is_empty();
    if both {
        let finding =
            look.error(&subnet, "patches", "etcd", "`subnet` and `advertisedSubnets` exclude each other");
        findings.push(finding.fix("keep `advertisedSubnets`"));
    }
}

/// Lists of networks, each with or without a `!` before it.
fn subnets(look: &Look<'_>, findings: &mut Findings) {
    for path in [
        ["cluster", "etcd", "advertisedSubnets"].as_slice(),
        &["cluster", "etcd", "listenSubnets"],
        &["machine", "kubelet", "nodeIP", "validSubnets"],
    ] {
        for (index, text) in look.texts(path).into_iter().enumerate() {
            let bare = text.trim_start_matches('!');
            if bare.parse::<IpNet>().is_err() && bare.parse::<IpAddr>().is_err() {
                let step = format!("[{index}]");
                let whole: Vec<&str> = path.iter().copied().chain([step.as_str()]).collect();
                let finding = look.error(&whole, "patches", "cidr", format!("`{text}` is not a network"));
                findings.push(finding.fix("write it as 192.168.1.0/24, with `!` before it to exclude it"));
            }
        }
    }
    valid_subnets(look, findings);
}

/// The kubelet takes its address from these networks; one that no address is in leaves the node without.
fn valid_subnets(look: &Look<'_>, findings: &mut Findings) {
    const PATH: [&str; 4] = ["machine", "kubelet", "nodeIP", "validSubnets"];
    let nets: Option<Vec<IpNet>> = look.texts(&PATH).into_iter().map(|text| text.parse().ok()).collect();
    // with exclusions the rest is what counts
    let Some(nets) = nets.filter(|nets| !nets.is_empty()) else { return };
    let own = &look.node.addresses;
    let families =
        own.iter().filter(|address| nets.iter().any(|net| net.addr().is_ipv4() == address.is_ipv4()));
    let mut families = families.peekable();
    if families.peek().is_some() && !families.any(|address| nets.iter().any(|net| net.contains(address))) {
        let message = "no address of the node is in `validSubnets`, so its kubelet would find none to use";
        // it may have other addresses than the one it is reached at
        let finding = look.error(&PATH, "patches", "node-ip", message).warning();
        findings.push(finding.fix("correct the networks, or the node's `ipAddress`"));
    }
}

fn kubelet(look: &Look<'_>, findings: &mut Findings) {
    let extra = look.main(&["machine", "kubelet", "extraConfig"]).and_then(Value::as_object);
    for field in KUBELET.iter().filter(|field| extra.is_some_and(|extra| extra.contains_key(**field))) {
        let path = ["machine", "kubelet", "extraConfig", field];
        let finding = look.error(
            &path,
            "patches",
            "kubelet-config",
            format!("Talos sets `{field}` of the kubelet itself"),
        );
        findings.push(finding.fix("remove it; Talos refuses the config"));
    }
}

fn discovery(look: &Look<'_>, findings: &mut Findings) {
    const SERVICE: [&str; 4] = ["cluster", "discovery", "registries", "service"];
    let enabled = look.is(&["cluster", "discovery", "enabled"], true);
    let service = enabled && !look.is(&["cluster", "discovery", "registries", "service", "disabled"], true);
    let endpoint = look.text(&["cluster", "discovery", "registries", "service", "endpoint"]);
    if let Some(endpoint) = endpoint.filter(|_| service) {
        let rest = endpoint.split_once("://").map(|(_, rest)| rest);
        let path = rest.and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path);
        if rest.is_none() || !path.is_empty() {
            let message = format!("the discovery service `{endpoint}` must be an URL without a path");
            let finding = look.error(&SERVICE, "patches", "discovery", message);
            findings.push(finding.fix("write https://HOST/"));
        }
    }
    let mesh = look.is(&["machine", "network", "kubespan", "enabled"], true);
    let mesh = mesh
        || look
            .machine
            .document("KubeSpanConfig", "")
            .is_some_and(|mesh| mesh.get("enabled") == Some(&Value::Bool(true)));
    if mesh && !enabled {
        let message = "KubeSpan finds its peers through discovery, which is switched off";
        let finding = look.error(&["cluster", "discovery", "enabled"], "patches", "kubespan", message);
        findings.push(finding.fix("switch discovery on, or KubeSpan off"));
    }
    trustd(look, enabled, findings);
}

/// A worker asks a control plane for its certificate, on port 50001. Without discovery it knows only the endpoint.
fn trustd(look: &Look<'_>, discovery: bool, findings: &mut Findings) {
    let config = look.config;
    let host = config.endpoint_host.parse::<IpAddr>().ok();
    let is_ours = host.is_some_and(|host| {
        config.virtual_addresses().contains(&host)
            || config.nodes.iter().any(|node| node.control_plane && node.addresses.contains(&host))
    });
    // a name may be one of the control planes
    if !discovery && !look.node.control_plane && host.is_some() && !is_ours {
        let message = "without discovery a worker gets its certificate from port 50001 of the endpoint, which is no control plane";
        let finding =
            look.error(&["cluster", "discovery", "enabled"], "patches", "discovery", message).warning();
        findings.push(finding.fix("forward port 50001 there, too, or switch discovery on"));
    }
}

fn features(look: &Look<'_>, findings: &mut Findings) {
    const DNS: [&str; 4] = ["machine", "features", "hostDNS", "forwardKubeDNSToHost"];
    if look.is(&DNS, true) && !look.is(&["machine", "features", "hostDNS", "enabled"], true) {
        let message = "`forwardKubeDNSToHost` needs the host's DNS, which is not enabled";
        let finding =
            look.error(&["machine", "features", "hostDNS", "enabled"], "patches", "host-dns", message);
        findings.push(finding.fix("write `enabled: true`, or `forwardKubeDNSToHost: false`"));
    }
    const ACCESS: [&str; 4] = ["machine", "features", "kubernetesTalosAPIAccess", "enabled"];
    if !look.node.control_plane && look.is(&ACCESS, true) {
        let message = "pods reach the Talos API through control planes; Talos refuses this in a worker";
        let finding = look.error(&ACCESS, "patches", "talos-api-access", message);
        findings.push(finding.fix("move the patch to `controlPlane: {patches: […]}`"));
    }
    if !look.node.control_plane {
        return;
    }
    const CLOUD: [&str; 3] = ["cluster", "externalCloudProvider", "manifests"];
    if !look.texts(&CLOUD).is_empty() && !look.is(&["cluster", "externalCloudProvider", "enabled"], true) {
        let message = "there are manifests of a cloud provider, which is not enabled";
        findings.push(
            look.error(&CLOUD, "patches", "cloud-provider", message)
                .fix("write `enabled: true`, or remove them"),
        );
    }
    const PRISM: [&str; 4] = ["machine", "features", "kubePrism", "enabled"];
    if look.is(&PRISM, false) && look.is(&["cluster", "proxy", "disabled"], true) {
        let message = "kube-proxy is disabled, and what replaces it reaches the API server through KubePrism, which is, too";
        findings
            .push(look.error(&PRISM, "patches", "kube-prism", message).warning().fix("leave KubePrism on"));
    }
    const CORE_DNS: [&str; 3] = ["cluster", "coreDNS", "disabled"];
    if look.is(&CORE_DNS, true) {
        let message = "without CoreDNS nothing in the cluster finds a name, and Flux not its Git server";
        let finding = look.error(&CORE_DNS, "patches", "core-dns", message).warning();
        findings.push(finding.fix("keep it, or bring another DNS with the hand-over, before what needs it"));
    }
}

fn inline_manifests(look: &Look<'_>, findings: &mut Findings) {
    const PATH: [&str; 2] = ["cluster", "inlineManifests"];
    let manifests = look.main(&PATH).and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> =
        manifests.map(|manifest| manifest.get("name").and_then(Value::as_str).unwrap_or_default()).collect();
    for (index, name) in names.iter().enumerate() {
        let message = match name.trim() {
            "" => "an inline manifest needs a `name`".to_owned(),
            name if names.iter().take(index).any(|other| *other == name) => {
                format!("there is another inline manifest `{name}`")
            }
            _ => continue,
        };
        findings.extend(look.patched(&PATH, "inline-manifest", message));
    }
}

/// Patches append to lists: what two of them say is there twice.
fn repeated(look: &Look<'_>, findings: &mut Findings) {
    for path in [
        ["machine", "certSANs"].as_slice(),
        &["cluster", "apiServer", "certSANs"],
        &["machine", "network", "nameservers"],
        &["machine", "kubelet", "nodeIP", "validSubnets"],
        &["cluster", "etcd", "advertisedSubnets"],
    ] {
        let texts = look.texts(path);
        let twice = texts
            .iter()
            .enumerate()
            .find(|(index, text)| texts.iter().take(*index).any(|other| other == *text));
        if let Some((_, text)) = twice {
            let message = format!(
                "`{text}` is in `{}` twice: a patch adds to a list, it does not replace it",
                path.join(".")
            );
            let finding = look.patched(path, "list-twice", message);
            findings.extend(finding.map(|finding| finding.warning().fix("write it in one place")));
        }
    }
}

fn taints(look: &Look<'_>, findings: &mut Findings) {
    let taints = look.main(&["machine", "nodeTaints"]).and_then(Value::as_object);
    for (key, value) in taints.into_iter().flatten() {
        let effect = value.as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default();
        if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            let message = format!("`{effect}` is not the effect of a taint");
            let finding = look.patched(&["machine", "nodeTaints", key], "taint", message);
            findings
                .extend(finding.map(|finding| finding.fix("one of NoSchedule, PreferNoSchedule, NoExecute")));
        }
    }
}
