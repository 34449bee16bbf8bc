//! The daemon dies on purpose: at its own checkpoints, or whenever the seed says so.

use std::time::Duration;

use seeded::Numbers;

use crate::args::Kill;

/// The longest lives the lab grants a daemon it means to kill, by turns of chance: one that dies young dies while it
/// starts and takes the world in; one that gets older gets somewhere, so that the whole road is hit.
const LONGEST: [Duration; 2] = [Duration::from_millis(1_000), Duration::from_millis(10_000)];

/// Decides when the daemon is killed.
#[derive(Debug)]
pub(crate) struct Killer {
    left: u32,
    moments: Numbers,
}

impl Killer {
    /// For `--kill`; the same seed gives the same moments.
    pub(crate) fn new(kill: Option<Kill>, seed: u64) -> Self {
        let left = match kill {
            Some(Kill::Random(count)) => count,
            Some(Kill::Points) | None => 0,
        };
        Self { left, moments: Numbers::new(seed) }
    }

    /// How long the daemon that starts now may live; `None`: as long as it likes.
    pub(crate) fn life(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let [young, old] = LONGEST;
        let longest = if self.moments.one_in(2) { young } else { old };
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Some(Duration::from_micros(self.moments.between(0, longest)))
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
        let [young, old] = LONGEST;
        assert!(moments(3).iter().any(|life| *life < young) && moments(3).iter().any(|life| *life > old / 2));
    }

    #[test]
    fn nobody_is_killed_unasked() {
        assert_eq!(Killer::new(None, 1).life(), None);
        assert_eq!(Killer::new(Some(Kill::Points), 1).life(), None);
    }
}
