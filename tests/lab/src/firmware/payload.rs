//! What the machines of the matrix boot: Debian's cloud kernel, and a first process that reports and switches off.
//!
//! Small on purpose, so that 256 MiB are enough and a boot is over in seconds.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::qemu::{Archive, Packages, Suite, compressed, find, kernel_module, read};

/// The machine's word that it came all the way: its kernel runs, and what DHCP and the network gave it works.
pub(crate) const REPORT: &str = "ichord-report";
/// The card, in the order in which its drivers need each other.
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

/// Kernel and initramfs of one processor.
pub(crate) struct Payload {
    /// as Talos calls it
    pub(crate) architecture: &'static str,
    pub(crate) kernel: Vec<u8>,
    pub(crate) initramfs: Vec<u8>,
}

impl Payload {
    /// Fetches the packages and packs them.
    pub(crate) fn assemble(packages: &Packages, suite: Suite, architecture: &'static str) -> Result<Self> {
        let meta = format!("linux-image-cloud-{architecture}");
        let linux = packages.behind(&meta, "linux-image-", suite)?;
        let linux = packages.unpacked(&linux, suite)?;
        let busybox = packages.unpacked("busybox-static", suite)?;
        let kernel = read(&find(&linux.join("boot"), |name| name.starts_with("vmlinuz-"))?)?;
        // newer releases have everything below usr
        let modules = ["lib/modules", "usr/lib/modules"].map(|path| linux.join(path));
        let modules = modules.iter().find(|path| path.exists()).context("the kernel has no modules")?;
        Ok(Self { architecture, kernel, initramfs: compressed(&initramfs(&busybox, modules)?)? })
    }
}

fn initramfs(busybox: &Path, modules: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "modules"] {
        archive.folder(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    let program = ["usr/bin/busybox", "bin/busybox"].map(|path| busybox.join(path));
    let program = program.iter().find(|path| path.exists()).context("the package has no busybox")?;
    archive.file("bin/busybox", 0o755, &fs::read(program).context("cannot read busybox")?);
    for (number, name) in MODULES.iter().enumerate() {
        // what the kernel has built in is no module
        if let Ok(bytes) = kernel_module(modules, name) {
            archive.file(&format!("modules/{number:02}-{name}.ko"), 0o644, &bytes);
        }
    }
    archive.file("lease", 0o755, LEASE.as_bytes());
    archive.file("init", 0o755, init().as_bytes());
    Ok(archive.finish())
}

/// What udhcpc calls.
const LEASE: &str = "#!/bin/busybox sh
if [ \"$1\" = bound ]; then
  /bin/busybox ip addr add $ip/$mask dev $interface
  [ -z \"$router\" ] || /bin/busybox ip route add default via $router
fi
";

/// The server's address is on the command line: in a network with two servers DHCP may name the other one.
fn init() -> String {
    format!(
        "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do /bin/busybox insmod $module; done
for word in $(/bin/busybox cat /proc/cmdline); do
  case $word in lab.server=*) server=${{word#lab.server=}} ;; esac
done
/bin/busybox ip link set eth0 up
/bin/busybox udhcpc -f -n -q -i eth0 -t 20 -T 2 -s /lease
if /bin/busybox wget -q -O /dev/null http://$server/boot.ipxe; then
  echo \"{REPORT} $(/bin/busybox cat /sys/class/net/eth0/address)\"
else
  echo \"no way to http://$server/\"
fi
/bin/busybox poweroff -f
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_reports_only_after_it_reached_the_daemon() {
        let script = init();
        let (before, after) = script.split_once(REPORT).unwrap();
        assert!(before.contains("if /bin/busybox wget") && after.contains("poweroff -f"));
        assert!(before.contains("server=${word#lab.server=}"));
    }
}
