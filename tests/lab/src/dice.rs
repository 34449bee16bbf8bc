//! Random cabling that comes out the same again.

use seeded::Numbers;

/// The same seed makes the same rounds.
pub(crate) struct Dice(Numbers);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Numbers::new(seed))
    }

    /// Which box is in which port.
    pub(crate) fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            all.swap(place, self.0.below(place + 1));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn twenty_rounds_see_every_cabling() {
        let mut dice = Dice::new(1);
        let seen: BTreeSet<Vec<usize>> = (0..20).map(|_| dice.shuffled(3)).collect();
        assert_eq!(seen.len(), 6);
    }
}
