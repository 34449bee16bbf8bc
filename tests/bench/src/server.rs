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

use crate::cable::Cable;

/// Of the kernel's interface, whatever its own clock does.
const TICKS: f64 = 100.0;

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
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { return };
    if let Some(seconds) = seconds(&stat) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id, seconds);
    }
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(|child| look(child, seen));
}

/// What a line of proc_pid_stat(5) says about the process itself; the second field is the program's name in brackets,
/// and may hold anything.
fn seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks: Option<Vec<u32>> = (14..=15).map(|field: usize| fields.get(field - 3)?.parse().ok()).collect();
    Some(f64::from(ticks?.iter().sum::<u32>()) / TICKS)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // in vain when it has ended already
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_confuses_nobody() {
        let stat = "7 (odd) S 1) S 42 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 9 9 9";
        assert_eq!(seconds(stat), Some(0.33));
    }
}
