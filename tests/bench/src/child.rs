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
    let status =
        std::fs::read_to_string("/proc/self/status").context("the kernel does not say the memory used")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kibibytes.context("the kernel says no VmHWM")? * 1024.0 / 1e6)
}

/// The time that processors worked for this process, in both modes (proc_pid_stat(5), fields 14 and 15).
pub(crate) fn processor() -> anyhow::Result<f64> {
    times([14, 15])
}

/// The same of all children that have ended and were waited for (fields 16 and 17).
pub(crate) fn of_ended_children() -> anyhow::Result<f64> {
    times([16, 17])
}

fn times(fields: [usize; 2]) -> anyhow::Result<f64> {
    /// of the kernel's interface, whatever its own clock does
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").context("the kernel does not say the time used")?;
    // the second field is the program's name in brackets, and may hold anything
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| words.get(field - 3).and_then(|text| text.parse::<f64>().ok());
    let [user, system] = fields.map(ticks);
    Ok(user.zip(system).map(|(user, system)| user + system).context("the kernel says no times")? / TICKS)
}
