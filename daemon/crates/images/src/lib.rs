//! Boot files: where they come from, and how they get into the images folder whole or not at all.
//!
//! [`Sources`] is `images/catalogue.yaml`; [`pull()`] fetches what a site needs through [`download`], which resumes and
//! believes nobody; [`Folder`] keeps content by its digest, and the names that are served are links to it.

mod archive;
mod bundle;
mod discovery;
pub mod download;
mod folder;
mod oci;
mod package;
mod pull;
mod sources;
mod stick;

pub use archive::Archive;
pub use bundle::{Bundle, BundleError, write_bundle};
pub use discovery::{DiscoveryError, DiscoveryImage};
pub use download::{Client, DownloadError, Progress};
pub use folder::{Content, Digest, Folder, FolderError};
pub use oci::{PullList, pulled_images};
pub use package::{PackageError, files_of_package};
pub use pull::{Need, PullError, Pulled, import_package, keep_discovery, pull, pull_kernel_package};
pub use sources::{KernelPackage, Sources, SourcesError, TalosSource};
pub use stick::{TooLarge, stick_image, stick_script};
