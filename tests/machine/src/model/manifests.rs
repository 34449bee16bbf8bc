//! What Talos itself puts into a cluster at its bootstrap, as far as it is looked at here: the bindings of kubelets, and kube-proxy
//! with the config that it reads. CoreDNS and Flannel are left out (the objects are read from Talos's own source, 1.13.9).

use serde_json::{Value, json};

use super::config::{Config, Part, Role};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const BOOTSTRAPPERS: &str = "system:bootstrappers:nodes";
const NODES: &str = "system:nodes";

/// Id and objects of each, in the order in which Talos applies them.
pub(crate) fn manifests(config: &Config) -> Vec<(String, Value)> {
    if config.role != Role::ControlPlane {
        return Vec::new();
    }
    let nodes = "system:certificates.k8s.io:certificatesigningrequests:";
    let mut all = vec![
        (
            "01-csr-approver-role-binding",
            json!([bound(
                "system-bootstrap-approve-node-client-csr",
                &format!("{nodes}nodeclient"),
                &[BOOTSTRAPPERS]
            )]),
        ),
        (
            "01-csr-node-bootstrap",
            json!([bound(
                "system-bootstrap-node-bootstrapper",
                "system:node-bootstrapper",
                &[BOOTSTRAPPERS, NODES]
            )]),
        ),
        (
            "01-csr-renewal-role-binding",
            json!([bound("system-bootstrap-node-renewal", &format!("{nodes}selfnodeclient"), &[NODES])]),
        ),
        ("11-kube-config-in-cluster", json!([kubeconfig(config)])),
    ];
    if let (true, Some(image)) = (config.brings_proxy, config.images.get(&Part::Proxy)) {
        all.push(("10-kube-proxy", proxy(image)));
    }
    all.sort_by_key(|(id, _)| *id);
    all.into_iter().map(|(id, objects)| (id.to_owned(), objects)).collect()
}

fn bound(name: &str, role: &str, groups: &[&str]) -> Value {
    let subject =
        |group: &&str| json!({ "kind": "Group", "name": group, "apiGroup": "rbac.authorization.k8s.io" });
    let subjects: Vec<Value> = groups.iter().map(subject).collect();
    json!({
        "apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "subjects": subjects,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
    })
}

fn kubeconfig(config: &Config) -> Value {
    let server = format!("https://{}:{}", config.endpoint_host, config.endpoint_port);
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "kubeconfig-in-cluster", "namespace": "kube-system" },
        "data": { "kubeconfig": format!("apiVersion: v1\nclusters:\n- name: local\n  cluster:\n    server: {server}\n") },
    })
}

fn proxy(image: &str) -> Value {
    let labels = json!({ "tier": "node", "k8s-app": "kube-proxy" });
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let name = json!({ "name": "kube-proxy", "namespace": "kube-system" });
    json!([
        {
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "kube-proxy", "namespace": "kube-system", "labels": labels },
            "spec": {
                "selector": { "matchLabels": labels },
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "containers": [{
                            "name": "kube-proxy", "image": image, "command": ["/usr/local/bin/kube-proxy"],
                            "env": [{ "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
                            "securityContext": { "privileged": true },
                            "volumeMounts": [mount("kubeconfig", "/etc/kubernetes")],
                        }],
                        "hostNetwork": true,
                        "priorityClassName": "system-cluster-critical",
                        "serviceAccountName": "kube-proxy",
                        "tolerations": [
                            { "effect": "NoSchedule", "operator": "Exists" }, { "effect": "NoExecute", "operator": "Exists" },
                        ],
                        "volumes": [{ "name": "kubeconfig", "configMap": { "name": "kubeconfig-in-cluster" } }],
                    },
                },
            },
        },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": name },
        {
            "apiVersion": RBAC, "kind": "ClusterRoleBinding", "metadata": { "name": "kube-proxy" },
            "subjects": [{ "kind": "ServiceAccount", "name": "kube-proxy", "namespace": "kube-system" }],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier" },
        },
    ])
}
