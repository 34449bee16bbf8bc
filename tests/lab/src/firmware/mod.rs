//! `lab firmware`: one virtual machine after the other, each with other firmware or in another network, from power on
//! to the report of its first process; and the table of what came out.
//!
//! Every cell has a daemon, a site and a machine of its own, and nothing is shared but the bridge.

mod cell;
pub(crate) mod guest;
mod ipv6_wait;
pub(crate) mod payload;
mod plain_rom;
mod secure;
pub(crate) mod site;
mod two_cards;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hardware::MacAddr;
use nix::unistd::geteuid;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::cell::Kind;
use self::cell::{Cell, Network};
use self::ipv6_wait::{Ear, Wait};
use self::payload::{Payload, REPORT};
use self::plain_rom::PlainRom;
use self::secure::{SECURE, Signer};
use crate::daemon::{self, Daemon, Form};
use crate::others::{self, shell};
use crate::process::{Launcher, Process, Start, last_lines};
use crate::programs::Programs;
use crate::qemu::{Accelerator, Packages, Suite, accelerator, read};
use crate::space;
use crate::wires::{BRIDGE, Wires, port_interface};

/// How many lines of each log a failure shows.
const LAST_LINES: usize = 15;
/// The wire of the machines behind the relay.
const FAR_BRIDGE: &str = "br1";
/// The relay's address on the daemon's wire.
const RELAY_HERE: &str = "10.77.0.3";

/// Arguments of *firmware*.
#[derive(Debug, Args)]
pub(crate) struct Firmware {
    /// Only these cells, as in `ovmf-pxe/proxy`
    cells: Vec<Cell>,
    /// Every cell there is, not only those of every run
    #[arg(long, conflicts_with = "cells")]
    all: bool,
    /// Show that a router advertisement saves iPXE its wait for IPv6, instead of the matrix
    #[arg(long, conflicts_with_all = ["cells", "all"])]
    ipv6_wait: bool,
    /// Show that a machine with two cards is found by the port of either, instead of the matrix
    #[arg(long, conflicts_with_all = ["cells", "all", "ipv6_wait"])]
    two_cards: bool,
    /// Give a machine so many seconds from power on to its report
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Take `ichord` from beside the lab's own program instead of building it
    #[arg(long)]
    no_build: bool,
}

/// What all cells share.
struct Kit {
    accelerator: Accelerator,
    payloads: BTreeMap<&'static str, Payload>,
    /// the certificate that Secure Boot trusts, and the image that its key signed
    signed: Option<(Vec<u8>, Vec<u8>)>,
    bootloaders: Vec<(String, Vec<u8>)>,
}

/// Boots the cells, one after the other. True when every one of them reported.
pub(crate) fn run(arguments: &Firmware) -> Result<bool> {
    if !geteuid().is_root() {
        bail!("the firmware matrix needs root: QEMU's network cards are the kernel's business");
    }
    let programs = if arguments.no_build { Programs::already_built()? } else { Programs::build()? };
    let cells = match (&arguments.cells[..], arguments.all) {
        ([], false) => Cell::usual(),
        ([], true) => Cell::all(),
        (cells, _) => cells.to_vec(),
    };
    // downloads, so before the network is left behind
    let kit = Kit::assemble(&cells)?;
    space::tell(async |folder| {
        let wires = Wires::open()?;
        wires.lay_bridge().await?;
        println!("accelerator {}", kit.accelerator.name());
        let lab = Lab { programs: &programs, kit: &kit, wires: &wires, patience: arguments.patience() };
        Ok(match arguments {
            Firmware { ipv6_wait: true, .. } => lab.ipv6_wait(folder).await,
            Firmware { two_cards: true, .. } => lab.two_cards(folder).await,
            _ => lab.matrix(folder, &cells).await,
        })
    })
}

impl Firmware {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl Kit {
    fn assemble(cells: &[Cell]) -> Result<Self> {
        let packages = Packages::open()?;
        let ipxe = packages.unpacked("ipxe", Suite::Trixie)?.join("usr/lib/ipxe");
        let mut bootloaders = Vec::new();
        for file in ["undionly.kpxe", "snponly.efi", "ipxe-amd64.efi", "ipxe-arm64.efi"] {
            bootloaders.push((file.to_owned(), read(&ipxe.join(file))?));
        }
        let mut payloads = BTreeMap::new();
        payloads.insert("amd64", Payload::assemble(&packages, Suite::Own, "amd64")?);
        if cells.iter().any(|cell| cell.kind == Kind::Arm64) {
            payloads.insert("arm64", Payload::assemble(&packages, Suite::Arm64, "arm64")?);
        }
        let scratch = tempfile::tempdir().context("cannot make a folder for the probe")?;
        let kernel = payloads.get("amd64").map(|payload| payload.kernel.as_slice()).unwrap_or_default();
        let accelerator = accelerator(kernel, scratch.path())?;
        let signed = match payloads.get("amd64") {
            Some(payload) if cells.iter().any(|cell| cell.kind == Kind::SecureBoot) => {
                let signer = Signer::make(&packages)?;
                let image = signer
                    .image(payload, &format!("talos.platform=metal {}", site::kernel_args().join(" ")))?;
                Some((signer.certificate, image))
            }
            _ => None,
        };
        Ok(Self { accelerator, payloads, signed, bootloaders })
    }

    fn payload(&self, architecture: &str) -> Result<&Payload> {
        self.payloads.get(architecture).with_context(|| format!("nothing to boot for {architecture}"))
    }
}

/// What all boots share.
struct Lab<'a> {
    programs: &'a Programs,
    kit: &'a Kit,
    wires: &'a Wires,
    patience: Duration,
}

impl Lab<'_> {
    /// Boots the cells, one after the other. True when every one of them reported.
    async fn matrix(&self, folder: &Path, cells: &[Cell]) -> bool {
        let mut results = Vec::new();
        for (number, cell) in (1..).zip(cells) {
            let place = folder.join(cell.to_string().replace('/', "-"));
            let rack = Rack { cell: *cell, number, place: &place, lab: self, advertise: false };
            let result = rack.boot().await;
            match &result {
                Ok(boot) => {
                    println!("ok    {cell}: {:.1} s from power on to the report", boot.took.as_secs_f64())
                }
                Err(error) => println!("FAIL  {cell}: {error:#}"),
            }
            results.push((*cell, result.ok().map(|boot| boot.took)));
        }
        print!("\n{}", table(&results));
        results.iter().all(|(_, took)| took.is_some())
    }

    /// One machine in two ports.
    async fn two_cards(&self, folder: &Path) -> bool {
        let what = "a machine with two cards is found by the port of the one that it did not start from";
        match two_cards::boot(self, folder).await {
            Ok(took) => println!("ok    {what}: {:.1} s from power on to the report", took.as_secs_f64()),
            Err(ref error) => {
                println!("FAIL  {what}: {error:#}");
                return false;
            }
        }
        true
    }

    /// One machine twice: without and with a router advertisement.
    async fn ipv6_wait(&self, folder: &Path) -> bool {
        let shown = async {
            let mut waits = Vec::new();
            for (number, advertise) in [(1, false), (2, true)] {
                let place = folder.join(if advertise { "advertised" } else { "silent" });
                let cell = Cell { kind: Kind::SeaBios, network: Network::Authoritative };
                let rack = Rack { cell, number, place: &place, lab: self, advertise };
                let wait = rack.boot().await?.wait?;
                println!("{} router advertisement: {wait}", if advertise { "with a" } else { "without a" });
                waits.push(wait);
            }
            let [silent, advertised] = waits[..] else { bail!("two boots are two waits") };
            ipv6_wait::judge(silent, advertised)
        };
        match shown.await {
            Ok(()) => println!("ok    a router advertisement saves iPXE its wait for IPv6"),
            Err(ref error) => {
                println!("FAIL  a router advertisement saves iPXE its wait for IPv6: {error:#}");
                return false;
            }
        }
        true
    }
}

/// What came out of one boot.
struct Boot {
    took: Duration,
    wait: Result<Wait>,
}

/// As it came out, in Markdown.
fn table(results: &[(Cell, Option<Duration>)]) -> String {
    let mut text = String::from("| firmware |");
    for network in Network::ALL {
        // writing to a String cannot fail
        write!(text, " {} |", network.title()).ok();
    }
    text += &format!("\n|---|{}\n", "---|".repeat(Network::ALL.len()));
    for kind in Kind::ALL {
        let of = |network| results.iter().find(|(cell, _)| cell.kind == kind && cell.network == network);
        if Network::ALL.into_iter().all(|network| of(network).is_none()) {
            continue;
        }
        text += &format!("| {} |", kind.title());
        for network in Network::ALL {
            text += &match of(network) {
                Some((_, Some(took))) => format!(" {:.1} s |", took.as_secs_f64()),
                Some((_, None)) => " failed |".to_owned(),
                None => " not run |".to_owned(),
            };
        }
        text.push('\n');
    }
    text
}

/// One cell's machine, its daemon, and who else is on the wire.
struct Rack<'a> {
    cell: Cell,
    number: u8,
    place: &'a Path,
    lab: &'a Lab<'a>,
    advertise: bool,
}

impl Rack<'_> {
    /// From power on to the report; everything that was started is ended.
    async fn boot(&self) -> Result<Boot> {
        let make = |name: &str| {
            let path = self.place.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make {}", path.display()))
                .map(|()| path)
        };
        let (site, state, logs) = (make("site")?, make("state")?, make("logs")?);
        let launcher = Launcher { lab: self.lab.programs.lab.clone(), logs };
        let mac = MacAddr([0x52, 0x54, 0x00, 0x77, 0x01, self.number]);
        let architecture = if self.cell.kind == Kind::Arm64 { "arm64" } else { "amd64" };
        let payload = self.lab.kit.payload(architecture)?;
        let signed = self.lab.kit.signed.as_ref().filter(|_| self.cell.kind == Kind::SecureBoot);
        let image = signed.map(|(_, image)| image.as_slice());
        site::write(&site, self.cell, self.advertise, mac, payload, image, &self.lab.kit.bootloaders)?;

        let other = match self.cell.network {
            Network::Authoritative => None,
            Network::Proxy => Some(others::dnsmasq(&launcher, self.lab.wires, self.place, mac.0[5]).await?),
            Network::Relayed => Some(self.relay(&launcher, mac).await?),
        };
        let mut daemon = Daemon::new(
            launcher.clone(),
            self.lab.programs.ichord.clone(),
            site.clone(),
            Form::Plain { state, ledger: None },
        );
        daemon.prepare().await?;
        if self.cell.kind == Kind::Usb {
            make_stick(self.lab.programs, &site, self.place).await?;
        }
        daemon.start()?;
        daemon.ready().await?;

        let tap = port_interface(usize::from(self.number));
        ip(&["tuntap", "add", "dev", &tap, "mode", "tap"]).await?;
        match self.cell.network {
            Network::Authoritative | Network::Proxy => self.lab.wires.attach(&tap).await?,
            Network::Relayed => ip(&["link", "set", &tap, "master", FAR_BRIDGE, "up"]).await?,
        }
        let _card = match self.cell.kind {
            Kind::Undionly => Some(PlainRom::plug(&tap).await?),
            _ => None,
        };
        let ear = Ear::at(&tap)?;
        let trusted = signed.map(|(certificate, _)| certificate.as_slice());
        let command =
            guest::command(self.cell.kind, self.lab.kit.accelerator, &tap, mac, self.place, trusted)?;
        let (lines, said) = mpsc::unbounded_channel();
        let began = Instant::now();
        let start =
            Start { name: "machine".to_owned(), network: None, card: None, command, environment: Vec::new() };
        let mut machine = launcher.start(start, Some(lines))?;
        let report = format!("{REPORT} {mac}");
        let result = reported(said, &report, began + self.lab.patience).await.map(|()| began.elapsed());

        machine.crash().await.ok();
        daemon.process()?.stop().await.ok();
        if let Some((mut dnsmasq, _network)) = other {
            dnsmasq.crash().await.ok();
            ip(&["link", "del", "other"]).await.ok();
            ip(&["link", "del", FAR_BRIDGE]).await.ok();
        }
        ip(&["link", "del", &tap]).await?;
        let result = result.and_then(|took| self.came_by_its_own_way(&launcher).map(|()| took));
        if result.is_err() {
            for name in ["machine", daemon::NAME] {
                println!("--- the last lines of {name}:");
                for line in last_lines(&launcher.log(name), LAST_LINES) {
                    println!("{line}");
                }
            }
        }
        Ok(Boot { took: result?, wait: ear.wait().await })
    }

    /// Firmware that could have booted in two ways must have taken the one that its cell is about.
    fn came_by_its_own_way(&self, launcher: &Launcher) -> Result<()> {
        let log = fs::read_to_string(launcher.log(daemon::NAME)).context("cannot read the daemon's log")?;
        let by_tftp = log.contains("TFTP transfer done");
        ensure!(
            by_tftp == self.cell.kind.needs_tftp(),
            "the machine reported, but its bootloader {} by TFTP",
            if by_tftp { "came" } else { "did not come" }
        );
        if self.cell.kind == Kind::SecureBoot {
            let console = fs::read(launcher.log("machine")).context("cannot read the machine's console")?;
            ensure!(
                String::from_utf8_lossy(&console).contains(SECURE),
                "the machine reported, but its firmware did not check what it started"
            );
        }
        Ok(())
    }

    /// A router with a relay agent, between the machine's network and the daemon's.
    async fn relay(&self, launcher: &Launcher, mac: MacAddr) -> Result<(Process, crate::process::Network)> {
        let network = launcher.hold_network("relay-network").await?;
        let card = MacAddr([0x52, 0x54, 0x00, 0x77, 0x03, mac.0[5]]);
        self.lab.wires.plug("other", card, network.pid).await?;
        let holder = network.pid.to_string();
        ip(&["link", "add", FAR_BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0"]).await?;
        ip(&["link", "add", "far", "type", "veth", "peer", "name", "eth1", "netns", &holder]).await?;
        ip(&["link", "set", "far", "master", FAR_BRIDGE, "up"]).await?;
        ip(&["link", "set", FAR_BRIDGE, "up"]).await?;
        ip(&["route", "replace", "10.78.0.0/24", "via", RELAY_HERE]).await?;
        let server = crate::wires::HOST.0;
        let script = format!(
            "ip addr add {RELAY_HERE}/24 dev eth0 && ip link set eth0 up && \
             ip addr add {}/24 dev eth1 && ip link set eth1 up && echo 1 >/proc/sys/net/ipv4/ip_forward && \
             exec dnsmasq --keep-in-foreground --conf-file=/dev/null --log-facility=- --log-dhcp --user=root \
             --group=root --pid-file= --port=0 --dhcp-relay={},{server}",
            site::RELAY,
            site::RELAY
        );
        Ok((launcher.start(shell("dnsmasq", network.pid, script), None)?, network))
    }
}

/// Waits for the machine's word.
pub(crate) async fn reported(
    mut said: mpsc::UnboundedReceiver<(String, String)>,
    report: &str,
    deadline: Instant,
) -> Result<()> {
    loop {
        match timeout_at(deadline, said.recv()).await {
            Ok(Some((_, line))) if line.contains(report) => return Ok(()),
            Ok(Some(_)) => {}
            Ok(None) => bail!("the machine went off without a report"),
            Err(_) => bail!("no report in time"),
        }
    }
}

/// As a user makes it.
async fn make_stick(programs: &Programs, site: &Path, place: &Path) -> Result<()> {
    let output = Command::new(&programs.ichord)
        .args(["images", "usb"])
        .arg(site)
        .arg("--out")
        .arg(place.join(guest::STICK))
        .output()
        .await
        .context("cannot start ichord")?;
    ensure!(output.status.success(), "no stick: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

pub(crate) async fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).output().await.context("cannot start ip")?;
    ensure!(
        output.status.success(),
        "`ip {}` failed on {BRIDGE}'s network: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_came_out() {
        let cell = |name: &str| name.parse::<Cell>().unwrap();
        let results = [
            (cell("seabios/authoritative"), Some(Duration::from_millis(9_230))),
            (cell("ovmf-http/proxy"), None),
        ];
        let expected = "| firmware | authoritative | proxy beside dnsmasq | relayed |\n|---|---|---|---|\n\
                        | SeaBIOS, iPXE in the card's ROM | 9.2 s | not run | not run |\n\
                        | OVMF, HTTP Boot | not run | failed | not run |\n";
        assert_eq!(table(&results), expected);
    }
}
