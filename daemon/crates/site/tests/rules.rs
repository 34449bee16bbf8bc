//! Each rule, by a site that breaks it and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod folder;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use document::Findings;
use site::Site;

use folder::Folder;

const SITE: &str = "\
site: home
network:
  - interface: eno1
    subnet: 10.0.0.0/24
    dhcp: authoritative
    pool: 10.0.0.100-10.0.0.199
    gateway: 10.0.0.1
machines:
  a: { port: sw1/Eth1 }
  b: { mac: '64:4b:f0:00:00:03' }
";

const TALCONFIG: &str = "\
clusterName: home
talosVersion: v1.13.9
kubernetesVersion: v1.36.3
endpoint: https://10.0.0.10:6443
clusterPodNets: [10.244.0.0/16, 'fd00:1::/56']
clusterSvcNets: [10.96.0.0/16, 'fd00:2::/112']
nodes:
  - hostname: a
    ipAddress: 10.0.0.11
    controlPlane: true
    installDisk: /dev/sda
    networkInterfaces: [{ interface: eth0, dhcp: true, vip: { ip: 10.0.0.10 } }]
  - hostname: b
    ipAddress: 10.0.0.12
    installDisk: /dev/sda
";

fn load(site: &str, talconfig: &str, others: &[(&str, &str)]) -> Result<(Site, Findings), Findings> {
    let mut files: BTreeMap<PathBuf, String> =
        others.iter().map(|&(name, text)| (name.into(), text.to_owned())).collect();
    files.insert("ichord.yaml".into(), site.to_owned());
    files.insert("talconfig.yaml".into(), talconfig.to_owned());
    files.entry("talsecret.yaml".into()).or_default();
    Site::load(Path::new(""), &Folder(files), &BTreeMap::new())
}

fn shown(result: Result<(Site, Findings), Findings>) -> Vec<String> {
    let findings = result.map_or_else(|findings| findings, |(_, findings)| findings);
    findings.iter().map(ToString::to_string).collect()
}

/// The base site with one text replaced by another; the texts must be there.
fn with(base: &str, from: &str, to: &str) -> String {
    assert!(base.contains(from), "{from}");
    base.replace(from, to)
}

#[test]
fn the_base_has_no_fault() {
    assert_eq!(shown(load(SITE, TALCONFIG, &[])), [""; 0]);
}

#[test]
fn rules_about_ichord_yaml() {
    let mut wrong = Vec::new();
    for (from, to, expected) in [
        ("site: home\n", "", "ichord.yaml:1:1: error[key-missing]: the key `site` is missing"),
        ("site: home", "site: Home Ops", "ichord.yaml:1:7: error[site-name]"),
        (
            "machines:",
            "mashines: {}\nmachines:",
            "ichord.yaml:8:1: error[key-unknown]: unknown key `mashines`",
        ),
        (
            "subnet: 10.0.0.0/24",
            "subnet: 10.0.0.5/24",
            "ichord.yaml:4:13: error[cidr]: 10.0.0.5/24 is an address in a network, not the network\n  fix: write 10.0.0.0/24",
        ),
        ("subnet: 10.0.0.0/24", "subnet: ten", "ichord.yaml:4:13: error[value]"),
        (
            "dhcp: authoritative",
            "dhcp: autoritative",
            "ichord.yaml:5:11: error[value]: `autoritative` is not one of `proxy`, `authoritative`, `off`\n  fix: did you mean `authoritative`?",
        ),
        ("    pool: 10.0.0.100-10.0.0.199\n", "", "ichord.yaml:3:5: error[pool-missing]"),
        ("10.0.0.100-10.0.0.199", "10.0.1.100-10.0.1.199", "ichord.yaml:6:11: error[pool-outside]"),
        (
            "gateway: 10.0.0.1\n",
            "gateway: 10.0.0.1\n    ntp: [10.0.0.150]\n",
            "ichord.yaml:6:11: error[pool-overlap]: 10.0.0.100-10.0.0.199 contains 10.0.0.150, a time server",
        ),
        (
            "machines:",
            "  - { interface: eno1, subnet: 10.9.0.0/24 }\nmachines:",
            "ichord.yaml:8:18: error[network-twice]: eno1 has a network already\n  fix: if only relays bring its packets, \
             write `relayed: true`",
        ),
        (
            "machines:",
            "  - { interface: eno2, subnet: 10.9.0.0/24, relayed: true, dhcp: off }\nmachines:",
            "ichord.yaml:8:54: error[relayed-alone]: eno2 has no network of its own that relays could reach",
        ),
        (
            "machines:",
            "  - { interface: eno1, subnet: 10.9.0.0/24, relayed: true, dhcp: proxy }\nmachines:",
            "ichord.yaml:8:54: error[relayed-mode]: 10.9.0.0/24 is not served like 10.0.0.0/24",
        ),
        (
            "machines:",
            "  - { interface: eno1, subnet: 10.9.0.0/24, relayed: true, dhcp: authoritative, pool: 10.9.0.9-10.9.0.9 }\n\
             machines:",
            "ichord.yaml:8:5: warning[relayed-gateway]: machines behind a relay cannot reach the daemon without a router",
        ),
        (
            "gateway: 10.0.0.1\n",
            "gateway: 10.0.0.1\n    pool-for: phones\n",
            "ichord.yaml:8:15: error[value]",
        ),
        ("{ port: sw1/Eth1 }", "{ port: sw1/Eth1, local-boot: reboot }", "ichord.yaml:9:36: error[value]"),
        (
            "10.0.0.100-10.0.0.199",
            "10.0.0.12-10.0.0.50",
            "ichord.yaml:6:11: error[pool-overlap]: 10.0.0.12-10.0.0.50 contains 10.0.0.12, b",
        ),
        (
            "10.0.0.100-10.0.0.199",
            "10.0.0.9-10.0.0.10",
            "ichord.yaml:6:11: error[pool-overlap]: 10.0.0.9-10.0.0.10 contains 10.0.0.10, the shared address",
        ),
        (
            "10.0.0.100-10.0.0.199",
            "10.0.0.1-10.0.0.5",
            "ichord.yaml:6:11: error[pool-overlap]: 10.0.0.1-10.0.0.5 contains 10.0.0.1, the gateway",
        ),
        (
            "10.0.0.100-10.0.0.199",
            "10.0.0.199-10.0.0.100",
            "ichord.yaml:6:11: error[value]: `10.0.0.199-10.0.0.100` ends before it begins",
        ),
        ("gateway: 10.0.0.1\n", "gateway: 10.0.1.1\n", "ichord.yaml:7:14: error[gateway]"),
        (
            "  a: {",
            "  aa: {",
            "ichord.yaml:9:3: error[slot-unknown]: the talconfig has no node `aa`\n  fix: did you mean `a`?",
        ),
        (
            "  a: { port: sw1/Eth1 }\n",
            "",
            "ichord.yaml:9:3: error[slot-missing]: nothing says where `a` is plugged in",
        ),
        (
            "  b: { mac: '64:4b:f0:00:00:03' }\n",
            "",
            "ichord.yaml:9:3: warning[slot-missing]: nothing says where `b` is plugged in",
        ),
        (
            "{ mac: '64:4b:f0:00:00:03' }",
            "{ port: SW1/eth1 }",
            "ichord.yaml:10:14: error[slot-twice]: the port sw1/eth1 is that of `a` already",
        ),
        (
            "{ port: sw1/Eth1 }",
            "{ mac: [64-4b-f0-00-00-03] }",
            "ichord.yaml:10:13: error[slot-twice]: the mac 64:4b:f0:00:00:03 is that of `a` already",
        ),
        (
            "{ port: sw1/Eth1 }\n  b: { mac: '64:4b:f0:00:00:03' }",
            "{ port: sw1/Eth1/1 }\n  b: { port: sw1/Ethernet1/1 }",
            "ichord.yaml:10:14: error[slot-twice]: the port sw1/ethernet1/1 is that of `a` already",
        ),
        ("{ port: sw1/Eth1 }", "{}", "ichord.yaml:9:6: error[slot-empty]"),
        (
            "{ port: sw1/Eth1 }",
            "{ port: Eth1 }",
            "ichord.yaml:9:14: error[value]: \"Eth1\" is not a switch port",
        ),
        ("{ port: sw1/Eth1 }", "{ mac: '01:00:00:00:00:00' }", "ichord.yaml:9:13: error[slot-mac]"),
        (
            "{ port: sw1/Eth1 }",
            "{ uuid: 00000000-0000-0000-0000-000000000000 }",
            "ichord.yaml:9:14: error[slot-uuid]",
        ),
        ("{ port: sw1/Eth1 }", "{ serial: 1.10 }", "ichord.yaml:9:16: warning[slot-serial]"),
        ("site: home\n", "site: home\ntrust: machine\n", "ichord.yaml:2:8: warning[trust-machine]"),
        (
            "site: home\n",
            "site: home\ntiming: { observe: 2 seconds }\n",
            "ichord.yaml:2:20: error[value]: `2 seconds` is not a duration",
        ),
        ("site: home\n", "site: home\nkernel-args: ['a b']\n", "ichord.yaml:2:15: error[kernel-arg]"),
        (
            "dhcp: authoritative\n    pool: 10.0.0.100-10.0.0.199",
            "dhcp: proxy",
            "ichord.yaml:8:6: error[address-unsure]",
        ),
        ("dhcp: authoritative", "dhcp: off", "ichord.yaml:6:11: warning[pool-unused]"),
        (
            "site: home\n",
            "site: home\nswitches: [{ name: sw1, bridge: br0, ports: { Eth11: p1 } }]\n",
            "ichord.yaml:10:14: error[port-unknown]: the switch sw1 has no port Eth1\n  fix: did you mean sw1/Eth11?",
        ),
        (
            "site: home\n",
            "site: home\nswitches: [{ name: s, bridge: b, ports: { x: p, y: p } }]\n",
            "ichord.yaml:2:52: error[switch-port-twice]",
        ),
        (
            "site: home\n",
            "site: home\nswitches: [{ name: s, bridge: b }, { name: s, bridge: c }]\n",
            "ichord.yaml:2:44: error[switch-twice]",
        ),
        (
            "machines:",
            "  - { interface: eno1, subnet: 10.0.0.128/25 }\nmachines:",
            "ichord.yaml:8:18: error[network-twice]",
        ),
        (
            "machines:",
            "  - { interface: eno2, subnet: 10.0.0.128/25 }\nmachines:",
            "ichord.yaml:8:32: error[network-overlap]",
        ),
        (
            "site: home\n",
            "site: home\nhandover: [{ name: x, manifests: [m.yaml] }]\n",
            "ichord.yaml:2:35: error[manifest]: m.yaml cannot be read",
        ),
        (
            "site: home\n",
            "site: home\nhandover: [{ name: x }, { name: x, manifests: [good.yaml] }]\n",
            "ichord.yaml:2:12: error[step-empty]",
        ),
        (
            "site: home\n",
            "site: home\nhandover: [{ name: x, manifests: [good.yaml] }, { name: x, manifests: [good.yaml] }]\n",
            "ichord.yaml:2:57: error[step-twice]",
        ),
        (
            "site: home\n",
            "site: home\nhandover: [{ name: x, manifests: [bad.yaml] }]\n",
            "bad.yaml:2:1: error[manifest]: this is not a Kubernetes object",
        ),
        (
            "site: home\n",
            "site: home\ntalconfig: elsewhere/talconfig.yaml\n",
            "elsewhere/talconfig.yaml: error[file]",
        ),
    ] {
        let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
        let files = [("good.yaml", good), ("bad.yaml", "# not one\nkind: Namespace\n")];
        let found = shown(load(&with(SITE, from, to), TALCONFIG, &files));
        if !found.iter().any(|finding| finding.starts_with(expected)) {
            wrong.push(format!("expected {expected}\n{}", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn rules_about_both_files() {
    let lldpd = "installDisk: /dev/sda\n    schematic: {customization: {systemExtensions: {officialExtensions: [siderolabs/lldpd]}}}\n    networkI";
    let lldpd = |more: &str| {
        with(
            TALCONFIG,
            "installDisk: /dev/sda\n    networkI",
            &lldpd.replace("    networkI", &format!("{more}    networkI")),
        )
    };
    let change = |from: &str, to: &str| with(TALCONFIG, from, to);
    let mut wrong = Vec::new();
    for (talconfig, expected) in [
        (change("ipAddress: 10.0.0.12", "ipAddress: 10.0.0.10"), "talconfig.yaml:14:16: error[vip-is-node]"),
        (change("ip: 10.0.0.10", "ip: 10.9.0.10"), "talconfig.yaml:4:11: error[vip-outside]"),
        (change("ip: 10.0.0.10", "ip: 10.0.0.1"), "talconfig.yaml:4:11: error[vip-is-gateway]"),
        (change("ip: 10.0.0.10", "ip: 10.0.0.9"), "talconfig.yaml:4:11: warning[endpoint]"),
        (change("ipAddress: 10.0.0.12", "ipAddress: 10.9.0.12"), "talconfig.yaml:14:16: error[node-outside]"),
        (
            change("ipAddress: 10.0.0.12", "ipAddress: 10.0.0.1"),
            "talconfig.yaml:14:16: error[node-is-gateway]",
        ),
        (
            change("10.244.0.0/16", "10.244.0.1/16"),
            "talconfig.yaml:5:18: error[cidr]: 10.244.0.1/16 is an address in a network, not the network\n  fix: write 10.244.0.0/16",
        ),
        (change("10.244.0.0/16", "pods"), "talconfig.yaml:5:18: error[cidr]: `pods` is not a network"),
        (
            change("10.244.0.0/16, 'fd00:1::/56'", "'fd00:1::/56', 10.244.0.0/16"),
            "talconfig.yaml:6:17: error[cidr-families]",
        ),
        (
            change("'fd00:1::/56'", "10.245.0.0/16"),
            "talconfig.yaml:5:33: error[cidr-families]: 10.245.0.0/16 is the second network of its family",
        ),
        (change("fd00:2::/112", "fd00:2::/64"), "talconfig.yaml:6:32: error[cidr-size]"),
        (
            change("10.244.0.0/16", "10.244.0.0/24"),
            "talconfig.yaml:5:18: error[cidr-size]: 10.244.0.0/24 has room for 1 nodes, there are 2",
        ),
        (change("10.96.0.0/16", "10.244.64.0/20"), "talconfig.yaml:6:18: error[network-overlap]"),
        (
            change("10.96.0.0/16", "10.0.0.0/16"),
            "talconfig.yaml:6:18: error[network-overlap]: 10.0.0.0/16 overlaps with 10.0.0.0/24 on eno1",
        ),
        (
            change("nodes:", "patches: ['machine: {install: {disk: /dev/sdb}}']\nnodes:"),
            "talconfig.yaml:9:5: error[install-disk]: a patch of `a` sets machine.install.disk",
        ),
        (
            lldpd(
                "    talosImageURL: factory.talos.dev/metal-installer/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n    extensionServices: []\n",
            ),
            "talconfig.yaml:13:20: warning[installer-differs]",
        ),
        (change("nodes:", "cniConfig: {name: none}\nnodes:"), "talconfig.yaml:7:12: warning[kube-proxy]"),
        (
            change("nodes:", "patches: ['cluster: {proxy: {disabled: true}}']\nnodes:"),
            "talconfig.yaml:1:1: warning[kube-proxy]",
        ),
        (lldpd(""), "talconfig.yaml:12:16: warning[lldpd-document]: the image has siderolabs/lldpd"),
        (
            lldpd(
                "    extensionServices: [{name: lldpd, configFiles: [{content: c, mountPath: /etc/lldpd.conf}]}]\n",
            ),
            "talconfig.yaml:13:25: warning[lldpd-document]: lldpd reads",
        ),
        (
            lldpd(
                "    patches: ['{apiVersion: v1alpha1, kind: ExtensionServiceConfig, name: lldpd, $patch: delete}']\n",
            ),
            "talconfig.yaml:12:16: error[lldpd-document]",
        ),
        (
            change(
                "installDisk: /dev/sda\n    networkI",
                "installDisk: /dev/sda\n    machineSpec: {secureboot: true}\n    networkI",
            ),
            "talconfig.yaml:12:31: warning[secure-boot]",
        ),
        (
            change("ipAddress: 10.0.0.12", "ipAddress: 10.0.0.12\n    controlPlane: true"),
            "talconfig.yaml:8:3: warning[control-planes-even]",
        ),
    ] {
        let found = shown(load(SITE, &talconfig, &[]));
        if !found.iter().any(|finding| finding.starts_with(expected)) {
            wrong.push(format!("expected {expected}\n{}", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let site = with(&with(SITE, "site: home", "sit: home"), "gateway: 10.0.0.1\n", "gateway: x\n");
    let talconfig = with(TALCONFIG, "v1.36.3", "v1.38.0");
    let found = shown(load(&site, &talconfig, &[]));
    let rules: Vec<&str> = found.iter().filter_map(|finding| finding.split(['[', ']']).nth(1)).collect();
    assert_eq!(rules, ["key-missing", "key-unknown", "value", "versions-incompatible"], "{found:#?}");
}

#[test]
fn missing_secrets_are_said_with_the_command_that_makes_them() {
    let files = BTreeMap::from([
        (PathBuf::from("s/ichord.yaml"), SITE.to_owned()),
        (PathBuf::from("s/talconfig.yaml"), TALCONFIG.to_owned()),
    ]);
    let (_, findings) = Site::load(Path::new("s"), &Folder(files), &BTreeMap::new()).unwrap();
    let shown = findings.to_string();
    assert_eq!(
        shown,
        "s/talsecret.yaml: warning[secrets-missing]: the cluster has no secrets yet\n  fix: run `ichord secrets new s`"
    );
}

#[test]
fn variables_come_from_talenv_before_the_environment() {
    let talconfig = with(TALCONFIG, "clusterName: home", "clusterName: ${NAME}");
    for (file, text) in [("talenv.yaml", "---\nNAME: mine\n"), ("talenv.yml", "NAME=mine\n")] {
        let (site, _) = load(SITE, &talconfig, &[(file, text)]).unwrap();
        assert_eq!(site.cluster().cluster_name, "mine");
    }
    let found = shown(load(SITE, &talconfig, &[("talenv.sops.yaml", "NAME: ENC[x]\nsops: {version: 3}\n")]));
    assert!(
        found.iter().any(|finding| finding.starts_with("talenv.sops.yaml:2:1: error[sops]")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|finding| finding.starts_with("talconfig.yaml:1:14: error[variable]")),
        "{found:?}"
    );
}

#[test]
fn a_missing_site_file_is_one_clear_error() {
    let found = shown(Site::load(Path::new("nowhere"), &Folder(BTreeMap::new()), &BTreeMap::new()));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("nowhere/ichord.yaml: error[file]: the file cannot be read"), "{found:?}");
}

#[test]
fn nothing_in_the_files_makes_it_panic() {
    // every line of the good files left out, doubled, emptied, and cut short
    for (own, other, site_first) in [(SITE, TALCONFIG, true), (TALCONFIG, SITE, false)] {
        let lines: Vec<&str> = own.lines().collect();
        for at in 0..lines.len() {
            let (before, rest) = lines.split_at(at);
            let value = lines[at].split_once(':').map_or("", |(key, _)| key).to_owned() + ":";
            let cut = &lines[at][..lines[at].len() / 2];
            for middle in [vec![], vec![lines[at]; 2], vec![value.as_str()], vec![cut]] {
                let text = [before, &middle, &rest[1..]].concat().join("\n");
                let (site, talconfig) =
                    if site_first { (text.as_str(), other) } else { (other, text.as_str()) };
                let found = shown(load(site, talconfig, &[]));
                assert!(
                    found.iter().all(|finding| finding.contains("error[") || finding.contains("warning["))
                );
            }
        }
    }
}

#[test]
fn the_image_that_is_booted_is_the_one_that_will_be_installed() {
    let ids = |keys: &str| {
        let talconfig = with(TALCONFIG, "controlPlane: true\n", &format!("controlPlane: true\n{keys}"));
        let (site, _) = load(SITE, &talconfig, &[]).unwrap();
        assert!(site.image_set("nobody").is_none());
        assert!(site.image_sets().contains(&site.image_set("a").unwrap()));
        site.image_set("a").unwrap().schematic
    };
    let plain = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
    let lldpd = "3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f";
    let schematic = "{customization: {systemExtensions: {officialExtensions: [siderolabs/lldpd]}}}";
    assert_eq!(ids(""), plain);
    assert_eq!(ids(&format!("    schematic: {schematic}\n")), lldpd);
    assert_eq!(ids(&format!("    imageSchematic: {schematic}\n")), lldpd);
    let other = "b".repeat(64);
    assert_eq!(ids(&format!("    talosImageURL: factory.talos.dev/installer/{other}\n")), other);
    assert_eq!(ids("    talosImageURL: example.org/installer\n"), plain);
}

const RACK: &str = "\
clusterName: home
talosVersion: v1.13.9
kubernetesVersion: v1.36.3
endpoint: https://10.0.0.11:6443
nodes:
  - { hostname: n08, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda }
  - { hostname: n09, ipAddress: 10.0.0.12, installDisk: /dev/sda }
  - { hostname: n10, ipAddress: 10.0.0.13, installDisk: /dev/sda }
";

/// The slots of a site whose machines are these lines, or what is wrong with them.
fn machines(lines: &str) -> Result<Vec<String>, Vec<String>> {
    let head = SITE.split("machines:").next().unwrap();
    let result = load(&format!("{head}machines:\n{lines}"), RACK, &[]);
    if let Ok((site, _)) = &result {
        let slots = site.slots();
        let ports = |ports: &[hardware::SwitchPort]| {
            ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        return Ok(slots.all().iter().map(|slot| format!("{} {}", slot.name, ports(&slot.ports))).collect());
    }
    Err(shown(result))
}

#[test]
fn one_line_describes_a_rack() {
    let rack = ["n08 sw1/Eth1/1", "n09 sw1/Eth1/2", "n10 sw1/Eth1/3"].map(str::to_owned).to_vec();
    assert_eq!(machines("  n08..10: { port: sw1/Eth1/1..3 }\n"), Ok(rack.clone()));
    assert_eq!(machines("  n08..09: { port: sw1/Eth1/1..2 }\n  n10: { port: sw1/Eth1/3 }\n"), Ok(rack));
    assert_eq!(
        machines("  n08..10: { port: [tor1/Ethernet0..8+4, tor2/Ethernet0..8+4] }\n"),
        Ok([
            "n08 tor1/Ethernet0 tor2/Ethernet0",
            "n09 tor1/Ethernet4 tor2/Ethernet4",
            "n10 tor1/Ethernet8 tor2/Ethernet8"
        ]
        .map(str::to_owned)
        .to_vec())
    );
}

#[test]
fn a_range_that_cannot_be_says_what_would_be_right() {
    for (lines, expected) in [
        (
            "  n08..10: { port: sw1/Eth1/1..2 }\n",
            "ichord.yaml:9:3: error[slot-range]: `n08..10` are 3 nodes, sw1/Eth1/1..2 are 2 ports\n  fix: bring the two ranges to the same length",
        ),
        (
            "  n08..10: { port: sw1/Eth1/1 }\n",
            "ichord.yaml:9:3: error[slot-range]: `n08..10` are 3 nodes and cannot share the port sw1/Eth1/1\n  fix: write a range of ports, such as sw1/Eth1/1..3",
        ),
        (
            "  n08..10: { mac: '64:4b:f0:00:00:03' }\n",
            "ichord.yaml:9:3: error[slot-range]: `n08..10` are several nodes, and a MAC address, UUID or serial number is one machine's\n  fix: of a range only `port` can be told; write an entry for each node",
        ),
        (
            "  n[08-10]: { port: 'sw1/Eth1/[1-3]' }\n",
            "ichord.yaml:9:3: error[slot-range]: `n[08-10]` has brackets\n  fix: write a range as FIRST..LAST: mini01..03, Eth1/1..3, or with a step: Ethernet0..8+4",
        ),
        (
            "  n08: { port: sw1/Eth1/1..2 }\n  n09..10: { port: sw1/Eth1/3..4 }\n",
            "ichord.yaml:9:3: error[slot-range]: `n08` is one node, sw1/Eth1/1..2 are several ports\n  fix: write a list for a node with several cables: [sw1/Eth1/1, sw2/Eth1/1]; or several nodes: mini01..03",
        ),
        (
            "  n08..10: { port: sw1/Eth1/1..3 }\n  n09: { port: sw1/Eth1/7 }\n",
            "ichord.yaml:10:3: error[slot-twice]: `n09` is described by `n08..10` already\n  fix: describe each node once",
        ),
        (
            "  n08..10: { port: sw1/Eth1/1..3 }\n  n11..12: { port: sw1/Eth1/4..5 }\n",
            "ichord.yaml:10:3: error[slot-unknown]: the talconfig has no node `n11`\n  fix: did you mean `n10`?",
        ),
        (
            "  n08..09: { port: sw1/Eth1/1..2 }\n  n10: { port: sw1/et1/2 }\n",
            "slot-twice]: the port sw1/ethernet1/2 is that of",
        ),
    ] {
        let findings = machines(lines).unwrap_err();
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{lines}: {findings:#?}");
        let missing = findings.iter().any(|finding| finding.contains("slot-missing"));
        assert!(!missing || lines.contains('['), "a faulty range still describes its nodes: {findings:#?}");
    }
}

#[test]
fn switches_have_other_names_and_some_addresses_are_no_machines() {
    let site = with(SITE, "machines:\n  a: {", "\
switches:
  - { name: sw1, also: [old-sw1, '00:1c:73:00:00:01'], aliases: { Eth1: '513', Eth2: ['74:8e:f8:00:00:02', p2] } }
ignore: ['52:54:00', '64:4b:f0:00:00:99']
machines:
  a: { bmc: '64:4b:f0:00:00:77',");
    let (site, findings) = load(&site, TALCONFIG, &[]).unwrap();
    assert_eq!(findings.iter().count(), 0, "{findings}");
    let slots = site.slots();
    let ignored = |mac: &str| slots.ignored().has(mac.parse().unwrap());
    assert!(ignored("52:54:00:12:34:56") && ignored("64:4b:f0:00:00:99") && ignored("64:4b:f0:00:00:77"));
    assert!(!ignored("64:4b:f0:00:00:98") && !ignored("52:54:01:12:34:56"));
    let port = identity::Port::local("old-sw1", "513");
    assert_eq!(slots.of_port(&port).map(|(slot, _)| slot.name.as_str()), Some("a"));

    for (text, expected) in [
        ("ignore: ['52']", "would be too many addresses"),
        ("ignore: ['wxyz:00']", "no MAC address, nor the first octets"),
        ("switches: [{ name: sw1, ports: { Eth1: p1 } }]", "there is no `bridge`"),
    ] {
        let shown = shown(load(&with(SITE, "machines:", &format!("{text}\nmachines:")), TALCONFIG, &[]));
        assert!(shown.iter().any(|finding| finding.contains(expected)), "{text}: {shown:?}");
    }
}

#[test]
fn a_switch_is_asked_with_a_community_of_its_own_file() {
    let asked = with(
        SITE,
        "machines:\n",
        "switches:\n  - { name: sw1, snmp: { address: 10.0.0.2, community: snmp/sw1 } }\nmachines:\n",
    );
    let (site, findings) = load(&asked, TALCONFIG, &[("snmp/sw1", "s3cret\n")]).unwrap();
    assert_eq!(findings.iter().count(), 0, "{findings}");
    let snmp = site.switches()[0].snmp.as_ref().unwrap();
    assert_eq!(snmp.address, "10.0.0.2:161".parse().unwrap());
    assert_eq!(snmp.community.expose().as_str(), "s3cret");
    assert!(!format!("{site:?}").contains("s3cret"), "it is shown to nobody");
    let reference = asked.replace("snmp/sw1", "op://vault/sw1/community");
    assert!(load(&reference, TALCONFIG, &[("op://vault/sw1/community", "other")]).is_ok());

    for files in [&[][..], &[("snmp/sw1", " \n")]] {
        let shown = shown(load(&asked, TALCONFIG, files));
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains("ichord.yaml:9:") && shown[0].contains("[snmp-community]"), "{shown:?}");
    }
    let wrong = shown(load(&asked.replace("10.0.0.2", "sw1"), TALCONFIG, &[("snmp/sw1", "x")]));
    assert!(wrong[0].contains("`sw1` is not an address"), "{wrong:?}");
}

#[test]
fn the_boot_servers_authority_is_one_and_has_its_key() {
    let written = with(SITE, "machines:", "https: { certificate: ca.crt, key: op://v/ca/key }\nmachines:");
    let secrets = talos_config::secrets::SecretsBundle::generate(1_790_000_000).unwrap();
    let (one, other) = (&secrets.kubernetes, &secrets.etcd);
    let (certificate, key) = (one.certificate.as_str(), one.key.expose());
    let files = [("ca.crt", certificate), ("op://v/ca/key", key)];
    let (site, findings) = load(&written, TALCONFIG, &files).unwrap();
    assert_eq!(findings.iter().count(), 0, "{findings}");
    let https = site.https().unwrap();
    assert_eq!((https.authority.certificate.as_str(), https.ipxe), (certificate, false));
    assert!(!format!("{site:?}").contains("PRIVATE"), "it is shown to nobody");
    let wrong: [(&[(&str, &str)], &str); 3] = [
        (&[("ca.crt", certificate)], "`op://v/ca/key` cannot be read"),
        (
            &[("ca.crt", certificate), ("op://v/ca/key", other.key.expose())],
            "does not belong to its certificate",
        ),
        (&[("ca.crt", "x"), ("op://v/ca/key", key)], "not readable"),
    ];
    for (files, expected) in wrong {
        let shown = shown(load(&written, TALCONFIG, files));
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains(expected) && shown[0].contains("[https-authority]"), "{shown:?}");
    }
}

#[test]
fn what_is_written_about_netbooting_is_in_the_site() {
    let written = with(
        SITE,
        "gateway: 10.0.0.1\n",
        "gateway: 10.0.0.1\n    pool-for: any\n    router-advertisement: true\n    tftp: single-port\n    announce: true\n",
    );
    let written = with(
        &written,
        "machines:\n",
        "  - { interface: eno1, subnet: 10.9.0.0/24, relayed: true, dhcp: authoritative, gateway: 10.9.0.1, pool: 10.9.0.9-10.9.0.99 }\nmachines:\n",
    )
    .replace("machines:\n", "local-boot: { 'Apple *': exit }\nmachines:\n");
    let written = with(&written, "{ port: sw1/Eth1 }", "{ port: sw1/Eth1, local-boot: silent }");
    let (site, findings) = load(&written, TALCONFIG, &[]).unwrap();
    assert_eq!(findings.iter().count(), 0, "{findings}");
    let [own, relayed] = site.networks() else { panic!("two networks") };
    assert!(own.pool_for_any && own.router_advertisement && !own.relayed && relayed.relayed);
    assert!(own.tftp_single_port && !relayed.tftp_single_port);
    assert!(own.announce && !relayed.announce);
    let ways = site.local_boots();
    assert_eq!(ways.nodes.get("a"), Some(&hardware::LocalBoot::Silent));
    assert_eq!(ways.models, [("Apple *".to_owned(), hardware::LocalBoot::Exit)]);

    // what is said of a range is said of each of its nodes
    let head = SITE.split("machines:").next().unwrap();
    let rack = "  n08..10: { port: sw1/Eth1/1..3, local-boot: exit }\n";
    let (site, _) = load(&format!("{head}machines:\n{rack}"), RACK, &[]).unwrap();
    let exit = ["n08", "n09", "n10"].map(|node| (node.to_owned(), hardware::LocalBoot::Exit));
    assert_eq!(site.local_boots().nodes, exit.into());
}

#[test]
fn relays_are_believed_as_they_are_described() {
    let cisco = "relays:\n  - address: 10.8.0.1\n    circuit: 'hex: 00 04 {vlan:2} {slot:1} {port:1}'\n    remote: 'hex: 00 06 {switch:mac}'\n    port: Gi1/{slot}/{port}\nswitches: [{ name: sw1, also: ['00:1c:73:00:00:01'] }]\n";
    let text = with(
        SITE,
        "machines:\n  a: { port: sw1/Eth1 }",
        &format!("{cisco}machines:\n  a: {{ port: sw1/Gi1/0/11 }}"),
    );
    let (site, findings) = load(&text, TALCONFIG, &[]).unwrap();
    assert_eq!(findings.iter().count(), 0, "{findings}");
    let seen = |from: [u8; 4]| {
        let marks = identity::Marks::of_mac("64:4b:f0:00:00:09".parse().unwrap());
        identity::Sighting {
            forwarded: Some(identity::Forwarded {
                relay: [10, 8, 0, 1].into(),
                from: from.into(),
                circuit: Some(vec![0, 4, 0, 1, 0, 11]),
                remote: Some(vec![0, 6, 0, 0x1c, 0x73, 0, 0, 1]),
            }),
            ..identity::Sighting::new(identity::Source::Dhcp, marks, 1)
        }
    };
    let slots = site.slots();
    let read = slots.read_relay(seen([10, 8, 0, 1]));
    assert_eq!(read.attestor, identity::Attestor::Switch);
    assert_eq!(slots.of_port(&read.port.unwrap()).map(|(slot, _)| slot.name.as_str()), Some("a"));
    let liar = slots.read_relay(seen([10, 0, 0, 66]));
    assert_eq!((liar.attestor, liar.port), (identity::Attestor::Machine, None));

    for (relay, expected) in [
        ("{ address: 10.8.0.1, circuit: '{port}' }", "error[relay-switch]: nothing tells on which switch"),
        ("{ address: 10.8.0.1, circuit: '{switch}{port}' }", "does not say where `{port}` begins"),
        ("{ address: 10.8.0.1, circuit: '{x}', switch: sw1 }", "tells `{port}` of the port's name"),
        ("{ address: 10.8.0.1, circuit: '{port}', switch: sw1, port: 'Gi{slot}' }", "tells `{slot}`"),
        ("{ address: relay, circuit: '{port}', switch: sw1 }", "error[value]"),
        ("{ circuit: '{port}', switch: sw1 }", "the key `address` is missing"),
    ] {
        let shown =
            shown(load(&with(SITE, "machines:", &format!("relays: [{relay}]\nmachines:")), TALCONFIG, &[]));
        assert!(shown.iter().any(|finding| finding.contains(expected)), "{relay}: {shown:?}");
    }
}

#[test]
fn a_machine_is_switched_in_one_way_with_a_password_of_its_own_file() {
    let with_power =
        |power: &str| with(SITE, "{ port: sw1/Eth1 }", &format!("{{ port: sw1/Eth1, power: {power} }}"));
    let bmc = "{ redfish: { address: 'https://10.0.9.11', username: admin, password: power/a } }";
    let files = [("power/a", "s3cret\n")];
    let (site, findings) = load(&with_power(bmc), TALCONFIG, &files).unwrap();
    assert_eq!(findings.iter().count(), 0, "{findings}");
    let Some(site::Power::Redfish(redfish)) = site.power("a") else { panic!("{:?}", site.power("a")) };
    assert_eq!((redfish.host.as_str(), redfish.port, redfish.http_boot), ("10.0.9.11", 443, false));
    assert_eq!(redfish.expose().as_str(), "s3cret");
    assert!(!format!("{site:?} {redfish:?}").contains("s3cret"), "it is shown to nobody");
    let plan = site.plan();
    assert_eq!(plan.nodes[&"a".into()].power, Some(lifecycle::Switch::Processor));
    assert_eq!(plan.nodes[&"a".into()].place, "port sw1/Eth1");
    assert_eq!(
        (plan.nodes[&"b".into()].power, plan.nodes[&"b".into()].place.as_str()),
        (None, "card 64:4b:f0:00:00:03")
    );

    let (site, _) = load(&with_power("wake-on-lan"), TALCONFIG, &[]).unwrap();
    assert_eq!(site.plan().nodes[&"a".into()].power, Some(lifecycle::Switch::OnlyOn));
    let (site, _) = load(&with_power("{ hook: [pdu, '3'], within: 5s }"), TALCONFIG, &[]).unwrap();
    let within = std::time::Duration::from_secs(5);
    assert_eq!(site.power("a"), Some(site::Power::Hook { command: vec!["pdu".into(), "3".into()], within }));
    assert_eq!(site.plan().nodes[&"a".into()].power, Some(lifecycle::Switch::Full));
    // what is in no file of the site is asked for by its own name
    for elsewhere in ["env:BMC", "credential:bmc", "op://rack/bmc/password"] {
        let bmc = format!(
            "{{ redfish: {{ address: 'https://10.0.9.11', username: admin, password: '{elsewhere}' }} }}"
        );
        let (site, _) = load(&with_power(&bmc), TALCONFIG, &[(elsewhere, "s3cret")]).unwrap();
        let Some(site::Power::Redfish(redfish)) = site.power("a") else { panic!("{elsewhere}") };
        assert_eq!(redfish.expose().as_str(), "s3cret");
    }

    let named = |rest: &str| format!("{{ redfish: {{ username: admin, password: power/a, {rest} }} }}");
    for (power, expected) in [
        ("wol".to_owned(), "`wol` is no way to switch a machine"),
        ("{}".to_owned(), "nothing says how the machine is switched"),
        ("{ hook: [] }".to_owned(), "the hook names no program"),
        (bmc.replace(" } }", " }, hook: [pdu] }"), "here are two"),
        (named("address: 'http://10.0.9.11'"), "is no address of HTTPS"),
        (named("address: 'https://'"), "names no host"),
        (named("address: 'https://10.0.9.11:x'"), "`x` is no port"),
        (named("address: 'https://admin@bmc'"), "names no host"),
        (named("address: 'https://[fe80::1'"), "half a bracket"),
        (named("address: 'https://bmc', certificate: abc"), "`abc` is no SHA-256"),
    ] {
        let shown = shown(load(&with_power(&power), TALCONFIG, &files));
        assert_eq!(shown.len(), 1, "{power}: {shown:?}");
        assert!(shown[0].contains(expected) && shown[0].contains("[power]"), "{power}: {shown:?}");
    }
    for files in [&[][..], &[("power/a", " \n")]] {
        let shown = shown(load(&with_power(bmc), TALCONFIG, files));
        assert!(shown.len() == 1 && shown[0].contains("[power-password]"), "{shown:?}");
    }
    let digest = format!("{}:AA", "aa".repeat(31));
    let (site, _) = load(
        &with_power(&named(&format!("address: 'https://[fd00::2]:8443/', certificate: '{digest}'"))),
        TALCONFIG,
        &files,
    )
    .unwrap();
    let Some(site::Power::Redfish(redfish)) = site.power("a") else { panic!("{:?}", site.power("a")) };
    assert_eq!(
        (redfish.host.as_str(), redfish.port, redfish.certificate),
        ("fd00::2", 8443, Some([0xaa; 32]))
    );
}

#[test]
fn of_a_range_each_machine_has_its_own_service_processor() {
    let power = "power: { redfish: { address: 'https://HOST', username: admin, password: power } }";
    let site =
        with(SITE, "  a: { port: sw1/Eth1 }\n", &format!("  n1..2: {{ port: sw1/Eth1..2, {power} }}\n"));
    let talconfig = TALCONFIG.replace("hostname: a", "hostname: n1")
        + "  - hostname: n2\n    ipAddress: 10.0.0.13\n    installDisk: /dev/sda\n";
    let files = [("power", "s3cret")];
    let (own, _) = load(&site.replace("HOST", "{node}-bmc"), &talconfig, &files).unwrap();
    for node in ["n1", "n2"] {
        let Some(site::Power::Redfish(redfish)) = own.power(node) else { panic!("{node}") };
        assert_eq!(
            (redfish.host.clone(), redfish.expose().as_str().to_owned()),
            (format!("{node}-bmc"), "s3cret".to_owned())
        );
    }
    let shared = shown(load(&site.replace("HOST", "bmc"), &talconfig, &files));
    assert!(shared.len() == 1 && shared[0].contains("is the service processor of one"), "{shared:?}");
}
