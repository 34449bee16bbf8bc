//! Patches and configs made by chance out of Talos's types: whatever Talos makes of the two, we make too.

use serde_json::{Value, json};
use talos_config::yaml;

use crate::judge::{documents, judge};
use crate::maker::{Maker, TABLE};
use crate::patches::ours;

/// How many pairs are made, unless `ICHORD_PAIRS` wants more. The same ones in every run, so that a failure can be looked into.
const PAIRS: u64 = 800;

#[test]
fn whatever_talos_makes_of_a_config_and_a_patch_we_make_too() {
    let Some(mut judge) = judge() else { return };
    let table: Value = serde_json::from_str(TABLE).expect("the table");
    let kinds: Vec<String> = table["documents"].as_object().expect("kinds").keys().cloned().collect();
    let (mut merged, mut refused) = (0_u64, 0_u64);
    let pairs = std::env::var("ICHORD_PAIRS").map_or(PAIRS, |pairs| pairs.parse().expect("a number"));
    for seed in 0..pairs {
        let mut maker = Maker::new(&table, seed);
        // the main document is by far the largest
        let kind = match maker.below(3) {
            0 => kinds[maker.below(kinds.len())].clone(),
            _ => String::new(),
        };
        let config = yaml::write(&[maker.document(&kind)]).expect("writes");
        if maker.below(3) == 0 {
            maker.may_delete();
        }
        let patch = yaml::write(&[maker.document(&kind)]).expect("writes");
        let (config, patch) = (config.as_str(), patch.as_str());
        if judge.decode(config).is_err() {
            continue; // chance made something that Talos does not read
        }
        let theirs = judge.ask(&json!({"ask": "patch", "config": config, "patches": [patch]}));
        match (ours(&mut judge, config, &[patch]), theirs) {
            (Ok(ours), Ok(theirs)) => {
                merged += 1;
                assert!(
                    documents(&ours) == documents(&theirs),
                    "seed {seed}\nconfig:\n{config}\npatch:\n{patch}\nours:\n{ours}\ntheirs:\n{theirs}"
                );
            }
            (Err(_), Err(_)) => refused += 1,
            // Talos cannot merge documents with an address in them at all; there is no reason why it should not
            (Ok(_), Err(theirs)) if theirs.contains("is not settable") => {}
            (ours, theirs) => {
                panic!("seed {seed}\nconfig:\n{config}\npatch:\n{patch}\nours: {ours:?}\ntheirs: {theirs:?}")
            }
        }
    }
    eprintln!("{merged} merged, {refused} refused by both");
    assert!(merged > pairs / 3, "only {merged} were merged, {refused} refused: chance makes nothing useful");
}
