//! The top level of the repository holds what the design lists, and nothing else grows there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::fs;

use bans::root;

const TOP: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "Vagrantfile",
    "daemon",
    "images",
    "profiles",
    "systemd",
    "tests",
];
/// What cargo builds into when nobody says otherwise; git ignores it.
const BUILT: &str = "target";

#[test]
fn nothing_stray_lies_at_the_top() {
    let entries = fs::read_dir(root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let stray: Vec<_> = names
        // settings of tools hide behind a dot
        .filter(|name| !name.starts_with('.') && name != BUILT && !TOP.contains(&name.as_str()))
        .collect();
    assert!(stray.is_empty(), "at the top of the repository lies {stray:?}; the rooms are {TOP:?}");
}
