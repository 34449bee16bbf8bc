//! Feeds every parser of what comes from outside with mutations of a kept corpus: `fuzz [TARGET…] [--count N] [--seed N]`
//!
//! cargo-fuzz needs a nightly compiler for its coverage, and this runs on the stable one: mutation is blind, seeded and
//! repeatable, and finds less than a fuzzer that sees which branches it took. What it does find is written into the
//! corpus, where the next run begins with it.

mod corpus;
mod mutate;
mod targets;

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::Instant,
};

use mutate::Mutator;
use targets::{TARGETS, Target};

/// A few seconds of all targets together.
const COUNT: u64 = 100_000;

struct Wanted {
    targets: Vec<&'static Target>,
    count: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let wanted = match arguments() {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("fuzz: {error}");
            return ExitCode::from(2);
        }
    };
    let mut good = true;
    for target in &wanted.targets {
        match run(target, wanted.count, wanted.seed) {
            Ok(line) => println!("{line}"),
            Err(error) => {
                good = false;
                println!("{}: {error}", target.name);
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arguments() -> Result<Wanted, String> {
    let mut wanted = Wanted { targets: Vec::new(), count: COUNT, seed: 1 };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            value.parse().map_err(|_| format!("{value} is no number"))
        };
        match word.as_str() {
            "--count" => wanted.count = number()?,
            "--seed" => wanted.seed = number()?,
            name => {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                let target = TARGETS.iter().find(|target| target.name == name);
                let target =
                    target.ok_or_else(|| format!("no target {name}; there are {}", names.join(", ")))?;
                wanted.targets.push(target);
            }
        }
    }
    if wanted.targets.is_empty() {
        wanted.targets = TARGETS.iter().collect();
    }
    Ok(wanted)
}

/// The corpus as it is, then mutations of it.
fn run(target: &Target, count: u64, seed: u64) -> Result<String, String> {
    let began = Instant::now();
    let corpus = corpus::read(target)?;
    if corpus.is_empty() {
        return Err("its corpus is empty".to_owned());
    }
    let mut read = 0;
    for input in &corpus {
        read += u64::from(feed(target, input)?);
    }
    if read == 0 {
        return Err("nothing of its corpus can be read: the target tests nothing".to_owned());
    }
    let mut mutator = Mutator::new(seed);
    for _ in 0..count {
        let input = mutator.mutation(&corpus);
        read += u64::from(feed(target, &input)?);
    }
    let (name, kept, seconds) = (target.name, corpus.len(), began.elapsed().as_secs_f64());
    Ok(format!("{name}: {kept} kept and {count} mutated inputs, {read} of them readable, in {seconds:.1} s"))
}

/// Whether the input could be read; a panic and a broken promise are errors, and the input is kept.
fn feed(target: &Target, input: &[u8]) -> Result<bool, String> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.feed)(input)));
    let fault = match outcome {
        Ok(Ok(read)) => return Ok(read),
        Ok(Err(broken)) => broken,
        Err(_) => "it panicked".to_owned(),
    };
    let kept = corpus::keep(target, input)?;
    Err(format!("{fault}; the input is kept as {}", kept.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(input: &[u8]) -> Result<bool, String> {
        assert!(input.is_empty(), "on purpose");
        Ok(true)
    }

    fn breaks_its_promise(_: &[u8]) -> Result<bool, String> {
        Err("on purpose".to_owned())
    }

    #[test]
    fn a_panic_and_a_broken_promise_are_found_and_kept() {
        for feed in [panics, breaks_its_promise] {
            let target = Target { name: "relay", captures: None, feed };
            let error = super::feed(&target, b"an input of this test").err().unwrap_or_default();
            let path = error.rsplit("kept as ").next().unwrap_or_default().to_owned();
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            std::fs::remove_file(&path).ok();
            assert_eq!(kept, hex::encode("an input of this test"), "{error}");
        }
    }

    #[test]
    fn every_target_has_a_corpus_that_can_be_read() {
        for target in TARGETS {
            let line = run(target, 100, 1);
            assert!(line.is_ok(), "{line:?}");
        }
    }
}
