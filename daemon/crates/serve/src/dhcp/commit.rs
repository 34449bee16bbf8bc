//! Changes on their way to the disk, and the answers that wait for them.
//!
//! One write is under way at a time. What is decided meanwhile goes with the next one, so that a slow disk makes
//! larger writes and not longer queues; so does a rack, whose machines' leases are gathered for a moment. When a
//! write fails, what was decided after it may rest on it, and is taken back as well; those machines are not
//! answered and ask again.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use ::dhcp::Changes;
use tokio::time::{Instant, sleep_until};

use super::{LeaseLog, LeaseLogError, Outgoing};

/// So many answers may wait; more packets wait on the socket.
const MOST_WAITING: usize = 2_048;

/// Answers in one write that are many: the next write has company to wait for.
const MANY: usize = 4;

/// From the start of a write of many to the next. To have the disk write is most of the work of a lease, however many
/// leases it is; firmware that waits for seconds does not feel it.
const GATHERING: Duration = Duration::from_millis(8);

/// Changes, and who is told once they are durable.
#[derive(Default)]
struct Batch {
    changes: Changes,
    answers: Vec<Outgoing>,
}

type Flight = Pin<Box<dyn Future<Output = (Batch, Result<(), LeaseLogError>)> + Send>>;

/// How a write ended.
pub(super) enum Written {
    /// these may go out
    Stored(Vec<Outgoing>),
    /// these changes did not happen, the newest first
    Failed(LeaseLogError, [Changes; 2]),
}

/// The way to the disk.
pub(super) struct Commits<L> {
    log: Arc<L>,
    flying: Option<Flight>,
    next: Batch,
    /// the next write does not start before
    gather_until: Instant,
}

impl<L: LeaseLog> Commits<L> {
    pub(super) fn new(log: L) -> Self {
        Self { log: Arc::new(log), flying: None, next: Batch::default(), gather_until: Instant::now() }
    }

    /// Whether no more may be decided for now.
    pub(super) fn is_full(&self) -> bool {
        self.next.answers.len() >= MOST_WAITING
    }

    /// Stores changes that nobody waits for.
    pub(super) fn store(&mut self, changes: Changes) {
        self.next.changes.fold(changes);
    }

    /// Stores an answer's changes; the answer waits.
    pub(super) fn hold(&mut self, changes: Changes, answer: Outgoing) {
        self.next.changes.fold(changes);
        self.next.answers.push(answer);
    }

    /// How the write ended that is under way, or due; `None` when there is nothing to write. Cancel-safe.
    pub(super) async fn written(&mut self) -> Option<Written> {
        if self.flying.is_none() {
            if self.next.changes.is_empty() {
                return None;
            }
            sleep_until(self.gather_until).await;
        }
        let (batch, stored) = self.flight().await;
        self.flying = None;
        Some(match stored {
            Ok(()) => Written::Stored(batch.answers),
            Err(error) => {
                let after = std::mem::take(&mut self.next);
                Written::Failed(error, [after.changes, batch.changes])
            }
        })
    }

    /// The write that is under way; the next one, if none is.
    fn flight(&mut self) -> &mut Flight {
        self.flying.get_or_insert_with(|| {
            let (log, batch) = (Arc::clone(&self.log), std::mem::take(&mut self.next));
            if batch.answers.len() >= MANY {
                self.gather_until = Instant::now() + GATHERING;
            }
            Box::pin(async move {
                let stored = log.commit(&batch.changes).await;
                (batch, stored)
            })
        })
    }
}
