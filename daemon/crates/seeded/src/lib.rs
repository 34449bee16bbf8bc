//! Numbers that follow from a seed (SplitMix64): small, well spread, and the same for ever, so that a seed which is written
//! down as one that once failed stays that one. They are no secrets: anybody can guess the next one.

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// The same seed makes the same stream.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to, but not including, `high`, which is greater.
    #[inline]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low)
    }

    /// An index below `count`, which is not 0.
    #[inline]
    pub fn below(&mut self, count: usize) -> usize {
        (self.draw() % count as u64) as usize
    }

    /// True once in `chances`, never for 0.
    #[inline]
    pub fn one_in(&mut self, chances: u64) -> bool {
        chances != 0 && self.draw().is_multiple_of(chances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the reference implementation writes them (Sebastiano Vigna, splitmix64.c): worlds are known by their seeds.
    #[test]
    fn the_numbers_are_those_of_everybody_s_splitmix64() {
        let mut numbers = Numbers::new(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| numbers.draw()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn what_is_drawn_stays_within_its_bounds() {
        let mut numbers = Numbers::new(7);
        for _ in 0..1_000 {
            assert!((5..8).contains(&numbers.between(5, 8)));
            assert!(numbers.below(3) < 3);
            assert!(numbers.one_in(1) && !numbers.one_in(0));
        }
    }
}
