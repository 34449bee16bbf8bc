//! Whether the node will have its address, and where the shared one is announced.

use std::{collections::BTreeMap, net::IpAddr};

use document::Findings;
use ipnet::IpNet;
use serde_json::{Map, Value};

use super::{Look, name};
use crate::documents::LINKS;

/// One of these or of the links themselves, and Talos runs no DHCP of its own any more, on any link.
const DHCP: [&str; 2] = ["DHCPv4Config", "DHCPv6Config"];

pub(super) fn check(look: &Look<'_>, findings: &mut Findings) {
    silenced(look, findings);
    shared(look, findings);
    members(look, findings);
}

/// The documents of links that are there.
fn links<'a>(look: &'a Look<'_>) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    look.machine.documents().iter().filter_map(Value::as_object).filter_map(|document| {
        let kind = document.get("kind")?.as_str()?;
        (LINKS.contains(&kind) || DHCP.contains(&kind)).then_some((kind, document))
    })
}

fn addresses(document: &Map<String, Value>) -> impl Iterator<Item = IpNet> {
    let list = document.get("addresses").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|entry| entry.get("address")?.as_str()?.parse().ok())
}

/// Default DHCP has ended, nothing asks for an address, and nothing is the node's own.
fn silenced(look: &Look<'_>, findings: &mut Findings) {
    let mut all = links(look).peekable();
    let Some((kind, first)) = all.peek().copied() else { return };
    let gives = all.any(|(kind, document)| {
        kind.starts_with("DHCP") || addresses(document).any(|net| look.node.addresses.contains(&net.addr()))
    });
    // links in the older form are listed beside the documents, and the kernel can be told an address
    let older = look.main(&["machine", "network", "interfaces"]).is_some();
    let by_kernel = look.node.schematic.kernel_args().iter().any(|arg| arg.starts_with("ip="));
    if gives || older || by_kernel {
        return;
    }
    let message = format!(
        "nothing gives the node {}: one {kind} ends the DHCP that Talos runs by itself, on all links",
        look.node.addresses.first().map_or_else(|| "its address".to_owned(), IpAddr::to_string)
    );
    let finding = look.document(kind, name(first), &[], "networkInterfaces", "dhcp-silenced", message);
    findings.push(finding.fix("write `dhcp: true` (or a DHCPv4Config) for its link, or its address"));
}

/// The shared address is announced on its link, where only a network of that link listens.
fn shared(look: &Look<'_>, findings: &mut Findings) {
    for document in look.machine.documents_of("Layer2VIPConfig") {
        let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
        let vip = text("name");
        let Ok(address) = vip.parse::<IpAddr>() else {
            let message = format!("`{vip}` is not an address");
            let finding =
                look.document("Layer2VIPConfig", vip, &["name"], "networkInterfaces", "vip", message);
            findings.push(finding.fix("write the address without a prefix length"));
            continue;
        };
        let link = text("link");
        let nets: Vec<IpNet> = links(look)
            .filter(|(_, document)| name(document) == link)
            .flat_map(|(_, document)| addresses(document))
            .filter(|net| {
                net.addr().is_ipv4() == address.is_ipv4() && net.prefix_len() < net.max_prefix_len()
            })
            .collect();
        // an address from DHCP is not known here
        let asks = links(look).any(|(kind, document)| kind.starts_with("DHCP") && name(document) == link);
        if !nets.is_empty() && !asks && !nets.iter().any(|net| net.contains(&address)) {
            let shown: Vec<String> = nets.iter().map(|net| net.trunc().to_string()).collect();
            let message = format!("the shared address {address} is not in {} on {link}", shown.join(" or "));
            let finding =
                look.document("Layer2VIPConfig", vip, &[], "networkInterfaces", "vip-outside", message);
            findings.push(finding.fix("choose an address of the network of the link"));
        }
    }
}

/// A link is a member of one other, and then has no address of its own.
fn members(look: &Look<'_>, findings: &mut Findings) {
    let place = look.config.place_of_key(look.node, "networkInterfaces");
    let devices = look.node.devices();
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, device) in devices.iter().enumerate() {
        let bond = device.bond.iter().flat_map(|bond| &bond.interfaces);
        let bridge = device.bridge.iter().flat_map(|bridge| &bridge.interfaces);
        for member in bond.chain(bridge) {
            if let Some(owner) = owners.insert(member, &device.interface)
                && owner != device.interface
            {
                let message = format!("{member} is a part of {owner} and of {}", device.interface);
                findings
                    .push(place.item(index).error("link", message).fix("a link is a member of one other"));
            }
        }
    }
    for (index, device) in devices.iter().enumerate() {
        let Some(owner) = owners.get(device.interface.as_str()).filter(|owner| !owner.is_empty()) else {
            continue;
        };
        let own = device.dhcp == Some(true) || !device.addresses.is_empty() || !device.cidr.is_empty();
        if own || device.vip.is_some() {
            let message = format!("{} is a part of {owner} and has an address of its own", device.interface);
            let finding = place.item(index).error("link", message);
            findings.push(finding.fix(format!("give the address to {owner}")));
        }
    }
}
