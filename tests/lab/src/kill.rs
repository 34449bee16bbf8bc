//! The daemon dies on purpose: at its own checkpoints, or whenever the seed says so.

use std::time::Duration;

use crate::args::Kill;

/// The longest life the lab grants a daemon it means to kill: long enough to get somewhere, short enough to hit the
/// road and not only its end.
const LONGEST: Duration = Duration::from_millis(2_500);

/// Decides when the daemon is killed.
#[derive(Debug)]
pub(crate) struct Killer {
    left: u32,
    state: u64,
}

impl Killer {
    /// For `--kill`; the same seed gives the same moments.
    pub(crate) fn new(kill: Option<Kill>, seed: u64) -> Self {
        let left = match kill {
            Some(Kill::Random(count)) => count,
            Some(Kill::Points) | None => 0,
        };
        // zero would stay zero for ever
        Self { left, state: (seed ^ 0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// How long the daemon that starts now may live; `None`: as long as it likes.
    pub(crate) fn life(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        Some(Duration::from_micros(self.state % longest))
    }

    /// Kills not yet dealt out.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_kills_as_asked_for_at_moments_of_the_seed() {
        let moments = |seed| {
            let mut killer = Killer::new(Some(Kill::Random(20)), seed);
            std::iter::from_fn(|| killer.life()).collect::<Vec<_>>()
        };
        assert_eq!(moments(1).len(), 20);
        assert_eq!(moments(1), moments(1));
        assert_ne!(moments(1), moments(2));
        let spread = moments(3).iter().max().unwrap().saturating_sub(*moments(3).iter().min().unwrap());
        assert!(spread > LONGEST / 2, "{spread:?}");
    }

    #[test]
    fn nobody_is_killed_unasked() {
        assert_eq!(Killer::new(None, 1).life(), None);
        assert_eq!(Killer::new(Some(Kill::Points), 1).life(), None);
    }
}
