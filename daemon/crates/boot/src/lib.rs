//! The boot decision and the view it reads, iPXE scripts, and the catalogue of images.
//!
//! On the road this stands between DHCP, which only asks [`view`] whether a machine may netboot, and
//! the machine's kernel: [`ask`] reads what iPXE says about the machine, [`script`] writes what iPXE
//! is told to do, [`catalogue`] knows the files and their digests,
//! [`local_boot`] the way to its own disk, [`discovery`] what a machine finds out that nobody knows,
//! [`http`] the language in which machines ask.

pub mod ask;
pub mod catalogue;
pub mod discovery;
pub mod http;
pub mod local_boot;
pub mod script;
pub mod view;

pub use ask::{Ask, AskError, LldpReport};
pub use catalogue::{Asset, AssetName, AssetNameError, Catalogue, CatalogueError, Image, is_raspberry_pi};
pub use local_boot::LocalBootRules;
pub use view::{BootView, KnownMachine, Offer};
