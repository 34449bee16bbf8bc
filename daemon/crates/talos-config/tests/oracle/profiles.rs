//! The example sites: what each of their nodes is given must pass Talos's strict validation.

use std::collections::BTreeMap;
use std::path::Path;

use talos_config::secrets::SecretsBundle;
use talos_config::talconfig::{Sources, load};

use crate::judge::{SECRETS, judge};

#[test]
fn every_node_of_the_example_sites_is_given_a_valid_config() {
    let Some(mut judge) = judge() else { return };
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../profiles");
    let mut nodes = 0;
    for entry in std::fs::read_dir(profiles).expect("the example sites") {
        let file = entry.expect("an entry").path().join("talconfig.yaml");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let (directory, environment) = (file.parent().expect("a directory"), BTreeMap::new());
        let sources =
            Sources { directory, read: &|path| std::fs::read_to_string(path), environment: &environment };
        let (site, findings) = load("talconfig.yaml", &text, &sources);
        let site = site.unwrap_or_else(|| panic!("{}: {findings}", file.display()));
        for node in &site.nodes {
            let config = site.machine_config(node, &SECRETS).expect("renders").to_yaml().expect("writes");
            assert_eq!(judge.check(&config), Ok(()), "{} of {}", node.hostname, file.display());
            let sketch = site.machine_config(node, &SecretsBundle::placeholders()).expect("renders");
            let sketch = sketch.to_yaml().expect("writes");
            assert_eq!(judge.check(&sketch), Ok(()), "placeholders: {} of {}", node.hostname, file.display());
            nodes += 1;
        }
    }
    assert!(nodes >= 7, "only {nodes}");
}
