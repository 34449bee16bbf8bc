//! The lab's site folder, as a user would write it: talconfig.yaml, ichord.yaml, a hand-over manifest, images.
//!
//! Only the secrets are missing: they are made by `ichord secrets new`, as everywhere.

mod images;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) use self::images::{ImageFiles, write_discovery, write_images, write_images_of};

use crate::plan::{Machine, SWITCH, VIRTUAL_ADDRESS};
use crate::wires::{BRIDGE, HOST};

/// The Talos version of the lab's images and configs.
pub(crate) const TALOS: &str = "v1.13.0";
/// The Kubernetes version of the configs; nothing runs it.
const KUBERNETES: &str = "v1.36.0";
/// What the images of the site contain beyond Talos itself.
pub(crate) const EXTENSIONS: [&str; 2] = ["siderolabs/iscsi-tools", "siderolabs/lldpd"];

/// The image factory's name for an image with [`EXTENSIONS`]: the digest of its canonical description
/// (talos.md §7.9). Computed here by hand, so that the daemon's own computation meets a second opinion.
pub(crate) fn schematic_id() -> String {
    schematic_of(&EXTENSIONS)
}

fn schematic_of(extensions: &[&str]) -> String {
    let list: String = extensions.iter().map(|extension| format!("            - {extension}\n")).collect();
    let canonical = format!("customization:\n    systemExtensions:\n        officialExtensions:\n{list}");
    hex::encode(Sha256::digest(canonical))
}

/// What differs between a site of simulated machines and one of real firmware.
#[derive(Debug, Clone)]
pub(crate) struct Flavour {
    /// glob for the model of the disk to install on
    pub(crate) disk_model: String,
    /// the machines' first network card as Linux names it
    pub(crate) card: String,
    /// kernel arguments beyond those of the image
    pub(crate) kernel_args: Vec<String>,
    /// who gives addresses, to whom
    pub(crate) dhcp: Dhcp,
}

/// Who gives addresses on the provisioning network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dhcp {
    /// the daemon, to machines that netboot
    Ours,
    /// the daemon, to anybody
    OursForAny,
    /// somebody else
    Theirs,
}

/// The network plugin's objects, in the place of a chart.
const CILIUM: &str = include_str!("cilium.yaml");

/// Writes the folder. `images` lies inside it.
pub(crate) fn write(folder: &Path, machines: &[Machine], flavour: &Flavour) -> Result<()> {
    let manifests = folder.join("handover");
    fs::create_dir_all(&manifests).with_context(|| format!("cannot make {}", manifests.display()))?;
    for (path, text) in [
        (folder.join("talconfig.yaml"), yaml(&talconfig(machines, flavour))),
        (folder.join("ichord.yaml"), yaml(&ichord(machines, flavour))),
        (manifests.join("namespaces.yaml"), yaml(&namespace())),
        (manifests.join("cilium.yaml"), CILIUM.to_owned()),
    ] {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// JSON is YAML; indented, a person can read it with `--keep`.
fn yaml(value: &Value) -> String {
    format!("{value:#}\n")
}

fn talconfig(machines: &[Machine], flavour: &Flavour) -> Value {
    let lldpd = "configure lldp portidsubtype ifname\nunconfigure lldp management-addresses-advertisements\n";
    let group = json!({
        "schematic": { "customization": { "systemExtensions": { "officialExtensions": EXTENSIONS } } },
        "extensionServices": [{
            "name": "lldpd",
            "configFiles": [{ "content": lldpd, "mountPath": "/usr/local/etc/lldpd/lldpd.conf" }],
        }],
    });
    let nodes: Vec<Value> = machines
        .iter()
        .map(|machine| {
            let mut card = json!({
                "interface": flavour.card,
                "addresses": [format!("{}/{}", machine.address, HOST.1)],
            });
            if machine.control_plane {
                card["vip"] = json!({ "ip": VIRTUAL_ADDRESS });
            }
            json!({
                "hostname": machine.name,
                "ipAddress": machine.address,
                "controlPlane": machine.control_plane,
                "installDiskSelector": { "model": flavour.disk_model },
                "networkInterfaces": [card],
            })
        })
        .collect();
    json!({
        "clusterName": "lab",
        "talosVersion": TALOS,
        "kubernetesVersion": KUBERNETES,
        "endpoint": format!("https://{VIRTUAL_ADDRESS}:6443"),
        "allowSchedulingOnControlPlanes": true,
        "clusterPodNets": ["10.244.0.0/16", "fd00:10:244::/56"],
        "clusterSvcNets": ["10.96.0.0/16", "fd00:96::/112"],
        "cniConfig": { "name": "none" },
        // as on the reference site: Cilium takes kube-proxy's place
        "patches": ["cluster: { proxy: { disabled: true } }"],
        "nodes": nodes,
        "controlPlane": group,
        "worker": group,
    })
}

fn ichord(machines: &[Machine], flavour: &Flavour) -> Value {
    let ports: serde_json::Map<String, Value> =
        machines.iter().map(|machine| (machine.port.clone(), json!(machine.interface))).collect();
    let places: serde_json::Map<String, Value> = machines
        .iter()
        .map(|machine| (machine.name.clone(), json!({ "port": format!("{SWITCH}/{}", machine.port) })))
        .collect();
    let mut network = json!({
        "interface": BRIDGE,
        "subnet": format!("10.77.0.0/{}", HOST.1),
        "dhcp": if flavour.dhcp == Dhcp::Theirs { "proxy" } else { "authoritative" },
        "gateway": HOST.0,
        "dns": [HOST.0],
    });
    if flavour.dhcp != Dhcp::Theirs {
        network["pool"] = json!("10.77.0.100-10.77.0.199");
    }
    if flavour.dhcp == Dhcp::OursForAny {
        network["pool-for"] = json!("any");
    }
    json!({
        "site": "lab",
        "network": [network],
        "switches": [{ "name": SWITCH, "bridge": BRIDGE, "ports": ports }],
        "machines": places,
        "trust": "attested",
        "deploy": "auto",
        "images": "images",
        "kernel-args": flavour.kernel_args,
        "handover": [
            {
                "name": "cilium",
                "manifests": ["handover/cilium.yaml"],
                "release": { "name": "cilium", "namespace": "kube-system", "chart": "cilium", "version": "1.20.0" },
            },
            "nodes",
            { "name": "namespaces", "manifests": ["handover/namespaces.yaml"] },
        ],
        "timing": { "observe": "1s", "bootstrap-grace": "20s" },
    })
}

fn namespace() -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "flux-system" } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::machines;

    fn flavour() -> Flavour {
        Flavour {
            disk_model: "LAB*".into(),
            card: "eth0".into(),
            kernel_args: vec!["console=ttyS0".into()],
            dhcp: Dhcp::Ours,
        }
    }

    #[test]
    fn every_machine_has_a_port_of_its_own_on_the_switch() {
        let machines = machines(3, 1);
        let site = ichord(&machines, &flavour());
        for machine in &machines {
            assert_eq!(site["machines"][&machine.name]["port"], format!("sw1/{}", machine.port));
            assert_eq!(site["switches"][0]["ports"][&machine.port], machine.interface);
        }
    }

    #[test]
    fn only_control_planes_hold_the_virtual_address() {
        let site = talconfig(&machines(3, 2), &flavour());
        let holders = site["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|node| node["networkInterfaces"][0].get("vip").is_some())
            .map(|node| node["hostname"].as_str().unwrap())
            .collect::<Vec<_>>();
        assert_eq!(holders, ["lab-cp-1", "lab-cp-2", "lab-cp-3"]);
    }

    #[test]
    fn a_schematic_is_named_as_the_factory_names_it() {
        // published by the factory (talos.md §7.9)
        let published = "3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f";
        assert_eq!(schematic_of(&["siderolabs/lldpd"]), published);
    }
}
