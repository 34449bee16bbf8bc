//! Whether the kernel's virtualisation can be used: only a guest that booted proves it.
//!
//! `/dev/kvm` may exist where a guest hangs (nested and paravirtual hosts), so a kernel is booted by OVMF, with the
//! firmware that the real machines use, and has to get as far as its first process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Archive;
use super::guest::{Accelerator, OVMF_CODE, OVMF_SETTINGS, QEMU};

/// A guest with working virtualisation needs two seconds.
const LIMIT: &str = "20";
/// What the kernel says when it is through.
const THROUGH: &str = "Run /nothing as init process";

/// The best accelerator that really works here.
pub(crate) fn accelerator(kernel: &[u8], scratch: &Path) -> Result<Accelerator> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accelerator::Tcg);
    }
    let place = |name: &str| scratch.join(format!("probe.{name}"));
    let (image, initramfs, settings) = (place("kernel"), place("initramfs"), place("settings"));
    fs::write(&image, kernel).context("cannot write the probe's kernel")?;
    // a first process that cannot run: that it was tried is enough
    let mut archive = Archive::default();
    archive.file("nothing", 0o755, b"no program");
    fs::write(&initramfs, archive.finish()).context("cannot write the probe's initramfs")?;
    fs::copy(OVMF_SETTINGS, &settings).context("cannot write the probe's settings")?;
    let output = Command::new("timeout")
        .args(["--kill-after=2", LIMIT, QEMU, "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "512"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"))
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,unit=1,file={}", settings.display()))
        .arg("-kernel")
        .arg(&image)
        .arg("-initrd")
        .arg(&initramfs)
        .args(["-append", "console=ttyS0 panic=-1 rdinit=/nothing"])
        .stdin(Stdio::null())
        .output()
        .context("cannot start timeout")?;
    let works = String::from_utf8_lossy(&output.stdout).contains(THROUGH);
    Ok(if works { Accelerator::Kvm } else { Accelerator::Tcg })
}
