//! Secrets at rest: what the daemon must keep of them is sealed before it goes into the store.
//!
//! AES-256-GCM with a random nonce per value. The name under which a value is stored is authenticated with
//! it, so a sealed value moved to another key does not open. Whoever has only the state file has nothing.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Length of the key in bytes.
const KEY: usize = 32;

/// Length of the nonce in bytes, the only one that GCM takes as it is (SP 800-38D §5.2.1.1).
const NONCE: usize = 12;

/// The longest key file that is read: 64 hexadecimal digits and some white space.
const KEY_FILE: u64 = 128;

/// The form of [`Sealed`] this program writes.
const VERSION: u32 = 1;

/// Where the key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A credential of systemd: `$CREDENTIALS_DIRECTORY/ichord-key`. systemd guards it; it is never written.
    Credential(PathBuf),
    /// A file that only its owner may read. It is made on first use.
    File(PathBuf),
}

impl KeySource {
    /// The file that is read.
    pub fn path(&self) -> &Path {
        match self {
            KeySource::Credential(path) | KeySource::File(path) => path,
        }
    }
}

/// The key could not be had, or a value not be sealed or opened. No variant carries key or plain text.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file could not be read or made.
    #[error("cannot use the vault key {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the key.
    #[error(
        "the vault key {path} can be read by others (mode {mode:04o}): chmod 600 it, and consider what it protected as known"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key.
    #[error("the vault key {path} must be 32 bytes, raw or as 64 hexadecimal digits")]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// The value was sealed with another key.
    #[error(
        "{name} was sealed with the vault key {sealed_with}, this one is {ours}: bring the former key back, or set the value anew"
    )]
    OtherKey {
        /// The name of the value.
        name: String,
        /// The id of the key it needs.
        sealed_with: String,
        /// The id of the key we have.
        ours: String,
    },
    /// The sealed form is of a newer version, or not a sealed form at all.
    #[error("{name} is not a sealed value this ichord can read")]
    Form {
        /// The name of the value.
        name: String,
    },
    /// It does not open: changed on disk, or moved here from another name.
    #[error("{name} does not open: it was changed, or belongs under another name")]
    Tampered {
        /// The name of the value.
        name: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Randomness(#[source] getrandom::Error),
}

/// A sealed value, ready for the store. Its `Debug` shows nothing that was secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The version of this form.
    version: u32,
    /// The id of the key: the beginning of a digest of it.
    key: String,
    /// Base64.
    nonce: String,
    /// Ciphertext and tag, base64.
    sealed: String,
}

/// Seals and opens.
pub struct Vault {
    cipher: Aes256Gcm,
    key_id: String,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads the key, or makes it where [`KeySource`] allows that.
    pub fn open(source: &KeySource) -> Result<Vault, VaultError> {
        let bytes = match source {
            KeySource::Credential(path) => read(path)?,
            KeySource::File(path) => match check_mode(path) {
                Ok(()) => read(path)?,
                Err(VaultError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    create(path)?;
                    read(path)?
                }
                Err(error) => return Err(error),
            },
        };
        let shape = || VaultError::Shape { path: source.path().to_owned() };
        let key = key(&bytes).ok_or_else(shape)?;
        let digest = Sha256::new_with_prefix(b"ichord vault key id").chain_update(&key[..]).finalize();
        let key_id = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let cipher = Aes256Gcm::new_from_slice(&key[..]).map_err(|_| shape())?;
        Ok(Vault { cipher, key_id })
    }

    /// The id of the key, which is no secret: it tells keys apart.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Seals `plain` for the place called `name` (the key it will be stored under).
    pub fn seal(&self, name: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(VaultError::Randomness)?;
        let payload = Payload { msg: plain, aad: name.as_bytes() };
        let sealed = (self.cipher)
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| VaultError::Form { name: name.to_owned() })?;
        Ok(Sealed {
            version: VERSION,
            key: self.key_id.clone(),
            nonce: BASE64_STANDARD.encode(nonce),
            sealed: BASE64_STANDARD.encode(sealed),
        })
    }

    /// Opens what [`seal`](Self::seal) made for the same `name`. The plain text is wiped when dropped.
    pub fn unseal(&self, name: &str, value: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let form = || VaultError::Form { name: name.to_owned() };
        if value.version != VERSION {
            return Err(form());
        }
        if value.key != self.key_id {
            return Err(VaultError::OtherKey {
                name: name.to_owned(),
                sealed_with: value.key.clone(),
                ours: self.key_id.clone(),
            });
        }
        let nonce = BASE64_STANDARD.decode(&value.nonce).map_err(|_| form())?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| form())?;
        let sealed = BASE64_STANDARD.decode(&value.sealed).map_err(|_| form())?;
        let payload = Payload { msg: &sealed, aad: name.as_bytes() };
        self.cipher
            .decrypt(&Nonce::from(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| VaultError::Tampered { name: name.to_owned() })
    }
}

/// Raw bytes first: 32 of them are a key whatever they spell.
fn key(bytes: &[u8]) -> Option<Zeroizing<[u8; KEY]>> {
    if let Ok(raw) = <[u8; KEY]>::try_from(bytes) {
        return Some(Zeroizing::new(raw));
    }
    let mut raw = Zeroizing::new([0; KEY]);
    hex::decode_to_slice(bytes.trim_ascii(), &mut raw[..]).ok()?;
    Some(raw)
}

fn check_mode(path: &Path) -> Result<(), VaultError> {
    let mode = fs::metadata(path).map_err(|source| io_error(path, source))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE as usize + 1));
    File::open(path)
        .and_then(|file| file.take(KEY_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| io_error(path, source))?;
    Ok(bytes)
}

/// Makes a key that is either whole on the disk or not there at all, and never replaces one.
fn create(path: &Path) -> Result<(), VaultError> {
    let mut raw = Zeroizing::new([0; KEY]);
    getrandom::fill(&mut raw[..]).map_err(VaultError::Randomness)?;
    let mut text = Zeroizing::new(hex::encode(&raw[..]));
    text.push('\n');

    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let write = || -> io::Result<()> {
        // Left over when an earlier attempt was killed; nothing was sealed with it.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&fresh, path)?;
        fs::remove_file(&fresh)?;
        match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    };
    write().map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> VaultError {
    VaultError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(name: &str) -> (tempfile::TempDir, Vault) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Vault::open(&KeySource::File(directory.path().join(name))).unwrap();
        (directory, vault)
    }

    #[test]
    fn a_sealed_value_opens_under_its_own_name_only() {
        let (_directory, vault) = vault("key");
        let sealed = vault.seal("secrets/home-ops", b"the ca key").unwrap();
        assert_eq!(&vault.unseal("secrets/home-ops", &sealed).unwrap()[..], b"the ca key");
        assert!(matches!(vault.unseal("secrets/other", &sealed), Err(VaultError::Tampered { .. })));
    }

    #[test]
    fn two_sealings_of_one_text_differ_and_survive_the_way_through_json() {
        let (_directory, vault) = vault("key");
        let (one, two) = (vault.seal("n", b"text").unwrap(), vault.seal("n", b"text").unwrap());
        assert_ne!(one.nonce, two.nonce);
        assert_ne!(one.sealed, two.sealed);
        let back: Sealed = serde_json::from_value(serde_json::to_value(&one).unwrap()).unwrap();
        assert_eq!(&vault.unseal("n", &back).unwrap()[..], b"text");
    }

    #[test]
    fn a_changed_bit_anywhere_in_the_box_is_noticed() {
        let (_directory, vault) = vault("key");
        let sealed = vault.seal("n", b"four").unwrap();
        let bytes = BASE64_STANDARD.decode(&sealed.sealed).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = Sealed { sealed: BASE64_STANDARD.encode(bytes), ..sealed.clone() };
            assert!(matches!(vault.unseal("n", &changed), Err(VaultError::Tampered { .. })), "bit {bit}");
        }
    }

    #[test]
    fn the_key_is_made_once_with_mode_0600_and_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let source = KeySource::File(directory.path().join("key"));
        let sealed = Vault::open(&source).unwrap().seal("n", b"text").unwrap();
        let mode = fs::metadata(source.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(&Vault::open(&source).unwrap().unseal("n", &sealed).unwrap()[..], b"text");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing but the key is left");
    }

    #[test]
    fn a_key_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let source = KeySource::File(directory.path().join("key"));
        Vault::open(&source).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(source.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert!(
                matches!(Vault::open(&source), Err(VaultError::Exposed { mode: found, .. }) if found == mode)
            );
        }
    }

    #[test]
    fn a_credential_may_be_raw_or_hexadecimal_and_is_never_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ichord-key");
        let source = KeySource::Credential(path.clone());
        assert!(matches!(Vault::open(&source), Err(VaultError::Io { .. })));
        assert!(!path.exists());

        fs::write(&path, [7; KEY]).unwrap();
        let raw = Vault::open(&source).unwrap();
        fs::write(&path, format!("{}\n", "07".repeat(KEY))).unwrap();
        assert_eq!(Vault::open(&source).unwrap().key_id(), raw.key_id());
        for wrong in [&b""[..], &[7; KEY - 1], &[7; KEY + 1], "0g".repeat(KEY).as_bytes(), &[b'0'; 4096]] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(Vault::open(&source), Err(VaultError::Shape { .. })), "{} bytes", wrong.len());
        }
    }

    #[test]
    fn another_key_says_which_one_is_missing() {
        let (_one, first) = vault("one");
        let (_two, second) = vault("two");
        let sealed = first.seal("n", b"text").unwrap();
        let error = second.unseal("n", &sealed).unwrap_err();
        assert!(error.to_string().contains(first.key_id()) && error.to_string().contains(second.key_id()));
    }

    #[test]
    fn nothing_secret_shows_in_debug() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let vault = Vault::open(&KeySource::File(path.clone())).unwrap();
        let key = fs::read_to_string(path).unwrap();
        let shown = format!("{vault:?} {:?}", vault.seal("n", b"plain text").unwrap());
        assert!(!shown.contains(key.trim()) && !shown.contains("plain text"));
    }
}
