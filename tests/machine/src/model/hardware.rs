//! What the simulated machine is made of, and what the world's image factory would put into its images.

use std::collections::{BTreeMap, BTreeSet};

use hardware::{Disk, Firmware, Link, MacAddr, SystemUuid};

/// The box: it never changes while the machine lives.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// SMBIOS system UUID
    pub uuid: SystemUuid,
    /// SMBIOS system serial number
    pub serial: String,
    /// SMBIOS manufacturer
    pub manufacturer: String,
    /// SMBIOS product name
    pub product: String,
    /// physical links; the first one is the one that boots
    pub links: Vec<Link>,
    /// every disk in it
    pub disks: Vec<Disk>,
    /// bytes of memory
    pub memory: u64,
    /// the kind of firmware
    pub firmware: Firmware,
    /// what the firmware tries first
    pub boot_order: BootOrder,
    /// Talos's own ISO in the drive: started while the disk is blank, and the network is never asked
    pub iso: Option<Image>,
}

/// What the firmware tries first on a cold boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootOrder {
    /// the network, then the disk: how a rack is set up for provisioning
    NetworkFirst,
    /// the disk, then the network
    DiskFirst,
}

impl Hardware {
    /// A UEFI machine with one link and one NVMe disk of 512 GB: the common case of the tests.
    pub fn plain(mac: MacAddr, uuid: SystemUuid, serial: &str) -> Self {
        Self {
            uuid,
            serial: serial.to_owned(),
            manufacturer: "ichord".to_owned(),
            product: "simulated machine".to_owned(),
            links: vec![Link { name: "eth0".to_owned(), mac, up: true }],
            disks: vec![Disk {
                dev_path: "/dev/nvme0n1".to_owned(),
                size: 512_110_190_592,
                model: "APPLE SSD AP0512M".to_owned(),
                serial: format!("disk-{serial}"),
                wwid: format!("eui.{serial}"),
                bus_path: "/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme".to_owned(),
                transport: "nvme".to_owned(),
                ..Disk::default()
            }],
            memory: 16 << 30,
            firmware: Firmware::UefiX64Http,
            boot_order: BootOrder::NetworkFirst,
            iso: None,
        }
    }

    /// The hardware addresses of all links.
    pub fn macs(&self) -> Vec<MacAddr> {
        self.links.iter().map(|link| link.mac).collect()
    }
}

/// What the image factory knows: schematic id to the system extensions in its images
/// (`siderolabs/lldpd`). An image of an unknown schematic has no extensions (talos.md §2.6: a plain
/// installer loses them all).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Factory(pub BTreeMap<String, BTreeSet<String>>);

impl Factory {
    /// The extensions in an image of this schematic.
    pub fn extensions(&self, schematic: Option<&str>) -> BTreeSet<String> {
        schematic.and_then(|id| self.0.get(id)).cloned().unwrap_or_default()
    }
}

/// A Talos image: which schematic it was made from and which version it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// the factory's schematic id; none in a plain upstream image
    pub schematic: Option<String>,
    /// `v1.13.9`
    pub version: String,
}

impl Image {
    /// Reads an installer reference: `factory.talos.dev/metal-installer/<schematic>:<version>`; the
    /// last path element of any other repository is not a schematic.
    pub fn from_installer(reference: &str) -> Self {
        let name = reference.split('@').next().unwrap_or(reference);
        let (path, version) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (name, "latest"),
        };
        let last = path.rsplit('/').next().unwrap_or_default();
        let from_factory = path.contains("installer/") && !last.ends_with("installer");
        Self { schematic: from_factory.then(|| last.to_owned()), version: version.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installer_reference_names_schematic_and_version() {
        for (reference, schematic, version) in [
            ("factory.talos.dev/metal-installer/376567988ad3:v1.13.9", Some("376567988ad3"), "v1.13.9"),
            ("factory.talos.dev/installer/376567988ad3:v1.9.0", Some("376567988ad3"), "v1.9.0"),
            ("registry.lab:5000/metal-installer/abc:v1.13.9", Some("abc"), "v1.13.9"),
            ("ghcr.io/siderolabs/installer:v1.13.9", None, "v1.13.9"),
            ("ghcr.io/siderolabs/installer", None, "latest"),
        ] {
            let expected = Image { schematic: schematic.map(str::to_owned), version: version.to_owned() };
            assert_eq!(Image::from_installer(reference), expected, "{reference}");
        }
    }
}
