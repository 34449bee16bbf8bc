//! The threads that carry transfers: one a processor, each with a runtime of its own.
//!
//! A transfer never leaves its thread. In lock-step a block is so little work that handing it to another thread, as a
//! runtime with many does, costs more than sending it; even to be woken by a runtime costs as much. So the first of
//! those that go in lock-step get a thread of their own ([`Desks`]), and the kernel wakes them.

use std::{io, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// More processors have no more to do for a rack.
const MOST: usize = 4;

/// Transfers that have a thread of their own at once, in some ten kilobytes each; the others share the lanes.
pub(super) const DESKS: usize = 64;

/// Places for threads of single transfers.
#[derive(Debug, Clone)]
pub(super) struct Desks(Arc<Semaphore>);

impl Desks {
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A place, if one is free; it is free again when this is dropped.
    pub(super) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

impl Default for Desks {
    fn default() -> Self {
        Self::new(DESKS)
    }
}

/// The threads; they end with the value.
#[derive(Debug)]
pub(super) struct Lanes {
    handles: Vec<Handle>,
    _end: DropGuard,
}

impl Lanes {
    pub(super) fn open() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, |count| count.get().min(MOST));
        let end = CancellationToken::new();
        let mut handles = Vec::new();
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let end = end.clone();
            let lane = thread::Builder::new().name(format!("tftp-{number}"));
            lane.spawn(move || runtime.block_on(end.cancelled_owned()))?;
        }
        Ok(Self { handles, _end: end.drop_guard() })
    }

    /// The lane with the fewest transfers; `busy` says the lane of each that is under way.
    pub(super) fn quietest(&self, busy: impl Iterator<Item = usize> + Clone) -> Option<(usize, &Handle)> {
        let load = |lane: usize| busy.clone().filter(|busy| *busy == lane).count();
        self.handles.iter().enumerate().min_by_key(|(lane, _)| load(*lane))
    }
}
