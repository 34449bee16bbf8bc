//! `lab firmware --two-cards`: a machine with a card in each of two switch ports, started by the first one, whose place
//! is the port of the second.
//!
//! Nobody but iPXE tells where it is plugged in, so that it comes to its report only if every card's port was told.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hardware::MacAddr;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cell::Kind;
use super::payload::REPORT;
use super::{Lab, guest, ip, make_stick, reported, site as matrix};
use crate::daemon::{self, Daemon, Form};
use crate::plan::{self, Machine, SWITCH};
use crate::process::{Launcher, Start, last_lines};
use crate::site::{self, Flavour, ImageFiles};
use crate::switch;
use crate::wires::CARD;

const NAME: &str = "machine";
const LAST_LINES: usize = 15;

/// From power on to the report.
pub(super) async fn boot(lab: &Lab<'_>, folder: &Path) -> Result<Duration> {
    let make = |name: &str| {
        let path = folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display())).map(|()| path)
    };
    let (site, state, logs, own) = (make("site")?, make("state")?, make("logs")?, make("machine")?);
    let launcher = Launcher { lab: lab.programs.lab.clone(), logs };
    // the last port belongs to nobody: the first card is in it, and the second one in the port of the second node
    let ports = plan::machines(1, 2);
    let [first, second, nobody] = &ports[..] else { anyhow::bail!("three ports") };
    write_site(lab, &site, &[first.clone(), second.clone()])?;
    for port in [second, nobody] {
        ip(&["tuntap", "add", "dev", &port.interface, "mode", "tap"]).await?;
        lab.wires.attach(&port.interface).await?;
    }
    let stop = CancellationToken::new();
    let _switch_stops = stop.clone().drop_guard();
    switch::speak(&[second.clone(), nobody.clone()], lab.wires, &stop).await?;
    let form = Form::Plain { state, ledger: None };
    let mut daemon = Daemon::new(launcher.clone(), lab.programs.ichord.clone(), site.clone(), form);
    daemon.prepare().await?;
    make_stick(lab.programs, &site, &own).await?;
    daemon.start()?;
    daemon.ready().await?;

    let macs = [MacAddr([0x52, 0x54, 0, 0x77, 4, 1]), MacAddr([0x52, 0x54, 0, 0x77, 4, 2])];
    let mut command = guest::command(Kind::Usb, lab.kit.accelerator, &nobody.interface, macs[0], &own, None)?;
    command.extend([
        "-netdev".to_owned(),
        format!("tap,id=second,ifname={},script=no,downscript=no", second.interface),
        "-device".to_owned(),
        format!("virtio-net-pci,netdev=second,mac={},romfile=", macs[1]),
    ]);
    let (lines, said) = mpsc::unbounded_channel();
    let began = Instant::now();
    let start = Start { name: NAME.to_owned(), network: None, card: None, command, environment: Vec::new() };
    let mut machine = launcher.start(start, Some(lines))?;
    let result = reported(said, REPORT, began + lab.patience).await.map(|()| began.elapsed());
    let seen = daemon.seen_of(&second.name).await;
    machine.crash().await.ok();
    daemon.process()?.stop().await.ok();
    for port in [second, nobody] {
        ip(&["link", "del", &port.interface]).await?;
    }
    let result = result.and_then(|took| both_told(&seen?, second, nobody).map(|()| took));
    if result.is_err() {
        for name in [NAME, daemon::NAME] {
            println!("--- the last lines of {name}:");
            last_lines(&launcher.log(name), LAST_LINES).iter().for_each(|line| println!("{line}"));
        }
    }
    result
}

fn both_told(seen: &[String], second: &Machine, nobody: &Machine) -> Result<()> {
    for port in [second, nobody] {
        let port = format!(" on {SWITCH}/{}", port.port);
        let told = seen.iter().any(|line| line.starts_with("iPXE: ") && line.contains(&port));
        ensure!(told, "iPXE told nobody about the card{port}: {seen:#?}");
    }
    Ok(())
}

/// Two nodes known by ports that nobody but the machine can tell.
fn write_site(lab: &Lab<'_>, folder: &Path, plan: &[Machine]) -> Result<()> {
    let flavour = Flavour {
        disk_model: "*".to_owned(),
        card: CARD.to_owned(),
        kernel_args: matrix::kernel_args().into(),
        dhcp: site::Dhcp::Ours,
    };
    site::write(folder, plan, &flavour)?;
    let path = folder.join("ichord.yaml");
    let text = fs::read_to_string(&path).context("the site cannot be read")?;
    let mut written: Value = serde_json::from_str(&text).context("the site is not JSON")?;
    written["switches"] = json!([]);
    written["trust"] = json!("machine");
    fs::write(&path, format!("{written:#}\n")).context("the site cannot be written")?;
    let payload = lab.kit.payload("amd64")?;
    let images = folder.join("images");
    let files = ImageFiles {
        kernel: payload.kernel.clone(),
        initramfs: payload.initramfs.clone(),
        cmdline: "talos.platform=metal".to_owned(),
        ipxe_bios: Vec::new(),
        ipxe_efi: Vec::new(),
    };
    site::write_images(&images, &files)?;
    matrix::put_listed(&images.join("ipxe"), &lab.kit.bootloaders)
}
