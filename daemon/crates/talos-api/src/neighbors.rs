//! What the switches say to the machine's own cards (talos.md §8.1): Talos listens to LLDP from the release on that has
//! this resource. Works in maintenance mode.

use std::net::IpAddr;

use serde::Deserialize;
use tonic::Code;

use crate::{CallError, Client, Kind, Resource, observe::or_default};

/// Neighbours by link; id `eth0`.
pub const LLDP_NEIGHBORS: Kind = Kind { namespace: "network", name: "LLDPNeighborStatuses.net.talos.dev" };

/// A neighbour that a card hears. Talos tells ids as text, without the subtype that they had on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LldpNeighbor {
    /// the machine's link: `eth0`
    pub link: String,
    /// `00:1c:73:00:00:01` when it is a MAC address
    pub chassis_id: String,
    /// the switch's name; empty when it has none
    pub system_name: String,
    /// its port, as it calls it
    pub port_id: String,
    /// its port, as its operator calls it; empty when nobody does
    pub port_description: String,
    /// where it can be managed
    pub management: Vec<IpAddr>,
}

impl LldpNeighbor {
    /// From the resources of [`LLDP_NEIGHBORS`].
    pub fn of_links(links: &[Resource]) -> Result<Vec<Self>, String> {
        let all: Vec<Vec<Self>> = links.iter().map(of_link).collect::<Result<_, _>>()?;
        Ok(all.into_iter().flatten().collect())
    }
}

impl Client {
    /// Every neighbour of every link; none on a Talos that does not listen.
    pub async fn lldp_neighbors(&self) -> Result<Vec<LldpNeighbor>, CallError> {
        match self.list(LLDP_NEIGHBORS).await {
            Ok(links) => {
                LldpNeighbor::of_links(&links).map_err(|reason| self.unusable(LLDP_NEIGHBORS.name, reason))
            }
            // the type is not known there
            Err(error) if error.code() == Code::PermissionDenied => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn of_link(link: &Resource) -> Result<Vec<LldpNeighbor>, String> {
    let spec: Spec = link.read()?;
    let told = spec.neighbors.into_iter().map(|neighbor| LldpNeighbor {
        link: link.id.clone(),
        chassis_id: neighbor.chassis_id,
        system_name: neighbor.system_name,
        port_id: neighbor.port_id,
        port_description: neighbor.port_description,
        management: neighbor.management_addresses.iter().filter_map(|text| text.parse().ok()).collect(),
    });
    Ok(told.filter(|neighbor| !neighbor.port_id.is_empty()).collect())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    neighbors: Vec<Neighbor>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Neighbor {
    #[serde(rename = "chassisID", deserialize_with = "or_default")]
    chassis_id: String,
    #[serde(deserialize_with = "or_default")]
    system_name: String,
    #[serde(rename = "portID", deserialize_with = "or_default")]
    port_id: String,
    #[serde(deserialize_with = "or_default")]
    port_description: String,
    #[serde(deserialize_with = "or_default")]
    management_addresses: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Vec<LldpNeighbor> {
        of_link(&Resource {
            id: "eth0".to_owned(),
            version: "1".to_owned(),
            created: None,
            tearing_down: false,
            labels: Default::default(),
            yaml: yaml.to_owned(),
        })
        .unwrap()
    }

    #[test]
    fn a_links_neighbours_are_read_as_talos_writes_them() {
        let yaml = "neighbors:\n  - chassisID: 02:00:00:00:00:01\n    systemName: sw1\n    systemDescription: Lab switch\n    \
                    portID: Ethernet1/1\n    portDescription: \"\"\n    managementAddresses:\n      - 10.0.0.2\n    \
                    vlans:\n      - id: 10\n        name: ten\n";
        let expected = LldpNeighbor {
            link: "eth0".to_owned(),
            chassis_id: "02:00:00:00:00:01".to_owned(),
            system_name: "sw1".to_owned(),
            port_id: "Ethernet1/1".to_owned(),
            port_description: String::new(),
            management: vec![IpAddr::from([10, 0, 0, 2])],
        };
        assert_eq!(of(yaml), [expected]);
    }

    #[test]
    fn what_is_missing_null_or_names_no_port_is_nothing() {
        for yaml in ["{}", "neighbors: null", "neighbors: []", "neighbors:\n  - systemName: sw1\n"] {
            assert!(of(yaml).is_empty(), "{yaml}");
        }
        let told = of("neighbors:\n  - portID: \"7\"\n    managementAddresses: null\n    news: 1\n");
        assert_eq!((told[0].port_id.as_str(), told[0].management.len()), ("7", 0));
    }
}
