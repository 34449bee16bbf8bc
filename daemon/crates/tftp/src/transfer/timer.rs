//! How long to wait for an answer: RFC 6298 within bounds that fit a boot ROM, or what the client asked for.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(4);
/// Until the first answer was measured (RFC 6298 §2.1).
const FIRST: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Timer {
    /// by option `timeout`: neither measured nor backed off
    agreed: Option<Duration>,
    wait: Duration,
    sent_at: Instant,
    /// an answer that comes now measures the network (Karn: not if anything was sent twice)
    measures: bool,
    measured: Option<Measured>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    smoothed: Duration,
    variation: Duration,
    shortest: Duration,
}

impl Timer {
    /// Something is sent now.
    pub(super) fn new(agreed: Option<Duration>, now: Instant) -> Self {
        Self { agreed, wait: agreed.unwrap_or(FIRST), sent_at: now, measures: true, measured: None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.sent_at + self.wait
    }

    /// Something is sent; `fresh` when it and everything else in flight is sent for the first time.
    pub(super) fn sent(&mut self, now: Instant, fresh: bool) {
        self.sent_at = now;
        self.measures = fresh;
    }

    /// The answer came. Without a measurement a backed-off wait stays (RFC 6298 §5).
    pub(super) fn answered(&mut self, now: Instant) {
        if !self.measures {
            return;
        }
        let sample = now.saturating_duration_since(self.sent_at);
        let measured = match self.measured {
            None => Measured { smoothed: sample, variation: sample / 2, shortest: sample },
            Some(Measured { smoothed, variation, shortest }) => Measured {
                smoothed: (smoothed * 7 + sample) / 8,
                variation: (variation * 3 + smoothed.abs_diff(sample)) / 4,
                shortest: shortest.min(sample),
            },
        };
        self.measured = Some(measured);
        let wait = (measured.smoothed + measured.variation * 4).clamp(SHORTEST, LONGEST);
        self.wait = self.agreed.unwrap_or(wait);
    }

    /// Nobody answered.
    pub(super) fn back_off(&mut self) {
        if self.agreed.is_none() {
            self.wait = (self.wait * 2).min(LONGEST);
        }
    }

    /// Whether what was sent last can have been answered by now: not in less than half of the shortest
    /// time that it ever took.
    pub(super) fn may_be_answered(&self, now: Instant) -> bool {
        let shortest = self.measured.map_or(Duration::ZERO, |measured| measured.shortest);
        now.saturating_duration_since(self.sent_at) * 2 >= shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_wait_follows_the_network_within_its_bounds() {
        let mut now = Instant::now();
        let mut timer = Timer::new(None, now);
        assert_eq!(timer.deadline() - now, FIRST);
        for (round_trip, wait) in [(2 * MS, SHORTEST), (2 * MS, SHORTEST), (30_000 * MS, LONGEST)] {
            timer.sent(now, true);
            now += round_trip;
            timer.answered(now);
            timer.sent(now, true);
            assert_eq!(timer.deadline() - now, wait, "{round_trip:?}");
        }
    }

    #[test]
    fn it_backs_off_and_stays_there_until_the_network_is_measured_again() {
        let mut now = Instant::now();
        let mut timer = Timer::new(None, now);
        let mut waits = Vec::new();
        for _ in 0..4 {
            waits.push((timer.deadline() - now).as_secs());
            now = timer.deadline();
            timer.back_off();
            timer.sent(now, false);
        }
        assert_eq!(waits, [1, 2, 4, 4]);
        timer.answered(now + MS);
        timer.sent(now, true);
        assert_eq!(timer.deadline() - now, LONGEST);
        timer.answered(now + MS);
        timer.sent(now, true);
        assert_eq!(timer.deadline() - now, SHORTEST);
    }

    #[test]
    fn an_agreed_wait_is_kept() {
        let now = Instant::now();
        let mut timer = Timer::new(Some(Duration::from_secs(3)), now);
        timer.back_off();
        timer.answered(now + MS);
        assert_eq!(timer.deadline() - now, Duration::from_secs(3));
    }
}
