//! The site of one cell: one node, known by its hardware address.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hardware::MacAddr;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cell::{Cell, Network};
use super::payload::Payload;
use crate::site::TALOS;
use crate::wires::{BRIDGE, HOST};

/// What the factory calls an image without anything added.
const PLAIN: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
/// The relay's address among the machines.
pub(crate) const RELAY: &str = "10.78.0.1";

/// What the machine needs to know that an image does not.
///
/// On a busy machine an emulated timer ticks too late for the kernel's check of it, which then gives up.
pub(crate) fn kernel_args() -> [String; 5] {
    let words = ["console=ttyS0", "console=ttyAMA0", "no_timer_check", "panic=-1"].map(str::to_owned);
    let [serial, serial_arm, no_timer_check, panic] = words;
    [serial, serial_arm, no_timer_check, panic, format!("lab.server={}", HOST.0)]
}

/// Writes the folder; secrets are made by `ichord secrets new`.
pub(crate) fn write(
    folder: &Path,
    cell: Cell,
    advertise: bool,
    mac: MacAddr,
    payload: &Payload,
    signed: Option<&[u8]>,
    bootloaders: &[(String, Vec<u8>)],
) -> Result<()> {
    let architecture = payload.architecture;
    // nobody else gives addresses where the daemon is reached through a relay
    let dhcp = if cell.network == Network::Proxy { "proxy" } else { "authoritative" };
    let mut networks = vec![json!({
        "interface": BRIDGE,
        "subnet": format!("10.77.0.0/{}", HOST.1),
        "dhcp": dhcp,
        "gateway": HOST.0,
        "router-advertisement": advertise,
    })];
    if cell.network == Network::Authoritative {
        networks[0]["pool"] = json!("10.77.0.100-10.77.0.199");
    }
    if cell.network == Network::Relayed {
        networks.push(json!({
            "interface": BRIDGE,
            "subnet": "10.78.0.0/24",
            "dhcp": dhcp,
            "relayed": true,
            "pool": "10.78.0.100-10.78.0.199",
            "gateway": RELAY,
        }));
    }
    let node = if cell.network == Network::Relayed { "10.78.0.11" } else { "10.77.0.11" };
    let site = json!({
        "site": "matrix",
        "network": networks,
        "machines": { "cp1": { "mac": mac.to_string() } },
        "trust": "machine",
        "deploy": "auto",
        "images": "images",
        "kernel-args": kernel_args(),
    });
    let talconfig = json!({
        "clusterName": "matrix",
        "talosVersion": TALOS,
        "kubernetesVersion": "v1.36.0",
        "endpoint": format!("https://{node}:6443"),
        "nodes": [{
            "hostname": "cp1",
            "ipAddress": node,
            "controlPlane": true,
            "installDisk": "/dev/sda",
            "machineSpec": { "mode": "metal", "arch": architecture, "secureboot": signed.is_some() },
            "networkInterfaces": [{ "interface": "eth0", "addresses": [format!("{node}/{}", HOST.1)] }],
        }],
    });
    let text = |value: Value| format!("{value:#}\n").into_bytes();
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    put(folder, &[("ichord.yaml".to_owned(), text(site)), ("talconfig.yaml".to_owned(), text(talconfig))])?;
    let mut image = vec![
        (format!("kernel-{architecture}"), payload.kernel.clone()),
        (format!("initramfs-{architecture}.xz"), payload.initramfs.clone()),
        (format!("cmdline-metal-{architecture}"), b"talos.platform=metal".to_vec()),
    ];
    if let Some(signed) = signed {
        image.push((format!("metal-{architecture}-secureboot-uki.efi"), signed.to_vec()));
    }
    put_listed(&folder.join("images").join(PLAIN).join(TALOS), &image)?;
    put_listed(&folder.join("images/ipxe"), bootloaders)
}

/// Files with the list of their digests.
pub(super) fn put_listed(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    put(folder, files)?;
    let sum = |(name, bytes): &(String, Vec<u8>)| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes)));
    put(folder, &[("sha256sum.txt".to_owned(), files.iter().map(sum).collect::<String>().into_bytes())])
}

fn put(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
