//! Real firmware: what the virtual machines boot, and from what.
//!
//! SeaBIOS with iPXE in its card's ROM, and OVMF that starts trixie's iPXE by HTTP Boot or by PXE; Debian's cloud kernel with an
//! initramfs whose first process is the simulated machine; a real disk that the machine's installer makes bootable.

mod disk;
mod guest;
mod packages;
mod probe;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;

use self::disk::BootLoaders;
use crate::plan::Machine;
use crate::site::{EXTENSIONS, ImageFiles, TALOS, schematic_id};

pub(crate) use self::guest::{Accelerator, DISK_MODEL, OVMF_CODE, OVMF_SETTINGS, QEMU};
pub(crate) use self::packages::{Packages, Suite, run};
pub(crate) use self::probe::accelerator;
pub(crate) use images::Archive;

/// On a busy machine an emulated timer ticks too late for the kernel's check of it, and the kernel panics.
pub(crate) const NO_TIMER_CHECK: &str = "no_timer_check";

/// The card, in the order in which its drivers need each other. The disk's driver is part of the kernel.
const MODULES: [&str; 8] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
];
/// More than Talos asks of an install disk; the file is sparse.
const DISK_BYTES: u64 = 8 << 30;
/// What has to be installed, and by which Debian packages.
const INSTALLED: [(&str, &str); 4] = [
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86 seabios"),
    ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "ipxe-qemu"),
    (OVMF_CODE, "ovmf"),
    ("/usr/bin/xz", "xz-utils"),
];

/// Everything that the machines share.
pub(crate) struct Kit {
    /// what the daemon serves
    pub(crate) images: ImageFiles,
    accelerator: Accelerator,
}

/// Fetches, builds and probes; takes a while when it is the first time.
pub(crate) fn assemble(machine: &Path, scratch: &Path) -> Result<Kit> {
    for (file, packages) in INSTALLED {
        if !Path::new(file).exists() {
            bail!("{file} is missing; install it: apt-get install --no-install-recommends {packages}");
        }
    }
    let packages = Packages::open()?;
    let linux = packages.behind("linux-image-cloud-amd64", "linux-image-", Suite::Own)?;
    let linux = packages.unpacked(&linux, Suite::Own)?;
    let ipxe = packages.unpacked("ipxe", Suite::Trixie)?.join("usr/lib/ipxe");
    let kernel = read(&find(&linux.join("boot"), |name| name.starts_with("vmlinuz-"))?)?;
    let installed = compressed(&system(machine, &linux)?)?;
    let loaders = BootLoaders::fetch(&packages)?;
    // what the simulated machine cannot find out about its image
    let about = format!("ichord.extensions={}={}", schematic_id(), EXTENSIONS.join(","));
    let installed_cmdline = format!("console=ttyS0 {NO_TIMER_CHECK} panic=5 ichord.boot=disk {about}");
    let disk = loaders.image(&kernel, &installed, &installed_cmdline, scratch)?;
    let mut initramfs = installed;
    // the next archive begins at a multiple of four
    initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    initramfs.extend(installer(&compressed(&disk)?));
    let images = ImageFiles {
        cmdline: format!("talos.platform=metal panic=5 ichord.image={}:{TALOS} {about}", schematic_id()),
        ipxe_bios: read(&ipxe.join("undionly.kpxe"))?,
        ipxe_efi: read(&ipxe.join("snponly.efi"))?,
        kernel,
        initramfs,
    };
    let accelerator = accelerator(&images.kernel, scratch)?;
    Ok(Kit { images, accelerator })
}

impl Kit {
    /// Gives a machine an empty disk, and firmware that was never set up.
    pub(crate) fn blank(machine: &Machine, folder: &Path) -> Result<()> {
        let (disk, settings) = storage(machine, folder);
        let file = fs::File::create(&disk).with_context(|| format!("cannot make {}", disk.display()))?;
        file.set_len(DISK_BYTES).with_context(|| format!("cannot make {}", disk.display()))?;
        fs::copy(OVMF_SETTINGS, &settings).with_context(|| format!("cannot make {}", settings.display()))?;
        Ok(())
    }

    /// A machine's command line; its disk is there already.
    pub(crate) fn command(&self, machine: &Machine, folder: &Path) -> Vec<String> {
        let (disk, settings) = storage(machine, folder);
        guest::command(machine, self.accelerator, &disk, &settings)
    }

    /// How the guests' processors are made.
    pub(crate) fn accelerator(&self) -> &'static str {
        self.accelerator.name()
    }
}

/// Where a machine's disk and its firmware's settings are.
fn storage(machine: &Machine, folder: &Path) -> (PathBuf, PathBuf) {
    let of = |kind: &str| folder.join(format!("{}.{kind}", machine.name));
    (of("disk"), of("settings"))
}

/// The system without its installer: what is on the disk afterwards.
fn system(machine: &Path, linux: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "tmp", "modules"] {
        archive.folder(folder);
    }
    // until devtmpfs is there
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    let modules = linux.join("lib/modules");
    for (number, name) in MODULES.iter().enumerate() {
        let bytes = kernel_module(&modules, name)?;
        archive.file(&format!("modules/{number:02}-{name}.ko"), 0o644, &bytes);
    }
    let mut folders = Vec::new();
    for object in shared_objects(machine)? {
        let path = object.display().to_string();
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            if !folders.iter().any(|known| known == folder) {
                archive.folder(folder);
                folders.push(folder.to_owned());
            }
        }
        archive.file(path, 0o755, &read(&object)?);
    }
    archive.file("init", 0o755, &read(machine)?);
    Ok(archive.finish())
}

/// What the installer brings along: the beginning of a bootable disk.
fn installer(disk: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.folder("installer");
    archive.file("installer/disk.gz", 0o644, disk);
    archive.finish()
}

/// A program's shared objects and its loader, as the loader itself finds them.
fn shared_objects(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(paths(&text))
}

/// Reads ldd: `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn paths(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(path).collect()
}

pub(crate) fn kernel_module(modules: &Path, name: &str) -> Result<Vec<u8>> {
    let plain = format!("{name}.ko");
    let packed = format!("{name}.ko.xz");
    let path = find(modules, |file| file == plain || file == packed)?;
    if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz").arg("-dc").arg(&path).output().context("cannot start xz")?;
        if !output.status.success() {
            bail!("xz could not unpack {}", path.display());
        }
        return Ok(output.stdout);
    }
    read(&path)
}

/// The first file below `folder` whose name fits.
pub(crate) fn find(folder: &Path, fits: impl Fn(&str) -> bool + Copy) -> Result<PathBuf> {
    look_for(folder, fits)?.with_context(|| format!("what is looked for is not below {}", folder.display()))
}

fn look_for(folder: &Path, fits: impl Fn(&str) -> bool + Copy) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let kind = entry.file_type().with_context(|| format!("cannot read {}", folder.display()))?;
        if kind.is_dir() {
            if let Some(found) = look_for(&entry.path(), fits)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_str().is_some_and(fits) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

pub(crate) fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).context("cannot compress")?;
    encoder.finish().context("cannot compress")
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_objects_are_found_in_what_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(
            paths(text),
            [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]
        );
        assert!(paths("\tstatically linked\n").is_empty());
    }
}
