//! How often an unidentified machine is given iPXE.
//!
//! A machine that nobody can place would otherwise go round for ever: firmware, iPXE, no answer, reset.
//! After [`MOST`] rounds it is sent to its own disk, until the time is over.

use hardware::MacAddr;

use super::{Answer, Boots, MOST_REMEMBERED, Machines, Note, Request, Server, millis};
use crate::client::{Client, Kind};

/// A machine that waits for its permit asks once in five minutes; this is more than that.
const MOST: u32 = 20;
/// Scripts given within this time, in milliseconds, are for one boot: iPXE repeats itself.
const ONE_BOOT: u64 = 30_000;

/// What a machine was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    count: u32,
    /// when the first was given
    since: u64,
    /// when the newest was given
    last: u64,
}

impl Server {
    /// What the client boots, bounded.
    pub(super) fn boots(&self, client: &Client, boots: Boots, now: u64) -> Boots {
        let used_up = self.identified.get(&client.mac).is_some_and(|times| {
            let goes_on = now < times.last.saturating_add(ONE_BOOT);
            times.count >= MOST && !goes_on && now < times.since.saturating_add(self.window())
        });
        if boots == Boots::Identify && used_up { Boots::Nothing } else { boots }
    }

    /// Counts a script that was given to an unidentified machine.
    pub(super) fn count_script<M: Machines>(&mut self, request: &Request<'_, M>, answer: &Answer) {
        let given = matches!(answer.note, Some(Note::Booting { .. } | Note::Proxied { .. }));
        if !given || request.boots != Boots::Identify || request.client.kind != Kind::Ipxe {
            return;
        }
        let (mac, now, window) = (request.client.mac, request.now, self.window());
        let room = self.identified.len() < MOST_REMEMBERED || self.identified.contains_key(&mac);
        if !room {
            return;
        }
        let new = Times { count: 0, since: now, last: 0 };
        let times = self.identified.entry(mac).or_insert(new);
        if now >= times.since.saturating_add(window) {
            *times = new;
        }
        if now >= times.last.saturating_add(ONE_BOOT) {
            times.count += 1;
        }
        times.last = now;
    }

    /// Whether the machine was given iPXE so often that it gets it no more for now.
    pub(super) fn is_worn_out(&self, mac: MacAddr) -> bool {
        self.identified.get(&mac).is_some_and(|times| times.count >= MOST)
    }

    pub(super) fn forget_bounds(&mut self, now: u64) {
        if self.identified.len() >= MOST_REMEMBERED {
            let window = self.window();
            self.identified.retain(|_, times| now < times.since.saturating_add(window));
        }
    }

    fn window(&self) -> u64 {
        millis(self.config.timing.identify)
    }
}
