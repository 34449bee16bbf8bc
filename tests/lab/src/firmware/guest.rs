//! A machine of the matrix as QEMU's command line: its firmware, one card, nothing else to boot from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hardware::MacAddr;

use super::cell::Kind;
use super::plain_rom::PlainRom;
use super::secure::enrol;
use crate::qemu::{Accelerator, OVMF_CODE, OVMF_SETTINGS, QEMU};

/// The same for AArch64.
pub(crate) const QEMU_ARM64: &str = "qemu-system-aarch64";
pub(crate) const AAVMF_CODE: &str = "/usr/share/AAVMF/AAVMF_CODE.fd";
const AAVMF_SETTINGS: &str = "/usr/share/AAVMF/AAVMF_VARS.fd";

/// With Secure Boot compiled in.
pub(crate) const OVMF_SECURE_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// In the machine's folder.
pub(crate) const STICK: &str = "stick.img";
/// OVMF resets with less than 160.
const MEMORY_MIB: u32 = 256;

/// The command line of a machine on this tap, with settings of its own in the folder; in Secure Boot mode it starts
/// what the trusted certificate's key signed.
pub(crate) fn command(
    kind: Kind,
    accelerator: Accelerator,
    tap: &str,
    mac: MacAddr,
    folder: &Path,
    trusted: Option<&[u8]>,
) -> Result<Vec<String>> {
    let mut words = vec![match kind {
        Kind::Arm64 => QEMU_ARM64.to_owned(),
        _ => QEMU.to_owned(),
    }];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    match (kind, accelerator) {
        (Kind::Arm64, _) => {
            add("-machine", "virt,accel=tcg".to_owned());
            add("-cpu", "cortex-a57".to_owned());
        }
        (_, Accelerator::Kvm) => {
            add("-machine", "q35,accel=kvm,graphics=off".to_owned());
            add("-cpu", "host".to_owned());
        }
        (Kind::SecureBoot, Accelerator::Tcg) => {
            // only code in system management mode may write the settings, or the keys would protect nothing
            add("-machine", "q35,accel=tcg,graphics=off,smm=on".to_owned());
            add("-global", "driver=cfi.pflash01,property=secure,value=on".to_owned());
            add("-global", "ICH9-LPC.disable_s3=1".to_owned());
            add("-cpu", "max".to_owned());
        }
        (_, Accelerator::Tcg) => {
            add("-machine", "q35,accel=tcg,graphics=off".to_owned());
            add("-cpu", "max".to_owned());
        }
    }
    add("-smp", "1".to_owned());
    add("-m", MEMORY_MIB.to_string());
    add("-uuid", format!("00112233-4455-6677-8899-aabbccdd{:02x}{:02x}", mac.0[4], mac.0[5]));
    add("-display", "none".to_owned());
    add("-serial", "stdio".to_owned());
    add(
        "-netdev",
        match kind {
            Kind::Undionly => PlainRom::netdev(),
            _ => format!("tap,id=wire,ifname={tap},script=no,downscript=no"),
        },
    );
    if kind == Kind::Usb {
        let stick = folder.join(STICK);
        add("-drive", format!("if=none,id=stick,format=raw,readonly=on,file={}", stick.display()));
        add("-device", "qemu-xhci".to_owned());
        add("-device", "usb-storage,drive=stick,bootindex=0".to_owned());
    }
    // a UEFI machine without the card's ROM, or iPXE in it would take over before the firmware's own boot
    let rom = if kind.is_bios() { "" } else { ",romfile=" };
    add("-device", format!("virtio-net-pci,netdev=wire,mac={mac},bootindex=1{rom}"));
    add("-device", "virtio-rng-pci".to_owned());
    let (code, empty) = match kind {
        Kind::Arm64 => (AAVMF_CODE, AAVMF_SETTINGS),
        Kind::SecureBoot => (OVMF_SECURE_CODE, OVMF_SETTINGS),
        _ => (OVMF_CODE, OVMF_SETTINGS),
    };
    if !kind.is_bios() {
        let settings = folder.join("settings");
        let mut store = fs::read(empty).with_context(|| format!("cannot read {empty}"))?;
        if let Some(certificate) = trusted {
            enrol(&mut store, certificate)?;
        }
        fs::write(&settings, store).with_context(|| format!("cannot make {}", settings.display()))?;
        add("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
        add("-drive", format!("if=pflash,format=raw,unit=1,file={}", settings.display()));
    }
    let not: &[&str] = match kind {
        Kind::SeaBios | Kind::Undionly | Kind::Arm64 => &[],
        Kind::OvmfPxe => &["IPv6PXESupport"],
        // without any network boot of its own there is only the stick
        Kind::OvmfHttp | Kind::SecureBoot | Kind::Usb => &["IPv4PXESupport", "IPv6PXESupport"],
    };
    for switch in not {
        add("-fw_cfg", format!("name=opt/org.tianocore/{switch},string=n"));
    }
    words.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_seabios_has_the_cards_rom() {
        let mac = MacAddr([0x52, 0x54, 0, 0x77, 1, 1]);
        let folder = tempfile::tempdir().unwrap();
        let words =
            command(Kind::SeaBios, Accelerator::Tcg, "p1", mac, folder.path(), None).unwrap().join(" ");
        assert!(!words.contains("romfile=") && !words.contains("pflash"), "{words}");
        assert!(words.contains("ifname=p1") && words.contains("-m 256"), "{words}");
    }
}
