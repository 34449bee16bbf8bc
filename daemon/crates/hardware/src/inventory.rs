//! What one machine is made of, as it reports itself over the machine API.

use serde::{Deserialize, Serialize};

use crate::{Disk, MacAddr, SystemUuid};

/// The machine's own account of itself. Only the machine vouches for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// SMBIOS system UUID
    pub uuid: Option<SystemUuid>,
    /// SMBIOS system serial number, empty values left out
    pub serial: Option<String>,
    /// physical links
    pub links: Vec<Link>,
    /// every disk, optical and read-only ones among them
    pub disks: Vec<Disk>,
}

impl Inventory {
    /// Whether one of the machine's links has this address.
    pub fn has_mac(&self, mac: MacAddr) -> bool {
        self.links.iter().any(|link| link.mac == mac)
    }
}

/// A physical network link (resource `LinkStatuses.net.talos.dev`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// `enp1s0`
    pub name: String,
    /// the permanent address where the driver knows it
    pub mac: MacAddr,
    /// carrier
    pub up: bool,
}
