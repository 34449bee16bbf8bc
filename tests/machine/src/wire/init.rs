//! The machine as the first process of a real kernel: the firmware, the disk and the network card are real
//! (or QEMU's), Talos is simulated on top.
//!
//! The initial RAM disk holds this program as `/init`, kernel modules as `/modules/NN-NAME.ko` in the order in
//! which they need each other, and, when it came over the network, `/installer/disk.gz`. The word
//! `ichord.boot=disk` on the command line says that the own disk was booted.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use hardware::{Disk, Firmware, Link};
use net::interface::Interface;
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

use super::{Ended, Medium, Options, Start, disk, run};
use crate::model::{BootOrder, Factory, Hardware, Image, Pace};

const MODULES: &str = "/modules";
const INSTALLER: &str = "/installer/disk.gz";
/// The version of images that do not say theirs.
const VERSION: &str = "v1.13.9";
/// For the card and the disk to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the machine as the first process; comes back only when the kernel does not reboot.
pub fn main() {
    let ended = prepare().and_then(|options| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(options, std::future::pending()))
    });
    let mode = match ended {
        Ok(Ended::Reboot) => RebootMode::RB_AUTOBOOT,
        Ok(Ended::PowerOff) => RebootMode::RB_POWER_OFF,
        Err(error) => {
            // the console is all there is; the kernel's panic= then reboots, as Talos does on a fatal error
            eprintln!("machine: {error:#}");
            return;
        }
    };
    nix::unistd::sync();
    let Err(error) = reboot(mode);
    eprintln!("machine: cannot {mode:?}: {error}");
}

/// Makes the kernel's file systems, loads drivers, and sees what the machine is made of.
fn prepare() -> anyhow::Result<Options> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        fs::create_dir_all(at).with_context(|| format!("cannot make {at}"))?;
        match mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>) {
            // devtmpfs may be there already
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot mount {at}")),
        }
    }
    // the kernel's own words would stand in the middle of ours
    fs::write("/proc/sys/kernel/printk", "1").context("cannot quieten the kernel")?;
    load_modules(Path::new(MODULES))?;
    let card = appears("a network card", first_card)?;
    let disk = appears("a disk", || first_disk(Path::new("/sys/block")))?;
    let cmdline = fs::read_to_string("/proc/cmdline").context("cannot read the kernel's command line")?;
    let cmdline = cmdline.trim().to_owned();
    let smbios = |name: &str| {
        let text = fs::read_to_string(format!("/sys/class/dmi/id/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    let serial = smbios("product_serial");
    let uuid = smbios("product_uuid").to_ascii_lowercase().parse().context("the SMBIOS UUID")?;
    let mac = card.mac.context("the network card has no address")?;
    let device = PathBuf::from(&disk.dev_path);
    let (from_network, image) = booted(&cmdline, &device)?;
    Ok(Options {
        name: serial.clone(),
        interface: card.name.clone(),
        hardware: Hardware {
            uuid,
            serial,
            manufacturer: smbios("sys_vendor"),
            product: smbios("product_name"),
            links: vec![Link { name: card.name, mac, up: true }],
            disks: vec![disk],
            memory: memory()?,
            firmware: if Path::new("/sys/firmware/efi").exists() {
                Firmware::UefiX64Http
            } else {
                Firmware::Bios
            },
            boot_order: BootOrder::NetworkFirst,
            iso: None,
        },
        // an emulated processor needs longer for a reply
        pace: Pace { apply_settle: 2_000, ..Pace::fast() },
        factory: factory(&cmdline),
        doomed: BTreeSet::new(),
        disk: Medium::Device(device),
        start: Start::Kernel { image, cmdline, from_network, installer: INSTALLER.into() },
        second: Duration::from_secs(1),
        lldp_every: Duration::from_secs(2),
        api_server: None,
        etcd: None,
    })
}

/// What the kernel has, in bytes.
fn memory() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|total| total.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024).context("the kernel does not tell its memory")
}

/// Whether the network was booted, and which image: the one on the disk is known by what installed it, the
/// netbooted one by `ichord.image=[SCHEMATIC:]VERSION`.
fn booted(cmdline: &str, device: &Path) -> anyhow::Result<(bool, Image)> {
    let word = |key: &str| cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
    let from_network = word("ichord.boot=") != Some("disk");
    let (storage, _) = disk::Disk::open(&Medium::Device(device.to_owned()))?.contents();
    let installed = storage.system.map(|system| system.image).filter(|_| !from_network);
    let named = word("ichord.image=").unwrap_or(VERSION);
    let image = match named.rsplit_once(':') {
        Some((schematic, version)) => {
            Image { schematic: Some(schematic.to_owned()), version: version.to_owned() }
        }
        None => Image { schematic: None, version: named.to_owned() },
    };
    Ok((from_network, installed.unwrap_or(image)))
}

/// `ichord.extensions=SCHEMATIC=siderolabs/lldpd,siderolabs/iscsi-tools`, repeatable.
fn factory(cmdline: &str) -> Factory {
    let words = cmdline.split_ascii_whitespace().filter_map(|word| word.strip_prefix("ichord.extensions="));
    let entry = |(id, names): (&str, &str)| (id.to_owned(), names.split(',').map(str::to_owned).collect());
    Factory(words.filter_map(|word| word.split_once('=')).map(entry).collect())
}

fn load_modules(folder: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for path in files {
        let file = fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            // part of this kernel already
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot load {}", path.display())),
        }
    }
    Ok(())
}

/// Waits for a device: drivers find theirs in their own time.
fn appears<T>(what: &str, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("there is no {what}", what = what.trim_start_matches("a "));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn first_card() -> Option<Interface> {
    let all = Interface::all().ok()?;
    all.into_iter().find(|interface| interface.name != "lo" && interface.mac.is_some())
}

/// The first disk that can be written, as Linux describes it.
fn first_disk(block: &Path) -> Option<Disk> {
    let mut names: Vec<String> =
        fs::read_dir(block).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let text = |name: &str, file: &str| {
        fs::read_to_string(block.join(name).join(file)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let disk = |name: String| {
        let transport = ["nvme", "vd", "sd"].iter().find(|prefix| name.starts_with(*prefix))?;
        // in sectors of 512 bytes, whatever the disk's own are
        let size = text(&name, "size").parse::<u64>().ok().filter(|sectors| *sectors > 0)? * 512;
        Some(Disk {
            dev_path: format!("/dev/{name}"),
            size,
            model: text(&name, "device/model"),
            serial: text(&name, "device/serial"),
            wwid: text(&name, "wwid"),
            transport: match *transport {
                "vd" => "virtio",
                "sd" => "sata",
                other => other,
            }
            .to_owned(),
            rotational: text(&name, "queue/rotational") == "1",
            readonly: text(&name, "ro") == "1",
            ..Disk::default()
        })
    };
    names.into_iter().filter_map(disk).find(|disk| !disk.readonly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_writable_disk_is_described_by_sysfs() {
        let folder = tempfile::tempdir().unwrap();
        for (name, files) in [
            ("loop0", vec![("size", "8")]),
            (
                "nvme0n1",
                vec![
                    ("size", "8388608"),
                    ("ro", "0"),
                    ("device/model", "QEMU NVMe Ctrl  "),
                    ("device/serial", "S1"),
                ],
            ),
            ("nvme1n1", vec![("size", "8"), ("ro", "0")]),
        ] {
            for (file, text) in files {
                let path = folder.path().join(name).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{text}\n")).unwrap();
            }
        }
        let disk = first_disk(folder.path()).unwrap();
        assert_eq!((disk.dev_path.as_str(), disk.size), ("/dev/nvme0n1", 4 << 30));
        assert_eq!((disk.model.as_str(), disk.transport.as_str()), ("QEMU NVMe Ctrl", "nvme"));
    }

    #[test]
    fn the_command_line_says_what_was_booted() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        fs::File::create(&disk).unwrap().set_len(32 << 20).unwrap();
        let image = |cmdline: &str| booted(cmdline, &disk).unwrap();
        assert_eq!(image("a b").1, Image { schematic: None, version: VERSION.into() });
        let named = Image { schematic: Some("abc".into()), version: "v1.14.0".into() };
        assert_eq!(image("ichord.image=abc:v1.14.0"), (true, named));
        assert!(!image("panic=5 ichord.boot=disk").0);
        let factory = factory("x ichord.extensions=abc=siderolabs/lldpd,siderolabs/iscsi-tools");
        assert_eq!(factory.extensions(Some("abc")).len(), 2);
    }
}
