//! Addresses that were offered and wait for their request.
//!
//! Asked for every packet, by machine and by address, while a rack is switched on; so both are found
//! without looking at the others, and what has run out goes first.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use hardware::MacAddr;

const FIRST: MacAddr = MacAddr([0; 6]);
const LAST: MacAddr = MacAddr([0xff; 6]);

#[derive(Debug, Clone, Copy)]
struct Offered {
    address: Ipv4Addr,
    until: u64,
}

/// One offer a machine. Two cards of one machine may be offered the same slot address.
#[derive(Debug, Clone, Default)]
pub(super) struct Offers {
    of: BTreeMap<MacAddr, Offered>,
    at: BTreeSet<(Ipv4Addr, MacAddr)>,
    ends: BTreeSet<(u64, MacAddr)>,
}

impl Offers {
    pub(super) fn of(&self, mac: MacAddr) -> Option<Ipv4Addr> {
        self.of.get(&mac).map(|offered| offered.address)
    }

    /// Whether another machine than this one waits for the address.
    pub(super) fn has_another(&self, mac: Option<MacAddr>, address: Ipv4Addr) -> bool {
        self.at.range((address, FIRST)..=(address, LAST)).any(|(_, to)| Some(*to) != mac)
    }

    pub(super) fn insert(&mut self, mac: MacAddr, address: Ipv4Addr, until: u64) {
        self.remove(mac);
        self.of.insert(mac, Offered { address, until });
        self.at.insert((address, mac));
        self.ends.insert((until, mac));
    }

    pub(super) fn remove(&mut self, mac: MacAddr) -> Option<Ipv4Addr> {
        let Offered { address, until } = self.of.remove(&mac)?;
        self.at.remove(&(address, mac));
        self.ends.remove(&(until, mac));
        Some(address)
    }

    /// Takes an address back from whoever was offered it.
    pub(super) fn withdraw(&mut self, address: Ipv4Addr) {
        let to: Vec<MacAddr> =
            self.at.range((address, FIRST)..=(address, LAST)).map(|(_, mac)| *mac).collect();
        for mac in to {
            self.remove(mac);
        }
    }

    /// Drops what has run out; whether there was any.
    pub(super) fn forget(&mut self, now: u64) -> bool {
        let before = self.of.len();
        while let Some((_, mac)) = self.ends.first().copied().filter(|(until, _)| *until <= now) {
            self.remove(mac);
        }
        before != self.of.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, host)
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, last])
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u8, u64),
        Remove(u8),
        Withdraw(u8),
        Forget(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u8..4, 0u8..4, 0u64..50).prop_map(|(mac, host, until)| Step::Insert(mac, host, until)),
            (0u8..4).prop_map(Step::Remove),
            (0u8..4).prop_map(Step::Withdraw),
            (0u64..50).prop_map(Step::Forget),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        /// Every question is answered as a plain list of offers would answer it.
        #[test]
        fn the_indexes_say_what_a_list_says(steps in steps()) {
            let mut offers = Offers::default();
            let mut list: BTreeMap<u8, (u8, u64)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(who, host, until) => {
                        offers.insert(mac(who), address(host), until);
                        list.insert(who, (host, until));
                    }
                    Step::Remove(who) => {
                        let before = list.remove(&who).map(|(host, _)| address(host));
                        prop_assert_eq!(offers.remove(mac(who)), before);
                    }
                    Step::Withdraw(host) => {
                        offers.withdraw(address(host));
                        list.retain(|_, (at, _)| *at != host);
                    }
                    Step::Forget(now) => {
                        let before = list.len();
                        list.retain(|_, (_, until)| now < *until);
                        prop_assert_eq!(offers.forget(now), before != list.len());
                    }
                }
                for who in 0..4 {
                    prop_assert_eq!(offers.of(mac(who)), list.get(&who).map(|(host, _)| address(*host)));
                    for host in 0..4 {
                        let another = list.iter().any(|(other, (at, _))| *other != who && *at == host);
                        prop_assert_eq!(offers.has_another(Some(mac(who)), address(host)), another);
                    }
                }
            }
        }
    }
}
