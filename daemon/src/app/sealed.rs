//! Files of a site that are not plain: encrypted with SOPS or age, kept in 1Password, in the environment, or given by systemd.
//!
//! The keys to them are the user's, and so are the programs that use them: `sops`, `age` and `op`, found on the PATH, as the
//! user has set them up. They are told a file or a reference and nothing else.

use std::{fs, io, path::Path, time::Duration};

use super::program::{self, ProgramError};

/// A key on a token waits for a finger, a key in a cloud for a network.
const LIMIT: Duration = Duration::from_secs(120);

/// What a reference into 1Password begins with.
const REFERENCE: &str = "op://";

/// What the name of a variable of the environment, and that of a credential of systemd, begin with.
const VARIABLE: &str = "env:";
const CREDENTIAL: &str = "credential:";

/// How a file of age begins: as it is, and as text.
const AGE: [&[u8]; 2] = [b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----"];

/// Where the keys of age are, as SOPS looks for them: named by this variable, or in this file of the user's settings.
const AGE_KEYS: &str = "SOPS_AGE_KEY_FILE";
const AGE_USUAL: &str = "sops/age/keys.txt";

/// Why a file or reference could not be read through its program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealedError {
    #[error("it is encrypted with SOPS, and {0}; {hint}", hint = hint(.0, "see that its key is at hand"))]
    Sops(#[source] ProgramError),
    #[error("it is kept in 1Password, and {0}; {hint}", hint = hint(.0, "see that `op whoami` knows you"))]
    OnePassword(#[source] ProgramError),
    #[error("it is encrypted with age, and {0}; {hint}", hint = hint(.0, "see that its key is in that file"))]
    Age(#[source] ProgramError),
    #[error("it is encrypted with age, and no key is known; set {AGE_KEYS} to the file that has it")]
    NoAgeKey,
    #[error("`sops` decrypted it, and it is still encrypted")]
    Still,
    #[error("the variable {0} is not set; set it where the daemon is started, too")]
    Variable(String),
    #[error("{0:?} is not a name of a credential")]
    CredentialName(String),
    #[error("systemd gave no credentials; name it in LoadCredential= of the unit")]
    NoCredentials,
}

fn hint(error: &ProgramError, otherwise: &'static str) -> &'static str {
    match error {
        ProgramError::Missing(_) => "install it",
        _ => otherwise,
    }
}

/// The text of a file, decrypted, or of what a reference refers to.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    if let Some(reference) = reference(path) {
        let text = program::output("op", &["read", "--no-newline", reference], LIMIT);
        return text
            .map(|text| text.to_string())
            .map_err(|error| io::Error::other(SealedError::OnePassword(error)));
    }
    if let Some(name) = path.to_str().and_then(|text| text.strip_prefix(VARIABLE)) {
        return std::env::var(name).map_err(|_| io::Error::other(SealedError::Variable(name.to_owned())));
    }
    if let Some(name) = path.to_str().and_then(|text| text.strip_prefix(CREDENTIAL)) {
        return credential(name);
    }
    let bytes = fs::read(path)?;
    if AGE.iter().any(|beginning| bytes.starts_with(beginning)) {
        let keys = age_keys().ok_or_else(|| io::Error::other(SealedError::NoAgeKey))?;
        let name = named(path)?;
        let text = program::output("age", &["--decrypt", "--identity", &keys, &name], LIMIT);
        return text.map(|text| text.to_string()).map_err(|error| io::Error::other(SealedError::Age(error)));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))?;
    let is_template = text.contains("{{ op://") || text.contains("{{op://");
    if !is_encrypted(&text) && !is_template {
        return Ok(text);
    }
    let name = named(path)?;
    if is_template {
        let text = program::output("op", &["inject", "--in-file", &name], LIMIT);
        return text
            .map(|text| text.to_string())
            .map_err(|error| io::Error::other(SealedError::OnePassword(error)));
    }
    let plain = program::output("sops", &["--decrypt", &name], LIMIT)
        .map_err(|error| io::Error::other(SealedError::Sops(error)))?;
    if is_encrypted(&plain) {
        return Err(io::Error::other(SealedError::Still));
    }
    Ok(plain.to_string())
}

/// A file's name for a program.
fn named(path: &Path) -> io::Result<String> {
    let name = path
        .to_str()
        .ok_or_else(|| io::Error::other("its name is not text, and a program must be told it"))?;
    // a name that begins with a dash would be taken for an option
    Ok(if name.starts_with('-') { format!("./{name}") } else { name.to_owned() })
}

/// The file with the keys of age.
fn age_keys() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let settings = || set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| format!("{home}/.config")));
    set(AGE_KEYS).or_else(|| {
        let usual = Path::new(&settings()?).join(AGE_USUAL);
        usual.exists().then(|| usual.display().to_string())
    })
}

/// Whether something is there, as far as that can be told without asking for it.
pub(crate) fn exists(path: &Path) -> bool {
    reference(path).is_some() || path.exists()
}

/// What systemd gives with `LoadCredential=` or `SetCredential=`.
fn credential(name: &str) -> io::Result<String> {
    let plain = !name.is_empty() && !name.contains('/') && name != "..";
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(folder) if plain => fs::read_to_string(Path::new(&folder).join(name)),
        Some(_) => Err(io::Error::other(SealedError::CredentialName(name.to_owned()))),
        None => Err(io::Error::other(SealedError::NoCredentials)),
    }
}

/// The reference, if it is one and no file.
pub(crate) fn reference(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.starts_with(REFERENCE))
}

/// SOPS leaves the keys of a file and says how it encrypted the values under one of its own.
fn is_encrypted(text: &str) -> bool {
    let is_own = |line: &str| line.trim_end() == "sops:" || line.trim_start().starts_with("\"sops\":");
    text.contains("ENC[AES256_GCM,") && text.lines().any(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sops_has_written_is_known_by_its_own_key() {
        assert!(is_encrypted("a: ENC[AES256_GCM,data:x]\nsops:\n    version: 3.9.0\n"));
        assert!(is_encrypted("{\n\t\"a\": \"ENC[AES256_GCM,data:x]\",\n\t\"sops\": {}\n}\n"));
        assert!(!is_encrypted("a: b\nsops:\n    version: 3.9.0\n"));
        assert!(!is_encrypted("# ENC[AES256_GCM,data:x]\na: sops\n"));
    }

    #[test]
    fn only_a_reference_is_one() {
        assert_eq!(reference(Path::new("op://vault/item/field")), Some("op://vault/item/field"));
        assert_eq!(reference(Path::new("site/op://vault")), None);
    }
}
