//! A server under measurement: a process, what its processors worked, and its end.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    cable::Cable,
    kernel::{Of, worked},
};

/// Between two looks at a server's processes. One that ends right after a look is missed for less than this.
const LOOK: Duration = Duration::from_millis(10);

/// A running server with all its processes; it ends with the value.
pub(crate) struct Server {
    child: Child,
    /// of each of its processes ever seen, the last number
    seen: Arc<Mutex<BTreeMap<u32, f64>>>,
    ended: Arc<AtomicBool>,
}

impl Server {
    /// Starts it at the servers' end of the cable.
    pub(crate) fn start(cable: &Cable, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = cable.serve(command)?;
        let (seen, ended) = (Arc::default(), Arc::<AtomicBool>::default());
        let server = Self { child, seen: Arc::clone(&seen), ended: Arc::clone(&ended) };
        let id = server.child.id();
        // some servers start a process for each client and never ask what became of it, so nobody else counts its work
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                look(id, &seen);
                thread::park_timeout(LOOK);
            }
        });
        Ok(server)
    }

    /// The seconds that processors worked for it and for its children, those that have ended included.
    pub(crate) fn processor(&self) -> f64 {
        look(self.child.id(), &self.seen);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Keeps it, and what it starts from now on, to one processor, or lets it go again.
    ///
    /// # Errors
    /// When it has ended, or there is no such processor.
    pub(crate) fn keep_to(&self, processor: Option<usize>) -> anyhow::Result<()> {
        let folder = format!("/proc/{}/task", self.child.id());
        for thread in fs::read_dir(folder).context("the server is gone")? {
            let number = thread?.file_name().to_string_lossy().parse()?;
            keep_to(Pid::from_raw(number), processor)?;
        }
        Ok(())
    }
}

/// Keeps a thread to one processor, or lets it go again.
pub(crate) fn keep_to(thread: Pid, processor: Option<usize>) -> anyhow::Result<()> {
    let mut processors = CpuSet::new();
    let numbers = processor.map_or(0..CpuSet::count(), |number| number..number + 1);
    numbers.into_iter().try_for_each(|number| processors.set(number))?;
    match sched_setaffinity(thread, &processors) {
        // it has ended meanwhile
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("thread {thread} cannot be kept to a processor")),
    }
}

/// Reads what the process and its living children have worked.
fn look(id: u32, seen: &Mutex<BTreeMap<u32, f64>>) {
    // it may have ended meanwhile
    let Ok(seconds) = worked(id, Of::Itself) else { return };
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id, seconds);
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(|child| look(child, seen));
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // in vain when it has ended already
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
