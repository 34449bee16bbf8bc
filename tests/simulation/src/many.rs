//! Many worlds at once, one on each processor.

use std::{
    num::ParseIntError,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Which seeds a text names: `FROM..TO`, or how many from 0 on.
///
/// # Errors
/// What is wrong with it.
pub fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse().map_err(|error: ParseIntError| format!("{text}: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => Ok(0..number(text)?),
    }
}

/// Does the same for every seed, in no order; the results come in the order of the seeds.
pub fn many<T: Send>(seeds: Range<u64>, run: impl Fn(u64) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push((seed, run(seed)));
        }
    };
    let threads = thread::available_parallelism().map_or(1, Into::into);
    let mut results: Vec<(u64, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // a panic in a world is a panic of the whole
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    results
}
