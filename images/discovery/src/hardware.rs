//! What the machine is made of, as Linux shows it below `/sys`.

use std::{fs, path::Path};

use hardware::{Disk, Inventory, Link, MacAddr};

use crate::listening::Card;

/// `ARPHRD_ETHER`
const ETHERNET: &str = "1";

/// SMBIOS, physical Ethernet cards, and disks.
pub fn inventory(sys: &Path) -> Inventory {
    let smbios =
        |name: &str| Some(text(&sys.join("class/dmi/id").join(name))).filter(|text| !text.is_empty());
    Inventory {
        uuid: smbios("product_uuid").and_then(|uuid| uuid.to_ascii_lowercase().parse().ok()),
        serial: smbios("product_serial"),
        links: names(&sys.join("class/net")).iter().filter_map(|name| link(sys, name)).collect(),
        disks: names(&sys.join("block")).iter().filter_map(|name| disk(sys, name)).collect(),
    }
}

/// The cards among it that can be listened on.
pub fn cards(inventory: &Inventory) -> Vec<Card> {
    inventory.links.iter().map(|link| Card { name: link.name.clone(), mac: link.mac }).collect()
}

/// One that has a device behind it: no loopback, no tunnel.
fn link(sys: &Path, name: &str) -> Option<Link> {
    let folder = sys.join("class/net").join(name);
    if !folder.join("device").exists() || text(&folder.join("type")) != ETHERNET {
        return None;
    }
    let mac: MacAddr = text(&folder.join("address")).parse().ok()?;
    Some(Link { name: name.to_owned(), mac, up: text(&folder.join("carrier")) == "1" })
}

fn disk(sys: &Path, name: &str) -> Option<Disk> {
    let folder = sys.join("block").join(name);
    // what has no device behind it is made by software
    if !folder.join("device").exists() {
        return None;
    }
    // in units of 512 octets, whatever the disk's own are
    let size = text(&folder.join("size")).parse::<u64>().ok().filter(|sectors| *sectors > 0)? * 512;
    let path = fs::canonicalize(&folder).unwrap_or_default().display().to_string();
    let on = |bus: &str| path.contains(bus);
    let transport = match name {
        _ if name.starts_with("nvme") => "nvme",
        _ if name.starts_with("vd") => "virtio",
        _ if name.starts_with("mmcblk") => "mmc",
        _ if on("/usb") => "usb",
        _ if on("/ata") => "sata",
        _ if on("/virtio") => "virtio",
        _ => "scsi",
    };
    Some(Disk {
        dev_path: format!("/dev/{name}"),
        size,
        model: text(&folder.join("device/model")),
        serial: text(&folder.join("device/serial")),
        wwid: [folder.join("wwid"), folder.join("device/wwid")]
            .iter()
            .map(|path| text(path))
            .find(|wwid| !wwid.is_empty())
            .unwrap_or_default(),
        transport: transport.to_owned(),
        rotational: text(&folder.join("queue/rotational")) == "1",
        readonly: text(&folder.join("ro")) == "1",
        cdrom: name.starts_with("sr"),
        ..Disk::default()
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_made_of_metal_counts() {
        let sys = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("class/dmi/id/product_uuid", "00112233-4455-6677-8899-AABBCCDDEE01\n"),
            ("class/dmi/id/product_serial", "S1\n"),
            ("class/net/lo/type", "772"),
            ("class/net/eth0/type", "1"),
            ("class/net/eth0/address", "52:54:00:77:00:01\n"),
            ("class/net/eth0/carrier", "1\n"),
            ("class/net/eth0/device/vendor", "0x1af4"),
            ("class/net/eth1/type", "1"),
            ("class/net/eth1/address", "52:54:00:77:00:02\n"),
            ("class/net/eth1/device/vendor", "0x1af4"),
            ("class/net/br0/type", "1"),
            ("class/net/br0/address", "52:54:00:77:00:09\n"),
            ("block/loop0/size", "8"),
            ("block/nvme0n1/size", "8388608\n"),
            ("block/nvme0n1/wwid", "eui.1\n"),
            ("block/nvme0n1/device/model", "QEMU NVMe Ctrl  \n"),
            ("block/nvme0n1/device/serial", "D1\n"),
            ("block/sr0/size", "0"),
            ("block/sr0/device/model", "DVD"),
        ] {
            let path = sys.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let found = inventory(sys.path());
        assert_eq!(found.uuid.unwrap().to_string(), "00112233-4455-6677-8899-aabbccddee01");
        assert_eq!(found.serial.as_deref(), Some("S1"));
        let links: Vec<_> = found.links.iter().map(|link| (link.name.as_str(), link.up)).collect();
        assert_eq!(links, [("eth0", true), ("eth1", false)]);
        assert_eq!(found.disks.len(), 1);
        let disk = &found.disks[0];
        assert_eq!(
            (disk.dev_path.as_str(), disk.size, disk.transport.as_str()),
            ("/dev/nvme0n1", 4 << 30, "nvme")
        );
        assert_eq!((disk.model.as_str(), disk.wwid.as_str()), ("QEMU NVMe Ctrl", "eui.1"));
        assert_eq!(cards(&found).len(), 2);
    }
}
