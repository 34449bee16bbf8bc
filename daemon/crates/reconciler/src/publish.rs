//! The published picture: the core's own, and the part of it that DHCP reads.

use std::net::IpAddr;

use boot::{BootView, KnownMachine, Offer};
use lifecycle::View;

/// What everybody may read without asking.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// for people
    pub view: View,
    /// for DHCP
    pub boot: BootView,
}

impl From<View> for Published {
    fn from(view: View) -> Self {
        Self { boot: boot_view(&view), view }
    }
}

/// What DHCP may say to whom. An old picture costs a machine one spare start of iPXE.
pub fn boot_view(view: &View) -> BootView {
    let unknown = if view.identify { Offer::Identify } else { Offer::Nothing };
    let mut boot = BootView { revision: view.revision, unknown, ..BootView::default() };
    for (name, node) in &view.nodes {
        let IpAddr::V4(address) = node.address else { continue };
        for &mac in &node.macs {
            let offer = if node.netboot { Offer::Deploy } else { Offer::Nothing };
            let known = KnownMachine { node: name.0.clone(), address, offer };
            boot.known.insert(mac, known);
        }
    }
    boot
}
