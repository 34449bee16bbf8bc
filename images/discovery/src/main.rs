//! The first process of the discovery image.
//!
//! Drivers, links, the address that iPXE had; then it listens, reports once, and starts what the daemon names, or the
//! firmware again. The console is all it has to say what went wrong, and a machine is never left standing: whatever
//! happens, it starts anew. The kernel calls the same program as `modprobe`, for drivers that ask for others.

use std::{
    env, fs,
    fs::File,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use boot::discovery::{Errand, Next, Report};
use discovery::{
    hardware::{cards, inventory},
    http, listen,
    modules::{Drivers, FOLDER},
};
use net::{ethtool, interface::Interface, kexec};
use nix::{
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};

/// For a person to read what went wrong.
const BEFORE_REBOOT: Duration = Duration::from_secs(10);
/// For the card that iPXE used to appear, behind however slow a driver.
const CARD_PATIENCE: Duration = Duration::from_secs(60);
/// In memory, where the initial RAM disk is.
const KERNEL: &str = "/run/kernel";
const INITRAMFS: &str = "/run/initramfs";
/// `modprobe -q -- ALIAS`
const QUIET: [&str; 2] = ["-q", "--"];

fn main() {
    if std::process::id() != 1 {
        probe();
        return;
    }
    let mode = match go().context("the discovery image gives up") {
        Ok(mode) => mode,
        Err(error) => {
            say(&format!("{error:#}; starting anew in {} s", BEFORE_REBOOT.as_secs()));
            thread::park_timeout(BEFORE_REBOOT);
            RebootMode::RB_AUTOBOOT
        }
    };
    nix::unistd::sync();
    let Err(error) = reboot(mode);
    say(&format!("cannot {mode:?}: {error}"));
    // the kernel's panic= starts the machine anew when its first process ends
}

/// By way of the kernel's log, which goes to every console: to the screen and to the serial line.
fn say(line: &str) {
    let line = format!("ichord-discovery: {line}\n");
    if fs::write("/dev/kmsg", format!("<4>{line}")).is_err() {
        print!("{line}");
    }
}

/// As `modprobe`.
fn probe() {
    let Ok(mut drivers) = Drivers::open(Path::new(FOLDER)) else { return };
    let mut notes = Vec::new();
    for alias in env::args().skip(1).filter(|word| !QUIET.contains(&word.as_str())) {
        drivers.load(&alias, &mut notes);
    }
}

/// All of it; how the machine goes on.
fn go() -> anyhow::Result<RebootMode> {
    for (kind, at) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("securityfs", "/sys/kernel/security")]
    {
        match mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>) {
            // devtmpfs may be there already, and no kernel needs to have security
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(_) if kind == "securityfs" => {}
            Err(error) => return Err(error).with_context(|| format!("cannot mount {at}")),
        }
    }
    let cmdline = fs::read_to_string("/proc/cmdline").context("cannot read the kernel's command line")?;
    let errand = Errand::read(&cmdline)?;
    let mut notes = Vec::new();
    let mut drivers = Drivers::open(Path::new(FOLDER)).context("the image has no drivers")?;
    let until = Instant::now() + CARD_PATIENCE;
    let has_card = || inventory(Path::new("/sys")).has_mac(errand.card);
    loop {
        drivers.for_devices(Path::new("/sys/devices"), &mut notes);
        if has_card() {
            break;
        }
        anyhow::ensure!(Instant::now() < until, "there is no card {}; {}", errand.card, notes.join("; "));
        thread::park_timeout(Duration::from_millis(100));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(find_out(&errand, notes))
}

async fn find_out(errand: &Errand, mut notes: Vec<String>) -> anyhow::Result<RebootMode> {
    let machine = inventory(Path::new("/sys"));
    let cards = cards(&machine);
    for card in &cards {
        match ethtool::turn_off_lldp_agent(&card.name) {
            Ok(true) => notes.push(format!("{}: the LLDP agent in its firmware is off", card.name)),
            Ok(false) => {}
            Err(error) => {
                notes.push(format!("{}: the LLDP agent in its firmware stays on: {error}", card.name))
            }
        }
        if let Err(error) = bring_up(&card.name).await {
            notes.push(format!("{}: {error:#}", card.name));
        }
    }
    let own = cards.iter().find(|card| card.mac == errand.card).context("the card is gone")?;
    address(&own.name, errand).await?;
    say(&format!("listening for LLDP on {} cards for {} s", cards.len(), errand.listen.as_secs()));
    let neighbours = listen::listen(&cards, machine.uuid, errand.listen, &mut notes).await?;
    for heard in &neighbours {
        let port = heard.port.as_ref().map(ToString::to_string).unwrap_or_default();
        let switch = heard.system_name.as_deref().unwrap_or("a switch without a name");
        say(&format!("{} hears {switch}, port {port}", heard.nic));
    }
    // links and disks that came meanwhile
    let inventory = inventory(Path::new("/sys"));
    let report = Report { inventory, neighbours, kexec: kexec::is_allowed(), notes };
    match http::report(errand, &report).await? {
        Next::Reboot { reason } => {
            say(&format!("starts anew: {reason}"));
            Ok(RebootMode::RB_AUTOBOOT)
        }
        Next::Kexec { kernel, initramfs, cmdline } => {
            http::fetch(errand, &kernel, Path::new(KERNEL)).await?;
            http::fetch(errand, &initramfs, Path::new(INITRAMFS)).await?;
            kexec::load(&File::open(KERNEL)?, &File::open(INITRAMFS)?, &cmdline)
                .context("the kernel does not take the next one")?;
            say(&format!("goes on with {}", kernel.path));
            Ok(RebootMode::RB_KEXEC)
        }
    }
}

async fn bring_up(name: &str) -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("no netlink")?;
    let task = tokio::spawn(connection);
    let index = Interface::named(name)?.index;
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(up).execute().await.context("it cannot be brought up")?;
    task.abort();
    Ok(())
}

/// The address that iPXE had, on the card that had it: its lease lasts longer than this takes.
async fn address(name: &str, errand: &Errand) -> anyhow::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("no netlink")?;
    let task = tokio::spawn(connection);
    let index = Interface::named(name)?.index;
    let prefix = u8::try_from(u32::from(errand.netmask).leading_ones()).unwrap_or(32);
    let added = handle.address().add(index, errand.address.into(), prefix).replace().execute().await;
    added.with_context(|| format!("{name} does not take the address {}/{prefix}", errand.address))?;
    if let Some(gateway) = errand.gateway {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(index).build();
        let added = handle.route().add(route).replace().execute().await;
        added.with_context(|| format!("no route by way of {gateway}"))?;
    }
    task.abort();
    Ok(())
}
