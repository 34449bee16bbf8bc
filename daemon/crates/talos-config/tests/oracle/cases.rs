//! Patches that people write, and their corners. `tests/oracles` asks the real tool about the same ones.

/// A config with something at every place that the cases touch.
pub(crate) const FULL: &str = r#"
version: v1alpha1
machine:
  type: controlplane
  token: abcdef.0123456789abcdef
  ca: {crt: YQ==, key: Yg==}
  certSANs: [a.example]
  nodeLabels: {zone: a, empty: ""}
  sysctls: {net.core.rmem_max: "1"}
  env: {HTTP_PROXY: "http://proxy"}
  install: {disk: /dev/sda, image: "installer:v1", wipe: false, extraKernelArgs: [quiet]}
  kubelet:
    image: kubelet:v1
    extraArgs: {v: "2", feature-gates: [A=true, B=true]}
    extraMounts: [{destination: /a, type: bind, source: /a, options: [rbind]}]
    extraConfig: {maxPods: 100, allowed: [x], nested: {a: 1, b: text, c: true}}
    nodeIP: {validSubnets: [10.0.0.0/8]}
  network:
    hostname: old
    nameservers: [1.1.1.1]
    interfaces:
      - interface: eth0
        dhcp: true
        addresses: [10.0.0.1/24]
        routes: [{network: 0.0.0.0/0, gateway: 10.0.0.254}]
        vlans:
          - {vlanId: 5, dhcp: true, addresses: [10.5.0.1/24]}
          - {vlanId: 6, dhcp: false}
      - deviceSelector: {hardwareAddr: "00:11:*", driver: virtio}
        mtu: 1500
    extraHostEntries: [{ip: 10.0.0.9, aliases: [nine]}]
  files: [{path: /var/a, permissions: 0o644, content: a, op: create}]
  features: {kubePrism: {enabled: true, port: 7445}, hostDNS: {enabled: true}}
  time: {disabled: false, servers: [time.example], bootTimeout: 2m0s}
  logging: {destinations: [{endpoint: "udp://10.0.0.1:5000/", format: json_lines}]}
  registries:
    mirrors: {ghcr.io: {endpoints: ["https://a"], overridePath: true}}
    config: {ghcr.io: {auth: {username: u, password: p}}}
cluster:
  id: id
  controlPlane: {endpoint: "https://a:6443/path"}
  network: {dnsDomain: cluster.local, podSubnets: [10.244.0.0/16], serviceSubnets: [10.96.0.0/12]}
  apiServer:
    image: api:v1
    certSANs: [b.example]
    extraArgs: {v: "1"}
    extraVolumes: [{hostPath: /h, mountPath: /m, readonly: true}]
    admissionControl:
      - name: PodSecurity
        configuration: {defaults: {enforce: baseline}, exemptions: {namespaces: [kube-system]}}
    auditPolicy: {kind: Policy, rules: [{level: Metadata}]}
  proxy: {disabled: false, image: "proxy:v1"}
  discovery: {enabled: true, registries: {kubernetes: {disabled: true}, service: {endpoint: "https://d"}}}
  inlineManifests: [{name: one, contents: "a: 1"}]
  extraManifests: ["https://m"]
  allowSchedulingOnControlPlanes: true
---
apiVersion: v1alpha1
kind: HostnameConfig
auto: stable
---
apiVersion: v1alpha1
kind: ExtensionServiceConfig
name: lldpd
configFiles: [{content: old, mountPath: /etc/a}]
environment: [A=1]
---
apiVersion: v1alpha1
kind: NetworkRuleConfig
name: api
portSelector: {ports: [50000, 6443-6444], protocol: tcp}
ingress: [{subnet: 10.0.0.0/8, except: 10.1.0.0/16}]
---
apiVersion: v1alpha1
kind: NetworkDefaultActionConfig
ingress: block
---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning: {minSize: 10GB, maxSize: 20GB, grow: false, diskSelector: {match: "disk.size > 1u * GB"}}
---
apiVersion: v1alpha1
kind: VLANConfig
name: eth0.5
vlanID: 5
parent: eth0
mtu: 1500
addresses: [{address: 10.5.0.1/24}]
---
apiVersion: v1alpha1
kind: ImageVerificationConfig
rules:
  - {image: "docker.io/*", skip: true}
  - {image: "ghcr.io/*", deny: true}
---
apiVersion: v1alpha1
kind: WatchdogTimerConfig
device: /dev/watchdog0
timeout: 2m0s
"#;

/// Each case is a list of patches, one after the other.
pub(crate) const CASES: &[(&str, &[&str])] = &[
    ("a scalar is replaced", &["machine: {network: {hostname: new}}"]),
    ("an empty text says nothing", &["machine: {network: {hostname: ''}}"]),
    ("an empty text in a map says nothing", &["machine: {nodeLabels: {zone: ''}}"]),
    ("null says nothing", &["machine: {network: {hostname: null}, kubelet: null, nodeLabels: ~}"]),
    ("zero says nothing", &["machine: {features: {kubePrism: {port: 0}}}"]),
    ("false counts", &["machine: {features: {kubePrism: {enabled: false}}, install: {wipe: true}}"]),
    (
        "false counts in plain booleans",
        &["cluster: {apiServer: {extraVolumes: [{hostPath: /x, mountPath: /y, readonly: false}]}}"],
    ),
    ("a zero duration says nothing", &["machine: {time: {bootTimeout: 0s, disabled: true}}"]),
    ("a duration is replaced", &["machine: {time: {bootTimeout: 3m}}"]),
    ("maps merge", &["machine: {nodeLabels: {rack: r1}, sysctls: {net.core.wmem_max: 2500000}}"]),
    (
        "texts in maps keep their spelling",
        &["machine: {nodeLabels: {a: 0755, b: 1.10, c: yes, d: 1_000, e: true}}"],
    ),
    ("lists append", &["machine: {certSANs: [b.example], network: {nameservers: [8.8.8.8]}}"]),
    ("an empty list appends nothing", &["machine: {certSANs: [], network: {nameservers: []}}"]),
    ("twice is twice", &["machine: {certSANs: [x]}", "machine: {certSANs: [x]}"]),
    (
        "pod subnets are replaced",
        &["cluster: {network: {podSubnets: [10.1.0.0/16], serviceSubnets: [10.2.0.0/16]}}"],
    ),
    ("pod subnets are replaced by nothing", &["cluster: {network: {podSubnets: []}}"]),
    (
        "the audit policy is replaced",
        &["cluster: {apiServer: {auditPolicy: {kind: Policy, rules: [{level: None}]}}}"],
    ),
    (
        "admission plugins merge by name",
        &[
            "cluster: {apiServer: {admissionControl: [{name: PodSecurity, configuration: {exemptions: {namespaces: [x]}, defaults: {enforce: privileged}}}, {name: Other, configuration: {a: 1}}]}}",
        ],
    ),
    (
        "interfaces merge by name",
        &["machine: {network: {interfaces: [{interface: eth0, addresses: [10.0.0.2/24], mtu: 9000}]}}"],
    ),
    (
        "interfaces merge by selector",
        &[
            "machine: {network: {interfaces: [{deviceSelector: {hardwareAddr: '00:11:*', driver: virtio}, dhcp: true}]}}",
        ],
    ),
    (
        "other selectors are other interfaces",
        &["machine: {network: {interfaces: [{deviceSelector: {hardwareAddr: '00:11:*'}, dhcp: true}]}}"],
    ),
    (
        "a new interface is appended",
        &["machine: {network: {interfaces: [{interface: eth1, dhcp: true, vip: {ip: 10.0.0.5}}]}}"],
    ),
    (
        "VLANs merge by number",
        &[
            "machine: {network: {interfaces: [{interface: eth0, vlans: [{vlanId: 6, dhcp: true}, {vlanId: 7, mtu: 1400}]}]}}",
        ],
    ),
    (
        "arguments are replaced one by one",
        &["machine: {kubelet: {extraArgs: {v: 4, feature-gates: C=true, rotate: [a, b]}}}"],
    ),
    (
        "free config merges",
        &[
            "machine: {kubelet: {extraConfig: {maxPods: 200, allowed: [y], nested: {b: other, c: false, d: [1]}}}}",
        ],
    ),
    (
        "free config keeps what a zero would replace",
        &["machine: {kubelet: {extraConfig: {maxPods: 0, nested: {b: ''}}}}"],
    ),
    ("free config of another kind is refused", &["machine: {kubelet: {extraConfig: {maxPods: many}}}"]),
    (
        "free config keeps Go's numbers",
        &["machine: {kubelet: {extraConfig: {mode: 0755, big: 1_000, hex: 0x10, word: yes}}}"],
    ),
    (
        "permissions are octal",
        &["machine: {files: [{path: /var/b, permissions: 0755, content: b, op: create}]}"],
    ),
    ("a certificate and its key are replaced together", &["machine: {ca: {crt: Yw==}}"]),
    ("URLs merge by their parts", &["cluster: {controlPlane: {endpoint: 'https://b'}}"]),
    ("an endpoint is replaced", &["cluster: {controlPlane: {endpoint: 'https://b:443/x'}}"]),
    (
        "logging destinations append",
        &["machine: {logging: {destinations: [{endpoint: 'tcp://a:1/', format: json_lines}]}}"],
    ),
    (
        "registries merge by host",
        &[
            "machine: {registries: {mirrors: {ghcr.io: {endpoints: ['https://b']}, docker.io: {endpoints: ['https://c']}}}}",
        ],
    ),
    (
        "registry settings merge",
        &[
            "machine: {registries: {config: {ghcr.io: {tls: {insecureSkipVerify: true}, auth: {password: q}}}}}",
        ],
    ),
    (
        "manifests append",
        &["cluster: {inlineManifests: [{name: two, contents: 'b: 2'}], extraManifests: ['https://n']}"],
    ),
    (
        "new sections are taken over",
        &["machine: {udev: {rules: [x]}, kernel: {modules: [{name: br_netfilter, parameters: [a=b]}]}}"],
    ),
    ("Cilium's usual patch", &["cluster: {network: {cni: {name: none}}, proxy: {disabled: true}}"]),
    ("scheduling is switched off", &["cluster: {allowSchedulingOnControlPlanes: false}"]),
    (
        "several documents",
        &[
            "machine: {network: {hostname: n}}\n---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: x\n",
        ],
    ),
    (
        "a word that is zero overwrites where it can be absent",
        &["apiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n"],
    ),
    (
        "a word that is zero says nothing where it cannot",
        &["apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: accept\n"],
    ),
    (
        "a new document is appended",
        &["apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: remote\nurl: tcp://10.0.0.1:514/\n"],
    ),
    (
        "a named document of another name is another",
        &["apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: other\nenvironment: [B=2]\n"],
    ),
    (
        "config files merge by path",
        &[
            "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: lldpd\nconfigFiles: [{content: new, mountPath: /etc/a}, {content: b, mountPath: /etc/b}]\nenvironment: [B=2]\n",
        ],
    ),
    (
        "firewall rules are replaced",
        &[
            "apiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: api\nportSelector: {ports: [443]}\ningress: [{subnet: 192.168.0.0/16}]\n",
        ],
    ),
    (
        "verification rules are replaced by image",
        &[
            "apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules: [{image: 'docker.io/*', deny: true}, {image: x, skip: true}]\n",
        ],
    ),
    (
        "a volume's size and selector are taken over even when absent",
        &["apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {grow: true}\n"],
    ),
    (
        "also by a patch of something else",
        &[
            "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nencryption: {provider: luks2, keys: [{slot: 0, nodeID: {}}]}\n",
        ],
    ),
    (
        "a volume's sizes are replaced",
        &[
            "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {minSize: 5GiB, maxSize: 50%, diskSelector: {match: 'disk.transport == \"nvme\"'}}\n",
        ],
    ),
    (
        "a link's fields merge",
        &[
            "apiVersion: v1alpha1\nkind: VLANConfig\nname: eth0.5\nmtu: 9000\naddresses: [{address: 10.5.0.2/24, routePriority: 5}]\nroutes: [{gateway: 10.5.0.254, metric: 10}]\n",
        ],
    ),
    ("a timer's duration", &["apiVersion: v1alpha1\nkind: WatchdogTimerConfig\ntimeout: 5m\n"]),
    ("a section is deleted", &["machine: {network: {$patch: delete}}"]),
    ("a section that is not there is deleted", &["machine: {udev: {$patch: delete}}"]),
    ("a key is deleted", &["machine: {network: {hostname: {$patch: delete}}}"]),
    (
        "a key in a section that is not there cannot be deleted",
        &["machine: {udev: {rules: {$patch: delete}}}"],
    ),
    ("a label is deleted", &["machine: {nodeLabels: {zone: {$patch: delete}}}"]),
    ("a label that is not there cannot be deleted", &["machine: {nodeLabels: {nowhere: {$patch: delete}}}"]),
    ("free config is deleted", &["machine: {kubelet: {extraConfig: {nested: {a: {$patch: delete}}}}}"]),
    ("an interface is deleted", &["machine: {network: {interfaces: [{interface: eth0, $patch: delete}]}}"]),
    (
        "an interface is deleted and made anew",
        &[
            "machine: {network: {interfaces: [{interface: eth0, $patch: delete}, {interface: eth0, mtu: 9000}]}}",
        ],
    ),
    (
        "an interface that is not there cannot be deleted",
        &["machine: {network: {interfaces: [{interface: eth9, $patch: delete}]}}"],
    ),
    (
        "a VLAN in an interface cannot be deleted",
        &["machine: {network: {interfaces: [{interface: eth0, vlans: [{vlanId: 5, $patch: delete}]}]}}"],
    ),
    ("an element needs a selector", &["machine: {network: {interfaces: [{$patch: delete}]}}"]),
    (
        "a part of an element cannot be deleted",
        &["machine: {network: {interfaces: [{interface: eth0, dhcp: {$patch: delete}}]}}"],
    ),
    (
        "an admission plugin is deleted",
        &["cluster: {apiServer: {admissionControl: [{name: PodSecurity, $patch: delete}]}}"],
    ),
    ("admission control is deleted", &["cluster: {apiServer: {admissionControl: {$patch: delete}}}"]),
    (
        "delete and add in one section",
        &["machine: {network: {hostname: {$patch: delete}, nameservers: [9.9.9.9]}}"],
    ),
    ("a document is deleted", &["apiVersion: v1alpha1\nkind: HostnameConfig\n$patch: delete\n"]),
    (
        "a named document is deleted",
        &["apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: lldpd\n$patch: delete\n"],
    ),
    ("the main document cannot be deleted", &["machine: {}\n$patch: delete\n"]),
    (
        "a key of a document is deleted",
        &["apiVersion: v1alpha1\nkind: HostnameConfig\nauto: {$patch: delete}\nhostname: fixed\n"],
    ),
    (
        "a config file is deleted by its content",
        &[
            "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: lldpd\nconfigFiles: [{content: old, $patch: delete}]\n",
        ],
    ),
    (
        "deleted and replaced by the next patch",
        &[
            "machine: {network: {interfaces: {$patch: delete}}}",
            "machine: {network: {interfaces: [{interface: eth7, dhcp: true}]}}",
        ],
    ),
    ("an unknown key is refused", &["machine: {netwrok: {hostname: x}}"]),
    (
        "an unknown kind is refused by this Talos",
        &["apiVersion: v1alpha1\nkind: HostnamesConfig\nhostname: x\n"],
    ),
    ("a list where a map is", &["machine: {network: []}"]),
    ("a map where a text is", &["machine: {network: {hostname: {a: b}}}"]),
    ("the same document twice", &["machine: {token: a}\n---\nmachine: {token: b}\n"]),
    ("a JSON patch on several documents", &["[{op: replace, path: /machine/network/hostname, value: x}]"]),
    ("no map at all", &["just text"]),
    ("comments and documents", &["# why\nmachine: {token: zzzzzz.0123456789abcdef}\n---\n# nothing more\n"]),
];

/// Patches in the form of operations.
pub(crate) const JSON: &[(&str, &[&str])] = &[
    ("replace", &["[{op: replace, path: /machine/network/hostname, value: x}]"]),
    ("as JSON", &[r#"[{"op": "add", "path": "/machine/sysctls", "value": {"a.b": "1"}}]"#]),
    (
        "append and insert",
        &[
            "- {op: add, path: /machine/certSANs/-, value: z}\n- {op: add, path: /machine/certSANs/0, value: y}\n",
        ],
    ),
    ("remove", &["[{op: remove, path: /machine/network}]"]),
    ("remove what is not there", &["[{op: remove, path: /machine/udev}]"]),
    ("replace what is not there", &["[{op: replace, path: /machine/udev, value: {}}]"]),
    ("escapes", &["[{op: add, path: /machine/nodeLabels/example.com~1rack, value: r}]"]),
    (
        "test passes",
        &["[{op: test, path: /machine/type, value: controlplane}, {op: remove, path: /machine/network}]"],
    ),
    (
        "test fails",
        &["[{op: test, path: /machine/type, value: worker}, {op: remove, path: /machine/network}]"],
    ),
    (
        "move and copy",
        &[
            "[{op: copy, from: /machine/certSANs, path: /cluster/apiServer/certSANs}, {op: move, from: /machine/network/nameservers/0, path: /machine/token}]",
        ],
    ),
    ("no operation", &["[{path: /machine/network}]"]),
    (
        "then strategic",
        &[
            "[{op: replace, path: /machine/network/hostname, value: x}]",
            "machine: {network: {nameservers: [9.9.9.9]}}",
        ],
    ),
];
