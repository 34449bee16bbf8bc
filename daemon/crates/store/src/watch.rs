//! Changes and log lines as they happen, for those who keep a view of the store in memory or show it.

use std::collections::VecDeque;

use tokio::sync::{oneshot, watch as latest};

use crate::{
    Store, StoreError, WatchError,
    model::{Change, LogEntry, Revision},
    schema::State,
    writer::{Read, Request},
};

/// A position in the history of changes. A slow reader loses nothing: the history is in the store, and the
/// position waits there until [`Store::compact`] passes it.
#[derive(Debug)]
pub struct Watch {
    store: Store,
    latest: latest::Receiver<State>,
    prefix: String,
    next: Revision,
    ready: VecDeque<Change>,
}

impl Watch {
    pub(crate) fn new(store: Store, latest: latest::Receiver<State>, prefix: String, from: Revision) -> Self {
        Watch { store, latest, prefix, next: from.max(1), ready: VecDeque::new() }
    }

    /// Waits for the next change. Changes of one commit come one after the other, in the order of their keys.
    ///
    /// Cancel safe: a change is given away or kept for the next call. After an error the same error comes again.
    pub async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            let next = self.next;
            self.latest.wait_for(|state| state.revision >= next).await.map_err(|_| StoreError::Closed)?;
            let (reply, answer) = oneshot::channel();
            let (prefix, from) = (self.prefix.clone(), self.next);
            self.store.send(Request::Read(Read::Changes { prefix, from, reply })).await?;
            let (changes, next) = answer.await.map_err(|_| StoreError::Closed)??;
            self.next = next;
            self.ready = changes.into();
        }
    }
}

/// How many log lines one read takes.
const LINES: usize = 256;

/// A position in the log. Lines that are pruned before it gets there are passed over.
#[derive(Debug)]
pub struct FollowLog {
    store: Store,
    latest: latest::Receiver<State>,
    next: u64,
    ready: VecDeque<LogEntry>,
}

impl FollowLog {
    pub(crate) fn new(store: Store, latest: latest::Receiver<State>, next: u64) -> Self {
        FollowLog { store, latest, next: next.max(1), ready: VecDeque::new() }
    }

    /// Waits for the next line. Cancel safe.
    pub async fn next(&mut self) -> Result<LogEntry, StoreError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(entry);
            }
            let next = self.next;
            let last = self.latest.wait_for(|state| state.sequence >= next).await.map(|state| state.sequence);
            let last = last.map_err(|_| StoreError::Closed)?;
            self.ready = self.store.log_from(next, LINES).await?.into();
            // Nothing left up to `last`: it was pruned.
            self.next = self.ready.back().map_or(last, |entry| entry.sequence) + 1;
        }
    }
}
