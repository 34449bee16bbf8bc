//! What talhelper makes and what is made here.

use crate::render::{name, ours, sites, theirs};

#[test]
fn every_site_is_rendered_as_talhelper_does() {
    let mut faults = Vec::new();
    for site in sites() {
        let Some(theirs) = theirs(&site) else { return };
        let ours = ours(&site);
        for (file, theirs) in &theirs {
            let Some(ours) = ours.get(file) else {
                faults.push(format!("{}: no {file}", name(&site)));
                continue;
            };
            for document in theirs.iter().filter(|document| !ours.contains(document)) {
                faults.push(format!("{}: {file}: theirs: {document}", name(&site)));
            }
            for document in ours.iter().filter(|document| !theirs.contains(document)) {
                faults.push(format!("{}: {file}: ours:   {document}", name(&site)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
