//! A machine's power, by the means that the site names.

use std::net::{IpAddr, Ipv4Addr};

use hardware::MacAddr;
use lifecycle::{NodeName, PowerAction, PowerOutcome};
use power::{Action, Ask, Hook, Means, Redfish, Wire, act};
use site::{Power, Site};

use super::talos::Cluster;

pub(super) async fn switch(
    cluster: &Cluster,
    node: &NodeName,
    action: PowerAction,
    network_boot: bool,
    mut macs: Vec<MacAddr>,
) -> PowerOutcome {
    let (site, failed) = (&cluster.site, |reason: &str| PowerOutcome::Failed { reason: reason.to_owned() });
    let Some(power) = site.power(&node.0) else {
        return failed("nothing in the site says how it is switched");
    };
    let Some(pins) = &cluster.pins else {
        return failed("there is no place for the certificates of service processors");
    };
    if let Some(slot) = site.slots().slot(&node.0) {
        macs.extend(slot.macs.iter().copied());
    }
    macs.sort_unstable();
    macs.dedup();
    let place = site.place(&node.0);
    let ask = Ask {
        node: node.0.clone(),
        port: Some(place.strip_prefix("port ").map(str::to_owned).unwrap_or(place))
            .filter(|it| !it.is_empty()),
        macs,
        action: match action {
            PowerAction::On => Action::On,
            PowerAction::Off => Action::Off,
            PowerAction::Cycle => Action::Cycle,
            PowerAction::NetworkBoot => Action::NetworkBoot,
            PowerAction::Status => Action::Status,
        },
        network_boot,
    };
    match act(&means(site, &node.0, power), pins, &ask).await {
        Ok(done) => PowerOutcome::Done { summary: done.summary },
        Err(error) => failed(&error.to_string()),
    }
}

fn means(site: &Site, node: &str, power: Power) -> Means {
    match power {
        Power::WakeOnLan => Means::WakeOnLan(wires(site, node)),
        Power::Hook { command, within } => Means::Hook(Hook { command, limit: within }),
        Power::Redfish(redfish) => Means::Redfish(Redfish {
            password: redfish.expose().clone(),
            network_boot: if redfish.http_boot { "UefiHttp" } else { "Pxe" },
            host: redfish.host,
            port: redfish.port,
            system: redfish.system,
            username: redfish.username,
            certificate: redfish.certificate,
        }),
    }
}

/// The network that the node's address is in; all of them where it is in none. Behind a relay a router has to let the
/// network's broadcast through.
fn wires(site: &Site, node: &str) -> Vec<Wire> {
    let address = site.cluster().node(node).and_then(|node| node.address());
    let is_there = |network: &&site::Network| match address {
        Some(IpAddr::V4(address)) => network.subnet.contains(&address),
        _ => false,
    };
    let wire = |network: &site::Network| Wire {
        interface: network.interface.clone(),
        broadcast: if network.relayed { network.subnet.broadcast() } else { Ipv4Addr::BROADCAST },
    };
    let there: Vec<Wire> = site.networks().iter().filter(is_there).map(wire).collect();
    if there.is_empty() { site.networks().iter().map(wire).collect() } else { there }
}
