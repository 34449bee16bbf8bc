//! Files that no part of can be taken for another.

use seeded::Numbers;

/// Octets that no two blocks have in common.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(0);
    (0..size / 8).flat_map(|_| numbers.draw().to_le_bytes()).collect()
}
