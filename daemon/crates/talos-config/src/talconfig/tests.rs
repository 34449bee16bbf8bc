//! The file as people write it, from text to config.

use std::{cell::RefCell, collections::BTreeMap, io, path::Path, sync::LazyLock};

use document::{Findings, Severity};
use serde_json::{Value, json};

use super::*;
use crate::{config::MachineConfig, schema, secrets::SecretsBundle};

/// Making one takes a noticeable fraction of a second.
static SECRETS: LazyLock<SecretsBundle> = LazyLock::new(|| SecretsBundle::generate(1_700_000_000).unwrap());

const HEAD: &str = "clusterName: home\ntalosVersion: v1.13.9\nkubernetesVersion: v1.36.3\nendpoint: https://10.0.0.10:6443\n";

fn files<'a>(files: &'a [(&'a str, &'a str)]) -> impl Fn(&Path) -> io::Result<String> + 'a {
    |path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn load_with(
    text: &str,
    others: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> (Option<TalConfig>, Findings) {
    let environment: BTreeMap<_, _> =
        environment.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let read = files(others);
    let sources = Sources { directory: Path::new("/site"), read: &read, environment: &environment };
    load("talconfig.yaml", text, &sources)
}

fn good(text: &str) -> TalConfig {
    let (config, findings) = load_with(text, &[], &[]);
    assert!(findings.is_empty(), "{findings}");
    config.unwrap()
}

fn faults(text: &str) -> Vec<String> {
    load_with(text, &[], &[]).1.iter().map(ToString::to_string).collect()
}

fn render(config: &TalConfig, node: &str) -> MachineConfig {
    let rendered = config.machine_config(config.node(node).unwrap(), &SECRETS).unwrap();
    let unknown = schema::unknown_keys(&rendered);
    assert!(unknown.is_empty(), "{unknown:?}");
    rendered
}

fn one_node(keys: &str) -> String {
    format!(
        "{HEAD}nodes:\n  - {{hostname: a, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda, {keys}}}\n"
    )
}

#[test]
fn a_small_cluster_is_rendered_like_talhelper_does() {
    let config = good(&format!(
        "{HEAD}domain: home.example\nallowSchedulingOnMasters: yes\nclusterPodNets: [10.42.0.0/16]\n\
         clusterSvcNets: [10.43.0.0/16]\ncniConfig: {{name: none}}\nadditionalApiServerCertSans: &sans [home.example]\n\
         additionalMachineCertSans: *sans\nnodes:\n\
         - hostname: a\n  ipAddress: 10.0.0.11\n  controlPlane: true\n  installDiskSelector: {{model: 'APPLE SSD*', size: '>= 100GB'}}\n\
         - hostname: w\n  ipAddress: \"10.0.0.12, 10.1.0.12\"\n  installDisk: /dev/sda\n  nodeLabels: {{rack: r1}}\n  certSANs: [w.example]\n\
         controlPlane:\n  schematic: {{customization: {{systemExtensions: {{officialExtensions: [siderolabs/lldpd]}}}}}}\n  \
         networkInterfaces: [{{interface: eno1, dhcp: true, vip: {{ip: 10.0.0.10}}}}]\n"
    ));
    assert_eq!(config.virtual_addresses(), ["10.0.0.10".parse::<IpAddr>().unwrap()]);

    let control_plane = render(&config, "a");
    let install = control_plane.at(&["machine", "install"]).unwrap();
    let id = "3a1a50bb978dac07d2e80b507046cc972dca7cec86d5b60228b4e88bd287469f";
    assert_eq!(install["image"], format!("factory.talos.dev/metal-installer/{id}:v1.13.9"));
    assert_eq!(install["diskSelector"], json!({"model": "APPLE SSD*", "size": ">= 100GB"}));
    assert_eq!(install.get("disk"), None);
    let cluster = |key: &str| control_plane.at(&["cluster", key]).unwrap();
    assert_eq!(cluster("network")["cni"], json!({"name": "none"}));
    assert_eq!(cluster("network")["podSubnets"], json!(["10.42.0.0/16"]));
    assert_eq!(cluster("network")["dnsDomain"], "home.example");
    assert_eq!(cluster("allowSchedulingOnControlPlanes"), true);
    assert_eq!(cluster("apiServer")["certSANs"], json!(["home.example"]));
    assert_eq!(control_plane.at(&["machine", "certSANs"]).unwrap(), &json!(["home.example"]));
    let kinds: Vec<&str> =
        control_plane.documents().iter().filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, ["HostnameConfig", "ExtensionServiceConfig", "DHCPv4Config", "Layer2VIPConfig"]);
    let hostname = Value::Object(control_plane.document("HostnameConfig", "").unwrap().clone());
    assert_eq!(
        hostname,
        json!({"apiVersion": "v1alpha1", "kind": "HostnameConfig", "auto": "off", "hostname": "a"})
    );

    let worker = render(&config, "w");
    assert_eq!(worker.at(&["machine", "type"]).unwrap(), "worker");
    assert_eq!(worker.at(&["machine", "install", "disk"]).unwrap(), "/dev/sda");
    assert_eq!(worker.at(&["machine", "nodeLabels"]).unwrap(), &json!({"rack": "r1"}));
    assert_eq!(worker.at(&["machine", "certSANs"]).unwrap(), &json!(["home.example", "w.example"]));
    assert_eq!(worker.document("ExtensionServiceConfig", "lldpd"), None);
    assert_eq!(config.node("w").unwrap().addresses.len(), 2);
}

#[test]
fn patches_are_applied_group_first_and_cluster_last() {
    let text = format!(
        "{HEAD}patches: ['machine: {{sysctls: {{a: cluster, b: cluster}}}}']\n\
         controlPlane: {{patches: ['machine: {{sysctls: {{a: group, c: group, d: group}}}}']}}\n\
         nodes:\n- {{hostname: a, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda, patches: ['@p.yaml', '@empty.yaml']}}\n"
    );
    let others = [
        ("/site/p.yaml", "# ${NOBODY} in a comment\nmachine:\n  sysctls:\n    c: ${C:-node}\n    e: $E\n"),
        ("/site/empty.yaml", "\n"),
    ];
    let (config, findings) = load_with(&text, &others, &[("E", "set")]);
    assert!(findings.is_empty(), "{findings}");
    let rendered = render(&config.unwrap(), "a");
    assert_eq!(
        rendered.at(&["machine", "sysctls"]).unwrap(),
        &json!({"a": "cluster", "b": "cluster", "c": "node", "d": "group", "e": "set"})
    );
}

#[test]
fn older_talos_is_configured_in_the_main_document() {
    let head = HEAD.replace("v1.13.9", "v1.11.6").replace("v1.36.3", "v1.34.1");
    let config = good(&format!(
        "{head}nodes:\n- hostname: a\n  ipAddress: 10.0.0.11\n  controlPlane: true\n  installDisk: /dev/sda\n  nameservers: [1.1.1.1]\n  \
         schematic: {{customization: {{extraKernelArgs: [console=ttyS0]}}}}\n  \
         networkInterfaces: [{{interface: eth0, dhcp: true, vip: {{ip: 10.0.0.10}}}}]\n"
    ));
    let rendered = render(&config, "a");
    assert_eq!(
        rendered.at(&["machine", "network"]).unwrap(),
        &json!({"hostname": "a", "nameservers": ["1.1.1.1"],
            "interfaces": [{"interface": "eth0", "dhcp": true, "vip": {"ip": "10.0.0.10"}}]})
    );
    assert_eq!(rendered.at(&["machine", "install", "extraKernelArgs"]).unwrap(), &json!(["console=ttyS0"]));
    assert_eq!(rendered.documents().len(), 1);
}

#[test]
fn every_part_of_a_node_ends_in_its_place() {
    let config = good(&format!(
        "{HEAD}inlineManifests: [{{name: m, contents: 'kind: X'}}]\nnodes:\n- hostname: a\n  ipAddress: 10.0.0.11\n  controlPlane: true\n  installDisk: /dev/sda\n  \
         ignoreHostname: true\n  nameservers: [1.1.1.1]\n  disableSearchDomain: true\n  talosImageURL: example.org/installer\n  \
         machineFiles: [{{content: x, permissions: 0644, path: /var/x, op: create}}]\n  kernelModules: [{{name: br_netfilter}}]\n  \
         nodeTaints: {{t: 'v:NoSchedule'}}\n  ingressFirewall: {{defaultAction: block, rules: [{{name: r, portSelector: {{ports: [50000], protocol: tcp}}, ingress: [{{subnet: 10.0.0.0/8}}]}}]}}\n  \
         extensionServices: [{{name: ups, environment: [A=b], configFiles: [{{content: c, mountPath: /m}}]}}]\n  \
         volumes: [{{name: EPHEMERAL, provisioning: {{maxSize: 50GiB}}}}]\n  userVolumes: [{{name: data, provisioning: {{minSize: 1GiB}}}}]\n"
    ));
    let rendered = render(&config, "a");
    let machine = |key: &str| rendered.at(&["machine", key]).unwrap();
    assert_eq!(
        machine("files"),
        &json!([{"content": "x", "permissions": 0o644, "path": "/var/x", "op": "create"}])
    );
    assert_eq!(machine("kernel"), &json!({"modules": [{"name": "br_netfilter"}]}));
    assert_eq!(machine("nodeTaints"), &json!({"t": "v:NoSchedule"}));
    assert_eq!(machine("install")["image"], "example.org/installer:v1.13.9");
    assert_eq!(
        rendered.at(&["cluster", "inlineManifests"]).unwrap(),
        &json!([{"name": "m", "contents": "kind: X"}])
    );
    let field = |kind: &str, name: &str, key: &str| rendered.document(kind, name).unwrap()[key].clone();
    assert_eq!(field("HostnameConfig", "", "auto"), "stable");
    assert_eq!(field("ResolverConfig", "", "nameservers"), json!([{"address": "1.1.1.1"}]));
    assert_eq!(field("NetworkDefaultActionConfig", "", "ingress"), "block");
    assert_eq!(field("NetworkRuleConfig", "r", "portSelector"), json!({"ports": [50000], "protocol": "tcp"}));
    assert_eq!(field("ExtensionServiceConfig", "ups", "environment"), json!(["A=b"]));
    assert_eq!(field("VolumeConfig", "EPHEMERAL", "provisioning"), json!({"maxSize": "50GiB"}));
    assert_eq!(field("UserVolumeConfig", "data", "provisioning"), json!({"minSize": "1GiB"}));
}

#[test]
fn unknown_keys_have_no_effect_and_are_warned_about() {
    let (config, findings) = load_with(&one_node("installdisk: /dev/sdb, colour: red"), &[], &[]);
    assert!(config.is_some());
    let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        shown[0].starts_with("talconfig.yaml:6:84: warning[key-unknown]: unknown key `installdisk`"),
        "{shown:?}"
    );
    assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
    assert_eq!(findings.len(), 2);
}

#[test]
fn faults_are_found_together_and_at_their_places() {
    let text = "clusterName:\ntalosVersion: v1.13\nkubernetesVersion: v1.37.1\nendpoint: http://x\ncniConfig: {name: flanel}\nnodes:\n\
                - {hostname: a_b, ipAddress: nowhere, controlPlane: true}\n";
    let shown = faults(text);
    let heads: Vec<&str> = shown.iter().map(|finding| finding.split(": ").take(2).last().unwrap()).collect();
    for expected in [
        "error[key-missing]",
        "error[talos-version]",
        "error[endpoint]",
        "error[cni]",
        "error[node-hostname]",
        "error[node-address]",
        "error[install-disk]",
    ] {
        assert!(heads.contains(&expected), "{expected} is not in {shown:#?}");
    }
}

#[test]
fn each_rule_points_at_what_it_is_about() {
    let mut missing = Vec::new();
    let newer = one_node("x: 1").replace("v1.36.3", "v1.37.0").replace(", x: 1", "");
    for (text, expected) in [
        (newer, "talconfig.yaml:3:20: error[versions-incompatible]"),
        (one_node("installDiskSelector: {modle: x}"), "talconfig.yaml:6:106: error[key-unknown]"),
        (one_node("nodeTaints: {t: 'v:NoShedule'}"), "talconfig.yaml:6:100: error[taint]"),
        (one_node("nodeLabels: {l: '{{ x }}'}"), "talconfig.yaml:6:104: error[template]"),
        (
            one_node("patches: ['machine: {}', 'machine: {instal: {}}']"),
            "talconfig.yaml:6:120: error[patch-key]",
        ),
        (one_node("patches: ['machine: \"{{ x }}\"']"), "talconfig.yaml:6:108: error[template]"),
        (one_node("patches: ['[{op: add, path: /x, value: 1}]']"), "talconfig.yaml:6:95: error[patch-json]"),
        (one_node("patches: ['@missing.yaml']"), "talconfig.yaml:6:94: error[file]"),
        (one_node("patches: ['a: b: c']"), "talconfig.yaml:6:99: error[yaml]"),
        (one_node("schematic: {customisation: {}}"), "talconfig.yaml:6:96: warning[key-unknown]"),
        (one_node("schematic: {customization: []}"), "talconfig.yaml:6:111: error[type]"),
        (one_node("inlinePatch: {}"), "talconfig.yaml:6:84: warning[key-retired]"),
        (one_node("x: 1") + "schematic: {}\n", "talconfig.yaml:7:1: warning[key-misplaced]"),
        (
            one_node("volumes: [{name: EPHEMERAL, filesystem: {type: xfs}}]"),
            "talconfig.yaml:6:112: warning[key-unknown]",
        ),
        (
            one_node("userVolumes: [{name: a, provisioning: {minSise: 1GB}}]"),
            "talconfig.yaml:6:123: warning[key-unknown]",
        ),
        (one_node("userVolumes: [{name: a}, {name: a}]"), "talconfig.yaml:6:116: error[name-twice]"),
        (one_node("talosImageURL: 'example.org/installer:v1'"), "talconfig.yaml:6:99: error[image]"),
        (one_node("talosImageURL: siderolabs/installer"), "talconfig.yaml:6:99: error[image]"),
        (one_node("installDiskSelector: {}"), "talconfig.yaml:6:105: warning[install-disk]"),
        (one_node("machineSpec: {arch: sparc}"), "talconfig.yaml:6:104: error[architecture]"),
        (one_node("networkInterfaces: [{dhcp: true}]"), "talconfig.yaml:6:104: error[link]"),
        (one_node("extensionServices: [{name: x}]"), "talconfig.yaml:6:104: error[extension-service]"),
        (one_node("ipAdress: '${NOT_SET}'"), "talconfig.yaml:6:95: error[variable]"),
    ] {
        let shown = faults(&text);
        if !shown.iter().any(|finding| finding.starts_with(expected)) {
            missing.push(format!("{expected} is not in {shown:#?}\n{text}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn templates_are_filled_in_with_the_config_before_the_patches_of_their_kind() {
    let text = format!(
        "{HEAD}patches: ['machine: {{sysctls: {{global: \"{{{{ .MachineConfig.MachineSysctls.own }}}}\"}}}}']\n\
         controlPlane: {{patches: ['machine: {{sysctls: {{own: a}}}}', '@p.yaml']}}\n\
         nodes:\n- {{hostname: a, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda, \
         nodeLabels: {{disk: '{{{{ .MachineConfig.MachineInstall.InstallDisk }}}}'}}}}\n"
    );
    let file = "machine:\n  sysctls:\n    same: \"x{{ .MachineConfig.MachineSysctls.own }}${E}\"\n    \
                {{- $v := \"$E\" }}\n    kept: '{{ $v }}'\n";
    let (config, findings) = load_with(&text, &[("/site/p.yaml", file)], &[("E", "e")]);
    assert!(findings.is_empty(), "{findings}");
    let rendered = render(&config.unwrap(), "a");
    assert_eq!(
        rendered.at(&["machine", "sysctls"]).unwrap(),
        &json!({"own": "a", "same": "x<no value>e", "kept": "$E", "global": "a"})
    );
    assert_eq!(rendered.at(&["machine", "nodeLabels"]).unwrap(), &json!({"disk": "/dev/sda"}));

    let wrong = one_node("patches: ['machine: {env: {A: \"{{ .MachineConfig.MachineTyp }}\"}}']");
    let shown = faults(&wrong);
    assert!(shown[0].starts_with("talconfig.yaml:6:118: error[template]"), "{shown:?}");
    assert!(shown[0].contains("did you mean `MachineType`?"), "{shown:?}");
    let shown = faults(&one_node("nodeLabels: {l: '{{ .MachineConfig.MachineNetwork.X }}'}"));
    assert!(shown[0].starts_with("talconfig.yaml:6:104: error[template]"), "{shown:?}");
}

#[test]
fn lldpd_is_configured_unless_the_site_does_it() {
    let schematic =
        "schematic: {customization: {systemExtensions: {officialExtensions: [siderolabs/lldpd]}}}";
    let own = "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: lldpd\nconfigFiles:\n  - content: own\n    \
               mountPath: /usr/local/etc/lldpd/lldpd.conf\n";
    let gone = "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: lldpd\n$patch: delete\n";
    for (more, file, expected) in [
        ("", "", Some(crate::documents::LLDPD_CONF)),
        (", patches: ['@f.yaml']", own, Some("own")),
        (", extraManifests: [f.yaml]", own, Some("own")),
        (
            ", extensionServices: [{name: lldpd, configFiles: [{content: other, mountPath: /m}]}]",
            "",
            Some("other"),
        ),
        (", patches: ['@f.yaml']", &gone.replace('$', "$$"), None),
    ] {
        let (config, findings) =
            load_with(&one_node(&format!("{schematic}{more}")), &[("/site/f.yaml", file)], &[]);
        assert!(!findings.has_errors(), "{findings}");
        let rendered = render(&config.unwrap(), "a");
        let content = rendered.document("ExtensionServiceConfig", "lldpd").map(|document| {
            let files = document["configFiles"].as_array().unwrap();
            assert_eq!(files.len(), 1, "{more}");
            files[0]["content"].as_str().unwrap().to_owned()
        });
        assert_eq!(content.as_deref(), expected, "{more}");
    }
}

#[test]
fn files_and_installers_are_named_by_templates() {
    let (config, findings) = load_with(
        &format!(
            "{HEAD}imageFactory: {{registryURL: example.org, installerURLTmpl: '{{{{.RegistryURL}}}}/{{{{.Mode}}}}{{{{if .Secureboot}}}}-sb{{{{end}}}}:{{{{.Version}}}}'}}\n\
         nodes:\n- {{hostname: a, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda, filenameTmpl: '{{{{ .Role }}}}/{{{{ .IPAddress }}}}.yaml', machineSpec: {{secureboot: true}}}}\n\
         - {{hostname: b, ipAddress: 10.0.0.12, installDisk: /dev/sda, filenameTmpl: '../{{{{ .Hostname }}}}'}}\n"
        ),
        &[],
        &[],
    );
    let config = config.unwrap();
    assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["file-name"], "{findings}");
    assert_eq!(config.installer_image(&config.nodes[0]).unwrap(), "example.org/metal-sb:v1.13.9");
    assert_eq!(config.file_name(&config.nodes[0]).unwrap(), "controlplane/10.0.0.11.yaml");
    assert!(matches!(config.file_name(&config.nodes[1]), Err(RenderError::FileName { .. })));
}

#[test]
fn encrypted_files_are_named_for_what_they_are() {
    let shown = faults(&format!("{HEAD}sops: {{version: 3}}\n"));
    assert!(shown[0].starts_with("talconfig.yaml:5:1: error[sops]"), "{shown:?}");
    let encrypted = "machine: ENC[AES256_GCM,data:x]\nsops:\n  version: 3\n";
    let (_, findings) = load_with(&one_node("patches: ['@p.yaml']"), &[("/site/p.yaml", encrypted)], &[]);
    assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["sops"]);
}

#[test]
fn two_nodes_are_not_one() {
    let text = format!(
        "{}  - {{hostname: a, ipAddress: 10.0.0.11, installDisk: /dev/sda}}\n",
        one_node("x: 1").replace(", x: 1", "")
    );
    let shown = faults(&text);
    assert!(shown[0].starts_with("talconfig.yaml:7:16: error[node-twice]"), "{shown:?}");
    assert!(shown[1].starts_with("talconfig.yaml:7:30: error[node-address]"), "{shown:?}");
}

#[test]
fn passwords_do_not_show() {
    let config = good(&one_node("patches: ['machine: {env: {P: hunter2}}']"));
    assert!(!format!("{config:?} {:?}", config.nodes[0].configs).contains("hunter2"));
}

#[test]
fn every_file_is_read_through_the_caller() {
    let seen = RefCell::new(Vec::new());
    let read = |path: &Path| {
        seen.borrow_mut().push(path.to_owned());
        Ok(String::from("machine: {}\n"))
    };
    let environment = BTreeMap::new();
    let sources = Sources { directory: Path::new("/site"), read: &read, environment: &environment };
    let (config, findings) =
        load("talconfig.yaml", &one_node("patches: ['@./p.yaml', '@/etc/p.yaml']"), &sources);
    assert!(config.is_some() && findings.is_empty(), "{findings}");
    assert_eq!(*seen.borrow(), [Path::new("/site/./p.yaml"), Path::new("/etc/p.yaml")]);
}

#[test]
fn links_are_those_the_machine_must_bring() {
    let config = good(&format!(
        "{HEAD}nodes:\n- hostname: a\n  ipAddress: 10.0.0.11\n  controlPlane: true\n  installDisk: /dev/sda\n  networkInterfaces:\n  \
         - {{interface: bond0, bond: {{mode: 802.3ad, interfaces: [eth0, eth1]}}, addresses: [10.0.0.11/24]}}\n  \
         - {{interface: br0, bridge: {{interfaces: [bond0]}}}}\n  \
         - {{deviceSelector: {{permanentAddr: '64:4b:f0:00:00:03'}}, dhcp: true}}\n  \
         - {{deviceSelector: {{driver: 'ixgbe'}}}}\n  - {{interface: eth0, mtu: 9000}}\n"
    ));
    let node = config.node("a").unwrap();
    let name = |name: &str| Link::Name(name.to_owned());
    assert_eq!(node.links(), [name("eth0"), name("eth1"), Link::Mac("64:4b:f0:00:00:03".parse().unwrap())]);
    assert!(node.has_static_address());
}

#[test]
fn links_and_shared_addresses_in_patches_count() {
    for patch in [
        "machine: {network: {interfaces: [{interface: eth0, addresses: [10.0.0.11/24], vip: {ip: 10.0.0.10}}]}}",
        "{apiVersion: v1alpha1, kind: LinkConfig, name: eth0, addresses: [{address: 10.0.0.11/24}]}\n---\n\
         {apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 10.0.0.10, link: eth0}",
    ] {
        let text = format!(
            "{HEAD}patches: ['@net.yaml']\nnodes:\n- {{hostname: a, ipAddress: 10.0.0.11, controlPlane: true, installDisk: /dev/sda}}\n"
        );
        let (config, findings) = load_with(&text, &[("/site/net.yaml", patch)], &[]);
        assert!(findings.is_empty(), "{findings}");
        let config = config.unwrap();
        assert_eq!(config.virtual_addresses(), ["10.0.0.10".parse::<IpAddr>().unwrap()], "{patch}");
        assert_eq!(config.nodes[0].links(), [Link::Name("eth0".into())], "{patch}");
        assert!(config.nodes[0].has_static_address(), "{patch}");
    }
    let alias = "{apiVersion: v1alpha1, kind: LinkAliasConfig, name: net0, selector: {match: 'link.type == 1'}}\n---\n\
                 {apiVersion: v1alpha1, kind: Layer2VIPConfig, name: 10.0.0.10, link: net0}";
    let (config, _) = load_with(&one_node("patches: ['@net.yaml']"), &[("/site/net.yaml", alias)], &[]);
    assert_eq!(config.unwrap().nodes[0].links(), []);
}
