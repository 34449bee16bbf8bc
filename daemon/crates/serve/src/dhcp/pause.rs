//! A short rest between looks at the socket while a whole rack asks, as network cards rest between interrupts.
//!
//! To be woken for each packet is more work than to answer it. A packet that waits for two milliseconds is not late for
//! anybody: firmware waits for seconds. Who asks alone is answered at once.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until};

/// Packets in one [`SPAN`] that are many: some three thousand a second.
const MANY: usize = 32;
const SPAN: Duration = Duration::from_millis(10);
const REST: Duration = Duration::from_millis(2);

/// How much has come of late.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// the span that is counted: since when, and how many packets
    since: Option<Instant>,
    count: usize,
    /// the span before had many
    busy: bool,
    /// no look before
    until: Option<Instant>,
}

impl Pause {
    /// Does this once the rest is over. Cancel-safe when it is.
    pub(super) async fn then<T>(&self, next: impl Future<Output = T>) -> T {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
        next.await
    }

    /// So many packets came; whether there is a rest now.
    pub(super) fn after(&mut self, packets: usize, now: Instant) -> bool {
        let passed = self.since.map(|since| now.saturating_duration_since(since));
        if passed.is_none_or(|passed| passed > SPAN) {
            // one that ended long ago says nothing about now
            self.busy = self.count >= MANY && passed.is_some_and(|passed| passed < SPAN * 2);
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += packets;
        self.until = self.busy.then_some(now + REST);
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_comes_with_many_waits() {
        let mut pause = Pause::default();
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        // a few machines, again and again
        for ms in (0..200).step_by(3) {
            assert!(!pause.after(1, at(ms)));
            assert_eq!(pause.until, None);
        }
        // a rack
        let rests: Vec<bool> = (200..240).map(|ms| pause.after(5, at(ms))).collect();
        assert!(rests.ends_with(&[true; 10]), "{rests:?}");
        assert_eq!(pause.until, Some(at(239) + REST));
        // and one machine after it
        assert!(!pause.after(1, at(900)));
        assert!(!pause.after(1, at(901)));
        assert_eq!(pause.until, None);
    }
}
