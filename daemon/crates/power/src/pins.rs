//! The certificates of service processors: the first one that is seen is kept, and another one is refused.
//!
//! A processor signs its own certificate, so nobody vouches for it; what is kept here makes sure that it is still the same.
//! A line a processor: `HOST:PORT SHA256`. It is on the disk before a password leaves.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// What was seen before.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    /// one writer at a time
    alone: Mutex<()>,
}

/// What a certificate is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// nobody was seen there before; from now on it is this one
    First,
    /// the one that was kept, or that the site names
    Known,
}

/// A certificate is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// somebody else, or the same with a new one
    #[error(
        "{address} shows another certificate than {whose}: {seen} instead of {kept}. It gets no password. If it was changed on \
         purpose, write `certificate: {seen}` under `redfish` of this machine in ichord.yaml"
    )]
    Changed {
        /// where
        address: String,
        /// who says which one it should be
        whose: &'static str,
        /// hexadecimal
        kept: String,
        /// hexadecimal
        seen: String,
    },
    /// what was seen cannot be kept or read
    #[error("the certificates that were seen cannot be kept in {path}: {source}")]
    Keep {
        /// the file
        path: PathBuf,
        /// why
        #[source]
        source: io::Error,
    },
}

impl Pins {
    /// Those of a file, which need not be there yet.
    pub fn at(path: PathBuf) -> Self {
        Self { path, alone: Mutex::new(()) }
    }

    /// Judges a certificate by what the site says, else by what was seen first.
    ///
    /// # Errors
    /// When it is another one, or the file does not take it.
    pub fn judge(&self, address: &str, seen: [u8; 32], named: Option<[u8; 32]>) -> Result<Pinned, PinError> {
        let changed = |whose, kept: String| PinError::Changed {
            address: address.to_owned(),
            whose,
            kept,
            seen: hex::encode(seen),
        };
        if let Some(named) = named {
            return if named == seen {
                Ok(Pinned::Known)
            } else {
                Err(changed("the site names", hex::encode(named)))
            };
        }
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = |source| PinError::Keep { path: self.path.clone(), source };
        let mut known = read(&self.path).map_err(keep)?;
        let text = hex::encode(seen);
        match known.get(address) {
            Some(kept) if *kept == text => Ok(Pinned::Known),
            Some(kept) => Err(changed("at first", kept.clone())),
            None => {
                known.insert(address.to_owned(), text);
                write(&self.path, &known).map_err(keep)?;
                Ok(Pinned::First)
            }
        }
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let line = |line: &str| {
        let (address, digest) = line.split_once(' ')?;
        Some((address.to_owned(), digest.trim().to_owned()))
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    let read: Option<BTreeMap<String, String>> = lines.map(line).collect();
    read.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a line is not HOST:PORT SHA256"))
}

/// Whole or not at all, and on the disk.
fn write(path: &Path, known: &BTreeMap<String, String>) -> io::Result<()> {
    let new = path.with_extension("new");
    let text: String = known.iter().map(|(address, digest)| format!("{address} {digest}\n")).collect();
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_certificate_is_kept_and_another_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificates");
        let judge = |address, seen| Pins::at(path.clone()).judge(address, [seen; 32], None);
        assert_eq!(judge("a:443", 1).unwrap(), Pinned::First);
        assert_eq!(judge("b:443", 2).unwrap(), Pinned::First);
        assert_eq!(judge("a:443", 1).unwrap(), Pinned::Known, "by what is on the disk");
        let words = judge("a:443", 2).unwrap_err().to_string();
        assert!(words.contains(&"02".repeat(32)) && words.contains(&"01".repeat(32)), "{words}");
        assert_eq!(judge("a:443", 1).unwrap(), Pinned::Known, "a refusal changes nothing");
        assert_eq!(Pins::at(path.clone()).judge("a:443", [2; 32], Some([2; 32])).unwrap(), Pinned::Known);
        assert!(Pins::at(path.clone()).judge("a:443", [1; 32], Some([2; 32])).is_err());
        fs::write(&path, "nonsense\n").unwrap();
        assert!(judge("a:443", 1).unwrap_err().to_string().contains("HOST:PORT"));
    }

    #[test]
    fn what_cannot_be_kept_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::at(folder.path().join("no/such/folder"));
        assert!(matches!(pins.judge("a:443", [1; 32], None), Err(PinError::Keep { .. })));
    }
}
