//! What the kernel says of a process: what processors worked for it (proc_pid_stat(5)), and its memory.

use std::{fmt::Display, fs};

use anyhow::Context as _;

/// Of the kernel's interface, whatever its own clock does.
const TICKS: f64 = 100.0;

/// Whose work is counted.
#[derive(Clone, Copy)]
pub(crate) enum Of {
    /// the process's own
    Itself,
    /// of all its children that have ended and were waited for
    EndedChildren,
}

/// The seconds that processors worked, in both modes; of `self`, or of a process by its number.
///
/// # Errors
/// When it has ended.
pub(crate) fn worked(process: impl Display, of: Of) -> anyhow::Result<f64> {
    seconds(&read(process, "stat")?, of).context("the kernel says no times")
}

/// A line of its status such as `VmHWM` or `RssAnon`, in millions of bytes.
///
/// # Errors
/// When it has ended.
pub(crate) fn memory(process: impl Display, line: &str) -> anyhow::Result<f64> {
    let status = read(process, "status")?;
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kibibytes.with_context(|| format!("the kernel says no {line}: the process has ended"))? * 1024.0 / 1e6)
}

fn read(process: impl Display, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).with_context(|| format!("{path}: the process is gone"))
}

/// Fields 14 and 15, or 16 and 17; the second field is the program's name in brackets, and may hold anything.
fn seconds(stat: &str, of: Of) -> Option<f64> {
    let words: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |field: usize| words.get(field - 3)?.parse::<f64>().ok();
    let first = match of {
        Of::Itself => 14,
        Of::EndedChildren => 16,
    };
    Some((ticks(first)? + ticks(first + 1)?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_confuses_nobody() {
        let stat = "7 (odd) S 1) S 42 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 9 9 9";
        assert_eq!(seconds(stat, Of::Itself), Some(0.33));
        assert_eq!(seconds(stat, Of::EndedChildren), Some(0.77));
    }

    #[test]
    fn this_process_has_its_lines() {
        assert!(worked("self", Of::Itself).is_ok());
        assert!(memory(std::process::id(), "VmHWM").is_ok_and(|megabytes| megabytes > 0.1));
        assert!(memory("self", "NoSuchLine").is_err());
    }
}
