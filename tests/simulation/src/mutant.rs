//! The core with one guard left out. Only tests can make one: the product's core has no such type.

use lifecycle::{Guard, Guards};

/// Every guard but one.
#[derive(Debug, Clone, Copy)]
pub struct Without(pub Guard);

impl Guards for Without {
    fn on(&self, guard: Guard) -> bool {
        guard != self.0
    }
}
