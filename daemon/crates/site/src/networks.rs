//! Addresses that must not be in each other's way: pools, nodes, the shared address, pods and services.

use std::net::IpAddr;

use document::{Findings, Place};
use ipnet::IpNet;
use talos_config::talconfig::{Node, TalConfig};

use crate::model::{DhcpMode, Network, Site};

/// Kubernetes takes no larger range for services of IPv6 (handover.md §11).
const SERVICE_V6: u8 = 108;

/// What each node is given of the pods' networks, unless the controller manager is told otherwise.
const NODE_V4: u8 = 24;
const NODE_V6: u8 = 64;

/// How much smaller than the whole a node's part may be; the controller manager ends otherwise.
const DIFFERENCE: u8 = 16;

/// Every rule about addresses; `root` is the site file's.
pub(crate) fn check(site: &Site, root: Place<'_>, findings: &mut Findings) {
    for (index, network) in site.networks.iter().enumerate() {
        let place = root.key("network").item(index);
        let before = site.networks.iter().take(index);
        for other in before {
            if other.interface == network.interface && !network.relayed && !other.relayed {
                let message = format!("{} has a network already", network.interface);
                let finding = place.key("interface").error("network-twice", message);
                findings.push(finding.fix("if only relays bring its packets, write `relayed: true`"));
            }
            if overlap(other.subnet.into(), network.subnet.into()) {
                let message =
                    format!("{} overlaps with {} on {}", network.subnet, other.subnet, other.interface);
                findings.push(place.key("subnet").error("network-overlap", message));
            }
        }
        relayed(site, network, place, findings);
        gateway(network, place, findings);
        pool(site, network, place, findings);
    }
    virtual_address(site, findings);
    for node in &site.cluster.nodes {
        address(site, node, root, findings);
    }
    cluster_networks(site, findings);
}

/// A network behind relays is served on the interface of another one.
fn relayed(site: &Site, network: &Network, place: Place<'_>, findings: &mut Findings) {
    if !network.relayed {
        return;
    }
    let carries = |other: &&Network| !other.relayed && other.interface == network.interface;
    let Some(own) = site.networks.iter().find(carries) else {
        let message = format!("{} has no network of its own that relays could reach", network.interface);
        let finding = place.key("relayed").error("relayed-alone", message);
        findings.push(finding.fix("describe the interface's own network, too"));
        return;
    };
    if own.dhcp != network.dhcp {
        let message =
            format!("{} is not served like {}, on whose interface it comes in", network.subnet, own.subnet);
        let finding = place.key("relayed").error("relayed-mode", message);
        findings.push(finding.fix("give both networks the same `dhcp`"));
    }
    if network.dhcp == DhcpMode::Authoritative && network.gateway.is_none() {
        let message = "machines behind a relay cannot reach the daemon without a router";
        findings.push(
            place.warning("relayed-gateway", message).fix("add `gateway:`, the relay's address mostly"),
        );
    }
}

fn gateway(network: &Network, place: Place<'_>, findings: &mut Findings) {
    if let Some(gateway) = network.gateway.filter(|gateway| !network.subnet.contains(gateway)) {
        let finding =
            place.key("gateway").error("gateway", format!("{gateway} is not in {}", network.subnet));
        findings.push(finding.fix("a machine can only reach a router in its own network"));
    }
}

fn pool(site: &Site, network: &Network, place: Place<'_>, findings: &mut Findings) {
    let Some(pool) = network.pool else {
        // a machine that is known by its port only is a stranger at its first packet
        let strangers = site.slots.iter().any(|slot| slot.macs.is_empty());
        if network.dhcp == DhcpMode::Authoritative && strangers && place.key("pool").node().is_none() {
            let message =
                "machines that are not known by their MAC address need an address before they are known";
            let finding = place.key("pool").error("pool-missing", message);
            findings.push(finding.fix("add `pool: FIRST-LAST`"));
        }
        return;
    };
    let place = place.key("pool");
    if network.dhcp != DhcpMode::Authoritative {
        let finding =
            place.warning("pool-unused", "the pool has no effect: the daemon gives no addresses here");
        findings.push(finding.fix("write `dhcp: authoritative`, or remove the pool"));
    }
    let ends = [network.subnet.network(), network.subnet.broadcast()];
    if !network.subnet.contains(&pool.first) || !network.subnet.contains(&pool.last) {
        findings.push(place.error("pool-outside", format!("{pool} is not in {}", network.subnet)));
        return;
    }
    let nodes = site
        .cluster
        .nodes
        .iter()
        .flat_map(|node| node.addresses.iter().map(|&at| (at, node.hostname.clone())));
    let shared = site.cluster.virtual_addresses().into_iter().map(|at| (at, "the shared address".to_owned()));
    let gateway = network.gateway.iter().map(|&at| (IpAddr::V4(at), "the gateway".to_owned()));
    let resolvers = network.dns.iter().map(|&at| (IpAddr::V4(at), "a name server".to_owned()));
    let clocks = network.ntp.iter().map(|&at| (IpAddr::V4(at), "a time server".to_owned()));
    let gateway = gateway.chain(resolvers).chain(clocks);
    let ends = ends.iter().map(|&at| (IpAddr::V4(at), "the network itself".to_owned()));
    for (address, whose) in nodes.chain(shared).chain(gateway).chain(ends) {
        if let IpAddr::V4(address) = address
            && pool.contains(address)
        {
            let finding = place.error("pool-overlap", format!("{pool} contains {address}, {whose}"));
            findings.push(finding.fix("a stranger would be given it; choose a range nobody uses"));
        }
    }
}

/// The address that moves between the control planes belongs to none of them.
fn virtual_address(site: &Site, findings: &mut Findings) {
    let cluster = &site.cluster;
    let shared = cluster.virtual_addresses();
    for &address in &shared {
        for node in cluster.nodes.iter().filter(|node| node.addresses.contains(&address)) {
            let message = format!("`{}` has {address}, which is the shared address", node.hostname);
            let finding = cluster.place_of(node).key("ipAddress").error("vip-is-node", message);
            findings
                .push(finding.fix("the shared address moves between control planes; give the node another"));
        }
        let nets: Vec<IpNet> = site.networks.iter().map(|network| network.subnet.into()).collect();
        if address.is_ipv4() && !nets.is_empty() && !nets.iter().any(|net| net.contains(&address)) {
            let place = cluster.place().key("endpoint");
            let finding = place
                .error("vip-outside", format!("the shared address {address} is in no network of the site"));
            findings.push(
                finding.fix("it is announced by ARP, so it must be in the network of the control planes"),
            );
        }
        for network in site.networks.iter().filter(|network| network.gateway.map(IpAddr::V4) == Some(address))
        {
            let message = format!("the shared address {address} is the gateway on {}", network.interface);
            findings.push(cluster.place().key("endpoint").error("vip-is-gateway", message));
        }
    }
    let endpoint: Option<IpAddr> = cluster.endpoint_host.parse().ok();
    if let (Some(endpoint), Some(first)) = (endpoint, shared.first())
        && !shared.contains(&endpoint)
    {
        let message = format!("the endpoint is {endpoint}, the shared address is {first}");
        let finding = cluster.place().key("endpoint").warning("endpoint", message);
        findings.push(finding.fix("clients use the endpoint; with a shared address it is usually that"));
    }
}

/// Where a node's own address comes from.
fn address(site: &Site, node: &Node, root: Place<'_>, findings: &mut Findings) {
    let cluster = &site.cluster;
    let Some(IpAddr::V4(address)) = node.address() else { return };
    let place = cluster.place_of(node).key("ipAddress");
    let network = site.networks.iter().find(|network| network.subnet.contains(&address));
    match network {
        None if site.networks.is_empty() => {}
        None => {
            let finding = place.error("node-outside", format!("{address} is in no network of the site"));
            findings.push(finding.fix("correct the address, or add its network to ichord.yaml"));
        }
        Some(network) if network.gateway == Some(address) => {
            findings.push(
                place.error("node-is-gateway", format!("{address} is the gateway on {}", network.interface)),
            );
        }
        Some(network) => {
            let slot = site.slots.iter().find(|slot| slot.name == node.hostname);
            let by_port = slot.is_some_and(|slot| !slot.ports.is_empty());
            if network.dhcp != DhcpMode::Authoritative && by_port && !node.has_static_address() {
                let message = format!(
                    "the machine of `{}` is only known by its port, and another DHCP server gives it its address: \
                     nothing makes that {address}",
                    node.hostname
                );
                let finding =
                    root.key("machines").key(site.key_of(&node.hostname)).error("address-unsure", message);
                findings.push(finding.fix(
                    "write the address under `networkInterfaces`, use `dhcp: authoritative`, or reserve it by `mac:`",
                ));
            }
        }
    }
}

/// Pods and services: canonical, one network a family, in the same order, clear of everything else.
fn cluster_networks(site: &Site, findings: &mut Findings) {
    let cluster = &site.cluster;
    let pods = family_list(cluster, "clusterPodNets", &cluster.pod_nets, findings);
    let services = family_list(cluster, "clusterSvcNets", &cluster.service_nets, findings);
    let services_place = cluster.place().key("clusterSvcNets");
    if !cluster.pod_nets.is_empty() && !cluster.service_nets.is_empty() {
        let families = |nets: &[IpNet]| nets.iter().map(|net| net.addr().is_ipv4()).collect::<Vec<_>>();
        let complete = pods.len() == cluster.pod_nets.len() && services.len() == cluster.service_nets.len();
        if complete && families(&pods) != families(&services) {
            let message = "pods and services must have the same families of addresses in the same order";
            let finding = services_place.error("cidr-families", message);
            findings.push(finding.fix(
                "the first of each decides the primary family; write IPv4 first in both, or in neither",
            ));
        }
    }
    for (index, net) in services.iter().enumerate() {
        if let IpNet::V6(v6) = net
            && v6.prefix_len() < SERVICE_V6
        {
            let finding =
                services_place.item(index).error("cidr-size", format!("{v6} is too large for services"));
            findings.push(
                finding.fix(format!(
                    "Kubernetes takes /{SERVICE_V6} or smaller, for example {}/112",
                    v6.network()
                )),
            );
        }
    }
    for (index, net) in pods.iter().enumerate() {
        let place = cluster.place().key("clusterPodNets").item(index);
        let part = node_part(cluster, net.addr().is_ipv4());
        if let Some(part) = part {
            let bits = part.saturating_sub(net.prefix_len());
            let room = if part < net.prefix_len() { 0 } else { 1_usize << bits.min(DIFFERENCE) };
            if room < cluster.nodes.len() {
                let message = format!("{net} has room for {room} nodes, there are {}", cluster.nodes.len());
                findings.push(
                    place.error("cidr-size", message).fix(format!("each node is given a /{part} of it")),
                );
            }
            if bits > DIFFERENCE {
                let message = format!("a /{part} for each node is too small a part of {net}");
                let finding = place.error("cidr-size", message);
                findings.push(finding.fix(format!("Kubernetes takes /{} or smaller", part - DIFFERENCE)));
            }
        }
        for (other, service) in services.iter().enumerate().filter(|(_, service)| overlap(*net, **service)) {
            let message = format!("{service} for services overlaps with {net} for pods");
            findings.push(services_place.item(other).error("network-overlap", message));
        }
    }
    for (key, nets) in [("clusterPodNets", &pods), ("clusterSvcNets", &services)] {
        for (index, net) in nets.iter().enumerate() {
            for network in site.networks.iter().filter(|network| overlap(network.subnet.into(), *net)) {
                let place = cluster.place().key(key).item(index);
                let message = format!("{net} overlaps with {} on {}", network.subnet, network.interface);
                findings.push(
                    place.error("network-overlap", message).fix("choose a range that is used nowhere else"),
                );
            }
        }
    }
}

/// The prefix length of a node's part of the pods' network; nothing where nodes are given none.
fn node_part(cluster: &TalConfig, v4: bool) -> Option<u8> {
    let node = cluster.nodes.iter().find(|node| node.control_plane)?;
    let argument = |name: &str| {
        let value = cluster.patched(node, &["cluster", "controllerManager", "extraArgs", name])?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    if argument("allocate-node-cidrs").is_some_and(|value| value == "false") {
        return None;
    }
    let (own, default) =
        if v4 { ("node-cidr-mask-size-ipv4", NODE_V4) } else { ("node-cidr-mask-size-ipv6", NODE_V6) };
    let told = argument(own).or_else(|| argument("node-cidr-mask-size"));
    Some(told.and_then(|text| text.parse().ok()).unwrap_or(default))
}

/// Reads one list and reports what is wrong with it alone; leaves out what is no network.
fn family_list(cluster: &TalConfig, key: &str, texts: &[String], findings: &mut Findings) -> Vec<IpNet> {
    let place = cluster.place().key(key);
    let mut nets: Vec<IpNet> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let place = place.item(index);
        let Ok(net) = text.parse::<IpNet>() else {
            let finding = place.error("cidr", format!("`{text}` is not a network"));
            findings.push(finding.fix("write it as 10.244.0.0/16"));
            continue;
        };
        if net.trunc() != net {
            let finding = place.error("cidr", format!("{net} is an address in a network, not the network"));
            findings.push(finding.fix(format!("write {}", net.trunc())));
        }
        if nets.iter().any(|other| other.addr().is_ipv4() == net.addr().is_ipv4()) {
            let finding = place.error("cidr-families", format!("{net} is the second network of its family"));
            findings.push(finding.fix("Kubernetes takes one of IPv4 and one of IPv6"));
        }
        nets.push(net.trunc());
    }
    nets
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}
