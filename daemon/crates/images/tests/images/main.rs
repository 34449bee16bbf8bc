//! Images from a server that behaves, and from ones that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod bundles;
mod downloads;
mod pulls;
mod server;

use std::time::Duration;

use images::{Client, Progress, download::Pace};
use tempfile::TempDir;

/// Nobody watches.
pub(crate) struct Quiet;

impl Progress for Quiet {
    fn begins(&self, _: &str, _: u64, _: Option<u64>) {}
    fn has(&self, _: u64) {}
    fn again(&self, _: &str) {}
    fn ends(&self) {}
}

/// The real one, without its pauses.
pub(crate) fn client() -> Client {
    // once for the program; which test is first does not matter
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    Client::new(Pace { tries: 3, wait: Duration::from_millis(1), silence: Duration::from_secs(20) }).unwrap()
}

pub(crate) fn folder() -> (TempDir, images::Folder) {
    let root = tempfile::tempdir().unwrap();
    let folder = images::Folder::open(root.path()).unwrap();
    (root, folder)
}

/// Octets without a pattern, so that a shifted part cannot pass for the right one.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x6b65_726e_656c_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}
