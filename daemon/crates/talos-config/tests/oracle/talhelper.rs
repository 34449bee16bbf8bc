//! talhelper as the judge: sites in the styles people write are rendered by both, and must come out the same.
//!
//! Each folder under `tests/sites` is a talconfig.yaml with what it names, written for these tests. What is decided to be
//! otherwise than talhelper has it stands in [`DECISIONS`], each with the place where it shows.

mod render;

use talos_config::config::MachineConfig;
use talos_config::difference::{Difference, differences};
use talos_config::{schema, yaml};

use crate::judge::judge;
use render::{loaded, name, ours, sites, theirs};

/// A decision to differ: where it shows (site, file, place), which side has a value there, and why.
struct Decision {
    site: &'static str,
    file: &'static str,
    place: &'static str,
    sides: Sides,
    why: &'static str,
}

#[derive(Debug, PartialEq)]
enum Sides {
    TalhelperOnly,
    OursOnly,
    /// The same YAML in another text.
    SameYaml,
    Both,
}

const DECISIONS: &[Decision] = &[
    Decision {
        site: "",
        file: "",
        place: "the v1alpha1 document: cluster.aescbcEncryptionSecret",
        sides: Sides::TalhelperOnly,
        why: "a worker has no etcd whose secrets it could encrypt; talosctl gives it no key either",
    },
    Decision {
        site: "decisions",
        file: "",
        place: "the v1alpha1 document: machine.install.image",
        sides: Sides::Both,
        why: "without `talosVersion` the newest Talos that is known here is meant, not the one a talhelper knew",
    },
    Decision {
        site: "decisions",
        file: "decisions-control.yaml",
        place: "the v1alpha1 document: machine.install.diskSelector.serial",
        sides: Sides::Both,
        why: "a serial number is what is written, and not the octal number that talhelper makes of 0012345",
    },
    Decision {
        site: "decisions",
        file: "decisions-control.yaml",
        place: "the v1alpha1 document: machine.nodeLabels.version",
        sides: Sides::Both,
        why: "a label is what is written, and not the number 1.1 that talhelper makes of 1.10",
    },
    Decision {
        site: "decisions",
        file: "decisions-control.yaml",
        place: "the v1alpha1 document: machine.files.[0].content",
        sides: Sides::SameYaml,
        why: "a file keeps its comments and its indentation; talhelper writes it anew",
    },
    Decision {
        site: "files",
        file: "",
        place: "the v1alpha1 document: cluster.inlineManifests.[1].contents",
        sides: Sides::SameYaml,
        why: "a file keeps its comments and its indentation; talhelper writes it anew",
    },
    Decision {
        site: "decisions",
        file: "decisions-control.yaml",
        place: "the document ExtensionServiceConfig `lldpd`",
        sides: Sides::OursOnly,
        why: "without a configuration lldpd waits, and the machine reboots every 70 minutes",
    },
    Decision {
        site: "decisions",
        file: "decisions-control.yaml",
        place: "the document DummyLinkConfig `dummy0`",
        sides: Sides::OursOnly,
        why: "talhelper configures a dummy link as if there were one, and makes none",
    },
    Decision {
        site: "decisions",
        file: "decisions-control.yaml",
        place: "the document LinkConfig `dummy0`",
        sides: Sides::TalhelperOnly,
        why: "the other half of the same",
    },
];

#[test]
fn every_site_is_rendered_as_talhelper_does() {
    let Some(mut judge) = judge() else { return };
    let mut undecided = Vec::new();
    let mut used = vec![false; DECISIONS.len()];
    for site in sites() {
        let Some(theirs) = theirs(&site) else { return };
        let ours = ours(&site);
        assert!(theirs.keys().eq(ours.keys()), "{}: {:?} and {:?}", name(&site), theirs.keys(), ours.keys());
        for (file, theirs) in &theirs {
            // Talos writes both, so that values that mean the same look the same
            let mut read = |text: &str| {
                let text =
                    judge.decode(text).unwrap_or_else(|error| panic!("{}: {file}: {error}", name(&site)));
                MachineConfig::from_yaml(&text).expect("a config")
            };
            for difference in differences(&read(theirs), &read(&ours[file])) {
                match DECISIONS.iter().position(|decision| decision.is_about(name(&site), file, &difference))
                {
                    Some(at) => used[at] = true,
                    None => undecided.push(format!("{}: {file}: {difference}", name(&site))),
                }
            }
        }
    }
    assert!(undecided.is_empty(), "talhelper (-) and this crate (+) differ:\n{}", undecided.join("\n"));
    for (decision, used) in DECISIONS.iter().zip(used) {
        assert!(used, "nothing shows this decision any more: {}: {}", decision.place, decision.why);
    }
}

impl Decision {
    fn is_about(&self, site: &str, file: &str, difference: &Difference) -> bool {
        let place = match difference.path.as_slice() {
            [] => difference.document.to_string(),
            path => format!("{}: {}", difference.document, path.join(".")),
        };
        let sides = match (&difference.old, &difference.new) {
            (Some(old), Some(new)) => match (old.as_str().map(yaml::read), new.as_str().map(yaml::read)) {
                (Some(Ok(old)), Some(Ok(new))) if self.sides == Sides::SameYaml => {
                    let plain = |documents: &[document::Document]| -> Vec<_> {
                        documents.iter().map(|document| document.root().to_json()).collect()
                    };
                    if plain(&old) == plain(&new) { Sides::SameYaml } else { Sides::Both }
                }
                _ => Sides::Both,
            },
            (Some(_), None) => Sides::TalhelperOnly,
            _ => Sides::OursOnly,
        };
        let fits = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        fits(self.site, site) && fits(self.file, file) && self.place == place && self.sides == sides
    }
}

#[test]
fn every_style_loads_renders_and_passes_the_strict_validation() {
    let sites = sites();
    assert!(sites.len() >= 20, "{}", sites.len());
    for site in &sites {
        let (config, findings) = loaded(site);
        assert!(!findings.has_errors(), "{}: {findings}", name(site));
        assert!(!config.nodes.is_empty(), "{}", name(site));
        for (file, text) in &ours(site) {
            let unknown = schema::unknown_keys(&MachineConfig::from_yaml(text).expect("reads"));
            assert!(unknown.is_empty(), "{}: {file}: {unknown:?}", name(site));
        }
    }
    let Some(mut judge) = judge() else { return };
    for site in &sites {
        for (file, text) in &ours(site) {
            assert_eq!(judge.check(text), Ok(()), "{}: {file}", name(site));
        }
    }
}
