//! The machine as firmware: DHCP, the first file, iPXE's script, kernel and initramfs.
//!
//! A discovery image is not simulated: the parts of the real one run here, in the machine's place.
//!
//! UEFI HTTP Boot fetches iPXE and starts it; with `uefi` and `bios` iPXE is in the NIC's ROM. One attempt is
//! one call of [`attempt`]; it is cancel-safe, as a reset button is.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use boot::discovery::{Errand, Next, Report};
use discovery::listening::Card;
use hardware::{Firmware, Inventory};
use serde_json::json;

use super::{
    client,
    dhcp::{Asker, Speaker},
    events::Events,
    http,
    ipxe::{Boot, Ipxe, Settings, Step},
    link::Link,
    lldp,
    world::World,
};
use crate::model::{Image, Instruction};

/// How iPXE's seconds pass on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Second(pub(super) Duration);

/// The firmware's parts.
pub(super) struct Firm {
    pub(super) world: Arc<World>,
    pub(super) link: Link,
    pub(super) events: Events,
    pub(super) second: Second,
}

/// Asks the network what to boot. Every failure is the same to a firmware: nothing.
pub(super) async fn attempt(firm: &Firm) -> Instruction {
    loop {
        match try_once(firm).await {
            Ok(Some(instruction)) => return instruction,
            // what the network gave it started the machine anew
            Ok(None) => firm.events.say("starts-anew", json!({})),
            Err(error) => {
                firm.events.say("boot-failed", json!({ "reason": format!("{error:#}") }));
                return Instruction::Nothing;
            }
        }
    }
}

async fn try_once(firm: &Firm) -> anyhow::Result<Option<Instruction>> {
    let hardware = firm.world.look(|machine| machine.hardware().clone());
    let kind = hardware.firmware;
    if kind.boots_by_http() {
        let lease = dhcp(firm, Speaker::UefiHttp, 0).await?;
        let url = lease.file.ok_or_else(|| anyhow!("the offer names nothing to boot"))?;
        let promised = http::head(&url, http::UEFI).await?;
        let fetched = http::file(&url, http::UEFI).await?;
        anyhow::ensure!(fetched.size == promised && promised > 0, "{url}: GET and HEAD differ");
        firm.events.say("boot-file", json!({ "url": url, "size": fetched.size }));
    }
    let (speaker, platform) = match kind {
        Firmware::Bios => (Speaker::IpxeBios, "pcbios"),
        _ => (Speaker::IpxeEfi, "efi"),
    };
    // only UEFI builds listen; the interface is open from here on
    let neighbour = if platform == "efi" { Some(lldp::listen(&firm.link)?) } else { None };
    let lease = dhcp(firm, speaker, 4).await?;
    let url = lease.file.ok_or_else(|| anyhow!("the offer to iPXE names no script"))?;
    let mut ipxe = Ipxe::new(Settings::new(firm.link.mac, hardware.uuid, &hardware.serial, platform));
    ipxe.settings.lease = Some((lease.address, lease.gateway));
    script(firm, &mut ipxe, &url).await;
    loop {
        if let Some(neighbour) = &neighbour {
            ipxe.settings.neighbour.clone_from(&neighbour.borrow());
        }
        match ipxe.step() {
            Step::Sleep(seconds) => tokio::time::sleep(firm.second.0 * u32::try_from(seconds)?).await,
            Step::Script(url) => script(firm, &mut ipxe, &url).await,
            Step::Image(url) => match http::file(&url, http::IPXE).await {
                Ok(fetched) => {
                    firm.events.say(
                        "downloaded",
                        json!({ "url": url, "size": fetched.size, "sha256": fetched.digest }),
                    );
                    ipxe.image(&fetched.digest, fetched.promised.as_deref());
                }
                Err(error) => ipxe.failed(&format!("{error:#}")),
            },
            Step::Echo(text) => firm.events.say("echo", json!({ "text": text })),
            Step::Boot(boot) => {
                return match Errand::read(&boot.cmdline) {
                    Ok(errand) => find_out(firm, &errand).await?.map(instruction).transpose(),
                    Err(_) => instruction(boot).map(Some),
                };
            }
            Step::SanBoot if firm.world.look(|machine| machine.storage().system.is_some()) => {
                return Ok(Some(Instruction::LocalDisk));
            }
            Step::SanBoot => ipxe.failed("no boot loader on the disk"),
            Step::Exit => return Ok(Some(Instruction::LocalDisk)),
            Step::Failed(why) => return Err(anyhow!(why)),
        }
    }
}

/// What the discovery image does once its drivers are loaded and its links are up; what it starts at the end.
async fn find_out(firm: &Firm, errand: &Errand) -> anyhow::Result<Option<Boot>> {
    let hardware = firm.world.look(|machine| machine.hardware().clone());
    firm.events.say("discovery", json!({}));
    let cards = [Card { name: firm.link.name.clone(), mac: firm.link.mac }];
    let listens = firm.second.0 * u32::try_from(errand.listen.as_secs())?;
    let mut notes = Vec::new();
    let neighbours = discovery::listen::listen(&cards, Some(hardware.uuid), listens, &mut notes).await?;
    let heard: Vec<String> =
        neighbours.iter().filter_map(|heard| heard.port.as_ref().map(ToString::to_string)).collect();
    firm.events.say("discovered", json!({ "ports": heard }));
    let inventory = Inventory {
        uuid: Some(hardware.uuid),
        serial: Some(hardware.serial),
        links: vec![hardware::Link { name: firm.link.name.clone(), mac: firm.link.mac, up: true }],
        disks: hardware.disks,
    };
    let report = Report { inventory, neighbours, kexec: true, notes };
    match discovery::http::report(errand, &report).await? {
        Next::Reboot { reason } => {
            firm.events.say("echo", json!({ "text": reason }));
            Ok(None)
        }
        Next::Kexec { kernel, initramfs, cmdline } => {
            let folder = tempfile::tempdir()?;
            for file in [&kernel, &initramfs] {
                discovery::http::fetch(errand, file, &folder.path().join("file")).await?;
            }
            firm.events.say("kexec", json!({ "kernel": kernel.path }));
            Ok(Some(Boot { kernel: kernel.path, cmdline, initrds: vec![initramfs.path], intact: true }))
        }
    }
}

async fn script(firm: &Firm, ipxe: &mut Ipxe, url: &str) {
    match http::text(url, http::IPXE).await {
        Ok(text) => {
            firm.events.say("boot-script", json!({ "url": url }));
            ipxe.script(&text);
        }
        Err(error) => ipxe.failed(&format!("{error:#}")),
    }
}

/// Gets an address, sets it, and says so.
async fn dhcp(firm: &Firm, speaker: Speaker, secs: u16) -> anyhow::Result<client::Lease> {
    let uuid = firm.world.look(|machine| machine.hardware().uuid);
    let asker = Asker { speaker, mac: firm.link.mac, uuid, xid: fresh_transaction()?, secs };
    let lease = client::lease(&firm.link, asker, true).await?;
    firm.link.set_address(lease.address, lease.gateway).await?;
    let (address, file) = (lease.address.addr(), lease.file.clone());
    firm.events.say("dhcp-bound", json!({ "by": format!("{speaker:?}"), "address": address, "file": file }));
    Ok(lease)
}

/// A transaction id from the system's randomness.
pub(super) fn fresh_transaction() -> anyhow::Result<u32> {
    let id = uuid::Uuid::new_v4();
    let (first, ..) = id.as_fields();
    Ok(first)
}

/// What was fetched, as the model wants it: images lie in `…/<schematic>/<version>/<file>`.
fn instruction(boot: Boot) -> anyhow::Result<Instruction> {
    let mut parts = boot.kernel.rsplit('/').skip(1).map(str::to_owned);
    let version = parts.next().context("the kernel's URL names no version")?;
    let schematic = parts.next().filter(|part| part.len() == 64);
    let image = Image { schematic, version };
    Ok(Instruction::Talos { image, cmdline: boot.cmdline, intact: boot.intact && !boot.initrds.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_named_by_the_kernels_url() {
        let schematic = "3".repeat(64);
        let boot =
            |kernel: String| Boot { kernel, cmdline: "a".into(), initrds: vec!["i".into()], intact: true };
        let url = format!("http://10.0.0.1/images/{schematic}/v1.13.9/kernel-amd64");
        let expected = Image { schematic: Some(schematic), version: "v1.13.9".into() };
        let Instruction::Talos { image, intact: true, .. } = instruction(boot(url)).unwrap() else {
            panic!()
        };
        assert_eq!(image, expected);
        let Instruction::Talos { image, .. } =
            instruction(boot("http://10.0.0.1/a/v1/kernel".into())).unwrap()
        else {
            panic!()
        };
        assert_eq!(image.schematic, None);
    }
}
