//! The same with everything real but Talos: SeaBIOS, iPXE in the card's ROM, the image that `ichord images discovery`
//! makes of a Debian kernel, and kexec into the payload of the firmware matrix.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deafen;
use crate::daemon::{self, Daemon, Form};
use crate::firmware::payload::{Payload, REPORT};
use crate::firmware::{Kind, guest, ip, reported, site as matrix};
use crate::plan;
use crate::process::{Launcher, Start, last_lines};
use crate::programs::Programs;
use crate::qemu::{Accelerator, Packages, Suite, accelerator, read};
use crate::site::{self, Flavour, ImageFiles};
use crate::wires::Wires;
use crate::{space, switch};

/// On a busy machine an emulated processor takes minutes for what takes seconds.
const PATIENCE: Duration = Duration::from_secs(900);
/// The image with all its drivers lies in memory twice for a moment, and so does what comes after it.
const MEMORY_MIB: &str = "768";
const NAME: &str = "machine";
const LAST_LINES: usize = 60;

/// What is fetched before the network is left behind.
pub(super) struct Kit {
    agent: PathBuf,
    package: PathBuf,
    payload: Payload,
    ipxe: PathBuf,
    accelerator: Accelerator,
    without_kexec: bool,
}

impl Kit {
    pub(super) fn assemble(agent: &Path, generic: bool, without_kexec: bool) -> Result<Self> {
        if !geteuid().is_root() {
            bail!("virtual machines need root: QEMU's network cards are the kernel's business");
        }
        let packages = Packages::open()?;
        let meta = if generic { "linux-image-amd64" } else { "linux-image-cloud-amd64" };
        let package = packages.archive(&packages.behind(meta, "linux-image-", Suite::Own)?)?;
        let payload = Payload::assemble(&packages, Suite::Own, "amd64")?;
        let scratch = tempfile::tempdir().context("cannot make a folder for the probe")?;
        Ok(Self {
            agent: agent.canonicalize().with_context(|| format!("cannot find {}", agent.display()))?,
            package,
            accelerator: accelerator(&payload.kernel, scratch.path())?,
            payload,
            ipxe: packages.unpacked("ipxe", Suite::Trixie)?.join("usr/lib/ipxe"),
            without_kexec,
        })
    }
}

pub(super) async fn judge(programs: &Programs, kit: &Kit, folder: &Path) -> Result<()> {
    let place = |name| space::place(folder, name);
    let (site, state, logs, own) = (place("site")?, place("state")?, place("logs")?, place("machine")?);
    let launcher = Launcher { lab: programs.lab.clone(), logs };
    // the second port's node: the first one stays empty, and nothing but the port tells them apart
    let plan = plan::machines(1, 1);
    let machine = &plan[1];
    write_site(kit, &site, &plan)?;
    let made = Instant::now();
    make_image(programs, kit, &site).await?;
    println!("image made in {:.1} s", made.elapsed().as_secs_f64());

    let wires = Wires::open()?;
    wires.lay_bridge().await?;
    for machine in &plan {
        ip(&["tuntap", "add", "dev", &machine.interface, "mode", "tap"]).await?;
        wires.attach(&machine.interface).await?;
    }
    let stop = CancellationToken::new();
    let _switch_stops = stop.clone().drop_guard();
    switch::speak(&plan, &wires, &stop).await?;
    let mut daemon =
        Daemon::new(launcher.clone(), programs.ichord.clone(), site, Form::Plain { state, ledger: None });
    daemon.prepare().await?;
    daemon.start()?;
    daemon.ready().await?;

    let mac = machine.mac;
    let mut command = guest::command(Kind::SeaBios, kit.accelerator, &machine.interface, mac, &own, None)?;
    let memory = command.iter().position(|word| word == "-m").context("QEMU's memory")?;
    MEMORY_MIB.clone_into(&mut command[memory + 1]);
    // where kexec is judged, QEMU ends when its machine is reset: no report could come by way of the firmware
    if kit.without_kexec {
        command.retain(|word| word != "-no-reboot");
    }
    let (lines, said) = mpsc::unbounded_channel();
    let start = Start { name: NAME.to_owned(), network: None, card: None, command, environment: Vec::new() };
    let began = Instant::now();
    let mut process = launcher.start(start, Some(lines))?;
    let result = reported(said, &format!("{REPORT} {mac}"), began + PATIENCE).await;
    let took = began.elapsed();
    process.crash().await.ok();
    let status = daemon.status().await;
    daemon.process()?.stop().await.ok();
    if let Err(error) = result {
        for name in [NAME, daemon::NAME] {
            println!("--- the last lines of {name}:");
            last_lines(&launcher.log(name), LAST_LINES).iter().for_each(|line| println!("{line}"));
        }
        return Err(error);
    }
    let console = String::from_utf8_lossy(&read(&launcher.log(NAME))?).into_owned();
    let heard = format!("{mac} hears {}, port {}", plan::SWITCH, machine.port);
    let goes_on = if kit.without_kexec { "starts anew: " } else { "goes on with /assets/" };
    for wanted in [heard.as_str(), goes_on] {
        ensure!(console.contains(wanted), "the machine reported, but its console has no {wanted:?}");
    }
    let nodes = status.context("the daemon does not answer")?.view.nodes;
    let holds = |name: &str| nodes.get(&name.into()).is_some_and(|node| node.macs.contains(&mac));
    ensure!(holds(&machine.name), "the machine is not {}: {nodes:#?}", machine.name);
    let way = if kit.without_kexec { "its firmware again" } else { "kexec" };
    println!("by SeaBIOS, LLDP and {way} in {:.1} s from power on to the report", took.as_secs_f64());
    Ok(())
}

fn write_site(kit: &Kit, site: &Path, plan: &[plan::Machine]) -> Result<()> {
    let forbidden = kit.without_kexec.then(|| "sysctl.kernel.kexec_load_disabled=1".to_owned());
    let flavour = Flavour {
        disk_model: "*".to_owned(),
        card: crate::wires::CARD.to_owned(),
        kernel_args: matrix::kernel_args().into_iter().chain(forbidden).collect(),
        dhcp: site::Dhcp::Ours,
    };
    site::write(site, plan, &flavour)?;
    deafen(&site.join("ichord.yaml"), "machine")?;
    let files = ImageFiles {
        kernel: kit.payload.kernel.clone(),
        initramfs: kit.payload.initramfs.clone(),
        cmdline: "talos.platform=metal".to_owned(),
        ipxe_bios: read(&kit.ipxe.join("undionly.kpxe"))?,
        ipxe_efi: read(&kit.ipxe.join("snponly.efi"))?,
    };
    site::write_images(&site.join("images"), &files)
}

/// As a user makes it, of a package that was brought along.
async fn make_image(programs: &Programs, kit: &Kit, site: &Path) -> Result<()> {
    let output = Command::new(&programs.ichord)
        .args(["images", "discovery"])
        .arg(site)
        .arg("--package")
        .arg(&kit.package)
        .args(["--sha256", &hex::encode(Sha256::digest(read(&kit.package)?)), "--agent"])
        .arg(&kit.agent)
        .output()
        .await
        .context("cannot start ichord")?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "no image: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
