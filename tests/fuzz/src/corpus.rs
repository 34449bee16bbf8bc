//! Inputs that are kept: recordings of real clients, and whatever was ever found.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use crate::targets::Target;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// Files that end with `.hex` have hexadecimal digits and comments, others are the input itself.
pub(crate) fn read(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let captures =
        target.captures.map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join("../captures").join(name));
    let mut files = Vec::new();
    for folder in captures.into_iter().chain([folder(target.name)]) {
        let entries =
            fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
        files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    // the order of a folder is anybody's; runs must be repeatable
    files.sort();
    files.iter().map(|path| content(path)).collect()
}

fn content(path: &Path) -> Result<Vec<u8>, String> {
    let fault = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes = fs::read(path).map_err(|error| fault(&error))?;
    if path.extension().is_none_or(|extension| extension != "hex") {
        return Ok(bytes);
    }
    let text = String::from_utf8(bytes).map_err(|error| fault(&error))?;
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    hex::decode(digits.trim()).map_err(|error| fault(&error))
}

/// Keeps an input that broke something, for this run's report and every later run.
pub(crate) fn keep(target: &Target, input: &[u8]) -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = folder(target.name).join(format!("found-{:016x}.hex", hasher.finish()));
    fs::write(&path, hex::encode(input))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}
