//! The site's images folder, in the layout of the image factory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{TALOS, schematic_id};

/// What goes into the folder.
pub(crate) struct ImageFiles {
    /// `kernel-amd64`
    pub(crate) kernel: Vec<u8>,
    /// `initramfs-amd64.xz`
    pub(crate) initramfs: Vec<u8>,
    /// `cmdline-metal-amd64`
    pub(crate) cmdline: String,
    /// `ipxe/undionly.kpxe`
    pub(crate) ipxe_bios: Vec<u8>,
    /// `ipxe/snponly.efi`
    pub(crate) ipxe_efi: Vec<u8>,
}

impl ImageFiles {
    /// Bytes that nobody executes: a simulated machine only checks that it got what the list of digests says.
    /// The sizes are those of a small kernel, so that the transfer is one of many packets.
    pub(crate) fn stand_ins() -> Self {
        Self {
            kernel: noise(0x6b65_726e, 3 << 20),
            initramfs: noise(0x696e_6974, 5 << 20),
            cmdline: "talos.platform=metal console=tty0 init_on_alloc=1 slab_nomerge pti=on".to_owned(),
            ipxe_bios: noise(0x6b70_7865, 74_000),
            ipxe_efi: noise(0x6566_6900, 174_000),
        }
    }
}

/// Writes the files and their lists of digests.
pub(crate) fn write_images(images: &Path, files: &ImageFiles) -> Result<()> {
    write_images_of(TALOS, images, files)?;
    write_folder(
        &images.join("ipxe"),
        &[("undionly.kpxe", &files.ipxe_bios), ("snponly.efi", &files.ipxe_efi)],
    )
}

/// Those of one version of Talos.
pub(crate) fn write_images_of(version: &str, images: &Path, files: &ImageFiles) -> Result<()> {
    write_folder(
        &images.join(schematic_id()).join(version),
        &[
            ("kernel-amd64", &files.kernel),
            ("initramfs-amd64.xz", &files.initramfs),
            ("cmdline-metal-amd64", files.cmdline.as_bytes()),
        ],
    )
}

/// A discovery image beside them.
pub(crate) fn write_discovery(images: &Path, kernel: &[u8], initramfs: &[u8], cmdline: &str) -> Result<()> {
    write_folder(
        &images.join("discovery/1"),
        &[
            ("kernel-amd64", kernel),
            ("initramfs-amd64.xz", initramfs),
            ("cmdline-metal-amd64", cmdline.as_bytes()),
        ],
    )
}

fn write_folder(folder: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut sums = String::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        sums.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))));
    }
    let path = folder.join("sha256sum.txt");
    fs::write(&path, sums).with_context(|| format!("cannot write {}", path.display()))
}

/// Bytes without a pattern (xorshift), so that a compressed or shifted transfer cannot pass for the right one.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_digests_is_that_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        write_images(folder.path(), &ImageFiles::stand_ins()).unwrap();
        for of in [folder.path().join(schematic_id()).join(TALOS), folder.path().join("ipxe")] {
            let sums = fs::read_to_string(of.join("sha256sum.txt")).unwrap();
            assert!(sums.lines().count() >= 2);
            for line in sums.lines() {
                let (digest, name) = line.split_once("  ").unwrap();
                assert_eq!(digest, hex::encode(Sha256::digest(fs::read(of.join(name)).unwrap())), "{name}");
            }
        }
    }
}
