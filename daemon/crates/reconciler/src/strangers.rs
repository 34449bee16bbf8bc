//! Machines that hold no slot and were seen at an address, and when each is knocked at next.
//!
//! One of them may wait in maintenance mode without ever having asked us what to boot: somebody started it from Talos's
//! own ISO, or another server netbooted it. Nobody else answers on the machine API's port, so knocking there tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use hardware::MacAddr;
use lifecycle::{Time, Watch};

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
/// The same where the machine tells by itself what changes.
const WAITS_WATCHED: Duration = Duration::from_secs(30);
/// A knock that has not ended by then is lost.
const LOST: Duration = Duration::from_secs(60);
/// Who was not seen for so long is gone.
const GONE: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a full table is searched for those who are gone: that looks at everybody.
const SWEEP: Duration = Duration::from_secs(60);

/// The table, in memory only: who is still there is seen again. A rack that is switched on is seen at once, so owners of
/// addresses and who is due are found without looking at all the others.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    all: BTreeMap<MacAddr, Stranger>,
    owners: BTreeMap<IpAddr, MacAddr>,
    /// those with an address
    dues: BTreeSet<(Time, MacAddr)>,
    swept: Option<Time>,
}

#[derive(Debug)]
struct Stranger {
    addresses: Vec<IpAddr>,
    seen: Time,
    next: Time,
    pause: Duration,
    /// it was met in maintenance mode the last time
    waits: bool,
    /// it tells by itself what changes
    watched: bool,
}

impl Strangers {
    /// It was given this address just now: it has started, or goes on with an address it has.
    pub(crate) fn arrived(&mut self, mac: MacAddr, address: IpAddr, now: Time) {
        if self.seen(mac, address, now) {
            self.change(mac, |stranger| {
                stranger.pause = FIRST_PAUSE;
                stranger.next = stranger.next.min(now + FIRST_PAUSE);
            });
        }
    }

    /// It spoke from this address.
    pub(crate) fn heard(&mut self, mac: MacAddr, address: IpAddr, now: Time) {
        self.seen(mac, address, now);
    }

    /// Whether it is remembered.
    fn seen(&mut self, mac: MacAddr, address: IpAddr, now: Time) -> bool {
        if !self.all.contains_key(&mac) {
            self.sweep(now);
            if self.all.len() >= MOST {
                return false;
            }
        }
        let is_new = self.all.get(&mac).is_none_or(|known| known.addresses.first() != Some(&address));
        // an address has one owner
        if let Some(owner) = self.owners.insert(address, mac)
            && is_new
        {
            self.change(owner, |other| other.addresses.retain(|theirs| *theirs != address));
        }
        self.all.entry(mac).or_insert_with(|| Stranger {
            addresses: Vec::new(),
            seen: now,
            next: now,
            pause: FIRST_PAUSE,
            waits: false,
            watched: false,
        });
        let mut left = Vec::new();
        self.change(mac, |stranger| {
            stranger.seen = now;
            if is_new {
                stranger.addresses.insert(0, address);
                left = stranger.addresses.split_off(MOST_ADDRESSES.min(stranger.addresses.len()));
                stranger.next = now;
                stranger.pause = FIRST_PAUSE;
            }
        });
        for address in left {
            self.owners.remove(&address);
        }
        true
    }

    /// Makes room in a full table.
    fn sweep(&mut self, now: Time) {
        let is_due = self.swept.is_none_or(|swept| swept > now || now.since(swept) >= SWEEP);
        if self.all.len() < MOST || !is_due {
            return;
        }
        self.swept = Some(now);
        let is_gone = |stranger: &Stranger| stranger.seen > now || now.since(stranger.seen) >= GONE;
        let gone: Vec<MacAddr> =
            self.all.iter().filter(|(_, stranger)| is_gone(stranger)).map(|(mac, _)| *mac).collect();
        gone.into_iter().for_each(|mac| self.forget(mac));
    }

    /// Changes a stranger, and when it is due with it.
    fn change(&mut self, mac: MacAddr, change: impl FnOnce(&mut Stranger)) {
        let Some(stranger) = self.all.get_mut(&mac) else { return };
        self.dues.remove(&(stranger.next, mac));
        change(stranger);
        if !stranger.addresses.is_empty() {
            self.dues.insert((stranger.next, mac));
        }
    }

    /// It holds a slot now.
    pub(crate) fn forget(&mut self, mac: MacAddr) {
        if let Some(stranger) = self.all.remove(&mac) {
            self.dues.remove(&(stranger.next, mac));
            for address in stranger.addresses {
                self.owners.remove(&address);
            }
        }
    }

    /// Something was decided that those who wait may have waited for.
    pub(crate) fn hurry(&mut self, now: Time) {
        let waiting: Vec<MacAddr> =
            self.all.iter().filter(|(_, stranger)| stranger.waits).map(|(mac, _)| *mac).collect();
        for mac in waiting {
            self.change(mac, |stranger| stranger.next = stranger.next.min(now));
        }
    }

    /// Whoever answers there tells something by itself, or tells nothing any more.
    pub(crate) fn told(&mut self, address: IpAddr, watch: Watch, now: Time) {
        let Some(owner) = self.owners.get(&address).copied() else { return };
        self.change(owner, |stranger| {
            let was_watched = std::mem::replace(&mut stranger.watched, watch != Watch::Ended);
            if watch == Watch::Ended && !was_watched {
                return;
            }
            // a knock that is under way may have come too early
            stranger.next = if watch == Watch::Began { stranger.next } else { now };
        });
    }

    /// Whom to knock at now, while so many knocks are under way.
    pub(crate) fn due(&mut self, under_way: usize, now: Time) -> Vec<(MacAddr, Vec<IpAddr>)> {
        let room = MOST_KNOCKS.saturating_sub(under_way);
        let due: Vec<MacAddr> =
            (self.dues.iter().take_while(|(next, _)| *next <= now)).take(room).map(|(_, mac)| *mac).collect();
        due.iter().for_each(|mac| self.change(*mac, |stranger| stranger.next = now + LOST));
        let addresses = |mac: MacAddr| Some((mac, self.all.get(&mac)?.addresses.clone()));
        due.into_iter().filter_map(addresses).collect()
    }

    /// A knock ended: somebody waits there in maintenance mode, or nobody does.
    pub(crate) fn knocked(&mut self, mac: MacAddr, waits: bool, now: Time) {
        let Some(stranger) = self.all.get(&mac) else { return };
        if stranger.seen > now || now.since(stranger.seen) >= GONE && !waits {
            self.forget(mac);
            return;
        }
        self.change(mac, |stranger| {
            stranger.waits = waits;
            if waits {
                (stranger.seen, stranger.pause) = (now, FIRST_PAUSE);
                stranger.next = now + if stranger.watched { WAITS_WATCHED } else { WAITS };
            } else {
                stranger.watched = false;
                stranger.next = now + stranger.pause;
                stranger.pause = (stranger.pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    /// When the next one is due, while so many knocks are under way; each that ends makes room for another.
    pub(crate) fn next_deadline(&self, under_way: usize) -> Option<Time> {
        if under_way >= MOST_KNOCKS {
            return None;
        }
        self.dues.first().map(|(next, _)| *next)
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
    fn one_that_tells_what_changes_is_looked_at_then_and_rarely_otherwise() {
        let mut strangers = Strangers::default();
        strangers.heard(PHONE, at(9), seconds(0));
        strangers.due(0, seconds(0));
        strangers.told(at(9), Watch::Began, seconds(1));
        strangers.knocked(PHONE, true, seconds(1));
        assert_eq!(strangers.next_deadline(0), Some(seconds(31)));
        strangers.told(at(9), Watch::Changed, seconds(2));
        assert_eq!(strangers.due(0, seconds(2)), [(PHONE, vec![at(9)])]);
        // a change during the knock
        strangers.told(at(9), Watch::Changed, seconds(3));
        assert_eq!(strangers.next_deadline(0), Some(seconds(3)));
        strangers.told(at(9), Watch::Ended, seconds(4));
        strangers.knocked(PHONE, true, seconds(5));
        assert_eq!(strangers.next_deadline(0), Some(seconds(10)));
        strangers.told(at(9), Watch::Ended, seconds(6));
        strangers.told(at(7), Watch::Changed, seconds(6));
        assert_eq!(strangers.next_deadline(0), Some(seconds(10)));
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
        assert_eq!(strangers.all.len(), MOST);
        assert_eq!(strangers.due(0, seconds(0)).len(), MOST_KNOCKS);
        assert_eq!(strangers.due(MOST_KNOCKS - 1, seconds(0)).len(), 1);
        let day = seconds(24 * 3600);
        strangers.heard(PHONE, at(9), day);
        assert_eq!(strangers.all.len(), 1, "whom nobody has seen for a day makes way");
    }
}
