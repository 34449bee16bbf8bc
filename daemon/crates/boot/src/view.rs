//! What DHCP may say to which machine, as one value that is published and read without asking.
//!
//! An old view costs a machine one spare start of iPXE and nothing else: what cannot be taken back
//! is asked for at `/boot/ask` (see [`crate::ask`]).

use std::{collections::BTreeMap, net::Ipv4Addr};

use hardware::MacAddr;
use serde::{Deserialize, Serialize};

/// What DHCP offers to boot. An address is offered either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offer {
    /// nothing: a claimed machine without a permit, or a stranger while every slot has its machine; the
    /// firmware goes on to its own disk
    #[default]
    Nothing,
    /// iPXE, which asks; a stranger that may be the machine of a slot
    Identify,
    /// iPXE, which installs; a permit is pending
    Deploy,
}

/// A machine that holds a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownMachine {
    /// the slot, which is the node's name
    pub node: String,
    /// the slot's address: reserved for this machine
    pub address: Ipv4Addr,
    /// whether it may netboot now
    pub offer: Offer,
}

/// What DHCP knows of the site, published whole by the reconciler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootView {
    /// the store revision it was made from
    pub revision: u64,
    /// machines that hold a slot, by each of their hardware addresses
    pub known: BTreeMap<MacAddr, KnownMachine>,
    /// what every other machine is offered
    pub unknown: Offer,
}

impl BootView {
    /// What this machine is offered.
    pub fn offer(&self, mac: MacAddr) -> Offer {
        self.known.get(&mac).map_or(self.unknown, |machine| machine.offer)
    }

    /// The address reserved for this machine.
    pub fn address(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.known.get(&mac).map(|machine| machine.address)
    }

    /// Whether an address belongs to a slot, whoever asks for it.
    pub fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.known.values().any(|machine| machine.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> BootView {
        let machine = KnownMachine {
            node: "mini01".to_owned(),
            address: Ipv4Addr::new(172, 29, 51, 11),
            offer: Offer::Nothing,
        };
        BootView {
            revision: 7,
            known: [(MacAddr([2, 0, 0, 0, 0, 1]), machine)].into(),
            unknown: Offer::Identify,
        }
    }

    #[test]
    fn a_known_machine_has_its_own_offer_and_any_other_the_common_one() {
        let (known, other) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let address = Ipv4Addr::new(172, 29, 51, 11);
        assert_eq!((view().offer(known), view().offer(other)), (Offer::Nothing, Offer::Identify));
        assert_eq!((view().address(known), view().address(other)), (Some(address), None));
        assert!(view().is_reserved(address) && !view().is_reserved(Ipv4Addr::new(172, 29, 51, 12)));
    }

    #[test]
    fn a_view_can_be_shown_and_read_back() {
        let text = serde_json::to_string(&view()).unwrap();
        assert!(
            text.contains(
                r#""02:00:00:00:00:01":{"node":"mini01","address":"172.29.51.11","offer":"nothing"}"#
            )
        );
        assert_eq!(serde_json::from_str::<BootView>(&text).unwrap(), view());
    }
}
