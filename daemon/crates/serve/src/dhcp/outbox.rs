//! Answers that may leave, and how many leave together.
//!
//! A disk that was slow once lets go of hundreds of answers in the same moment. Whoever is behind all the machines (a
//! relay, the processor of a switch) has a queue for about as many, and reads nothing else meanwhile; what does not fit
//! is lost, and a machine that lost its ACK asks anew only seconds later. So they leave in small bursts.

use std::{collections::VecDeque, future::pending, time::Duration};

use tokio::time::{Instant, sleep_until};

/// Answers in a burst: more than all racks ask for in a [`BREATH`], few for every queue.
const BURST: usize = 64;

/// Between two bursts; in a shorter time a relay's queue is not read either when its processor is busy.
const BREATH: Duration = Duration::from_millis(2);

/// What waits, in order.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    waiting: VecDeque<T>,
    /// no burst before
    until: Instant,
}

impl<T> Outbox<T> {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), until: now }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// These may leave, after all the others.
    pub(super) fn put(&mut self, answers: Vec<T>) {
        self.waiting.extend(answers);
    }

    /// Ends when a burst may leave; never, while nothing waits. Cancel-safe.
    pub(super) async fn due(&self) {
        if self.is_empty() {
            pending::<()>().await;
        }
        sleep_until(self.until).await;
    }

    /// The burst that leaves now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<T> {
        self.until = now + BREATH;
        self.waiting.drain(..self.waiting.len().min(BURST)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_leaves_at_once_and_many_leave_in_order_and_in_bursts() {
        let began = Instant::now();
        let mut outbox = Outbox::new(began);
        outbox.put(vec![0]);
        outbox.due().await;
        let first = Instant::now();
        assert_eq!(outbox.take(first), [0]);

        outbox.put((0..100).collect());
        let mut bursts = Vec::new();
        while !outbox.is_empty() {
            outbox.due().await;
            let now = Instant::now();
            bursts.push((now - first, outbox.take(now)));
        }
        assert!(bursts.iter().all(|(_, burst)| burst.len() <= BURST));
        assert!(bursts.iter().zip(1..).all(|((at, _), number)| *at >= BREATH * number), "{bursts:?}");
        let order: Vec<usize> = bursts.into_iter().flat_map(|(_, burst)| burst).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nothing_is_never_due() {
        let outbox = Outbox::<u8>::new(Instant::now());
        assert!(tokio::time::timeout(Duration::from_millis(20), outbox.due()).await.is_err());
    }
}
