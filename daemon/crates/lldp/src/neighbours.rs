//! Who was heard on which port, until its time to live is over (802.1AB-2016 §9.2.7.7, §9.2.2).
//!
//! `serve` keeps one for all its ports. Time is in milliseconds since the Unix epoch and comes from outside.

use std::collections::BTreeMap;

use hardware::{ChassisId, MacAddr, PortId};

use crate::{Announcement, Frame};

/// The most neighbours on one port. More than a few mean a switch between that floods LLDP; who makes them up
/// must not fill the memory.
const PER_PORT: usize = 16;

/// A neighbour on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// the address of its sending port
    pub source: MacAddr,
    /// what it says of itself
    pub announcement: Announcement,
    /// when it was last heard
    pub heard: u64,
}

impl Neighbour {
    /// The first millisecond at which it no longer holds.
    pub fn ends(&self) -> u64 {
        self.heard.saturating_add(u64::from(self.announcement.ttl) * 1000)
    }
}

/// What a frame changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// a neighbour that was not there
    New,
    /// a known one says the same as before
    Refreshed,
    /// a known one says something else now
    Changed,
    /// a neighbour said good-bye (TTL 0)
    Gone,
    /// a good-bye of somebody unknown
    Nothing,
    /// the port has too many neighbours already
    TooMany,
}

/// A neighbour is its chassis and its port there (the standard's MSAP identifier).
type Id = (ChassisId, PortId);

/// The table. See the module's head.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    ports: BTreeMap<String, BTreeMap<Id, Neighbour>>,
}

impl Neighbours {
    /// Takes in a frame that was heard on a port.
    pub fn heard(&mut self, port: &str, frame: Frame, now: u64) -> Change {
        let Frame { source, announcement, .. } = frame;
        let id = (announcement.chassis.clone(), announcement.port.clone());
        if announcement.ttl == 0 {
            let gone = self.ports.get_mut(port).and_then(|there| there.remove(&id));
            return if gone.is_some() { Change::Gone } else { Change::Nothing };
        }
        let there = self.ports.entry(port.to_owned()).or_default();
        let full = there.len() >= PER_PORT;
        let new = Neighbour { source, announcement, heard: now };
        match there.get_mut(&id) {
            Some(known) => {
                let same = known.source == new.source && known.announcement == new.announcement;
                *known = new;
                if same { Change::Refreshed } else { Change::Changed }
            }
            None if full => Change::TooMany,
            None => {
                there.insert(id, new);
                Change::New
            }
        }
    }

    /// Removes those whose time is over, and returns them with their port.
    pub fn expire(&mut self, now: u64) -> Vec<(String, Neighbour)> {
        let mut gone = Vec::new();
        for (port, there) in &mut self.ports {
            let over = there.iter().filter(|(_, neighbour)| now >= neighbour.ends());
            let over: Vec<Id> = over.map(|(id, _)| id.clone()).collect();
            gone.extend(over.iter().filter_map(|id| Some((port.clone(), there.remove(id)?))));
        }
        self.ports.retain(|_, there| !there.is_empty());
        gone
    }

    /// When [`Neighbours::expire`] will have something to do.
    pub fn next_end(&self) -> Option<u64> {
        self.ports.values().flat_map(BTreeMap::values).map(Neighbour::ends).min()
    }

    /// Who is on a port.
    pub fn on(&self, port: &str) -> impl Iterator<Item = &Neighbour> {
        self.ports.get(port).into_iter().flat_map(BTreeMap::values)
    }

    /// Forgets everybody on a port: its link is gone.
    pub fn clear(&mut self, port: &str) {
        self.ports.remove(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn frame(port: &str, ttl: u16) -> Frame {
        let chassis = ChassisId { subtype: 4, id: SOURCE.0.to_vec() };
        let port = PortId { subtype: 5, id: port.as_bytes().to_vec() };
        let announcement = Announcement::new(chassis, port, ttl);
        Frame { destination: crate::NEAREST_BRIDGE, source: SOURCE, vlan: None, announcement }
    }

    #[test]
    fn a_neighbour_is_new_then_refreshed_then_changed() {
        let mut table = Neighbours::default();
        assert_eq!(table.heard("p1", frame("eth0", 120), 0), Change::New);
        assert_eq!(table.heard("p1", frame("eth0", 120), 30_000), Change::Refreshed);
        let mut renamed = frame("eth0", 120);
        renamed.announcement.system_name = Some("mini01".to_owned());
        assert_eq!(table.heard("p1", renamed, 60_000), Change::Changed);
        let neighbour = table.on("p1").next().unwrap();
        assert_eq!(
            (neighbour.heard, neighbour.announcement.system_name.as_deref()),
            (60_000, Some("mini01"))
        );
        // the same station on another port of ours is another neighbour
        assert_eq!(table.heard("p2", frame("eth0", 120), 60_000), Change::New);
    }

    #[test]
    fn its_time_to_live_is_counted_from_the_last_frame() {
        let mut table = Neighbours::default();
        table.heard("p1", frame("eth0", 120), 0);
        table.heard("p1", frame("eth0", 120), 30_000);
        assert_eq!(table.next_end(), Some(150_000));
        assert!(table.expire(149_999).is_empty());
        let gone = table.expire(150_000);
        assert_eq!(gone.iter().map(|(port, _)| port.as_str()).collect::<Vec<_>>(), ["p1"]);
        assert_eq!((table.next_end(), table.on("p1").count()), (None, 0));
    }

    #[test]
    fn a_good_bye_ends_it_at_once() {
        let mut table = Neighbours::default();
        assert_eq!(table.heard("p1", frame("eth0", 0), 0), Change::Nothing);
        table.heard("p1", frame("eth0", 120), 0);
        assert_eq!(table.heard("p1", frame("eth1", 0), 1), Change::Nothing);
        assert_eq!(table.heard("p1", frame("eth0", 0), 1), Change::Gone);
        assert_eq!(table.on("p1").count(), 0);
    }

    #[test]
    fn who_makes_up_stations_does_not_fill_the_memory() {
        let mut table = Neighbours::default();
        for number in 0..PER_PORT {
            assert_eq!(table.heard("p1", frame(&format!("eth{number}"), 120), 0), Change::New);
        }
        assert_eq!(table.heard("p1", frame("one more", 120), 0), Change::TooMany);
        assert_eq!(table.heard("p1", frame("eth3", 120), 0), Change::Refreshed);
        table.clear("p1");
        assert_eq!(table.heard("p1", frame("one more", 120), 0), Change::New);
    }

    #[test]
    fn the_longest_time_to_live_at_the_end_of_time_does_not_overflow() {
        let mut table = Neighbours::default();
        table.heard("p1", frame("eth0", u16::MAX), u64::MAX - 1);
        assert_eq!(table.next_end(), Some(u64::MAX));
    }
}
