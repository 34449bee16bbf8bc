//! The decisions are functions of values: no runtime, no socket, no clock, no environment behind them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::fs;
use std::path::{Path, PathBuf};

use bans::{Metadata, tree};

/// The rooms in which nothing is done but deciding.
const PURE: [&str; 12] = [
    "boot",
    "dhcp",
    "document",
    "hardware",
    "identity",
    "lifecycle",
    "lldp",
    "rollout",
    "site",
    "snmp",
    "talos-config",
    "tftp",
];

/// What a decision needs no package for.
const EFFECTS: [&str; 16] = [
    "async-std",
    "axum",
    "hyper",
    "kube",
    "kube-client",
    "mio",
    "net",
    "netlink-sys",
    "nix",
    "rtnetlink",
    "rusqlite",
    "smol",
    "socket2",
    "tokio",
    "tonic",
    "tower-http",
];

/// What a decision does not ask the world, with what it does instead.
const QUESTIONS: [(&str, &str); 8] = [
    ("SystemTime::now", "`now` is a parameter"),
    ("Instant::now", "`now` is a parameter"),
    ("Timestamp::now", "`now` is a parameter"),
    ("std::env::", "the caller reads the environment"),
    ("env::var", "the caller reads the environment"),
    ("UdpSocket", "the caller has the socket"),
    ("TcpStream", "the caller has the socket"),
    ("std::process::", "the caller runs programs"),
];

#[test]
fn pure_rooms_have_no_runtime_and_no_sockets_among_their_dependencies() {
    for name in PURE {
        let tree = tree(name).unwrap();
        for effect in EFFECTS {
            assert!(!tree.contains(effect), "{name} builds {effect}: cargo tree -p {name} -i {effect}");
        }
    }
}

#[test]
fn the_check_sees_a_runtime_where_there_is_one() {
    assert!(tree("serve").unwrap().contains("tokio"));
}

#[test]
fn pure_rooms_ask_neither_clock_nor_environment() {
    let metadata = Metadata::read().unwrap();
    let mut found = Vec::new();
    for name in PURE {
        let room = metadata.members().find(|member| member.name == name).expect(name);
        let sources = room.manifest_path.with_file_name("src");
        for file in rust_files(&sources) {
            let text = fs::read_to_string(&file).unwrap();
            // tests may do as they like
            let decides = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in decides.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for (question, instead) in QUESTIONS {
                    if code.contains(question) {
                        found.push(format!("{}:{}: {question}: {instead}", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_net_may_have_unsafe_code() {
    let metadata = Metadata::read().unwrap();
    for member in metadata.members().filter(|member| member.name != "net") {
        let manifest = fs::read_to_string(&member.manifest_path).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{} does not take over the workspace's lints, which forbid unsafe code",
            member.name
        );
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_tests {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_tests {
            files.push(path);
        }
    }
    files
}
