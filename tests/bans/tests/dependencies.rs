//! Which packages may be built into anything here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::collections::BTreeSet;
use std::fs;

use bans::{Metadata, root, tree};

/// Never in a build, with the reason.
const BANNED: [(&str, &str); 18] = [
    ("serde_yaml", "archived; stands on unsafe-libyaml (RUSTSEC-2024-0449); use serde-saphyr"),
    ("serde_yaml_ng", "stands on unsafe-libyaml (RUSTSEC-2024-0449); use serde-saphyr"),
    ("serde_norway", "stands on a fork of unsafe-libyaml (RUSTSEC-2024-0449); use serde-saphyr"),
    ("serde_yml", "unsound and unmaintained (RUSTSEC-2025-0068); use serde-saphyr"),
    ("unsafe-libyaml", "unmaintained (RUSTSEC-2024-0449)"),
    ("chrono", "jiff does it, and one calendar is enough"),
    ("rustls-pemfile", "unmaintained (RUSTSEC-2025-0134); rustls-pki-types reads PEM"),
    ("paste", "unmaintained (RUSTSEC-2024-0436)"),
    ("proc-macro-error2", "unmaintained (RUSTSEC-2026-0173)"),
    ("fxhash", "unmaintained (RUSTSEC-2025-0057)"),
    ("rsa", "timing side channel (RUSTSEC-2023-0071), slow; aws-lc-rs makes RSA keys"),
    ("ring", "a second TLS provider, and it cannot make the RSA key that Talos wants; aws-lc-rs is ours"),
    ("openssl-sys", "needs a system library; rustls is ours"),
    ("native-tls", "needs a system library; rustls is ours"),
    ("pnet_datalink", "wakes for every packet of the interface; net::frame binds to one frame type"),
    ("async-tftp", "ignores the client's errors, answers from the wrong address, can be made to take 551 MB"),
    ("sled", "no release since 2021; the store is SQLite"),
    ("protoc-bin-vendored", "`cargo build` needs no protoc; tests/protogen is pure Rust"),
];

/// At least this version, with the reason.
const FLOORS: [(&str, [u64; 3], &str); 5] = [
    ("bytes", [1, 11, 1], "integer overflow before"),
    ("rustls-webpki", [0, 103, 13], "certificate checks before"),
    ("time", [0, 3, 47], "stack exhaustion before"),
    ("tar", [0, 4, 45], "wrong file sizes before"),
    ("aws-lc-sys", [0, 39, 0], "certificate checks before"),
];

/// What the project may be distributed with: no obligation beyond naming the author.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn nothing_banned_is_built() {
    let metadata = Metadata::read().unwrap();
    let mut found = Vec::new();
    for member in metadata.members() {
        let tree = tree(&member.name).unwrap();
        for (name, reason) in BANNED {
            if tree.contains(name) {
                found.push(format!("{} builds {name} (cargo tree -i {name}): {reason}", member.name));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_known_fault_is_built() {
    let metadata = Metadata::read().unwrap();
    for (name, floor, reason) in FLOORS {
        let versions: Vec<_> = metadata.packages.iter().filter(|package| package.name == name).collect();
        assert!(!versions.is_empty(), "{name} is not used any more: remove its floor");
        for package in versions {
            let numbers = package.version.split(['.', '-', '+']).take(3).map(|part| part.parse().unwrap());
            let version: Vec<u64> = numbers.collect();
            assert!(
                version >= floor.to_vec(),
                "{name} {} is older than {floor:?}: {reason}",
                package.version
            );
        }
    }
}

#[test]
fn every_licence_is_a_permissive_one() {
    let metadata = Metadata::read().unwrap();
    for package in &metadata.packages {
        let expression = package.license.as_deref().unwrap_or_default();
        assert!(permitted(expression), "{} has the licence {expression:?}", package.name);
    }
}

/// Whether an SPDX expression leaves a way that only needs [`LICENCES`]. `/` is the old way to write `OR`.
fn permitted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(" WITH LLVM-exception", "");
    // AND binds stronger, but a conjunction of bracketed alternatives is all that occurs
    expression.split(" AND ").all(|part| {
        let part = part.trim().trim_start_matches('(').trim_end_matches(')');
        part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn licences_are_judged_as_they_read() {
    for fine in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(Apache-2.0 OR MIT) AND BSD-3-Clause"] {
        assert!(permitted(fine), "{fine}");
    }
    for wrong in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-2.0 OR GPL-3.0) AND MIT"] {
        assert!(!permitted(wrong), "{wrong:?}");
    }
}

#[test]
fn every_version_stands_once_in_the_root() {
    let mut used = BTreeSet::new();
    for member in Metadata::read().unwrap().members() {
        let manifest = fs::read_to_string(&member.manifest_path).unwrap();
        for (section, line) in entries(&manifest) {
            if !section.ends_with("dependencies") {
                continue;
            }
            let (name, how) = line.split_once(['.', ' ', '=']).unwrap();
            let inherited = how.contains("workspace = true");
            assert!(
                inherited,
                "{}: {line:?} does not say `workspace = true`",
                member.manifest_path.display()
            );
            used.insert(name.to_owned());
        }
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for (section, line) in entries(&manifest) {
        if section == "workspace.dependencies" {
            let (name, _) = line.split_once(['.', ' ', '=']).unwrap();
            assert!(used.contains(name), "Cargo.toml: nobody uses {name} any more");
        }
    }
}

/// The lines of a manifest that say something, each with the name of its section. Enough TOML for our own files:
/// one entry a line.
fn entries(manifest: &str) -> Vec<(String, &str)> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            entries.push((section.clone(), line));
        }
    }
    entries
}
