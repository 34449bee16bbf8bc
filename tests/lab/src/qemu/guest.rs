//! A virtual machine with real firmware: the command line that QEMU is started with.
//!
//! Network first, then the disk, as a rack is set up for provisioning; what happens after that the firmware decides.

use std::path::Path;

use crate::plan::{FirmwareKind, Machine};

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// the kernel's, proved by booting a guest
    Kvm,
    /// emulation: always there, slow
    Tcg,
}

impl Accelerator {
    /// As QEMU calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// OVMF's code, from Debian's package `ovmf`.
pub(crate) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// OVMF's empty settings, copied for each machine.
pub(crate) const OVMF_SETTINGS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// The program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
/// As Linux names the disk's model; the site selects the install disk by it.
pub(crate) const DISK_MODEL: &str = "QEMU NVMe Ctrl";
/// What Talos asks of a control plane, and some for the kernel; taken from the host only where the guest writes.
const MEMORY_MIB: u32 = 2048;

/// The command line of a machine with its disk and (for UEFI) its settings.
pub(crate) fn command(
    machine: &Machine,
    accelerator: Accelerator,
    disk: &Path,
    settings: &Path,
) -> Vec<String> {
    let mut words = vec![QEMU.to_owned()];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    let processor = match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    };
    add("-name", machine.name.clone());
    add("-machine", format!("q35,accel={},graphics=off", accelerator.name()));
    add("-cpu", processor.to_owned());
    add("-smp", "1".to_owned());
    add("-m", MEMORY_MIB.to_string());
    add("-uuid", machine.uuid.clone());
    add("-smbios", format!("type=1,manufacturer=ichord,product=lab,serial={}", machine.serial));
    // a BIOS that found nothing to boot begins again
    add("-boot", "reboot-timeout=3000".to_owned());
    add("-display", "none".to_owned());
    add("-serial", "stdio".to_owned());
    add("-netdev", format!("tap,id=wire,ifname={},script=no,downscript=no", machine.interface));
    let card = format!("virtio-net-pci,netdev=wire,mac={},bootindex=1", machine.mac);
    match machine.firmware {
        // the card's default ROM is iPXE
        FirmwareKind::Bios => add("-device", card),
        FirmwareKind::UefiHttp | FirmwareKind::UefiPxe => {
            // without its ROM, or iPXE would take over before the firmware's own network boot
            add("-device", format!("{card},romfile="));
            add("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"));
            add("-drive", format!("if=pflash,format=raw,unit=1,file={}", settings.display()));
            // one road each: HTTP Boot, or PXE over TFTP, which the firmware would try first
            let not: &[&str] = match machine.firmware {
                FirmwareKind::UefiPxe => &["IPv6PXESupport"],
                _ => &["IPv4PXESupport", "IPv6PXESupport"],
            };
            for switch in not {
                add("-fw_cfg", format!("name=opt/org.tianocore/{switch},string=n"));
            }
        }
    }
    add("-drive", format!("if=none,id=disk,format=raw,file={}", disk.display()));
    add("-device", format!("nvme,drive=disk,serial={},bootindex=2", machine.serial));
    add("-device", "virtio-rng-pci".to_owned());
    words.extend(["-nodefaults".to_owned(), "-no-user-config".to_owned()]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::one_of_each_firmware;

    #[test]
    fn only_uefi_machines_have_settings_and_a_card_without_a_rom() {
        for machine in one_of_each_firmware() {
            let words =
                command(&machine, Accelerator::Tcg, Path::new("/d/disk"), Path::new("/d/settings")).join(" ");
            let uefi = machine.firmware != FirmwareKind::Bios;
            let pxe = !words.contains("IPv4PXESupport,string=n");
            assert_eq!(pxe, machine.firmware != FirmwareKind::UefiHttp);
            assert_eq!(words.contains("romfile="), uefi);
            assert_eq!(words.contains("file=/d/settings"), uefi);
            assert!(words.contains(&format!("ifname={}", machine.interface)));
            assert!(words.contains(&machine.uuid));
        }
    }
}
