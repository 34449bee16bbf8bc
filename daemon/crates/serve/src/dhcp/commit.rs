//! Changes on their way to the disk, and the answers that wait for them.
//!
//! One write is under way at a time. What is decided meanwhile goes with the next one, so that a slow disk makes
//! larger writes and not longer queues. When a write fails, what was decided after it may rest on it, and is
//! taken back as well; those machines are not answered and ask again.

use std::{future::Future, pin::Pin, sync::Arc};

use ::dhcp::Changes;

use super::{LeaseLog, LeaseLogError, Outgoing};

/// So many answers may wait; more packets wait on the socket.
const MOST_WAITING: usize = 2_048;

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
}

impl<L: LeaseLog> Commits<L> {
    pub(super) fn new(log: L) -> Self {
        Self { log: Arc::new(log), flying: None, next: Batch::default() }
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
    pub(super) fn hold(&mut self, mut answer: Outgoing) {
        self.next.changes.fold(std::mem::take(&mut answer.answer.changes));
        self.next.answers.push(answer);
    }

    /// Starts the next write, if there is something to write and none is under way.
    pub(super) fn start(&mut self) {
        if self.flying.is_some() || self.next.changes.is_empty() {
            return;
        }
        let (log, batch) = (Arc::clone(&self.log), std::mem::take(&mut self.next));
        self.flying = Some(Box::pin(async move {
            let stored = log.commit(&batch.changes).await;
            (batch, stored)
        }));
    }

    /// How the write ended that is under way; `None` when there is none. Cancel-safe.
    pub(super) async fn written(&mut self) -> Option<Written> {
        let (batch, stored) = self.flying.as_mut()?.await;
        self.flying = None;
        Some(match stored {
            Ok(()) => Written::Stored(batch.answers),
            Err(error) => {
                let after = std::mem::take(&mut self.next);
                Written::Failed(error, [after.changes, batch.changes])
            }
        })
    }
}
