//! Kinds of change, each as a text in the config that becomes another one.

use rollout::{
    Class::{self, Live, Reboot, Refused, Reinstall},
    Phase::{self, Bootstrap, GitOps},
};

/// A config with something at every place that the cases touch. Strictly decoded by Talos 1.13, too.
pub(crate) const BASE: &str = r#"version: v1alpha1
debug: false
machine:
  type: controlplane
  token: abcdef.0123456789abcdef
  ca: {crt: YQ==, key: Yg==}
  certSANs: [a.example]
  nodeLabels: {zone: a}
  nodeAnnotations: {note: a}
  nodeTaints: {dedicated: "db:NoSchedule"}
  sysctls: {net.core.rmem_max: "1"}
  sysfs: {devices.system.cpu.cpu0.cpufreq.scaling_governor: performance}
  env: {HTTP_PROXY: "http://proxy"}
  kernel: {modules: [{name: nvme_tcp}]}
  udev: {rules: ["SUBSYSTEM==\"block\""]}
  files: [{path: /var/a, permissions: 0o644, content: old-file-content, op: create}]
  install: {disk: /dev/sda, image: "factory.talos.dev/metal-installer/s1:v1.13.9", wipe: false, extraKernelArgs: [quiet]}
  disks: [{device: /dev/sdb, partitions: [{mountpoint: /var/mnt/a}]}]
  systemDiskEncryption: {ephemeral: {provider: luks2, keys: [{slot: 0, nodeID: {}}]}}
  kubelet:
    image: ghcr.io/siderolabs/kubelet:v1.35.4
    extraArgs: {v: "2"}
    nodeIP: {validSubnets: [10.0.0.0/8]}
  network:
    nameservers: [1.1.1.1]
    interfaces:
      - interface: eth0
        addresses: [10.0.0.11/24, 10.9.0.11/24]
        mtu: 1500
        routes: [{network: 0.0.0.0/0, gateway: 10.0.0.254}]
        vip: {ip: 10.0.0.10}
    extraHostEntries: [{ip: 10.0.0.9, aliases: [nine]}]
  features:
    rbac: true
    kubePrism: {enabled: true, port: 7445}
    hostDNS: {enabled: true}
    kubernetesTalosAPIAccess: {enabled: false}
  time: {servers: [time.example]}
  logging: {destinations: [{endpoint: "udp://10.0.0.1:5000/", format: json_lines}]}
  registries:
    mirrors: {ghcr.io: {endpoints: ["https://mirror-a"]}}
    config: {ghcr.io: {auth: {username: u, password: old-password}}}
  seccompProfiles: [{name: audit.json, value: {defaultAction: SCMP_ACT_LOG}}]
cluster:
  id: cluster-id
  secret: cluster-secret
  clusterName: home
  token: fedcba.0123456789abcdef
  secretboxEncryptionSecret: old-box
  ca: {crt: YQ==, key: Yg==}
  controlPlane: {endpoint: "https://10.0.0.10:6443"}
  network: {dnsDomain: cluster.local, podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12], cni: {name: none}}
  apiServer: {image: "registry.k8s.io/kube-apiserver:v1.35.4", certSANs: [b.example], extraArgs: {audit-log-maxage: "1"}}
  controllerManager: {image: "registry.k8s.io/kube-controller-manager:v1.35.4"}
  proxy: {disabled: true}
  etcd: {ca: {crt: YQ==, key: Yg==}, advertisedSubnets: [10.0.0.0/24], extraArgs: {quota-backend-bytes: "1"}}
  discovery: {enabled: true}
  coreDNS: {disabled: false}
  inlineManifests: [{name: one, contents: "{apiVersion: networking.k8s.io/v1, kind: Ingress}"}]
  extraManifests: ["https://manifests.example/a.yaml"]
  allowSchedulingOnControlPlanes: true
---
apiVersion: v1alpha1
kind: HostnameConfig
auto: off
hostname: cp1
---
apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: lldpd
configFiles: [{content: old-lldpd-content, mountPath: /etc/a}]
---
apiVersion: v1alpha1
kind: NetworkRuleConfig
name: api
portSelector: {ports: [50000], protocol: tcp}
ingress: [{subnet: 10.0.0.0/8}]
---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning: {minSize: 10GB, grow: true}
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: data
provisioning: {minSize: 5GB, diskSelector: {match: "!system_disk"}}
filesystem: {type: xfs}
---
apiVersion: v1alpha1
kind: LinkConfig
name: eth1
mtu: 1400
addresses: [{address: 10.7.0.11/24}]
---
apiVersion: v1alpha1
kind: KubeSpanConfig
enabled: false
---
apiVersion: v1alpha1
kind: WatchdogTimerConfig
device: /dev/watchdog0
timeout: 2m0s
---
apiVersion: v1alpha1
kind: TrustedRootsConfig
name: house
certificates: old-roots
"#;

/// A kind of change, and what it takes.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) class: Class,
    pub(crate) phase: Phase,
    /// part of the way, where there must be one
    pub(crate) way: &'static str,
}

const fn case(what: &'static str, from: &'static str, to: &'static str, class: Class) -> Case {
    Case { what, from, to, class, phase: Bootstrap, way: "" }
}

const fn way(
    what: &'static str,
    from: &'static str,
    to: &'static str,
    class: Class,
    way: &'static str,
) -> Case {
    Case { what, from, to, class, phase: Bootstrap, way }
}

const fn git(what: &'static str, from: &'static str, to: &'static str) -> Case {
    Case { what, from, to, class: Live, phase: GitOps, way: "" }
}

pub(crate) const CASES: &[Case] = &[
    // what Talos takes while it runs
    case("debug output", "debug: false", "debug: true", Live),
    case("a label", "zone: a", "zone: b", Live),
    case("a label goes", "nodeLabels: {zone: a}", "nodeLabels: {}", Live),
    case("an annotation", "note: a", "note: b", Live),
    case("a taint", "db:NoSchedule", "db:NoExecute", Live),
    case("another name in the API's certificate", "[a.example]", "[a.example, c.example]", Live),
    case("a sysctl", "rmem_max: \"1\"", "rmem_max: \"2\"", Live),
    case("a sysfs value", "scaling_governor: performance", "scaling_governor: powersave", Live),
    case("a kernel module", "[{name: nvme_tcp}]", "[{name: nvme_tcp}, {name: zfs}]", Live),
    case("an argument of the kubelet", "extraArgs: {v: \"2\"}", "extraArgs: {v: \"4\"}", Live),
    case("where the kubelet's address is", "validSubnets: [10.0.0.0/8]", "validSubnets: [10.0.0.0/24]", Live),
    case("a name server", "nameservers: [1.1.1.1]", "nameservers: [9.9.9.9]", Live),
    case("the MTU of a link", "mtu: 1500", "mtu: 9000", Live),
    case("a route", "gateway: 10.0.0.254", "gateway: 10.0.0.253", Live),
    case("a host entry", "aliases: [nine]", "aliases: [nine, neun]", Live),
    case("one more address", "10.9.0.11/24]", "10.9.0.11/24, 10.8.0.11/24]", Live),
    case("addresses in another order", "[10.0.0.11/24, 10.9.0.11/24]", "[10.9.0.11/24, 10.0.0.11/24]", Live),
    case("a time server", "time.example", "ntp.example", Live),
    case("where logs go", "udp://10.0.0.1:5000/", "udp://10.0.0.2:5000/", Live),
    case("a mirror of a registry", "https://mirror-a", "https://mirror-b", Live),
    case("the password of a registry", "old-password", "new-password", Live),
    case("a seccomp profile", "SCMP_ACT_LOG", "SCMP_ACT_ERRNO", Live),
    case("KubePrism's port", "port: 7445", "port: 7446", Live),
    case("host DNS", "hostDNS: {enabled: true}", "hostDNS: {enabled: false}", Live),
    case(
        "Talos's API from Kubernetes",
        "kubernetesTalosAPIAccess: {enabled: false}",
        "kubernetesTalosAPIAccess: {enabled: true, allowedRoles: [\"os:reader\"]}",
        Live,
    ),
    case("an argument of the API server", "audit-log-maxage: \"1\"", "audit-log-maxage: \"9\"", Live),
    case("kube-proxy", "proxy: {disabled: true}", "proxy: {disabled: false}", Live),
    case("DNS in the cluster", "coreDNS: {disabled: false}", "coreDNS: {disabled: true}", Live),
    case("an argument of etcd", "quota-backend-bytes: \"1\"", "quota-backend-bytes: \"2\"", Live),
    case("discovery", "discovery: {enabled: true}", "discovery: {enabled: false}", Live),
    case("the cluster's name", "clusterName: home", "clusterName: house", Live),
    case(
        "pods on control planes",
        "allowSchedulingOnControlPlanes: true",
        "allowSchedulingOnControlPlanes: false",
        Live,
    ),
    way("the network plugin", "cni: {name: none}", "cni: {name: flannel}", Live, "stays there"),
    way(
        "Kubernetes' next minor version",
        "kubelet:v1.35.4",
        "kubelet:v1.36.3",
        Live,
        "`ichord upgrade kubernetes`",
    ),
    case("a patch of Kubernetes", "kube-apiserver:v1.35.4", "kube-apiserver:v1.35.5", Live),
    way("wiping at the next installation", "wipe: false", "wipe: true", Live, "at the next installation"),
    // documents of their own
    case("the config of an extension", "old-lldpd-content", "new-lldpd-content", Live),
    case("a firewall rule", "ports: [50000]", "ports: [50000, 50001]", Live),
    case("a link's MTU in a document", "mtu: 1400", "mtu: 1450", Live),
    case("KubeSpan", "kind: KubeSpanConfig\nenabled: false", "kind: KubeSpanConfig\nenabled: true", Live),
    case("the watchdog", "timeout: 2m0s", "timeout: 3m0s", Live),
    case("a trusted root", "old-roots", "new-roots", Live),
    case(
        "one more volume",
        "kind: KubeSpanConfig",
        "kind: UserVolumeConfig\nname: more\nprovisioning: {minSize: 1GB, diskSelector: {match: \"!system_disk\"}}\n---\napiVersion: v1alpha1\nkind: KubeSpanConfig",
        Live,
    ),
    // what it reads when it starts
    case("the environment", "http://proxy", "http://other-proxy", Reboot),
    case("a file", "old-file-content", "new-file-content", Reboot),
    case("a rule of udev", "==\\\"block\\\"", "==\\\"net\\\"", Reboot),
    case("a disk of the old kind", "/var/mnt/a", "/var/mnt/b", Reboot),
    case("roles in the API", "rbac: true", "rbac: false", Reboot),
    case(
        "all features go",
        "  features:\n    rbac: true\n    kubePrism: {enabled: true, port: 7445}\n    hostDNS: {enabled: true}\n    kubernetesTalosAPIAccess: {enabled: false}\n",
        "",
        Reboot,
    ),
    // what only the installer writes
    way("another Talos", "s1:v1.13.9", "s1:v1.14.0", Reinstall, "`ichord upgrade talos`"),
    way(
        "another schematic",
        "metal-installer/s1:",
        "metal-installer/s2:",
        Reinstall,
        "`ichord upgrade talos`",
    ),
    way(
        "a kernel argument",
        "extraKernelArgs: [quiet]",
        "extraKernelArgs: [debug]",
        Reinstall,
        "installer has to run",
    ),
    way("the install disk", "disk: /dev/sda", "disk: /dev/nvme0n1", Reinstall, "installed anew"),
    way(
        "the size of Talos's own volume",
        "minSize: 10GB",
        "minSize: 20GB",
        Reinstall,
        "makes this volume when",
    ),
    // what cannot be changed in place
    way("pod addresses", "10.244.0.0/16", "10.245.0.0/16", Refused, "cannot renumber"),
    way("service addresses", "10.96.0.0/12", "10.112.0.0/12", Refused, "cannot renumber"),
    way(
        "the cluster's domain",
        "dnsDomain: cluster.local",
        "dnsDomain: k8s.home",
        Refused,
        "cannot renumber",
    ),
    way(
        "the endpoint",
        "https://10.0.0.10:6443",
        "https://api.home:6443",
        Refused,
        "additionalApiServerCertSans",
    ),
    way("the cluster's id", "id: cluster-id", "id: other-id", Refused, "another cluster"),
    way("the cluster's secret", "secret: cluster-secret", "secret: other-secret", Refused, "another cluster"),
    way("the node's name", "hostname: cp1", "hostname: cp9", Refused, "add a node of the new name"),
    way("a control plane's address", "10.0.0.11/24, ", "10.0.0.12/24, ", Refused, "etcd's other members"),
    way(
        "a control plane's address in a document",
        "10.7.0.11/24",
        "10.7.0.12/24",
        Refused,
        "etcd's other members",
    ),
    way(
        "the networks of etcd",
        "advertisedSubnets: [10.0.0.0/24]",
        "advertisedSubnets: [10.9.0.0/24]",
        Refused,
        "etcd's other members",
    ),
    way(
        "the virtual address that is the endpoint",
        "vip: {ip: 10.0.0.10}",
        "vip: {ip: 10.0.0.99}",
        Refused,
        "give the endpoint a name",
    ),
    way("the role", "type: controlplane", "type: worker", Refused, "in its new role"),
    way(
        "encryption of a disk",
        "keys: [{slot: 0, nodeID: {}}]",
        "keys: [{slot: 0, tpm: {}}]",
        Refused,
        "when its partitions are made",
    ),
    way(
        "no encryption any more",
        "  systemDiskEncryption: {ephemeral: {provider: luks2, keys: [{slot: 0, nodeID: {}}]}}\n",
        "",
        Refused,
        "when its partitions are made",
    ),
    way("a user's volume", "minSize: 5GB", "minSize: 6GB", Refused, "made once"),
    way("a user's filesystem", "type: xfs", "type: ext4", Refused, "made once"),
    way("the machine's token", "token: abcdef", "token: fedcbb", Refused, "the cluster's keys"),
    way("Kubernetes' token", "token: fedcba", "token: abcdee", Refused, "the cluster's keys"),
    way("the key of stored secrets", "old-box", "new-box", Refused, "the cluster's keys"),
    way(
        "a leap of Kubernetes",
        "kube-controller-manager:v1.35.4",
        "kube-controller-manager:v1.37.0",
        Refused,
        "one minor version at a time",
    ),
    way("Kubernetes back", "kube-apiserver:v1.35.4", "kube-apiserver:v1.34.0", Refused, "does not go back"),
    // what Git does after the hand-over
    git("an ingress", "kind: Ingress", "kind: IngressClass"),
    git("manifests from elsewhere", "manifests.example/a.yaml", "manifests.example/b.yaml"),
    git("BGP", "networking.k8s.io/v1, kind: Ingress", "cilium.io/v2, kind: CiliumBGPAdvertisement"),
    git("a storage class", "networking.k8s.io/v1, kind: Ingress", "storage.k8s.io/v1, kind: StorageClass"),
    case("a namespace", "networking.k8s.io/v1, kind: Ingress", "v1, kind: Namespace", Live),
];
