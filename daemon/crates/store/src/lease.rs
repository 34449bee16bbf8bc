//! DHCP leases: a table of their own, because they change often, need no history, and because the schema
//! itself shall refuse to give one address to two machines.

use std::{borrow::Cow, net::IpAddr};

use hardware::MacAddr;
use serde::{Deserialize, Serialize};

/// One address and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    /// The address; unique in the table.
    pub address: IpAddr,
    /// The machine, unique in the table; `None` when nobody may have the address (a client declined it).
    pub mac: Option<MacAddr>,
    /// The name the machine gave or was given.
    pub hostname: Option<String>,
    /// Through which relay or switch it was asked for, in the DHCP server's own words.
    pub relayed: Option<String>,
    /// The DHCP server's own word for the row, such as `bound` or `declined`.
    pub state: Cow<'static, str>,
    /// When it was given, in milliseconds since the Unix epoch.
    pub granted: u64,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires: u64,
}

/// Changes to the table that are made together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseBatch {
    /// Addresses to free, before anything is put.
    pub remove: Vec<IpAddr>,
    /// Rows to write.
    pub put: Vec<LeaseRow>,
}

impl From<Vec<LeaseRow>> for LeaseBatch {
    fn from(put: Vec<LeaseRow>) -> Self {
        LeaseBatch { remove: Vec::new(), put }
    }
}
