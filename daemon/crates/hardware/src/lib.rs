//! Plain values everybody may know: what a machine is made of and how the wire names it.
//!
//! Nothing here decides anything. `dhcp`, `lldp` and `talos-config` make these values from bytes;
//! `identity`, `lifecycle` and `site` compare them.

mod architecture;
mod disk;
mod inventory;
mod local_boot;
mod mac;
mod port;
mod uuid;

pub use architecture::{Architecture, Firmware};
pub use disk::{Disk, DiskSelector, DiskType, SizeMatch, SizeMatchError};
pub use inventory::{Inventory, Link};
pub use local_boot::{LocalBoot, LocalBootError};
pub use mac::{MacAddr, MacAddrError};
pub use port::{ChassisId, PortId, SwitchPort, SwitchPortError};
pub use uuid::{SystemUuid, SystemUuidError};
