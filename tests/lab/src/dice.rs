//! Random cabling that comes out the same again.

/// splitmix64: the same seed makes the same rounds.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Which box is in which port.
    pub(crate) fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            let bound = u64::try_from(place + 1).unwrap_or(1);
            let other = usize::try_from(self.next() % bound).unwrap_or(0);
            all.swap(place, other);
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
        let mut dice = Dice(1);
        let seen: BTreeSet<Vec<usize>> = (0..20).map(|_| dice.shuffled(3)).collect();
        assert_eq!(seen.len(), 6);
    }
}
