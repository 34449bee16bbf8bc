//! The tool in a folder of its own, and what it is asked.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use oracles::{Tool, printed};
use serde_json::Value;
use talos_config::config::MachineConfig;
use talos_config::secrets::SecretsBundle;
use tempfile::TempDir;

/// 2026-11-23T00:00:00Z.
pub(crate) const NOW: u64 = 1_795_392_000;

/// The same secrets for all tests: making them takes a while.
pub(crate) static SECRETS: LazyLock<SecretsBundle> =
    LazyLock::new(|| SecretsBundle::generate(NOW).expect("a bundle"));

/// The program and a folder for its files; the folder goes with it.
pub(crate) struct Talosctl {
    program: PathBuf,
    folder: TempDir,
}

impl Talosctl {
    /// Nothing where there is no Go; the caller returns then.
    pub(crate) fn find() -> Option<Self> {
        let program = Tool::Talosctl.for_test()?;
        Some(Self { program, folder: tempfile::tempdir().expect("a folder") })
    }

    /// Where a file of the test lies.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file for the tool.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.file(name);
        std::fs::write(&file, text).expect("writes");
        file
    }

    /// Reads a file that the tool wrote.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What it prints, or what it complains about.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        // nobody's own talosconfig
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        printed(&command.env_remove("TALOSCONFIG").output().expect("runs"))
    }
}

/// The documents of a config in an order of their own, to be compared.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let config = MachineConfig::from_yaml(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let mut documents = config.documents().to_vec();
    documents.sort_by_key(|document| (document["kind"].to_string(), document["name"].to_string()));
    documents
}
