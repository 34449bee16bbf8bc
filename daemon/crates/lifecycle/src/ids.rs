//! Identifiers, drawn from a seed so that a simulation can be repeated.

use std::fmt;

use seeded::Numbers;

/// One effect in flight. A reply with another ticket is late and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One boot question waiting for its answer; given by whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Draws them.
#[derive(Debug, Clone)]
pub(crate) struct Ids(Numbers);

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Numbers::new(seed))
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        Ticket(self.0.draw())
    }
}
