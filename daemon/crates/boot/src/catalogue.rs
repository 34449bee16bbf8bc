//! The boot files of a site: which there are, how large they are, and their digests.
//!
//! The folder has the Image Factory's layout, `<schematic>/<version>/{kernel-<arch>,
//! initramfs-<arch>.xz, cmdline-metal-<arch>, sha256sum.txt}`, beside `ipxe/` with the network
//! bootloaders and `rpi/` with what Raspberry Pis start with; the discovery image lies there as if `discovery` were a schematic. Nothing else of it can be named from outside, and nothing is served whose digest was
//! not computed when the folder was read.

mod error;
mod name;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use hardware::Architecture;
use sha2::{Digest, Sha256};

pub use error::CatalogueError;
pub use name::{AssetName, AssetNameError, is_raspberry_pi};
use name::{OVERLAYS, RASPBERRY_PI};

/// The file that lists the digests of an image, in the form of `sha256sum`.
const SUMS: &str = "sha256sum.txt";
/// The folder of the network bootloaders.
const IPXE: &str = "ipxe";
/// Where the discovery image lies, in the place of a schematic.
pub const DISCOVERY: &str = "discovery";
/// No list of digests and no kernel command line is longer.
const LONGEST_TEXT: u64 = 1 << 20;

/// One file that may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// its name in URLs
    pub name: AssetName,
    /// where it lies
    pub path: PathBuf,
    /// octets
    pub size: u64,
    /// of the whole file
    pub sha256: [u8; 32],
    /// the file's time of change when the digest was computed
    pub modified: Option<SystemTime>,
}

impl Asset {
    /// The digest as `sha256sum` writes it.
    pub fn sha256_hex(&self) -> String {
        hex::encode(self.sha256)
    }
}

/// What a node boots: two files and the command line that the factory made for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Linux
    pub kernel: AssetName,
    /// Talos's initial RAM disk
    pub initramfs: AssetName,
    /// the factory's command line for bare metal; the site appends to it
    pub cmdline: String,
}

/// The files of one images folder, all of them read and found to be what their lists say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    root: PathBuf,
    assets: BTreeMap<AssetName, Asset>,
    /// by schematic, version and architecture name
    images: BTreeMap<(String, String, &'static str), Image>,
}

impl Catalogue {
    /// Reads the folder and every file in it that may be served. A wrong or missing file is an error,
    /// so that a machine never meets it.
    pub fn load(root: &Path) -> Result<Self, CatalogueError> {
        let mut catalogue = Self { root: root.to_owned(), ..Self::default() };
        for (schematic, folder) in folders(root)? {
            if schematic == IPXE {
                catalogue.add_bootloaders(&folder, IPXE)?;
                continue;
            }
            if schematic == RASPBERRY_PI {
                catalogue.add_bootloaders(&folder, RASPBERRY_PI)?;
                let overlays = folder.join(OVERLAYS);
                if overlays.is_dir() {
                    catalogue.add_bootloaders(&overlays, &format!("{RASPBERRY_PI}/{OVERLAYS}"))?;
                }
                continue;
            }
            for (version, folder) in folders(&folder)? {
                catalogue.add_image(&schematic, &version, &folder)?;
            }
        }
        Ok(catalogue)
    }

    /// The file of this name, if it may be served.
    pub fn get(&self, name: &AssetName) -> Option<&Asset> {
        self.assets.get(name)
    }

    /// Every file, by name.
    pub fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.assets.values()
    }

    /// What to boot on an architecture.
    pub fn image(
        &self,
        schematic: &str,
        version: &str,
        architecture: Architecture,
    ) -> Result<&Image, CatalogueError> {
        let key = (schematic.to_owned(), version.to_owned(), architecture.name());
        self.images.get(&key).ok_or_else(|| CatalogueError::NoImage {
            root: self.root.clone(),
            schematic: schematic.to_owned(),
            version: version.to_owned(),
            architecture: architecture.name(),
            files: files_of(architecture).into(),
        })
    }

    /// What a machine of this architecture boots that shall find out its switch port: the newest there is.
    pub fn discovery(&self, architecture: Architecture) -> Option<&Image> {
        let of = |(key, image)| {
            let (folder, version, arch): &(String, String, &str) = key;
            (folder == DISCOVERY && *arch == architecture.name()).then(|| (numbers(version), image))
        };
        self.images
            .iter()
            .filter_map(of)
            .max_by(|(one, _), (other, _)| one.cmp(other))
            .map(|(_, image)| image)
    }

    /// Every file of a folder, whose digests are known where it has a list of them.
    fn add_bootloaders(&mut self, folder: &Path, called: &str) -> Result<(), CatalogueError> {
        let sums = read_sums(&folder.join(SUMS))?.unwrap_or_default();
        for (file, path) in entries(folder)? {
            if file == SUMS || !path.is_file() {
                continue;
            }
            let name = (format!("{called}/{file}").parse())
                .map_err(|source| CatalogueError::Name { path: path.clone(), source })?;
            self.add(name, path, sums.get(&file).copied())?;
        }
        Ok(())
    }

    fn add_image(&mut self, schematic: &str, version: &str, folder: &Path) -> Result<(), CatalogueError> {
        let sums = read_sums(&folder.join(SUMS))?
            .ok_or_else(|| CatalogueError::NoSums { folder: folder.to_owned() })?;
        let name = |file: &str| {
            AssetName::image(schematic, version, file)
                .map_err(|source| CatalogueError::Name { path: folder.join(file), source })
        };
        for (file, expected) in &sums {
            self.add(name(file)?, folder.join(file), Some(*expected))?;
        }
        for architecture in [Architecture::Amd64, Architecture::Arm64] {
            let files = files_of(architecture);
            if !files.iter().all(|file| sums.contains_key(file)) {
                continue;
            }
            let [kernel, initramfs, cmdline] = files;
            let image = Image {
                kernel: name(&kernel)?,
                initramfs: name(&initramfs)?,
                cmdline: read_cmdline(&folder.join(&cmdline))?,
            };
            self.images.insert((schematic.to_owned(), version.to_owned(), architecture.name()), image);
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: AssetName,
        path: PathBuf,
        expected: Option<[u8; 32]>,
    ) -> Result<(), CatalogueError> {
        let (size, sha256, modified) = digest(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CatalogueError::Missing { path: path.clone() },
            _ => CatalogueError::Read { path: path.clone(), source },
        })?;
        if let Some(expected) = expected
            && expected != sha256
        {
            return Err(CatalogueError::WrongDigest {
                path,
                expected: hex::encode(expected),
                found: hex::encode(sha256),
            });
        }
        self.assets.insert(name.clone(), Asset { name, path, size, sha256, modified });
        Ok(())
    }
}

/// `6.1.192-2` comes after `6.1.99-1`.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

/// What the factory calls the files of an image.
fn files_of(architecture: Architecture) -> [String; 3] {
    let name = architecture.name();
    [format!("kernel-{name}"), format!("initramfs-{name}.xz"), format!("cmdline-metal-{name}")]
}

/// The entries of a folder that are not hidden; a download in progress hides behind a dot.
fn entries(folder: &Path) -> Result<BTreeMap<String, PathBuf>, CatalogueError> {
    let error = |source| CatalogueError::Read { path: folder.to_owned(), source };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.insert(name, entry.path());
        }
    }
    Ok(found)
}

fn folders(folder: &Path) -> Result<BTreeMap<String, PathBuf>, CatalogueError> {
    let mut found = entries(folder)?;
    found.retain(|_, path| path.is_dir());
    Ok(found)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_TEXT).read_to_string(&mut text)?;
    Ok(text)
}

/// File name → digest; `None` where there is no list.
fn read_sums(path: &Path) -> Result<Option<BTreeMap<String, [u8; 32]>>, CatalogueError> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CatalogueError::Read { path: path.to_owned(), source }),
    };
    let mut sums = BTreeMap::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (file, digest) =
            sum(line).ok_or_else(|| CatalogueError::BadSums { path: path.to_owned(), line: index + 1 })?;
        sums.insert(file, digest);
    }
    Ok(Some(sums))
}

/// `<digest>  <file>`, or `<digest> *<file>` of a file read in binary mode.
fn sum(line: &str) -> Option<(String, [u8; 32])> {
    let (digest, file) = line.trim_end().split_once(' ')?;
    let file = file.strip_prefix([' ', '*'])?;
    let mut octets = [0; 32];
    hex::decode_to_slice(digest, &mut octets).ok()?;
    Some((file.to_owned(), octets))
}

fn read_cmdline(path: &Path) -> Result<String, CatalogueError> {
    let text = read_text(path).map_err(|source| CatalogueError::Read { path: path.to_owned(), source })?;
    let line = text.trim();
    if line.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        Ok(line.to_owned())
    } else {
        Err(CatalogueError::BadCmdline { path: path.to_owned() })
    }
}

fn digest(path: &Path) -> io::Result<(u64, [u8; 32], Option<SystemTime>)> {
    let mut file = File::open(path)?;
    let modified = file.metadata()?.modified().ok();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size: u64 = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..count).unwrap_or_default());
        size += count as u64;
    }
    Ok((size, hasher.finalize().into(), modified))
}

#[cfg(test)]
mod tests;
