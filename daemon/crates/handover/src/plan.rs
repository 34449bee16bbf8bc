//! What to write, decided from what was observed. No effects here.

use kubernetes::{ObjectId, Outcome};

use crate::manifest::Manifest;

/// Objects of an earlier phase are ready before a later phase is looked at: nothing can be put into a
/// namespace that is not there, and no object be made of a kind that is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Namespaces.
    Namespaces,
    /// CustomResourceDefinitions.
    Definitions,
    /// Everything else, in the order of the step.
    Rest,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Phase; 3] = [Phase::Namespaces, Phase::Definitions, Phase::Rest];

    /// The phase an object belongs to.
    pub fn of(id: &ObjectId) -> Phase {
        match (id.api_version.as_str(), id.kind.as_str()) {
            ("v1", "Namespace") => Phase::Namespaces,
            (version, "CustomResourceDefinition") if version.starts_with("apiextensions.k8s.io/") => {
                Phase::Definitions
            }
            _ => Phase::Rest,
        }
    }
}

/// What to do with the objects of one phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<'a> {
    /// To be written, in this order.
    pub write: Vec<&'a Manifest>,
    /// As they should be already.
    pub keep: Vec<&'a Manifest>,
}

/// Plans a phase from what a dry run of each object would do.
pub fn plan<'a>(observed: &[(&'a Manifest, Outcome)]) -> Plan<'a> {
    let (keep, write): (Vec<_>, Vec<_>) =
        observed.iter().partition(|(_, outcome)| *outcome == Outcome::Unchanged);
    let manifests =
        |chosen: Vec<&(&'a Manifest, Outcome)>| chosen.into_iter().map(|(manifest, _)| *manifest).collect();
    Plan { write: manifests(write), keep: manifests(keep) }
}
