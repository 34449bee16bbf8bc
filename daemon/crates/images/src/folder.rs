//! The images folder: content by its digest, and the names under which it is served.
//!
//! ```text
//! <root>/.content/<sha256>                          whole files, read-only
//!        .partial/                                  downloads on their way
//!        pins.txt                                   what was fetched first, for ever
//!        <schematic>/<version>/{file, sha256sum.txt}  links into .content, what the daemon reads
//!        ipxe/{file, sha256sum.txt}
//! ```
//!
//! A folder that somebody filled by hand works the same; its files enter `.content` when they are pulled again.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use boot::AssetName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

const CONTENT: &str = ".content";
const PARTIAL: &str = ".partial";
const PINS: &str = "pins.txt";
const SUMS: &str = "sha256sum.txt";

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// A file that is whole: its digest was computed from what is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// of all of it
    pub digest: Digest,
    /// octets
    pub size: u64,
}

/// The images folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// the disk
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// what was tried
        what: &'static str,
        /// with what
        path: PathBuf,
        /// why not
        source: io::Error,
    },
    /// a list of digests that is none
    #[error("{}:{line}: expected 64 hexadecimal digits, two spaces and a file name", path.display())]
    List {
        /// the list
        path: PathBuf,
        /// counted from 1
        line: usize,
    },
    /// content that is not what its name says
    #[error("{name} has sha256 {found}, expected {expected}: it is not kept and not served")]
    WrongDigest {
        /// the file
        name: String,
        /// what it must be
        expected: Digest,
        /// what it is
        found: Digest,
    },
}

/// One images folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes what is missing of it.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let folder = Self { root: root.to_owned() };
        for part in [CONTENT, PARTIAL] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(disk("make", &path))?;
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a download of this URL grows, and what is known about it.
    pub fn partial(&self, url: &str) -> PathBuf {
        self.root.join(PARTIAL).join(hex::encode(Sha256::digest(url)))
    }

    /// Where the content of this digest lies, or would lie.
    pub fn path_of(&self, digest: Digest) -> PathBuf {
        self.root.join(CONTENT).join(digest.to_string())
    }

    /// Takes a file over as content, by renaming it: whole or not at all. What it must be is checked here, from the
    /// disk, and a wrong file is removed.
    pub fn take(
        &self,
        name: &AssetName,
        from: &Path,
        expected: Option<Digest>,
    ) -> Result<Content, FolderError> {
        let content = digest_of(from)?;
        if let Some(expected) = expected.filter(|expected| *expected != content.digest) {
            fs::remove_file(from).ok();
            return Err(FolderError::WrongDigest { name: name.to_string(), expected, found: content.digest });
        }
        let path = self.path_of(content.digest);
        // not executable and not writable by anybody
        fs::set_permissions(from, fs::Permissions::from_mode(0o444)).map_err(disk("protect", from))?;
        File::open(from).and_then(|file| file.sync_all()).map_err(disk("write", from))?;
        fs::rename(from, &path).map_err(disk("rename to", &path))?;
        sync_folder(&self.root.join(CONTENT))?;
        Ok(content)
    }

    /// Takes a text over as content.
    pub fn take_bytes(
        &self,
        name: &AssetName,
        bytes: &[u8],
        expected: Option<Digest>,
    ) -> Result<Content, FolderError> {
        let partial = self.root.join(PARTIAL);
        let mut file = tempfile::NamedTempFile::new_in(&partial).map_err(disk("write into", &partial))?;
        file.write_all(bytes).map_err(disk("write into", &partial))?;
        let (_, path) = file.keep().map_err(|error| disk("write into", &partial)(error.error))?;
        self.take(name, &path, expected)
    }

    /// The content behind a name, if it is there and is what the list beside it says.
    pub fn content(&self, name: &AssetName) -> Result<Option<Content>, FolderError> {
        let path = self.served(name);
        let Some(listed) = self.sums(name)?.get(name.file()).copied() else { return Ok(None) };
        match digest_of(&path) {
            Ok(content) if content.digest == listed => Ok(Some(content)),
            Ok(_) => Ok(None),
            Err(FolderError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives content these names of one folder, with their list of digests. The list comes last: until then the
    /// folder is what it was.
    pub fn publish(&self, files: &BTreeMap<AssetName, Content>) -> Result<(), FolderError> {
        let Some(folder) = files.keys().next().and_then(|name| Some(self.served(name).parent()?.to_owned()))
        else {
            return Ok(());
        };
        fs::create_dir_all(&folder).map_err(disk("make", &folder))?;
        let list = folder.join(SUMS);
        let mut sums = read_sums(&list)?;
        for (name, content) in files {
            let path = self.served(name);
            self.link(content.digest, &path)?;
            sums.insert(name.file().to_owned(), content.digest);
        }
        write_sums(&list, &sums)?;
        sync_folder(&folder)
    }

    /// A hard link where the file system has them, else a copy; there from one moment to the next.
    fn link(&self, digest: Digest, path: &Path) -> Result<(), FolderError> {
        let content = self.path_of(digest);
        let folder = path.parent().unwrap_or(&self.root);
        let beside = folder.join(format!(".{digest}"));
        fs::remove_file(&beside).ok();
        if fs::hard_link(&content, &beside).is_err() {
            fs::copy(&content, &beside).map_err(disk("copy to", &beside))?;
            File::open(&beside).and_then(|file| file.sync_all()).map_err(disk("write", &beside))?;
        }
        let renamed = fs::rename(&beside, path).map_err(disk("rename to", path));
        // renaming a link onto another link of the same file leaves both
        fs::remove_file(&beside).ok();
        renamed
    }

    /// What this name was when it was fetched first.
    pub fn pin(&self, name: &AssetName) -> Result<Option<Digest>, FolderError> {
        Ok(read_sums(&self.root.join(PINS))?.get(&name.to_string()).copied())
    }

    /// Remembers for ever what a name is.
    pub fn set_pin(&self, name: &AssetName, digest: Digest) -> Result<(), FolderError> {
        let path = self.root.join(PINS);
        let mut pins = read_sums(&path)?;
        pins.insert(name.to_string(), digest);
        write_sums(&path, &pins)
    }

    /// The files of `.content` that are not what their names say; they are nowhere served.
    pub fn rotten(&self) -> Result<Vec<PathBuf>, FolderError> {
        let folder = self.root.join(CONTENT);
        let mut rotten = Vec::new();
        for entry in fs::read_dir(&folder).map_err(disk("read", &folder))? {
            let path = entry.map_err(disk("read", &folder))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if digest_of(&path)?.digest.to_string() != name {
                rotten.push(path);
            }
        }
        rotten.sort();
        Ok(rotten)
    }

    /// Where a name is served from.
    pub fn served(&self, name: &AssetName) -> PathBuf {
        self.root.join(name.to_string())
    }

    fn sums(&self, name: &AssetName) -> Result<BTreeMap<String, Digest>, FolderError> {
        read_sums(&self.served(name).with_file_name(SUMS))
    }
}

/// Reads a file to its end.
pub(crate) fn digest_of(path: &Path) -> Result<Content, FolderError> {
    let error = disk("read", path);
    let mut file = File::open(path).map_err(&error)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                hasher.update(buffer.get(..length).unwrap_or_default());
                size += length as u64;
            }
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(error(fault)),
        }
    }
    Ok(Content { digest: Digest(hasher.finalize().into()), size })
}

/// A list as `sha256sum` writes it; none is an empty one.
pub(crate) fn read_sums(path: &Path) -> Result<BTreeMap<String, Digest>, FolderError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(disk("read", path)(error)),
    };
    parse_sums(&text).map_err(|line| FolderError::List { path: path.to_owned(), line })
}

/// The same of a text; the number of the bad line otherwise.
pub(crate) fn parse_sums(text: &str) -> Result<BTreeMap<String, Digest>, usize> {
    let mut sums = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let entry = line.trim_end().split_once(' ').and_then(|(digest, name)| {
            Some((name.strip_prefix([' ', '*'])?.to_owned(), digest.parse().ok()?))
        });
        let (name, digest) = entry.ok_or(index + 1)?;
        sums.insert(name, digest);
    }
    Ok(sums)
}

fn write_sums(path: &Path, sums: &BTreeMap<String, Digest>) -> Result<(), FolderError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let text: String = sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let error = disk("write", path);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(&error)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(&error)?;
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).map_err(&error)?;
    file.persist(path).map_err(|fault| error(fault.error))?;
    sync_folder(folder)
}

fn sync_folder(path: &Path) -> Result<(), FolderError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(disk("write", path))
}

pub(crate) fn disk(what: &'static str, path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Disk { what, path: path.clone(), source }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Digest {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut octets = [0; 32];
        hex::decode_to_slice(text, &mut octets)?;
        Ok(Self(octets))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format!("{text:?} is not a SHA-256 digest: 64 hexadecimal digits")))
    }
}
