//! What the operator wrote about where a node's machine is.
//!
//! `site` makes these from the site file; `decide` compares them with what is seen.

use std::collections::BTreeSet;

use hardware::{MacAddr, SwitchPort, SystemUuid};

/// A place for a node as the operator wrote it: its name and how its machine is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// the talconfig hostname
    pub name: String,
    /// switch ports; several when the machine has several links
    pub ports: Vec<SwitchPort>,
    /// interfaces of the one machine that belongs here; one of them is enough
    pub macs: BTreeSet<MacAddr>,
    /// SMBIOS system UUID
    pub uuid: Option<SystemUuid>,
    /// SMBIOS system serial number
    pub serial: Option<String>,
}
