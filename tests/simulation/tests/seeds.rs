//! Many worlds, each from one seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use simulation::{Faults, Outcome, Simulation};

/// How many seeds; `ICHORD_SEEDS=100000` for the long run.
fn seeds() -> u64 {
    std::env::var("ICHORD_SEEDS").ok().map_or(200, |text| text.parse().expect("ICHORD_SEEDS is a number"))
}

fn run(control_planes: u8, workers: u8, faults: Faults, seed: u64) -> Outcome {
    let outcome = Simulation::new(control_planes, workers, faults, seed).run();
    outcome.unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"))
}

#[test]
fn when_nothing_fails_one_bootstrap_is_called_and_nobody_dies() {
    for (control_planes, workers) in [(1, 0), (3, 0), (3, 1), (5, 4)] {
        let outcome = run(control_planes, workers, Faults::none(), 7);
        assert_eq!((outcome.crashes, outcome.bootstraps_accepted, outcome.clusters), (0, 1, 1));
    }
}

#[test]
fn whatever_fails_one_cluster_is_handed_over() {
    let (mut crashes, mut power_losses) = (0, 0);
    for seed in 0..seeds() {
        let outcome = run(3, 1, Faults::all(), seed);
        assert_eq!(outcome.clusters, 1, "seed {seed}");
        crashes += outcome.crashes;
        power_losses += outcome.power_losses;
    }
    assert!(crashes > 0 && power_losses > 0, "the faults never struck: this test proves nothing");
    println!("{} seeds, {crashes} crashes, {power_losses} power losses", seeds());
}

#[test]
fn a_crash_alone_never_costs_a_second_bootstrap_call() {
    let faults = Faults { crash: 15, until: 60_000, ..Faults::none() };
    for seed in 0..seeds() {
        assert_eq!(run(3, 0, faults, seed).bootstraps_accepted, 1, "seed {seed}");
    }
}

#[test]
fn the_same_seed_makes_the_same_run() {
    assert_eq!(run(3, 1, Faults::all(), 11), run(3, 1, Faults::all(), 11));
}
