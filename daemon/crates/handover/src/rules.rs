//! Every rule a step's objects are held to, by the name that its findings carry.

use document::Rule;

/// In alphabetical order.
pub const RULES: &[Rule] = &[
    Rule { id: "cilium-hubble", about: "somebody makes the certificates of Hubble" },
    Rule { id: "flux-version", about: "the repository brings no other Flux than the hand-over" },
    Rule { id: "manifest-base64", about: "the data of a Secret is base64" },
    Rule { id: "manifest-empty", about: "a manifest has an object" },
    Rule { id: "manifest-encrypted", about: "an object is decrypted before it is applied" },
    Rule { id: "manifest-hook", about: "a manifest has no hooks of Helm, which nobody would run" },
    Rule { id: "manifest-name", about: "an object has a name of its own" },
    Rule { id: "manifest-text", about: "what Kubernetes wants as text is written as text" },
    Rule { id: "manifest-twice", about: "an object is in a step once" },
    Rule { id: "manifest-unreadable", about: "a manifest can be read" },
    Rule { id: "pack", about: "a pack is one" },
    Rule { id: "pack-digest", about: "a pack is what its digest says" },
    Rule { id: "pack-secret", about: "a pack has no secrets" },
    Rule { id: "pack-target", about: "a pack's parameters set what is in it" },
    Rule { id: "pack-values", about: "a pack knows the values that are chosen for it" },
    Rule { id: "release-chart", about: "a HelmRelease's chart can be found" },
    Rule { id: "release-fixed", about: "what nobody can change later is as Git's chart renders it" },
    Rule { id: "release-helm", about: "helm renders the chart" },
    Rule { id: "release-value-unknown", about: "a chart knows the values that it is given" },
    Rule { id: "release-variables", about: "the variables of a HelmRelease's Kustomization can be put in" },
    Rule { id: "secret-connect", about: "the credentials of 1Password Connect are whole and of version 2" },
    Rule { id: "secret-value", about: "a value of a Secret can be had" },
];
