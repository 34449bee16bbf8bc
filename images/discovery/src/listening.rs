//! Who was heard on which card, and how long to go on listening. Pure: frames and times come in.
//!
//! A switch speaks every 30 s, and a port that just got its link may drop frames for as long (spanning tree). So each
//! card is listened to for the whole time from when its link came up, also after a first frame: only who hears all
//! neighbours can tell that there is an unmanaged switch in between.

use std::{collections::BTreeMap, time::Duration};

use boot::LldpReport;
use hardware::{ChassisId, MacAddr, PortId};
use lldp::{Capabilities, Frame};

/// Links that are not there after this time are no cables: autonegotiation takes seconds.
const LINK_PATIENCE: Duration = Duration::from_secs(12);
/// A link that comes and goes does not hold up everything for ever.
const LATEST: Duration = Duration::from_secs(60);
/// One card hears no more; who says more makes them up.
const MOST_NEIGHBOURS: usize = 16;
/// Whoever does one of these passes frames on.
const FORWARDS: u16 = Capabilities::BRIDGE | Capabilities::ACCESS_POINT | Capabilities::ROUTER;

/// A card to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// as Linux calls it
    pub name: String,
    /// its address
    pub mac: MacAddr,
}

/// What is known after some time. All times count from the beginning.
#[derive(Debug)]
pub struct Listening {
    time: Duration,
    cards: BTreeMap<String, Ear>,
}

#[derive(Debug)]
struct Ear {
    mac: MacAddr,
    /// since when it has its link
    link: Option<Duration>,
    heard: BTreeMap<(ChassisId, PortId), LldpReport>,
}

impl Listening {
    /// On these cards, each for so long.
    pub fn new(cards: &[Card], time: Duration) -> Self {
        let ear =
            |card: &Card| (card.name.clone(), Ear { mac: card.mac, link: None, heard: BTreeMap::new() });
        Self { time, cards: cards.iter().map(ear).collect() }
    }

    /// A card's link is up, or down.
    pub fn link(&mut self, card: &str, up: bool, now: Duration) {
        if let Some(ear) = self.cards.get_mut(card) {
            ear.link = if up { ear.link.or(Some(now)) } else { None };
        }
    }

    /// A card received a frame.
    pub fn frame(&mut self, card: &str, frame: &[u8]) {
        let Ok(frame) = Frame::parse(frame) else { return };
        // the machine's other cards on the same unmanaged switch are no neighbours
        if self.cards.values().any(|ear| ear.mac == frame.source) {
            return;
        }
        let Some(ear) = self.cards.get_mut(card) else { return };
        let said = frame.announcement;
        let id = (said.chassis.clone(), said.port.clone());
        if said.ttl == 0 {
            ear.heard.remove(&id);
            return;
        }
        if ear.heard.len() >= MOST_NEIGHBOURS && !ear.heard.contains_key(&id) {
            return;
        }
        let report = LldpReport {
            nic: ear.mac,
            chassis: Some(said.chassis),
            port: Some(said.port),
            system_name: said.system_name,
            port_description: said.port_description,
            forwards: said.capabilities.map(|capabilities| capabilities.enabled & FORWARDS != 0),
            management: said.management.iter().find_map(lldp::ManagementAddress::ip),
        };
        ear.heard.insert(id, report);
    }

    /// Whether everybody had time to speak.
    pub fn is_over(&self, now: Duration) -> bool {
        let links = self.cards.values().filter_map(|ear| ear.link);
        let last = links.max().map_or(Duration::ZERO, |last| last + self.time);
        let complete = self.cards.values().all(|ear| ear.link.is_some());
        let heard_out = if complete { last } else { last.max(LINK_PATIENCE) };
        now >= heard_out.min(self.time + LATEST)
    }

    /// Everything that was heard.
    pub fn neighbours(self) -> Vec<LldpReport> {
        self.cards.into_values().flat_map(|ear| ear.heard.into_values()).collect()
    }
}

#[cfg(test)]
mod tests {
    use lldp::{Announcement, NEAREST_BRIDGE};

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn cards() -> [Card; 2] {
        [1, 2].map(|last| Card { name: format!("eth{last}"), mac: MacAddr([2, 0, 0, 0, 0, last]) })
    }

    fn frame(source: u8, port: &str, ttl: u16, enabled: Option<u16>) -> Vec<u8> {
        let chassis = ChassisId { subtype: 4, id: vec![2, 0, 0, 0, 9, source] };
        let port = PortId { subtype: 5, id: port.as_bytes().to_vec() };
        let mut announcement = Announcement::new(chassis, port, ttl);
        announcement.capabilities = enabled.map(|enabled| Capabilities { supported: 0xff, enabled });
        let source = MacAddr([2, 0, 0, 0, 0, source]);
        Frame { destination: NEAREST_BRIDGE, source, vlan: None, announcement }.build()
    }

    #[test]
    fn every_card_gets_its_time_from_when_its_link_came() {
        let mut listening = Listening::new(&cards(), seconds(35));
        listening.link("eth1", true, seconds(1));
        listening.frame("eth1", &frame(9, "Eth1/1", 120, Some(Capabilities::BRIDGE)));
        assert!(!listening.is_over(seconds(35)), "a first frame is not the last");
        assert!(listening.is_over(seconds(36)));
        listening.link("eth2", true, seconds(10));
        assert!(!listening.is_over(seconds(44)));
        assert!(listening.is_over(seconds(45)));
    }

    #[test]
    fn without_a_link_there_is_nothing_to_wait_for() {
        let mut listening = Listening::new(&cards(), seconds(35));
        assert!(!listening.is_over(seconds(11)), "links take a while");
        assert!(listening.is_over(seconds(12)));
        listening.link("eth1", true, seconds(3));
        listening.link("eth1", false, seconds(4));
        assert!(listening.is_over(seconds(12)), "it is gone");
        // one that comes and goes begins anew, but not for ever
        listening.link("eth1", true, seconds(90));
        assert!(listening.is_over(seconds(95)));
    }

    #[test]
    fn who_forwards_is_told_from_who_does_not() {
        let mut listening = Listening::new(&cards(), seconds(35));
        listening.frame("eth1", &frame(9, "Eth1/1", 120, Some(Capabilities::BRIDGE | Capabilities::ROUTER)));
        listening.frame("eth1", &frame(8, "eno1", 120, Some(Capabilities::STATION)));
        listening.frame("eth1", &frame(7, "x", 120, None));
        let heard = listening.neighbours();
        let ports: Vec<_> = heard.iter().map(|heard| (heard.nic.0[5], heard.forwards)).collect();
        assert_eq!(ports, [(1, None), (1, Some(false)), (1, Some(true))]);
    }

    #[test]
    fn good_byes_own_cards_and_floods_are_not_kept() {
        let mut listening = Listening::new(&cards(), seconds(35));
        listening.frame("eth1", &frame(9, "Eth1/1", 120, None));
        listening.frame("eth1", &frame(9, "Eth1/1", 0, None));
        listening.frame("eth1", &frame(2, "eth2", 120, None));
        listening.frame("eth1", b"junk");
        listening.frame("eth9", &frame(9, "Eth1/1", 120, None));
        assert!(listening.neighbours().is_empty());
        let mut listening = Listening::new(&cards(), seconds(35));
        for number in 0..100 {
            listening.frame("eth2", &frame(9, &format!("Eth1/{number}"), 120, None));
        }
        assert_eq!(listening.neighbours().len(), MOST_NEIGHBOURS);
    }
}
