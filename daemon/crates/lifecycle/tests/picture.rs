//! The README's picture of the states is the one that the code draws.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{collections::BTreeSet, path::Path};

use lifecycle::{State, diagram};

#[test]
fn the_readme_shows_the_states_as_they_are() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let picture = format!("```mermaid\n{}```\n", diagram());
    assert!(readme.contains(&picture), "the README's picture is out of date; it should be\n{picture}");
}

#[test]
fn every_state_can_be_reached_and_none_names_a_way_twice() {
    let mut reached = BTreeSet::from([State::Vacant]);
    for state in State::ALL {
        let next: Vec<State> = state.facts().next.iter().map(|(next, _)| *next).collect();
        let distinct: BTreeSet<State> = next.iter().copied().collect();
        assert_eq!(next.len(), distinct.len(), "{}", state.name());
        reached.extend(distinct);
    }
    // a machine is retired, not a slot
    assert!(State::ALL.iter().all(|state| reached.contains(state) || *state == State::Retired));
}
