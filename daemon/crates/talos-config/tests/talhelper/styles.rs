//! Every site loads without an error and renders for every node.

use talos_config::schema;

use crate::render::{SECRETS, loaded, name, sites};

#[test]
fn every_style_loads_and_renders() {
    let sites = sites();
    assert!(sites.len() >= 20, "{}", sites.len());
    for site in &sites {
        let (config, findings) = loaded(site);
        assert!(!findings.has_errors(), "{}: {findings}", name(site));
        assert!(!config.nodes.is_empty(), "{}", name(site));
        for node in &config.nodes {
            let rendered = config.machine_config(node, &SECRETS).unwrap_or_else(|error| panic!("{error}"));
            let unknown = schema::unknown_keys(&rendered);
            assert!(unknown.is_empty(), "{}: {}: {unknown:?}", name(site), node.hostname);
        }
    }
}
