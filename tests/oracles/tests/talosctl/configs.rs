//! Base configs: what `talosctl gen config` makes of the same secrets and options we make too, and `talosctl validate`
//! takes it.

use talos_config::config::MachineConfig;
use talos_config::generate::{Cni, Input, MachineType};
use talos_config::patch;
use talos_config::versions::Contract;

use crate::talosctl::{SECRETS, Talosctl, documents};

const NAME: &str = "a.dotted.name";
const ENDPOINT: &str = "https://10.0.0.5:6443";
const KUBERNETES: &str = "1.34.1";
/// `talosctl` always writes an image and a disk; so is ours told.
const IMAGE: &str = "ghcr.io/siderolabs/installer:v1.13.9";
const DISK: &str = "/dev/sda";
const CUSTOM: &str = "factory.talos.dev/metal-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba:v1.13.9";

/// One way of being asked, on both sides.
struct Options {
    label: &'static str,
    name: &'static str,
    endpoint: &'static str,
    /// what our generator is told
    ours: fn(&mut Input),
    /// the flags of `talosctl gen config`
    flags: &'static [&'static str],
    /// what our generator is told in fields and `talosctl` in a patch
    in_their_patch: fn(Contract) -> &'static str,
    /// a patch for both sides, on control planes
    patch: &'static str,
}

const PLAIN: Options = Options {
    label: "plain",
    name: NAME,
    endpoint: ENDPOINT,
    ours: |_| {},
    flags: &[],
    in_their_patch: |_| "",
    patch: "",
};

const OPTIONS: [Options; 21] = [
    PLAIN,
    Options { label: "a name without dots", name: "home", ..PLAIN },
    Options { label: "a name that is a number", name: "1e3", ..PLAIN },
    Options { label: "endpoint name", endpoint: "https://k8s.example.com:443", ..PLAIN },
    Options { label: "endpoint without port", endpoint: "https://k8s.example.com", ..PLAIN },
    Options { label: "endpoint IPv6", endpoint: "https://[fd00::5]:6443", ..PLAIN },
    Options {
        label: "names",
        ours: |input| {
            input.additional_sans = ["k8s.example.com", "10.9.8.7", "fd00::1"].map(str::to_owned).to_vec()
        },
        flags: &["--additional-sans", "k8s.example.com,10.9.8.7,fd00::1"],
        ..PLAIN
    },
    Options {
        label: "dual stack",
        ours: |input| {
            input.pod_subnets = ["10.244.0.0/16", "fd00:1::/56"].map(str::to_owned).to_vec();
            input.service_subnets = ["10.96.0.0/12", "fd00:2::/112"].map(str::to_owned).to_vec();
        },
        in_their_patch: |_| "cluster: {network: {podSubnets: [10.244.0.0/16, 'fd00:1::/56'], serviceSubnets: [10.96.0.0/12, 'fd00:2::/112']}}",
        ..PLAIN
    },
    Options {
        label: "virtual address",
        patch: "machine: {network: {interfaces: [{interface: eth0, dhcp: true, vip: {ip: 10.0.0.5}}]}}",
        ..PLAIN
    },
    Options {
        label: "virtual address as a document",
        patch: "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.5\nlink: eth0\n",
        ..PLAIN
    },
    Options {
        label: "no CNI",
        ours: |input| input.cni = Some(Cni { name: "none".to_owned(), urls: vec![] }),
        in_their_patch: |_| "cluster: {network: {cni: {name: none}}}",
        ..PLAIN
    },
    Options {
        label: "no CNI and no kube-proxy, for Cilium",
        ours: |input| input.cni = Some(Cni { name: "none".to_owned(), urls: vec![] }),
        in_their_patch: |_| "cluster: {network: {cni: {name: none}}}",
        patch: "cluster: {proxy: {disabled: true}}",
        ..PLAIN
    },
    Options {
        label: "custom CNI",
        ours: |input| {
            let urls = vec!["https://example.com/cni.yaml".to_owned()];
            input.cni = Some(Cni { name: "custom".to_owned(), urls });
        },
        in_their_patch: |_| "cluster: {network: {cni: {name: custom, urls: ['https://example.com/cni.yaml']}}}",
        ..PLAIN
    },
    Options {
        label: "install disk",
        ours: |input| input.install_disk = Some("/dev/nvme0n1".to_owned()),
        flags: &["--install-disk", "/dev/nvme0n1"],
        ..PLAIN
    },
    Options {
        label: "install image",
        ours: |input| input.install_image = Some(CUSTOM.to_owned()),
        flags: &["--install-image", CUSTOM],
        ..PLAIN
    },
    Options {
        label: "mirrors",
        ours: |input| {
            let urls = ["https://a.example", "http://10.0.0.2:5000/path"].map(str::to_owned).to_vec();
            input.registry_mirrors.insert("ghcr.io".to_owned(), urls);
            input.registry_mirrors.insert("docker.io".to_owned(), vec!["https://b.example".to_owned()]);
        },
        flags: &[
            "--registry-mirror",
            "ghcr.io=https://a.example,ghcr.io=http://10.0.0.2:5000/path,docker.io=https://b.example",
        ],
        ..PLAIN
    },
    Options {
        label: "KubeSpan",
        ours: |input| input.kubespan = Some(true),
        flags: &["--with-kubespan"],
        ..PLAIN
    },
    Options {
        label: "KubeSpan off",
        ours: |input| input.kubespan = Some(false),
        in_their_patch: |contract| match contract.minor {
            ..13 => "machine: {network: {kubespan: {enabled: false}}}",
            _ => "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: false\n",
        },
        ..PLAIN
    },
    Options {
        label: "no discovery",
        ours: |input| input.discovery = false,
        flags: &["--with-cluster-discovery=false"],
        ..PLAIN
    },
    Options {
        label: "DNS domain",
        ours: |input| input.dns_domain = "cluster.example.com".to_owned(),
        flags: &["--dns-domain", "cluster.example.com"],
        ..PLAIN
    },
    Options {
        label: "much at once",
        endpoint: "https://k8s.example.com",
        ours: |input| {
            input.additional_sans = vec!["10.9.8.7".to_owned()];
            input.cni = Some(Cni { name: "none".to_owned(), urls: vec![] });
            input.install_disk = Some("/dev/vda".to_owned());
            input.install_image = Some(CUSTOM.to_owned());
            input.kubespan = Some(true);
            input.registry_mirrors.insert("*".to_owned(), vec!["https://b.example".to_owned()]);
        },
        flags: &[
            "--additional-sans=10.9.8.7",
            "--install-disk=/dev/vda",
            "--install-image",
            CUSTOM,
            "--with-kubespan",
            "--registry-mirror=*=https://b.example",
        ],
        in_their_patch: |_| "cluster: {network: {cni: {name: none}}}",
        patch: "machine: {network: {interfaces: [{interface: eth0, dhcp: true, vip: {ip: 10.0.0.5}}]}}",
        ..PLAIN
    },
];

impl Options {
    fn ours(&self, contract: Contract, machine: MachineType) -> MachineConfig {
        let mut input = Input::new(self.name, self.endpoint, contract).expect("known contract");
        input.kubernetes = KUBERNETES.parse().expect("a version");
        (input.install_disk, input.install_image) = (Some(DISK.to_owned()), Some(IMAGE.to_owned()));
        (self.ours)(&mut input);
        let config = input.generate(machine, &SECRETS).expect("generates");
        match (machine, self.patch) {
            (MachineType::Worker, _) | (_, "") => config,
            (MachineType::ControlPlane, patch) => patch::apply(config, patch).expect("applies"),
        }
    }

    /// Makes `controlplane.yaml`, `worker.yaml` and `talosconfig` in the folder `out`.
    fn theirs(&self, talosctl: &Talosctl, contract: Contract) {
        let version = format!("v{}.{}", contract.major, contract.minor);
        let mut arguments = vec!["gen", "config", self.name, self.endpoint, "--force", "--output", "out"];
        arguments.extend(["--with-secrets", "secrets.yaml", "--talos-version", &version]);
        arguments.extend(["--kubernetes-version", KUBERNETES, "--with-docs=false", "--with-examples=false"]);
        // a flag that comes again wins
        arguments.extend(["--install-image", IMAGE]);
        arguments.extend(self.flags);
        let for_all = (self.in_their_patch)(contract);
        if !for_all.is_empty() {
            arguments.extend(["--config-patch", for_all]);
        }
        if !self.patch.is_empty() {
            arguments.extend(["--config-patch-control-plane", self.patch]);
        }
        talosctl.run(&arguments).unwrap_or_else(|said| panic!("{}: {said}", self.label));
    }
}

/// Asks for every contract and option set. The newest talosctl that can be built is that of 1.13, and makes configs for
/// 1.14 in the shape of 1.13, as we do.
fn each(mut look: impl FnMut(Contract, &Options)) {
    for minor in 9..=14 {
        OPTIONS.iter().for_each(|options| look(Contract::new(1, minor), options));
    }
}

#[test]
fn every_base_config_equals_the_one_of_talosctl() {
    let Some(talosctl) = Talosctl::find() else { return };
    talosctl.write("secrets.yaml", &SECRETS.to_yaml().expect("writes"));
    let mut compared = 0;
    each(|contract, options| {
        options.theirs(&talosctl, contract);
        for (machine, file) in
            [(MachineType::ControlPlane, "out/controlplane.yaml"), (MachineType::Worker, "out/worker.yaml")]
        {
            let ours = options.ours(contract, machine).to_yaml().expect("writes");
            assert_eq!(
                documents(&ours),
                documents(&talosctl.read(file)),
                "contract {contract}, {machine:?}, {}",
                options.label
            );
            compared += 1;
        }
    });
    assert_eq!(compared, 6 * 2 * OPTIONS.len());
}

#[test]
fn every_base_config_is_valid_for_metal() {
    let Some(talosctl) = Talosctl::find() else { return };
    each(|contract, options| {
        for machine in [MachineType::ControlPlane, MachineType::Worker] {
            talosctl.write("config.yaml", &options.ours(contract, machine).to_yaml().expect("writes"));
            let said = talosctl.run(&["validate", "--config", "config.yaml", "--mode", "metal", "--strict"]);
            let said =
                said.unwrap_or_else(|said| panic!("{contract}, {machine:?}, {}: {said}", options.label));
            assert!(said.contains("is valid for metal mode"), "{said}");
        }
    });
}
