//! Objects with the shapes of the real components: their kinds and counts, their selectors that cannot change, their
//! webhooks that wait for a certificate, their definitions that are too large for anything but server-side apply.

use serde_json::{Map, Value, json};

/// Objects as a manifest file: JSON is YAML.
pub fn manifest(objects: &[Value]) -> String {
    objects.iter().map(|object| format!("---\n{object}\n")).collect()
}

fn metadata(name: &str, namespace: &str) -> Value {
    match namespace {
        "" => json!({ "name": name }),
        namespace => json!({ "name": name, "namespace": namespace }),
    }
}

fn namespace(name: &str, level: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": level } } })
}

fn account(name: &str, namespace: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, namespace) })
}

/// A role and its binding, for the whole cluster without a namespace.
fn role(name: &str, namespace: &str, account: &str, of: &str, rules: &Value) -> [Value; 2] {
    let (role, binding) = match namespace {
        "" => ("ClusterRole", "ClusterRoleBinding"),
        _ => ("Role", "RoleBinding"),
    };
    let version = "rbac.authorization.k8s.io/v1";
    [
        json!({ "apiVersion": version, "kind": role, "metadata": metadata(name, namespace), "rules": rules }),
        json!({ "apiVersion": version, "kind": binding, "metadata": metadata(name, namespace),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": of }] }),
    ]
}

fn rules(groups: &[&str], resources: &[&str]) -> Value {
    json!([{ "apiGroups": groups, "resources": resources, "verbs": ["get", "list", "watch", "update", "patch"] }])
}

fn service(name: &str, namespace: &str, selector: &Value, port: u16, target: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata(name, namespace),
        "spec": { "selector": selector, "ports": [{ "name": "http", "port": port, "targetPort": target }] } })
}

/// A Deployment of one container.
pub fn deployment(name: &str, namespace: &str, selector: &Value, image: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, namespace),
        "spec": { "replicas": 1, "selector": { "matchLabels": selector }, "template": {
            "metadata": { "labels": selector },
            "spec": { "containers": [{ "name": name, "image": image,
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } } }] } } } })
}

/// Cilium as its chart renders it for Talos, without Hubble and Envoy: 20 objects, no definitions.
pub fn cilium() -> Vec<Value> {
    let system = "kube-system";
    let mut config: Map<String, Value> =
        (0..155).map(|n| (format!("option-{n:03}"), json!(if n % 3 == 0 { "true" } else { "" }))).collect();
    for (name, value) in [
        ("kube-proxy-replacement", "true"),
        ("enable-ipv4", "true"),
        ("enable-ipv6", "true"),
        ("ipam", "kubernetes"),
        ("cgroup-root", "/sys/fs/cgroup"),
    ] {
        config.insert(name.to_owned(), json!(value));
    }
    let server = json!([{ "name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1" }, { "name": "KUBERNETES_SERVICE_PORT", "value": "7445" }]);
    let image = "quay.test/cilium/cilium:v1.20.0@sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let init =
        |name: &str| json!({ "name": name, "image": image, "command": ["sh", "-ec", "true"], "env": server });
    let agent = json!({ "k8s-app": "cilium" });
    let operator = json!({ "io.cilium/app": "operator", "name": "cilium-operator" });
    let mut objects = vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "cilium-secrets" } }),
        account("cilium", system),
        account("cilium-operator", system),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("cilium-config", system), "data": config }),
        json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata("cilium", system), "spec": {
            "selector": { "matchLabels": agent },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 2 } },
            "template": { "metadata": { "labels": { "k8s-app": "cilium", "app.kubernetes.io/name": "cilium-agent" } }, "spec": {
                "hostNetwork": true, "priorityClassName": "system-node-critical", "serviceAccountName": "cilium",
                "tolerations": [{ "operator": "Exists" }],
                "initContainers": [init("config"), init("apply-sysctl-overwrites"), init("mount-bpf-fs"), init("clean-cilium-state"), init("install-cni-binaries")],
                "containers": [{ "name": "cilium-agent", "image": image, "env": server,
                    "startupProbe": { "httpGet": { "host": "127.0.0.1", "path": "/healthz", "port": 9879 }, "failureThreshold": 300, "periodSeconds": 2 },
                    "securityContext": { "capabilities": { "add": ["CHOWN", "KILL", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_ADMIN", "SYS_RESOURCE", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"], "drop": ["ALL"] } } }],
            } } } }),
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("cilium-operator", system), "spec": {
            "replicas": 2, "selector": { "matchLabels": operator },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "50%" } },
            "template": { "metadata": { "labels": operator }, "spec": {
                "hostNetwork": true, "priorityClassName": "system-cluster-critical", "serviceAccountName": "cilium-operator",
                "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "labelSelector": { "matchLabels": { "io.cilium/app": "operator" } }, "topologyKey": "kubernetes.io/hostname" }] } },
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "cilium-operator", "image": image, "env": server }],
            } } } }),
    ];
    for name in ["cilium", "cilium-operator"] {
        objects.extend(role(
            name,
            "",
            name,
            system,
            &rules(&["cilium.io", ""], &["ciliumnodes", "pods", "nodes"]),
        ));
    }
    objects.extend(role("cilium-config-agent", system, "cilium", system, &rules(&[""], &["configmaps"])));
    objects.extend(role(
        "cilium-operator-ztunnel",
        system,
        "cilium-operator",
        system,
        &rules(&[""], &["secrets"]),
    ));
    for name in ["cilium-tlsinterception-secrets", "cilium-operator-tlsinterception-secrets"] {
        objects.extend(role(name, "cilium-secrets", "cilium", system, &rules(&[""], &["secrets"])));
    }
    objects
}

/// How much of External Secrets' definitions there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Two stores of 365 KB and two more kinds.
    Small,
    /// All 25, of about 2 MB.
    Full,
}

/// A field of a definition that is as long as its description makes it.
fn filler(bytes: usize) -> Value {
    let field = |n: usize| {
        let about =
            format!("Field {n} says how the provider is reached; it is read when the store is looked at. ")
                .repeat(6);
        (format!("field{n:04}"), json!({ "type": "string", "description": about }))
    };
    json!({ "type": "object", "properties": (0..bytes / 560).map(field).collect::<Map<_, _>>() })
}

fn definition(group: &str, kind: &str, plural: &str, scope: &str, version: &str, bytes: usize) -> Value {
    let reference = json!({ "type": "object", "required": ["name"], "properties":
        { "name": { "type": "string" }, "key": { "type": "string" }, "namespace": { "type": "string" } } });
    let onepassword = json!({ "type": "object", "required": ["auth", "connectHost", "vaults"], "properties": {
        "connectHost": { "type": "string" },
        "vaults": { "type": "object", "additionalProperties": { "type": "integer" } },
        "auth": { "type": "object", "properties": { "secretRef": { "type": "object", "properties": { "connectTokenSecretRef": reference.clone() } } } },
    } });
    let mut providers = filler(bytes);
    providers["properties"]["onepassword"] = onepassword;
    providers["properties"]["onepasswordSDK"] = json!({ "type": "object", "required": ["auth", "vault"], "properties": {
        "vault": { "type": "string" },
        "auth": { "type": "object", "properties": { "serviceAccountSecretRef": reference } },
    } });
    let conditions = json!({ "type": "array", "items": { "type": "object", "required": ["type", "status"], "properties": {
        "type": { "type": "string" }, "status": { "type": "string" }, "reason": { "type": "string" },
        "message": { "type": "string" }, "lastTransitionTime": { "type": "string", "format": "date-time" } } } });
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}"), "labels": { "external-secrets.io/component": "controller" } },
        "spec": { "group": group, "scope": scope,
            "names": { "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": version, "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": { "provider": providers } },
                    "status": { "type": "object", "properties": { "conditions": conditions, "capabilities": { "type": "string" } } },
                } } } }] } })
}

/// The kinds of External Secrets; `suffix` makes other ones of them.
pub fn external_secrets_definitions(size: Size, suffix: &str) -> Vec<Value> {
    let group = format!("external-secrets{suffix}.io");
    let generators = format!("generators.{group}");
    let mut objects = vec![
        definition(&group, "ClusterSecretStore", "clustersecretstores", "Cluster", "v1", 360_000),
        definition(&group, "SecretStore", "secretstores", "Namespaced", "v1", 360_000),
        definition(&group, "ExternalSecret", "externalsecrets", "Namespaced", "v1", 50_000),
        definition(&group, "ClusterExternalSecret", "clusterexternalsecrets", "Cluster", "v1", 50_000),
    ];
    if size == Size::Full {
        objects.push(definition(&group, "PushSecret", "pushsecrets", "Namespaced", "v1alpha1", 40_000));
        objects.push(definition(
            &group,
            "ClusterPushSecret",
            "clusterpushsecrets",
            "Cluster",
            "v1alpha1",
            40_000,
        ));
        objects.push(definition(
            &generators,
            "ClusterGenerator",
            "clustergenerators",
            "Cluster",
            "v1alpha1",
            84_000,
        ));
        for n in 0..18 {
            let (kind, plural) = (format!("Generator{n}"), format!("generator{n}s"));
            objects.push(definition(&generators, &kind, &plural, "Namespaced", "v1alpha1", 45_000));
        }
    }
    objects
}

/// External Secrets beside its definitions: 19 objects. Deployments are selected by the release's name, which cannot
/// change; the webhooks refuse everything until a certificate is put in.
pub fn external_secrets() -> Vec<Value> {
    let own = "external-secrets";
    let (webhook, certificates) = ("external-secrets-webhook", "external-secrets-cert-controller");
    let selector = |name: &str| json!({ "app.kubernetes.io/name": name, "app.kubernetes.io/instance": own });
    let mut objects = Vec::new();
    for name in [own, webhook, certificates] {
        objects.push(account(name, own));
        objects.push(deployment(
            name,
            own,
            &selector(name),
            "ghcr.test/external-secrets/external-secrets:v2.9.0",
        ));
    }
    let groups = ["external-secrets.io", "generators.external-secrets.io", ""];
    for name in ["external-secrets-controller", certificates] {
        let account = if name == certificates { certificates } else { own };
        objects.extend(role(name, "", account, own, &rules(&groups, &["secretstores", "secrets"])));
    }
    for name in ["external-secrets-view", "external-secrets-edit", "external-secrets-servicebindings"] {
        objects.push(json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": name },
            "rules": rules(&groups, &["externalsecrets"]) }));
    }
    objects.extend(role(
        "external-secrets-leaderelection",
        own,
        own,
        own,
        &rules(&["coordination.k8s.io"], &["leases"]),
    ));
    objects.push(service(webhook, own, &selector(webhook), 443, &json!(10250)));
    objects.push(
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata(webhook, own), "type": "Opaque" }),
    );
    for (name, kinds) in [
        ("secretstore-validate", &["secretstores", "clustersecretstores"][..]),
        ("externalsecret-validate", &["externalsecrets"][..]),
    ] {
        let hook = |kind: &str| {
            json!({
                "name": format!("validate.{kind}.external-secrets.io"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "timeoutSeconds": 5,
                "clientConfig": { "service": { "name": webhook, "namespace": own, "path": format!("/validate-{kind}") } },
                "rules": [{ "apiGroups": ["external-secrets.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE", "DELETE"], "resources": [kind] }],
            })
        };
        objects.push(json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": name }, "webhooks": kinds.iter().map(|kind| hook(kind)).collect::<Vec<_>>() }));
    }
    objects
}

/// 1Password Connect as plain manifests, in its namespace.
pub fn connect() -> Vec<Value> {
    let own = "onepassword-connect";
    let selector = json!({ "app": own });
    let mut pods = deployment(own, own, &selector, "docker.test/1password/connect-api:1.8.2");
    pods["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "shared-data", "emptyDir": {} },
        { "name": "credentials", "secret": { "secretName": "onepassword-connect-credentials" } }]);
    vec![account(own, own), pods, service(own, own, &selector, 8080, &json!("http"))]
}

/// The store of the secrets; in its spec everything that the real one has.
pub fn store() -> Value {
    json!({ "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": { "name": "onepassword-connect" },
        "spec": { "provider": { "onepassword": {
            "connectHost": "http://onepassword-connect.onepassword-connect.svc.cluster.local:8080",
            "vaults": { "Automation": 1, "Services": 2 },
            "auth": { "secretRef": { "connectTokenSecretRef": { "name": "onepassword-connect-token", "key": "token", "namespace": "onepassword-connect" } } },
        } } } })
}

/// A store without a Connect server: the operator asks 1Password itself, with the token of a service account.
pub fn sdk_store() -> Value {
    json!({ "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": { "name": "onepassword-sdk" },
        "spec": { "provider": { "onepasswordSDK": { "vault": "Automation",
            "auth": { "serviceAccountSecretRef": { "name": "onepassword-sdk-token", "key": "token", "namespace": "external-secrets" } } } } } })
}

/// What a container is asked for where only such pods may run.
fn restricted() -> Value {
    json!({ "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" } })
}

/// Flux beside its definitions, as `flux install` writes it.
pub fn flux() -> Vec<Value> {
    let own = "flux-system";
    let mut objects = vec![namespace(own, "restricted")];
    for (name, port) in [("allow-scraping", 8080), ("allow-webhooks", 9292)] {
        objects.push(json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(name, own),
            "spec": { "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": port, "protocol": "TCP" }] }] } }));
    }
    objects.push(json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata("critical-pods-flux-system", own),
        "spec": { "hard": { "pods": "1000" }, "scopeSelector": { "matchExpressions": [{ "operator": "In", "scopeName": "PriorityClass", "values": ["system-node-critical", "system-cluster-critical"] }] } } }));
    for name in ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"] {
        objects.push(account(name, own));
        let mut pods = deployment(name, own, &json!({ "app": name }), "ghcr.test/fluxcd/controller:v1.9.4");
        let spec = &mut pods["spec"]["template"]["spec"];
        spec["priorityClassName"] = json!("system-cluster-critical");
        spec["serviceAccountName"] = json!(name);
        spec["securityContext"] = json!({ "fsGroup": 1337 });
        spec["containers"][0]["securityContext"] = restricted();
        objects.push(pods);
    }
    objects.push(service(
        "source-controller",
        own,
        &json!({ "app": "source-controller" }),
        80,
        &json!("http"),
    ));
    objects.push(service(
        "notification-controller",
        own,
        &json!({ "app": "notification-controller" }),
        80,
        &json!("http"),
    ));
    objects.extend(role(
        "crd-controller-flux-system",
        "",
        "kustomize-controller",
        own,
        &rules(
            &["source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"],
            &["*"],
        ),
    ));
    objects
}

/// The flux-operator beside its definitions.
pub fn flux_operator() -> Vec<Value> {
    let (own, name) = ("flux-system", "flux-operator");
    let mut pods = deployment(name, own, &json!({ "app": name }), "ghcr.test/flux-operator:v0.58.1");
    let spec = &mut pods["spec"]["template"]["spec"];
    spec["serviceAccountName"] = json!(name);
    spec["containers"][0]["securityContext"] = restricted();
    let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": own }] });
    vec![namespace(own, "restricted"), account(name, own), binding, pods]
}

/// The cluster's DNS, which Talos brings.
pub fn dns() -> Vec<Value> {
    let (own, selector) = ("kube-system", json!({ "k8s-app": "kube-dns" }));
    let mut pods = deployment("coredns", own, &selector, "registry.test/coredns:v1.14");
    pods["metadata"]["labels"] = selector.clone();
    pods["spec"]["replicas"] = json!(2);
    pods["spec"]["template"]["spec"]["tolerations"] =
        json!([{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists" }]);
    vec![pods, service("kube-dns", own, &selector, 53, &json!(5353))]
}
