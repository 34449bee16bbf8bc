//! The disk as the installer leaves it: one small partition that BIOS and UEFI firmware can both boot.
//!
//! FAT, with syslinux in its first sectors and systemd-boot where UEFI looks; both start the same kernel and
//! initramfs. The simulated installer writes this image onto the machine's real disk, as Talos's installer writes
//! its boot partition; whether and from where the machine then boots is the firmware's decision.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use std::io::Write;

use super::packages::{Packages, Suite};

/// Bytes of a sector.
const SECTOR: u32 = 512;
/// The partition begins at 1 MiB, as everywhere.
const FIRST_SECTOR: u32 = 2048;
/// The boot code of a master boot record may be as long as this.
const BOOT_CODE: usize = 440;
/// EFI system partition.
const PARTITION_TYPE: u8 = 0xef;
const MIB: usize = 1 << 20;

/// The boot loaders and the tools that place them.
pub(crate) struct BootLoaders {
    tools: OsString,
    mbr: PathBuf,
    systemd_boot: PathBuf,
}

impl BootLoaders {
    /// Fetches them.
    pub(crate) fn fetch(packages: &Packages) -> Result<Self> {
        let syslinux = packages.unpacked("syslinux", Suite::Own)?;
        let common = packages.unpacked("syslinux-common", Suite::Own)?;
        let mtools = packages.unpacked("mtools", Suite::Own)?;
        let systemd = packages.unpacked("systemd-boot-efi", Suite::Own)?;
        let folders = [syslinux.join("usr/bin"), mtools.join("usr/bin"), "/usr/bin".into(), "/bin".into()];
        Ok(Self {
            tools: std::env::join_paths(folders).context("the cache's path has a colon in it")?,
            mbr: common.join("usr/lib/syslinux/mbr/mbr.bin"),
            systemd_boot: systemd.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
        })
    }

    /// The beginning of a disk: boot record and boot partition.
    pub(crate) fn image(
        &self,
        kernel: &[u8],
        initramfs: &[u8],
        cmdline: &str,
        scratch: &Path,
    ) -> Result<Vec<u8>> {
        let partition = scratch.join("boot.fat");
        // room for FAT32's own tables, and FAT32 itself wants 33 MiB
        let size = (kernel.len() + initramfs.len()).div_ceil(MIB).max(40) * MIB + 8 * MIB;
        let file = fs::File::create(&partition).context("cannot make the boot partition")?;
        file.set_len(size as u64).context("cannot make the boot partition")?;
        let image = partition.display().to_string();
        self.tool("mformat", &["-i", &image, "-F", "::"], None)?;
        for folder in ["::/EFI", "::/EFI/BOOT", "::/loader", "::/loader/entries", "::/syslinux"] {
            self.tool("mmd", &["-i", &image, folder], None)?;
        }
        let loader = fs::read(&self.systemd_boot).context("cannot read systemd-boot")?;
        let entry = format!("title installed\nlinux /vmlinuz\ninitrd /initrd\noptions {cmdline}\n");
        let menu = format!(
            "SERIAL 0\nDEFAULT installed\nLABEL installed\nLINUX /vmlinuz\nINITRD /initrd\nAPPEND {cmdline}\n"
        );
        for (path, bytes) in [
            ("::/vmlinuz", kernel),
            ("::/initrd", initramfs),
            ("::/EFI/BOOT/BOOTX64.EFI", &loader),
            ("::/loader/loader.conf", b"timeout 0\n"),
            ("::/loader/entries/installed.conf", entry.as_bytes()),
            ("::/syslinux/syslinux.cfg", menu.as_bytes()),
        ] {
            self.tool("mcopy", &["-i", &image, "-", path], Some(bytes))?;
        }
        self.tool("syslinux", &["--install", "--directory", "/syslinux", &image], None)?;
        let code = fs::read(&self.mbr).context("cannot read syslinux's boot record")?;
        let mut disk = boot_record(&code, u32::try_from(size).context("the boot partition is too large")?)?;
        disk.resize((FIRST_SECTOR * SECTOR) as usize, 0);
        disk.extend(fs::read(&partition).context("cannot read the boot partition")?);
        Ok(disk)
    }

    fn tool(&self, program: &str, arguments: &[&str], input: Option<&[u8]>) -> Result<()> {
        // found through PATH, because syslinux calls the mtools by name
        let mut child = Command::new("/usr/bin/env")
            .arg(program)
            .args(arguments)
            .env("PATH", &self.tools)
            .env("MTOOLS_SKIP_CHECK", "1")
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        if let (Some(mut stdin), Some(bytes)) = (child.stdin.take(), input) {
            stdin.write_all(bytes).with_context(|| format!("{program} does not read"))?;
        }
        let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
        if !output.status.success() {
            bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// The first sector: boot code, one active partition, the signature.
///
/// ```text
/// 0 boot code | 440 disk id | 446 partitions, 16 bytes each | 510 55 aa
/// a partition: 80 | first CHS (3) | type | last CHS (3) | first sector (4) | sectors (4), little endian
/// ```
fn boot_record(code: &[u8], partition_bytes: u32) -> Result<Vec<u8>> {
    if code.len() > BOOT_CODE {
        bail!("syslinux's boot code has {} bytes, more than the {BOOT_CODE} there is room for", code.len());
    }
    let mut record = code.to_vec();
    record.resize(446, 0);
    // CHS of all ones: look at the sector numbers instead
    record.extend([0x80, 0xfe, 0xff, 0xff, PARTITION_TYPE, 0xfe, 0xff, 0xff]);
    record.extend(FIRST_SECTOR.to_le_bytes());
    record.extend((partition_bytes / SECTOR).to_le_bytes());
    record.resize(510, 0);
    record.extend([0x55, 0xaa]);
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_record_is_one_sector_with_one_active_partition() {
        let record = boot_record(&[0xeb; 440], 64 << 20).unwrap();
        assert_eq!(record.len(), 512);
        assert_eq!(record[510..], [0x55, 0xaa]);
        assert_eq!((record[446], record[450]), (0x80, 0xef));
        assert_eq!(record[454..458], 2048_u32.to_le_bytes());
        assert_eq!(record[458..462], (64_u32 * 2048).to_le_bytes());
        assert!(record[462..510].iter().all(|byte| *byte == 0));
        assert!(boot_record(&[0; 441], 0).is_err());
    }
}
