//! Patches that people write, and their corners: what Talos makes of them we make too.

use serde_json::json;
use talos_config::config::MachineConfig;
use talos_config::generate::{Input, MachineType};
use talos_config::patch;
use talos_config::versions::Contract;

use crate::cases::{CASES, FULL, JSON};
use crate::judge::{Judge, SECRETS, documents, judge};

/// What we make of it, in Talos's own form, or that we or Talos refuse it.
pub(crate) fn ours(judge: &mut Judge, config: &str, patches: &[&str]) -> Result<String, String> {
    let mut config = MachineConfig::from_yaml(config).map_err(|error| error.to_string())?;
    for patch in patches {
        config = patch::apply(config, patch).map_err(|error| error.to_string())?;
    }
    let text = config.to_yaml().expect("writes");
    judge.decode(&text).map_err(|error| format!("Talos: {error}"))
}

fn compare(judge: &mut Judge, label: &str, config: &str, patches: &[&str]) {
    let theirs = judge.ask(&json!({"ask": "patch", "config": config, "patches": patches}));
    match (ours(judge, config, patches), theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(documents(&ours), documents(&theirs), "{label}: {patches:?}"),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(theirs)) => panic!("{label}: Talos refuses {patches:?}: {theirs}"),
        (Err(ours), Ok(_)) => panic!("{label}: only we refuse {patches:?}: {ours}"),
    }
}

#[test]
fn strategic_patches_do_what_they_do_in_talos() {
    let Some(mut judge) = judge() else { return };
    for (label, patches) in CASES {
        compare(&mut judge, label, FULL, patches);
    }
    assert!(CASES.len() >= 60);
}

#[test]
fn strategic_patches_on_a_generated_config() {
    let Some(mut judge) = judge() else { return };
    for minor in [11, 13] {
        let input = Input::new("c", "https://10.0.0.5:6443", Contract::new(1, minor)).expect("known");
        let config = input.generate(MachineType::ControlPlane, &SECRETS).expect("generates");
        let config = config.to_yaml().expect("writes");
        for (label, patches) in CASES {
            // deleting in a document that is not there makes Talos write an empty one that it does not read again
            if minor == 11
                && patches.iter().any(|patch| patch.contains("HostnameConfig") && patch.contains("delete"))
            {
                continue;
            }
            if patches
                .iter()
                .any(|patch| patch.contains("ExtensionServiceConfig") && patch.contains("delete"))
            {
                continue;
            }
            compare(&mut judge, label, &config, patches);
        }
    }
}

#[test]
fn json_patches_on_one_document() {
    let Some(mut judge) = judge() else { return };
    let (main, _) = FULL.split_once("\n---\n").expect("several documents");
    for (label, patches) in JSON {
        compare(&mut judge, label, main, patches);
    }
}

#[test]
fn deleting_a_document_that_is_not_there_changes_nothing() {
    // Talos's own patcher writes an empty document here, which Talos then refuses to read
    let config = MachineConfig::from_yaml("machine: {type: worker}\n").expect("reads");
    for patch in [
        "apiVersion: v1alpha1\nkind: HostnameConfig\n$patch: delete\n",
        "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: x\nconfigFiles: [{content: a, $patch: delete}]\n$patch: delete\n",
    ] {
        assert_eq!(patch::apply(config.clone(), patch).expect("applies"), config);
    }
}
