//! `simulation SEED` tells the story of one world, `simulation FROM..TO` runs many and names those that break a
//! promise as they are found; with `day-two` before it, worlds whose cluster is handed over and then loses nodes; with
//! `changing`, those of a site that grows and shrinks; with `lost-memory`, those in which the daemon loses its store,
//! too; with `powered`, those of a site that says how its machines are switched.
#![allow(clippy::print_stdout, clippy::print_stderr)] // it is a command

use std::process::ExitCode;

use lifecycle::Strict;
use simulation::{Scenario, Simulation, many, seeds};

/// A word, and the worlds that it stands for.
type Kind = (&'static str, fn(u64) -> Scenario);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let kinds: [Kind; 5] = [
        ("", Scenario::of),
        ("day-two", Scenario::of_day_two),
        ("changing", Scenario::of_changing),
        ("lost-memory", Scenario::of_lost_memory),
        ("powered", Scenario::of_powered),
    ];
    let (kind, word) = match words.as_slice() {
        [word] => ("", word),
        [kind, word] => (kind.as_str(), word),
        _ => ("?", &String::new()),
    };
    let scenario = match kinds.iter().find(|(name, _)| *name == kind) {
        Some((_, scenario)) => *scenario,
        None => {
            eprintln!("usage: simulation [day-two | changing | lost-memory | powered] SEED | FROM..TO");
            return ExitCode::from(2);
        }
    };
    let world = |seed| Simulation::new(scenario(seed), Strict, seed);
    if let Ok(seed) = word.parse() {
        let (story, outcome) = world(seed).told();
        println!("{:?}", scenario(seed));
        story.iter().for_each(|line| println!("{line}"));
        println!("{outcome:?}");
        return if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let range = match seeds(word) {
        Ok(range) => range,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(2);
        }
    };
    let all = range.clone().count();
    let broken = many(range, |seed| {
        let violation = world(seed).run().err()?;
        let mut words = format!("{violation:?}");
        words.truncate(300);
        println!("seed {seed}: {words}");
        Some(())
    });
    let broken = broken.into_iter().filter(|(_, found)| found.is_some()).count();
    println!("{broken} of {all} worlds break a promise");
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
