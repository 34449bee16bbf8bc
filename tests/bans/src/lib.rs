//! Checks on the workspace itself: banned dependencies, pure crates, no stray files.
//!
//! The checks are the tests of this package; here is only what they read: cargo's own picture of the workspace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// The workspace as cargo resolves it for Linux. It may name packages that no enabled feature asks for.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// every package
    pub packages: Vec<Package>,
    /// ids of our own packages
    pub workspace_members: BTreeSet<String>,
}

/// One package.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// cargo's id
    pub id: String,
    /// its name
    pub name: String,
    /// its version
    pub version: String,
    /// SPDX expression
    pub license: Option<String>,
    /// where its Cargo.toml is
    pub manifest_path: PathBuf,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// Cargo's own words, when it cannot say.
    pub fn read() -> Result<Self, String> {
        let text =
            cargo(&["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"])?;
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata is not as expected: {error}"))
    }

    /// Our own packages.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

/// Names of everything that is compiled into `member`: its dependencies and theirs, build scripts included, those of
/// tests left out. (`cargo metadata` knows the graph, too, but counts optional packages that nobody switched on.)
///
/// # Errors
/// Cargo's own words, when it cannot say.
pub fn tree(member: &str) -> Result<BTreeSet<String>, String> {
    let text =
        cargo(&["tree", "-p", member, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn cargo(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(root())
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
