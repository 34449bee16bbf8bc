//! The installer of a machine whose disk and firmware are real: it writes a boot record and a boot partition.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use flate2::read::GzDecoder;

use super::disk::Medium;

/// What is written where.
pub(super) struct Installer {
    /// the beginning of a bootable disk, gzip
    pub(super) image: PathBuf,
    pub(super) disk: Medium,
}

impl Installer {
    /// Writes the image to the beginning of the disk, and waits until it is there.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Medium::Device(disk) = &self.disk else { bail!("only a real disk can be made bootable") };
        let image = fs::File::open(&self.image)
            .with_context(|| format!("the installer's image {} is missing", self.image.display()))?;
        let written = fs::OpenOptions::new().write(true).open(disk).and_then(|mut disk| {
            io::copy(&mut GzDecoder::new(io::BufReader::new(image)), &mut disk)?;
            disk.flush()?;
            disk.sync_all()
        });
        written.with_context(|| format!("cannot install to {}", disk.display()))
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn the_image_is_at_the_beginning_of_the_disk_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (image, disk) = (folder.path().join("disk.gz"), folder.path().join("disk"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[7; 10_000]).unwrap();
        fs::write(&image, encoder.finish().unwrap()).unwrap();
        fs::write(&disk, [1; 20_000]).unwrap();
        let installer = Installer { image: image.clone(), disk: Medium::Device(disk.clone()) };
        installer.run().unwrap();
        let bytes = fs::read(&disk).unwrap();
        assert!(
            bytes[..10_000].iter().all(|byte| *byte == 7) && bytes[10_000..].iter().all(|byte| *byte == 1)
        );
        assert!(Installer { image, disk: Medium::File(disk) }.run().is_err());
    }
}
