//! Many worlds, each from one seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{ops::Range, path::Path};

use lifecycle::{Guard, Strict};
use simulation::{Faults, Mishap, Outcome, Scenario, Simulation, Violation, Without, many};

/// Which seeds; `ICHORD_SEEDS=100000` for the long run, `ICHORD_SEEDS=FROM..TO` for a part of it.
fn seeds() -> Range<u64> {
    let text = std::env::var("ICHORD_SEEDS").unwrap_or_else(|_| "2000".to_owned());
    simulation::seeds(&text).expect("ICHORD_SEEDS is a number, or FROM..TO")
}

fn run(control_planes: u8, workers: u8, faults: Faults, seed: u64) -> Outcome {
    let scenario = Scenario::plain(control_planes, workers, faults);
    let outcome = Simulation::new(scenario, Strict, seed).run();
    outcome.unwrap_or_else(|violation| panic!("seed {seed}: {violation:?}"))
}

#[test]
fn when_nothing_fails_one_bootstrap_is_called_and_nobody_dies() {
    for (control_planes, workers) in [(1, 0), (3, 0), (3, 1), (5, 4)] {
        let outcome = run(control_planes, workers, Faults::none(), 7);
        assert_eq!((outcome.crashes, outcome.bootstraps_accepted, outcome.clusters), (0, 1, 1));
        assert!(outcome.is_ready);
    }
}

#[test]
fn a_crash_alone_never_costs_a_second_bootstrap_call() {
    let faults = Faults { crash: 15, until: 60_000, ..Faults::none() };
    for seed in seeds().step_by(20) {
        assert_eq!(run(3, 0, faults, seed).bootstraps_accepted, 1, "seed {seed}");
    }
}

#[test]
fn the_same_seed_makes_the_same_run() {
    for seed in 0..20 {
        assert_eq!(Simulation::of(seed).run(), Simulation::of(seed).run(), "seed {seed}");
    }
}

/// Whatever befalls a site: no promise is broken, and the run ends ready, or in a state that says why not.
#[test]
fn every_seed_keeps_every_promise() {
    let results: Vec<(u64, Result<Outcome, Violation>)> = many(seeds(), |seed| Simulation::of(seed).run());
    let broken = results.iter().filter_map(|(seed, result)| Some((seed, result.as_ref().err()?)));
    let broken: Vec<String> = broken
        .map(|(seed, violation)| format!("seed {seed}: {violation:?} in {:?}", Scenario::of(*seed)))
        .collect();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), results.len(), broken.join("\n"));
    let outcomes: Vec<Outcome> = results.into_iter().filter_map(|(_, result)| result.ok()).collect();
    let crashes: u32 = outcomes.iter().map(|outcome| outcome.crashes).sum();
    let power_losses: u32 = outcomes.iter().map(|outcome| outcome.power_losses).sum();
    let ready = outcomes.iter().filter(|outcome| outcome.is_ready).count();
    println!("{:?} seeds: {ready} ready, {crashes} crashes, {power_losses} power losses", seeds());
    assert!(crashes > 0 && power_losses > 0, "the faults never struck: this test proves nothing");
    assert!(ready > outcomes.len() / 2, "most runs end ready");
}

/// The same for sites that were handed over and lose nodes, or have them taken out.
#[test]
fn every_second_day_keeps_every_promise() {
    let seeds = seeds().start..seeds().start + (seeds().end - seeds().start).div_ceil(4);
    let results = many(seeds, |seed| Simulation::of_day_two(seed).run());
    let broken = results.iter().filter_map(|(seed, result)| Some((seed, result.as_ref().err()?)));
    let broken: Vec<String> = broken
        .map(|(seed, violation)| format!("seed {seed}: {violation:?} in {:?}", Scenario::of_day_two(*seed)))
        .collect();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), results.len(), broken.join("\n"));
    let outcomes: Vec<Outcome> = results.into_iter().filter_map(|(_, result)| result.ok()).collect();
    let left = |outcome: &&Outcome| outcome.arrows.iter().any(|(_, to)| to == "leaving");
    let ready = outcomes.iter().filter(|outcome| outcome.is_ready).count();
    let left = outcomes.iter().filter(left).count();
    println!(
        "{} second days: {ready} ready, in {left} of them a node was told to forget what it is",
        outcomes.len()
    );
    assert!(ready > outcomes.len() / 2 && left > outcomes.len() / 5, "{ready} ready, {left} left");
}

/// The same for sites that grow and shrink.
#[test]
fn every_changing_site_keeps_every_promise() {
    let seeds = seeds().start..seeds().start + (seeds().end - seeds().start).div_ceil(8);
    let results = many(seeds, |seed| Simulation::of_changing(seed).run());
    let broken = results.iter().filter_map(|(seed, result)| Some((seed, result.as_ref().err()?)));
    let broken: Vec<String> = broken
        .map(|(seed, violation)| format!("seed {seed}: {violation:?} in {:?}", Scenario::of_changing(*seed)))
        .collect();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), results.len(), broken.join("\n"));
    let outcomes: Vec<Outcome> = results.into_iter().filter_map(|(_, result)| result.ok()).collect();
    let ready = outcomes.iter().filter(|outcome| outcome.is_ready).count();
    let gone = |outcome: &&Outcome| {
        ["ready", "member"]
            .iter()
            .any(|from| outcome.arrows.contains(&((*from).to_owned(), "vacant".to_owned())))
    };
    let gone = outcomes.iter().filter(gone).count();
    println!(
        "{} changing sites: {ready} ready, in {gone} of them a node was taken out for good",
        outcomes.len()
    );
    assert!(ready > outcomes.len() / 2 && gone > outcomes.len() / 5, "{ready} ready, {gone} gone");
}

/// The same where the daemon loses its store in the middle of it, or an old one comes back, and a person has the cluster
/// taken over.
#[test]
fn every_lost_memory_keeps_every_promise() {
    let seeds = seeds().start..seeds().start + (seeds().end - seeds().start).div_ceil(8);
    let results = many(seeds, |seed| Simulation::of_lost_memory(seed).run());
    let broken = results.iter().filter_map(|(seed, result)| Some((seed, result.as_ref().err()?)));
    let broken: Vec<String> = broken
        .map(|(seed, violation)| {
            format!("seed {seed}: {violation:?} in {:?}", Scenario::of_lost_memory(*seed))
        })
        .collect();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), results.len(), broken.join("\n"));
    let outcomes: Vec<Outcome> = results.into_iter().filter_map(|(_, result)| result.ok()).collect();
    let ready = outcomes.iter().filter(|outcome| outcome.is_ready).count();
    let taken =
        |outcome: &&Outcome| outcome.arrows.iter().any(|(from, to)| from == "vacant" && to == "configured");
    let taken = outcomes.iter().filter(taken).count();
    println!("{} lost memories: {ready} ready, in {taken} of them a node was taken over", outcomes.len());
    assert!(ready > outcomes.len() / 2 && taken > outcomes.len() / 5, "{ready} ready, {taken} taken over");
}

/// The same for sites that say how their machines are switched, some of which stand still on their way.
#[test]
fn every_powered_site_keeps_every_promise() {
    let seeds = seeds().start..seeds().start + (seeds().end - seeds().start).div_ceil(8);
    let results = many(seeds, |seed| Simulation::of_powered(seed).run());
    let broken = results.iter().filter_map(|(seed, result)| Some((seed, result.as_ref().err()?)));
    let broken: Vec<String> = broken
        .map(|(seed, violation)| format!("seed {seed}: {violation:?} in {:?}", Scenario::of_powered(*seed)))
        .collect();
    assert!(broken.is_empty(), "{} of {}:\n{}", broken.len(), results.len(), broken.join("\n"));
    let outcomes: Vec<Outcome> = results.into_iter().filter_map(|(_, result)| result.ok()).collect();
    let count = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count();
    let (ready, switched, told) =
        (count(|it| it.is_ready), count(|it| it.switches > 0), count(|it| it.next_boots > 0));
    println!(
        "{} powered sites: {ready} ready, {switched} with machines switched, {told} with one told what it boots next",
        outcomes.len()
    );
    let all = outcomes.len();
    assert!(ready > all / 2 && switched > all / 2 && told > all / 20, "{ready} {switched} {told} of {all}");
}

/// Powered sites that broke a promise once.
const POWERED: [(u64, &str); 2] = [
    (283, "a dead control plane's disk was in a machine that etcd could not let in"),
    (
        62,
        "replacements that were not needed after all used up the day's number, and the status did not say so",
    ),
];

#[test]
fn what_was_mended_of_powered_sites_stays_mended() {
    for (seed, what) in POWERED {
        let outcome = Simulation::of_powered(seed).run();
        assert!(outcome.is_ok(), "seed {seed} ({what}): {outcome:?}");
    }
}

/// Second days that broke a promise once.
const SECOND_DAYS: [(u64, &str); 5] = [
    (96, "nobody but the machine itself said in which port it is"),
    (559, "a look that failed was taken for a death, and the machine was never told to wipe itself"),
    (1450, "the same"),
    (750, "the same"),
    (2653, "a voter died in the moment in which another one left"),
];

#[test]
fn what_was_mended_of_the_second_day_stays_mended() {
    for (seed, what) in SECOND_DAYS {
        let outcome = Simulation::of_day_two(seed).run();
        assert!(outcome.is_ok(), "seed {seed} ({what}): {outcome:?}");
    }
}

/// Changing sites that broke a promise once.
const CHANGING: [(u64, &str); 4] = [
    (
        622,
        "a control plane that was taken out for good wiped itself without leaving etcd, which then added nobody any more",
    ),
    (694, "the same"),
    (720, "the same"),
    (1211, "the same"),
];

#[test]
fn what_was_mended_of_changing_sites_stays_mended() {
    for (seed, what) in CHANGING {
        let outcome = Simulation::of_changing(seed).run();
        assert!(outcome.is_ok(), "seed {seed} ({what}): {outcome:?}");
    }
}

/// Lost memories that broke a promise once.
const LOST_MEMORIES: [(u64, &str); 10] = [
    (29, "a machine in maintenance waited for a config of a life that was forgotten"),
    (133, "the store of before the founding came back, and nobody was told to take the cluster over"),
    (245, "the same with a store that was lost"),
    (
        276,
        "a reset machine whose disk had Talos on it was the forgotten life's own, and the person did not know",
    ),
    (306, "the machine in a dead one's port waited, and the status did not say that the old store was why"),
    (657, "the same, and the person had to give it the slot a second time"),
    (702, "whoever was the node since the backup was to be switched off as a stranger"),
    (817, "a node that runs was held in its firmware, because an old store knew another machine"),
    (886, "the same"),
    (329, "etcd had no quorum to replace anybody by, and the status spoke of the old store only"),
];

#[test]
fn what_was_mended_of_lost_memories_stays_mended() {
    for (seed, what) in LOST_MEMORIES {
        let outcome = Simulation::of_lost_memory(seed).run();
        assert!(outcome.is_ok(), "seed {seed} ({what}): {outcome:?}");
    }
}

/// Worlds that broke a promise once, and what happened in them.
const ONCE_BROKEN: [(u64, &str); 33] = [
    (2737, "an old store came back after cp-2 was asked to found the cluster, and cp-1 was asked"),
    (5783, "the same with a store that was lost"),
    (34930, "the members that the only control plane told of were forgotten when it was released"),
    (2084, "a machine broke while the cluster was being founded, and was not replaced any more"),
    (2963, "the same"),
    (4205, "the same"),
    (5556, "the machine that broke was the one that was asked to found the cluster"),
    (2285, "a learner's only voter was away for an hour, and it never got its vote"),
    (3100, "a learner was switched off before it had its vote"),
    (3048, "a stranger of the same name pushed the only voter out of etcd"),
    (5079, "the same"),
    (3660, "a stranger joined etcd between the last look and the hand-over"),
    (7155, "a stranger in etcd was switched off before it was removed, and its vote was missed"),
    (1405, "an old reply, told twice, was taken for news"),
    (8006, "after an old store a lost one came, and with it the site's own permission"),
    (27463, "a bootstrap in doubt was not repeated at once, and should not be"),
    (20052, "an old store held a slot for a machine that was taken out, and did not say that it is old"),
    (28469, "the same, and the one that had replaced it answered in its place"),
    (34106, "the same, and it asked for the slot without end"),
    (30519, "a machine that was taken out was switched on again to be erased"),
    (31451, "a rival that was gone was spoken of for ever"),
    (5511, "that a cable is wrong was not said while another cluster answered"),
    (40776, "a machine that is to boot anew was plugged in elsewhere"),
    (47913, "machines stood still while the daemon was away, and two of them led etcd"),
    (35536, "two machines were cabled to one port"),
    (39112, "a look at the boot before, told twice, counted as news of a lost bootstrap"),
    (64900, "the same"),
    (84480, "a machine that was taken out was switched on as the one that had never come"),
    (88631, "the same"),
    (96927, "the same"),
    (58231, "a machine was taken out in the second before it was switched on"),
    (32455, "the same"),
    (49485, "the same"),
];

#[test]
fn what_was_mended_stays_mended() {
    for (seed, what) in ONCE_BROKEN {
        let outcome = Simulation::of(seed).run();
        assert!(outcome.is_ok(), "seed {seed} ({what}): {outcome:?}");
    }
}

/// How many worlds a guard may take to be missed.
const WITHIN: u64 = 2000;

/// Each guard is missed when it is left out, in a world that does no harm to the whole core: that is what the
/// promises above are worth.
#[test]
fn a_core_without_one_of_its_guards_is_caught() {
    let found = many(0..Guard::ALL.len() as u64, |index| {
        let guard = Guard::ALL[usize::try_from(index).unwrap()];
        let caught = (0..WITHIN).find_map(|seed| {
            // the quorum is at stake when the cluster is there
            let scenario =
                if guard == Guard::KeepsQuorum { Scenario::of_day_two(seed) } else { Scenario::of(seed) };
            let violation = Simulation::new(scenario.clone(), Without(guard), seed).run().err()?;
            Simulation::new(scenario, Strict, seed).run().is_ok().then_some((seed, violation))
        });
        (guard, caught)
    });
    let found: Vec<(Guard, Option<(u64, Violation)>)> = found.into_iter().map(|(_, found)| found).collect();
    for (guard, caught) in &found {
        if let Some((seed, violation)) = caught {
            let mut words = format!("{violation:?}");
            words.truncate(60);
            println!("without {guard:?}: seed {seed}, {words}");
        }
    }
    let missed: Vec<&Guard> =
        found.iter().filter(|(_, caught)| caught.is_none()).map(|(guard, _)| guard).collect();
    assert!(missed.is_empty(), "nobody misses {missed:?}");
}

/// Only a test can leave a guard out: the product knows one answer to whether a guard is on.
#[test]
fn the_product_has_one_set_of_guards() {
    fn implementations(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(implementations(&path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(text.lines().filter(|line| line.contains("Guards for")).map(str::to_owned));
            }
        }
        found
    }
    let product = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../daemon");
    assert_eq!(implementations(&product), ["impl Guards for Strict {"]);
}

#[test]
fn a_control_plane_that_is_silent_for_an_hour_comes_back() {
    let mut scenario = Scenario::plain(3, 0, Faults::none());
    scenario.mishaps = vec![Mishap::SilentHour { slot: 1 }];
    assert!(Simulation::new(scenario, Strict, 1).run().unwrap().is_ready);
}
