//! Every example site loads without a fault and renders configs that Talos would know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests say what they rely on

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use identity::Slot;
use lifecycle::{DeployPolicy, InstallDisk, Role, Trust};
use serde_json::json;
use site::{DhcpMode, Files, Site};
use talos_config::{config::MachineConfig, schema, secrets::SecretsBundle};

static SECRETS: LazyLock<SecretsBundle> = LazyLock::new(|| SecretsBundle::generate(1_700_000_000).unwrap());

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

fn profiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../profiles")
}

fn load(profile: &str) -> (Site, Vec<String>) {
    let (site, findings) = match Site::load(&profiles().join(profile), &Disk, &BTreeMap::new()) {
        Ok(loaded) => loaded,
        Err(findings) => panic!("{findings}"),
    };
    let rules = findings
        .iter()
        .filter(|finding| finding.rule != "secrets-missing")
        .map(|finding| finding.rule.to_owned());
    (site, rules.collect())
}

fn render(site: &Site) -> BTreeMap<String, MachineConfig> {
    let rendered = site.render(&SECRETS).unwrap();
    let cluster = &site.cluster().cluster_name;
    rendered
        .iter()
        .map(|rendered| {
            assert_eq!(rendered.file, format!("{cluster}-{}.yaml", rendered.node));
            let config = MachineConfig::from_yaml(&rendered.text).unwrap();
            let unknown = schema::unknown_keys(&config);
            assert!(unknown.is_empty(), "{}: {unknown:?}", rendered.node);
            let directly = site.machine_config(&rendered.node, &SECRETS).unwrap();
            assert_eq!(*directly.to_yaml().unwrap(), *rendered.text);
            (rendered.node.clone(), config)
        })
        .collect()
}

#[test]
fn every_profile_loads_and_renders() {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(profiles()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            let (site, _) = load(&name);
            assert_eq!(site.name(), name);
            assert_eq!(render(&site).len(), site.plan().nodes.len());
            seen.push(name);
        }
    }
    seen.sort();
    assert_eq!(seen, ["home-ops", "lab", "vagrant"]);
}

#[test]
fn home_ops_is_the_reference_site() {
    let (site, warnings) = load("home-ops");
    assert_eq!(warnings, ["trust-machine"]);
    let plan = site.clone().for_cluster("id").plan();
    assert_eq!(plan.cluster_id, "id");
    assert_eq!(plan.virtual_address, Some("172.29.51.10".parse().unwrap()));
    assert_eq!((plan.deploy, plan.trust), (DeployPolicy::Ask, Trust::Machine));
    assert_eq!(plan.handover, ["namespaces"]);
    assert_eq!(plan.control_planes().count(), 3);
    for (number, (name, node)) in (11..).zip(&plan.nodes) {
        assert_eq!(name.0, format!("mini{:02}", number - 10));
        assert_eq!(node.address, IpAddr::from([172, 29, 51, number]));
        assert_eq!(node.role, Role::ControlPlane);
        let InstallDisk::Selector(selector) = &node.install_disk else { panic!("{:?}", node.install_disk) };
        assert_eq!(selector.model.as_deref(), Some("APPLE SSD*"));
    }
    let ports: Vec<String> = site.slots().all().iter().map(|slot: &Slot| slot.ports[0].to_string()).collect();
    assert_eq!(ports, ["sw1/Eth1/1", "sw1/Eth1/2", "sw1/Eth1/3"]);
    let network = &site.networks()[0];
    assert_eq!(network.dhcp, DhcpMode::Authoritative);
    assert_eq!(network.pool.unwrap().to_string(), "172.29.51.100-172.29.51.199");

    let id = "customization:\n    systemExtensions:\n        officialExtensions:\n            \
              - siderolabs/iscsi-tools\n            - siderolabs/lldpd\n";
    let [set] = &site.image_sets()[..] else { panic!("one kind of images") };
    assert_eq!(site.cluster().nodes[0].schematic.canonical(), id);
    assert_eq!((set.version.as_str(), set.architecture.name()), ("v1.13.9", "amd64"));

    for (name, config) in render(&site) {
        let at = |keys: &[&str]| config.at(keys).unwrap_or_else(|| panic!("{name}: {keys:?}"));
        assert_eq!(at(&["cluster", "controlPlane", "endpoint"]), "https://172.29.51.10:6443");
        assert_eq!(at(&["cluster", "network", "cni"]), &json!({"name": "none"}));
        assert_eq!(at(&["cluster", "proxy", "disabled"]), true);
        assert_eq!(
            at(&["cluster", "network", "podSubnets"]),
            &json!(["10.244.0.0/16", "fd47:25e1:2f96:a000::/56"])
        );
        assert_eq!(
            at(&["cluster", "network", "serviceSubnets"]),
            &json!(["10.96.0.0/16", "fd47:25e1:2f96:b000::/112"])
        );
        assert_eq!(at(&["machine", "install", "diskSelector"]), &json!({"model": "APPLE SSD*"}));
        let image = format!("factory.talos.dev/metal-installer/{}:v1.13.9", set.schematic);
        assert_eq!(at(&["machine", "install", "image"]), &json!(image));
        let lldpd = &config.document("ExtensionServiceConfig", "lldpd").unwrap()["configFiles"][0];
        assert_eq!(lldpd["mountPath"], "/usr/local/etc/lldpd/lldpd.conf");
        let content = lldpd["content"].as_str().unwrap();
        assert!(content.contains("configure lldp portidsubtype ifname\n"));
        assert!(content.contains("unconfigure lldp management-addresses-advertisements\n"));
        assert_eq!(config.document("Layer2VIPConfig", "172.29.51.10").unwrap()["link"], "ethSel0");
        assert_eq!(config.document("HostnameConfig", "").unwrap()["hostname"], json!(name));
    }
}

#[test]
fn the_lab_has_a_switch_of_its_own() {
    let (site, warnings) = load("lab");
    assert_eq!(warnings, [""; 0]);
    let switch = &site.switches()[0];
    assert_eq!((switch.name.as_str(), switch.bridge.as_deref(), switch.ports.len()), ("sw1", Some("br0"), 4));
    let plan = site.plan();
    assert_eq!((plan.nodes.len(), plan.control_planes().count(), plan.deploy), (4, 3, DeployPolicy::Auto));
    assert!(site.images().unwrap().ends_with("lab/images"));
    let worker = &render(&site)["worker1"];
    assert_eq!(worker.at(&["machine", "type"]).unwrap(), "worker");
    assert_eq!(worker.document("Layer2VIPConfig", "10.77.0.10"), None);
}

#[test]
fn the_virtual_machines_are_where_the_vagrantfile_plugs_them_in() {
    let (site, warnings) = load("vagrant");
    assert_eq!(warnings, [""; 0]);
    let vagrantfile = std::fs::read_to_string(profiles().join("../Vagrantfile")).unwrap();
    let network = &site.networks()[0];
    assert!(vagrantfile.contains(&format!("<bridge name='{}'", network.interface)));
    assert!(vagrantfile.contains(&format!("ADDRESS = \"{}\"", network.gateway.unwrap())));
    let switch = &site.switches()[0];
    for (number, interface) in (1..).zip(switch.ports.values()) {
        assert_eq!(*interface, format!("ichord-p{number}"));
    }
    assert!(vagrantfile.contains("libvirt__iface_name: \"ichord-p#{number}\""));
    assert!(vagrantfile.contains(&format!("MACHINES = {}\n", site.plan().nodes.len())));
    assert_eq!(site.kernel_args(), ["console=ttyS0"]);
}
