//! A packet filter that blocks by default must let through what the cluster, and the daemon, live on.

use document::Findings;
use serde_json::{Map, Value};

use super::{Look, name};
use crate::talconfig::Node;

/// A port, what listens there, and who needs it.
struct Need {
    port: u16,
    what: &'static str,
    applies: fn(&Look<'_>) -> bool,
}

fn others(look: &Look<'_>, holds: impl Fn(&Node) -> bool) -> bool {
    look.config.nodes.iter().any(|node| node.hostname != look.node.hostname && holds(node))
}

const NEEDS: [Need; 6] = [
    Need { port: 50000, what: "the machine API, without which nobody reaches the node", applies: |_| true },
    Need {
        port: 50001,
        what: "trustd, from which workers get their certificates",
        applies: |look| look.node.control_plane && others(look, |node| !node.control_plane),
    },
    Need { port: 6443, what: "the Kubernetes API", applies: |look| look.node.control_plane },
    Need {
        port: 2379,
        what: "etcd, which the other control planes ask",
        applies: |look| look.node.control_plane && others(look, |node| node.control_plane),
    },
    Need {
        port: 2380,
        what: "etcd's peers",
        applies: |look| look.node.control_plane && others(look, |node| node.control_plane),
    },
    Need {
        port: 10250,
        what: "the kubelet, which control planes ask",
        applies: |look| others(look, |node| node.control_plane),
    },
];

pub(super) fn check(look: &Look<'_>, findings: &mut Findings) {
    let action = look.machine.document("NetworkDefaultActionConfig", "");
    if action.is_none_or(|action| action.get("ingress").and_then(Value::as_str) != Some("block")) {
        return;
    }
    // peers come through the mesh, which is not filtered like the rest
    let mesh = look.machine.document("KubeSpanConfig", "").is_some()
        || look.main(&["machine", "network", "kubespan"]).is_some();
    let rules: Vec<&Map<String, Value>> = look.machine.documents_of("NetworkRuleConfig").collect();
    for need in NEEDS.iter().filter(|need| (need.applies)(look) && (need.port == 50000 || !mesh)) {
        if !rules.iter().any(|rule| opens(rule, need.port)) {
            let Need { port, what, .. } = need;
            let message = format!("incoming packets are blocked, and no rule opens port {port}: {what}");
            let finding = look.document(
                "NetworkDefaultActionConfig",
                "",
                &[],
                "ingressFirewall",
                "firewall-ports",
                message,
            );
            findings.push(
                finding
                    .fix(format!("add a rule with `ports: [{port}]`, `protocol: tcp` and who may come in")),
            );
        }
    }
    for rule in rules {
        if rule.get("ingress").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            let own = name(rule);
            let message = format!("the rule `{own}` lets nobody in");
            let finding =
                look.document("NetworkRuleConfig", own, &[], "ingressFirewall", "firewall-nobody", message);
            findings.push(finding.warning().fix("say who under `ingress: [{subnet: …}]`"));
        }
    }
}

/// Whether a rule is about a TCP port: `[50000, "6443-6444"]`.
pub(super) fn opens(rule: &Map<String, Value>, port: u16) -> bool {
    let Some(selector) = rule.get("portSelector") else { return false };
    let protocol = selector.get("protocol").and_then(Value::as_str).unwrap_or("tcp");
    let ports = selector.get("ports").and_then(Value::as_array).into_iter().flatten();
    protocol.eq_ignore_ascii_case("tcp")
        && ports.into_iter().any(|ports| {
            let text = ports.as_str().map_or_else(|| ports.to_string(), str::to_owned);
            let (first, last) = text.split_once('-').unwrap_or((&text, &text));
            let bound = |text: &str| text.trim().parse::<u16>().ok();
            bound(first).zip(bound(last)).is_some_and(|(first, last)| (first..=last).contains(&port))
        })
}
