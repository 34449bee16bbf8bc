//! The discovery image: a Debian kernel with its drivers for network cards and disks, and our agent as first process.
//!
//! Made where it is used, from the Debian package and the agent's program; neither is part of the repository. There is
//! no secret in it: what lets a machine report is on its command line and good for once.

mod module;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write as _},
};

use boot::{AssetName, AssetNameError, catalogue::DISCOVERY};
use flate2::{Compression, write::GzEncoder};
use hardware::Architecture;

use crate::{
    archive::Archive,
    package::{PackageError, archive_of, member_of},
};
use module::{Module, name_of};

/// Below `kernel/` of the package's modules: what machines need to be heard and to show their disks.
const WANTED: [&str; 24] = [
    "drivers/net/ethernet/",
    "drivers/net/phy/",
    "drivers/net/mdio/",
    "drivers/net/pcs/",
    "drivers/net/virtio_net",
    "drivers/net/vmxnet3/",
    "drivers/net/hyperv/",
    "drivers/virtio/",
    "drivers/pci/controller/",
    "drivers/nvme/host/",
    "drivers/ata/",
    "drivers/block/virtio_blk",
    "drivers/message/fusion/",
    "drivers/scsi/sd_mod",
    "drivers/scsi/virtio_scsi",
    "drivers/scsi/vmw_pvscsi",
    "drivers/scsi/hv_storvsc",
    "drivers/scsi/hpsa",
    "drivers/scsi/megaraid/",
    "drivers/scsi/mpt3sas/",
    "drivers/scsi/mpi3mr/",
    "drivers/scsi/smartpqi/",
    "drivers/scsi/aacraid/",
    "drivers/scsi/isci/",
];
/// Nothing that is wanted needs any of these, and they are most of a kernel.
const NEVER: [&str; 14] = [
    "sound/",
    "drivers/gpu/",
    "drivers/media/",
    "drivers/staging/",
    "drivers/iio/",
    "drivers/input/",
    "drivers/hid/",
    "drivers/usb/",
    "drivers/net/wireless/",
    "drivers/net/can/",
    "drivers/infiniband/hw/",
    "net/netfilter/",
    "net/bluetooth/",
    "net/mac80211/",
];
/// No kernel package unpacks to more.
const LONGEST: u64 = 2 << 30;
/// No module does.
const LONGEST_MODULE: u64 = 64 << 20;
/// A machine is never left standing: the kernel starts it anew when the agent fails.
const CMDLINE: &str = "console=tty0 panic=10";

/// The files of an image.
#[derive(Debug)]
pub struct DiscoveryImage {
    /// of the Debian package
    pub version: String,
    /// what it runs on
    pub architecture: Architecture,
    /// Linux
    pub kernel: Vec<u8>,
    /// the agent and the drivers, compressed
    pub initramfs: Vec<u8>,
    /// how many drivers are in it
    pub drivers: usize,
    /// drivers that were left out because something that they need is missing
    pub left_out: Vec<String>,
}

/// No image can be made of it.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// the Debian package
    #[error("the kernel package: {0}")]
    Package(#[from] PackageError),
    /// it cannot be unpacked
    #[error("the kernel package cannot be unpacked: {0}")]
    Unpack(#[from] io::Error),
    /// another package
    #[error("this is not a Debian package with a kernel for amd64: it has no {0}")]
    NoKernel(&'static str),
    /// it would not run as the first process, where there are no libraries
    #[error("the agent is not a statically linked program for x86-64: {0}")]
    Agent(&'static str),
    /// a version that no name of a file can carry
    #[error(transparent)]
    Name(#[from] AssetNameError),
}

impl DiscoveryImage {
    /// Makes the image from a Debian kernel package and the agent's program.
    pub fn make(package: &[u8], agent: &[u8]) -> Result<Self, DiscoveryError> {
        check_agent(agent)?;
        let (version, architecture) = about(package)?;
        if architecture != "amd64" {
            return Err(DiscoveryError::NoKernel("kernel for amd64"));
        }
        let (mut kernel, mut modules) = (None, BTreeMap::new());
        let mut archive = archive_of(package, LONGEST)?;
        for entry in archive.entries()? {
            let mut entry = entry?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            if path.starts_with("boot/vmlinuz-") {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                kernel = Some(bytes);
            } else if let Some((_, place)) =
                path.split_once("/kernel/").filter(|(root, _)| root.contains("lib/modules/"))
                && let Some(name) = name_of(place)
                && !NEVER.iter().any(|never| place.starts_with(never))
            {
                let mut bytes = Vec::new();
                (&mut entry).take(LONGEST_MODULE).read_to_end(&mut bytes)?;
                modules.insert(name, Packed { place: place.to_owned(), bytes });
            }
        }
        let kernel = kernel.ok_or(DiscoveryError::NoKernel("boot/vmlinuz"))?;
        let (chosen, left_out) = choose(&modules)?;
        if chosen.is_empty() {
            return Err(DiscoveryError::NoKernel("drivers for network cards"));
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&initramfs(&chosen, agent))?;
        Ok(Self {
            version,
            architecture: Architecture::Amd64,
            kernel,
            initramfs: encoder.finish()?,
            drivers: chosen.len(),
            left_out,
        })
    }

    /// The files as they are served.
    pub fn files(&self) -> Result<[(AssetName, &[u8]); 3], DiscoveryError> {
        let architecture = self.architecture.name();
        let name = |file: &str| AssetName::image(DISCOVERY, &self.version, file);
        Ok([
            (name(&format!("kernel-{architecture}"))?, self.kernel.as_slice()),
            (name(&format!("initramfs-{architecture}.xz"))?, self.initramfs.as_slice()),
            (name(&format!("cmdline-metal-{architecture}"))?, CMDLINE.as_bytes()),
        ])
    }
}

/// A module as it lies in the package, most likely compressed.
struct Packed {
    place: String,
    bytes: Vec<u8>,
}

/// The wanted modules and all that they need, by name; and those that need what is not there.
fn choose(packed: &BTreeMap<String, Packed>) -> io::Result<(BTreeMap<String, Module>, Vec<String>)> {
    let wanted =
        packed.iter().filter(|(_, module)| WANTED.iter().any(|place| module.place.starts_with(place)));
    let (mut chosen, mut left_out) = (BTreeMap::new(), Vec::new());
    for (name, _) in wanted {
        let mut group = BTreeMap::new();
        if gather(name, packed, &chosen, &mut group)? {
            chosen.extend(group);
        } else {
            left_out.push(name.clone());
        }
    }
    Ok((chosen, left_out))
}

/// A module and what it needs; false when some of that is missing.
fn gather(
    name: &str,
    packed: &BTreeMap<String, Packed>,
    chosen: &BTreeMap<String, Module>,
    group: &mut BTreeMap<String, Module>,
) -> io::Result<bool> {
    let mut open = vec![(name.to_owned(), true)];
    while let Some((name, must)) = open.pop() {
        if chosen.contains_key(&name) || group.contains_key(&name) {
            continue;
        }
        let Some(found) = packed.get(&name) else {
            // what is only better to have may be part of the kernel
            if must {
                return Ok(false);
            }
            continue;
        };
        let module = Module::read(&found.place, &found.bytes)?;
        open.extend(module.needs.iter().map(|need| (need.clone(), true)));
        open.extend(module.likes.iter().map(|like| (like.clone(), false)));
        group.insert(name, module);
    }
    Ok(true)
}

fn initramfs(modules: &BTreeMap<String, Module>, agent: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "sbin", "modules"] {
        archive.folder(folder);
    }
    // until devtmpfs is there
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.file("init", 0o755, agent);
    // drivers ask for others by this name
    archive.link("sbin/modprobe", "../init");
    archive.file("modules/index", 0o644, index(modules).as_bytes());
    for (name, module) in modules {
        archive.file(&format!("modules/{name}.ko"), 0o644, &module.bytes);
    }
    archive.finish()
}

/// As the agent reads it.
fn index(modules: &BTreeMap<String, Module>) -> String {
    let mut text = String::new();
    for (name, module) in modules {
        let here = |name: &&String| modules.contains_key(*name);
        let needs: BTreeSet<&str> =
            module.needs.iter().chain(&module.likes).filter(here).map(String::as_str).collect();
        let needs: Vec<&str> = needs.into_iter().collect();
        text += &format!("module {name} {name}.ko {}\n", needs.join(","));
        for alias in &module.aliases {
            text += &format!("alias {alias} {name}\n");
        }
    }
    text
}

/// Version and architecture, from the package's own description.
fn about(package: &[u8]) -> Result<(String, String), DiscoveryError> {
    let (member, data) = member_of(package, "control.tar")?;
    let mut archive = crate::package::unpacked(&member, data, LONGEST)?;
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.to_string_lossy().trim_start_matches("./") != "control" {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(version), Some(architecture)) = (field("Version:"), field("Architecture:")) else { break };
        // 6.12.9-1~bpo12+1
        let version: String = version
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+') { c } else { '-' })
            .collect();
        return Ok((version, architecture.to_owned()));
    }
    Err(DiscoveryError::NoKernel("description of itself"))
}

/// The program header that asks for a loader.
const INTERPRETER: u32 = 3;
const X86_64: u16 = 62;

/// Where the agent runs there is no loader and no library.
fn check_agent(agent: &[u8]) -> Result<(), DiscoveryError> {
    let wrong = DiscoveryError::Agent;
    if !agent.starts_with(b"\x7fELF\x02\x01") {
        return Err(wrong("it is no 64-bit ELF file"));
    }
    if module::u16_at(agent, 18) != Some(X86_64) {
        return Err(wrong("it is for another processor"));
    }
    let (Some(table), Some(size), Some(count)) =
        (module::u64_at(agent, 32), module::u16_at(agent, 54), module::u16_at(agent, 56))
    else {
        return Err(wrong("it is cut off"));
    };
    let table = usize::try_from(table).unwrap_or(usize::MAX);
    for number in 0..usize::from(count) {
        let kind = module::u32_at(agent, table.saturating_add(number * usize::from(size)));
        if kind.is_none_or(|kind| kind == INTERPRETER) {
            return Err(wrong("it asks for a loader"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
