//! Why an images folder cannot be served.

use std::{io, path::PathBuf};

use super::{AssetNameError, SUMS};

/// The images folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// permission, a missing folder, a disk error
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// what could not be read
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// an image folder without its list of digests
    #[error("{} has no {SUMS}: without digests nothing of it is served; write one with `sha256sum * > {SUMS}`", folder.display())]
    NoSums {
        /// the image folder
        folder: PathBuf,
    },
    /// a line that is not `<64 hexadecimal digits>  <file>`
    #[error("{}:{line}: expected 64 hexadecimal digits, two spaces and a file name", path.display())]
    BadSums {
        /// the list
        path: PathBuf,
        /// counted from 1
        line: usize,
    },
    /// a listed file is not there
    #[error("{} is listed in {SUMS} but missing: fetch the image again", path.display())]
    Missing {
        /// the missing file
        path: PathBuf,
    },
    /// the file is not what the list says
    #[error("{} has sha256 {found}, but {SUMS} says {expected}: fetch the image again, it is not served", path.display())]
    WrongDigest {
        /// the file
        path: PathBuf,
        /// from the list, hexadecimal
        expected: String,
        /// computed, hexadecimal
        found: String,
    },
    /// a file name that no URL of ours can carry
    #[error("{}: {source}", path.display())]
    Name {
        /// the file
        path: PathBuf,
        /// what is wrong with it
        source: AssetNameError,
    },
    /// the site asks for an image that the folder does not have
    #[error("no image {schematic}/{version} for {architecture} in {}: expected {} there, listed in {SUMS}; `ichord images pull` fetches them", root.display(), files.join(", "))]
    NoImage {
        /// the images folder
        root: PathBuf,
        /// schematic id
        schematic: String,
        /// Talos version
        version: String,
        /// `amd64` or `arm64`
        architecture: &'static str,
        /// the files of which at least one is missing
        files: Vec<String>,
    },
    /// a command line that is not one line of text
    #[error("{} is not a kernel command line: expected one line of printable ASCII", path.display())]
    BadCmdline {
        /// the file
        path: PathBuf,
    },
}
