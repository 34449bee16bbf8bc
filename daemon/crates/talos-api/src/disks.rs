//! The disks of a machine by the storage service: the list that even the oldest maintenance server has, and wiping
//! what nothing uses. [`Client::inventory`] knows more of a disk.

use hardware::Disk;

use crate::{
    CallError, Client,
    proto::storage::{self, block_device_wipe_descriptor::Method, disk::DiskType},
};

/// How a disk is wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WipeMethod {
    /// the beginning and the end, where partition tables and file systems are recognised; seconds
    Signatures,
    /// every byte; hours
    Zeroes,
}

/// A disk or partition to wipe. The machine refuses what one of its volumes uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// `sda`, or `/dev/sda`
    pub device: String,
    /// how
    pub method: WipeMethod,
    /// take the entry of a partition out of its table, too (Talos 1.10 and later; older ones leave it)
    pub drop_partition: bool,
}

impl Client {
    /// The disks, also in maintenance mode; with fewer facts than [`Client::inventory`].
    pub async fn disks(&self) -> Result<Vec<Disk>, CallError> {
        let mut storage = self.storage();
        let messages = self.messages("Disks", storage.disks(())).await?;
        Ok(messages.into_iter().flat_map(|message| message.disks).map(Disk::from).collect())
    }

    /// Wipes disks or partitions, all or, when one of them is refused, none. From 1.11 on also in maintenance mode.
    /// What a volume uses is refused with `FailedPrecondition`; nothing here asks for that check to be skipped.
    pub async fn wipe_block_devices(&self, devices: &[BlockDevice]) -> Result<(), CallError> {
        const CALL: &str = "BlockDeviceWipe";
        let descriptor = |wanted: &BlockDevice| {
            let device = wanted.device.strip_prefix("/dev/").unwrap_or(&wanted.device);
            if device.is_empty() {
                return Err(self.unusable(CALL, "not sent: a device without a name"));
            }
            let method = match wanted.method {
                WipeMethod::Signatures => Method::Fast,
                WipeMethod::Zeroes => Method::Zeroes,
            };
            Ok(storage::BlockDeviceWipeDescriptor {
                device: device.to_owned(),
                method: method.into(),
                skip_volume_check: false,
                drop_partition: wanted.drop_partition,
                skip_secondary_check: false,
            })
        };
        let devices = devices.iter().map(descriptor).collect::<Result<_, _>>()?;
        let mut storage = self.storage();
        self.messages(CALL, storage.block_device_wipe(storage::BlockDeviceWipeRequest { devices })).await?;
        Ok(())
    }
}

impl From<storage::Disk> for Disk {
    fn from(disk: storage::Disk) -> Self {
        let kind = disk.r#type();
        let transport = match kind {
            DiskType::Nvme => "nvme",
            DiskType::Sd => "mmc",
            _ => "",
        };
        Self {
            dev_path: disk.device_name,
            size: disk.size,
            model: disk.model,
            serial: disk.serial,
            modalias: disk.modalias,
            uuid: disk.uuid,
            wwid: disk.wwid,
            bus_path: disk.bus_path,
            transport: transport.to_owned(),
            rotational: kind == DiskType::Hdd,
            readonly: disk.readonly,
            cdrom: kind == DiskType::Cd,
            symlinks: Vec::new(),
        }
    }
}
