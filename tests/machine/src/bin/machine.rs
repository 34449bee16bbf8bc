//! One process is one simulated machine in its own network namespace; what it does goes to standard output
//! as JSON lines. SIGTERM is its power switch. As the first process of a kernel (or with `--as-init` alone) it is
//! the system that a real firmware booted; what it then needs it finds by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use hardware::{Firmware, MacAddr, SystemUuid};
use machine::{
    model::{BootOrder, Factory, Hardware, Image, Pace},
    wire::{Medium, Options, Start, init, run},
};
use tokio::signal::unix::{SignalKind, signal};

/// A simulated Talos machine.
#[derive(Parser)]
struct Arguments {
    /// The interface that boots, in this namespace
    #[arg(long)]
    interface: String,
    /// The hardware address it must have
    #[arg(long)]
    mac: Option<MacAddr>,
    /// SMBIOS UUID
    #[arg(long)]
    uuid: SystemUuid,
    /// SMBIOS serial number
    #[arg(long)]
    serial: String,
    /// What the events call this machine; default: the serial number
    #[arg(long)]
    name: Option<String>,
    /// The kind of firmware
    #[arg(long, value_enum)]
    firmware: Kind,
    /// The file that is the disk; a missing one is a blank disk
    #[arg(long)]
    disk: PathBuf,
    /// What the firmware tries first
    #[arg(long, value_enum, default_value_t = Order::NetworkFirst)]
    boot_order: Order,
    /// Talos's own ISO of this version is in the drive: started while the disk is blank, instead of the network
    #[arg(long, value_name = "VERSION", conflicts_with = "boot_order")]
    iso: Option<String>,
    /// How long things take
    #[arg(long, value_enum, default_value_t = Speed::Fast)]
    pace: Speed,
    /// The disk's model
    #[arg(long)]
    model: Option<String>,
    /// A schematic of the image factory and its extensions: ID=siderolabs/lldpd,siderolabs/iscsi-tools
    #[arg(long, value_parser = schematic)]
    schematic: Vec<(String, BTreeSet<String>)>,
    /// A version of Talos that does not come up on it
    #[arg(long, value_name = "VERSION")]
    doomed: Vec<String>,
    /// The real API server to stand in front of as a control plane, instead of imitating one
    #[arg(long, value_name = "ADDRESS:PORT")]
    api_server: Option<SocketAddr>,
    /// The program of a real etcd to run as a control plane, instead of imitating one
    #[arg(long, value_name = "PROGRAM")]
    etcd: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// UEFI HTTP Boot, which fetches iPXE
    UefiHttp,
    /// UEFI with iPXE in the NIC's ROM
    Uefi,
    /// BIOS with iPXE in the NIC's ROM
    Bios,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    NetworkFirst,
    DiskFirst,
}

#[derive(Clone, Copy, ValueEnum)]
enum Speed {
    Fast,
    Real,
}

fn schematic(text: &str) -> Result<(String, BTreeSet<String>), String> {
    let (id, extensions) = text.split_once('=').ok_or("expected ID=EXTENSION,EXTENSION")?;
    let extensions = extensions.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok((id.to_owned(), extensions))
}

fn options(arguments: Arguments) -> anyhow::Result<Options> {
    let interface = net::interface::Interface::named(&arguments.interface)?;
    let mac =
        interface.mac.ok_or_else(|| anyhow::anyhow!("{} is not an Ethernet interface", interface.name))?;
    if let Some(wanted) = arguments.mac
        && wanted != mac
    {
        anyhow::bail!("{} has the address {mac}, not {wanted}", interface.name);
    }
    let mut hardware = Hardware::plain(mac, arguments.uuid, &arguments.serial);
    for link in &mut hardware.links {
        link.name.clone_from(&arguments.interface);
    }
    if let (Some(model), Some(disk)) = (arguments.model, hardware.disks.first_mut()) {
        disk.model = model;
    }
    hardware.firmware = match arguments.firmware {
        Kind::UefiHttp => Firmware::UefiX64Http,
        Kind::Uefi => Firmware::UefiX64,
        Kind::Bios => Firmware::Bios,
    };
    hardware.boot_order = match arguments.boot_order {
        Order::NetworkFirst => BootOrder::NetworkFirst,
        Order::DiskFirst => BootOrder::DiskFirst,
    };
    hardware.iso = arguments.iso.map(|version| Image { schematic: None, version });
    let (pace, second, lldp_every) = match arguments.pace {
        Speed::Fast => (Pace::fast(), Duration::from_millis(200), Duration::from_secs(1)),
        Speed::Real => (Pace::real(), Duration::from_secs(1), Duration::from_secs(30)),
    };
    Ok(Options {
        name: arguments.name.unwrap_or(arguments.serial),
        interface: arguments.interface,
        hardware,
        pace,
        factory: Factory(BTreeMap::from_iter(arguments.schematic)),
        doomed: arguments.doomed.into_iter().collect(),
        disk: Medium::File(arguments.disk),
        start: Start::Firmware,
        second,
        lldp_every,
        api_server: arguments.api_server,
        etcd: arguments.etcd,
    })
}

fn main() -> ExitCode {
    // the kernel gives its first process words of the command line as arguments
    if std::process::id() == 1 || std::env::args().nth(1).is_some_and(|first| first == "--as-init") {
        init::main();
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let options = options(Arguments::parse())?;
            let mut power_switch = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let power = async {
                tokio::select! {
                    _ = power_switch.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            run(options, power).await
        })
    });
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("machine: {error:#}");
            ExitCode::FAILURE
        }
    }
}
