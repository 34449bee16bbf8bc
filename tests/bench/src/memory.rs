//! The most private memory that this process has while something goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::anyhow;

use crate::{kernel::memory, process::pause};

/// Between two looks: what comes and goes within so long is not seen.
const LOOK: Duration = Duration::from_millis(2);

/// Somebody who looks all the time.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    looking: JoinHandle<anyhow::Result<f64>>,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let looking = thread::spawn(move || {
            let mut most = private()?;
            while !until.load(Ordering::Acquire) {
                pause(LOOK);
                most = most.max(private()?);
            }
            Ok(most)
        });
        Self { over, looking }
    }

    /// Ends it; the most there was, in millions of bytes.
    pub(crate) fn end(self) -> anyhow::Result<f64> {
        self.over.store(true, Ordering::Release);
        self.looking.join().map_err(|_| anyhow!("whoever looks has panicked"))?
    }
}

/// The memory that is this process's own and no file's, now, in millions of bytes.
fn private() -> anyhow::Result<f64> {
    memory("self", "RssAnon")
}
