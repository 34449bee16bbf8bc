//! Racks the machines: simulated ones in networks of their own, those with real firmware as virtual machines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hardware::LocalBoot;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::args::{Iso, Up};
use crate::kubernetes;
use crate::machines::Machines;
use crate::plan::{FirmwareKind, Machine};
use crate::programs::Programs;
use crate::qemu::{self, Kit};
use crate::site::{self, Dhcp, EXTENSIONS, Flavour, ImageFiles};
use crate::wires::{CARD, Wires};

/// The model of a simulated machine's disk.
const DISK_MODEL: &str = "LAB SSD 512";

/// Writes the site for simulated machines, plugs each in, and racks it, switched off.
pub(crate) async fn simulated(
    machines: &mut Machines,
    plan: &[Machine],
    programs: &Programs,
    wires: &Wires,
    site: &Path,
    disks: &Path,
    up: &Up,
) -> Result<()> {
    let dhcp = match up.iso {
        None => Dhcp::Ours,
        Some(Iso::Authoritative) => Dhcp::OursForAny,
        Some(Iso::Proxy) => Dhcp::Theirs,
    };
    write_simulated_site(site, plan, dhcp)?;
    site::write_images(&site.join("images"), &ImageFiles::stand_ins())?;
    for machine in plan {
        let network = machines.hold_network(&machine.name).await?;
        wires.plug(&machine.interface, machine.mac, network.pid).await?;
        let mut command = command(machine, programs, disks);
        if up.iso.is_some() {
            command.extend(["--iso", site::TALOS].map(str::to_owned));
        }
        if up.kubernetes {
            command.extend(kubernetes::of_machine());
        }
        machines.add(&machine.name, command, Some(network));
    }
    Ok(())
}

/// The site for simulated machines, without its images.
pub(crate) fn write_simulated_site(site: &Path, plan: &[Machine], dhcp: Dhcp) -> Result<()> {
    let flavour = Flavour {
        disk_model: "LAB*".to_owned(),
        card: CARD.to_owned(),
        kernel_args: vec!["console=ttyS0".to_owned()],
        dhcp,
    };
    site::write(site, plan, &flavour)
}

/// Writes the site for virtual machines, gives each a port, and racks it, switched off.
pub(crate) async fn firmware(
    machines: &mut Machines,
    plan: &[Machine],
    kit: &Kit,
    wires: &Wires,
    site: &Path,
    disks: &Path,
) -> Result<()> {
    write_firmware_site(kit, site, plan)?;
    for machine in plan {
        lay_tap(wires, &machine.interface).await?;
        Kit::blank(machine, disks)?;
        machines.add(&machine.name, kit.command(machine, disks), None);
    }
    Ok(())
}

/// The site for virtual machines, with its images.
pub(crate) fn write_firmware_site(kit: &Kit, site: &Path, plan: &[Machine]) -> Result<()> {
    let flavour = Flavour {
        disk_model: qemu::DISK_MODEL.to_owned(),
        card: CARD.to_owned(),
        kernel_args: ["console=ttyS0", qemu::NO_TIMER_CHECK].map(str::to_owned).into(),
        dhcp: Dhcp::Ours,
    };
    site::write(site, plan, &flavour)?;
    site::write_images(&site.join("images"), &kit.images)
}

/// Every machine of the site goes to its own disk in this way.
pub(crate) fn boot_locally_by(way: LocalBoot, site: &Path) -> Result<()> {
    let path = site.join("ichord.yaml");
    let text = fs::read_to_string(&path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    for machine in written["machines"].as_object_mut().into_iter().flat_map(|machines| machines.values_mut())
    {
        machine["local-boot"] = json!(way.name());
    }
    fs::write(&path, format!("{written:#}\n")).context("the site cannot be written")
}

/// A port of the switch that a virtual machine can be plugged into. It stays while the machine is off.
pub(crate) async fn lay_tap(wires: &Wires, port: &str) -> Result<()> {
    // netlink cannot make a tap
    let made = Command::new("ip")
        .args(["tuntap", "add", "dev", port, "mode", "tap"])
        .status()
        .await
        .context("cannot start ip")?;
    ensure!(made.success(), "the port {port} could not be made");
    wires.attach(port).await
}

/// What the power switch of a simulated machine starts.
pub(crate) fn command(machine: &Machine, programs: &Programs, disks: &Path) -> Vec<String> {
    let firmware = match machine.firmware {
        FirmwareKind::Bios => "bios",
        // PXE is real firmware's alone; a simulated UEFI machine has one way
        FirmwareKind::UefiHttp | FirmwareKind::UefiPxe => "uefi-http",
    };
    let disk = disks.join(format!("{}.json", machine.name)).display().to_string();
    let options = [
        ("--interface", CARD.to_owned()),
        ("--mac", machine.mac.to_string()),
        ("--uuid", machine.uuid.clone()),
        ("--serial", machine.serial.clone()),
        ("--name", machine.name.clone()),
        ("--firmware", firmware.to_owned()),
        ("--disk", disk),
        ("--pace", "fast".to_owned()),
        ("--model", DISK_MODEL.to_owned()),
        ("--schematic", format!("{}={}", site::schematic_id(), EXTENSIONS.join(","))),
    ];
    let words = options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    let etcd = programs.etcd.iter().flat_map(|program| ["--etcd".to_owned(), program.display().to_string()]);
    [programs.machine.display().to_string()].into_iter().chain(words).chain(etcd).collect()
}
