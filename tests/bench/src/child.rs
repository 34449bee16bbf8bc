//! Work in a process of its own: its time, and the most memory it ever had.
//!
//! The parent prepares a folder and starts this same program with [`WORD`]; the child does the work and prints three
//! numbers. The kernel counts a process's memory anew when it is started, so preparation does not show.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};

use crate::kernel::{Of, memory, worked};

/// What tells the program that it is the child.
const WORD: &str = "--work";
/// What tells the program that it is a server of ours under measurement: which one, where, and with which files.
pub(crate) const STAND: &str = "--stand";

/// What a child is to do.
pub(crate) struct Work {
    /// the benchmark
    pub(crate) name: String,
    /// what the parent has prepared
    pub(crate) folder: PathBuf,
}

/// What the work took.
pub(crate) struct Taken {
    /// wall clock, without the start of the process
    pub(crate) seconds: f64,
    /// what the processors worked, which a busy machine does not change
    pub(crate) processor: f64,
    /// the most memory that was resident at once
    pub(crate) megabytes: f64,
}

/// The work, if this is a child.
pub(crate) fn asked(words: &[String]) -> Option<Work> {
    match words {
        [word, name, folder] if word == WORD => Some(Work { name: name.clone(), folder: folder.into() }),
        _ => None,
    }
}

/// Does the work in a child and says what it took.
pub(crate) fn measure(name: &str, folder: &Path) -> anyhow::Result<Taken> {
    let own = std::env::current_exe().context("this program's own path is not known")?;
    let mut child = Command::new(own);
    child.args([WORD, name]).arg(folder).stderr(Stdio::inherit());
    let output = child.output().context("the child does not start")?;
    ensure!(output.status.success(), "the child failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [seconds, processor, megabytes] = numbers[..] else {
        anyhow::bail!("the child says {text:?}, not three numbers")
    };
    Ok(Taken { seconds, processor, megabytes })
}

/// Does the work here and prints what it took.
pub(crate) fn answer<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<bool> {
    let began = Instant::now();
    let done = work()?;
    let seconds = began.elapsed().as_secs_f64();
    // what was made counts as memory, so it lives until it was counted
    let megabytes = peak()?;
    drop(done);
    println!("{seconds} {} {megabytes}", processor()?);
    Ok(true)
}

/// The most memory this process ever had resident, in millions of bytes.
fn peak() -> anyhow::Result<f64> {
    memory("self", "VmHWM")
}

/// The time that processors worked for this process.
pub(crate) fn processor() -> anyhow::Result<f64> {
    worked("self", Of::Itself)
}

/// The same of all children that have ended and were waited for.
pub(crate) fn of_ended_children() -> anyhow::Result<f64> {
    worked("self", Of::EndedChildren)
}
