//! Every rule a step's objects are held to, by the name that its findings carry.

use document::Rule;

/// In alphabetical order.
pub const RULES: &[Rule] = &[
    Rule { id: "manifest-base64", about: "the data of a Secret is base64" },
    Rule { id: "manifest-empty", about: "a manifest has an object" },
    Rule { id: "manifest-encrypted", about: "an object is decrypted before it is applied" },
    Rule { id: "manifest-hook", about: "a manifest has no hooks of Helm, which nobody would run" },
    Rule { id: "manifest-name", about: "an object has a name of its own" },
    Rule { id: "manifest-text", about: "what Kubernetes wants as text is written as text" },
    Rule { id: "manifest-twice", about: "an object is in a step once" },
    Rule { id: "manifest-unreadable", about: "a manifest can be read" },
];
