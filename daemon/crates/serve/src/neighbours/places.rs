//! Which address each machine of the site uses now, by what is heard of ARP. Pure: time is passed in.
//!
//! What DHCP and HTTP tell is believed until a machine is heard on another address and answers no more on the one it is
//! believed at. So an address of a service that a node answers for beside its own moves nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ::boot::BootView;
use hardware::MacAddr;
use ipnet::Ipv4Net;

/// So long, in milliseconds, a machine may take to answer where it is believed, before it is believed elsewhere.
const DOUBT: u64 = 3_000;
/// A machine that was not heard for so long is asked where it is believed to be.
const QUIET: u64 = 30_000;
/// A machine that was not heard for so long is looked for everywhere.
const MISSED: u64 = 60_000;
/// From the begin of a round through all addresses to the begin of the next.
const PAUSE: u64 = 300_000;
/// Addresses of a round; larger networks are not asked whole.
const MOST_ASKED: usize = 1_024;
/// Addresses of a round that are asked within a second.
const PACE: usize = 20;

/// The network, as the site has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// where machines may be
    pub subnet: Ipv4Net,
    /// addresses that are no machine's own: the virtual address, the gateway, ours
    pub never: BTreeSet<Ipv4Addr>,
    /// where they most likely are: the first and the last one of the pool
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Ground {
    fn has(&self, address: Ipv4Addr) -> bool {
        self.subnet.contains(&address) && !self.never.contains(&address)
    }
}

/// One machine that holds a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// on any address
    heard: Option<u64>,
    /// heard on this one, while it is believed elsewhere, since then
    doubt: Option<(Ipv4Addr, u64)>,
}

/// What a look at the clock leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Next {
    /// machines that are elsewhere than believed
    pub(super) moved: Vec<(MacAddr, Ipv4Addr)>,
    /// whom to ask
    pub(super) ask: Vec<Ipv4Addr>,
}

/// The table of one network.
#[derive(Debug)]
pub(super) struct Places {
    ground: Ground,
    seen: BTreeMap<MacAddr, Seen>,
    /// what is left of this round, the next one last
    round: Vec<Ipv4Addr>,
    next_round: u64,
}

impl Places {
    pub(super) fn new(ground: Ground) -> Self {
        Self { ground, seen: BTreeMap::new(), round: Vec::new(), next_round: 0 }
    }

    /// Goes on in a network that the site describes otherwise.
    pub(super) fn follow(&mut self, ground: Ground) {
        self.ground = ground;
        self.round.clear();
    }

    /// A machine was heard using an address; whether it is to be believed there from now on.
    pub(super) fn heard(
        &mut self,
        mac: MacAddr,
        address: Ipv4Addr,
        believed: Option<Ipv4Addr>,
        view: &BootView,
        now: u64,
    ) -> bool {
        let Some(slot) = view.address(mac).filter(|_| self.ground.has(address)) else { return false };
        let seen = self.seen.entry(mac).or_default();
        seen.heard = Some(now);
        match believed {
            Some(believed) if believed == address => {
                seen.doubt = None;
                false
            }
            // who is nowhere yet, or in another network
            None => true,
            Some(believed) if !self.ground.subnet.contains(&believed) => true,
            // that it came to its own address is no surprise
            Some(_) if slot == address => {
                seen.doubt = None;
                true
            }
            Some(_) => {
                seen.doubt.get_or_insert((address, now));
                false
            }
        }
    }

    /// To be called about once in a second.
    pub(super) fn look(
        &mut self,
        believed: impl Fn(MacAddr) -> Option<Ipv4Addr>,
        view: &BootView,
        now: u64,
    ) -> Next {
        let mut next = Next::default();
        self.seen.retain(|mac, _| view.known.contains_key(mac));
        let mut is_missed = false;
        for mac in view.known.keys() {
            let seen = self.seen.entry(*mac).or_default();
            let there = believed(*mac).filter(|address| self.ground.has(*address));
            let silent = |long| seen.heard.is_none_or(|heard| now >= heard.saturating_add(long));
            match (seen.doubt, there) {
                (Some((address, since)), Some(_)) if now >= since.saturating_add(DOUBT) => {
                    seen.doubt = None;
                    next.moved.push((*mac, address));
                }
                (Some(_), Some(there)) => next.ask.push(there),
                (_, Some(there)) if silent(QUIET) => next.ask.push(there),
                _ => {}
            }
            is_missed |= silent(MISSED);
        }
        if is_missed {
            if self.round.is_empty() && now >= self.next_round {
                self.round = self.whole_round(view);
                self.next_round = now.saturating_add(PAUSE);
            }
            let rest = self.round.len().saturating_sub(PACE);
            next.ask.extend(self.round.drain(rest..).rev());
        }
        next
    }

    /// Every address once, the likeliest last.
    fn whole_round(&self, view: &BootView) -> Vec<Ipv4Addr> {
        let own = view.known.values().map(|machine| machine.address);
        let pool = self.ground.pool.map(|(first, last)| u32::from(first)..=u32::from(last));
        let pool = pool.into_iter().flatten().map(Ipv4Addr::from).take(MOST_ASKED);
        let mut met = BTreeSet::new();
        let mut round: Vec<Ipv4Addr> = own
            .chain(pool)
            .chain(self.ground.subnet.hosts().take(2 * MOST_ASKED))
            .filter(|address| self.ground.has(*address) && met.insert(*address))
            .take(MOST_ASKED)
            .collect();
        round.reverse();
        round
    }
}

#[cfg(test)]
mod tests {
    use ::boot::{KnownMachine, Offer};

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const STRANGER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const NOW: u64 = 1_800_000_000_000;
    const SLOT: Ipv4Addr = host(11);

    const fn host(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, last)
    }

    fn places() -> Places {
        let subnet = "10.77.0.0/28".parse().unwrap();
        Places::new(Ground { subnet, never: [host(1), host(10)].into(), pool: Some((host(5), host(6))) })
    }

    fn view() -> BootView {
        let machine = KnownMachine { node: "one".to_owned(), address: SLOT, offer: Offer::Nothing };
        BootView { known: [(MAC, machine)].into(), ..BootView::default() }
    }

    #[test]
    fn who_is_nowhere_is_believed_where_it_is_heard() {
        let mut places = places();
        assert!(places.heard(MAC, host(7), None, &view(), NOW));
        let elsewhere = Some(Ipv4Addr::new(192, 0, 2, 1));
        assert!(places.heard(MAC, host(7), elsewhere, &view(), NOW), "what was another network's");
        for (mac, address) in [(STRANGER, host(7)), (MAC, host(1)), (MAC, host(10)), (MAC, host(99))] {
            assert!(!places.heard(mac, address, None, &view(), NOW), "{mac} {address}");
        }
    }

    #[test]
    fn who_answers_where_it_is_believed_stays_there() {
        let mut places = places();
        let believed = |_| Some(SLOT);
        assert!(!places.heard(MAC, SLOT, Some(SLOT), &view(), NOW));
        // an address of a service
        assert!(!places.heard(MAC, host(7), Some(SLOT), &view(), NOW));
        assert_eq!(places.look(believed, &view(), NOW).ask, [SLOT]);
        assert!(!places.heard(MAC, SLOT, Some(SLOT), &view(), NOW + 1));
        for later in [2, DOUBT, QUIET - 1] {
            assert_eq!(places.look(believed, &view(), NOW + later), Next::default(), "{later}");
        }
    }

    #[test]
    fn who_answers_there_no_more_has_moved() {
        let mut places = places();
        let believed = |_| Some(host(6));
        assert!(!places.heard(MAC, host(7), Some(host(6)), &view(), NOW));
        assert!(!places.heard(MAC, host(7), Some(host(6)), &view(), NOW + 1_000));
        let waits = Next { moved: vec![], ask: vec![host(6)] };
        assert_eq!(places.look(believed, &view(), NOW + DOUBT - 1), waits);
        let moved = Next { moved: vec![(MAC, host(7))], ask: vec![] };
        assert_eq!(places.look(believed, &view(), NOW + DOUBT), moved);
        // its own address needs no proof
        assert!(places.heard(MAC, SLOT, Some(host(7)), &view(), NOW + DOUBT));
    }

    #[test]
    fn who_is_silent_is_asked_there_and_then_everywhere() {
        let mut places = places();
        places.heard(MAC, host(6), Some(host(6)), &view(), NOW);
        let believed = |_| Some(host(6));
        assert_eq!(places.look(believed, &view(), NOW + QUIET - 1), Next::default());
        assert_eq!(places.look(believed, &view(), NOW + QUIET).ask, [host(6)]);
        let all = [6, 11, 5, 6, 2, 3, 4, 7, 8, 9, 12, 13, 14].map(host);
        assert_eq!(places.look(believed, &view(), NOW + MISSED).ask, all, "the likeliest first");
        assert_eq!(places.look(believed, &view(), NOW + MISSED + 1_000).ask, [host(6)]);
        // it turned up somewhere, and is lost again
        assert!(places.heard(MAC, SLOT, Some(host(6)), &view(), NOW + MISSED + 2_000));
        assert_eq!(places.look(|_| Some(SLOT), &view(), NOW + MISSED + 3_000), Next::default());
        assert_eq!(places.look(|_| Some(SLOT), &view(), NOW + MISSED + PAUSE).ask.len(), 13);
    }

    #[test]
    fn a_large_network_is_asked_slowly_and_not_whole() {
        let subnet = "10.77.0.0/16".parse().unwrap();
        let mut places = Places::new(Ground { subnet, never: BTreeSet::new(), pool: None });
        let mut asked = Vec::new();
        for second in 0..200 {
            let now = places.look(|_| None, &view(), NOW + second * 1_000).ask;
            assert!(now.len() <= PACE);
            asked.extend(now);
        }
        assert_eq!((asked.len(), asked.first()), (MOST_ASKED, Some(&SLOT)));
    }

    #[test]
    fn without_machines_nobody_is_asked() {
        assert_eq!(places().look(|_| None, &BootView::default(), NOW), Next::default());
    }
}
