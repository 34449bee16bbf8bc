//! Which file holds the secrets of the cluster: the one that the site names, or one that talhelper or talosctl would write.

use std::path::{Path, PathBuf};

use document::{Findings, Place};

use crate::load::Files;

/// The names in talhelper's order, of which it takes the last one that is there.
const TALHELPER: [&str; 4] = ["talsecret.yaml", "talsecret.sops.yaml", "talsecret.yml", "talsecret.sops.yml"];

/// What talosctl writes, and the same encrypted; looked for when there is none of talhelper.
const TALOSCTL: [&str; 2] = ["secrets.yaml", "secrets.sops.yaml"];

/// What a reference into 1Password begins with; it is no path and belongs to no folder.
const REFERENCE: &str = "op://";

/// Where the secrets are, whether they are there or not. `folders` are that of the site and that of the talconfig.
pub(crate) fn path(
    named: Option<&str>,
    folders: [&Path; 2],
    files: &dyn Files,
    root: Place<'_>,
    findings: &mut Findings,
) -> PathBuf {
    let [site, talconfig] = folders;
    match named {
        Some(reference) if reference.starts_with(REFERENCE) => return reference.into(),
        Some(path) => return site.join(path),
        None => {}
    }
    let beside = (talconfig != site).then_some(talconfig);
    for folder in [site].into_iter().chain(beside) {
        for names in [&TALHELPER[..], &TALOSCTL] {
            let there: Vec<PathBuf> =
                names.iter().map(|name| folder.join(name)).filter(|path| files.exists(path)).collect();
            let Some((used, others)) = there.split_last() else { continue };
            if let Some(other) = others.last() {
                let message = format!("{} is used, {} is not", used.display(), other.display());
                let finding = root.key("secrets").warning("secrets-twice", message);
                findings.push(finding.fix("keep one of them, or name one: `secrets: FILE`"));
            }
            return used.clone();
        }
    }
    site.join(TALHELPER[0])
}
