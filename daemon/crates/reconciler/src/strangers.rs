//! Machines that hold no slot and were seen at an address, and when each is knocked at next.
//!
//! One of them may wait in maintenance mode without ever having asked us what to boot: somebody started it from Talos's
//! own ISO, or another server netbooted it. Nobody else answers on the machine API's port, so knocking there tells.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use hardware::MacAddr;
use lifecycle::Time;

/// Strangers that are remembered; a network with more has its machines known otherwise.
const MOST: usize = 4096;
/// Addresses of one stranger, the newest first.
const MOST_ADDRESSES: usize = 4;
/// Knocks under way at one time.
const MOST_KNOCKS: usize = 32;
/// After the first knock that nobody answered. A machine asks for its address some seconds before it waits.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Pauses double up to this one: most strangers are printers and phones.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Between two looks at a machine that waits, for which a port may be told or a permit granted in between.
const WAITS: Duration = Duration::from_secs(5);
/// A knock that has not ended by then is lost.
const LOST: Duration = Duration::from_secs(60);
/// Who was not seen for so long is gone.
const GONE: Duration = Duration::from_secs(24 * 60 * 60);

/// The table, in memory only: who is still there is seen again.
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<MacAddr, Stranger>);

#[derive(Debug)]
struct Stranger {
    addresses: Vec<IpAddr>,
    seen: Time,
    next: Time,
    pause: Duration,
    /// it was met in maintenance mode the last time
    waits: bool,
}

impl Strangers {
    /// It was given this address just now: it has started, or goes on with an address it has.
    pub(crate) fn arrived(&mut self, mac: MacAddr, address: IpAddr, now: Time) {
        if let Some(stranger) = self.seen(mac, address, now) {
            stranger.pause = FIRST_PAUSE;
            stranger.next = stranger.next.min(now + FIRST_PAUSE);
        }
    }

    /// It spoke from this address.
    pub(crate) fn heard(&mut self, mac: MacAddr, address: IpAddr, now: Time) {
        self.seen(mac, address, now);
    }

    fn seen(&mut self, mac: MacAddr, address: IpAddr, now: Time) -> Option<&mut Stranger> {
        if !self.0.contains_key(&mac) {
            if self.0.len() >= MOST {
                self.0.retain(|_, stranger| stranger.seen <= now && now.since(stranger.seen) < GONE);
            }
            if self.0.len() >= MOST {
                return None;
            }
        }
        let is_new = self.0.get(&mac).is_none_or(|known| known.addresses.first() != Some(&address));
        if is_new {
            // an address has one owner
            for other in self.0.values_mut() {
                other.addresses.retain(|theirs| *theirs != address);
            }
        }
        let stranger = self.0.entry(mac).or_insert_with(|| Stranger {
            addresses: Vec::new(),
            seen: now,
            next: now,
            pause: FIRST_PAUSE,
            waits: false,
        });
        stranger.seen = now;
        if is_new {
            stranger.addresses.insert(0, address);
            stranger.addresses.truncate(MOST_ADDRESSES);
            stranger.next = now;
            stranger.pause = FIRST_PAUSE;
        }
        Some(stranger)
    }

    /// It holds a slot now.
    pub(crate) fn forget(&mut self, mac: MacAddr) {
        self.0.remove(&mac);
    }

    /// Something was decided that those who wait may have waited for.
    pub(crate) fn hurry(&mut self, now: Time) {
        for stranger in self.0.values_mut().filter(|stranger| stranger.waits) {
            stranger.next = stranger.next.min(now);
        }
    }

    /// Whom to knock at now, while so many knocks are under way.
    pub(crate) fn due(&mut self, under_way: usize, now: Time) -> Vec<(MacAddr, Vec<IpAddr>)> {
        let due = self.0.iter_mut().filter(|(_, one)| one.next <= now && !one.addresses.is_empty());
        let due = due.take(MOST_KNOCKS.saturating_sub(under_way)).map(|(mac, stranger)| {
            stranger.next = now + LOST;
            (*mac, stranger.addresses.clone())
        });
        due.collect()
    }

    /// A knock ended: somebody waits there in maintenance mode, or nobody does.
    pub(crate) fn knocked(&mut self, mac: MacAddr, waits: bool, now: Time) {
        let Some(stranger) = self.0.get_mut(&mac) else { return };
        if stranger.seen > now || now.since(stranger.seen) >= GONE && !waits {
            self.0.remove(&mac);
            return;
        }
        stranger.waits = waits;
        if waits {
            (stranger.seen, stranger.pause) = (now, FIRST_PAUSE);
            stranger.next = now + WAITS;
        } else {
            stranger.next = now + stranger.pause;
            stranger.pause = (stranger.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// When the next one is due, while so many knocks are under way; each that ends makes room for another.
    pub(crate) fn next_deadline(&self, under_way: usize) -> Option<Time> {
        if under_way >= MOST_KNOCKS {
            return None;
        }
        self.0.values().filter(|stranger| !stranger.addresses.is_empty()).map(|stranger| stranger.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const SECOND: u64 = 1_000;

    fn at(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn seconds(seconds: u64) -> Time {
        Time(seconds * SECOND)
    }

    #[test]
    fn one_that_never_answers_is_knocked_at_less_and_less() {
        let mut strangers = Strangers::default();
        strangers.arrived(PHONE, at(9), seconds(0));
        let mut moments = Vec::new();
        while let Some(next) = strangers.next_deadline(0).filter(|next| *next < seconds(3600)) {
            assert_eq!(strangers.due(0, next), [(PHONE, vec![at(9)])]);
            strangers.knocked(PHONE, false, next);
            moments.push(next.0 / SECOND);
        }
        assert_eq!(moments[..5], [0, 2, 6, 14, 30]);
        assert!(moments.len() < 22, "{moments:?}");

        // it starts anew: it may come up as something else
        strangers.arrived(PHONE, at(9), seconds(3600));
        assert_eq!(strangers.next_deadline(0), Some(seconds(3602)));
    }

    #[test]
    fn one_that_waits_is_looked_at_steadily_and_at_once_when_something_was_decided() {
        let mut strangers = Strangers::default();
        strangers.heard(PHONE, at(9), seconds(0));
        strangers.due(0, seconds(0));
        strangers.knocked(PHONE, true, seconds(1));
        assert_eq!(strangers.next_deadline(0), Some(seconds(6)));
        strangers.hurry(seconds(2));
        assert_eq!(strangers.next_deadline(0), Some(seconds(2)));
        strangers.forget(PHONE);
        assert_eq!(strangers.next_deadline(0), None);
    }

    #[test]
    fn an_address_has_one_owner_and_the_newest_is_tried_first() {
        let mut strangers = Strangers::default();
        strangers.heard(PHONE, at(9), seconds(0));
        strangers.heard(PHONE, at(8), seconds(0));
        strangers.heard(OTHER, at(9), seconds(1));
        assert_eq!(strangers.due(0, seconds(1)), [(PHONE, vec![at(8)]), (OTHER, vec![at(9)])]);
        assert!(strangers.due(0, seconds(2)).is_empty(), "they are under way");
        assert!(!strangers.due(0, seconds(62)).is_empty(), "and lost after a minute");
    }

    #[test]
    fn so_many_at_a_time_and_never_more_than_the_table_holds() {
        let mut strangers = Strangers::default();
        for number in 0..5000_u32 {
            let [_, _, high, low] = number.to_be_bytes();
            strangers.heard(MacAddr([2, 0, 0, 1, high, low]), IpAddr::from([10, 1, high, low]), seconds(0));
        }
        assert_eq!(strangers.0.len(), MOST);
        assert_eq!(strangers.due(0, seconds(0)).len(), MOST_KNOCKS);
        assert_eq!(strangers.due(MOST_KNOCKS - 1, seconds(0)).len(), 1);
        let day = seconds(24 * 3600);
        strangers.heard(PHONE, at(9), day);
        assert_eq!(strangers.0.len(), 1, "whom nobody has seen for a day makes way");
    }
}
