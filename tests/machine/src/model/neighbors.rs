//! What Talos hears of switches on its own cards, and the resource that tells it (talos.md §8.1).

use serde_json::{Value, json};

use super::{api::is_at_least, machine::Machine};

/// The release that listens to LLDP by itself.
const LISTENS_SINCE: (u32, u32) = (1, 15);

/// A neighbour on a link, as the resource tells it: ids as text, without their subtypes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbor {
    /// a MAC address in the usual form, or text
    pub chassis_id: String,
    /// text, or a MAC address
    pub port_id: String,
    /// empty when it says none
    pub system_name: String,
    /// empty when it says none
    pub system_description: String,
    /// empty when it says none
    pub port_description: String,
    /// where it can be managed
    pub management: Vec<String>,
}

impl Machine {
    /// Whether the system that runs listens.
    pub fn hears_lldp(&self) -> bool {
        self.os().is_some_and(|os| is_at_least(&os.image.version, LISTENS_SINCE))
    }

    /// A link heard a neighbour, which holds for so many milliseconds; 0 withdraws it.
    pub fn heard_lldp(&mut self, link: &str, neighbor: Neighbor, holds: u64, now: u64) {
        if !self.hears_lldp() {
            return;
        }
        let boot = self.os().map(|os| os.since).unwrap_or_default();
        self.neighbors.retain(|heard| heard.boot == boot && heard.until > now);
        let is_it = |heard: &Heard| {
            heard.link == link
                && heard.neighbor.chassis_id == neighbor.chassis_id
                && heard.neighbor.port_id == neighbor.port_id
        };
        self.neighbors.retain(|heard| !is_it(heard));
        if holds > 0 {
            self.neighbors.push(Heard { link: link.to_owned(), neighbor, until: now + holds, boot });
        }
    }

    /// One resource a link that hears somebody.
    pub(super) fn lldp_neighbors(&self, now: u64) -> Vec<(String, Value)> {
        let boot = self.os().map(|os| os.since).unwrap_or_default();
        let mut links = Vec::new();
        for link in &self.hardware.links {
            let there = self.neighbors.iter();
            let there =
                there.filter(|heard| heard.link == link.name && heard.boot == boot && heard.until > now);
            let mut there: Vec<&Neighbor> = there.map(|heard| &heard.neighbor).collect();
            there.sort();
            if !there.is_empty() {
                let told: Vec<Value> = there.into_iter().map(told).collect();
                links.push((link.name.clone(), json!({ "neighbors": told })));
            }
        }
        links
    }
}

fn told(neighbor: &Neighbor) -> Value {
    json!({
        "chassisID": neighbor.chassis_id,
        "systemName": neighbor.system_name,
        "systemDescription": neighbor.system_description,
        "portID": neighbor.port_id,
        "portDescription": neighbor.port_description,
        "managementAddresses": neighbor.management,
        "vlans": [],
    })
}

/// A neighbour, and for how long it is one.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    link: String,
    neighbor: Neighbor,
    until: u64,
    /// when the system was booted that heard it: the next one knows nothing
    boot: u64,
}
