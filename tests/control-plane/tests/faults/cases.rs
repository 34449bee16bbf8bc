//! The faults: what a step brings, what is in its way, and which failure that is.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use control_plane::{Hands, packs};
use handover::Check;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// One fault. `NAME` in objects and paths stands for the namespace that it has for itself.
pub(crate) struct Case {
    /// what must be found
    pub(crate) failure: &'static str,
    /// what the step brings
    objects: Vec<Value>,
    /// labels of the namespace
    labels: Value,
    /// what is there before: where it is created, and what
    before: Vec<(&'static str, Value)>,
    /// what is refused, where, and with which words, as soon as what is in the way is known to the server
    refused: Option<(&'static str, Value, &'static str)>,
    /// what an operator says afterwards: the object's path, and its status
    says: Option<(&'static str, Value)>,
    /// what the step waits for besides
    pub(crate) check: Option<Check>,
}

impl Case {
    /// Makes the namespace and what is in the way.
    pub(crate) async fn prepare(&self, hands: &Hands, namespace: &str) {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "labels": self.labels } });
        hands.create("/api/v1/namespaces", &named(&object, namespace)).await.unwrap();
        // without it pods are refused for another reason
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        while hands.get(&account).await.unwrap().is_null() {
            sleep(LOOK).await;
        }
        for (path, object) in &self.before {
            hands.create(&path.replace("NAME", namespace), &named(object, namespace)).await.unwrap();
        }
        let Some((path, object, words)) = &self.refused else { return };
        let path = format!("{}?dryRun=All", path.replace("NAME", namespace));
        loop {
            let tried = hands.create(&path, &named(object, namespace)).await;
            if tried.is_err_and(|refusal| refusal.to_string().contains(words)) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// What the operator of the object says, as soon as it is there.
    pub(crate) async fn say(&self, hands: &Hands, namespace: &str) {
        if let Some((path, status)) = &self.says {
            let path = format!("{}/status", path.replace("NAME", namespace));
            hands.merge(&path, &json!({ "status": status })).await.unwrap();
        }
    }

    /// The step's text.
    pub(crate) fn manifest(&self, namespace: &str) -> String {
        packs::manifest(&self.objects.iter().map(|object| named(object, namespace)).collect::<Vec<_>>())
    }
}

fn named(object: &Value, namespace: &str) -> Value {
    serde_json::from_str(&object.to_string().replace("NAME", namespace)).unwrap()
}

fn case(failure: &'static str, objects: Vec<Value>) -> Case {
    Case { failure, objects, labels: json!({}), before: Vec::new(), refused: None, says: None, check: None }
}

fn pods() -> Value {
    packs::deployment("app", "NAME", &json!({ "app": "app" }), "app.test/app:1")
}

/// Pods that their kubelet says this about.
fn failing(reason: &str, message: &str, ended: &str) -> Value {
    let mut pods = pods();
    let mut annotations = json!({ "test/reason": reason, "test/message": message });
    if !ended.is_empty() {
        annotations["test/ended"] = json!(ended);
    }
    pods["spec"]["template"]["metadata"]["annotations"] = annotations;
    pods
}

/// Pods with something in their spec.
fn with(field: &str, value: Value) -> Value {
    let mut pods = pods();
    pods["spec"]["template"]["spec"][field] = value;
    pods
}

fn map(extra: Value) -> Value {
    let mut map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "map", "namespace": "NAME" } });
    map.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    map
}

fn not_ready(reason: &str, message: &str) -> Value {
    json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z" }] })
}

fn custom(group: &str, version: &str, kind: &str) -> Value {
    json!({ "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": { "name": "one", "namespace": "NAME" }, "spec": {} })
}

/// The kinds that operators report on, as far as their status goes.
pub(crate) fn definitions() -> Vec<Value> {
    [
        ("source.toolkit.fluxcd.io", "v1", "GitRepository", "gitrepositories"),
        ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations"),
        ("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases"),
        ("external-secrets.io", "v1", "SecretStore", "secretstores"),
    ]
    .into_iter()
    .map(|(group, version, kind, plural)| definition(group, version, kind, plural))
    .collect()
}

fn definition(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": { "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{ "name": version, "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } })
}

fn said(failure: &'static str, object: Value, path: &'static str, reason: &str, message: &str) -> Case {
    Case { says: Some((path, not_ready(reason, message))), ..case(failure, vec![object]) }
}

fn webhook(bundle: &str) -> Value {
    json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "NAME" },
        "webhooks": [{ "name": "validate.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 2,
            "clientConfig": { "service": { "name": "absent", "namespace": "NAME" }, "caBundle": bundle },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "NAME" } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }] }] })
}

const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = of_pods();
    cases.extend(of_the_server());
    cases.extend(of_operators());
    cases
}

/// What kubelets and the scheduler say.
fn of_pods() -> Vec<Case> {
    let spread = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "labelSelector": { "matchLabels": { "app": "app" } }, "topologyKey": "kubernetes.io/hostname" }] } });
    let mut spread = with("affinity", spread);
    spread["spec"]["replicas"] = json!(9);
    let mut greedy = pods();
    greedy["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({ "requests": { "cpu": "999" } });
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data", "namespace": "NAME" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    vec![
        case("image", vec![failing("ImagePullBackOff", "Back-off pulling image \"app.test/app:1\"", "")]),
        case(
            "rate-limit",
            vec![failing(
                "ErrImagePull",
                "Failed to pull image: toomanyrequests: You have reached your pull rate limit",
                "",
            )],
        ),
        case(
            "registry-name",
            vec![failing(
                "ErrImagePull",
                "Failed to pull image: dial tcp: lookup app.test: no such host",
                "",
            )],
        ),
        case(
            "crash",
            vec![failing("CrashLoopBackOff", "back-off 5m0s restarting failed container=app", "Error")],
        ),
        case(
            "out-of-memory",
            vec![failing("CrashLoopBackOff", "back-off 5m0s restarting failed container=app", "OOMKilled")],
        ),
        case(
            "missing-key",
            vec![failing("CreateContainerConfigError", "couldn't find key token in Secret NAME/token", "")],
        ),
        case("missing-secret", vec![failing("CreateContainerConfigError", "secret \"token\" not found", "")]),
        case("resources", vec![greedy]),
        case("anti-affinity", vec![spread]),
        case("taint", vec![with("nodeSelector", json!({ "kubernetes.io/hostname": "cp1" }))]),
        case(
            "volume",
            vec![
                claim,
                with(
                    "volumes",
                    json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }]),
                ),
            ],
        ),
        Case {
            check: Some(Check::Nodes { names: vec!["bare".to_owned()], families: 1 }),
            ..case("no-network", vec![map(json!({}))])
        },
    ]
}

/// What the API server and its controllers say.
fn of_the_server() -> Vec<Case> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let bundle = BASE64_STANDARD.encode(certificate.pem());
    let fixed = map(json!({ "immutable": true, "data": { "a": "b" } }));
    let none = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none", "namespace": "NAME" }, "spec": { "hard": { "pods": "0" } } });
    let privileged =
        json!([{ "name": "app", "image": "app.test/app:1", "securityContext": { "privileged": true } }]);
    let policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let binding = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod", "namespace": "NAME" },
        "spec": { "containers": [{ "name": "app", "image": "app.test/app:1" }] } });
    let mut absent = map(json!({}));
    absent["metadata"]["namespace"] = json!("NAME-absent");
    let mut stalled = pods();
    stalled["spec"]["progressDeadlineSeconds"] = json!(2);
    stalled["spec"]["template"]["metadata"]["annotations"] =
        json!({ "test/reason": "ImagePullBackOff", "test/message": "Back-off pulling image" });
    let maps = "/api/v1/namespaces/NAME/configmaps";
    vec![
        Case {
            before: vec![("/api/v1/namespaces/NAME/resourcequotas", none)],
            refused: Some(("/api/v1/namespaces/NAME/pods", pod, "exceeded quota")),
            ..case("quota", vec![pods()])
        },
        Case {
            labels: json!({ "pod-security.kubernetes.io/enforce": "restricted" }),
            ..case("pod-security", vec![with("containers", privileged)])
        },
        case("service-account", vec![with("serviceAccountName", json!("absent"))]),
        case("forbidden", vec![map(json!({}))]),
        case("no-namespace", vec![absent]),
        case("unknown-field", vec![map(json!({ "datas": { "a": "b" } }))]),
        case("no-kind", vec![custom("absent.example.org", "v1", "Absent")]),
        Case { before: vec![(maps, fixed)], ..case("immutable", vec![map(json!({ "data": { "c": "d" } }))]) },
        Case {
            before: vec![(WEBHOOKS, webhook(&bundle))],
            refused: Some(("/api/v1/namespaces/NAME/configmaps", map(json!({})), "webhook")),
            ..case("webhook", vec![map(json!({}))])
        },
        case("certificate", vec![webhook("")]),
        Case {
            before: vec![(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                definition("NAME.example.org", "v1", "Store", "stores"),
            )],
            ..case("definition-names", vec![definition("NAME.example.org", "v1", "Store", "shops")])
        },
        Case {
            before: vec![
                (
                    policy,
                    json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": "NAME" },
                    "spec": { "failurePolicy": "Fail", "validations": [{ "expression": "false", "message": "nothing is allowed here" }],
                        "matchConstraints": { "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }] } } }),
                ),
                (
                    binding,
                    json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": "NAME" },
                    "spec": { "policyName": "NAME", "validationActions": ["Deny"],
                        "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "NAME" } } } } }),
                ),
            ],
            refused: Some((maps, map(json!({})), "nothing is allowed")),
            ..case("admission", vec![map(json!({}))])
        },
        // its deadline is over: it says itself that it failed, and why is in its pods
        case("image", vec![stalled]),
        Case { check: Some(Check::Dns), ..case("dns-absent", vec![map(json!({}))]) },
    ]
}

/// What Flux and External Secrets say.
fn of_operators() -> Vec<Case> {
    let source = "/apis/source.toolkit.fluxcd.io/v1/namespaces/NAME/gitrepositories/one";
    let applied = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/NAME/kustomizations/one";
    let release = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/NAME/helmreleases/one";
    let store = "/apis/external-secrets.io/v1/namespaces/NAME/secretstores/one";
    let git = || custom("source.toolkit.fluxcd.io", "v1", "GitRepository");
    let kustomization = || custom("kustomize.toolkit.fluxcd.io", "v1", "Kustomization");
    vec![
        said(
            "git-access",
            git(),
            source,
            "GitOperationFailed",
            "failed to checkout and determine revision: authentication required: Repository not found.",
        ),
        said(
            "git-host-key",
            git(),
            source,
            "GitOperationFailed",
            "failed to clone: ssh: handshake failed: knownhosts: key mismatch",
        ),
        said(
            "git-path",
            kustomization(),
            applied,
            "ArtifactFailed",
            "kustomization path not found: stat /tmp/x/clusters/y: no such file or directory",
        ),
        said(
            "sops-off",
            kustomization(),
            applied,
            "BuildFailed",
            "Secret/a/b is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
        ),
        said(
            "sops-key",
            kustomization(),
            applied,
            "BuildFailed",
            "error decrypting sops tree: no identity matched any of the recipients",
        ),
        said(
            "retries",
            custom("helm.toolkit.fluxcd.io", "v2", "HelmRelease"),
            release,
            "RetriesExceeded",
            "terminal error: exceeded maximum retries: cannot remediate failed release",
        ),
        said(
            "store-token",
            custom("external-secrets.io", "v1", "SecretStore"),
            store,
            "InvalidProviderConfig",
            "unable to validate store: status 401: Authentication: Invalid bearer token",
        ),
    ]
}
