//! Racks the machines: simulated ones as processes in networks of their own.

use std::path::Path;

use anyhow::Result;

use crate::machines::Machines;
use crate::plan::{FirmwareKind, Machine};
use crate::programs::Programs;
use crate::site::{self, EXTENSIONS, Flavour, ImageFiles};
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
    seed: u64,
) -> Result<()> {
    let flavour = Flavour {
        disk_model: "LAB*".to_owned(),
        card: CARD.to_owned(),
        kernel_args: vec!["console=ttyS0".to_owned()],
    };
    site::write(site, plan, &flavour)?;
    site::write_images(&site.join("images"), &ImageFiles::stand_ins())?;
    for machine in plan {
        let network = machines.hold_network(&machine.name).await?;
        wires.plug(&machine.interface, machine.mac, network.pid).await?;
        machines.add(&machine.name, command(machine, programs, disks, seed), Some(network));
    }
    Ok(())
}

fn command(machine: &Machine, programs: &Programs, disks: &Path, seed: u64) -> Vec<String> {
    Vec::new()
}
