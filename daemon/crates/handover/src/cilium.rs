//! What Cilium's objects must say to work on Talos, held against the machines' own configuration.
//!
//! Reads what was rendered, not the values: a value that a chart does not know has no effect, and what is rendered
//! does. Every rule has cost somebody a cluster without a network.

use serde_json::Value;

/// What the machine configs say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    /// How many nodes there will be.
    pub nodes: usize,
    /// The port of KubePrism where every node has it.
    pub kube_prism: Option<u16>,
    /// Whether Talos runs kube-proxy.
    pub kube_proxy: bool,
    /// Whether Talos forwards the pods' DNS to its own resolver.
    pub dns_to_host: bool,
    /// Whether pods have addresses of IPv6.
    pub ipv6: bool,
    /// The names of the manifests that the machine configs bring along.
    pub inline_manifests: Vec<String>,
}

/// Something that will not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub fix: &'static str,
    /// Whether it stops the step; otherwise it is worth knowing.
    pub fatal: bool,
}

/// Capabilities that the agent needs, and without which its pod does not become ready.
const AGENT: [&str; 11] = [
    "CHOWN",
    "KILL",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "SYS_ADMIN",
    "SYS_RESOURCE",
    "DAC_OVERRIDE",
    "FOWNER",
    "SETGID",
    "SETUID",
];

/// Checks the objects of a Cilium step; nothing where there is no Cilium in them.
pub fn check(objects: &[&Value], machines: &Machines) -> Vec<Problem> {
    let find = |kind: &str, name: &str| {
        objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name).copied()
    };
    let Some(agent) = find("DaemonSet", "cilium") else { return Vec::new() };
    let mut problems = Problems(Vec::new());
    let empty = Value::Null;
    let config = find("ConfigMap", "cilium-config").map_or(&empty, |config| &config["data"]);
    twice(machines, &mut problems);
    capabilities(agent, &mut problems);
    cgroup(agent, config, &mut problems);
    proxy(agent, config, machines, &mut problems);
    network(config, machines, &mut problems);
    if let Some(operator) = find("Deployment", "cilium-operator") {
        let replicas = operator["spec"]["replicas"].as_u64().unwrap_or(1);
        if replicas > machines.nodes as u64 {
            problems.error(
                "cilium-replicas",
                format!(
                    "cilium-operator wants {replicas} replicas on different nodes, and there are {}",
                    machines.nodes
                ),
                "set operator.replicas to 1 on one node, and to 2 on more",
            );
        }
    }
    for object in objects {
        let private = |name: &&String| name.ends_with(".key");
        let keys = object["data"].as_object().or_else(|| object["stringData"].as_object());
        if object["kind"] == "Secret" && keys.is_some_and(|keys| keys.keys().any(|name| private(&name))) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            problems.error(
                "cilium-private-key",
                format!("the Secret {name} has a private key that everybody with these manifests has, too"),
                "render with hubble.tls.auto.enabled=false, and write `certificates: [hubble]` at the step",
            );
        }
        if object["kind"] == "ServiceMonitor" {
            problems.error(
                "cilium-service-monitor",
                "there is a ServiceMonitor, a kind that nothing has defined yet".to_owned(),
                "render with serviceMonitor.enabled=false, and let Git turn it on later",
            );
        }
    }
    problems.0
}

struct Problems(Vec<Problem>);

impl Problems {
    fn error(&mut self, rule: &'static str, message: String, fix: &'static str) {
        self.0.push(Problem { rule, message, fix, fatal: true });
    }

    fn warning(&mut self, rule: &'static str, message: String, fix: &'static str) {
        self.0.push(Problem { rule, message, fix, fatal: false });
    }
}

/// Talos prunes what leaves its own manifests: moved out of them later, the network plugin would go with it.
fn twice(machines: &Machines, problems: &mut Problems) {
    if let Some(name) = machines.inline_manifests.iter().find(|name| name.to_lowercase().contains("cilium")) {
        problems.error(
            "cilium-twice",
            format!("the machine configs bring the manifest {name:?}, and this step brings Cilium, too"),
            "keep one of them; `talosctl upgrade-k8s` removes what leaves the machine configs",
        );
    }
}

fn agent_container(agent: &Value) -> Option<&Value> {
    let containers = agent.pointer("/spec/template/spec/containers")?.as_array()?;
    containers.iter().find(|container| container["name"] == "cilium-agent").or_else(|| containers.first())
}

fn capabilities(agent: &Value, problems: &mut Problems) {
    let Some(context) = agent_container(agent).map(|container| &container["securityContext"]) else { return };
    if context["privileged"] == true {
        return;
    }
    let added: Vec<&str> =
        context["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if added.contains(&"SYS_MODULE") {
        problems.error(
            "cilium-capability",
            "cilium-agent asks for SYS_MODULE, which Talos gives to nobody".to_owned(),
            "set securityContext.capabilities.ciliumAgent to the list of the Talos documentation",
        );
    }
    let missing: Vec<&str> = AGENT.into_iter().filter(|capability| !added.contains(capability)).collect();
    if !missing.is_empty() {
        problems.error(
            "cilium-capability",
            format!("cilium-agent lacks {}", missing.join(", ")),
            "set securityContext.capabilities.ciliumAgent to the list of the Talos documentation",
        );
    }
}

/// Talos mounts the control groups itself, and its root file system is read-only.
fn cgroup(agent: &Value, config: &Value, problems: &mut Problems) {
    let containers = agent.pointer("/spec/template/spec/initContainers").and_then(Value::as_array);
    let mounts = containers.into_iter().flatten().any(|container| container["name"] == "mount-cgroup");
    if mounts {
        problems.error(
            "cilium-cgroup",
            "an init container mounts control groups, which Talos has mounted already".to_owned(),
            "set cgroup.autoMount.enabled: false (with an upper-case M) and cgroup.hostRoot: /sys/fs/cgroup",
        );
    }
    match config["cgroup-root"].as_str() {
        Some("/sys/fs/cgroup") | None => {}
        Some(other) => problems.error(
            "cilium-cgroup",
            format!("cgroup-root is {other}, and on Talos it is /sys/fs/cgroup"),
            "set cgroup.hostRoot: /sys/fs/cgroup",
        ),
    }
}

fn proxy(agent: &Value, config: &Value, machines: &Machines, problems: &mut Problems) {
    let replaces = config["kube-proxy-replacement"] == "true";
    match (replaces, machines.kube_proxy) {
        (true, true) => problems.error(
            "cilium-proxy",
            "Cilium replaces kube-proxy, and Talos runs kube-proxy, too".to_owned(),
            "set cluster.proxy.disabled: true",
        ),
        (false, false) => problems.error(
            "cilium-proxy",
            "nobody serves Services: Talos runs no kube-proxy, and Cilium does not replace it".to_owned(),
            "set kubeProxyReplacement: true",
        ),
        _ => {}
    }
    let environment = agent_container(agent).map(|container| &container["env"]);
    let variable = |name: &str| {
        environment?.as_array()?.iter().find(|variable| variable["name"] == name)?["value"].as_str()
    };
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    let prism = machines.kube_prism.map(|port| port.to_string());
    match (host, port, prism) {
        (None, ..) if replaces => problems.error(
            "cilium-api-server",
            "Cilium would reach the API server through a Service that only Cilium itself can serve"
                .to_owned(),
            "set k8sServiceHost: 127.0.0.1 and k8sServicePort: 7445, the address of KubePrism",
        ),
        (Some("localhost"), ..) => problems.warning(
            "cilium-api-server",
            "k8sServiceHost is localhost, which may be ::1, and KubePrism listens on 127.0.0.1 only"
                .to_owned(),
            "set k8sServiceHost: 127.0.0.1",
        ),
        (Some("127.0.0.1"), Some(port), Some(prism)) if port != prism => problems.error(
            "cilium-api-server",
            format!("k8sServicePort is {port}, and KubePrism listens on {prism}"),
            "make them the same",
        ),
        (Some("127.0.0.1"), _, None) => problems.error(
            "cilium-api-server",
            "Cilium asks KubePrism, and not every node has it".to_owned(),
            "enable machine.features.kubePrism",
        ),
        (Some(host), ..) if host != "127.0.0.1" => problems.warning(
            "cilium-api-server",
            format!(
                "Cilium reaches the API server at {host}, so the network depends on who holds that address"
            ),
            "set k8sServiceHost: 127.0.0.1 and k8sServicePort: 7445, the address of KubePrism",
        ),
        _ => {}
    }
}

fn network(config: &Value, machines: &Machines, problems: &mut Problems) {
    let is = |key: &str| config[key] == "true";
    if is("enable-bpf-masquerade") && machines.dns_to_host && !is("enable-host-legacy-routing") {
        problems.error(
            "cilium-dns",
            "with bpf.masquerade, pods cannot reach the host's resolver that CoreDNS asks".to_owned(),
            "set bpf.hostLegacyRouting: true, or forwardKubeDNSToHost: false in the machine configs",
        );
    }
    let ipv6 = is("enable-ipv6");
    if ipv6 != machines.ipv6 {
        let (cilium, pods) = if ipv6 { ("on", "have no") } else { ("off", "have an") };
        problems.error(
            "cilium-ipv6",
            format!("IPv6 is {cilium} in Cilium, and podSubnets {pods} IPv6 range"),
            "set ipv6.enabled as podSubnets say",
        );
    }
    if config["routing-mode"] == "native" {
        for (family, needed, key) in
            [("IPv4", true, "ipv4-native-routing-cidr"), ("IPv6", ipv6, "ipv6-native-routing-cidr")]
        {
            if needed && config[key].as_str().is_none_or(str::is_empty) {
                problems.error(
                    "cilium-native-routing",
                    format!("routing is native, and nothing says which {family} range needs no masquerading"),
                    "set ipv4NativeRoutingCIDR, and ipv6NativeRoutingCIDR for dual stack",
                );
            }
        }
    }
    if config["ipam"].as_str().is_some_and(|mode| mode != "kubernetes") {
        problems.warning(
            "cilium-ipam",
            "Cilium gives out pod addresses of its own, and Talos's podSubnets mean nothing".to_owned(),
            "set ipam.mode: kubernetes",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machines() -> Machines {
        Machines {
            nodes: 3,
            kube_prism: Some(7445),
            kube_proxy: false,
            dns_to_host: true,
            ipv6: true,
            inline_manifests: Vec::new(),
        }
    }

    /// As the chart renders it for Talos: agent, config, operator.
    fn objects() -> Vec<Value> {
        vec![
            json!({ "kind": "DaemonSet", "metadata": { "name": "cilium" }, "spec": { "template": { "spec": {
                "initContainers": [{ "name": "config" }],
                "containers": [{ "name": "cilium-agent", "securityContext": { "capabilities": { "add": AGENT } },
                    "env": [{ "name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1" },
                        { "name": "KUBERNETES_SERVICE_PORT", "value": "7445" }] }] } } } }),
            json!({ "kind": "ConfigMap", "metadata": { "name": "cilium-config" }, "data": { "kube-proxy-replacement": "true",
                "cgroup-root": "/sys/fs/cgroup", "enable-ipv6": "true", "ipam": "kubernetes", "routing-mode": "tunnel" } }),
            json!({ "kind": "Deployment", "metadata": { "name": "cilium-operator" }, "spec": { "replicas": 2 } }),
        ]
    }

    fn rules(objects: &[Value], machines: &Machines) -> Vec<&'static str> {
        let objects: Vec<&Value> = objects.iter().collect();
        check(&objects, machines).iter().map(|problem| problem.rule).collect()
    }

    #[test]
    fn what_the_documentation_says_has_no_problem() {
        assert_eq!(rules(&objects(), &machines()), [""; 0]);
        assert_eq!(
            rules(&objects()[1..], &Machines { nodes: 0, ..machines() }),
            [""; 0],
            "no Cilium, no rules"
        );
    }

    #[test]
    fn every_rule_finds_its_fault() {
        let data = |key: &'static str, value: Value| (1, format!("/data/{key}"), value);
        let container = "/spec/template/spec/containers/0";
        let with = |capability: &str| json!([&AGENT[..], &[capability]].concat());
        for ((index, pointer, value), rule) in [
            (
                (0, format!("{container}/securityContext/capabilities/add"), with("SYS_MODULE")),
                "cilium-capability",
            ),
            (
                (0, format!("{container}/securityContext/capabilities/add"), json!(["NET_ADMIN"])),
                "cilium-capability",
            ),
            (
                (0, "/spec/template/spec/initContainers/0/name".to_owned(), json!("mount-cgroup")),
                "cilium-cgroup",
            ),
            (data("cgroup-root", json!("/run/cilium/cgroupv2")), "cilium-cgroup"),
            (data("kube-proxy-replacement", json!("false")), "cilium-proxy"),
            ((0, format!("{container}/env"), json!([])), "cilium-api-server"),
            ((0, format!("{container}/env/0/value"), json!("localhost")), "cilium-api-server"),
            ((0, format!("{container}/env/0/value"), json!("172.29.51.10")), "cilium-api-server"),
            ((0, format!("{container}/env/1/value"), json!("6443")), "cilium-api-server"),
            (data("enable-ipv6", json!("false")), "cilium-ipv6"),
            (data("ipam", json!("cluster-pool")), "cilium-ipam"),
            ((2, "/spec/replicas".to_owned(), json!(4)), "cilium-replicas"),
        ] {
            let mut objects = objects();
            *objects[index].pointer_mut(&pointer).unwrap() = value.clone();
            assert_eq!(rules(&objects, &machines()), [rule], "{pointer} {value}");
        }
        let mut native = objects();
        native[1]["data"]["routing-mode"] = json!("native");
        assert_eq!(rules(&native, &machines()), ["cilium-native-routing"; 2]);
        native[1]["data"]["ipv4-native-routing-cidr"] = json!("10.244.0.0/16");
        native[1]["data"]["ipv6-native-routing-cidr"] = json!("fd00::/60");
        assert_eq!(rules(&native, &machines()), [""; 0]);
        let mut masquerade = objects();
        masquerade[1]["data"]["enable-bpf-masquerade"] = json!("true");
        assert_eq!(rules(&masquerade, &machines()), ["cilium-dns"]);
        assert_eq!(rules(&masquerade, &Machines { dns_to_host: false, ..machines() }), [""; 0]);
        masquerade[1]["data"]["enable-host-legacy-routing"] = json!("true");
        assert_eq!(rules(&masquerade, &machines()), [""; 0]);
    }

    #[test]
    fn the_machines_must_agree() {
        for (machines, rule) in [
            (Machines { kube_proxy: true, ..machines() }, "cilium-proxy"),
            (Machines { kube_prism: None, ..machines() }, "cilium-api-server"),
            (Machines { kube_prism: Some(7446), ..machines() }, "cilium-api-server"),
            (Machines { nodes: 1, ..machines() }, "cilium-replicas"),
            (Machines { ipv6: false, ..machines() }, "cilium-ipv6"),
            (Machines { inline_manifests: vec!["Cilium".to_owned()], ..machines() }, "cilium-twice"),
        ] {
            assert_eq!(rules(&objects(), &machines), [rule], "{machines:?}");
        }
    }

    #[test]
    fn a_private_key_is_not_for_everybody() {
        let mut objects = objects();
        objects.push(json!({ "kind": "Secret", "metadata": { "name": "cilium-ca" }, "data": { "ca.crt": "x", "ca.key": "hunter2" } }));
        objects.push(json!({ "kind": "ServiceMonitor", "metadata": { "name": "x" } }));
        assert_eq!(rules(&objects, &machines()), ["cilium-private-key", "cilium-service-monitor"]);
        let borrowed: Vec<&Value> = objects.iter().collect();
        assert!(!format!("{:?}", check(&borrowed, &machines())).contains("hunter2"));
    }
}
