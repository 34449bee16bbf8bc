//! Seeded mutation: what the wire, a broken client and a person with bad intent do to a message.

use seeded::Numbers;

/// Numbers at which parsers go wrong.
const ODD: [u8; 12] = [0, 1, 2, 4, 6, 15, 16, 17, 52, 127, 128, 255];
/// No input grows beyond what one datagram carries.
const LONGEST: usize = 4096;

/// Makes inputs; the same seed makes the same ones.
pub(crate) struct Mutator(Numbers);

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Numbers::new(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.below(end.max(1))
    }

    fn octet(&mut self) -> u8 {
        let [octet, ..] = self.0.draw().to_le_bytes();
        octet
    }

    fn odd(&mut self) -> u8 {
        let at = self.below(ODD.len());
        ODD.get(at).copied().unwrap_or_default()
    }

    fn one<'a>(&mut self, corpus: &'a [Vec<u8>]) -> &'a [u8] {
        let at = self.below(corpus.len());
        corpus.get(at).map_or(&[], Vec::as_slice)
    }

    /// One of the corpus with one to eight changes.
    pub(crate) fn mutation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one(corpus).to_vec();
        for _ in 0..=self.below(8) {
            self.change(&mut input, corpus);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        // rather far behind: what stands in front is checked first, and then nothing else is
        let at = self.below(input.len()).max(self.below(input.len()));
        let length = self.below(32);
        let end = (at + length).min(input.len());
        match self.below(9) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(octet) = input.get_mut(at) {
                    *octet ^= bit;
                }
            }
            1 => {
                let odd = self.odd();
                if let Some(octet) = input.get_mut(at) {
                    *octet = odd;
                }
            }
            2 => {
                let octet = self.octet();
                input.insert(at, octet);
            }
            3 => drop(input.drain(at..end)),
            4 => input.truncate(at),
            5 => {
                let again: Vec<u8> = input.get(at..end).unwrap_or_default().to_vec();
                input.splice(at..at, again);
            }
            6 => {
                let other = self.one(corpus).to_vec();
                let from = self.below(other.len());
                input.truncate(at);
                input.extend(other.get(from..).unwrap_or_default());
            }
            7 => {
                let octet = self.odd();
                input.splice(at..at, std::iter::repeat_n(octet, length));
            }
            // an option with a length that may or may not fit
            _ => {
                let (code, says) = (self.octet(), self.octet());
                let value: Vec<u8> = (0..length).map(|_| self.octet()).collect();
                input.splice(at..at, [code, says].into_iter().chain(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_run() {
        let corpus = [b"hello, this is a message".to_vec(), vec![0; 40], Vec::new()];
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..500).map(|_| mutator.mutation(&corpus)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).iter().any(|input| !corpus.contains(input)));
        assert!(run(1).iter().all(|input| input.len() <= LONGEST));
    }
}
