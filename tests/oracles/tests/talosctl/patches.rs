//! Patches: whatever `talosctl machineconfig patch` makes of a config and its patches, we make too, and what it refuses
//! we refuse.

use serde_json::Value;
use talos_config::config::MachineConfig;
use talos_config::patch;
use talos_config::yaml;

use crate::cases::{CASES, FULL, JSON};
use crate::maker::{Maker, TABLE};
use crate::talosctl::{Talosctl, documents};

/// How many pairs chance makes. The crate's own tests ask Talos's code about many more of them.
const PAIRS: u64 = 60;

fn ours(config: &str, patches: &[&str]) -> Result<String, String> {
    let mut config = MachineConfig::from_yaml(config).map_err(|error| error.to_string())?;
    for patch in patches {
        config = patch::apply(config, patch).map_err(|error| error.to_string())?;
    }
    Ok(config.to_yaml().map_err(|error| error.to_string())?.to_string())
}

fn theirs(talosctl: &Talosctl, config: &str, patches: &[&str]) -> Result<String, String> {
    talosctl.write("config.yaml", config);
    let mut arguments = vec!["machineconfig".to_owned(), "patch".to_owned(), "config.yaml".to_owned()];
    for (number, patch) in patches.iter().enumerate() {
        let name = format!("patch{number}.yaml");
        talosctl.write(&name, patch);
        arguments.extend(["--patch".to_owned(), format!("@{name}")]);
    }
    talosctl.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// In Talos's own form, which says the same in other words: an empty map is left out, a duration gets its zeros.
fn normal(talosctl: &Talosctl, config: &str) -> Result<String, String> {
    theirs(talosctl, config, &["machine: {}\n"])
}

/// Whether both made something of it; panics where they do not agree.
fn agree(talosctl: &Talosctl, label: &str, config: &str, patches: &[&str]) -> bool {
    match (ours(config, patches), theirs(talosctl, config, patches)) {
        (Ok(ours), Ok(theirs)) => {
            if documents(&ours) == documents(&theirs) {
                return true;
            }
            let ours = normal(talosctl, &ours);
            // a strategic merge leaves Talos's own form, even one that Talos does not read again
            if ours.as_ref().is_ok_and(|ours| documents(ours) == documents(&theirs)) {
                return true;
            }
            match (ours, normal(talosctl, &theirs)) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(documents(&ours), documents(&theirs), "{label}\n{config}\n{patches:?}");
                    true
                }
                // patched into something that Talos does not read
                (Err(_), Err(_)) => false,
                (ours, theirs) => {
                    panic!("{label}\n{config}\n{patches:?}\nours: {ours:?}\ntheirs: {theirs:?}")
                }
            }
        }
        (Err(_), Err(_)) => false,
        // Talos cannot merge documents with an address in them at all; there is no reason why it should not
        (Ok(_), Err(theirs)) if theirs.contains("is not settable") => false,
        // what Talos does not read, it refuses at once; our engine leaves that to the strict reader behind it
        (Ok(ours), Err(theirs)) => match normal(talosctl, &ours) {
            Err(_) => false,
            Ok(_) => panic!("{label}: only talosctl refuses\n{config}\n{patches:?}\n{theirs}"),
        },
        (Err(ours), Ok(_)) => panic!("{label}: only we refuse\n{config}\n{patches:?}\n{ours}"),
    }
}

#[test]
fn strategic_patches() {
    let Some(talosctl) = Talosctl::find() else { return };
    let merged = CASES.iter().filter(|(label, patches)| agree(&talosctl, label, FULL, patches)).count();
    assert!(CASES.len() >= 60 && merged >= 50, "{merged} of {}", CASES.len());
}

#[test]
fn json_patches() {
    let Some(talosctl) = Talosctl::find() else { return };
    let (main, _) = FULL.split_once("\n---\n").expect("several documents");
    let merged = JSON.iter().filter(|(label, patches)| agree(&talosctl, label, main, patches)).count();
    assert!(merged >= 6, "{merged}");
}

#[test]
fn patches_made_by_chance() {
    let Some(talosctl) = Talosctl::find() else { return };
    let table: Value = serde_json::from_str(TABLE).expect("the table");
    let kinds = table["documents"].as_object().expect("kinds").keys();
    let kinds: Vec<&String> = kinds.filter(|kind| !kind.is_empty()).collect();
    let mut merged = 0;
    // other pairs than those that the crate's own tests look at
    for seed in 1_000_000..1_000_000 + PAIRS {
        let mut maker = Maker::new(&table, seed);
        // the main document, and perhaps another
        let kinds = match maker.below(2) {
            0 => vec![""],
            _ => vec!["", &kinds[maker.below(kinds.len())]],
        };
        let make = |maker: &mut Maker<'_>| {
            let documents: Vec<Value> = kinds.iter().map(|kind| maker.document(kind)).collect();
            yaml::write(&documents).expect("writes").to_string()
        };
        let config = make(&mut maker);
        maker.may_delete();
        let patch = make(&mut maker);
        // chance makes things that Talos does not read at all
        if normal(&talosctl, &config).is_ok() && agree(&talosctl, &format!("seed {seed}"), &config, &[&patch])
        {
            merged += 1;
        }
    }
    eprintln!("{merged} of {PAIRS} merged");
    assert!(merged >= PAIRS / 5, "only {merged}: chance makes nothing useful");
}
