//! Rules that look at the rendered config of each node: a site that breaks one, and one that comes close and does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

mod folder;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use site::Site;

use folder::Folder;

const SITE: &str = "\
site: home
network: [{ interface: eno1, subnet: 10.0.0.0/24, dhcp: authoritative, pool: 10.0.0.100-10.0.0.199 }]
machines:
  a: { port: sw1/Eth1 }
  b: { port: sw1/Eth2 }
";

const TALCONFIG: &str = "\
clusterName: home
talosVersion: v1.13.9
kubernetesVersion: v1.36.3
endpoint: https://10.0.0.10:6443
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

/// Findings of a site, each known to the list of rules.
fn found(site: &str, talconfig: &str, patch: &str) -> Vec<String> {
    let files =
        [("ichord.yaml", site), ("talconfig.yaml", talconfig), ("talsecret.yaml", ""), ("patch.yaml", patch)];
    let files = files.into_iter().map(|(name, text)| (name.into(), text.to_owned())).collect();
    let loaded = Site::load(Path::new(""), &Folder(files), &BTreeMap::new());
    let findings = loaded.map_or_else(|findings| findings, |(_, findings)| findings);
    let known: BTreeSet<&str> = site::rules().iter().map(|rule| rule.id).collect();
    for finding in &findings {
        assert!(known.contains(finding.rule), "{} is not in the list of rules", finding.rule);
    }
    findings.iter().map(ToString::to_string).collect()
}

/// The base site with a patch in a file: of all nodes, of control planes, of workers.
fn patched(whom: &str, patch: &str) -> Vec<String> {
    with(whom, patch, |talconfig| talconfig)
}

fn with(whom: &str, patch: &str, change: impl Fn(String) -> String) -> Vec<String> {
    let patches = "patches: ['@patch.yaml']";
    let talconfig = match whom {
        "all" => format!("{TALCONFIG}{patches}\n"),
        group => format!("{TALCONFIG}{group}:\n  {patches}\n"),
    };
    found(SITE, &change(talconfig), patch)
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

/// Each patch, to whom, and the finding; an empty one says that nothing is found.
fn hold(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (whom, patch, expected) in cases {
        let found = patched(whom, patch);
        let good = match *expected {
            "" => found.is_empty(),
            expected => found.iter().any(|finding| finding.starts_with(expected)) && found.len() == 1,
        };
        if !good {
            wrong.push(format!("{patch}\nexpected {expected:?}, found\n{}", found.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_base_has_no_fault_and_an_empty_patch_brings_none() {
    hold(&[("all", "machine: {}\n", ""), ("worker", "# nothing\n", "")]);
}

#[test]
fn what_is_installed() {
    hold(&[
        (
            "all",
            "machine:\n  install:\n    extraKernelArgs: [foo=bar]\n",
            "patch.yaml:3:22: error[kernel-args]: Talos refuses `extraKernelArgs`",
        ),
        (
            "all",
            "machine:\n  install:\n    grubUseUKICmdline: false\n    extraKernelArgs: [foo=bar]\n",
            "patch.yaml:4:22: warning[kernel-args]: a machine that boots by UEFI does not see `foo=bar`",
        ),
        (
            "all",
            "machine:\n  install:\n    image: ghcr.io/siderolabs/installer\n",
            "patch.yaml:3:12: error[image-tag]",
        ),
        (
            "all",
            "machine:\n  install:\n    image: ghcr.io/siderolabs/installer:v1.12.0\n",
            "patch.yaml:3:12: warning[installer-version]: the installer is of v1.12.0, and the machine is booted with v1.13.9",
        ),
        ("all", "machine:\n  install:\n    image: ghcr.io/siderolabs/installer:v1.13.9\n", ""),
        (
            "all",
            "machine:\n  install:\n    image: factory.talos.dev/metal-installer/3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f:v1.13.9\n",
            "patch.yaml:3:12: warning[installer-differs]",
        ),
        ("all", "persist: false\n", "patch.yaml:1:10: error[persist]"),
        (
            "all",
            "machine:\n  files:\n    - {path: /etc/foo, op: create, content: x, permissions: 0o644}\n",
            "patch.yaml:3:14: error[machine-file]: Talos makes no new files outside /var, and stops for /etc/foo",
        ),
        (
            "all",
            "machine:\n  files:\n    - {path: /var/etc/foo, op: create, content: x, permissions: 0o644}\n",
            "",
        ),
        (
            "all",
            "machine:\n  files:\n    - {path: /etc/cri/conf.d/20-customization.part, op: create, content: x, permissions: 0o644}\n",
            "",
        ),
    ]);
    let schematic =
        "schematic: {customization: {systemExtensions: {officialExtensions: [siderolabs/iscsi-tools]}}}";
    let plain =
        with("worker", "machine: {install: {image: 'ghcr.io/siderolabs/installer:v1.13.9'}}", |talconfig| {
            talconfig + "  " + schematic + "\n"
        });
    assert!(plain[0].starts_with("patch.yaml:1:28: error[installer-extensions]"), "{plain:?}");
    assert_eq!(plain.len(), 1, "{plain:?}");
}

#[test]
fn the_clusters_own_section() {
    hold(&[
        (
            "controlPlane",
            "cluster: {apiServer: {image: registry.k8s.io/kube-apiserver}}",
            "patch.yaml:1:30: error[image-tag]",
        ),
        (
            "controlPlane",
            "cluster: {apiServer: {image: 'registry.k8s.io:443/kube-apiserver'}}",
            "patch.yaml:1:30: error[image-tag]",
        ),
        ("controlPlane", "cluster: {apiServer: {image: 'registry.k8s.io:443/kube-apiserver:v1.36.3'}}", ""),
        ("controlPlane", "cluster: {apiServer: {image: registry.k8s.io/kube-apiserver@sha256:abc}}", ""),
        (
            "all",
            "cluster: {network: {cni: {name: cilium}}}",
            "patch.yaml:1:26: error[cni]: there is no CNI `cilium`",
        ),
        ("all", "cluster: {network: {cni: {name: custom, urls: ['https://example.org/cni.yaml']}}}", ""),
        (
            "all",
            "cluster: {network: {cni: {name: flannel, urls: ['https://example.org/cni.yaml']}}}",
            "patch.yaml:1:26: error[cni]",
        ),
        (
            "all",
            "cluster: {etcd: {advertisedSubnets: [10.0.0.0/24]}}",
            "patch.yaml:1:17: error[etcd]: only a control plane",
        ),
        ("controlPlane", "cluster: {etcd: {advertisedSubnets: [10.0.0.0/24, '!10.0.0.10']}}", ""),
        (
            "controlPlane",
            "cluster: {etcd: {advertisedSubnets: [10.0.0.0/24], subnet: 10.0.0.0/24}}",
            "patch.yaml:1:60: error[etcd]",
        ),
        (
            "controlPlane",
            "cluster: {etcd: {advertisedSubnets: [10.0.0.0/33]}}",
            "patch.yaml:1:38: error[cidr]",
        ),
        (
            "all",
            "machine: {kubelet: {nodeIP: {validSubnets: [10.9.0.0/24]}}}",
            "patch.yaml:1:44: warning[node-ip]",
        ),
        ("all", "machine: {kubelet: {nodeIP: {validSubnets: [10.0.0.0/24, 'fd00::/64']}}}", ""),
        ("all", "machine: {kubelet: {nodeIP: {validSubnets: ['fd00::/64']}}}", ""),
        (
            "all",
            "machine: {kubelet: {extraConfig: {maxPods: 200, staticPodPath: /x}}}",
            "patch.yaml:1:64: error[kubelet-config]",
        ),
        ("all", "machine: {kubelet: {extraConfig: {maxPods: 200}}}", ""),
        (
            "all",
            "cluster: {discovery: {registries: {service: {endpoint: 'https://discovery.example.org/path'}}}}",
            "patch.yaml:1:45: error[discovery]",
        ),
        (
            "all",
            "cluster: {discovery: {registries: {service: {endpoint: 'https://discovery.example.org/'}}}}",
            "",
        ),
        // the endpoint is the control planes' own, where trustd is
        ("all", "cluster: {discovery: {enabled: false}}", ""),
        (
            "all",
            "cluster: {discovery: {enabled: false}}\n---\napiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n",
            "patch.yaml:1:32: error[kubespan]",
        ),
        ("all", "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n", ""),
        ("all", "machine: {features: {hostDNS: {enabled: false}}}", "patch.yaml:1:41: error[host-dns]"),
        ("all", "machine: {features: {hostDNS: {enabled: false, forwardKubeDNSToHost: false}}}", ""),
        (
            "all",
            "machine: {features: {kubernetesTalosAPIAccess: {enabled: true, allowedRoles: ['os:reader'], allowedKubernetesNamespaces: [x]}}}",
            "patch.yaml:1:58: error[talos-api-access]",
        ),
        (
            "controlPlane",
            "machine: {features: {kubernetesTalosAPIAccess: {enabled: true, allowedRoles: ['os:reader'], allowedKubernetesNamespaces: [x]}}}",
            "",
        ),
        (
            "controlPlane",
            "cluster: {externalCloudProvider: {manifests: ['https://example.org/x.yaml']}}",
            "patch.yaml:1:46: error[cloud-provider]",
        ),
        (
            "controlPlane",
            "cluster: {externalCloudProvider: {enabled: true, manifests: ['https://example.org/x.yaml']}}",
            "",
        ),
        ("controlPlane", "cluster: {coreDNS: {disabled: true}}", "patch.yaml:1:31: warning[core-dns]"),
        (
            "all",
            "cluster: {network: {cni: {name: none}}, proxy: {disabled: true}}\nmachine: {features: {kubePrism: {enabled: false}}}",
            "patch.yaml:2:43: warning[kube-prism]",
        ),
        ("all", "cluster: {network: {cni: {name: none}}, proxy: {disabled: true}}", ""),
        (
            "controlPlane",
            "cluster: {inlineManifests: [{name: x, contents: y}, {name: x, contents: z}]}",
            "patch.yaml:1:28: error[inline-manifest]",
        ),
        ("controlPlane", "cluster: {inlineManifests: [{name: x, contents: y}, {name: z, contents: z}]}", ""),
        ("all", "machine: {certSANs: [x.example, x.example]}", "patch.yaml:1:21: warning[list-twice]"),
        ("all", "machine: {certSANs: [x.example, y.example]}", ""),
        ("all", "machine: {nodeTaints: {a: 'b:NoShedule'}}", "patch.yaml:1:27: error[taint]"),
        ("all", "machine: {nodeTaints: {a: 'b:NoSchedule', c: NoExecute}}", ""),
    ]);
    let strange = with("all", "cluster: {discovery: {enabled: false}}", |talconfig| {
        replaced(&replaced(&talconfig, "10.0.0.10:6443", "192.0.2.1:6443"), ", vip: { ip: 10.0.0.10 }", "")
    });
    assert!(strange[0].starts_with("patch.yaml:1:32: warning[discovery]: without discovery"), "{strange:?}");
}

#[test]
fn documents() {
    let document = |kind: &str, more: &str| format!("apiVersion: v1alpha1\nkind: {kind}\n{more}");
    let older = |talos: &str, kubernetes: &str, patch: &str| {
        with("all", patch, |talconfig| {
            replaced(&replaced(&talconfig, "v1.13.9", talos), "v1.36.3", kubernetes)
        })
    };
    let newer = older("v1.11.6", "v1.34.1", &document("TimeSyncConfig", "ntp: {servers: [10.0.0.1]}\n"));
    let expected = "patch.yaml:1:1: error[document-newer]: TimeSyncConfig is of Talos v1.12 and newer, the node runs v1.11.6";
    assert!(newer.len() == 1 && newer[0].starts_with(expected), "{newer:?}");
    let fits = older("v1.12.0", "v1.35.4", &document("TimeSyncConfig", "ntp: {servers: [10.0.0.1]}\n"));
    assert_eq!(fits, [""; 0]);
    let untouched = older("v1.14.0", "v1.36.3", &document("SysctlConfig", "params: {a: b}\n"));
    assert_eq!(untouched, [""; 0], "a document of 1.14 in 1.14");
    let proxy = older("v1.14.0", "v1.36.3", &document("KubeProxyConfig", "enabled: false\n"));
    assert!(
        proxy[0].starts_with("patch.yaml:1:1: error[document-conflict]: Talos refuses `cluster.proxy`"),
        "{proxy:?}"
    );
    hold(&[
        (
            "all",
            &document("HostnameConfg", "hostname: x\n"),
            "patch.yaml:1:1: warning[document-unknown]: no Talos up to 1.14 has a document HostnameConfg\n  fix: did you mean HostnameConfig?",
        ),
        ("all", &document("SysctlConfig", "params: {a: b}\n"), "patch.yaml:1:1: error[document-newer]"),
        (
            "worker",
            "machine: {network: {hostname: x}}",
            "patch.yaml:1:31: error[document-conflict]: Talos refuses `machine.network.hostname` beside a HostnameConfig",
        ),
        (
            "all",
            &format!(
                "machine: {{time: {{servers: [10.0.0.1]}}}}\n---\n{}",
                document("TimeSyncConfig", "ntp: {servers: [10.0.0.1]}\n")
            ),
            "patch.yaml:1:17: error[document-conflict]",
        ),
        ("worker", &document("HostnameConfig", "auto: stable\n"), "patch.yaml:1:1: error[hostname]"),
        (
            "worker",
            &document("HostnameConfig", "hostname: a\n"),
            "patch.yaml:3:11: error[node-twice]: a patch calls `b` by the name of another node, `a`",
        ),
        ("worker", &document("HostnameConfig", "hostname: b2\n"), ""),
        (
            "all",
            &document(
                "UserVolumeConfig",
                "name: a-name-of-more-than-thirty-four-bytes\nprovisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB}\n",
            ),
            "patch.yaml:3:7: error[volume-name]",
        ),
        (
            "all",
            &document(
                "UserVolumeConfig",
                "name: data\nprovisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB}\n",
            ),
            "",
        ),
        (
            "all",
            &format!(
                "machine: {{systemDiskEncryption: {{state: {{provider: luks2, keys: [{{nodeID: {{}}, slot: 0}}]}}}}}}\n---\n{}",
                document(
                    "VolumeConfig",
                    "name: STATE\nencryption: {provider: luks2, keys: [{nodeID: {}, slot: 0}]}\n"
                )
            ),
            "patch.yaml:1:41: error[document-conflict]",
        ),
        (
            "all",
            &document("ExtensionServiceConfig", "name: nut\n"),
            "patch.yaml:1:1: error[extension-service]",
        ),
        ("all", &document("ExtensionServiceConfig", "name: nut\nenvironment: [A=b]\n"), ""),
    ]);
}

#[test]
fn addresses_and_links() {
    let links = |own: &str| {
        let talconfig = replaced(TALCONFIG, "{ interface: eth0, dhcp: true, vip: { ip: 10.0.0.10 } }", own);
        found(SITE, &talconfig, "")
    };
    let silenced = "talconfig.yaml:10:24: error[dhcp-silenced]: nothing gives the node 10.0.0.11: one ";
    for (own, expected) in [
        ("{ interface: eth0, mtu: 9000, vip: { ip: 10.0.0.10 } }", silenced),
        ("{ interface: eth1, addresses: [192.168.7.1/24] }", silenced),
        ("{ interface: eth0, addresses: [10.0.0.11/24], vip: { ip: 10.0.0.10 } }", ""),
        ("{ interface: eth1, addresses: [192.168.7.1/24] }, { interface: eth0, dhcp: true }", ""),
        (
            "{ interface: eth0, addresses: [10.0.0.11/28], vip: { ip: 10.0.0.30 } }",
            "talconfig.yaml:10:24: error[vip-outside]: the shared address 10.0.0.30 is not in 10.0.0.0/28 on eth0",
        ),
        // beside DHCP nobody knows
        ("{ interface: eth0, dhcp: true, addresses: [10.7.0.11/28], vip: { ip: 10.0.0.10 } }", ""),
        (
            "{ interface: bond0, dhcp: true, bond: { mode: active-backup, interfaces: [eth0, eth1] } }, { interface: eth0, dhcp: true }",
            "talconfig.yaml:10:116: error[link]: eth0 is a part of bond0 and has an address of its own",
        ),
        (
            "{ interface: bond0, dhcp: true, bond: { mode: active-backup, interfaces: [eth0] } }, { interface: br0, bridge: { interfaces: [eth0] } }",
            "talconfig.yaml:10:110: error[link]: eth0 is a part of bond0 and of br0",
        ),
        (
            "{ interface: bond0, dhcp: true, bond: { mode: active-backup, interfaces: [eth0, eth1] } }, { interface: eth0, mtu: 9000 }",
            "",
        ),
    ] {
        let found: Vec<String> =
            links(own).into_iter().filter(|finding| !finding.contains("warning[endpoint]")).collect();
        match expected {
            "" => assert_eq!(found, [""; 0], "{own}"),
            expected => assert!(found.len() == 1 && found[0].starts_with(expected), "{own}: {found:#?}"),
        }
    }
    hold(&[
        (
            "worker",
            "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: 9000\n",
            "patch.yaml:1:1: error[dhcp-silenced]: nothing gives the node 10.0.0.12: one LinkConfig",
        ),
        (
            "worker",
            "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: 9000\n---\napiVersion: v1alpha1\nkind: DHCPv4Config\nname: eth0\n",
            "",
        ),
        (
            "worker",
            "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.10\nlink: eth0\n",
            "patch.yaml:1:1: error[vip]",
        ),
        (
            "worker",
            "apiVersion: v1alpha1\nkind: LinkAliasConfig\nname: net0\nselector: {match: 'link.type == 1'}\n",
            "",
        ),
    ]);
}

#[test]
fn a_packet_filter_lets_in_what_is_needed() {
    let open = |ports: &str, who: &str| {
        let name = ports.split('-').next().unwrap();
        format!(
            "apiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: p{name}\nportSelector: {{ports: [{ports}], protocol: tcp}}\n\
             ingress: [{{subnet: {who}}}]\n---\n"
        )
    };
    let block = "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n";
    let all = open("50000-50001", "10.0.0.0/24") + &open("6443", "0.0.0.0/0") + &open("10250", "10.0.0.0/24");
    hold(&[
        ("all", &(all.clone() + block), ""),
        ("all", &(all.clone() + &block.replace("block", "accept")), ""),
        (
            "worker",
            &(open("50000", "10.0.0.0/24") + block),
            "patch.yaml:7:1: error[firewall-ports]: incoming packets are blocked, and no rule opens port 10250",
        ),
        (
            "worker",
            &(open("10250", "10.0.0.0/24") + block),
            "patch.yaml:7:1: error[firewall-ports]: incoming packets are blocked, and no rule opens port 50000",
        ),
        (
            "worker",
            &(open("50000", "10.9.0.0/24") + &open("10250", "10.0.0.0/24") + block),
            "talconfig.yaml:11:5: error[firewall-daemon]: the packet filter opens port 50000, but not to 10.0.0.0/24",
        ),
        ("worker", &(open("50000", "10.0.0.7/32") + &open("10250", "10.0.0.0/24") + block), ""),
        (
            "worker",
            &(open("50000", "10.0.0.0/24")
                + &open("10250", "10.0.0.0/24")
                + "apiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: x\nportSelector: {ports: [1], protocol: tcp}\ningress: []\n---\n"
                + block),
            "patch.yaml:13:1: warning[firewall-nobody]",
        ),
    ]);
    let control_plane = patched("controlPlane", &(open("50000-50001", "10.0.0.0/24") + block));
    assert!(control_plane.iter().any(|finding| finding.contains("port 6443")), "{control_plane:?}");
}

#[test]
fn rules_about_the_whole_site() {
    let alone = replaced(TALCONFIG, "ipAddress: 10.0.0.12", "ipAddress: 10.0.0.12\n    controlPlane: true");
    let found_alone = found(SITE, &alone, "");
    assert!(found_alone.iter().any(|finding| finding.contains("warning[nowhere-to-run]")), "{found_alone:?}");
    let both = found(SITE, &format!("{alone}allowSchedulingOnControlPlanes: true\n"), "");
    assert!(!both.iter().any(|finding| finding.contains("nowhere-to-run")), "{both:?}");

    let manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    let inline = format!("{TALCONFIG}inlineManifests: [{{name: cilium, contents: 'a: b'}}]\n");
    let step = format!("{SITE}handover: [{{ name: cilium, manifests: [patch.yaml] }}]\n");
    let twice = found(&step, &inline, manifest);
    assert!(twice.len() == 1 && twice[0].starts_with("ichord.yaml:6:12: error[cilium-twice]"), "{twice:?}");
    assert_eq!(found(SITE, &inline, ""), [""; 0]);
    assert_eq!(found(&step, TALCONFIG, manifest), [""; 0]);

    let nets =
        |pods: &str, more: &str| found(SITE, &format!("{TALCONFIG}clusterPodNets: [{pods}]\n{more}"), "");
    let small = nets("10.244.0.0/24", "");
    assert!(
        small[0].contains("error[cidr-size]: 10.244.0.0/24 has room for 1 nodes, there are 2"),
        "{small:?}"
    );
    let patch = |size: u8| {
        format!(
            "patches: ['cluster: {{controllerManager: {{extraArgs: {{node-cidr-mask-size-ipv4: \"{size}\"}}}}}}']\n"
        )
    };
    assert_eq!(nets("10.244.0.0/24", &patch(26)), [""; 0]);
    let too_fine = nets("10.240.0.0/12", &patch(29));
    assert!(
        too_fine[0].contains("error[cidr-size]: a /29 for each node is too small a part"),
        "{too_fine:?}"
    );
}

#[test]
fn a_patch_that_does_not_fit_is_found_before_anything_boots() {
    let found = patched("all", "cluster: {apiServer: {admissionControl: [{name: NoSuch, $$patch: delete}]}}");
    assert!(
        found.len() == 1 && found[0].starts_with("patch.yaml:1:1: error[patch]: the patch does not fit"),
        "{found:?}"
    );
}

#[test]
fn inline_patches_are_found_in_the_talconfig() {
    let talconfig = format!(
        "{TALCONFIG}patches:\n  - |-\n    machine:\n      kubelet:\n        extraConfig:\n          port: 1\n"
    );
    let inline = found(SITE, &talconfig, "");
    assert!(
        inline.len() == 1 && inline[0].starts_with("talconfig.yaml:19:17: error[kubelet-config]"),
        "{inline:?}"
    );
}

#[test]
fn two_files_of_secrets_are_one_too_many() {
    let files: BTreeMap<PathBuf, String> = [
        ("ichord.yaml", SITE),
        ("talconfig.yaml", TALCONFIG),
        ("talsecret.yaml", ""),
        ("talsecret.sops.yaml", ""),
        ("secrets.yaml", ""),
    ]
    .map(|(name, text)| (name.into(), text.to_owned()))
    .into();
    let (site, findings) = Site::load(Path::new(""), &Folder(files), &BTreeMap::new()).unwrap();
    // as talhelper does
    assert_eq!(site.secrets(), Path::new("talsecret.sops.yaml"));
    let shown = findings.to_string();
    assert!(
        shown.contains("warning[secrets-twice]: talsecret.sops.yaml is used, talsecret.yaml is not"),
        "{shown}"
    );
}

#[test]
fn rules_have_one_name_each_and_say_something() {
    let rules = site::rules();
    assert!(rules.windows(2).all(|pair| pair[0].id < pair[1].id), "sorted, and none twice");
    assert!(rules.len() > 80 && rules.iter().all(|rule| rule.about.len() > 15 && !rule.about.ends_with('.')));
}
