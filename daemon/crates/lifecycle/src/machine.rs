//! The physical box, as far as the core tells one from another.

use std::{collections::BTreeSet, fmt};

use hardware::{Inventory, MacAddr, SystemUuid};
use serde::{Deserialize, Serialize};

/// What a machine is known by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// hardware addresses seen so far
    pub macs: BTreeSet<MacAddr>,
    /// SMBIOS system UUID
    pub uuid: Option<SystemUuid>,
    /// SMBIOS system serial number
    pub serial: Option<String>,
}

impl Machine {
    /// Whether two accounts are of one box: a shared hardware address, or the same distinctive UUID.
    /// A serial number alone is not enough, because vendors repeat them.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same_uuid = self.uuid.is_some_and(|uuid| uuid.is_distinctive() && other.uuid == Some(uuid));
        same_uuid || !self.macs.is_disjoint(&other.macs)
    }

    /// Takes over what the other account of the same box knows more.
    pub fn learn(&mut self, other: &Self) {
        self.macs.extend(&other.macs);
        self.uuid = self.uuid.or(other.uuid);
        if self.serial.is_none() {
            self.serial.clone_from(&other.serial);
        }
    }
}

impl From<&Inventory> for Machine {
    fn from(inventory: &Inventory) -> Self {
        Self {
            macs: inventory.links.iter().map(|link| link.mac).collect(),
            uuid: inventory.uuid,
            serial: inventory.serial.clone(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.macs.first(), self.uuid) {
            (Some(mac), _) => write!(f, "{mac}"),
            (None, Some(uuid)) => write!(f, "{uuid}"),
            (None, None) => f.write_str("a machine without any identifier"),
        }
    }
}
